//! The pages people see: hosted checkout, portal, onboarding, the bank's question, an index.
//!
//! Invariants: every text is escaped; no scripts, nothing from other hosts; every page says SANDBOX.
//! Not here: what the buttons do (`api`, `control`).
//! Failure: a page with the reason and status 404, 400 or 402.
//! Source of outside rules: WCAG 2.2; CSP Level 3 (no `form-action`: browsers apply it to the redirect
//! after paying, too).

mod html;
mod mail;
mod overview;
mod pay;
mod portal;

use crate::server::{self, Shared};
use crate::world::World;
use bytes::Bytes;
use html::page;
use http_body_util::Full;
use hyper::{Method, Response};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every page may load.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'";

/// What a page route answers.
pub(crate) enum Page {
    /// HTML with a status.
    Html(u16, String),
    /// HTML that shows a page of ours in a frame.
    Framing(u16, String),
    /// Somebody's HTML, for that frame: it may do nothing.
    Inner(String),
    /// JSON.
    Json(u16, serde_json::Value),
    /// 303 to an address.
    To(String),
}

/// Fields of a submitted form.
pub(crate) type Form = BTreeMap<String, String>;

/// Serves one page.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Response<Full<Bytes>> {
    if path == "/style.css" {
        return answer(
            shared,
            200,
            "text/css; charset=utf-8",
            html::STYLE.to_owned(),
        );
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let form: Form = form_urlencoded::parse(if *method == Method::POST {
        body
    } else {
        query.as_bytes()
    })
    .into_owned()
    .collect();
    let posts = *method == Method::POST;
    if !posts && *method != Method::GET {
        return answer(
            shared,
            405,
            "text/plain; charset=utf-8",
            "only GET and POST\n".to_owned(),
        );
    }
    let page = if let (["mail", below @ ..], false) = (parts.as_slice(), posts) {
        mail::serve(&shared.mails(), below, &form)
    } else if posts && parts == ["clock"] {
        overview::advance(shared, &form)
    } else {
        shared.act(|w| route(w, &parts, posts, &form))
    };
    match page {
        Page::Html(status, body) => answer(shared, status, "text/html; charset=utf-8", body),
        Page::Framing(status, body) => {
            let mut response = answer(shared, status, "text/html; charset=utf-8", body);
            let policy = format!("{POLICY}; frame-src 'self'; frame-ancestors 'none'");
            server::set(response.headers_mut(), "content-security-policy", &policy);
            response
        }
        Page::Inner(body) => {
            let mut response = answer(shared, 200, "text/html; charset=utf-8", body);
            let policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'self'";
            server::set(response.headers_mut(), "content-security-policy", policy);
            response
        }
        Page::Json(status, value) => {
            let body = serde_json::to_string_pretty(&value).unwrap_or_default();
            answer(shared, status, "application/json", body)
        }
        Page::To(url) => {
            let mut response = answer(shared, 303, "text/plain; charset=utf-8", format!("{url}\n"));
            server::set(response.headers_mut(), "location", &url);
            response
        }
    }
}

fn answer(shared: &Shared, status: u16, kind: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::OK);
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", kind),
        (
            "content-security-policy",
            &format!("{POLICY}; frame-ancestors 'none'"),
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("date", &server::http_date(shared.now())),
    ] {
        server::set(headers, name, value);
    }
    response
}

/// Runs `f` in the account an object lives in.
fn at_home<T>(w: &mut World, id: &str, f: impl FnOnce(&mut World) -> T) -> Option<T> {
    let home = w
        .account_ids()
        .into_iter()
        .find(|account| w.within(account, |w| w.any(id).is_some()))?;
    Some(w.within(&home, f))
}

fn route(w: &mut World, parts: &[&str], posts: bool, form: &Form) -> Page {
    let found = match parts {
        [""] => Some(overview::overview(w, form, None)),
        ["control"] => Some(overview::control_routes()),
        ["pay", id] => at_home(w, id, |w| pay::session(w, id, posts, form)),
        ["authenticate", id] => at_home(w, id, |w| pay::bank(w, id, posts, form)),
        ["link", id] => at_home(w, id, |w| pay::link(w, id, form)),
        ["portal", id] => at_home(w, id, |w| portal::portal(w, id, posts, form)),
        ["invoices", id] | ["invoices", id, "pdf"] => at_home(w, id, |w| portal::invoice(w, id)),
        ["receipts", id] => at_home(w, id, |w| portal::receipt(w, id)),
        ["setup", account, token] => Some(portal::onboarding(w, account, token, posts)),
        ["express", account, _] => Some(portal::express(w, account)),
        ["paid"] => Some(Page::Html(
            200,
            page("Paid", "<h1>Thank you</h1><p>The payment went through.</p>"),
        )),
        _ => None,
    };
    found.unwrap_or_else(overview::missing)
}
