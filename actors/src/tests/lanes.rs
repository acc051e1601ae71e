//! Effects: performed at least once, put off durably, settled once.

use super::fake_store::FakeStore;
use super::world::{World, answer, payment};
use crate::breaker::Circuit;
use crate::limits::Limits;
use crate::outbound::Performers;
use crate::ports::{Outcome, Performer, PortFuture, ReadError};
use crate::retry::{RetryPolicy, RetryShape};
use bursar_domain::decision::Lane;
use bursar_store::api::{DueEffect, EffectStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Few attempts, close together: the sequence itself is tested in `retry`.
fn limits() -> Limits {
    let effect_retry = RetryPolicy::new(RetryShape {
        delay: Duration::from_secs(2),
        factor: 2,
        delay_max: Duration::from_secs(60),
        attempts_max: 6,
        jitter_percent: 20,
    });
    Limits {
        mail_retry: effect_retry.clone().unwrap(),
        effect_retry: effect_retry.unwrap(),
        ..Limits::default()
    }
}

fn outcome(world: &World) -> (EffectStatus, u32, String) {
    let state = world.store.state();
    let told = |effect: &&super::fake_store::Effect| effect.intent.lane != Lane::Alert;
    let effect = state.effects.values().find(told).unwrap();
    (effect.status, effect.attempts, effect.note.clone())
}

async fn effects_settled(world: &World) {
    world
        .store
        .until("every effect is settled", |s| {
            !s.effects.is_empty()
                && s.effects
                    .values()
                    .all(|e| e.status != EffectStatus::Pending)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_reread_is_tried_again_and_its_answer_comes_back_as_an_input() {
    let mut world = World::start(Limits::default()).await;
    world.stripe.answers.lock().unwrap().extend([
        Err(ReadError::Timeout),
        Err(ReadError::RateLimited {
            retry_after: Some(Duration::from_secs(90)),
        }),
        Err(ReadError::Server(502)),
        Ok(answer(200, r#"{"id":"sub_1","customer":"cus_1"}"#)),
    ]);
    world.send(&payment(1), "effect stripe_read").await.unwrap();
    effects_settled(&world).await;
    world.settled().await;
    assert_eq!(outcome(&world), (EffectStatus::Done, 2, "200 req_1".into()));
    let state = world.store.state();
    let result = &state.inputs[&2].stored;
    assert_eq!(result.kind, "reread");
    let body: serde_json::Value = serde_json::from_slice(&result.body).unwrap();
    assert_eq!(body["status"], 200);
    assert_eq!(body["target"]["id"], "sub_1");
    assert_eq!(body["body"]["customer"], "cus_1");
    let waits: Vec<_> = state
        .postponed
        .windows(2)
        .map(|w| w[1].0 - w[0].0)
        .collect();
    assert!(waits[0] >= 88_000, "Retry-After is honoured: {waits:?}");
    drop(state);
    assert_eq!(world.snapshot(&payment(1)), "1 2 ");
    assert_eq!(world.stripe.asked.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_reread_of_what_stripe_does_not_know_is_an_answer_too() {
    let mut world = World::start(Limits::default()).await;
    world.send(&payment(1), "effect stripe_read").await.unwrap();
    effects_settled(&world).await;
    world.settled().await;
    assert_eq!(outcome(&world).0, EffectStatus::Done);
    assert_eq!(world.snapshot(&payment(1)), "1 2 ");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_opened_is_shown_with_its_time_and_closes_by_hand() {
    let mut world = World::start(Limits::default()).await;
    let circuits = world.tree.circuits();
    let of = |name| circuits.all().into_iter().find(|c| c.name == name).unwrap();
    let names: Vec<_> = circuits.all().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["stripe", "mail", "notify", "identity", "alert"]);
    assert!(circuits.all().iter().all(|c| c.state == Circuit::Closed));
    for name in ["stripe", "mail", "stripe_read", "stripe:acct_1", "coffee"] {
        assert!(!circuits.reset(name).await, "nothing to reset: {name}");
    }
    let failing = (0..100).map(|_| Err(ReadError::Timeout));
    world.stripe.answers.lock().unwrap().extend(failing);
    world.clock.step(60_000);
    for n in 0..12 {
        let to = payment(n);
        world.send(&to, "effect stripe_read").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let open = of("stripe");
    assert_eq!(open.state, Circuit::Open);
    assert!(open.since > of("mail").since, "{open:?}");
    assert_eq!(of("mail").state, Circuit::Closed);
    world.stripe.answers.lock().unwrap().clear();
    assert!(circuits.reset("stripe").await);
    assert_eq!(of("stripe").state, Circuit::Closed);
    assert!(!circuits.reset("stripe").await, "once is enough");
    world.clock.step(60_000);
    effects_settled(&world).await;
    assert_eq!(of("stripe").state, Circuit::Closed);
    let store = Arc::clone(&world.store);
    world.tree.drain(Duration::from_secs(5)).await;
    let state = store.state();
    let lines: Vec<_> = state
        .audit
        .iter()
        .map(|line| (line.action.as_str(), line.detail.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("circuit.opened", "no answer in time"),
            ("circuit.closed", "closed by hand"),
        ]
    );
    assert!(
        state
            .audit
            .iter()
            .all(|line| line.actor == "system" && line.object_id == "stripe")
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_count_survives_the_process() {
    let mut world = World::start(limits()).await;
    let failing = (0..100).map(|_| Err(ReadError::Timeout));
    world.stripe.answers.lock().unwrap().extend(failing);
    world.send(&payment(1), "effect stripe_read").await.unwrap();
    world
        .store
        .until("three attempts", |s| {
            s.effects.values().any(|e| e.attempts == 3)
        })
        .await;
    let store = Arc::clone(&world.store);
    drop(world);
    let world = World::over(store, limits(), Performers::new()).await;
    let failing = (0..100).map(|_| Err(ReadError::Timeout));
    world.stripe.answers.lock().unwrap().extend(failing);
    // The new clock starts again at the same time, so the effect is due later than it was.
    world.clock.step(3_600_000);
    effects_settled(&world).await;
    let (status, attempts, note) = outcome(&world);
    assert_eq!((status, attempts), (EffectStatus::Dead, 5));
    assert!(note.contains("gave up after 6 attempts"), "{note}");
    assert_eq!(world.stripe.asked.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_effect_nobody_performs_is_skipped_and_says_so() {
    for lane in ["stripe", "mail", "notify", "identity"] {
        let mut world = World::start(Limits::default()).await;
        world
            .send(&payment(1), &format!("effect {lane}"))
            .await
            .unwrap();
        effects_settled(&world).await;
        let (status, _, note) = outcome(&world);
        assert_eq!(status, EffectStatus::Skipped, "{lane}");
        assert_eq!(note, "no performer in this build");
    }
}

/// Panics, hangs, fails for one or for all, or counts how many run at once.
struct Odd {
    how: &'static str,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Performer for Odd {
    fn perform(&self, _: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(async {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            match self.how {
                "panic" => panic!("a defect in the performer"),
                "hang" => std::future::pending::<()>().await,
                _ => tokio::time::sleep(Duration::from_secs(3)).await,
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            if ["full", "away"].contains(&self.how) {
                return Outcome::Retry {
                    after: None,
                    error: "451".into(),
                    counts: true,
                    of_one: self.how == "full",
                    told: None,
                };
            }
            Outcome::Done {
                note: String::new(),
                result: None,
            }
        })
    }
}

async fn odd(how: &'static str) -> (World, Arc<Odd>) {
    let odd = Arc::new(Odd {
        how,
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let performers = Performers::from([(Lane::Mail, Arc::clone(&odd) as Arc<dyn Performer>)]);
    let store = Arc::new(FakeStore::new());
    (World::over(store, limits(), performers).await, odd)
}

#[tokio::test(start_paused = true)]
async fn a_performer_that_panics_or_hangs_uses_up_attempts_and_leaves_the_lane_alive() {
    for (how, said) in [("panic", "the performer failed"), ("hang", "no end after")] {
        let (mut world, _) = odd(how).await;
        world.send(&payment(1), "effect mail").await.unwrap();
        effects_settled(&world).await;
        let (status, attempts, note) = outcome(&world);
        assert_eq!((status, attempts), (EffectStatus::Dead, 5), "{how}");
        assert!(note.contains(said), "{how}: {note}");
        assert_eq!(*world.tree.exit().borrow(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_one_recipient_opens_no_circuit_and_what_is_wrong_with_the_server_does()
{
    for (how, opened) in [("full", Circuit::Closed), ("away", Circuit::Open)] {
        let (mut world, _) = odd(how).await;
        for n in 0..30 {
            world.send(&payment(n), "effect mail").await.unwrap();
        }
        // An attempt takes three seconds, and a lane makes a few at a time.
        tokio::time::sleep(Duration::from_secs(40)).await;
        let mut all = world.tree.circuits().all().into_iter();
        let mail = all.find(|circuit| circuit.name == "mail").unwrap();
        assert_eq!(mail.state, opened, "{how}");
        let state = world.store.state();
        assert!(state.effects.values().any(|effect| effect.attempts > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_has_a_bounded_number_of_attempts_in_the_making_each_once() {
    let (mut world, odd) = odd("slow").await;
    for n in 0..50 {
        world.send(&payment(n), "effect mail").await.unwrap();
    }
    effects_settled(&world).await;
    assert_eq!(
        odd.most.load(Ordering::SeqCst),
        Limits::default().lane_tasks_max
    );
    assert_eq!(world.store.state().calls("settle"), 50);
}

#[tokio::test(start_paused = true)]
async fn an_effect_whose_personal_data_was_erased_is_skipped() {
    let (mut world, odd) = odd("panic").await;
    world.store.state().hangs.insert("due_effects");
    world.send(&payment(1), "effect mail").await.unwrap();
    world.settled().await;
    world.store.state().erase_effects();
    world.store.state().hangs.clear();
    let store = Arc::clone(&world.store);
    drop(world);
    let world = World::over(
        store,
        Limits::default(),
        Performers::from([(Lane::Mail, odd as Arc<dyn Performer>)]),
    )
    .await;
    effects_settled(&world).await;
    assert_eq!(outcome(&world).0, EffectStatus::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_a_settle_for_a_while_is_asked_again_and_nothing_is_performed_twice() {
    let (mut world, odd) = odd("slow").await;
    world.send(&payment(1), "effect mail").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.store.state().down = true;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.store.state().down = false;
    effects_settled(&world).await;
    assert_eq!(outcome(&world).0, EffectStatus::Done);
    assert_eq!(odd.most.load(Ordering::SeqCst), 1);
    assert_eq!(odd.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn while_stripe_is_down_only_probes_reach_it_and_all_is_read_afterwards() {
    let mut world = World::start(Limits::default()).await;
    let failing = (0..10_000).map(|_| Err(ReadError::Server(503)));
    world.stripe.answers.lock().unwrap().extend(failing);
    for n in 0..200 {
        world.send(&payment(n), "effect stripe_read").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = world.stripe.asked.lock().unwrap().len();
    // Ten to open it and those under way with them, then one probe per open interval.
    assert!((20..=45).contains(&asked), "{asked} calls in ten minutes");
    world.stripe.answers.lock().unwrap().clear();
    effects_settled(&world).await;
    let state = world.store.state();
    assert!(
        state
            .effects
            .values()
            .all(|e| e.status == EffectStatus::Done)
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_attempts_in_the_making_and_begins_no_more() {
    let (mut world, odd) = odd("slow").await;
    for n in 0..30 {
        world.send(&payment(n), "effect mail").await.unwrap();
    }
    world
        .store
        .until("the first are done", |s| s.calls("settle") >= 1)
        .await;
    let store = Arc::clone(&world.store);
    let begun = store.state().calls("settle") + odd.running.load(Ordering::SeqCst) as u64;
    let drained = world.tree.drain(Duration::from_secs(20)).await;
    assert!(drained.unfinished.is_empty(), "{drained:?}");
    assert_eq!(odd.running.load(Ordering::SeqCst), 0);
    let settled = store.state().calls("settle");
    assert!(
        settled >= begun && settled < 30,
        "{settled} of {begun} begun"
    );
}
