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
:root{color-scheme:light dark;--line:light-dark(#ccc,#444);--soft:light-dark(#f4f4f4,#262626);\
--quiet:light-dark(#555,#b5b5b5);--link:light-dark(#0645ad,#9ecbff)}\
body{font:1rem/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem 1.25rem 4rem;overflow-wrap:anywhere;\
background:light-dark(#fff,#141414);color:light-dark(#111,#eee)}\
a{color:var(--link)}h2{margin-top:3rem;border-bottom:1px solid var(--line)}\
article{margin:1.5rem 0;padding:.25rem 1rem;border:1px solid var(--line);border-radius:.4rem}\
code{background:var(--soft);padding:.1em .3em;border-radius:.2em}\
a code,h3 code{background:none;padding:0}table{border-collapse:collapse;width:100%;margin:.5rem 0}\
caption{text-align:left;font-weight:600;padding:.25rem 0}\
th,td{border-top:1px solid var(--line);padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top}\
tbody th{font-weight:400;width:30%}.quiet{color:var(--quiet)}\
nav ul{columns:3 14rem;padding-left:1.1rem}.calls{list-style:none;padding:0}.calls li{padding:.15rem 0}\
@media(max-width:40rem){thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}\
table,tbody,tr,tbody th,td{display:block;width:auto}th,td{border:0;padding:.1rem 0}tr{border-top:1px solid var(--line);padding:.3rem 0}}\
:target{outline:3px solid var(--link);scroll-margin-top:1rem}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Text of ours: what stands between backquotes is code.
fn prose(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for (n, part) in escaped(text).split('`').enumerate() {
        match n {
            0 => {}
            n if n % 2 == 1 => html.push_str("<code>"),
            _ => html.push_str("</code>"),
        }
        html.push_str(part);
    }
    html
}

/// The whole page.
pub fn page(version: &str) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Bursar API</title>\
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
            heading(tag)
        );
    }
    html.push_str(
        "<li><a href=\"#objects\">Objects</a></li><li><a href=\"#errors\">Errors</a></li>",
    );
    html.push_str("</ul></nav><main>");
    for tag in tags {
        let _ = write!(
            html,
            "<h2 id=\"{}\">{}</h2><ul class=\"calls\">",
            anchor(tag),
            heading(tag)
        );
        for route in every_route().filter(|route| route.tag == tag) {
            let _ = write!(
                html,
                "<li><a href=\"#{}\"><code>{} {}</code></a> <span class=\"quiet\">{}</span></li>",
                route.label,
                route.verb.as_str(),
                escaped(route.path),
                prose(route.summary)
            );
        }
        html.push_str("</ul>");
        for route in every_route().filter(|route| route.tag == tag) {
            article(&mut html, route);
        }
    }
    objects(&mut html);
    errors(&mut html);
    html.push_str("</main></body></html>\n");
    html
}

/// The anchor of a tag's section: calls and objects have anchors of their own.
fn anchor(tag: &str) -> String {
    format!("section-{}", tag.replace(' ', "-"))
}

/// A tag as a heading: its first letter is a capital.
fn heading(tag: &str) -> String {
    let mut letters = tag.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), escaped(letters.as_str()))
}

fn article(html: &mut String, route: &Route) {
    let _ = write!(
        html,
        "<article id=\"{}\"><h3><code>{} {}</code></h3><p>{}</p>",
        route.label,
        route.verb.as_str(),
        escaped(route.path),
        prose(route.summary)
    );
    if !route.description.is_empty() {
        let _ = write!(html, "<p>{}</p>", prose(route.description));
    }
    if !route.aliases.is_empty() {
        let aliases: Vec<String> = route
            .aliases
            .iter()
            .map(|alias| format!("<code>{}</code>", escaped(alias)))
            .collect();
        let _ = write!(html, "<p>Also at {}.</p>", aliases.join(", "));
    }
    let _ = write!(
        html,
        "<p>Who may call it: {}.</p>",
        escaped(&security_words(route))
    );
    if !route.params.is_empty() {
        html.push_str("<table><caption>Fields</caption><tbody>");
        for param in route.params {
            let needed = if param.required { " (required)" } else { "" };
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><code>{}</code>{needed}</th><td>{} Must be {}.</td></tr>",
                escaped(param.name),
                prose(param.help),
                prose(&rule(param.kind))
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
    html.push_str("<h2 id=\"objects\">Objects</h2>");
    for schema in every_schema() {
        let _ = write!(
            html,
            "<article id=\"object-{0}\"><h3>{0}</h3><p>{1}</p><table><caption>Fields</caption><tbody>",
            schema.name,
            prose(schema.help)
        );
        for field in schema.fields {
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td></tr>",
                field.name,
                prose(&field.words())
            );
        }
        html.push_str("</tbody></table></article>");
    }
}

fn errors(html: &mut String) {
    html.push_str(
        "<h2 id=\"errors\">Errors</h2><table><caption>Every code there is</caption><thead><tr>\
         <th scope=\"col\">code</th><th scope=\"col\">status</th><th scope=\"col\">meaning</th></tr>\
         </thead><tbody>",
    );
    for code in Code::ALL {
        let _ = write!(
            html,
            "<tr id=\"error-{0}\"><th scope=\"row\"><code>{0}</code></th><td>{1}</td><td>{2}</td></tr>",
            code.as_str(),
            code.status(),
            prose(code.title())
        );
    }
    html.push_str("</tbody></table>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn code_in_prose_is_marked_as_such_and_markup_stays_text() {
        assert_eq!(
            prose("`a<b` and `c`"),
            "<code>a&lt;b</code> and <code>c</code>"
        );
    }

    #[test]
    fn every_anchor_stands_once_and_every_link_within_the_page_leads_somewhere() {
        let html = page("0.0.0");
        let all = |before: &str| -> Vec<&str> {
            let parts = html.split(before).skip(1);
            parts.filter_map(|part| part.split('"').next()).collect()
        };
        let ids = all(" id=\"");
        let mut distinct: BTreeSet<&str> = BTreeSet::new();
        for id in ids {
            assert!(distinct.insert(id), "the anchor {id} stands twice");
        }
        let links = all("href=\"#");
        assert!(links.len() > 100, "{}", links.len());
        for link in links {
            assert!(distinct.contains(link), "#{link} leads nowhere");
        }
        let marks = ["code", "article", "table"];
        for mark in marks {
            let (opened, closed) = (format!("<{mark}"), format!("</{mark}>"));
            assert_eq!(
                html.matches(&opened).count(),
                html.matches(&closed).count(),
                "{mark}"
            );
        }
    }
}
