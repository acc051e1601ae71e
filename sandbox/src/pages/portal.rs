//! The customer portal, onboarding of merchants, and what invoices and receipts link to.
//!
//! Invariants: a portal session acts for its customer only.
//! Not here: Stripe's rules for subscriptions (`api::subscriptions`).
//! Failure: a page with the reason.
//! Source of outside rules: Stripe documentation, "Customer portal", "Connect: Express onboarding".

use super::html::{escape, money, page};
use super::pay::gone;
use super::{Form, Page};
use crate::api::{connect, invoices, subscriptions};
use crate::cards;
use crate::control;
use crate::world::{World, int, text};
use serde_json::{Value, json};

pub(crate) fn portal(w: &mut World, id: &str, posts: bool, form: &Form) -> Page {
    let Some(session) = w.get("billing_portal.session", id).cloned() else {
        return gone("There is no such portal session.");
    };
    let customer = text(&session, "customer");
    if posts {
        return match act(w, &customer, form) {
            Ok(()) => Page::To(format!("/portal/{id}")),
            Err(words) => Page::Html(
                400,
                page(
                    "Portal",
                    &format!(
                        "<h1>That did not work</h1><p class=\"error\" role=\"alert\">{}</p><p><a href=\"/portal/{}\">Back</a></p>",
                        escape(&words),
                        escape(id)
                    ),
                ),
            ),
        };
    }
    Page::Html(200, portal_page(w, &session, &customer))
}

fn act(w: &mut World, customer: &str, form: &Form) -> Result<(), String> {
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
    outcome.map(drop).map_err(|e| text(&e.body, "message"))
}

fn portal_page(w: &World, session: &Value, customer: &str) -> String {
    let id = escape(&text(session, "id"));
    let button = |action: &str, object: &str, words: &str| {
        format!(
            "<form method=\"post\" action=\"/portal/{id}\"><input type=\"hidden\" name=\"id\" value=\"{}\"><button name=\"do\" value=\"{action}\">{words}</button></form>",
            escape(object)
        )
    };
    let mut subs = String::new();
    for sub in w
        .newest("subscription")
        .filter(|s| s["customer"] == customer)
        .take(20)
    {
        let sub_id = text(sub, "id");
        let item = &sub["items"]["data"][0];
        let name = w
            .get("product", &text(&item["price"], "product"))
            .map(|v| text(v, "name"))
            .unwrap_or_default();
        let ends = if sub["cancel_at_period_end"] == true {
            ", ends with the period"
        } else {
            ""
        };
        let does = match (
            subscriptions::is_over(sub),
            sub["cancel_at_period_end"] == true,
        ) {
            (true, _) => String::new(),
            (false, true) => button("resume", &sub_id, "Keep the plan"),
            (false, false) => button("cancel", &sub_id, "Cancel at the end of the period"),
        };
        subs.push_str(&format!(
            "<li>{} · {} · {}{ends} {does}</li>",
            escape(&name),
            money(int(&item["price"], "unit_amount"), &text(sub, "currency")),
            escape(&text(sub, "status"))
        ));
    }
    let mut bills = String::new();
    for invoice in w
        .newest("invoice")
        .filter(|i| i["customer"] == customer)
        .take(20)
    {
        let pays = if invoice["status"] == "open" {
            button("pay", &text(invoice, "id"), "Pay now")
        } else {
            String::new()
        };
        bills.push_str(&format!(
            "<li>{} · {} · {} {pays}</li>",
            escape(invoice["number"].as_str().unwrap_or("draft")),
            money(int(invoice, "total"), &text(invoice, "currency")),
            escape(&text(invoice, "status"))
        ));
    }
    let none = |s: String| {
        if s.is_empty() {
            "<li>none</li>".to_owned()
        } else {
            s
        }
    };
    let choices: String = [("4242", "Use 4242 4242 4242 4242: pays"), ("0341", "Use 4000 0000 0000 0341: declines from now on")]
        .iter()
        .map(|(key, words)| format!("<form method=\"post\" action=\"/portal/{id}\"><input type=\"hidden\" name=\"card\" value=\"{key}\"><button name=\"do\" value=\"card\">{words}</button></form>"))
        .collect();
    let back = session["return_url"]
        .as_str()
        .filter(|u| u.starts_with("http"))
        .map(|u| format!("<p><a href=\"{}\">Back</a></p>", escape(u)))
        .unwrap_or_default();
    page(
        "Portal",
        &format!(
            "<h1>Your billing</h1>{back}<h2>Subscriptions</h2><ul>{}</ul><h2>Payment method</h2><div class=\"cards\">{choices}</div><h2>Invoices</h2><ul>{}</ul>",
            none(subs),
            none(bills)
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
                "<tr><td>{}</td><td>{}</td></tr>",
                escape(&text(l, "description")),
                money(int(l, "amount"), &currency)
            )
        })
        .collect();
    let body = format!(
        "<h1>Invoice {}</h1><p>{}</p><table><caption>Lines</caption><thead><tr><th scope=\"col\">For</th><th scope=\"col\">Amount</th></tr></thead><tbody>{rows}</tbody></table><p>Total {}</p>",
        escape(invoice["number"].as_str().unwrap_or("draft")),
        escape(&text(invoice, "status")),
        money(int(invoice, "total"), &currency)
    );
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
    Page::Html(200, page("Invoice", &format!("{body}{link}")))
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
