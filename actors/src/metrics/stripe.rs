//! Metrics of requests to Stripe and of circuits.

use super::metric;
use crate::breaker::Circuit;
use bursar_domain::ids::Timestamp;
use bursar_domain::stripe_call::Operation;
use bursar_store::metrics::{Buckets, Label, Metric, MetricKind};
use std::time::Duration;

pub(super) const CIRCUIT: Label = (
    "circuit",
    &[
        "stripe",
        "stripe_account",
        "mail",
        "notify",
        "identity",
        "alert",
    ],
);
pub(super) const STRIPE_LANE: Label = (
    "lane",
    &[
        "stripe",
        "stripe_refund",
        "stripe_read",
        "stripe_background",
    ],
);
/// GETs, and every order there is.
const OPERATION: Label = ("operation", &with_read());

const fn with_read() -> [&'static str; Operation::ALL.len() + 1] {
    let mut all = ["read"; Operation::ALL.len() + 1];
    let mut index = 0;
    while index < Operation::ALL.len() {
        all[index + 1] = Operation::ALL[index].as_str();
        index += 1;
    }
    all
}

const REQUEST_OUTCOME: Label = (
    "outcome",
    &[
        "ok",
        "declined",
        "invalid",
        "rate_limited",
        "server_error",
        "timeout",
        "network",
        "circuit_open",
    ],
);
const RETRY_REASON: Label = (
    "reason",
    &[
        "timeout",
        "network",
        "server_error",
        "rate_limited",
        "in_progress",
        "key_refused",
        "unknown",
    ],
);
/// The series of requests to Stripe and of circuits.
pub const CATALOGUE: &[Metric] = &[
    metric(
        "bursar_circuit_state",
        MetricKind::Gauge,
        &[CIRCUIT, ("state", &["closed", "half_open", "open"])],
        "1 for the present state of a circuit; of all connected accounts' the worst.",
    ),
    metric(
        "bursar_circuit_transitions_total",
        MetricKind::Counter,
        &[CIRCUIT, ("to", &["closed", "half_open", "open"])],
        "Changes of state of a circuit.",
    ),
    metric(
        "bursar_stripe_requests_total",
        MetricKind::Counter,
        &[OPERATION, REQUEST_OUTCOME],
        "Requests to Stripe, and those not sent because a circuit is open.",
    ),
    metric(
        "bursar_stripe_request_duration_seconds",
        MetricKind::Histogram(Buckets::Remote),
        &[OPERATION],
        "Time of one request to Stripe.",
    ),
    metric(
        "bursar_stripe_retries_total",
        MetricKind::Counter,
        &[OPERATION, RETRY_REASON],
        "Requests to Stripe that are to be sent again, by what went wrong.",
    ),
    metric(
        "bursar_stripe_budget_tokens",
        MetricKind::Gauge,
        &[STRIPE_LANE],
        "Requests on the platform's account a lane may begin at once.",
    ),
    metric(
        "bursar_clock_skew_seconds",
        MetricKind::Gauge,
        &[],
        "How far Stripe's clock is before ours, by the Date of its last answer; negative: behind.",
    ),
];

pub(crate) fn circuit_state(circuit: &'static str, present: Circuit) {
    for state in Circuit::ALL {
        let is = if state == present { 1.0 } else { 0.0 };
        metrics::gauge!("bursar_circuit_state", "circuit" => circuit, "state" => state.as_str())
            .set(is);
    }
}

pub(crate) fn circuit_changed(circuit: &'static str, to: Circuit) {
    let to = to.as_str();
    metrics::counter!("bursar_circuit_transitions_total", "circuit" => circuit, "to" => to)
        .increment(1);
}

/// A request to Stripe ended: `operation` is `read` or an [`Operation`]'s word, `outcome` one of the catalogue's.
pub fn stripe_request(operation: &'static str, outcome: &'static str, took: Duration) {
    stripe_outcome(operation, outcome);
    metrics::histogram!("bursar_stripe_request_duration_seconds", "operation" => operation)
        .record(took);
}

/// A request to Stripe was not sent: a circuit is open.
pub fn stripe_refused(operation: &'static str) {
    stripe_outcome(operation, "circuit_open");
}

fn stripe_outcome(operation: &'static str, outcome: &'static str) {
    metrics::counter!(
        "bursar_stripe_requests_total",
        "operation" => operation, "outcome" => outcome
    )
    .increment(1);
}

/// A request to Stripe is to be sent again; `reason` is one of the catalogue's.
pub fn stripe_retry(operation: &'static str, reason: &'static str) {
    metrics::counter!(
        "bursar_stripe_retries_total",
        "operation" => operation, "reason" => reason
    )
    .increment(1);
}

/// Stripe's clock by the `Date` of an answer, and ours. Zero: it gave none.
pub(crate) fn clock_skew(date_unix: i64, now: Timestamp) {
    if date_unix > 0 {
        let seconds = date_unix.saturating_sub(now.seconds());
        let bounded = seconds.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        let seconds = i32::try_from(bounded).unwrap_or(0);
        metrics::gauge!("bursar_clock_skew_seconds").set(f64::from(seconds));
    }
}
