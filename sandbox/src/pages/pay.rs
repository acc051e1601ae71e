//! Hosted checkout, the bank's question, payment links.
//!
//! Invariants: paying is a POST, answered with 303 to the caller's page; a decline stays on the page.
//! Not here: cards and sessions (`cards`, `api::checkout`).
//! Failure: the decline in words, status 402.
//! Source of outside rules: Stripe documentation, "Checkout", "Payment Links: URL parameters".

use super::html::{escape, money, page};
use super::{Form, Page};
use crate::api::{intents, payment_links};
use crate::cards;
use crate::control;
use crate::world::{World, int, text};
use serde_json::Value;

/// The buttons: key of the card, what it says.
const CHOICES: &[(&str, &str)] = &[
    ("4242", "Pay with 4242 4242 4242 4242: pays"),
    ("0002", "Pay with 4000 0000 0000 0002: declines"),
    ("9995", "Pay with 4000 0000 0000 9995: insufficient funds"),
    ("3184", "Pay with 4000 0027 6000 3184: needs authentication"),
    (
        "0341",
        "Pay with 4000 0000 0000 0341: pays now, declines at the renewal",
    ),
    ("3201", "Pay by bank debit: pays a day later"),
    ("3202", "Pay by bank debit: fails a day later"),
    (
        "0259",
        "Pay with 4000 0000 0000 0259: pays, disputed afterwards",
    ),
];

pub(crate) fn session(w: &mut World, id: &str, posts: bool, form: &Form) -> Page {
    let Some(session) = w.get("checkout.session", id).cloned() else {
        return gone("There is no such checkout session.");
    };
    if posts && form.contains_key("cancel") {
        return Page::To(return_to(&session, "cancel_url", id, &w.base_url));
    }
    if session["status"] != "open" {
        return over(&session);
    }
    if !posts {
        return Page::Html(200, checkout_page(&session, id, None));
    }
    // 0341 attaches and pays its first charge only on this page, so that a renewal can fail.
    let key = form.get("card").map_or("4242", String::as_str);
    let email = form
        .get("email")
        .map(String::as_str)
        .filter(|e| !e.is_empty());
    let card = cards::by_key(if key == "0341" { "4242" } else { key });
    match control::pages_pay(w, id, card, email) {
        Ok(after) => {
            if key == "0341" {
                fail_from_now_on(w, &after);
            }
            next(w, id)
        }
        Err(error) => Page::Html(
            error.status,
            checkout_page(&session, id, Some(&text(&error.body, "message"))),
        ),
    }
}

fn fail_from_now_on(w: &mut World, session: &Value) {
    let method = text(session, "__method");
    w.change(&method, |v| v["__card"] = "0341".into());
}

/// Where the buyer goes after an attempt that was not declined.
fn next(w: &mut World, id: &str) -> Page {
    let Some(session) = w.get("checkout.session", id).cloned() else {
        return gone("There is no such checkout session.");
    };
    if session["status"] == "open" {
        return Page::To(format!("/authenticate/{}", text(&session, "__intent")));
    }
    Page::To(return_to(&session, "success_url", id, &w.base_url))
}

fn return_to(session: &Value, field: &str, id: &str, base: &str) -> String {
    match session[field].as_str() {
        Some(url) => url.replace("{CHECKOUT_SESSION_ID}", id),
        None => format!("{base}/pay/{id}"),
    }
}

fn over(session: &Value) -> Page {
    let words = if session["status"] == "complete" {
        "This checkout is complete."
    } else {
        "This checkout has expired."
    };
    let back = session["success_url"]
        .as_str()
        .filter(|_| session["status"] == "complete")
        .or_else(|| session["cancel_url"].as_str());
    let id = text(session, "id");
    let link = back
        .filter(|u| u.starts_with("http"))
        .map(|u| {
            format!(
                "<p><a href=\"{}\">Back to the shop</a></p>",
                escape(&u.replace("{CHECKOUT_SESSION_ID}", &id))
            )
        })
        .unwrap_or_default();
    Page::Html(200, page("Checkout", &format!("<h1>{words}</h1>{link}")))
}

pub(super) fn gone(words: &str) -> Page {
    Page::Html(
        404,
        page(
            "Not found",
            &format!("<h1>Not found</h1><p>{}</p>", escape(words)),
        ),
    )
}

fn checkout_page(session: &Value, id: &str, error: Option<&str>) -> String {
    let rows: String = session["__items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let every = item["price"]["recurring"]["interval"]
                .as_str()
                .map(|i| format!(" each {}", escape(i)))
                .unwrap_or_default();
            format!(
                "<tr><td>{} × {}</td><td>{}{every}</td></tr>",
                int(item, "quantity"),
                escape(&text(item, "description")),
                money(int(item, "amount_total"), &text(item, "currency"))
            )
        })
        .collect();
    let trial = session["__subscription_data"]["trial_period_days"]
        .as_i64()
        .map(|d| format!("<p>The first {d} days are free.</p>"))
        .unwrap_or_default();
    let failed = error
        .map(|e| format!("<p class=\"error\" role=\"alert\">{}</p>", escape(e)))
        .unwrap_or_default();
    let email = session["customer_email"]
        .as_str()
        .unwrap_or("buyer@example.com");
    let asks = if session["customer"].is_string() {
        String::new()
    } else {
        format!(
            "<label for=\"email\">E-mail</label><input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"email\" required value=\"{}\">",
            escape(email)
        )
    };
    let buttons: String = CHOICES
        .iter()
        .map(|(key, words)| format!("<button name=\"card\" value=\"{key}\">{words}</button>"))
        .collect();
    let cancel = if session["cancel_url"].is_string() {
        "<form method=\"post\"><p><button name=\"cancel\" value=\"1\">Cancel and go back</button></p></form>"
    } else {
        ""
    };
    let total = money(int(session, "amount_total"), &text(session, "currency"));
    page(
        "Checkout",
        &format!(
            "<h1>Pay {total}</h1>{failed}{trial}<table><caption>What you buy</caption><thead><tr><th scope=\"col\">Item</th><th scope=\"col\">Amount</th></tr></thead><tbody>{rows}</tbody></table>\
         <form method=\"post\" action=\"/pay/{}\">{asks}<h2>Test cards</h2><div class=\"cards\">{buttons}</div></form>{cancel}",
            escape(id)
        ),
    )
}

pub(crate) fn bank(w: &mut World, id: &str, posts: bool, form: &Form) -> Page {
    let Some(pi) = w.get("payment_intent", id).cloned() else {
        return gone("There is no such payment.");
    };
    let session = text(&pi, "__session");
    if posts {
        let agreed = form.get("answer").is_some_and(|a| a == "agree");
        let outcome = intents::authenticated(w, id, agreed);
        if session.is_empty() {
            let words = if outcome.is_ok() {
                "The payment went through."
            } else {
                "The payment was refused."
            };
            return Page::Html(200, page("Your bank", &format!("<h1>{words}</h1>")));
        }
        return match outcome {
            Ok(()) => next(w, &session),
            Err(_) => Page::To(format!("/pay/{session}")),
        };
    }
    if pi["status"] != "requires_action" {
        return Page::Html(
            200,
            page(
                "Your bank",
                "<h1>Nothing to confirm</h1><p>This payment is not waiting for the bank.</p>",
            ),
        );
    }
    let body = format!(
        "<h1>Your bank asks</h1><p>Do you agree to pay {}?</p><form method=\"post\"><button name=\"answer\" value=\"agree\">Agree</button> <button name=\"answer\" value=\"refuse\">Refuse</button></form>",
        money(int(&pi, "amount"), &text(&pi, "currency"))
    );
    Page::Html(200, page("Your bank", &body))
}

pub(crate) fn link(w: &mut World, id: &str, form: &Form) -> Page {
    let reference = form
        .get("client_reference_id")
        .map(String::as_str)
        .filter(|r| valid_reference(r));
    let email = form.get("prefilled_email").map(String::as_str);
    match payment_links::visit(w, id, reference, email) {
        Ok(session) => Page::To(format!("/pay/{}", text(&session, "id"))),
        Err(error) => Page::Html(
            error.status,
            page(
                "Payment link",
                &format!("<h1>{}</h1>", escape(&text(&error.body, "message"))),
            ),
        ),
    }
}

/// Stripe drops references that do not fit instead of refusing the visit.
fn valid_reference(reference: &str) -> bool {
    !reference.is_empty()
        && reference.len() <= 200
        && reference
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
