//! `POST /api/v1/payments/{id}/capture` and `/cancel`: money that was authorized is taken, or let go.
//!
//! Invariants: whose payment it is decides, not what the request names; it is ordered on the account it lives on. Only
//! what cannot change any more is refused here; whatever may be news to us is Stripe's to decide.
//! Source: contract §3 "Billing"; Stripe API reference, "The PaymentIntent object" (`succeeded`, `canceled` are final).

use super::settled::{self, Place};
use super::{Ended, Plan, accepted, command_id, run};
use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::payments::{
    self, CancelReason, Cancellation, Capture as CaptureOrder,
};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{CommandId, PaymentIntentId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_domain::stripe_call::StripeCall;
use bursar_store::query::RowView;
use serde_json::Value;

/// A payment the caller may order something about.
pub(super) struct Known {
    pub(super) row: RowView,
    stored: Value,
}

impl Known {
    /// By its intent's or its charge's id. # Errors: 404 absent or foreign.
    pub(super) async fn find(call: &Call, id: &str) -> Result<Self, Problem> {
        let account = call.fields.text("account");
        let row = visible_row(&call.edge, RowKind::Payment, id, account, &call.reach()).await?;
        Ok(Self::of(row))
    }
    /// What its row says.
    pub(super) fn of(row: RowView) -> Self {
        let stored = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
        Self { row, stored }
    }
    /// Whose it is. # Errors: 409 while nobody is known to own it.
    pub(super) fn tenant(&self) -> Result<TenantId, Problem> {
        owner(&self.row)
    }
    /// Stripe's word; empty if only a refund or dispute told of it.
    pub(super) fn status(&self) -> &str {
        self.text("status").unwrap_or_default()
    }
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.stored[name].as_str()
    }
    /// Its ids, for `explain`.
    pub(super) fn objects(&self) -> Vec<String> {
        let charge = self.text("stripeChargeId").map(str::to_owned);
        let mut ids = vec![self.row.id.clone()];
        ids.extend(charge.filter(|charge| *charge != self.row.id));
        ids
    }
    fn intent(&self) -> Result<PaymentIntentId, Problem> {
        let id = self.text("stripePaymentIntentId").unwrap_or_default();
        PaymentIntentId::parse(id).map_err(|_| {
            let detail =
                "this payment has no payment intent; only those can be captured or called off here";
            Problem::new(Code::Refused, detail)
        })
    }
}

/// Whose row it is. # Errors: 409 while nobody is known to own it.
pub(super) fn owner(row: &RowView) -> Result<TenantId, Problem> {
    row.tenant.clone().ok_or_else(|| {
        let detail = "nobody is known to own this payment yet, so nothing can be ordered for it";
        Problem::new(Code::StateConflict, detail)
    })
}

/// `POST /api/v1/payments/{id}/capture`.
pub fn capture(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(order(call, CommandKind::Capture, |call, known, id| {
        let order = CaptureOrder {
            scope: known.row.scope.clone(),
            intent: known.intent()?,
            amount_minor: amount(call),
            application_fee_minor: None,
        };
        Ok(payments::capture(&order, id))
    }))
}

/// `POST /api/v1/payments/{id}/cancel`.
pub fn cancel(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(order(call, CommandKind::CancelPayment, |call, known, _| {
        let order = Cancellation {
            scope: known.row.scope.clone(),
            intent: known.intent()?,
            reason: call.fields.text("reason").and_then(CancelReason::parse),
        };
        Ok(payments::cancel(&order))
    }))
}

/// The amount a request names.
pub(super) fn amount(call: &Call) -> Option<u64> {
    let amount = call.fields.integer("amount")?;
    u64::try_from(amount).ok()
}

type Draw = fn(&Call, &Known, &CommandId) -> Result<StripeCall, Problem>;

async fn order(call: Call, kind: CommandKind, draw: Draw) -> Result<Answer, Problem> {
    let known = Known::find(&call, call.path("id")).await?;
    let id = command_id(&call);
    let plan = async {
        if is_final(known.status()) {
            let detail = format!("the payment is {} already", known.status());
            return Err(Problem::new(Code::StateConflict, detail));
        }
        Ok(Plan {
            kind,
            tenant: known.tenant()?,
            call: draw(&call, &known, &id)?,
            objects: known.objects(),
            awaits: None,
        })
    };
    match run(&call, id.clone(), plan).await? {
        Ended::Succeeded(command) => {
            let place = Place {
                kind: RowKind::Payment,
                scope: known.row.scope.clone(),
                id: known.row.id.clone(),
            };
            let shown = settled::shown(&call, &id, place, |row| is_final(&row.status)).await?;
            Ok(shown.map_or_else(|| accepted(&id, command.text("status")), Answer::json_text))
        }
        Ended::Pending(answer) => Ok(answer),
    }
}

/// Whether a payment can neither be taken nor let go any more.
fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "canceled")
}
