//! Moves the metrics of the catalogue; the only place that names them to the facade.

use super::kept::Kept;
use super::{CATALOGUE, MetricKind};
use crate::error::StoreError;
use metrics::{Counter, Histogram};
use tokio::time::Instant;

/// Of accepts and applies that were done: nearly all there are.
static ACCEPTS: Kept<(Counter, Histogram)> = Kept::new();
static APPLIES: Kept<(Counter, Histogram)> = Kept::new();
static SETTLES: Kept<(Counter, Histogram)> = Kept::new();
static GROUPS: Kept<Histogram> = Kept::new();
static SYNCS: Kept<Histogram> = Kept::new();

/// Registers every series of the catalogue at 0, so that a rate starts at 0 and not at nothing.
pub fn register() {
    for metric in CATALOGUE {
        let mut series: Vec<Vec<metrics::Label>> = vec![Vec::new()];
        for (name, values) in metric.labels {
            series = series
                .iter()
                .flat_map(|labels| {
                    values.iter().map(move |value| {
                        let mut labels = labels.clone();
                        labels.push(metrics::Label::new(*name, *value));
                        labels
                    })
                })
                .collect();
        }
        for labels in series {
            match metric.kind {
                MetricKind::Counter => metrics::counter!(metric.name, labels).absolute(0),
                MetricKind::Gauge => metrics::gauge!(metric.name, labels).set(0.0),
                MetricKind::Histogram(_) => drop(metrics::histogram!(metric.name, labels)),
            }
        }
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// One commit was answered.
pub(crate) fn commit<T: Outcome>(
    label: &'static str,
    since: Instant,
    came_to: &Result<T, StoreError>,
) {
    if label == "answered" {
        return;
    }
    let outcome = match came_to {
        Ok(answer) if answer.is_stale() => "stale",
        Ok(_) => "ok",
        Err(_) => "error",
    };
    let find = || {
        let count = metrics::counter!("bursar_store_commits_total", "commit" => label, "outcome" => outcome);
        let took = metrics::histogram!("bursar_store_commit_duration_seconds", "commit" => label);
        (count, took)
    };
    let change = |(count, took): &(Counter, Histogram)| {
        count.increment(1);
        took.record(since.elapsed());
    };
    match (label, outcome) {
        ("accept", "ok") => ACCEPTS.with(find, change),
        ("apply", "ok") => APPLIES.with(find, change),
        ("settle", "ok") => SETTLES.with(find, change),
        _ => change(&find()),
    }
}

/// What the `outcome` label needs to know of an answer.
pub(crate) trait Outcome {
    /// Refused because something changed meanwhile.
    fn is_stale(&self) -> bool;
}

/// A group is about to be made durable.
pub(crate) fn group(commits: usize) {
    let commits = u32::try_from(commits).unwrap_or(u32::MAX);
    let find = || metrics::histogram!("bursar_store_commit_batch_size");
    GROUPS.with(find, |sizes| sizes.record(commits));
}

/// Times a sync.
pub(crate) fn sync<T>(run: impl FnOnce() -> T) -> T {
    let since = Instant::now();
    let out = run();
    let find = || metrics::histogram!("bursar_store_sync_duration_seconds");
    SYNCS.with(find, |took| took.record(since.elapsed()));
    out
}

/// Figures that are looked at and not counted.
pub(crate) fn gauges(queue_depth: u64, disk_bytes: u64, disk_free_bytes: u64, blob_files: u64) {
    for (name, value) in [
        ("bursar_store_queue_depth", queue_depth),
        ("bursar_store_disk_bytes", disk_bytes),
        ("bursar_store_disk_free_bytes", disk_free_bytes),
        ("bursar_store_blob_files", blob_files),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    /// A dashboard shows what is registered, and a test of ours what is moved: both are the catalogue.
    #[test]
    fn every_series_of_the_catalogue_starts_at_zero() {
        let recorder = DebuggingRecorder::new();
        let seen = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, register);
        let mut names = std::collections::BTreeMap::new();
        for (key, _, _, value) in seen.snapshot().into_vec() {
            *names.entry(key.key().name().to_owned()).or_insert(0) += 1;
            match value {
                DebugValue::Counter(count) => assert_eq!(count, 0),
                DebugValue::Gauge(level) => assert!(level == 0.0),
                DebugValue::Histogram(samples) => assert!(samples.is_empty()),
            }
        }
        for metric in CATALOGUE {
            let combinations: usize = metric
                .labels
                .iter()
                .map(|(_, values)| values.len())
                .product();
            assert_eq!(
                names.remove(metric.name),
                Some(combinations),
                "{}",
                metric.name
            );
        }
        assert!(names.is_empty(), "{names:?} is not in the catalogue");
    }
}
