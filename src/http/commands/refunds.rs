//! `POST /api/v1/refunds`: money goes back.
//!
//! Invariants: of a payment of the caller's tenant alone, on the account it lives on. How much is left Stripe knows
//! better than we do, since a refund may fail or be made elsewhere: too much is refused by Stripe, not here.
//! Source: contract §3 "Billing"; Stripe API reference, "Refunds".

use super::payments::{Known, amount};
use super::settled::{self, Place};
use super::{Ended, Plan, accepted, command_id, run};
use crate::http::answer::{Answer, JSON};
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::payments::{self, Paid, Refund, RefundReason};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{ChargeId, PaymentIntentId};
use bursar_domain::rows::RowKind;
use hyper::StatusCode;

/// `POST /api/v1/refunds`.
pub fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let payment_id = call.fields.text("paymentId").unwrap_or_default();
        let known = Known::find(&call, payment_id).await?;
        let id = command_id(&call);
        let plan = async {
            let order = Refund {
                scope: known.row.scope.clone(),
                payment: paid(&known)?,
                amount_minor: amount(&call),
                reason: call.fields.text("reason").and_then(RefundReason::parse),
            };
            Ok(Plan {
                kind: CommandKind::Refund,
                tenant: known.tenant()?,
                call: payments::refund(&order, &id),
                objects: known.objects(),
                awaits: None,
            })
        };
        let command = match run(&call, id.clone(), plan).await? {
            Ended::Succeeded(command) => command,
            Ended::Pending(answer) => return Ok(answer),
        };
        let place = Place {
            kind: RowKind::Refund,
            scope: known.row.scope.clone(),
            id: command.object_id().to_owned(),
        };
        // A row that is there is as fresh as the answer or fresher.
        let shown = settled::shown(&call, &id, place, |_| true).await?;
        Ok(match shown {
            Some(body) => Answer::of(StatusCode::CREATED, JSON, body),
            None => accepted(&id, command.text("status")),
        })
    })
}

/// The payment as Stripe wants it named. # Errors: 409 where no money was taken.
fn paid(known: &Known) -> Result<Paid, Problem> {
    let detail = match known.status() {
        // Empty: only a refund or dispute told of it, so there was money.
        "succeeded" | "" => None,
        "requires_capture" => Some("it is authorized and not taken: cancel it instead".to_owned()),
        status => Some(format!("it is {status}: no money was taken")),
    };
    if let Some(detail) = detail {
        return Err(Problem::new(Code::StateConflict, detail));
    }
    let named = match known.text("stripePaymentIntentId") {
        Some(intent) => PaymentIntentId::parse(intent).map(Paid::Intent),
        None => ChargeId::parse(&known.row.id).map(Paid::Charge),
    };
    named.map_err(|_| Problem::not_found())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::Scope;
    use bursar_store::query::RowView;
    use serde_json::{Value, json};

    fn known(id: &str, status: &Value, intent: Option<&str>) -> Known {
        let value = json!({"status": status, "stripePaymentIntentId": intent});
        Known::of(RowView {
            kind: RowKind::Payment,
            scope: Scope::PLATFORM,
            id: id.to_owned(),
            tenant: None,
            created_at: None,
            status: String::new(),
            version: 1,
            value: value.to_string().into_bytes(),
            erased: false,
        })
    }

    #[test]
    fn a_payment_is_named_by_its_intent_else_by_its_charge() {
        let paid = |known: Known| paid(&known).map_err(|problem| problem.code);
        let intent = Paid::Intent(PaymentIntentId::parse("pi_1").unwrap());
        let charge = Paid::Charge(ChargeId::parse("ch_1").unwrap());
        let done = json!("succeeded");
        assert_eq!(paid(known("pi_1", &done, Some("pi_1"))), Ok(intent.clone()));
        assert_eq!(paid(known("ch_1", &done, None)), Ok(charge));
        // Only a dispute told of it, so there was money.
        assert_eq!(paid(known("pi_1", &Value::Null, Some("pi_1"))), Ok(intent));
        for status in ["requires_capture", "processing", "canceled", "failed"] {
            let found = paid(known("pi_1", &json!(status), Some("pi_1")));
            assert_eq!(found, Err(Code::StateConflict), "{status}");
        }
    }
}
