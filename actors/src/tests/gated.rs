//! Lanes to Stripe behind the gate: who waits for whom, what ends while a circuit is open, when a put-off comes back.

use super::fake_store::FakeStore;
use super::world::{World, payment};
use crate::breaker::Circuit;
use crate::gate::{FarSide, HOST};
use crate::limits::Limits;
use crate::outbound::Performers;
use crate::outbound::gated_read::GatedRead;
use crate::ports::{Outcome, Performer, PortFuture, ReadError, StripeRead};
use bursar_domain::decision::Lane;
use bursar_domain::ids::{AccountId, Scope};
use bursar_store::api::{DueEffect, EffectStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn account(id: &str) -> Scope {
    Scope(Some(AccountId::parse(id).unwrap()))
}

fn pending(world: &World, account: &str) -> usize {
    let state = world.store.state();
    let of = state.effects.values().filter(|effect| {
        effect.intent.payload == account.as_bytes() && effect.status == EffectStatus::Pending
    });
    of.count()
}

fn opened_by_hand(world: &World) {
    for _ in 0..10 {
        let pass = world
            .tree
            .gate()
            .enter(&Scope::PLATFORM, Lane::Stripe, false);
        pass.unwrap().end(FarSide::HostFailed("away".into()));
    }
    assert_eq!(world.tree.gate().circuits()[0].state, Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn an_account_stuck_in_429_does_not_delay_the_others() {
    let mut world = World::start(Limits::default()).await;
    *world.stripe.limited.lock().unwrap() = Some(AccountId::parse("acct_stuck").unwrap());
    for n in 0..300 {
        let text = "effect stripe_read acct_stuck";
        world.send(&payment(n), text).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pending(&world, "acct_stuck"), 300);
    for n in 300..310 {
        let text = "effect stripe_read acct_fine";
        world.send(&payment(n), text).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pending(&world, "acct_fine"), 0);
    let circuits = world.tree.circuits().all();
    assert_eq!(circuits[0].state, Circuit::Closed, "the host works");
    assert_eq!(circuits[1].name, "stripe:acct_stuck");
    assert_ne!(circuits[1].state, Circuit::Closed);
    // Refused ones are put off without a request: a few times each, as its circuit opens again and again.
    let put_off = world.store.state().calls("postpone");
    println!("put off={put_off} of 300 in a minute");
    assert!((300..=2_000).contains(&put_off), "{put_off}");
    *world.stripe.limited.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(pending(&world, "acct_stuck"), 0);
    let asked = world.stripe.asked.lock().unwrap().len();
    assert!((310..=420).contains(&asked), "{asked} requests");
}

#[tokio::test(start_paused = true)]
async fn more_than_the_allowance_is_spread_over_time_and_all_is_read() {
    let mut world = World::start(Limits::default()).await;
    for n in 0..500 {
        world.send(&payment(n), "effect stripe_read").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = world.stripe.asked.lock().unwrap().len();
    assert!(
        (200..=275).contains(&asked),
        "{asked} in ten seconds at 25 a second"
    );
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.stripe.asked.lock().unwrap().len(), 500);
    let put_off = world.store.state().calls("postpone");
    assert!(put_off <= 1_500, "{put_off} commits to put off 500");
}

/// Puts off with what the gate says, or ends what is overdue; remembers when it was asked.
struct Caller {
    wait: Duration,
    most: Option<Duration>,
    overdue_after: u32,
    looked: AtomicU32,
    attempts: Mutex<Vec<tokio::time::Instant>>,
}

impl Caller {
    fn lane(lane: Lane, wait_ms: u64, overdue_after: u32) -> (Arc<Self>, Performers) {
        Self::capped(lane, wait_ms, overdue_after, None)
    }
    fn capped(
        lane: Lane,
        wait_ms: u64,
        overdue_after: u32,
        most: Option<Duration>,
    ) -> (Arc<Self>, Performers) {
        let caller = Arc::new(Self {
            wait: Duration::from_millis(wait_ms),
            most,
            overdue_after,
            looked: AtomicU32::new(0),
            attempts: Mutex::default(),
        });
        let performers = Performers::from([(lane, Arc::clone(&caller) as Arc<dyn Performer>)]);
        (caller, performers)
    }
    fn gaps_ms(&self) -> Vec<u128> {
        let attempts = self.attempts.lock().unwrap();
        attempts
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_millis())
            .collect()
    }
}

impl Performer for Caller {
    fn perform(&self, _: DueEffect) -> PortFuture<'_, Outcome> {
        self.attempts
            .lock()
            .unwrap()
            .push(tokio::time::Instant::now());
        Box::pin(std::future::ready(Outcome::Retry {
            after: (!self.wait.is_zero()).then_some(self.wait),
            error: "not now".into(),
            counts: self.wait.is_zero(),
            of_one: false,
            told: None,
        }))
    }
    fn put_off_max(&self, _: &DueEffect) -> Option<Duration> {
        self.most
    }
    fn overdue(&self, _: &DueEffect) -> Option<Outcome> {
        let looked = self.looked.fetch_add(1, Ordering::SeqCst) + 1;
        match self.overdue_after {
            0 => panic!("a defect in the performer"),
            after => (looked >= after).then(|| Outcome::Failed {
                note: "its time is over".into(),
            }),
        }
    }
}

async fn with(performers: Performers) -> World {
    let store = Arc::new(FakeStore::new());
    World::over(store, Limits::default(), performers).await
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_ends_while_the_circuit_is_open_and_nothing_is_sent() {
    for lane in ["stripe", "stripe_refund", "stripe_background"] {
        let of = Lane::ALL.into_iter().find(|l| l.as_str() == lane).unwrap();
        let (caller, performers) = Caller::lane(of, 1_000, 3);
        let mut world = with(performers).await;
        opened_by_hand(&world);
        let text = format!("effect {lane}");
        world.send(&payment(1), &text).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert_eq!(world.tree.gate().room(), 0, "it is open still");
        let state = world.store.state();
        let effect = state.effects.values().next().unwrap();
        assert_eq!(
            (effect.status, effect.note.as_str(), effect.attempts),
            (EffectStatus::Failed, "its time is over", 0),
            "{lane}"
        );
        assert!(caller.attempts.lock().unwrap().is_empty(), "{lane}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_performer_that_cannot_say_whether_it_is_overdue_is_asked_to_perform() {
    let (caller, performers) = Caller::lane(Lane::Stripe, 60_000, 0);
    let mut world = with(performers).await;
    world.send(&payment(1), "effect stripe").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(caller.attempts.lock().unwrap().len(), 1);
    assert_eq!(*world.tree.exit().borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn a_put_off_without_an_attempt_comes_back_at_its_time() {
    let (caller, performers) = Caller::lane(Lane::Stripe, 40, u32::MAX);
    let mut world = with(performers).await;
    world.send(&payment(1), "effect stripe").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let gaps = caller.gaps_ms();
    assert!(gaps.len() >= 30, "{gaps:?}");
    assert!(gaps.iter().all(|gap| (40..60).contains(gap)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_put_off_no_longer_than_its_performer_says() {
    // By the lane's own delay, and by what the performer asks for.
    for wait_ms in [0, 60_000] {
        let most = Some(Duration::from_millis(200));
        let (caller, performers) = Caller::capped(Lane::Stripe, wait_ms, u32::MAX, most);
        let mut world = with(performers).await;
        world.send(&payment(1), "effect stripe").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let gaps = caller.gaps_ms();
        assert!(gaps.len() >= 8, "{gaps:?}");
        assert!(gaps.iter().all(|gap| (200..220).contains(gap)), "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn orders_are_tried_again_soon_and_never_given_up_by_count() {
    for lane in [Lane::Stripe, Lane::StripeRefund] {
        let (caller, performers) = Caller::lane(lane, 0, u32::MAX);
        let mut world = with(performers).await;
        let text = format!("effect {}", lane.as_str());
        world.send(&payment(1), &text).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1_800)).await;
        let gaps = caller.gaps_ms();
        assert!((400..=610).contains(&gaps[0]), "{gaps:?}");
        assert!((800..=1_210).contains(&gaps[1]), "{gaps:?}");
        assert!(gaps.len() > 50, "{} attempts", gaps.len());
        assert!(gaps.iter().all(|gap| *gap <= 30_300), "{gaps:?}");
        let state = world.store.state();
        let effect = state.effects.values().next().unwrap();
        assert_eq!(effect.status, EffectStatus::Pending, "{lane:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_read_is_refused_at_once_while_the_circuit_is_open() {
    let world = World::start(Limits::default()).await;
    let read = GatedRead::new(
        Arc::clone(&world.stripe) as _,
        world.tree.gate(),
        Lane::Stripe,
    );
    let path = || "/v1/balance".to_owned();
    let answer = read.get(account("acct_1"), path()).await;
    assert_eq!(answer.unwrap().status, 404);
    opened_by_hand(&world);
    let refused = read.get(account("acct_1"), path()).await;
    let Err(ReadError::Refused {
        circuit,
        retry_after,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(circuit.as_deref(), Some(HOST));
    assert!(retry_after <= Duration::from_secs(6), "{retry_after:?}");
    assert_eq!(world.stripe.asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_at_the_audit_trail_delays_no_request() {
    let mut world = World::start(Limits::default()).await;
    world.store.state().hangs.insert("administer");
    for _ in 0..400 {
        opened_by_hand(&world);
        assert!(world.tree.circuits().reset("stripe").await);
        // The allowance of the platform fills up again.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.send(&payment(1), "effect stripe_read").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pending(&world, "{}"), 0);
    assert_eq!(world.store.state().audit.len(), 0);
}
