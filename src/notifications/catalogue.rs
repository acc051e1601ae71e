//! Metrics of notifications.
//!
//! Invariants: no label of a tenant, endpoint or address; every series exists from the start.

use bursar_store::metrics::{Buckets, Metric, MetricKind};

const TOLD: &str = "bursar_notifications_total";
const DELIVERIES: &str = "bursar_notification_deliveries_total";
const DURATION: &str = "bursar_notification_delivery_duration_seconds";
const PENDING: &str = "bursar_notifications_pending";
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
];

pub(super) fn told(count: usize) {
    metrics::counter!(TOLD).increment(count as u64);
}

pub(super) fn attempt(outcome: &'static str, latency_ms: u64) {
    metrics::counter!(DELIVERIES, "outcome" => outcome).increment(1);
    metrics::histogram!(DURATION).record(std::time::Duration::from_millis(latency_ms));
}

pub(super) fn standing(pending: u64, enabled: usize, disabled: usize) {
    let shown = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    metrics::gauge!(PENDING).set(u32::try_from(pending).unwrap_or(u32::MAX));
    metrics::gauge!(ENDPOINTS, "state" => "enabled").set(shown(enabled));
    metrics::gauge!(ENDPOINTS, "state" => "disabled").set(shown(disabled));
}
