//! The first page: the clock, what can be bought, what happened; and the page of the control routes.
//!
//! Invariants: lists end after 15 rows; moving the clock is a POST, answered with 303 back here.
//! Not here: what moving the clock makes happen (`billing::due`).
//! Failure: a number of days nobody can jump is said beside its field, status 400.
//! Source of outside rules: none.

use super::html::{day, error, escape, money, page, price, wide_page, words};
use super::{Form, Page};
use crate::control::{self, Control};
use crate::server::Shared;
use crate::world::{World, int, text};
use serde_json::Value;
use std::sync::Arc;

/// Rows of a list.
const ROWS_MAX: usize = 15;
const DAY_SECONDS: i64 = 86_400;
/// What the field for the days holds at first: past a month's renewal.
const DAYS: i64 = 31;

/// Moves the clock by the days of the form.
pub(crate) fn advance(shared: &Arc<Shared>, form: &Form) -> Page {
    let given = form.get("days").map_or("", String::as_str).trim();
    let moved = match given.parse::<i64>() {
        Ok(days) if days > 0 => Control::new(Arc::clone(shared))
            .advance(days.saturating_mul(DAY_SECONDS))
            .map(|_| days)
            .map_err(|_| "The clock moves by two years at most.".to_owned()),
        _ => Err(format!("“{given}” is no number of whole days above 0.")),
    };
    match moved {
        Ok(days) => Page::To(format!("/?moved={days}")),
        Err(words) => shared.act(|w| overview(w, form, Some(&words))),
    }
}

fn clock(w: &World, form: &Form, failed: Option<&str>) -> String {
    let now = jiff::Timestamp::from_second(w.now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let moved = form
        .get("moved")
        .and_then(|days| days.parse::<i64>().ok())
        .map(|days| {
            let unit = if days == 1 { "day" } else { "days" };
            format!(
                "<p class=\"done\" role=\"status\">The clock moved forward by {days} {unit}.</p>"
            )
        })
        .unwrap_or_default();
    let days = form
        .get("days")
        .map_or_else(|| DAYS.to_string(), String::clone);
    let (said, marks) = match failed {
        Some(words) => (
            error("days-error", words),
            " aria-invalid=\"true\" aria-describedby=\"days-error\" autofocus",
        ),
        None => (String::new(), ""),
    };
    format!(
        "<h2>Clock</h2>{moved}<p>It is <time datetime=\"{now}\">{}</time> here.</p>\
         <form method=\"post\" action=\"/clock\"><label class=\"field\" for=\"days\">Move it forward by how many days?</label>{said}\
         <div class=\"actions\"><input id=\"days\" name=\"days\" type=\"number\" min=\"1\" max=\"732\" required value=\"{}\"{marks}>\
         <button>Move the clock</button></div></form>",
        now.strftime("%-d %B %Y, %H:%M UTC"),
        escape(&days)
    )
}

/// A table of the newest objects of one kind.
fn newest(
    w: &World,
    kind: &str,
    caption: &str,
    heads: &str,
    row: &dyn Fn(&Value) -> String,
) -> String {
    let rows: String = w.newest(kind).take(ROWS_MAX).map(row).collect();
    if rows.is_empty() {
        return format!("<h2>{caption}</h2><p class=\"soft\">None yet.</p>");
    }
    let heads: String = heads
        .split('|')
        .map(|head| {
            let class = if head == "Amount" {
                " class=\"amount\""
            } else {
                ""
            };
            format!("<th scope=\"col\"{class}>{head}</th>")
        })
        .collect();
    format!(
        "<h2>{caption}</h2><table aria-label=\"{caption}\"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
}

/// `/`.
pub(crate) fn overview(w: &mut World, form: &Form, failed: Option<&str>) -> Page {
    let w = &*w;
    let code = |value: &Value, field: &str| escape(&text(value, field));
    let prices = newest(w, "price", "Prices", "Product|Price|Amount", &|p| {
        let product = w.get("product", &text(p, "product"));
        let name = product.map(|v| text(v, "name")).unwrap_or_default();
        format!(
            "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td class=\"amount\">{}</td></tr>",
            escape(&name),
            code(p, "id"),
            price(p)
        )
    });
    let heads = "Session|Status|Amount";
    let sessions = newest(w, "checkout.session", "Checkout sessions", heads, &|s| {
        let id = code(s, "id");
        format!(
            "<tr><th scope=\"row\"><a class=\"id\" href=\"/pay/{id}\">{}…</a></th><td>{}</td><td class=\"amount\">{}</td></tr>",
            id.get(..20).unwrap_or(&id),
            words(&text(s, "status")),
            money(int(s, "amount_total"), &text(s, "currency"))
        )
    });
    let heads = "Subscription|Status|Since";
    let subscriptions = newest(w, "subscription", "Subscriptions", heads, &|s| {
        format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td></tr>",
            code(s, "id"),
            words(&text(s, "status")),
            day(int(s, "created"))
        )
    });
    let events = newest(w, "event", "Newest events", "Type|Event", &|e| {
        format!(
            "<tr><th scope=\"row\" class=\"id\">{}</th><td><code>{}</code></td></tr>",
            code(e, "type"),
            code(e, "id")
        )
    });
    let body = format!(
        "<h1>A Stripe that fits in your pocket</h1>\
         <p>Point any Stripe SDK at <code>{}</code> with any key of at least 12 characters that starts with <code>sk_test_</code>. \
         Nothing here is real and nothing is kept.</p>\
         {}{sessions}{prices}{subscriptions}{events}\
         <p><a href=\"/mail\">Mail that was caught</a></p><h2>More, as JSON</h2><ul><li><a href=\"/control/deliveries\">Deliveries of webhooks</a></li>\
         <li><a href=\"/control/requests\">Requests to the API</a></li><li><a href=\"/control/events\">All events</a></li></ul>\
         <p><a href=\"/control\">What else can be done from outside</a></p>",
        escape(&w.base_url),
        clock(w, form, failed)
    );
    let (status, title) = match failed {
        Some(_) => (400, "Error: Overview"),
        None => (200, "Overview"),
    };
    Page::Html(status, wide_page(title, &body))
}

/// `/control` for people.
pub(crate) fn control_routes() -> Page {
    let rows: String = control::ROUTES
        .iter()
        .map(|(route, does)| {
            let mut parts = route.splitn(3, ' ');
            let (method, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            format!(
                "<tr><th scope=\"row\"><code>{method} /control/{path}</code></th><td><code>{}</code></td><td>{does}</td></tr>",
                parts.next().unwrap_or("")
            )
        })
        .collect();
    let body = format!(
        "<h1>What can be done from outside</h1>\
         <p>Beside Stripe's own API. Fields go into the query, a form or a JSON body; one with a question mark may be left out. \
         No key is needed. Answers are JSON, and so is this list for a client that does not ask for HTML.</p>\
         <table class=\"stack\"><thead><tr><th scope=\"col\">Route</th><th scope=\"col\">Fields</th><th scope=\"col\">Does</th></tr></thead>\
         <tbody>{rows}</tbody></table><p><a href=\"/\">Overview</a></p>"
    );
    Page::Html(200, wide_page("Control", &body))
}

/// No such page.
pub(crate) fn missing() -> Page {
    let body =
        "<h1>Not found</h1><p>The sandbox has no such page.</p><p><a href=\"/\">Overview</a></p>";
    Page::Html(404, page("Not found", body))
}
