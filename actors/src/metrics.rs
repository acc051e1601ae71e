//! The actors' metrics: one declaration each, and the only places that record them.
//!
//! Invariants: labels are closed sets, never ids; every series exists at 0 from the start.

pub mod business;
pub mod commands;
pub mod stripe;

use crate::env::Core;
use crate::policy::ExitReason;
use crate::ports::Outcome;
use bursar_domain::aggregate::AggregateKind;
use bursar_domain::decision::{Disposition, Lane};
use bursar_domain::ids::Timestamp;
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::listing::Listed;
use bursar_domain::route::HANDLED;
use bursar_store::api::Step;
use bursar_store::metrics::kept::KeptBy;
use bursar_store::metrics::{Buckets, Label, Metric, MetricKind};
use std::time::Duration;
pub(crate) use stripe::{circuit_changed, circuit_state};
pub use stripe::{stripe_refused, stripe_request, stripe_retry};

/// Event types that have a series of their own, those reducers handle; others count as `other`.
pub const EVENT_TYPES: &[&str] = &with_other();

const fn with_other() -> [&'static str; HANDLED.len() + 1] {
    let mut all = ["other"; HANDLED.len() + 1];
    let mut index = 0;
    while index < HANDLED.len() {
        all[index] = HANDLED[index];
        index += 1;
    }
    all
}

const TYPE: Label = ("type", EVENT_TYPES);
const OUTCOME: Label = (
    "outcome",
    &["applied", "stale", "duplicate", "ignored", "parked", "dead"],
);
const LANE: Label = (
    "lane",
    &[
        "stripe_read",
        "stripe",
        "mail",
        "notify",
        "identity",
        "alert",
        "stripe_refund",
        "stripe_background",
    ],
);
/// Stripe's, all connected accounts' together, and one per lane that does not go to Stripe.
const AGGREGATE: Label = (
    "aggregate",
    &[
        "tenant",
        "customer",
        "subscription",
        "invoice",
        "payment",
        "session",
        "merchant",
        "installation",
        "command",
    ],
);
const CORE: Label = (
    "actor",
    &[
        "clock",
        "entities",
        "outbound",
        "intake",
        "sweeper",
        "reconciler",
        "observer",
    ],
);
const RESTARTED: Label = (
    "actor",
    &[
        "clock",
        "entities",
        "outbound",
        "intake",
        "sweeper",
        "reconciler",
        "observer",
        "lane",
    ],
);
/// Stripe's words for what is listed, and `event`.
const RECONCILED: Label = (
    "object",
    &[
        "event",
        "account",
        "customer",
        "checkout.session",
        "subscription",
        "invoice",
        "payment_intent",
        "charge",
        "refund",
        "dispute",
    ],
);
const MISSED: Label = ("object", EVENT_TYPES);
const CHECK: Label = (
    "check",
    &[
        "store",
        "committer",
        "actors",
        "intake",
        "disk",
        "rebuilding",
    ],
);

const fn metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

/// Every metric of the actors.
pub const CATALOGUE: &[Metric] = &[
    metric(
        "bursar_events_total",
        MetricKind::Counter,
        &[TYPE, OUTCOME],
        "Stripe events by type and what became of them.",
    ),
    metric(
        "bursar_event_age_seconds",
        MetricKind::Histogram(Buckets::Age),
        &[("stage", &["received", "applied"])],
        "Age of events since Stripe's created, when received and when applied.",
    ),
    metric(
        "bursar_event_apply_duration_seconds",
        MetricKind::Histogram(Buckets::Fast),
        &[AGGREGATE],
        "Time of one batch of an aggregate from load to commit.",
    ),
    metric(
        "bursar_inbox_pending",
        MetricKind::Gauge,
        &[],
        "Inputs accepted and not yet applied.",
    ),
    metric(
        "bursar_inbox_oldest_timestamp_seconds",
        MetricKind::Gauge,
        &[],
        "When the oldest pending input was received, 0 if none.",
    ),
    metric(
        "bursar_events_parked",
        MetricKind::Gauge,
        &[],
        "Inputs waiting for a link.",
    ),
    metric(
        "bursar_dead_letters",
        MetricKind::Gauge,
        &[],
        "Inputs set aside as dead.",
    ),
    metric(
        "bursar_inputs_died_total",
        MetricKind::Counter,
        &[],
        "Inputs that died because their decision failed.",
    ),
    metric(
        "bursar_aggregates_quarantined",
        MetricKind::Gauge,
        &[],
        "Aggregates cooling for minutes after repeated failure.",
    ),
    metric(
        "bursar_aggregates_cooling",
        MetricKind::Gauge,
        &[],
        "Aggregates cooling after a failure, quarantined ones included.",
    ),
    metric(
        "bursar_entity_failures_total",
        MetricKind::Counter,
        &[],
        "Entity actors that failed.",
    ),
    metric(
        "bursar_systemic_pauses_total",
        MetricKind::Counter,
        &[],
        "Times pulling was paused because many aggregates failed at once.",
    ),
    metric(
        "bursar_outbox_pending",
        MetricKind::Gauge,
        &[LANE],
        "Effects decided and not yet settled.",
    ),
    metric(
        "bursar_outbox_oldest_timestamp_seconds",
        MetricKind::Gauge,
        &[LANE],
        "When the oldest effect not yet settled was decided, 0 if none; among the next 64 due.",
    ),
    metric(
        "bursar_outbox_attempts_total",
        MetricKind::Counter,
        &[LANE, ("outcome", &["done", "skipped", "retry", "failed"])],
        "Attempts at effects.",
    ),
    metric(
        "bursar_outbox_attempt_duration_seconds",
        MetricKind::Histogram(Buckets::Remote),
        &[LANE],
        "Time of one attempt at an effect.",
    ),
    metric(
        "bursar_alerts_total",
        MetricKind::Counter,
        &[],
        "Alerts to operators.",
    ),
    metric(
        "bursar_intake_in_flight",
        MetricKind::Gauge,
        &[],
        "Webhooks being accepted.",
    ),
    metric(
        "bursar_webhook_last_accepted_timestamp_seconds",
        MetricKind::Gauge,
        &[],
        "When a webhook was last made durable, 0 if never since the start.",
    ),
    metric(
        "bursar_webhooks_silent",
        MetricKind::Gauge,
        &[],
        "1 while no webhook was accepted for as long as WEBHOOK_SILENCE_ALERT.",
    ),
    metric(
        "bursar_actor_restarts_total",
        MetricKind::Counter,
        &[RESTARTED, ("reason", &["panic", "stopped", "unresponsive"])],
        "Restarts of shared actors.",
    ),
    metric(
        "bursar_actors_live",
        MetricKind::Gauge,
        &[],
        "Entity actors alive.",
    ),
    metric(
        "bursar_actors_busy",
        MetricKind::Gauge,
        &[],
        "Entity actors in a turn.",
    ),
    metric(
        "bursar_actor_heartbeat_timestamp_seconds",
        MetricKind::Gauge,
        &[CORE],
        "When a shared actor last showed a sign of life.",
    ),
    metric(
        "bursar_reconcile_last_success_timestamp_seconds",
        MetricKind::Gauge,
        &[],
        "When a comparison with Stripe last came to its end without an error, 0 if never.",
    ),
    metric(
        "bursar_reconcile_drift",
        MetricKind::Gauge,
        &[RECONCILED],
        "Objects that the last comparison found to differ from Stripe and did not repair.",
    ),
    metric(
        "bursar_reconcile_missed_events_total",
        MetricKind::Counter,
        &[MISSED],
        "Events Stripe made that nobody had brought, by type.",
    ),
    metric(
        "bursar_reconcile_repairs_total",
        MetricKind::Counter,
        &[RECONCILED],
        "Events and objects taken in from Stripe's lists.",
    ),
    metric(
        "bursar_reconcile_failures_total",
        MetricKind::Counter,
        &[],
        "Comparisons with Stripe that could not look at everything.",
    ),
    metric(
        "bursar_store_disk_total_bytes",
        MetricKind::Gauge,
        &[],
        "Bytes in all where the store lives.",
    ),
    metric(
        "bursar_ready",
        MetricKind::Gauge,
        &[CHECK],
        "1 if the check passes.",
    ),
];

/// Describes every metric and makes each series exist at 0. Call once a recorder is installed.
pub fn register(catalogue: &[Metric]) {
    for metric in catalogue {
        for labels in combinations(metric.labels) {
            match metric.kind {
                MetricKind::Counter => {
                    metrics::describe_counter!(metric.name, metric.help);
                    metrics::counter!(metric.name, labels).increment(0);
                }
                MetricKind::Gauge => {
                    metrics::describe_gauge!(metric.name, metric.help);
                    metrics::gauge!(metric.name, labels).set(0.0);
                }
                MetricKind::Histogram(_) => {
                    metrics::describe_histogram!(metric.name, metric.help);
                    drop(metrics::histogram!(metric.name, labels));
                }
            }
        }
    }
}

fn combinations(labels: &[Label]) -> Vec<Vec<metrics::Label>> {
    labels
        .iter()
        .fold(vec![Vec::new()], |sets, (name, values)| {
            sets.iter()
                .flat_map(|set| {
                    values.iter().map(|value| {
                        let mut set = set.clone();
                        set.push(metrics::Label::from_static_parts(name, value));
                        set
                    })
                })
                .collect()
        })
}

/// By type and outcome.
static EVENTS: KeptBy<(&'static str, &'static str), metrics::Counter> = KeptBy::new();
/// By stage.
static AGES: KeptBy<&'static str, metrics::Histogram> = KeptBy::new();
/// By kind of aggregate.
static TURNS: KeptBy<&'static str, metrics::Histogram> = KeptBy::new();

fn known_type(kind: &str) -> &'static str {
    EVENT_TYPES
        .iter()
        .find(|known| **known == kind)
        .copied()
        .unwrap_or("other")
}

/// What a batch says about events, read before the batch is handed over.
pub(crate) struct Seen {
    events: Vec<(&'static str, Disposition, Option<Timestamp>)>,
}

impl Seen {
    pub(crate) fn of(inputs: &[StoredInput], steps: &[Step]) -> Self {
        let events = steps
            .iter()
            .filter_map(|step| {
                let input = inputs.iter().find(|input| input.seq == step.seq)?;
                if !matches!(input.source, InputSource::Event(..)) {
                    return None;
                }
                let created = step.decision.timeline.first().map(|entry| entry.at);
                Some((known_type(&input.kind), step.decision.disposition, created))
            })
            .collect();
        Self { events }
    }
    pub(crate) fn count(self, now: Timestamp) {
        for (kind, disposition, created) in self.events {
            event(kind, disposition.as_str());
            if let Some(created) = created {
                age("applied", created, now);
            }
        }
    }
}

pub(crate) fn event_by_type(kind: &str, outcome: &'static str) {
    event(known_type(kind), outcome);
}

fn event(kind: &'static str, outcome: &'static str) {
    let find = || metrics::counter!("bursar_events_total", "type" => kind, "outcome" => outcome);
    EVENTS.with((kind, outcome), find, |count| count.increment(1));
}

pub(crate) fn age(stage: &'static str, created: Timestamp, now: Timestamp) {
    let ms = u64::try_from(now.0.saturating_sub(created.0)).unwrap_or(0);
    let find = || metrics::histogram!("bursar_event_age_seconds", "stage" => stage);
    AGES.with(stage, find, |age| {
        age.record(Duration::from_millis(ms));
    });
}

pub(crate) fn turn(kind: AggregateKind, took: Duration) {
    let aggregate = kind.as_str();
    let find =
        || metrics::histogram!("bursar_event_apply_duration_seconds", "aggregate" => aggregate);
    TURNS.with(aggregate, find, |turns| turns.record(took));
}

pub(crate) fn input_dead() {
    metrics::counter!("bursar_inputs_died_total").increment(1);
}

pub(crate) fn attempt(lane: Lane, outcome: &Outcome, took: Duration) {
    let word = match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Failed { .. } => "failed",
        Outcome::Retry { .. } => "retry",
    };
    let lane = lane.as_str();
    metrics::counter!("bursar_outbox_attempts_total", "lane" => lane, "outcome" => word)
        .increment(1);
    metrics::histogram!("bursar_outbox_attempt_duration_seconds", "lane" => lane).record(took);
}

pub(crate) fn alert_logged() {
    metrics::counter!("bursar_alerts_total").increment(1);
}

pub(crate) fn restart(actor: &'static str, reason: ExitReason) {
    metrics::counter!("bursar_actor_restarts_total", "actor" => actor, "reason" => reason.as_str())
        .increment(1);
}

pub(crate) fn gauge(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}

pub(crate) fn gauge_with(name: &'static str, label: &'static str, value: &'static str, to: u64) {
    metrics::gauge!(name, label => value).set(to as f64);
}

pub(crate) fn total(name: &'static str, value: u64) {
    metrics::counter!(name).absolute(value);
}

pub(crate) fn heartbeat(core: Core, at: Timestamp) {
    let seconds = u64::try_from(at.seconds()).unwrap_or(0);
    gauge_with(
        "bursar_actor_heartbeat_timestamp_seconds",
        "actor",
        core.as_str(),
        seconds,
    );
}

pub(crate) fn reconcile_succeeded(at: Timestamp) {
    let seconds = u64::try_from(at.seconds()).unwrap_or(0);
    gauge("bursar_reconcile_last_success_timestamp_seconds", seconds);
}

pub(crate) fn reconcile_failed() {
    metrics::counter!("bursar_reconcile_failures_total").increment(1);
}

pub(crate) fn reconcile_drift(kind: Listed, left: u64) {
    gauge_with("bursar_reconcile_drift", "object", kind.as_str(), left);
}

pub(crate) fn missed_event(kind: &str) {
    let kind = known_type(kind);
    metrics::counter!("bursar_reconcile_missed_events_total", "object" => kind).increment(1);
}

pub(crate) fn reconcile_repair(object: &str) {
    if let Some(object) = RECONCILED.1.iter().find(|known| **known == object) {
        metrics::counter!("bursar_reconcile_repairs_total", "object" => *object).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_prefixed_and_end_as_their_kind_asks() {
        let mut names = BTreeSet::new();
        for metric in CATALOGUE.iter().chain(stripe::CATALOGUE) {
            assert!(names.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("bursar_"), "{}", metric.name);
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == MetricKind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn label_words_are_those_the_code_uses() {
        assert!(Lane::ALL.iter().all(|lane| LANE.1.contains(&lane.as_str())));
        assert_eq!(
            stripe::STRIPE_LANE.1,
            crate::gate::LANES.map(bursar_domain::decision::Lane::as_str)
        );
        let own = |lane: &&Lane| !crate::gate::LANES.contains(lane);
        let mut circuits = vec![crate::gate::HOST, "stripe_account"];
        circuits.extend(Lane::ALL.iter().filter(own).map(|lane| lane.as_str()));
        assert_eq!(stripe::CIRCUIT.1, circuits);
        assert!(Core::ALL.iter().all(|core| CORE.1.contains(&core.as_str())));
        let kinds = AggregateKind::ALL.map(AggregateKind::as_str);
        assert_eq!(AGGREGATE.1, kinds);
        let listed = Listed::ALL.map(Listed::as_str);
        assert_eq!(RECONCILED.1[0], crate::reconcile::EVENT);
        assert_eq!(RECONCILED.1[1..], listed);
        assert_eq!(known_type("invoice.paid"), "invoice.paid");
        assert_eq!(known_type("what.ever"), "other");
        for kind in EVENT_TYPES.iter().filter(|kind| **kind != "other") {
            assert!(bursar_domain::route::is_handled(kind), "{kind}");
        }
    }

    #[test]
    fn every_combination_of_labels_is_registered() {
        let sets = combinations(&[("a", &["1", "2"]), ("b", &["x", "y", "z"])]);
        assert_eq!(sets.len(), 6);
        assert_eq!(combinations(&[]).len(), 1);
    }
}
