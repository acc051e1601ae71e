//! `/docs`: the OpenAPI document as a page, rendered here: no script, no outside host.

use crate::http::answer::Answer;
use crate::http::fields::rule;
use crate::http::openapi::{answers_of, security_words};
use crate::http::problem::{Code, Problem};
use crate::http::route::{Call, Holds, Route};
use crate::http::routes::every_route;
use crate::http::schemas::every_schema;
use crate::http::server::BoxFuture;
use hyper::StatusCode;
use std::fmt::Write;

/// `GET /docs`.
pub fn serve(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let page = page(call.edge.settings.version);
        let answer = Answer::of(StatusCode::OK, "text/html; charset=utf-8", page);
        Ok(answer.with(
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ))
    })
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:light-dark(#ccc,#444);--soft:light-dark(#f4f4f4,#222);\
--link:light-dark(#0645ad,#9ecbff)}\
body{font:1rem/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem 1.25rem 4rem}\
a{color:var(--link)}h2{margin-top:3rem;border-bottom:1px solid var(--line)}\
article{margin:1.5rem 0;padding:.25rem 1rem;border:1px solid var(--line);border-radius:.4rem}\
code{background:var(--soft);padding:.1em .3em;border-radius:.2em;overflow-wrap:anywhere}\
h3 code{background:none;padding:0}table{border-collapse:collapse;width:100%;margin:.5rem 0}\
caption{text-align:left;font-weight:600;padding:.25rem 0}\
th,td{border-top:1px solid var(--line);padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top}\
nav ul{columns:3 14rem;padding-left:1.1rem}:target{outline:3px solid var(--link)}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The whole page.
pub fn page(version: &str) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Bursar API</title>\
         <style>{STYLE}</style></head><body><header><h1>Bursar API</h1>\
         <p>Version {}. The same as <a href=\"/openapi.json\">openapi.json</a>, for people.</p>\
         </header><nav aria-label=\"Sections\"><ul>",
        escaped(version)
    );
    let mut tags: Vec<&str> = Vec::new();
    for route in every_route() {
        if !tags.contains(&route.tag) {
            tags.push(route.tag);
        }
    }
    for tag in &tags {
        let _ = write!(
            html,
            "<li><a href=\"#{}\">{}</a></li>",
            anchor(tag),
            escaped(tag)
        );
    }
    html.push_str(
        "<li><a href=\"#objects\">objects</a></li><li><a href=\"#errors\">errors</a></li>",
    );
    html.push_str("</ul></nav><main>");
    for tag in tags {
        let _ = write!(html, "<h2 id=\"{}\">{}</h2>", anchor(tag), escaped(tag));
        for route in every_route().filter(|route| route.tag == tag) {
            article(&mut html, route);
        }
    }
    objects(&mut html);
    errors(&mut html);
    html.push_str("</main></body></html>\n");
    html
}

fn anchor(tag: &str) -> String {
    tag.replace(' ', "-")
}

fn article(html: &mut String, route: &Route) {
    let _ = write!(
        html,
        "<article id=\"{}\"><h3><code>{} {}</code></h3><p>{}</p>",
        route.label,
        route.verb.as_str(),
        escaped(route.path),
        escaped(route.summary)
    );
    if !route.description.is_empty() {
        let _ = write!(html, "<p>{}</p>", escaped(route.description));
    }
    if !route.aliases.is_empty() {
        let aliases: Vec<String> = route
            .aliases
            .iter()
            .map(|alias| format!("<code>{}</code>", escaped(alias)))
            .collect();
        let _ = write!(html, "<p>Also at {}.</p>", aliases.join(", "));
    }
    let _ = write!(html, "<p>Who: {}</p>", escaped(&security_words(route)));
    if !route.params.is_empty() {
        html.push_str("<table><caption>Fields</caption><tbody>");
        for param in route.params {
            let needed = if param.required { " (required)" } else { "" };
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><code>{}</code>{needed}</th><td>{} Must be {}.</td></tr>",
                escaped(param.name),
                escaped(param.help),
                escaped(&rule(param.kind))
            );
        }
        html.push_str("</tbody></table>");
    }
    let holds = match route.holds {
        Holds::One(name) => format!("<a href=\"#object-{name}\">{name}</a>"),
        Holds::Page(name) => format!("a page of <a href=\"#object-{name}\">{name}</a>"),
        Holds::Text(kind) => escaped(kind),
        Holds::Nothing => "no body".to_owned(),
    };
    let codes: Vec<String> = answers_of(route)
        .iter()
        .map(|code| {
            let word = code.as_str();
            format!("<a href=\"#error-{word}\">{} {word}</a>", code.status())
        })
        .collect();
    let _ = write!(
        html,
        "<p>Answers {} with {holds}. Refusals: {}.</p></article>",
        route.status,
        codes.join(", ")
    );
}

fn objects(html: &mut String) {
    html.push_str("<h2 id=\"objects\">objects</h2>");
    for schema in every_schema() {
        let _ = write!(
            html,
            "<article id=\"object-{0}\"><h3>{0}</h3><p>{1}</p><table><caption>Fields</caption><tbody>",
            schema.name,
            escaped(schema.help)
        );
        for field in schema.fields {
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td></tr>",
                field.name,
                escaped(&field.words())
            );
        }
        html.push_str("</tbody></table></article>");
    }
}

fn errors(html: &mut String) {
    html.push_str(
        "<h2 id=\"errors\">errors</h2><table><caption>Every code there is</caption><thead><tr>\
         <th scope=\"col\">code</th><th scope=\"col\">status</th><th scope=\"col\">meaning</th></tr>\
         </thead><tbody>",
    );
    for code in Code::ALL {
        let _ = write!(
            html,
            "<tr id=\"error-{0}\"><th scope=\"row\"><code>{0}</code></th><td>{1}</td><td>{2}</td></tr>",
            code.as_str(),
            code.status(),
            escaped(code.title())
        );
    }
    html.push_str("</tbody></table>");
}
