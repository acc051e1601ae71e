//! Who is told what of a payment: notifications, alerts, re-reads, as a function of its state.
//!
//! Every effect is named after the business fact behind it, so "what is to be done because the state
//! changed" is: what the new state calls for and the old one did not. A state that was passed before
//! its event arrived calls for nothing.
//! Invariants: one fact, one id, whatever event told it.
//! Source: contract §4 (notifications, closed list; alerts), §2 `ADMIN_EMAILS`.

use super::PaymentState;
use super::dispute::Dispute;
use super::refund::Refund;
use super::rows::Frame;
use super::totals::Doubt;
use crate::aggregate::AggregateKey;
use crate::decision::{EffectId, EffectIntent};
use crate::effect::{Alert, Effect, Mail, Notify, effect_id};
use crate::ids::{PaymentId, PaymentIntentId, Scope, Timestamp};
use crate::message::Cause;
use crate::reread::{Reread, RereadTarget};
use crate::rows::Row;
use std::collections::{BTreeMap, BTreeSet};

struct Notices<'a> {
    state: &'a PaymentState,
    key: &'a AggregateKey,
    scope: &'a Scope,
    id: &'a PaymentId,
    frame: Frame<'a>,
    cause: &'a Cause,
    now: Timestamp,
    /// What the state before called for; `None` while that is being listed: then only ids are.
    told: Option<BTreeSet<EffectId>>,
    ids: BTreeSet<EffectId>,
    new: BTreeMap<EffectId, EffectIntent>,
}

/// What `new` calls for and `old` did not, by effect id.
pub(super) fn intents(
    old: &PaymentState,
    new: &PaymentState,
    key: &AggregateKey,
    scope: &Scope,
    id: &PaymentId,
    cause: &Cause,
    now: Timestamp,
) -> BTreeMap<EffectId, EffectIntent> {
    let of = |state, told| Notices {
        state,
        key,
        scope,
        id,
        frame: Frame { state, scope, id },
        cause,
        now,
        told,
        ids: BTreeSet::new(),
        new: BTreeMap::new(),
    };
    let before = of(old, None).list(new);
    of(new, Some(before.ids)).list(old).new
}

impl Notices<'_> {
    /// Lists everything the state calls for, but what refunds and disputes call for that are the same
    /// in `other`: neither state calls for anything new there.
    fn list(mut self, other: &PaymentState) -> Self {
        let (own, others) = (&self.state.payment, &other.payment);
        let same_tenant = self.state.owner.tenant == other.owner.tenant;
        self.of_payment();
        self.of_reversals();
        for (id, refund) in &own.refunds {
            if !same_tenant || others.refunds.get(id) != Some(refund) {
                self.of_refund(refund);
            }
        }
        for (id, dispute) in &own.disputes {
            if !same_tenant || others.disputes.get(id) != Some(dispute) {
                self.of_dispute(dispute);
            }
        }
        self.of_watch();
        self.of_doubts();
        self.of_missing();
        self
    }

    /// Adds an effect that is made only if it is new.
    fn add(&mut self, kind: &str, business_key: &str, make: impl FnOnce(&Self) -> Effect) {
        let id = effect_id(self.key, kind, business_key);
        let is_new = self.told.as_ref().is_some_and(|told| !told.contains(&id));
        if is_new && !self.new.contains_key(&id) {
            let intent = make(self).intent(self.key, business_key, self.now, None);
            debug_assert_eq!(intent.id, id, "a kind is the effect's own");
            self.new.insert(id.clone(), intent);
        }
        self.ids.insert(id);
    }

    fn notify(&mut self, kind: &str, business_key: &str, row: impl FnOnce(&Frame<'_>) -> Row) {
        let Some(tenant) = self.state.owner.tenant.clone() else {
            return;
        };
        self.add(&format!("notify.{kind}"), business_key, |notices| {
            let value = row(&notices.frame).value;
            Effect::Notify(Notify {
                kind: kind.to_owned(),
                tenant,
                object: serde_json::from_slice(&value).unwrap_or(serde_json::Value::Null),
                cause: notices.cause.clone(),
            })
        });
    }

    /// To the owners, of what concerns their own purchases: a merchant's buyers are the merchant's to write to.
    fn mail<const N: usize>(
        &mut self,
        template: &str,
        business_key: &str,
        params: [(&str, String); N],
    ) {
        let tenant = self.state.owner.tenant.clone();
        let Some(tenant) = tenant.filter(|_| *self.scope == Scope::PLATFORM) else {
            return;
        };
        self.add(&format!("mail.{template}"), business_key, |_| {
            let params = params.into_iter();
            Effect::Mail(Mail {
                template: template.to_owned(),
                tenant: Some(tenant),
                to: None,
                params: params
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            })
        });
    }

    fn alert(&mut self, code: &str, object_id: &str, business_key: &str, text: String) {
        self.add(&format!("alert.{code}"), business_key, |notices| {
            Effect::Alert(Alert {
                code: code.to_owned(),
                tenant: notices.state.owner.tenant.clone(),
                object_id: object_id.to_owned(),
                text,
            })
        });
    }

    fn reread(&mut self, target: RereadTarget, business_key: &str) {
        self.add("reread", business_key, |notices| {
            let scope = notices.scope.clone();
            Effect::Reread(Reread { scope, target })
        });
    }

    fn of_payment(&mut self) {
        let payment = &self.state.payment;
        let row = |frame: &Frame<'_>| frame.payment();
        let failure = payment.failure();
        match payment.status().as_deref() {
            Some("succeeded") => self.notify("payment.succeeded", self.id.as_str(), row),
            Some("canceled") => self.notify("payment.canceled", self.id.as_str(), row),
            Some("requires_capture") => self.notify("payment.capturable", self.id.as_str(), row),
            Some("failed" | "requires_payment_method") if failure.code.is_some() => {
                // Each attempt may fail anew: an attempt is a charge, or without one a time.
                let attempt = payment.intent.latest_charge().or(payment.charge_id());
                let at = payment.intent.register.at();
                let attempt = attempt.map_or_else(
                    || at.map_or_else(String::new, |at| at.seconds().to_string()),
                    |charge| charge.to_string(),
                );
                self.notify("payment.failed", &format!("{}:{attempt}", self.id), row);
            }
            _ => {}
        }
    }

    /// Credits taken back: each new total is a fact.
    fn of_reversals(&mut self) {
        for (session, row) in self.frame.reversals_by_session() {
            let Some((tenant, amount)) = row.tenant.clone().zip(reversed(&row)) else {
                continue;
            };
            let business_key = format!("{session}:{amount}");
            self.add("notify.credits.reversed", &business_key, |notices| {
                Effect::Notify(Notify {
                    kind: "credits.reversed".to_owned(),
                    tenant,
                    object: serde_json::from_slice(&row.value).unwrap_or_default(),
                    cause: notices.cause.clone(),
                })
            });
        }
    }

    fn of_refund(&mut self, refund: &Refund) {
        let row = |frame: &Frame<'_>| frame.refund(refund);
        let id = refund.best.id.to_string();
        match refund.best.status.as_str() {
            "failed" | "canceled" => {
                self.notify("refund.failed", &id, row);
                let money = crate::money::Money::new(refund.best.amount, refund.best.currency);
                let text = format!("refund {id} of {money} {}", refund.best.status);
                self.alert("refund_failed", &id, &id, text);
            }
            status => {
                self.notify("refund.created", &id, row);
                if status == "succeeded" {
                    self.notify("refund.succeeded", &id, row);
                    let money = crate::money::Money::new(refund.best.amount, refund.best.currency);
                    self.mail(
                        "refund",
                        &id,
                        [("refundId", id.clone()), ("amount", money.to_string())],
                    );
                }
            }
        }
    }

    fn of_dispute(&mut self, dispute: &Dispute) {
        let row = |frame: &Frame<'_>| frame.dispute(dispute);
        let id = dispute.best.id.to_string();
        let status = dispute.best.status.as_str();
        let money = crate::money::Money::new(dispute.best.amount, dispute.best.currency);
        let reason = dispute.best.reason.as_deref().unwrap_or("unknown reason");
        if dispute.closed() {
            // A lost one may be won later: each end is a fact of its own.
            let ended = format!("{id}:{status}");
            self.notify("dispute.closed", &ended, row);
            let text = format!("dispute {id} of {money} ({reason}) ended: {status}");
            self.alert("dispute", &id, &ended, text);
            return;
        }
        self.notify("dispute.opened", &id, row);
        let text = format!("dispute {id} of {money} opened ({reason}): {status}");
        self.alert("dispute", &id, &format!("{id}:opened"), text);
        if !matches!(status, "needs_response" | "warning_needs_response") {
            self.notify("dispute.updated", &format!("{id}:{status}"), row);
        }
    }

    fn of_watch(&mut self) {
        let payment = &self.state.payment;
        for (id, warning) in &payment.warnings {
            let kind = warning.fraud_type.as_deref().unwrap_or("unknown type");
            let text = format!("early fraud warning {id} ({kind}) for payment {}", self.id);
            self.alert("early_fraud_warning", self.id.as_str(), id, text);
        }
        for (id, review) in payment.reviews.iter().filter(|(_, r)| !r.closed) {
            let reason = review.reason.as_deref().unwrap_or("unknown reason");
            let text = format!("review {id} of payment {} opened ({reason})", self.id);
            self.alert("review_opened", self.id.as_str(), id, text);
        }
    }

    fn of_doubts(&mut self) {
        let payment = &self.state.payment;
        for doubt in payment.doubts() {
            let word = doubt.as_str();
            let text = format!("payment {}: {}", self.id, doubt.sentence());
            self.alert("needs_review", self.id.as_str(), word, text);
            for target in self.witnesses(doubt) {
                let business_key = format!("{word}:{}:{}", self.amounts(), target.id());
                self.reread(target, &business_key);
            }
        }
        if let Some(at) = payment.intent.register.at()
            && payment.intent.register.is_tied()
            && let Ok(intent) = PaymentIntentId::parse(self.id.as_str())
        {
            let business_key = format!("tie:{}", at.seconds());
            self.reread(RereadTarget::PaymentIntent(intent), &business_key);
        }
    }

    /// The amounts a doubt is about: the same doubt about other amounts is another fact.
    fn amounts(&self) -> String {
        let payment = &self.state.payment;
        let captured = payment.amount_captured().unwrap_or(0);
        let refunded = payment.amount_refunded().unwrap_or(0);
        format!("{captured}:{refunded}")
    }

    /// The objects whose present state would settle a doubt.
    fn witnesses(&self, doubt: Doubt) -> Vec<RereadTarget> {
        let payment = &self.state.payment;
        let intent = || {
            let id = PaymentIntentId::parse(self.id.as_str()).ok();
            id.filter(|_| payment.has_intent)
                .map(RereadTarget::PaymentIntent)
        };
        let charge = || payment.charge_id().map(RereadTarget::Charge);
        match doubt {
            Doubt::IntentEnds => intent().into_iter().collect(),
            Doubt::CanceledButCaptured | Doubt::CapturedDiffers => {
                intent().into_iter().chain(charge()).collect()
            }
            Doubt::ChargeEnds | Doubt::RefundTooLarge => charge().into_iter().collect(),
            Doubt::RefundEnds | Doubt::RefundCurrency => {
                let currency = payment.currency();
                let doubtful = payment.refunds.values().filter(|refund| {
                    refund.contradicts() || currency.is_some_and(|c| c != refund.best.currency)
                });
                doubtful
                    .map(|refund| RereadTarget::Refund(refund.best.id.clone()))
                    .collect()
            }
            Doubt::TooManyParts => Vec::new(),
        }
    }

    fn of_missing(&mut self) {
        let elsewhere = &self.state.elsewhere;
        for (business_key, target) in elsewhere.questions(&self.state.payment) {
            self.reread(target, &business_key);
        }
        if elsewhere.payment().is_none() {
            for (business_key, target) in self.state.payment.fees.questions() {
                self.reread(target, &business_key);
            }
        }
        let missing = &self.state.missing;
        for (question, target) in missing.questions(&self.state.payment, self.id) {
            self.reread(target, &format!("missing:{question}"));
        }
    }
}

/// How many credits the row of a reversal takes back.
fn reversed(row: &Row) -> Option<i64> {
    let value: serde_json::Value = serde_json::from_slice(&row.value).ok()?;
    value["amount"].as_i64()
}
