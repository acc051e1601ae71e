//! Signing in and out, and choosing one of several tenants.
//!
//! People sign in with address and password by the API's own route; the operator with the operator's key, once, which
//! begins a session of its own (`identity::operators`). Either way the cookie is the only credential of a page.
//!
//! Invariants: a form from another site signs nobody in; the way on leads to a page of the console and nowhere else;
//! whatever was typed as a secret is in no answer.

use super::page::{self, Frame};
use super::visit::Visit;
use crate::http::answer::Answer;
use crate::http::auth;
use crate::http::inner::{Inner, within};
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::{operators, sessions};
use hyper::StatusCode;
use serde_json::json;

/// `GET /console/style.css`.
pub(super) fn style(_: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async { Ok(page::style()) })
}

/// `GET /console/login`.
pub(super) fn form(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move { shown(&call, StatusCode::OK, "") })
}

fn shown(call: &Call, status: StatusCode, error: &str) -> Result<Answer, Problem> {
    let text = |name: &str| call.fields.text(name).unwrap_or("");
    let mut frame = Frame::unsigned("Sign in", &call.edge);
    frame.said = page::said(text("said"));
    let holds = json!({
        "error": error, "email": text("email"), "next": way_on(text("next")),
        "asOperator": call.fields.text("operatorKey").is_some(),
    });
    page::render(status, "login.html", &frame, holds)
}

/// A page of the console, whatever was asked for.
pub(super) fn way_on(next: &str) -> &str {
    let rest = next.strip_prefix("/console");
    let is_ours = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let is_plain = next
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<'));
    if is_ours && is_plain && !next.starts_with("/console/log") {
        next
    } else {
        "/console"
    }
}

/// `POST /console/login`.
pub(super) fn sign_in(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        auth::from_own_page(&call.edge, &call.headers)?;
        match session(&call).await {
            Ok(cookie) => {
                let next = way_on(call.fields.text("next").unwrap_or(""));
                Ok(page::see_other(next).with("set-cookie", &cookie))
            }
            Err(problem) => {
                let mut answer = shown(&call, problem.status(), words(&problem))?;
                if let Some(seconds) = problem.retry_after_seconds {
                    answer.header("retry-after", &seconds.to_string());
                }
                Ok(answer)
            }
        }
    })
}

/// What is said beside the form.
fn words(problem: &Problem) -> &str {
    match problem.code {
        Code::RateLimited => "Too many tries. Wait a minute before the next one.",
        Code::InvalidRequest => "Fill in the address and the password.",
        _ => &problem.detail,
    }
}

/// The `Set-Cookie` of a session that begins.
async fn session(call: &Call) -> Result<String, Problem> {
    let is_https = call.edge.identity.is_https;
    if let Some(key) = call.fields.text("operatorKey") {
        auth::operator_by_key(&call.edge, key.trim(), call.peer).await?;
        let cookie = operators::begin(&call.edge, &call.request_id).await?;
        return Ok(sessions::set_cookie(is_https, Some(&cookie)));
    }
    let text = |name: &'static str| (name, call.fields.text(name).unwrap_or("").to_owned());
    let inner = Inner {
        label: "login",
        path: Vec::new(),
        fields: vec![
            text("email"),
            text("password"),
            ("session", "cookie".to_owned()),
        ],
        key: None,
    };
    let answer = within(call, inner).await?;
    let cookie = answer.headers.iter().find(|(name, _)| name == "set-cookie");
    let cookie = cookie.and_then(|(_, value)| value.to_str().ok());
    let cookie = cookie.map(str::to_owned);
    cookie.ok_or_else(|| Problem::new(Code::Internal, "no session began"))
}

/// `POST /console/logout`.
pub(super) fn sign_out(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        if call.caller.is_operator() {
            let session = auth::session_of(&call.edge, &call.headers)?.unwrap_or("");
            operators::end(&call.edge, session, &call.request_id).await?;
        } else {
            let inner = Inner {
                label: "logout",
                path: Vec::new(),
                fields: Vec::new(),
                key: None,
            };
            within(&call, inner).await?;
        }
        let gone = sessions::set_cookie(call.edge.identity.is_https, None);
        Ok(page::see_other("/console/login?said=signed-out").with("set-cookie", &gone))
    })
}

/// `GET /console/choose`: of which tenant the pages are.
pub(super) fn choose(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        if visit.is_operator() {
            return Ok(page::see_other("/console"));
        }
        visit
            .page("choose.html", "Choose a tenant", json!({}))
            .await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_stays_in_the_console() {
        let path = "/console/payments/pi_1?tenantId=acme";
        assert_eq!(way_on(path), path);
        assert_eq!(way_on("/console"), "/console");
        for elsewhere in [
            "",
            "//evil.example",
            "https://evil.example/console",
            "/consolex",
            "/console\\..",
            "/console/\r\nx: y",
            "/console/logout",
            "/docs",
        ] {
            assert_eq!(way_on(elsewhere), "/console", "{elsewhere:?}");
        }
    }
}
