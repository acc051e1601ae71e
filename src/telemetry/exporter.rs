//! Metrics for Prometheus: the recorder, its upkeep, and `GET /metrics` on a listener of its own.
//!
//! Invariants: the metrics listener serves nothing else, and the public one never serves this; with
//! a token set, nothing is told without it.

use crate::http::answer::Answer;
use crate::http::server::{BoxFuture, Peer, Service};
use crate::telemetry::{catalogue, facts};
use bursar_store::metrics::{Buckets, Metric, MetricKind};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

const FAST: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];
const HTTP: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const REMOTE: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0];
const AGE: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0, 259_200.0,
];
const COUNT: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Between two drains of histogram samples: without one they pile up while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

const fn buckets(set: Buckets) -> &'static [f64] {
    match set {
        Buckets::Fast => FAST,
        Buckets::Http => HTTP,
        Buckets::Remote => REMOTE,
        Buckets::Age => AGE,
        Buckets::Count => COUNT,
    }
}

/// A builder that gives every histogram its buckets. # Errors: none of ours is empty.
pub fn builder<'a>(
    catalogue: impl Iterator<Item = &'a Metric>,
) -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in catalogue {
        if let MetricKind::Histogram(set) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets(set))?;
        }
    }
    Ok(builder)
}

/// Makes the process's recorder and registers every series at 0. Once per process.
/// # Errors: a recorder is installed already.
pub fn install(version: &'static str) -> Result<PrometheusHandle, BuildError> {
    let handle = builder(catalogue::every_catalogue())?.install_recorder()?;
    bursar_store::metrics::kept::is_there();
    catalogue::register(catalogue::every_catalogue());
    facts::build(version);
    metrics_process::Collector::default().describe();
    Ok(handle)
}

/// Keeps the recorder tidy until dropped or aborted.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Serves `GET /metrics`.
pub struct Exporter {
    handle: PrometheusHandle,
    process: metrics_process::Collector,
    token: Option<SecretString>,
}

impl Exporter {
    /// With a token, requests need it as Bearer.
    pub fn new(handle: PrometheusHandle, token: Option<SecretString>) -> Self {
        Self {
            handle,
            process: metrics_process::Collector::default(),
            token,
        }
    }
    fn admits(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let presented = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("Bearer "));
        let own = Sha256::digest(token.expose_secret().as_bytes());
        presented.is_some_and(|presented| {
            let theirs = Sha256::digest(presented.as_bytes());
            own.as_slice().ct_eq(theirs.as_slice()).into()
        })
    }
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        const PLAIN: &str = "text/plain; charset=utf-8";
        if request.uri().path() != "/metrics" {
            return Answer::of(StatusCode::NOT_FOUND, PLAIN, "only GET /metrics is here\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let answer = Answer::of(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET it\n");
            return answer.with("allow", "GET, HEAD");
        }
        if !self.admits(request) {
            let answer = Answer::of(StatusCode::UNAUTHORIZED, PLAIN, "a token is needed\n");
            return answer.with("www-authenticate", "Bearer realm=\"bursar metrics\"");
        }
        self.process.collect();
        let format = "text/plain; version=0.0.4; charset=utf-8";
        Answer::of(StatusCode::OK, format, self.handle.render())
    }
}

impl Service for Exporter {
    fn call(
        self: Arc<Self>,
        _peer: Peer,
        _repeated_length: bool,
        request: Request<Incoming>,
    ) -> BoxFuture<Response<Full<Bytes>>> {
        Box::pin(async move { self.answer(&request).into_response() })
    }
    fn panicked(&self) -> Response<Full<Bytes>> {
        Answer::empty(StatusCode::INTERNAL_SERVER_ERROR).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_at_zero_before_anything_happened() {
        let recorder = builder(catalogue::every_catalogue())
            .unwrap()
            .build_recorder();
        metrics::with_local_recorder(&recorder, || {
            catalogue::register(catalogue::every_catalogue());
        });
        let text = recorder.handle().render();
        for metric in catalogue::every_catalogue() {
            assert!(
                text.contains(&format!("# TYPE {} ", metric.name)),
                "{}",
                metric.name
            );
        }
        assert!(text.contains("bursar_webhook_requests_total{outcome=\"duplicate\"} 0"));
        let path =
            "bursar_http_requests_total{route=\"tenants_get\",method=\"GET\",code=\"200\"} 0";
        assert!(text.contains(path));
        assert!(text.contains("bursar_webhook_ack_duration_seconds_bucket{le=\"0.0005\"} 0"));
        let series = text
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty());
        let values = series.map(|line| line.rsplit(' ').next().unwrap());
        let mut count = 0;
        for value in values {
            assert_eq!(value, "0");
            count += 1;
        }
        println!("series={count}");
        // 3,474 with the series of the business; a route costs one for each status it may answer, a third of them all.
        assert!(count < 3_700, "{count} series at rest");
    }
}
