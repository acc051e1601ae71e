//! The store's metrics: one declaration each. A dashboard may only use what is declared here or in
//! the catalogues of `actors` and the root.

pub mod kept;
pub(crate) mod observe;
pub use observe::register;

/// What kind of series a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// With the bucket set of its unit.
    Histogram(Buckets),
}

/// Bucket sets, by what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Buckets {
    Fast,
    Http,
    Remote,
    Age,
    Count,
}

/// A label and every value it may take: series are registered at 0 from the start.
pub type Label = (&'static str, &'static [&'static str]);

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name with prefix, e.g. `bursar_store_commits_total`.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels; closed sets, never ids.
    pub labels: &'static [Label],
    /// One sentence.
    pub help: &'static str,
}

const COMMIT: Label = ("commit", &["accept", "apply", "settle", "other"]);

/// Every metric of the store.
pub const CATALOGUE: &[Metric] = &[
    Metric {
        name: "bursar_store_commit_duration_seconds",
        kind: MetricKind::Histogram(Buckets::Fast),
        labels: &[COMMIT],
        help: "Time from handing a commit to the store to its durable answer.",
    },
    Metric {
        name: "bursar_store_commit_batch_size",
        kind: MetricKind::Histogram(Buckets::Count),
        labels: &[],
        help: "Commits made durable by one sync.",
    },
    Metric {
        name: "bursar_store_sync_duration_seconds",
        kind: MetricKind::Histogram(Buckets::Fast),
        labels: &[],
        help: "Time of one fdatasync of the journal.",
    },
    Metric {
        name: "bursar_store_commits_total",
        kind: MetricKind::Counter,
        labels: &[COMMIT, ("outcome", &["ok", "stale", "error"])],
        help: "Commits by kind and outcome.",
    },
    Metric {
        name: "bursar_store_queue_depth",
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Commits waiting for the committer.",
    },
    Metric {
        name: "bursar_store_disk_bytes",
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Bytes the store takes on disk.",
    },
    Metric {
        name: "bursar_store_disk_free_bytes",
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Bytes free where the store lives.",
    },
    Metric {
        name: "bursar_store_blob_files",
        kind: MetricKind::Gauge,
        labels: &[],
        help: "Files outside sled's log; anything but 0 is a defect.",
    },
];
