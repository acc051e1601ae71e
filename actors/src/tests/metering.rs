//! The catalogue against what is recorded: nothing undeclared, nothing declared in vain.

use super::world::{World, payment};
use crate::Core;
use crate::limits::Limits;
use crate::metrics::{CATALOGUE, business, commands, register, stripe};
use crate::ports::ReadError;
use bursar_store::metrics::MetricKind;
use metrics_util::MetricKind as Recorded;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_a_busy_tree_records_is_what_the_catalogue_declares() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut world = World::start(Limits::default()).await;
    world
        .stripe
        .answers
        .lock()
        .unwrap()
        .push_back(Err(ReadError::Timeout));
    for text in [
        "ok",
        "panic now",
        "effect stripe_read",
        "effect alert",
        "effect mail",
    ] {
        world.send(&payment(1), text).await.unwrap();
    }
    world.tree.kill(Core::Sweeper);
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Counted by hand: the fake store cannot make a circuit open in half a minute, nor log an alert.
    crate::metrics::circuit_changed("mail", crate::breaker::Circuit::Open);
    crate::metrics::alert_logged();
    // Nobody compares with Stripe here.
    crate::metrics::reconcile_succeeded(super::world::START);
    crate::metrics::reconcile_failed();
    crate::metrics::reconcile_drift(bursar_domain::listing::Listed::Charge, 1);
    crate::metrics::missed_event("invoice.paid");
    crate::metrics::reconcile_repair("event");
    commands::ended("refund", "succeeded");
    // This reducer tells nobody of money.
    business::count_one_of_each();

    let mut recorded = BTreeSet::new();
    for (key, ..) in snapshotter.snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let name = key.name().to_owned();
        let mut all = CATALOGUE
            .iter()
            .chain(business::CATALOGUE)
            .chain(commands::CATALOGUE)
            .chain(stripe::CATALOGUE);
        let metric = all.find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not declared"));
        let expected = match metric.kind {
            MetricKind::Counter => Recorded::Counter,
            MetricKind::Gauge => Recorded::Gauge,
            MetricKind::Histogram(_) => Recorded::Histogram,
        };
        assert_eq!(kind, expected, "{name}");
        assert_eq!(key.labels().count(), metric.labels.len(), "{name}");
        for label in key.labels() {
            let declared = metric.labels.iter().find(|(name, _)| *name == label.key());
            let (_, values) = declared.unwrap_or_else(|| panic!("{name}: {}", label.key()));
            assert!(values.contains(&label.value()), "{name}: {label:?}");
        }
        recorded.insert(name);
    }
    let declared = CATALOGUE
        .iter()
        .chain(business::CATALOGUE)
        .chain(commands::CATALOGUE)
        .chain(stripe::CATALOGUE);
    let declared: BTreeSet<_> = declared.map(|m| m.name.to_owned()).collect();
    assert_eq!(recorded, declared);
}

#[tokio::test(start_paused = true)]
async fn silence_of_stripe_raises_one_alert_and_a_gauge_until_a_webhook_comes() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut world = World::start(Limits {
        intake_silence: Duration::from_secs(600),
        ..Limits::default()
    })
    .await;
    // A snapshot hands out a counter's increments since the last one.
    let look = || {
        let (mut silent, mut alerts) = (0.0, 0);
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            match (key.key().name(), value) {
                ("bursar_webhooks_silent", DebugValue::Gauge(value)) => silent = value.0,
                ("bursar_alerts_total", DebugValue::Counter(count)) => alerts = count,
                _ => {}
            }
        }
        (silent, alerts)
    };
    tokio::time::sleep(Duration::from_secs(540)).await;
    assert_eq!(look(), (0.0, 0));
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(look(), (1.0, 1), "told once, however long it lasts");
    world.send(&payment(1), "ok").await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(look(), (0.0, 0));
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(look(), (1.0, 1), "the next silence is told again");
}

#[test]
fn every_series_exists_at_zero_from_the_start() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || register(CATALOGUE));
    let series = snapshotter.snapshot().into_vec().len();
    let expected: usize = CATALOGUE
        .iter()
        .map(|m| {
            m.labels
                .iter()
                .map(|(_, values)| values.len())
                .product::<usize>()
        })
        .sum();
    assert_eq!(series, expected);
    assert!(series < 900, "{series} series");
}
