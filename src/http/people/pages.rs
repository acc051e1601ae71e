//! The pages a person lands on from a mail: a sentence and one form, without a script.
//!
//! Invariants: opening a page changes nothing, so that what looks at links in mails consumes none; every text is
//! escaped by the template engine; nothing of a page is cached, and its address, which holds a token, is told nobody.

use crate::http::answer::Answer;
use crate::http::fields::is_form;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use hyper::{StatusCode, header};
use minijinja::{Environment, context};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "\
:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:12vh auto;padding:0 1rem;\
background:light-dark(#fff,#141414);color:light-dark(#111,#eee)}label{display:block;margin:1rem 0}\
input{display:block;width:100%;box-sizing:border-box;font:inherit;padding:.5rem;margin-top:.25rem}\
button{font:inherit;padding:.5rem 1.25rem;margin-top:.5rem}";
/// SHA-256 of the style, for the policy; a test holds it against the style.
const POLICY: &str = "default-src 'none'; style-src 'sha256-4Z6ybvZfuC1JQsW9ht9pV3HdZr0fUPaWuR56jbHSVTo='; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
const TEMPLATE: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"referrer\" content=\"no-referrer\">\
<title>{{ title }}</title><style>{{ style|safe }}</style></head><body><main><h1>{{ title }}</h1><p>{{ words }}</p>\
{% if form %}<form method=\"post\" action=\"{{ form.action }}\">\
{% for input in form.inputs %}{% if input.kind == \"hidden\" %}\
<input type=\"hidden\" name=\"{{ input.name }}\" value=\"{{ input.value }}\">\
{% else %}<label>{{ input.label }}<input type=\"{{ input.kind }}\" name=\"{{ input.name }}\" value=\"{{ input.value }}\"\
 autocomplete=\"{{ input.autocomplete }}\" required></label>{% endif %}{% endfor %}\
<button type=\"submit\">{{ form.button }}</button></form>{% endif %}</main></body></html>\n";

/// One field of a form.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// Its name.
    pub name: &'a str,
    /// What stands beside it.
    pub label: &'a str,
    /// `hidden`, `text`, `email`, `password`.
    pub kind: &'a str,
    /// What is in it.
    pub value: &'a str,
    /// What a browser may fill in.
    pub autocomplete: &'a str,
}

/// A token in a form.
pub const fn hidden<'a>(name: &'a str, value: &'a str) -> Input<'a> {
    Input {
        name,
        label: "",
        kind: "hidden",
        value,
        autocomplete: "off",
    }
}

/// A password in a form.
pub const fn password<'a>(name: &'a str, label: &'a str) -> Input<'a> {
    Input {
        name,
        label,
        kind: "password",
        value: "",
        autocomplete: "new-password",
    }
}

/// A page's one form.
#[derive(Clone, Debug)]
pub struct Form<'a> {
    /// Where it is sent: beside the page itself, so that a path before ours does not matter.
    pub action: &'a str,
    /// What its button says.
    pub button: &'a str,
    /// Its fields.
    pub inputs: Vec<Input<'a>>,
}

/// A page. # Errors: it cannot be rendered (a defect).
pub fn page(
    status: StatusCode,
    title: &str,
    words: &str,
    form: Option<&Form<'_>>,
) -> Result<Answer, Problem> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
    let form = form.map(|form| {
        let inputs = form.inputs.iter().map(|input| {
            context! {
                name => input.name, label => input.label, kind => input.kind,
                value => input.value, autocomplete => input.autocomplete,
            }
        });
        let inputs: Vec<_> = inputs.collect();
        context! { action => form.action, button => form.button, inputs }
    });
    // The name's ending is what switches escaping on.
    let made = engine.render_named_str(
        "page.html",
        TEMPLATE,
        context! { title, words, form, style => STYLE },
    );
    let html = made.map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Problem::new(Code::Internal, "the page cannot be shown")
    })?;
    let answer = Answer::of(status, HTML, html);
    Ok(answer
        .with("content-security-policy", POLICY)
        .with("referrer-policy", "no-referrer")
        .with("cache-control", "no-store"))
}

/// Whether a page of ours sent this request, so that it is answered by a page.
pub fn is_from_page(call: &Call) -> bool {
    let media = call.headers.get(header::CONTENT_TYPE);
    is_form(media.and_then(|value| value.to_str().ok()))
}

/// Answers a page's request by a page and a program's by JSON.
/// # Errors: the outcome's, to a program.
pub fn answered(
    call: &Call,
    outcome: Result<Answer, Problem>,
    title: &str,
    done: &str,
) -> Result<Answer, Problem> {
    if !is_from_page(call) {
        return outcome;
    }
    match outcome {
        Ok(_) => page(StatusCode::OK, title, done, None),
        Err(problem) => {
            let mut answer = page(
                problem.status(),
                problem.code.title(),
                &problem.detail,
                None,
            )?;
            if let Some(seconds) = problem.retry_after_seconds {
                answer.header("retry-after", &seconds.to_string());
            }
            Ok(answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::{Digest, Sha256};

    #[test]
    fn a_page_has_no_script_escapes_what_it_shows_and_allows_its_own_style_alone() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
        let form = Form {
            action: "/verify-email",
            button: "Go",
            inputs: vec![
                hidden("token", "\"><script>1</script>"),
                password("password", "P"),
            ],
        };
        let answer = page(StatusCode::OK, "<b>", "a & b", Some(&form)).unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
        assert!(text.contains("a &amp; b") && text.contains(STYLE), "{text}");
    }
}
