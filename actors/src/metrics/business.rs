//! What the business asks of a payments back office: payments, refunds, declines, disputes, checkouts, licences.
//!
//! Counted from what a commit decided to tell: such an effect is named after its fact and decided once, whatever event
//! told it and however often. So a redelivery, a replay or another order of arrival counts nothing twice.
//!
//! Invariants: currencies, plans and classes are closed sets; amounts are Stripe's minor units and never added up over
//! currencies.
//! Not here: what belongs to no tenant (it is counted once a tenant adopts it), the books (`verify` adds those up).

use super::metric;
use bursar_domain::decision::{Decision, EffectIntent, Lane};
use bursar_domain::ids::Timestamp;
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::rows::{Row, RowKind, RowWrite};
use bursar_store::api::Step;
use bursar_store::metrics::{Buckets, Label, Metric, MetricKind};
use bursar_store::query::Stats;
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// Currencies that have series of their own.
const CURRENCIES: &[&str] = &[
    "usd", "eur", "gbp", "cad", "aud", "jpy", "chf", "sek", "inr", "brl",
];
const CURRENCY: Label = ("currency", CURRENCIES);
const CURRENCY_OR_OTHER: Label = (
    "currency",
    &[
        "usd", "eur", "gbp", "cad", "aud", "jpy", "chf", "sek", "inr", "brl", "other",
    ],
);
const PAYMENT: Label = ("outcome", &["succeeded", "failed", "canceled"]);
const REFUND: Label = ("outcome", &["succeeded", "failed"]);
const SESSION: Label = ("outcome", &["opened", "completed", "expired", "failed"]);
const CLASS: Label = (
    "class",
    &["funds", "authentication", "expired", "fraud", "other"],
);
const LICENSE: Label = ("to", &["renewed", "grace", "revoked", "restored"]);
const SUBSCRIPTION_STATUS: Label = (
    "status",
    &[
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "paused",
        "incomplete",
        "incomplete_expired",
        "canceled",
    ],
);
const TENANT_STATUS: Label = (
    "status",
    &[
        "pending",
        "trialing",
        "active",
        "past_due",
        "suspended",
        "canceled",
    ],
);
const DISPUTE_STATUS: Label = (
    "status",
    &[
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "won",
        "lost",
        "prevented",
    ],
);

/// Gauges of rows by status: the list, the name.
const STANDING: &[(RowKind, &str, Label)] = &[
    (
        RowKind::Subscription,
        "bursar_subscriptions",
        SUBSCRIPTION_STATUS,
    ),
    (RowKind::Tenant, "bursar_tenants", TENANT_STATUS),
    (RowKind::Dispute, "bursar_disputes", DISPUTE_STATUS),
];

/// Every metric of the business.
pub const CATALOGUE: &[Metric] = &[
    metric(
        "bursar_event_wait_seconds",
        MetricKind::Histogram(Buckets::Age),
        &[],
        "From an event's receipt to the commit of what it changed; waiting for a link counts.",
    ),
    metric(
        "bursar_payments_total",
        MetricKind::Counter,
        &[PAYMENT, CURRENCY_OR_OTHER],
        "Payments of tenants by how they ended; each failed attempt counts.",
    ),
    metric(
        "bursar_payment_volume_minor_units_total",
        MetricKind::Counter,
        &[PAYMENT, CURRENCY],
        "Amounts of those payments in Stripe's minor units; other currencies are counted and not added up.",
    ),
    metric(
        "bursar_payment_declines_total",
        MetricKind::Counter,
        &[CLASS],
        "Failed payments by what the bank or Stripe gave as the reason.",
    ),
    metric(
        "bursar_refunds_total",
        MetricKind::Counter,
        &[REFUND, CURRENCY_OR_OTHER],
        "Refunds by how they ended.",
    ),
    metric(
        "bursar_refund_volume_minor_units_total",
        MetricKind::Counter,
        &[REFUND, CURRENCY],
        "Amounts of those refunds in Stripe's minor units; other currencies are counted and not added up.",
    ),
    metric(
        "bursar_disputes_opened_total",
        MetricKind::Counter,
        &[],
        "Disputes opened.",
    ),
    metric(
        "bursar_checkout_sessions_total",
        MetricKind::Counter,
        &[SESSION],
        "Checkout sessions as they came to a status; failed: a payment of days ended without money.",
    ),
    metric(
        "bursar_license_changes_total",
        MetricKind::Counter,
        &[LICENSE],
        "Changes of tenants' licences.",
    ),
    metric(
        "bursar_subscriptions",
        MetricKind::Gauge,
        &[SUBSCRIPTION_STATUS],
        "Subscriptions by Stripe's status.",
    ),
    metric(
        "bursar_tenants",
        MetricKind::Gauge,
        &[TENANT_STATUS],
        "Tenants by status, archived ones included.",
    ),
    metric(
        "bursar_disputes",
        MetricKind::Gauge,
        &[DISPUTE_STATUS],
        "Disputes by Stripe's status.",
    ),
];

fn known(label: Label, word: &str) -> Option<&'static str> {
    label.1.iter().find(|known| **known == word).copied()
}

/// What is read of a notification.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    object: Object<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default, borrow)]
    currency: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    decline_code: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    failure_code: Option<Cow<'a, str>>,
}

/// One thing to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    Payment(&'static str, Option<&'static str>, u64),
    Declined(&'static str),
    Refund(&'static str, Option<&'static str>, u64),
    DisputeOpened,
    Session(&'static str),
    License(&'static str),
}

/// What a batch decides, read before the batch is handed over.
pub(crate) struct Business {
    happened: Vec<Happened>,
    /// When the events among them were received.
    received: Vec<Timestamp>,
}

impl Business {
    pub(crate) fn of(inputs: &[StoredInput], steps: &[Step]) -> Self {
        let mut all = Vec::new();
        let events = inputs
            .iter()
            .filter(|input| matches!(input.source, InputSource::Event(..)));
        let received = events
            .filter(|input| steps.iter().any(|step| step.seq == input.seq))
            .map(|input| input.received_at)
            .collect();
        for step in steps {
            let decision = &step.decision;
            for effect in decision.effects.iter().filter(|e| e.lane == Lane::Notify) {
                told(effect, &mut all);
            }
            session(decision, &mut all);
        }
        Self {
            happened: all,
            received,
        }
    }
    pub(crate) fn count(self, now: Timestamp) {
        for one in self.happened {
            count(one);
        }
        for received in self.received {
            waited(received, now);
        }
    }
}

fn waited(received: Timestamp, now: Timestamp) {
    let ms = u64::try_from(now.0.saturating_sub(received.0)).unwrap_or(0);
    metrics::histogram!("bursar_event_wait_seconds").record(Duration::from_millis(ms));
}

fn told(effect: &EffectIntent, all: &mut Vec<Happened>) {
    let Some((group, what)) = effect
        .kind
        .strip_prefix("notify.")
        .and_then(|kind| kind.split_once('.'))
    else {
        return;
    };
    match (group, what) {
        ("payment", outcome) => {
            let Some(outcome) = known(PAYMENT, outcome) else {
                return;
            };
            let (currency, amount, class) = read(effect);
            all.push(Happened::Payment(outcome, currency, amount));
            if outcome == "failed" {
                all.push(Happened::Declined(class));
            }
        }
        ("refund", outcome) => {
            if let Some(outcome) = known(REFUND, outcome) {
                let (currency, amount, _) = read(effect);
                all.push(Happened::Refund(outcome, currency, amount));
            }
        }
        ("dispute", "opened") => all.push(Happened::DisputeOpened),
        ("license", to) => all.extend(known(LICENSE, to).map(Happened::License)),
        _ => {}
    }
}

/// Currency, amount and class of a refusal.
fn read(effect: &EffectIntent) -> (Option<&'static str>, u64, &'static str) {
    let Ok(told) = serde_json::from_slice::<Told<'_>>(&effect.payload) else {
        return (None, 0, "other");
    };
    let object = told.object;
    let currency = object.currency.and_then(|word| known(CURRENCY, &word));
    let amount = object.amount.and_then(|amount| u64::try_from(amount).ok());
    let code = object.decline_code.or(object.failure_code);
    (
        currency,
        amount.unwrap_or(0),
        code.map_or("other", |code| class(&code)),
    )
}

/// Stripe's code of a refusal, by what a customer can do about it.
/// Source: Stripe, "Decline codes" and "Error codes".
fn class(code: &str) -> &'static str {
    match code {
        "insufficient_funds"
        | "withdrawal_count_limit_exceeded"
        | "card_velocity_exceeded"
        | "approve_with_id" => "funds",
        "authentication_required"
        | "authentication_not_handled"
        | "payment_intent_authentication_failure"
        | "mobile_device_authentication_required"
        | "offline_pin_required"
        | "online_or_offline_pin_required"
        | "incorrect_pin"
        | "invalid_pin"
        | "pin_try_exceeded" => "authentication",
        "expired_card" | "invalid_expiry_month" | "invalid_expiry_year" => "expired",
        "fraudulent" | "lost_card" | "stolen_card" | "pickup_card" | "merchant_blacklist"
        | "security_violation" | "highest_risk_level" => "fraud",
        _ => "other",
    }
}

/// What a session's own row came to by this decision.
fn session(decision: &Decision, all: &mut Vec<Happened>) {
    let row = decision.rows.iter().find_map(|write| match write {
        RowWrite::Put(row) if row.kind == RowKind::Session => Some(row),
        _ => None,
    });
    let Some(row) = row else { return };
    for change in decision.timeline.iter().flat_map(|line| &line.changed) {
        let outcome = match (change.field.as_str(), row.status.as_str()) {
            ("status", "open") => "opened",
            ("status", "complete") => "completed",
            ("status", "expired") => "expired",
            ("failedAt", _) if change.from == "null" => "failed",
            _ => continue,
        };
        // Credit entries of the same session have no status; what changed is the session's.
        if change.field != "status" || is_now(&change.to, row) {
            all.push(Happened::Session(outcome));
        }
    }
}

fn is_now(text: &str, row: &Row) -> bool {
    text.trim_matches('"') == row.status
}

fn count(one: Happened) {
    match one {
        Happened::Payment(outcome, currency, amount) => {
            money(
                "bursar_payments_total",
                PAYMENT_VOLUME,
                outcome,
                currency,
                amount,
            );
        }
        Happened::Refund(outcome, currency, amount) => {
            money(
                "bursar_refunds_total",
                REFUND_VOLUME,
                outcome,
                currency,
                amount,
            );
        }
        Happened::Declined(class) => {
            metrics::counter!("bursar_payment_declines_total", "class" => class).increment(1);
        }
        Happened::DisputeOpened => {
            metrics::counter!("bursar_disputes_opened_total").increment(1);
        }
        Happened::Session(outcome) => {
            metrics::counter!("bursar_checkout_sessions_total", "outcome" => outcome).increment(1);
        }
        Happened::License(to) => {
            metrics::counter!("bursar_license_changes_total", "to" => to).increment(1);
        }
    }
}

const PAYMENT_VOLUME: &str = "bursar_payment_volume_minor_units_total";
const REFUND_VOLUME: &str = "bursar_refund_volume_minor_units_total";

fn money(
    number: &'static str,
    volume: &'static str,
    outcome: &'static str,
    currency: Option<&'static str>,
    amount: u64,
) {
    let shown = currency.unwrap_or("other");
    metrics::counter!(number, "outcome" => outcome, "currency" => shown).increment(1);
    if let Some(currency) = currency {
        metrics::counter!(volume, "outcome" => outcome, "currency" => currency).increment(amount);
    }
}

#[cfg(test)]
pub(crate) fn count_one_of_each() {
    for one in [
        Happened::Payment("succeeded", Some("usd"), 1),
        Happened::Declined("funds"),
        Happened::Refund("succeeded", Some("usd"), 1),
        Happened::DisputeOpened,
        Happened::Session("completed"),
        Happened::License("renewed"),
    ] {
        count(one);
    }
}

/// Sets the gauges of rows by status.
pub(crate) fn publish(stats: &Stats) {
    for (kind, name, label) in STANDING {
        for status in label.1 {
            let rows = stats.rows.iter();
            let of = rows.filter(|(of, word, _)| of == kind && word == status);
            super::gauge_with(name, label.0, status, of.map(|(.., count)| *count).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::decision::{Disposition, EffectId};
    use serde_json::json;

    fn effect(kind: &str, object: serde_json::Value) -> EffectIntent {
        let payload = json!({"effect": "notify", "kind": kind, "tenant": "acme", "object": object});
        EffectIntent {
            id: EffectId("1".to_owned()),
            lane: Lane::Notify,
            kind: format!("notify.{kind}"),
            due_at: Timestamp(0),
            payload: payload.to_string().into_bytes(),
            subject: None,
        }
    }

    fn happened(kind: &str, object: serde_json::Value) -> Vec<Happened> {
        let mut all = Vec::new();
        told(&effect(kind, object), &mut all);
        all
    }

    #[test]
    fn a_fact_that_is_told_counts_with_its_amount_and_currency() {
        let paid = json!({"amount": 1_900, "currency": "eur", "declineCode": null});
        let eur = Some("eur");
        assert_eq!(
            happened("payment.succeeded", paid),
            [Happened::Payment("succeeded", eur, 1_900)]
        );
        let declined = json!({"amount": 500, "currency": "xof", "declineCode": "expired_card"});
        assert_eq!(
            happened("payment.failed", declined),
            [
                Happened::Payment("failed", None, 500),
                Happened::Declined("expired")
            ]
        );
        let refund = json!({"amount": 7, "currency": "eur"});
        assert_eq!(
            happened("refund.succeeded", refund.clone()),
            [Happened::Refund("succeeded", eur, 7)]
        );
        // Each refund is told when it is made, too.
        assert_eq!(happened("refund.created", refund), []);
        assert_eq!(
            happened("dispute.opened", json!({})),
            [Happened::DisputeOpened]
        );
        assert_eq!(happened("dispute.closed", json!({})), []);
        assert_eq!(
            happened("license.grace", json!({})),
            [Happened::License("grace")]
        );
        assert_eq!(happened("invoice.paid", json!({})), []);
    }

    #[test]
    fn what_other_currencies_amount_to_is_never_added_up() {
        assert_eq!(&CURRENCY_OR_OTHER.1[..CURRENCIES.len()], CURRENCIES);
        assert_eq!(CURRENCY_OR_OTHER.1.last(), Some(&"other"));
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let seen = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            count(Happened::Payment("succeeded", None, 500));
            count(Happened::Refund("failed", Some("jpy"), 500));
        });
        let snapshot = seen.snapshot().into_vec();
        let names: Vec<&str> = snapshot.iter().map(|(key, ..)| key.key().name()).collect();
        assert!(names.contains(&"bursar_payments_total"));
        assert!(!names.contains(&PAYMENT_VOLUME), "{names:?}");
        assert!(names.contains(&REFUND_VOLUME), "{names:?}");
    }

    #[test]
    fn rows_are_shown_by_status_and_every_status_from_the_first_look() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let seen = recorder.snapshotter();
        let stats = Stats {
            rows: vec![
                (RowKind::Tenant, "active".to_owned(), 3),
                (RowKind::Subscription, "active".to_owned(), 2),
            ],
            ..Stats::default()
        };
        metrics::with_local_recorder(&recorder, || publish(&stats));
        let mut shown: Vec<String> = Vec::new();
        let mut all = 0;
        for (key, _, _, value) in seen.snapshot().into_vec() {
            all += 1;
            if value != metrics_util::debugging::DebugValue::Gauge(0.0.into()) {
                shown.push(format!("{} {value:?}", key.key().name()));
            }
        }
        shown.sort();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].starts_with("bursar_subscriptions ") && shown[0].contains('2'));
        assert!(shown[1].starts_with("bursar_tenants ") && shown[1].contains('3'));
        let labels = STANDING.iter().map(|(.., label)| label.1.len());
        assert_eq!(all, labels.sum::<usize>());
    }

    #[test]
    fn a_decision_that_tells_nothing_counts_nothing() {
        let decision = Decision::nothing(Disposition::Duplicate, "");
        let mut all = Vec::new();
        session(&decision, &mut all);
        assert_eq!(all, []);
    }
}
