//! The customer portal, onboarding of merchants, and what invoices and receipts link to.
//!
//! Invariants: a portal session acts for its customer only.
//! Not here: Stripe's rules for subscriptions (`api::subscriptions`).
//! Failure: a page with the reason.
//! Source of outside rules: Stripe documentation, "Customer portal", "Connect: Express onboarding".

use super::html::{choice, day, error, escape, money, page, price, words};
use super::pay::gone;
use super::{Form, Page};
use crate::api::{connect, invoices, subscriptions};
use crate::cards;
use crate::control;
use crate::world::{World, int, text};
use serde_json::{Value, json};

/// The cards the portal offers: key, what it is, what it does.
const CHOICES: &[(&str, &str, &str)] = &[
    ("4242", "Visa 4242 4242 4242 4242", "Pays"),
    ("4444", "Mastercard 5555 5555 5555 4444", "Pays"),
    (
        "0341",
        "Visa 4000 0000 0000 0341",
        "Is declined from now on",
    ),
];

/// Rows of a list.
const ROWS_MAX: usize = 20;

pub(crate) fn portal(w: &mut World, id: &str, posts: bool, form: &Form) -> Page {
    let Some(session) = w.get("billing_portal.session", id).cloned() else {
        return gone("There is no such portal session.");
    };
    let customer = text(&session, "customer");
    if !posts {
        return Page::Html(200, portal_page(w, &session, &customer, form, None));
    }
    match act(w, &customer, form) {
        Ok(done) if done.starts_with('/') => Page::To(done),
        Ok(done) => Page::To(format!("/portal/{id}?done={done}")),
        Err(words) => Page::Html(400, portal_page(w, &session, &customer, form, Some(&words))),
    }
}

/// Does what the form says; answers the word for it, or where to go on.
fn act(w: &mut World, customer: &str, form: &Form) -> Result<String, String> {
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let owned = |w: &World, kind: &str| {
        w.get(kind, field("id"))
            .is_some_and(|v| v["customer"] == customer)
    };
    let outcome = match field("do") {
        "cancel" if owned(w, "subscription") => {
            subscriptions::update(w, field("id"), &json!({"cancel_at_period_end": true}))
        }
        "resume" if owned(w, "subscription") => {
            subscriptions::update(w, field("id"), &json!({"cancel_at_period_end": false}))
        }
        "card" => control::set_card(w, customer, cards::by_key(field("card"))),
        "pay" if owned(w, "invoice") => invoices::pay(w, field("id"), &json!({})),
        _ => return Err("The portal does not know this action.".to_owned()),
    };
    let after = outcome.map_err(|e| text(&e.body, "message"))?;
    if field("do") == "pay" && after["status"] != "paid" {
        return Ok(format!("/invoices/{}", text(&after, "id")));
    }
    Ok(field("do").to_owned())
}

/// What was done, said once.
fn done(form: &Form) -> String {
    let words = match form.get("done").map(String::as_str) {
        Some("cancel") => "The subscription will end with its period.",
        Some("resume") => "The subscription goes on.",
        Some("card") => "The payment method was changed.",
        Some("pay") => "The invoice was paid.",
        _ => return String::new(),
    };
    format!("<p class=\"done\" role=\"status\">{words}</p>")
}

/// A button of its own that does one thing to one object.
fn button(session: &str, action: &str, object: &str, words: &str, about: &str) -> String {
    format!(
        "<form class=\"inline\" method=\"post\" action=\"/portal/{session}\"><input type=\"hidden\" name=\"id\" value=\"{}\">\
         <button class=\"plain\" name=\"do\" value=\"{action}\" aria-label=\"{words}: {about}\">{words}</button></form>",
        escape(object)
    )
}

/// `Visa ending in 4242`.
fn method_words(w: &World, customer: &str) -> String {
    let default = w
        .get("customer", customer)
        .map(|c| text(&c["invoice_settings"], "default_payment_method"))
        .filter(|id| !id.is_empty())
        .or_else(|| {
            let mut subs = w.newest("subscription");
            let own = subs.find(|s| s["customer"] == customer && !subscriptions::is_over(s))?;
            Some(text(own, "default_payment_method"))
        });
    let Some(method) = default.and_then(|id| w.get("payment_method", &id)) else {
        return "No payment method yet.".to_owned();
    };
    let (kind, last4) = match method["card"]["brand"].as_str() {
        Some(brand) => (brand.to_owned(), text(&method["card"], "last4")),
        None => (
            "Bank debit".to_owned(),
            text(&method["sepa_debit"], "last4"),
        ),
    };
    let mut letters = kind.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!(
        "Now: {}{} ending in {}",
        first.unwrap_or_default(),
        escape(letters.as_str()),
        escape(&last4)
    )
}

fn subscription_row(w: &World, session: &str, sub: &Value) -> String {
    let item = &sub["items"]["data"][0];
    let name = w
        .get("product", &text(&item["price"], "product"))
        .map(|v| escape(&text(v, "name")))
        .unwrap_or_default();
    let (over, ends) = (
        subscriptions::is_over(sub),
        sub["cancel_at_period_end"] == true,
    );
    let until = day(subscriptions::period_end(sub));
    let id = text(sub, "id");
    let (next, does) = match (over, ends) {
        (true, _) => (String::new(), String::new()),
        (false, true) => (
            format!(", ends on {until}"),
            button(session, "resume", &id, "Keep the plan", &name),
        ),
        (false, false) => (
            format!(", renews on {until}"),
            button(
                session,
                "cancel",
                &id,
                "Cancel at the end of the period",
                &name,
            ),
        ),
    };
    format!(
        "<li><strong>{name}</strong>, {}<br>{}{next}{does}</li>",
        price(&item["price"]),
        words(&text(sub, "status")),
    )
}

fn invoice_row(session: &str, invoice: &Value) -> String {
    let number = escape(invoice["number"].as_str().unwrap_or("draft"));
    let id = text(invoice, "id");
    let pays = if invoice["status"] == "open" {
        button(session, "pay", &id, "Pay now", &number)
    } else {
        String::new()
    };
    format!(
        "<tr><th scope=\"row\"><a href=\"/invoices/{}\">{number}</a><br><span class=\"soft\">{}</span>{pays}</th><td>{}</td><td class=\"amount\">{}</td></tr>",
        escape(&id),
        day(int(invoice, "created")),
        words(&text(invoice, "status")),
        money(int(invoice, "total"), &text(invoice, "currency"))
    )
}

/// What there is, within its list or table.
fn listed(rows: &str, before: &str, after: &str) -> String {
    if rows.is_empty() {
        return "<p class=\"soft\">None yet.</p>".to_owned();
    }
    format!("{before}{rows}{after}")
}

/// Before and after the rows of the invoices.
const INVOICES: (&str, &str) = (
    "<table aria-label=\"Invoices\"><thead><tr><th scope=\"col\">Invoice</th><th scope=\"col\">Status</th>\
     <th scope=\"col\" class=\"amount\">Amount</th></tr></thead><tbody>",
    "</tbody></table>",
);

fn portal_page(
    w: &World,
    session: &Value,
    customer: &str,
    form: &Form,
    failed: Option<&str>,
) -> String {
    let id = escape(&text(session, "id"));
    let newest = |kind: &str, row: &dyn Fn(&Value) -> String| -> String {
        let own = w.newest(kind).filter(|v| v["customer"] == customer);
        own.take(ROWS_MAX).map(row).collect()
    };
    let subs = newest("subscription", &|sub| subscription_row(w, &id, sub));
    let bills = newest("invoice", &|invoice| invoice_row(&id, invoice));
    // The words stand in the part the form came from.
    let said = |action: &[&str]| match (failed, form.get("do")) {
        (Some(words), Some(did)) if action.contains(&did.as_str()) => error("failed", words),
        _ => String::new(),
    };
    let known = ["cancel", "resume", "card", "pay"];
    let elsewhere = match failed {
        Some(words)
            if form
                .get("do")
                .is_none_or(|did| !known.contains(&did.as_str())) =>
        {
            error("failed", words)
        }
        _ => String::new(),
    };
    let (changed, sub_error, card_error, bill_error) = (
        done(form),
        said(&["cancel", "resume"]),
        said(&["card"]),
        said(&["pay"]),
    );
    let choices: String = CHOICES
        .iter()
        .enumerate()
        .map(|(n, (key, is, does))| choice("card", key, is, does, n == 0, false))
        .collect();
    let back = session["return_url"]
        .as_str()
        .filter(|u| u.starts_with("http"))
        .map(|u| {
            format!(
                "<p><a href=\"{}\">Back to where you came from</a></p>",
                escape(u)
            )
        })
        .unwrap_or_default();
    let title = if failed.is_some() {
        "Error: Your billing"
    } else {
        "Your billing"
    };
    page(
        title,
        &format!(
            "<h1>Your billing</h1>{back}{changed}{elsewhere}\
             <h2>Subscriptions</h2>{sub_error}{}\
             <h2>Payment method</h2><p>{}</p><form method=\"post\" action=\"/portal/{id}\">\
             <fieldset><legend>Use another test card</legend>{card_error}{choices}</fieldset>\
             <div class=\"actions\"><button name=\"do\" value=\"card\">Change the payment method</button></div></form>\
             <h2>Invoices</h2>{bill_error}{}",
            listed(&subs, "<ul class=\"rows\">", "</ul>"),
            method_words(w, customer),
            listed(&bills, INVOICES.0, INVOICES.1),
        ),
    )
}

pub(crate) fn invoice(w: &mut World, id: &str) -> Page {
    let Some(invoice) = w.get("invoice", id) else {
        return gone("There is no such invoice.");
    };
    let currency = text(invoice, "currency");
    let rows: String = invoice["lines"]["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|l| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"amount\">{}</td></tr>",
                escape(&text(l, "description")),
                money(int(l, "amount"), &currency)
            )
        })
        .collect();
    let confirm = invoice["__intent"]
        .as_str()
        .and_then(|pi| w.get("payment_intent", pi))
        .filter(|pi| pi["status"] == "requires_action");
    let link = confirm
        .map(|pi| {
            format!(
                "<p><a href=\"/authenticate/{}\">Confirm with your bank</a></p>",
                escape(&text(pi, "id"))
            )
        })
        .unwrap_or_default();
    let foot = |words: &str, amount: i64| {
        format!(
            "<tr><th scope=\"row\">{words}</th><td class=\"amount\">{}</td></tr>",
            money(amount, &currency)
        )
    };
    let body = format!(
        "<h1>Invoice {}</h1><p>{}, {}</p>{link}\
         <table><caption>What it is for</caption><thead><tr><th scope=\"col\">Item</th><th scope=\"col\" class=\"amount\">Amount</th></tr></thead>\
         <tbody>{rows}</tbody><tfoot>{}{}</tfoot></table>",
        escape(invoice["number"].as_str().unwrap_or("draft")),
        day(int(invoice, "created")),
        words(&text(invoice, "status")),
        foot("Total", int(invoice, "total")),
        foot("Still to pay", int(invoice, "amount_remaining")),
    );
    Page::Html(200, page("Invoice", &body))
}

pub(crate) fn receipt(w: &mut World, id: &str) -> Page {
    let Some(charge) = w.get("charge", id) else {
        return gone("There is no such receipt.");
    };
    Page::Html(
        200,
        page(
            "Receipt",
            &format!(
                "<h1>Receipt</h1><p>{} paid, {} refunded.</p>",
                money(int(charge, "amount_captured"), &text(charge, "currency")),
                money(int(charge, "amount_refunded"), &text(charge, "currency"))
            ),
        ),
    )
}

pub(crate) fn onboarding(w: &mut World, account: &str, token: &str, posts: bool) -> Page {
    let found = w
        .platform_account(account)
        .filter(|a| a["__link"] == token)
        .cloned();
    let Some(found) = found else {
        return gone("This link was used already or has expired.");
    };
    if posts {
        if let Err(error) = connect::onboarded(w, account) {
            return gone(&text(&error.body, "message"));
        }
        let platform = w.platform.clone();
        // Account links are good for one use.
        w.within(&platform, |w| {
            w.change(account, |v| v["__link"] = Value::Null)
        });
        return Page::To(text(&found, "__return_url"));
    }
    Page::Html(
        200,
        page(
            "Onboarding",
            "<h1>Set up payouts</h1><p>At Stripe a form about your business stands here.</p><form method=\"post\"><button>Complete onboarding</button></form>",
        ),
    )
}

pub(crate) fn express(w: &mut World, account: &str) -> Page {
    if w.platform_account(account).is_none() {
        return gone("There is no such account.");
    }
    Page::Html(
        200,
        page(
            "Express Dashboard",
            &format!(
                "<h1>Express Dashboard</h1><p>Account <code>{}</code></p>",
                escape(account)
            ),
        ),
    )
}
