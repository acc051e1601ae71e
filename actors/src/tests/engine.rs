//! The tree over the real engine (in memory, its committer a thread of its own) in real time, with
//! the real reducers and recorded shapes of Stripe's events.

use super::world::{Obedient, START, event, payment};
use crate::clock::{Clock, TestClock};
use crate::core_reducer::CoreReducer;
use crate::limits::Limits;
use crate::outbound::Performers;
use crate::ports::{PortFuture, ReadAnswer, ReadError, Reducer, StripeRead};
use crate::tree::{Deps, Tree};
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::route;
use bursar_domain::settings::Settings;
use bursar_store::MemStore;
use bursar_store::api::{Fate, Inbound, Store};
use std::sync::Arc;
use std::time::Duration;

/// Stripe is away.
struct NoStripe;

impl StripeRead for NoStripe {
    fn get(&self, _: Scope, _: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        Box::pin(std::future::ready(Err(ReadError::Timeout)))
    }
}

async fn tree(store: &Arc<dyn Store>, reducer: Arc<dyn Reducer>, clock: Arc<TestClock>) -> Tree {
    Tree::start(Deps {
        store: Arc::clone(store),
        clock,
        reducer,
        stripe_read: Arc::new(NoStripe),
        stripe_write: None,
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
        performers: Performers::new(),
    })
    .await
    .unwrap()
}

/// Waits until nothing is pending and no timer is due.
async fn settled(store: &Arc<dyn Store>, clock: &TestClock) {
    let quiet = async {
        let mut commits = store.commits();
        loop {
            let pending = store.stats().await.unwrap().pending;
            let timers = store.due_timers(clock.now(), 1).await.unwrap();
            if pending == 0 && timers.is_empty() {
                return;
            }
            commits.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), quiet)
        .await
        .is_err()
    {
        panic!("not settled: {:?}", store.stats().await);
    }
}

/// What the edge makes of a delivery.
fn delivery(body: &[u8], now: Timestamp) -> Inbound {
    let routed = route::route(body, &Settings::default(), now);
    Inbound {
        source: routed.source,
        kind: routed.kind,
        fate: match routed.fate {
            route::Fate::Pending { to, park } => Fate::Pending { to, park },
            route::Fate::Ignored { reason } => Fate::Ignored { reason },
            route::Fate::Dead { reason } => Fate::Dead { reason },
        },
        object_ids: routed.objects,
        created_at: routed.created_at,
        received_at: now,
        subject: routed.subject,
        body: body.to_vec().into(),
        tenant: None,
    }
}

fn scenarios() -> Vec<(String, Vec<serde_json::Value>)> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/corpus/stripe/scenarios"
    );
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let name = value["scenario"].as_str().unwrap().to_owned();
        found.push((name, value["events"].as_array().unwrap().clone()));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

async fn digest_of(events: &[&serde_json::Value], at: Timestamp) -> (String, u64, u64) {
    let store = MemStore::new().unwrap();
    let clock = Arc::new(TestClock::at(at));
    let tree = tree(&store, Arc::new(CoreReducer), Arc::clone(&clock)).await;
    let intake = tree.intake();
    for event in events {
        let body = serde_json::to_vec(event).unwrap();
        intake.submit(delivery(&body, clock.now())).await.unwrap();
    }
    settled(&store, &clock).await;
    let stats = store.stats().await.unwrap();
    let digest = store.state_digest().await.unwrap();
    let drained = tree.drain(Duration::from_secs(20)).await;
    assert!(drained.unfinished.is_empty(), "{drained:?}");
    (digest, stats.dead, stats.inputs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_scenario_ends_in_one_state_whatever_the_order_and_repetition() {
    for (name, events) in scenarios() {
        let newest = events.iter().filter_map(|e| e["created"].as_i64()).max();
        let at = Timestamp::from_seconds(newest.unwrap_or(0) + 3_600);
        let told: Vec<_> = events.iter().collect();
        let (expected, dead, inputs) = digest_of(&told, at).await;
        assert_eq!(dead, 0, "{name}");
        assert!(inputs >= events.len() as u64, "{name}");
        let mut backwards: Vec<_> = events.iter().rev().collect();
        backwards.extend(events.iter().step_by(2));
        let (got, dead, _) = digest_of(&backwards, at).await;
        assert_eq!((got, dead), (expected, 0), "{name} backwards");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_on_the_real_engine_kills_its_own_inputs_and_a_restart_finds_the_rest() {
    let store = MemStore::new().unwrap();
    let clock = Arc::new(TestClock::at(START));
    let first = tree(&store, Arc::new(Obedient), Arc::clone(&clock)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1_200_u32 {
        let text = match n % 50 {
            7 => "panic poisoned",
            9 => "look customer:/cus_1\nlink customer:/cus_1 acme\nlook customer:/cus_1",
            _ => "send tenant:acme ok",
        };
        let inbound = event(Scope::PLATFORM, n, &payment(n % 60), text);
        let intake = first.intake();
        tasks.spawn(async move { intake.submit(inbound).await });
        if n == 600 {
            tokio::task::yield_now().await;
        }
    }
    let mut accepted = 0;
    while let Some(result) = tasks.join_next().await {
        accepted += u64::from(result.unwrap().is_ok());
    }
    assert!(accepted >= 1_000, "{accepted}");
    // A crash: whatever was in a turn is still pending.
    drop(first);
    let second = tree(&store, Arc::new(Obedient), Arc::clone(&clock)).await;
    settled(&store, &clock).await;
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.pending, stats.parked), (0, 0));
    assert!(
        stats.dead >= accepted / 50 - 5 && stats.dead <= 24,
        "{stats:?}"
    );
    let seen = store.load(payment(0)).await.unwrap().unwrap();
    let seen = String::from_utf8(seen.bytes).unwrap();
    let mut seqs: Vec<_> = seen
        .split_whitespace()
        .filter(|w| w.parse::<u64>().is_ok())
        .collect();
    let all = seqs.len();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), all, "each once: {seen}");
    assert_eq!(*second.exit().borrow(), None);
    let drained = second.drain(Duration::from_secs(20)).await;
    assert!(drained.unfinished.is_empty(), "{drained:?}");
}
