//! The root's metrics: one declaration each, and the registration of every catalogue.
//!
//! Invariants: labels are closed sets, never ids, addresses or paths; every series exists at 0 from
//! the start, so that a rate is right from the first event and an alert can tell 0 from absent.
//! Series per route follow from the route table.

use crate::endpoint_watch::METRIC;
use crate::http::openapi::answers_of;
use crate::http::route::CONSOLE_TAG;
use crate::http::router::METHOD_WORDS;
use crate::http::routes::every_route;
use bursar_store::metrics::{Buckets, Label, Metric, MetricKind};
use metrics::{Key, Label as SeriesLabel, Level, Metadata};

const REASON: Label = (
    "reason",
    &["busy", "too_large", "slow", "rate_limited", "store_down"],
);
const OUTCOME: Label = (
    "outcome",
    &[
        "accepted",
        "duplicate",
        "no_signature",
        "bad_signature",
        "stale_timestamp",
        "malformed",
        "too_large",
        "busy",
        "store_down",
    ],
);

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
    }
}
const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels,
        help,
    }
}

const REQUESTS: Metric = counter(
    "bursar_http_requests_total",
    &[("route", &[]), ("method", &[]), ("code", &[])],
    "Requests by route, method and status.",
);
const DURATIONS: Metric = Metric {
    name: "bursar_http_request_duration_seconds",
    kind: MetricKind::Histogram(Buckets::Http),
    // By group: a histogram of each route would be most of the page.
    labels: &[("group", &[]), ("method", &[])],
    help: "From a request's head to its answer, long polls included.",
};

/// Metrics of the edge. Labels without values here take them from the route table.
pub const CATALOGUE: &[Metric] = &[
    REQUESTS,
    DURATIONS,
    gauge(
        "bursar_http_requests_in_flight",
        &[],
        "Requests being answered.",
    ),
    gauge("bursar_http_connections", &[], "Open connections."),
    counter(
        "bursar_http_panics_total",
        &[],
        "Requests that ended in a panic; anything but 0 is a defect.",
    ),
    counter(
        "bursar_http_rejections_total",
        &[REASON],
        "Requests and connections refused before a handler ran, and deliveries that could not be stored.",
    ),
    counter(
        "bursar_webhook_requests_total",
        &[OUTCOME],
        "Deliveries by outcome.",
    ),
    Metric {
        name: "bursar_webhook_ack_duration_seconds",
        kind: MetricKind::Histogram(Buckets::Fast),
        labels: &[],
        help: "From a delivery's whole body to its durable answer.",
    },
    counter(
        "bursar_webhook_signature_matches_total",
        &[("secret", &["1", "2", "3", "4", "5", "6", "7", "8"])],
        "Genuine deliveries by the position of the secret that fit; one that never rises may be retired.",
    ),
    gauge(
        METRIC,
        &[
            ("endpoint", &["account", "connect"]),
            (
                "state",
                &[
                    "ok",
                    "not_needed",
                    "missing",
                    "disabled",
                    "lacks_events",
                    "other_version",
                    "unknown",
                ],
            ),
        ],
        "1 for the present state of the webhook endpoint at Stripe, looked at hourly.",
    ),
    counter(
        "bursar_replays_total",
        &[("outcome", &["replayed", "unchanged", "skipped"])],
        "Events looked at by replays.",
    ),
    counter(
        "bursar_idempotency_total",
        &[(
            "result",
            &["new", "resumed", "replayed", "reused", "in_progress"],
        )],
        "Requests with an Idempotency-Key.",
    ),
    counter(
        "bursar_auth_attempts_total",
        &[
            (
                "method",
                &[
                    "none",
                    "stripe_key",
                    "operator",
                    "service_key",
                    "api_key",
                    "access_token",
                    "cookie",
                    "password",
                ],
            ),
            ("outcome", &["accepted", "refused"]),
        ],
        "Credentials presented.",
    ),
];

/// The catalogues of every crate.
pub fn every_catalogue() -> impl Iterator<Item = &'static Metric> {
    bursar_store::metrics::CATALOGUE
        .iter()
        .chain(bursar_actors::metrics::CATALOGUE)
        .chain(bursar_actors::metrics::business::CATALOGUE)
        .chain(bursar_actors::metrics::commands::CATALOGUE)
        .chain(bursar_actors::metrics::stripe::CATALOGUE)
        .chain(crate::notifications::catalogue::CATALOGUE)
        .chain(CATALOGUE)
        .chain(super::facts::CATALOGUE)
        .chain(crate::mail::CATALOGUE)
}

/// Makes every series of the given metrics, and of the routes, exist at 0.
pub fn register<'a>(catalogue: impl Iterator<Item = &'a Metric>) {
    for metric in catalogue {
        describe(metric);
        for labels in products(metric.labels) {
            touch(metric, labels);
        }
    }
    register_routes();
}

fn describe(metric: &Metric) {
    match metric.kind {
        MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
        MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        MetricKind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
    }
}

fn touch(metric: &Metric, labels: Vec<(&'static str, String)>) {
    let labels: Vec<SeriesLabel> = labels
        .into_iter()
        .map(|(name, value)| SeriesLabel::new(name, value))
        .collect();
    let key = Key::from_parts(metric.name, labels);
    let metadata = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    metrics::with_recorder(|recorder| match metric.kind {
        MetricKind::Counter => recorder.register_counter(&key, &metadata).increment(0),
        MetricKind::Gauge => recorder.register_gauge(&key, &metadata).increment(0.0),
        MetricKind::Histogram(_) => drop(recorder.register_histogram(&key, &metadata)),
    });
}

fn products(labels: &[Label]) -> Vec<Vec<(&'static str, String)>> {
    let mut products = vec![Vec::new()];
    for (name, values) in labels {
        products = products
            .into_iter()
            .flat_map(|prefix| {
                values.iter().map(move |value| {
                    let mut longer = prefix.clone();
                    longer.push((*name, (*value).to_owned()));
                    longer
                })
            })
            .collect();
    }
    products
}

fn grouped(group: &str, method: &str) -> Vec<(&'static str, String)> {
    vec![("group", group.to_owned()), ("method", method.to_owned())]
}

fn register_routes() {
    // What no route was found for: refused for its framing, its path or its method.
    for method in METHOD_WORDS {
        let labels = vec![
            ("route", "none".to_owned()),
            ("method", (*method).to_owned()),
        ];
        touch(&DURATIONS, grouped("none", method));
        for status in [400, 404, 405] {
            let mut labels = labels.clone();
            labels.push(("code", status.to_string()));
            touch(&REQUESTS, labels);
        }
    }
    // The console's pages share one label.
    for method in ["GET", "POST"] {
        touch(&DURATIONS, grouped(CONSOLE_TAG, method));
        for status in [200, 303, 400, 401, 403, 404, 409, 422, 429, 502, 503] {
            let labels = vec![
                ("route", CONSOLE_TAG.to_owned()),
                ("method", method.to_owned()),
                ("code", status.to_string()),
            ];
            touch(&REQUESTS, labels);
        }
    }
    for route in every_route() {
        let method = route.verb.as_str();
        let labels = vec![
            ("route", route.label.to_owned()),
            ("method", method.to_owned()),
        ];
        touch(&DURATIONS, grouped(route.tag, method));
        let mut statuses: Vec<u16> = answers_of(route).iter().map(|code| code.status()).collect();
        statuses.push(route.status);
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let mut labels = labels.clone();
            labels.push(("code", status.to_string()));
            touch(&REQUESTS, labels);
        }
    }
}
