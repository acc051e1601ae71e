//! Hosted checkout, the bank's question, payment links.
//!
//! Invariants: paying is a POST, answered with 303 to the caller's page; a decline stays on the page, with
//! what was typed and chosen.
//! Not here: cards and sessions (`cards`, `api::checkout`).
//! Failure: the decline in words, status 402.
//! Source of outside rules: Stripe documentation, "Checkout", "Payment Links: URL parameters".

use super::html::{choice, day, error, escape, every, money, page};
use super::{Form, Page};
use crate::api::{intents, payment_links};
use crate::cards;
use crate::control;
use crate::world::{World, int, text};
use serde_json::Value;

/// Key of the card, what it is, what it does.
const CHOICES: &[(&str, &str, &str)] = &[
    ("4242", "4242 4242 4242 4242", "Pays"),
    ("0002", "4000 0000 0000 0002", "Is declined"),
    (
        "9995",
        "4000 0000 0000 9995",
        "Is declined: insufficient funds",
    ),
    ("3184", "4000 0027 6000 3184", "The bank asks first"),
    (
        "0341",
        "4000 0000 0000 0341",
        "Pays now, is declined at the renewal",
    ),
    ("3201", "Bank debit AT61…3201", "Pays a day later"),
    ("3202", "Bank debit AT86…3202", "Fails a day later"),
    (
        "0259",
        "4000 0000 0000 0259",
        "Pays, is disputed afterwards",
    ),
];

/// What of a form is wrong, to be said beside the field.
enum Wrong {
    Email(&'static str),
    Card(String),
}

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
        let refused = last_refusal(w, &session).map(Wrong::Card);
        return Page::Html(200, checkout_page(&session, id, form, refused.as_ref()));
    }
    // 0341 attaches and pays its first charge only on this page, so that a renewal can fail.
    let key = form.get("card").map_or("4242", String::as_str);
    let email = form
        .get("email")
        .map(|e| e.trim())
        .filter(|e| !e.is_empty());
    if email.is_some_and(|e| !e.trim_matches('@').contains('@')) {
        let wrong = Wrong::Email("This is no e-mail address: it needs an @ between two parts.");
        return Page::Html(400, checkout_page(&session, id, form, Some(&wrong)));
    }
    let card = cards::by_key(if key == "0341" { "4242" } else { key });
    match control::pages_pay(w, id, card, email) {
        Ok(after) => {
            if key == "0341" {
                fail_from_now_on(w, &after);
            }
            next(w, id)
        }
        Err(error) => {
            let wrong = Wrong::Card(text(&error.body, "message"));
            Page::Html(
                error.status,
                checkout_page(&session, id, form, Some(&wrong)),
            )
        }
    }
}

/// What the bank said when the session was last tried, if that failed.
fn last_refusal(w: &World, session: &Value) -> Option<String> {
    let intent = w.get("payment_intent", session["__intent"].as_str()?)?;
    let said = intent["last_payment_error"]["message"].as_str()?;
    (intent["status"] == "requires_payment_method").then(|| said.to_owned())
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

/// What is paid when, in the page's heading, its button and a sentence.
struct Asked {
    heading: String,
    button: String,
    sentence: String,
    today: i64,
}

fn asked(session: &Value) -> Asked {
    let total = int(session, "amount_total");
    let later = money(total, &text(session, "currency"));
    let wish = &session["__subscription_data"];
    let free = match (
        wish["trial_period_days"].as_i64(),
        wish["trial_end"].as_i64(),
    ) {
        (_, Some(end)) => Some(format!("Free until {}.", day(end))),
        (Some(1), None) => Some("The first day is free.".to_owned()),
        (Some(days), None) => Some(format!("The first {days} days are free.")),
        (None, None) => None,
    };
    let (heading, today) = match (&free, session["mode"] == "setup") {
        (Some(_), _) => ("Start the free trial".to_owned(), 0),
        (None, true) => ("Save a payment method".to_owned(), 0),
        (None, false) => (format!("Pay {later}"), total),
    };
    Asked {
        button: heading.clone(),
        heading,
        sentence: free.map_or_else(String::new, |words| format!("<p>{words}</p>")),
        today,
    }
}

/// The table of what is bought.
fn order(session: &Value, today: i64) -> String {
    let currency = text(session, "currency");
    let rows: String = session["__items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            format!(
                "<tr><th scope=\"row\">{} × {}</th><td class=\"amount\">{}{}</td></tr>",
                int(item, "quantity"),
                escape(&text(item, "description")),
                money(int(item, "amount_subtotal"), &text(item, "currency")),
                every(&item["price"])
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let foot = |words: &str, amount: i64| {
        format!(
            "<tr><th scope=\"row\">{words}</th><td class=\"amount\">{}</td></tr>",
            money(amount, &currency)
        )
    };
    let discount = match int(&session["total_details"], "amount_discount") {
        0 => String::new(),
        off => foot("Discount", -off),
    };
    format!(
        "<table><caption>What you buy</caption><thead><tr><th scope=\"col\">Item</th><th scope=\"col\" class=\"amount\">Amount</th></tr></thead>\
         <tbody>{rows}</tbody><tfoot>{discount}{}</tfoot></table>",
        foot("To pay today", today)
    )
}

fn checkout_page(session: &Value, id: &str, form: &Form, wrong: Option<&Wrong>) -> String {
    let Asked {
        heading,
        button,
        sentence,
        today,
    } = asked(session);
    let typed = form
        .get("email")
        .map(String::as_str)
        .or_else(|| session["__email"].as_str())
        .or_else(|| session["customer_email"].as_str())
        .unwrap_or("buyer@example.com");
    let (email_error, email_marks) = match wrong {
        Some(Wrong::Email(words)) => (
            error("email-error", words),
            " aria-invalid=\"true\" aria-describedby=\"email-error\" autofocus",
        ),
        _ => (String::new(), ""),
    };
    let email = if session["customer"].is_string() {
        String::new()
    } else {
        format!(
            "<label class=\"field\" for=\"email\">E-mail</label>{email_error}\
             <input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"email\" required value=\"{}\"{email_marks}>",
            escape(typed)
        )
    };
    let (card_error, card_marks) = match wrong {
        Some(Wrong::Card(words)) => (
            error("card-error", words),
            " aria-describedby=\"card-error\"",
        ),
        _ => (String::new(), ""),
    };
    let chosen = form.get("card").map_or("4242", String::as_str);
    let choices: String = CHOICES
        .iter()
        .map(|(key, is, does)| {
            let checked = *key == chosen;
            choice(
                "card",
                key,
                is,
                does,
                checked,
                checked && !card_marks.is_empty(),
            )
        })
        .collect();
    let cancel = if session["cancel_url"].is_string() {
        format!(
            "<form method=\"post\" action=\"/pay/{}\"><button class=\"plain wide\" name=\"cancel\" value=\"1\">Cancel and go back</button></form>",
            escape(id)
        )
    } else {
        String::new()
    };
    let title = if wrong.is_some() {
        "Error: Checkout"
    } else {
        "Checkout"
    };
    page(
        title,
        &format!(
            "<h1>{heading}</h1>{sentence}{}\
             <form method=\"post\" action=\"/pay/{}\">{email}\
             <fieldset{card_marks}><legend>Pay with a test card</legend>{card_error}{choices}</fieldset>\
             <button class=\"wide\">{button}</button></form>{cancel}",
            order(session, today),
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
            let words = match outcome {
                Ok(()) => "The payment went through.".to_owned(),
                Err(error) => text(&error.body, "message"),
            };
            return Page::Html(
                200,
                page("Your bank", &format!("<h1>{}</h1>", escape(&words))),
            );
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
        "<h1>Your bank asks</h1><p>Do you agree to pay <strong>{}</strong>?</p>\
         <form method=\"post\" action=\"/authenticate/{}\" class=\"actions\"><button name=\"answer\" value=\"agree\">Agree</button>\
         <button class=\"plain\" name=\"answer\" value=\"refuse\">Refuse</button></form>",
        money(int(&pi, "amount"), &text(&pi, "currency")),
        escape(id)
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
