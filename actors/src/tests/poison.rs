//! What goes wrong for one aggregate, beside others that go on.

use super::world::{World, event, key, payment};
use crate::limits::Limits;
use bursar_domain::ids::Scope;
use bursar_store::api::InputStatus;
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_poisoned_input_is_dead_with_the_panics_text_and_later_ones_are_applied() {
    let mut world = World::start(Limits::default()).await;
    let one = payment(1);
    let first = world.send(&one, "ok").await.unwrap();
    let bad = world.send(&one, "panic index-out-of-bounds").await.unwrap();
    let next = world.send(&one, "ok").await.unwrap();
    world.settled().await;
    assert_eq!(world.snapshot(&one), format!("{first} {next} "));
    let state = world.store.state();
    assert_eq!(state.inputs[&bad].status, InputStatus::Dead);
    assert_eq!(
        state.inputs[&bad].reason,
        "reducer panicked: index-out-of-bounds"
    );
    drop(state);
    assert_eq!(world.tree.quarantined(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_decision_the_store_refuses_kills_its_own_input_only() {
    let mut world = World::start(Limits::default()).await;
    let one = payment(1);
    // Down while they arrive, so that they are one batch.
    let texts = ["ok", "unbalanced", "ok", "panic boom", "ok"];
    let inbound: Vec<_> = texts.map(|text| world.inbound(&one, text)).into();
    let store = &world.store;
    bursar_store::api::Store::accept(store.as_ref(), inbound)
        .await
        .unwrap();
    world.settled().await;
    assert_eq!(world.snapshot(&one), "1 3 5 ");
    let state = world.store.state();
    assert!(state.inputs[&2].reason.contains("sum to zero"));
    assert!(state.inputs[&4].reason.contains("boom"));
    assert_eq!(state.count(InputStatus::Dead), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_decided_again_from_what_is_stored() {
    let mut world = World::start(Limits::default()).await;
    world.send(&payment(1), "ok").await.unwrap();
    world.settled().await;
    world.store.state().races = 3;
    world.send(&payment(1), "ok").await.unwrap();
    world.settled().await;
    assert_eq!(world.snapshot(&payment(1)), "1 2 ");
    assert_eq!(world.store.state().calls("apply"), 5);
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_only_loses_races_rests_between_tries() {
    let mut world = World::start(Limits::default()).await;
    world.store.state().races = u32::MAX;
    world.send(&payment(1), "ok").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tries = world.store.state().calls("apply");
    assert!((10..=150).contains(&tries), "{tries}");
    world.store.state().races = 0;
    world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_written_earlier_in_a_batch_is_seen_later_in_it() {
    let mut world = World::start(Limits::default()).await;
    let one = payment(1);
    let inbound = vec![
        world.inbound(&one, "look customer:/cus_1"),
        world.inbound(&one, "link customer:/cus_1 acme"),
        world.inbound(&one, "look customer:/cus_1"),
    ];
    bursar_store::api::Store::accept(world.store.as_ref(), inbound)
        .await
        .unwrap();
    world.settled().await;
    assert_eq!(world.snapshot(&one), "1 saw - 2 3 saw acme ");
    assert_eq!(world.store.state().calls("apply"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_whose_shell_fails_cools_and_resumes_by_itself() {
    let mut world = World::start(Limits::default()).await;
    let (bad, good) = (payment(1), payment(2));
    world.store.state().panics_for.insert(bad.clone());
    world.send(&bad, "ok").await.unwrap();
    for _ in 0..120 {
        world.send(&good, "ok").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.tree.quarantined(), 1);
    let failures = world.tree.figure(|gauges| &gauges.entity_failures);
    assert!((5..=7).contains(&failures), "{failures}");
    assert_eq!(
        world.store.state().pending(),
        1,
        "only the failing one waits"
    );
    world.store.state().panics_for.clear();
    world.settled().await;
    assert_eq!(world.snapshot(&bad), "1 ");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.tree.quarantined(), 0);
    assert_eq!(*world.tree.exit().borrow(), None);
}

/// Longest accept-to-apply of each quiet aggregate while `noise` goes on, in virtual time.
async fn quiet_latency(noise: bool) -> (Duration, u32) {
    let mut world = World::start(Limits {
        entities_busy_max: 16,
        group_busy_max: 4,
        ..Limits::default()
    })
    .await;
    if noise {
        world.store.state().panics_for.insert(payment(900));
        world.send(&payment(900), "ok").await.unwrap();
        let mut flood: Vec<_> = (0..150)
            .map(|_| world.inbound(&payment(901), "panic poisoned"))
            .collect();
        for n in 0..2_000 {
            let account = bursar_domain::ids::AccountId::parse("acct_loud").unwrap();
            let to = key(&format!("payment:acct_loud/pi_{}", n % 400));
            flood.push(event(Scope(Some(account)), 100_000 + n, &to, "ok"));
        }
        bursar_store::api::Store::accept(world.store.as_ref(), flood)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(world.store.state().pending() > 100, "the noise goes on");
    }
    let mut sent = BTreeMap::new();
    for round in 0..5 {
        for n in 0..20 {
            let seq = world.send(&payment(n), "ok").await.unwrap();
            *sent.entry(payment(n)).or_insert(0_u32) += 1;
            assert!(seq > 0, "{round}");
        }
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let quiet = |input: &super::fake_store::Input| {
        input.to.as_ref().is_some_and(|to| sent.contains_key(to))
    };
    world
        .store
        .until("the quiet ones are applied", |s| {
            s.inputs
                .values()
                .filter(|i| quiet(i))
                .all(|i| i.ended.is_some())
        })
        .await;
    let state = world.store.state();
    let mut longest = Duration::ZERO;
    let mut applied = 0;
    for input in state.inputs.values().filter(|i| quiet(i)) {
        assert_eq!(input.status, InputStatus::Applied);
        longest = longest.max(input.ended.unwrap() - input.accepted);
        applied += 1;
    }
    (longest, applied)
}

#[tokio::test(start_paused = true)]
async fn twenty_quiet_aggregates_beside_poisoned_failing_and_flooding_ones_keep_their_pace() {
    let (alone, applied_alone) = quiet_latency(false).await;
    let (beside, applied_beside) = quiet_latency(true).await;
    assert_eq!((applied_alone, applied_beside), (100, 100));
    assert!(
        beside <= alone * 2,
        "{beside:?} beside noise, {alone:?} alone"
    );
}
