//! What a change would cost. Nothing is ordered.
//!
//! Two things are asked of Stripe where money is due at once: the invoice of the change, and the one after it. Where
//! nothing is due, the change goes onto the next invoice, which is the only one.
//! Source: Stripe API reference, "Create a preview invoice" (`subscription_proration_date`).

use super::change::{Wish, wish};
use super::{Subject, cost, live, must_live, subject};
use crate::http::answer::Answer;
use crate::http::commands::admit;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::ProrationBehavior;
use crate::stripe::requests::invoices::{self, ChangePreview};
use bursar_domain::ids::{Scope, Timestamp};
use serde_json::{Value, json};

/// `POST /api/v1/billing/subscriptions/{id}/preview`.
pub fn preview(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let subject = subject(&call).await?;
        must_live(subject.status())?;
        let _place = admit(&call, &subject.tenant, &Scope::PLATFORM).await?;
        let subscription = live(&call, &subject).await?;
        let wish = wish(&call, &subscription).await?;
        let first = ask(&call, &subject, &wish, wish.proration).await?;
        let is_anew = cost::begins_anew(&subscription, wish.old(), wish.new_one());
        let at_once = wish.proration == Some(ProrationBehavior::AlwaysInvoice)
            && subscription["status"] != "trialing";
        let (now_due, next) = if is_anew || at_once {
            let none = Some(ProrationBehavior::None);
            let next = ask(&call, &subject, &wish, none).await?;
            (first["amount_due"].clone(), next["amount_due"].clone())
        } else {
            (json!(0), first["amount_due"].clone())
        };
        // What it costs depends on the second it is asked in: an answer is not kept for another one.
        Ok(Answer::json(&json!({
            "amountDueNow": now_due,
            "nextAmount": next,
            "currency": first["currency"],
            "lines": lines(&first),
            "prorationDate": proration_date(&call, &first).map(Timestamp::rfc3339),
        }))
        .unkept())
    })
}

async fn ask(
    call: &Call,
    subject: &Subject,
    wish: &Wish,
    proration: Option<ProrationBehavior>,
) -> Result<Value, Problem> {
    let order = ChangePreview {
        subscription: subject.id.clone(),
        item: wish.item.id.clone(),
        price: wish.price.as_ref().map(|(id, _)| id.clone()),
        quantity: wish.quantity,
        proration,
        proration_date_seconds: call.fields.time("prorationDate").map(Timestamp::seconds),
    };
    super::super::live::preview(call, invoices::preview(&order)).await
}

fn all_lines(invoice: &Value) -> impl Iterator<Item = &Value> {
    invoice["lines"]["data"].as_array().into_iter().flatten()
}

fn is_proration(line: &Value) -> bool {
    let parent = &line["parent"];
    ["subscription_item_details", "invoice_item_details"]
        .iter()
        .any(|details| parent[details]["proration"] == true)
}

fn lines(invoice: &Value) -> Vec<Value> {
    let time = |at: &Value| at.as_i64().map(|at| Timestamp::from_seconds(at).rfc3339());
    let shown = all_lines(invoice).map(|line| {
        json!({
            "description": line["description"], "amount": line["amount"], "currency": line["currency"],
            "periodStart": time(&line["period"]["start"]), "periodEnd": time(&line["period"]["end"]),
            "proration": is_proration(line),
        })
    });
    shown.collect()
}

/// As of when it was computed: handed to the change, it costs what was shown.
fn proration_date(call: &Call, invoice: &Value) -> Option<Timestamp> {
    let said = &invoice["parent"]["subscription_details"]["subscription_proration_date"];
    let first = all_lines(invoice).find(|line| is_proration(line));
    let seconds = said.as_i64().or_else(|| first?["period"]["start"].as_i64());
    let asked = call.fields.time("prorationDate");
    asked.or(seconds.map(Timestamp::from_seconds))
}
