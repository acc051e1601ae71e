//! The pages a person lands on from a mail: a sentence and one form, without a script.
//!
//! Invariants: opening a page changes nothing, so that what looks at links in mails consumes none; it is one of the
//! console's, with its stylesheet and its headers, but for its address, which holds a token and is told nobody.

use crate::http::answer::Answer;
use crate::http::edge::Edge;
use crate::http::fields::is_form;
use crate::http::problem::Problem;
use crate::http::route::Call;
use hyper::{StatusCode, header};
use serde::Serialize;
use serde_json::json;

/// One field of a form.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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
    edge: &Edge,
    status: StatusCode,
    title: &str,
    words: &str,
    form: Option<&Form<'_>>,
) -> Result<Answer, Problem> {
    crate::console::mailed(edge, status, title, json!({"words": words, "form": form}))
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
    let edge = &call.edge;
    match outcome {
        Ok(_) => page(edge, StatusCode::OK, title, done, None),
        Err(problem) => {
            let mut answer = page(
                edge,
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
