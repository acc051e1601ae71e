//! Payments, refunds, disputes and credit reversals as the API shows them.
//!
//! Invariants: rows are a function of the state; they hold no personal fields. A payment only heard
//! of (through a refund or dispute) is shown with `null` for everything not proven yet.
//! Source: contract §4 (payment, refund, dispute, credit entries).

use super::PaymentState;
use super::dispute::Dispute;
use super::refund::Refund;
use crate::ids::{PaymentId, Scope, SessionId, Timestamp};
use crate::rows::{Row, RowKind, text_of};
use serde_json::{Map, Value, json};

/// What every row of a payment's parts shares.
pub(super) struct Frame<'a> {
    pub(super) state: &'a PaymentState,
    pub(super) scope: &'a Scope,
    pub(super) id: &'a PaymentId,
}

pub(super) fn rows(state: &PaymentState, scope: &Scope, id: &PaymentId) -> Vec<Row> {
    let frame = Frame { state, scope, id };
    let mut rows: Vec<Row> = Vec::new();
    let payment = &state.payment;
    let heard = payment.is_known() || !payment.refunds.is_empty() || !payment.disputes.is_empty();
    if heard && state.elsewhere.payment().is_none() {
        rows.push(frame.payment());
    }
    rows.extend(payment.refunds.values().map(|refund| frame.refund(refund)));
    rows.extend(payment.disputes.values().map(|one| frame.dispute(one)));
    let reversals = frame.reversals_by_session().into_iter();
    rows.extend(reversals.map(|(_, row)| row));
    rows
}

fn text(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::String(at.rfc3339()))
}

impl Frame<'_> {
    /// A row, with the ids and times all of them carry.
    fn row(
        &self,
        kind: RowKind,
        id: &str,
        status: &str,
        created_at: Option<Timestamp>,
        own: Value,
    ) -> Row {
        let payment = &self.state.payment;
        let intent = payment.has_intent.then(|| self.id.as_str());
        let tenant = self.state.owner.tenant.as_ref();
        let shared = json!({
            "id": id,
            "stripeCustomerId": payment.customer().map(String::from),
            "stripePaymentIntentId": intent,
            "stripeChargeId": payment.charge_id().map(String::from),
            "stripeInvoiceId": payment.invoice().map(|id| id.as_str()),
            "stripeSubscriptionId": payment.subscription().map(|id| id.as_str()),
            "tenantId": tenant.map(|tenant| tenant.as_str()),
            "merchantAccountId": self.scope.0.as_ref().map(|id| id.as_str()),
            "createdAt": text(created_at),
        });
        let mut value = Map::new();
        for part in [shared, own] {
            if let Value::Object(part) = part {
                value.extend(part);
            }
        }
        Row {
            kind,
            scope: self.scope.clone(),
            id: id.to_owned(),
            tenant: self.state.owner.tenant.clone(),
            created_at,
            status: status.to_owned(),
            hidden: false,
            value: text_of(&value),
            personal: None,
        }
    }

    pub(super) fn payment(&self) -> Row {
        let payment = &self.state.payment;
        let status = payment.status();
        let failure = payment.failure();
        let own = json!({
            "status": status,
            "amount": payment.amount(),
            "amountCaptured": payment.amount_captured(),
            "amountRefunded": payment.amount_refunded(),
            "currency": payment.currency().map(String::from),
            "disputed": payment.disputed(),
            "captureMethod": payment.capture_method(),
            "invoiceId": payment.invoice().map(|id| id.as_str()),
            "subscriptionId": payment.subscription().map(|id| id.as_str()),
            "failureCode": failure.code,
            "declineCode": failure.decline_code,
            "failureMessage": failure.message,
            "needsReview": !payment.doubts().is_empty(),
        });
        let status = status.unwrap_or_default();
        let created_at = payment.created_at();
        self.row(RowKind::Payment, self.id.as_str(), &status, created_at, own)
    }

    pub(super) fn refund(&self, refund: &Refund) -> Row {
        let best = &refund.best;
        let mut own = json!({
            "paymentId": self.id.as_str(),
            "status": best.status,
            "amount": best.amount,
            "currency": best.currency,
            "reason": best.reason,
            "failureReason": best.failure_reason,
        });
        if let Some(charge) = &best.charge {
            own["stripeChargeId"] = json!(charge);
        }
        let created_at = best.created_at;
        self.row(
            RowKind::Refund,
            best.id.as_str(),
            &best.status,
            created_at,
            own,
        )
    }

    pub(super) fn dispute(&self, dispute: &Dispute) -> Row {
        let best = &dispute.best;
        let mut own = json!({
            "paymentId": self.id.as_str(),
            "status": best.status,
            "amount": best.amount,
            "currency": best.currency,
            "reason": best.reason,
            "evidenceDueBy": text(best.evidence_due_by),
        });
        if let Some(charge) = &best.charge {
            own["stripeChargeId"] = json!(charge);
        }
        let created_at = best.created_at;
        self.row(
            RowKind::Dispute,
            best.id.as_str(),
            &best.status,
            created_at,
            own,
        )
    }

    /// One line per grant of which something was taken back; the grant's own line is the session's.
    pub(super) fn reversals_by_session(&self) -> Vec<(SessionId, Row)> {
        let payment = &self.state.payment;
        let mut rows = Vec::new();
        for (session, grant) in &payment.grants {
            let reversed = super::books::reversed(payment, grant.credits);
            if reversed == 0 {
                continue;
            }
            let id = format!("reversal_{session}");
            let own = json!({
                "kind": "reversal",
                "amount": -reversed,
                "reference": self.id.as_str(),
                "paymentId": self.id.as_str(),
                "planId": grant.plan_id,
                "sessionId": session,
            });
            // Filed after the grant it takes back; when it came about is on the timeline.
            let created_at = Some(grant.paid_at);
            let mut row = self.row(RowKind::CreditEntry, &id, "reversal", created_at, own);
            row.tenant = grant.tenant.clone().or(row.tenant);
            row.scope = Scope::PLATFORM;
            rows.push((session.clone(), row));
        }
        rows
    }
}
