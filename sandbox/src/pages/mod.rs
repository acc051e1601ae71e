//! The pages people see: hosted checkout, portal, onboarding, the bank's question, an index.
//!
//! Invariants: every text is escaped; no scripts, nothing from other hosts; every page says SANDBOX.
//! Not here: what the buttons do (`api`, `control`).
//! Failure: a page with the reason and status 404, 400 or 402.
//! Source of outside rules: WCAG 2.2; CSP Level 3 (no `form-action`: browsers apply it to the redirect
//! after paying, too).

mod html;
mod pay;
mod portal;

use crate::server::{self, Shared};
use crate::world::{World, text};
use bytes::Bytes;
use html::{escape, money, page};
use http_body_util::Full;
use hyper::{Method, Response};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a page route answers.
pub(crate) enum Page {
    /// HTML with a status.
    Html(u16, String),
    /// 303 to an address.
    To(String),
}

/// Fields of a submitted form.
pub(crate) type Form = BTreeMap<String, String>;

/// Serves one page.
pub(crate) fn serve(
    shared: &Shared,
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
    let page = shared.act(|w| route(w, &parts, posts, &form));
    match page {
        Page::Html(status, body) => answer(shared, status, "text/html; charset=utf-8", body),
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
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
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
        [""] => Some(index(w)),
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
    found.unwrap_or_else(|| {
        Page::Html(
            404,
            page(
                "Not found",
                "<h1>Not found</h1><p>The sandbox has no such page. <a href=\"/\">Overview</a></p>",
            ),
        )
    })
}

fn index(w: &mut World) -> Page {
    let rows = |kind: &str, line: &dyn Fn(&Value) -> String| -> String {
        let list: String = w.newest(kind).take(15).map(line).collect();
        if list.is_empty() {
            "<li>none yet</li>".to_owned()
        } else {
            list
        }
    };
    let prices = rows("price", &|p| {
        let name = w
            .get("product", &text(p, "product"))
            .map(|v| text(v, "name"))
            .unwrap_or_default();
        let every = p["recurring"]["interval"]
            .as_str()
            .map(|i| format!(" / {i}"))
            .unwrap_or_default();
        format!(
            "<li><code>{}</code> {} {}{every}</li>",
            escape(&text(p, "id")),
            escape(&name),
            money(p["unit_amount"].as_i64().unwrap_or(0), &text(p, "currency"))
        )
    });
    let sessions = rows("checkout.session", &|s| {
        let id = escape(&text(s, "id"));
        format!(
            "<li><a href=\"/pay/{id}\">{}</a> {} ({})</li>",
            &id[..id.len().min(24)],
            money(
                s["amount_total"].as_i64().unwrap_or(0),
                &text(s, "currency")
            ),
            escape(&text(s, "status"))
        )
    });
    let subs = rows("subscription", &|s| {
        format!(
            "<li><code>{}</code> {}</li>",
            escape(&text(s, "id")),
            escape(&text(s, "status"))
        )
    });
    let events = rows("event", &|e| {
        format!(
            "<li>{} <code>{}</code></li>",
            escape(&text(e, "type")),
            escape(&text(e, "id"))
        )
    });
    let base = escape(&w.base_url);
    let body = format!(
        "<h1>A Stripe that fits in your pocket</h1>\
         <p>Point any Stripe SDK at <code>{base}</code> with any key of at least 12 characters that starts with <code>sk_test_</code>. \
         Nothing here is real and nothing is kept.</p>\
         <form method=\"post\" action=\"/control/clock/advance\"><label>Move the clock forward by <input name=\"seconds\" type=\"number\" value=\"2678400\" min=\"1\"> seconds</label> <button>Advance</button></form>\
         <h2>Prices</h2><ul>{prices}</ul><h2>Checkout sessions</h2><ul>{sessions}</ul>\
         <h2>Subscriptions</h2><ul>{subs}</ul><h2>Newest events</h2><ul>{events}</ul>\
         <p>More: <a href=\"/control/deliveries\">deliveries</a>, <a href=\"/control/requests\">requests</a>, <a href=\"/control/events\">all events</a>, <a href=\"/control\">control routes</a></p>"
    );
    Page::Html(200, page("Overview", &body))
}
