//! Payments: the list, one with everything that happened to it, and money going back.
//!
//! Invariants: a refund is previewed on a page of its own, with the amount in minor units as it will be ordered; what
//! is left Stripe knows better, so too much is refused there.

use super::explain::entry;
use super::form::{filled, next_page};
use super::money;
use super::visit::Visit;
use crate::commands::answer;
use crate::commands::explain::is_nothing;
use crate::http::answer::Answer;
use crate::http::problem::{FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::words;
use bursar_domain::money::Currency;
use hyper::StatusCode;
use serde_json::{Value, json};

const FILTERS: &[&str] = &["status", "createdAfter", "createdBefore"];
/// Why money goes back, and in words.
const REASONS: [(&str, &str); 3] = [
    ("requested_by_customer", "the customer asked for it"),
    ("duplicate", "it was paid twice"),
    ("fraudulent", "it was fraud"),
];

/// `GET /console/payments`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut asked = visit.given(&["status", "cursor"]);
        for name in ["createdAfter", "createdBefore"] {
            asked.extend(visit.field(name).map(|day| (name, midnight(day))));
        }
        let page = visit.ask("payments_list", &[], asked).await?;
        let holds = json!({
            "payments": page["data"], "statuses": words::PAYMENT,
            "filled": filled(&visit, FILTERS),
            "next": next_page(&visit, "/console/payments", FILTERS, &page),
        });
        visit.page("payments.html", "Payments", holds).await
    })
}

/// A day as a browser's date field sends it, as the moment it begins.
pub(super) fn midnight(day: &str) -> String {
    if day.len() == 10 {
        return format!("{day}T00:00:00Z");
    }
    day.to_owned()
}

async fn payment(visit: &Visit) -> Result<Value, Problem> {
    let id = visit.call.path("id").to_owned();
    visit.ask("payments_get", &[("id", &id)], Vec::new()).await
}

/// What is left of a payment's captured money.
fn left_of(payment: &Value) -> i64 {
    let of = |field: &str| payment[field].as_i64().unwrap_or(0);
    of("amountCaptured")
        .saturating_sub(of("amountRefunded"))
        .max(0)
}

/// `GET /console/payments/{id}`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let payment = payment(&visit).await?;
        let id = payment["id"].as_str().unwrap_or("").to_owned();
        let path = [("id", id.as_str())];
        let whole = vec![("limit", "100".to_owned())];
        let lines = visit.ask("payments_timeline", &path, whole.clone()).await?;
        let currency = payment["currency"].as_str();
        let mut told: Vec<Value> = lines["data"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter(|line| !is_nothing(line))
            .map(|line| entry(line, false, currency))
            .collect();
        told.reverse();
        let moved = visit.ask("payments_transactions", &path, whole).await?;
        let left = left_of(&payment);
        let is_held = payment["status"] == "requires_capture";
        let holds = json!({
            "present": answer::present("payments", &payment), "lines": told,
            "moreLines": lines["hasMore"], "moved": moved["data"], "left": left,
            "mayRefund": left > 0 && visit.may("refunds_create"),
            "mayCapture": is_held && visit.may("payments_capture"),
            "reasons": reasons(), "leftTyped": typed(left, &payment), "shown": payment,
        });
        visit.page("payment.html", "Payment", holds).await
    })
}

fn reasons() -> Value {
    let each = REASONS
        .iter()
        .map(|(word, text)| json!({"word": word, "text": text}));
    each.collect()
}

fn currency(payment: &Value) -> Option<Currency> {
    Currency::parse(payment["currency"].as_str()?).ok()
}

fn typed(amount: i64, payment: &Value) -> String {
    currency(payment).map_or_else(|| amount.to_string(), |of| money::typed(amount, of))
}

/// `GET /console/payments/{id}/refund`: what would be given back, before it is.
pub(super) fn preview(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let payment = payment(&visit).await?;
        let left = left_of(&payment);
        let amount = match (visit.field("amount"), currency(&payment)) {
            (None, _) => left,
            (Some(text), Some(currency)) => money::parsed(text, currency).ok_or_else(|| {
                let detail = format!(
                    "`{text}` is no amount of {}: write it as {}",
                    currency.as_str().to_uppercase(),
                    money::typed(left, currency)
                );
                Problem::field("amount", FieldCode::Malformed, detail)
            })?,
            (Some(_), None) => {
                let detail =
                    "the payment's currency is not known, so only all of it can be refunded";
                return Err(Problem::field("amount", FieldCode::Malformed, detail));
            }
        };
        if amount <= 0 || amount > left {
            let shown = |minor| money::shown(minor, payment["currency"].as_str().unwrap_or(""));
            let detail = format!(
                "{} cannot be refunded: {} is left",
                shown(amount),
                shown(left)
            );
            return Err(Problem::field("amount", FieldCode::OutOfRange, detail));
        }
        let reason = visit.field("reason").unwrap_or("requested_by_customer");
        let known = REASONS.iter().find(|(word, _)| *word == reason);
        let (reason, words) = known.copied().unwrap_or(REASONS[0]);
        let holds = json!({
            "amount": amount, "left": left, "after": left - amount, "isAll": amount == left,
            "reason": reason, "reasonWords": words, "shown": payment,
        });
        visit
            .page("refund.html", "Refund: look before you order it", holds)
            .await
    })
}

/// What an order's answer leads to: done, or still under way.
fn ended(visit: &Visit, answer: &Answer, id: &str, said: &'static str) -> Answer {
    let said = if answer.status == StatusCode::ACCEPTED {
        "under-way"
    } else {
        said
    };
    visit.lead_to(&format!("/console/payments/{id}"), said)
}

/// `POST /console/payments/{id}/refund`.
pub(super) fn refund(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let mut fields = vec![("paymentId", id.clone())];
        // The page named an exact amount; an order without one would be for whatever is left by now.
        let amount = visit.field("amountMinor").map(str::to_owned);
        let amount = amount.ok_or_else(|| {
            Problem::field("amountMinor", FieldCode::Required, "say how much goes back")
        })?;
        fields.push(("amount", amount));
        fields.extend(visit.given(&["reason"]));
        let answer = visit.order("refunds_create", &[], fields).await?;
        super::visit::json_of(&answer)?;
        Ok(ended(&visit, &answer, &id, "refunded"))
    })
}

/// `POST /console/payments/{id}/capture`.
pub(super) fn capture(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(end(call, "payments_capture", "captured"))
}

/// `POST /console/payments/{id}/cancel`.
pub(super) fn cancel(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(end(call, "payments_cancel", "canceled"))
}

async fn end(call: Call, label: &'static str, said: &'static str) -> Result<Answer, Problem> {
    let visit = Visit::of(call);
    let id = visit.call.path("id").to_owned();
    let answer = visit.order(label, &[("id", &id)], Vec::new()).await?;
    super::visit::json_of(&answer)?;
    Ok(ended(&visit, &answer, &id, said))
}
