//! Facts that are looked up and not counted: what runs, how it is set up, when it was last backed up and verified.
//!
//! Invariants: labels of facts are words of ours and versions, never addresses, ids or secrets. The time of the last
//! backup is durable, written with the line of the audit trail that tells of it, so that a restart forgets it no more
//! than a person would. A verification only reads, so what it came to is known until the process ends.

use bursar_config::Config;
use bursar_domain::ids::Timestamp;
use bursar_store::api::{Keep, Store};
use bursar_store::error::StoreError;
use bursar_store::metrics::{Metric, MetricKind};

const BUILD: &str = "bursar_build_info";
const CONFIG: &str = "bursar_config_info";
const BACKUP: &str = "bursar_backup_last_success_timestamp_seconds";
const VERIFIED: &str = "bursar_verify_last_success_timestamp_seconds";
const MISMATCHES: &str = "bursar_verify_mismatches";

const SPACE: &str = "telemetry";
const LAST_BACKUP: &str = "last_backup";

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels: &[],
        help,
    }
}

/// When things were last done.
pub const CATALOGUE: &[Metric] = &[
    gauge(BACKUP, "When a backup was last taken, 0 if never."),
    gauge(
        VERIFIED,
        "When a verification last found no difference, 0 if never since the start.",
    ),
    gauge(
        MISMATCHES,
        "Differences the last verification since the start found; anything but 0 is a wrong number somewhere.",
    ),
];

/// Always 1: what they say is in their labels. They are set, so no series of theirs is made at 0.
pub const INFO: &[Metric] = &[
    Metric {
        name: BUILD,
        kind: MetricKind::Gauge,
        labels: &[("version", &[]), ("revision", &[])],
        help: "1; what is running is in the labels.",
    },
    Metric {
        name: CONFIG,
        kind: MetricKind::Gauge,
        labels: &[
            ("store", &["sled"]),
            ("livemode", &["true", "false"]),
            ("api_version", &[]),
        ],
        help: "1; how it is set up is in the labels.",
    },
];

/// Says what runs.
pub fn build(version: &'static str) {
    for info in INFO {
        metrics::describe_gauge!(info.name, info.help);
    }
    let revision = option_env!("BUILD_REVISION").unwrap_or("not recorded");
    metrics::gauge!(BUILD, "version" => version, "revision" => revision).set(1.0);
}

/// Says how it is set up.
pub fn configured(config: &Config) {
    let bursar_config::StoreLocation::Sled(_) = &config.store;
    let livemode = if config.stripe.mode.is_live() {
        "true"
    } else {
        "false"
    };
    metrics::gauge!(
        CONFIG,
        "store" => "sled", "livemode" => livemode, "api_version" => config.stripe.api_version.clone()
    )
    .set(1.0);
}

fn at(name: &'static str, at: Timestamp) {
    let seconds = u32::try_from(at.seconds()).unwrap_or(0);
    metrics::gauge!(name).set(seconds);
}

/// The record of a backup, for the commit that tells of it.
pub fn backup_record(now: Timestamp) -> Keep {
    Keep {
        space: SPACE,
        key: LAST_BACKUP.to_owned(),
        value: Some(now.seconds().to_string().into_bytes()),
        subject: None,
    }
}

/// A backup was taken.
pub fn backed_up(now: Timestamp) {
    at(BACKUP, now);
}

/// Shows what was so before the start. # Errors: the store's.
pub async fn recall(store: &dyn Store) -> Result<(), StoreError> {
    let kept = store.kept(SPACE, LAST_BACKUP.to_owned()).await?;
    let seconds = kept
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok());
    if let Some(seconds) = seconds {
        at(BACKUP, Timestamp::from_seconds(seconds));
    }
    Ok(())
}

/// A verification ended.
pub fn verified(mismatches: u64, now: Timestamp) {
    metrics::gauge!(MISMATCHES).set(u32::try_from(mismatches).unwrap_or(u32::MAX));
    if mismatches == 0 {
        at(VERIFIED, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_store::MemStore;
    use bursar_store::api::Administer;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    fn shown(snapshotter: &metrics_util::debugging::Snapshotter, name: &str) -> Option<f64> {
        let all = snapshotter.snapshot().into_vec();
        let found = all.into_iter().find(|(key, ..)| key.key().name() == name);
        match found?.3 {
            DebugValue::Gauge(value) => Some(value.0),
            _ => None,
        }
    }

    #[tokio::test]
    async fn the_last_backup_is_known_after_a_restart() {
        let store = MemStore::new().unwrap();
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let _guard = metrics::set_default_local_recorder(&recorder);
        recall(store.as_ref()).await.unwrap();
        assert_eq!(shown(&snapshotter, BACKUP), None);
        let write = Administer {
            keeps: vec![backup_record(Timestamp::from_seconds(1_747_044_000))],
            ..Administer::default()
        };
        store.administer(write).await.unwrap();
        recall(store.as_ref()).await.unwrap();
        assert_eq!(shown(&snapshotter, BACKUP), Some(1_747_044_000.0));
    }

    #[test]
    fn a_difference_is_no_success() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        // A snapshot hands out what was set since the last one.
        metrics::with_local_recorder(&recorder, || {
            verified(2, Timestamp::from_seconds(9));
            let set = snapshotter.snapshot().into_vec();
            let names: Vec<&str> = set.iter().map(|(key, ..)| key.key().name()).collect();
            assert_eq!(names, [MISMATCHES]);
            verified(0, Timestamp::from_seconds(10));
            assert_eq!(shown(&snapshotter, VERIFIED), Some(10.0));
        });
    }
}
