//! Metrics of notifications.
//!
//! Invariants: no label of a tenant, endpoint or address; every series exists from the start.

use bursar_domain::ids::Timestamp;
use bursar_domain::notification::Disable;
use bursar_store::metrics::{Buckets, Metric, MetricKind};

const TOLD: &str = "bursar_notifications_total";
const DELIVERIES: &str = "bursar_notification_deliveries_total";
const DURATION: &str = "bursar_notification_delivery_duration_seconds";
const PENDING: &str = "bursar_notifications_pending";
const DISABLED: &str = "bursar_notification_endpoints_disabled_total";
const FAILING_SINCE: &str = "bursar_notification_failing_since_timestamp_seconds";
const ENDPOINTS: &str = "bursar_notification_endpoints";

/// The metrics.
pub const CATALOGUE: &[Metric] = &[
    Metric {
        name: TOLD,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Notifications written into the feed.",
    },
    Metric {
        name: DELIVERIES,
        kind: MetricKind::Counter,
        labels: &[("outcome", &["succeeded", "retry", "failed"])],
        help: "Attempts to deliver a notification by how they ended; failed: the last one.",
    },
    Metric {
        name: DURATION,
        kind: MetricKind::Histogram(Buckets::Remote),
        labels: &[],
        help: "From the begin of an attempt to the receiver's answer, or to its failure.",
    },
    Metric {
        name: PENDING,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Deliveries that wait.",
    },
    Metric {
        name: ENDPOINTS,
        kind: MetricKind::Gauge,
        labels: &[("state", &["enabled", "disabled"])],
        help: "Endpoints for notifications.",
    },
    Metric {
        name: DISABLED,
        kind: MetricKind::Counter,
        labels: &[("reason", &["gone", "failing"])],
        help: "Endpoints given up: their receiver answered 410, or took nothing for three days.",
    },
    Metric {
        name: FAILING_SINCE,
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Since when the enabled endpoint that has failed the longest took nothing, 0 if none fails.",
    },
];

pub(super) fn told(count: usize) {
    metrics::counter!(TOLD).increment(count as u64);
}

pub(super) fn attempt(outcome: &'static str, latency_ms: u64) {
    metrics::counter!(DELIVERIES, "outcome" => outcome).increment(1);
    metrics::histogram!(DURATION).record(std::time::Duration::from_millis(latency_ms));
}

/// An endpoint was given up.
pub(super) fn disabled(why: Disable) {
    metrics::counter!(DISABLED, "reason" => why.as_str()).increment(1);
}

/// Since when the one that has failed the longest takes nothing.
pub(super) fn failing_since(since: Option<Timestamp>) {
    let seconds = since.map_or(0, |at| u32::try_from(at.seconds()).unwrap_or(0));
    metrics::gauge!(FAILING_SINCE).set(seconds);
}

pub(super) fn standing(pending: u64, enabled: usize, disabled: usize) {
    let shown = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    metrics::gauge!(PENDING).set(u32::try_from(pending).unwrap_or(u32::MAX));
    metrics::gauge!(ENDPOINTS, "state" => "enabled").set(shown(enabled));
    metrics::gauge!(ENDPOINTS, "state" => "disabled").set(shown(disabled));
}
