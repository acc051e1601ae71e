//! `POST /api/v1/billing/invoices/{invoiceId}/payment-intent`: what a page needs to let a person pay an invoice.
//!
//! Invariants: no intent is ever made here: Stripe makes one with the invoice, for what the invoice asks, and that one
//! is answered. The client secret is read, answered and forgotten: it is in no store and no log.
//! Source: Stripe API reference, "The Invoice object" (`confirmation_secret`, `payments`: only when expanded, since
//! basil).

use super::{Ended, Plan, command_id, live, run};
use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::invoices;
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{InvoiceId, Scope, TenantId};
use bursar_domain::rows::RowKind;
use serde_json::{Value, json};

/// `POST /api/v1/billing/invoices/{invoiceId}/payment-intent`.
pub fn open(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let id = call.path("invoiceId");
        let row = visible_row(&call.edge, RowKind::Invoice, id, Some(""), &call.reach()).await?;
        let invoice = InvoiceId::parse(&row.id).map_err(|_| Problem::not_found())?;
        let mut shown = read(&call, &invoice).await?;
        if shown["status"] == "draft" {
            let tenant = row.tenant.clone().ok_or_else(|| {
                conflict("whose invoice this is is not known yet; it cannot be finalized from here")
            })?;
            match finalize(&call, &invoice, tenant).await {
                Ok(Some(pending)) => return Ok(pending),
                Ok(None) => shown = read(&call, &invoice).await?,
                // Somebody else, or Stripe itself, may have been quicker.
                Err(problem) if problem.code == Code::StripeRefused => {
                    shown = read(&call, &invoice).await?;
                    if shown["status"] == "draft" {
                        return Err(problem);
                    }
                }
                Err(problem) => return Err(problem),
            }
        }
        let status = shown["status"].as_str().unwrap_or_default();
        if status != "open" {
            return Err(conflict(&format!(
                "the invoice is {status}: there is nothing to pay"
            )));
        }
        let (secret, intent) = secret(&shown).ok_or_else(|| {
            conflict("Stripe has no payment intent for this invoice: nothing of it is to be paid by card")
        })?;
        let body = json!({"clientSecret": secret, "paymentIntentId": intent});
        Ok(Answer::json(&body).unkept())
    })
}

fn conflict(detail: &str) -> Problem {
    Problem::new(Code::StateConflict, detail)
}

async fn read(call: &Call, invoice: &InvoiceId) -> Result<Value, Problem> {
    let id = live::escaped(invoice.as_str());
    let expanded = "expand%5B%5D=confirmation_secret&expand%5B%5D=payments";
    let path = format!("/v1/invoices/{id}?{expanded}");
    live::read(call, Scope::PLATFORM, path).await
}

/// Makes a draft an open invoice; an answer if nobody knows yet whether it is.
async fn finalize(
    call: &Call,
    invoice: &InvoiceId,
    tenant: TenantId,
) -> Result<Option<Answer>, Problem> {
    let plan = async {
        Ok(Plan {
            kind: CommandKind::FinalizeInvoice,
            tenant,
            call: invoices::finalize(invoice),
            objects: vec![invoice.to_string()],
            awaits: None,
        })
    };
    Ok(match run(call, command_id(call), plan).await? {
        Ended::Succeeded(_) => None,
        Ended::Pending(answer) => Some(answer),
    })
}

/// The client secret, and the intent it is of.
fn secret(invoice: &Value) -> Option<(&str, &str)> {
    let secret = invoice["confirmation_secret"]["client_secret"].as_str()?;
    let payments = invoice["payments"]["data"].as_array().into_iter().flatten();
    let mut intents = payments.filter_map(|one| {
        let intent = &one["payment"]["payment_intent"];
        intent.as_str().or(intent["id"].as_str())
    });
    let is_of = |intent: &&str| {
        let rest = secret.strip_prefix(*intent);
        rest.is_some_and(|rest| rest.starts_with("_secret"))
    };
    let told = intents.find(is_of);
    let named = || Some(secret.split_once("_secret")?.0);
    Some((secret, told.or_else(named)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intent_answered_is_the_one_the_secret_is_of() {
        let invoice = |payments: Value| {
            json!({"confirmation_secret": {"client_secret": "pi_2_secret_x", "type": "payment_intent"},
                "payments": {"data": payments}})
        };
        let paid_by =
            |id: Value| json!({"payment": {"type": "payment_intent", "payment_intent": id}});
        for payments in [
            json!([paid_by(json!("pi_1")), paid_by(json!("pi_2"))]),
            json!([paid_by(json!({"id": "pi_2"}))]),
            json!([]),
        ] {
            let invoice = invoice(payments);
            assert_eq!(secret(&invoice), Some(("pi_2_secret_x", "pi_2")));
        }
        assert_eq!(secret(&json!({"confirmation_secret": null})), None);
    }
}
