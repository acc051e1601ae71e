//! Starts, drains, outages, restarts: nothing accepted is lost, nothing storms.

use super::fake_store::FakeStore;
use super::world::{World, event, key, payment};
use crate::Core;
use crate::intake::Refused;
use crate::limits::Limits;
use crate::outbound::Performers;
use bursar_domain::ids::{AccountId, Scope};
use bursar_store::api::{InputStatus, Store};
use std::sync::Arc;
use std::time::Duration;

/// A small generator of our own, so that a seed repeats a run.
struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[tokio::test(start_paused = true)]
async fn passivation_that_races_with_arrivals_leaves_nothing_behind() {
    for seed in 1..=6_u64 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut world = World::start(Limits {
            entity_idle: Duration::from_millis(20),
            entities_live_max: 4,
            tick: Duration::from_millis(5),
            // No sweep in this test: the registry alone must not forget.
            sweep_every: Duration::from_secs(86_400),
            ..Limits::default()
        })
        .await;
        for _ in 0..300 {
            let n = random.below(8) as u32;
            world.send(&payment(n), "ok").await.unwrap();
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        }
        world.settled().await;
        assert!(world.store.ready(None, 10).await.unwrap().is_empty());
        assert_eq!(world.store.state().count(InputStatus::Applied), 300);
        let spawned = world.tree.figure(|gauges| &gauges.spawned);
        assert!(spawned > 20, "entities came and went: {spawned}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_thirty_seconds_causes_no_storm_and_loses_nothing() {
    let mut world = World::start(Limits::default()).await;
    let mut flood = Vec::new();
    for n in 0..200 {
        flood.push(world.inbound(&payment(n), "ok"));
    }
    world.store.accept(flood).await.unwrap();
    world.store.state().down = true;
    let refused = world.send(&payment(0), "ok").await;
    assert!(matches!(refused, Err(Refused::Busy { .. })), "{refused:?}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let pulls = world.store.state().calls("pending");
    // Six pauses of five seconds with at most a full set of busy entities between them.
    assert!(pulls <= 256 * 8, "{pulls} pulls");
    assert_eq!(world.tree.figure(|gauges| &gauges.entity_failures), 0);
    assert!(world.tree.figure(|gauges| &gauges.spawned) <= 200);
    assert!(!world.tree.health().borrow().ready);
    world.store.state().down = false;
    world.settled().await;
    assert_eq!(world.store.state().count(InputStatus::Applied), 200);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let health = world.tree.health().borrow().clone();
    assert!(health.ready, "{:?}", health.checks);
}

#[tokio::test(start_paused = true)]
async fn a_drain_in_the_middle_of_work_loses_nothing_and_applies_nothing_twice() {
    let store = Arc::new(FakeStore::new());
    let mut expected = 0;
    for round in 0..5_u64 {
        let mut world = World::over(Arc::clone(&store), Limits::default(), Performers::new()).await;
        for n in 0..40 {
            world
                .send(&payment(n % 7), "send tenant:acme ok")
                .await
                .unwrap();
            expected += 2;
        }
        let intake = world.tree.intake();
        let late = world.inbound(&payment(1), "ok");
        tokio::time::sleep(Duration::from_millis(round)).await;
        let drained = world.tree.drain(Duration::from_secs(20)).await;
        assert!(drained.unfinished.is_empty(), "{drained:?}");
        assert!(intake.submit(late).await.is_err(), "closed");
    }
    let world = World::over(Arc::clone(&store), Limits::default(), Performers::new()).await;
    world.settled().await;
    let state = store.state();
    assert_eq!(state.count(InputStatus::Applied), expected);
    let mut trace = state.trace.clone();
    trace.sort();
    trace.dedup();
    assert_eq!(trace.len(), expected, "each once");
}

#[tokio::test(start_paused = true)]
async fn a_drain_past_its_deadline_says_what_is_unfinished() {
    let mut world = World::start(Limits::default()).await;
    world.store.state().hangs.insert("apply");
    world.send(&payment(1), "ok").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.store.state().hangs.insert("ready");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let store = Arc::clone(&world.store);
    let began = tokio::time::Instant::now();
    let drained = world.tree.drain(Duration::from_secs(8)).await;
    // One that hangs costs a share of the time, and the rest is still brought to an end.
    assert_eq!(drained.unfinished, ["clock", "entities"]);
    assert!(began.elapsed() <= Duration::from_secs(8));
    assert_eq!(store.state().calls("close"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_is_swept_up_by_the_next_start() {
    let store = Arc::new(FakeStore::new());
    for round in 0..20_u64 {
        let mut world = World::over(Arc::clone(&store), Limits::default(), Performers::new()).await;
        for n in 0..10 {
            world
                .send(&payment(n % 3), "send tenant:acme ok")
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_micros(round * 700)).await;
        drop(world);
    }
    let world = World::over(Arc::clone(&store), Limits::default(), Performers::new()).await;
    world.settled().await;
    assert_eq!(store.state().count(InputStatus::Applied), 400);
}

#[tokio::test(start_paused = true)]
async fn a_core_actor_that_dies_is_replaced_and_work_goes_on() {
    for core in Core::ALL {
        let mut world = World::start(Limits::default()).await;
        world.send(&payment(1), "timer late 60000").await.unwrap();
        world.settled().await;
        world.tree.kill(core);
        world.send(&payment(1), "effect mail").await.unwrap();
        world
            .store
            .until("all done", |s| {
                s.count(InputStatus::Applied) == 3
                    && s.effects
                        .values()
                        .all(|e| e.note == "no performer in this build")
            })
            .await;
        assert_eq!(*world.tree.exit().borrow(), None, "{core:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_uses_a_dead_core_actor_is_replaced_with_it_and_what_it_uses_is_not() {
    let world = World::start(Limits::default()).await;
    let before = Core::ALL.map(|core| world.tree.identity(core));
    world.tree.kill(Core::Outbound);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = Core::ALL.map(|core| world.tree.identity(core));
    let kept: Vec<_> = (0..7).map(|n| before[n] == after[n]).collect();
    assert_eq!(kept, [true, true, false, false, false, false, false]);
    assert_eq!(
        world.tree.children(),
        7,
        "no old one stays beside a new one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_core_actor_that_keeps_dying_ends_the_process_with_code_70() {
    let world = World::start(Limits::default()).await;
    let mut exit = world.tree.exit();
    for kill in 1..=6 {
        assert!(exit.borrow().is_none(), "before kill {kill}");
        world.tree.kill(Core::Intake);
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    exit.wait_for(Option::is_some).await.unwrap();
    assert_eq!(exit.borrow().as_ref().unwrap().code, crate::EXIT_ESCALATED);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_failed_for_good_ends_the_process_though_nobody_delivers_anything() {
    let world = World::start(Limits::default()).await;
    world.store.state().down = true;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*world.tree.exit().borrow(), None, "it may come back");
    {
        let mut state = world.store.state();
        (state.down, state.failed) = (false, true);
    }
    let mut exit = world.tree.exit();
    let ended = exit.wait_for(Option::is_some);
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    let ended = ended.expect("it notices by itself").unwrap();
    let ended = ended.as_ref().unwrap();
    assert_eq!(ended.code, crate::EXIT_STORE);
    assert!(ended.reason.contains("no such sector"), "{}", ended.reason);
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_that_the_store_failed_meanwhile() {
    let world = World::start(Limits::default()).await;
    world.store.state().failed = true;
    let drained = world.tree.drain(Duration::from_secs(25)).await;
    let why = drained.failed.expect("the store failed");
    assert!(why.contains("no such sector"), "{why}");
    assert!(drained.unfinished.is_empty(), "{:?}", drained.unfinished);
}

#[tokio::test(start_paused = true)]
async fn a_core_actor_without_a_sign_of_life_is_killed_and_replaced() {
    let mut world = World::start(Limits::default()).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(world.tree.health().borrow().ready);
    world.store.state().hangs.insert("ready");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(
        *world.tree.exit().borrow(),
        None,
        "a hang is not a restart storm"
    );
    let sweeps = world.store.state().calls("ready");
    assert!((4..=8).contains(&(sweeps - 3)), "{sweeps}");
    world.store.state().hangs.clear();
    world.send(&payment(1), "ok").await.unwrap();
    world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_comes_back_as_one_input_when_the_clock_says_so() {
    let mut world = World::start(Limits::default()).await;
    world
        .send(&payment(1), "timer grace_end 604800000")
        .await
        .unwrap();
    world.settled().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.store.state().inputs.len(), 1);
    world.clock.step(604_800_000);
    world.store.until("fired", |s| s.inputs.len() == 2).await;
    world.settled().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let state = world.store.state();
    assert_eq!(state.inputs.len(), 2);
    assert_eq!(state.inputs[&2].stored.kind, "grace_end");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_wakes_of_one_aggregate_cause_a_handful_of_pulls() {
    let mut world = World::start(Limits::default()).await;
    world.send(&payment(1), "ok").await.unwrap();
    world.settled().await;
    let before = world.store.state().calls("pending");
    let waker = world.tree.waker();
    for _ in 0..10_000 {
        waker.wake([payment(1)]);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pulls = world.store.state().calls("pending") - before;
    assert!((1..=2).contains(&pulls), "{pulls}");
}

#[tokio::test(start_paused = true)]
async fn intake_admits_by_items_bytes_and_account_and_permits_come_back() {
    let world = World::start(Limits {
        intake_items_max: 8,
        intake_bytes_max: 64 << 10,
        intake_account_percent: 25,
        ..Limits::default()
    })
    .await;
    let intake = world.tree.intake();
    let held: Vec<_> = (0..8).map(|_| intake.admit(1_024).ok().unwrap()).collect();
    assert!(matches!(intake.admit(1), Err(Refused::Busy { .. })));
    drop(held);
    let large = intake.admit(60 << 10).ok().unwrap();
    assert!(matches!(intake.admit(8 << 10), Err(Refused::Busy { .. })));
    assert!(matches!(intake.admit(65 << 10), Err(Refused::TooLarge)));
    drop(large);
    let account = Scope(Some(AccountId::parse("acct_1").unwrap()));
    let to = key("payment:acct_1/pi_1");
    let mut tasks = Vec::new();
    for n in 0..4 {
        let (intake, inbound) = (intake.clone(), event(account.clone(), n, &to, "ok"));
        tasks.push(tokio::spawn(async move { intake.submit(inbound).await }));
    }
    let mut taken = 0;
    for task in tasks {
        taken += u32::from(task.await.unwrap().is_ok());
    }
    assert_eq!(taken, 2, "a quarter of eight for one account");
    assert_eq!(intake.in_flight(), 0);
    assert!(intake.submit(event(account, 9, &to, "ok")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_store_too_slow_to_accept_is_an_answer_and_not_a_hang() {
    let mut world = World::start(Limits::default()).await;
    world.store.state().hangs.insert("accept");
    let refused = world.send(&payment(1), "ok").await;
    assert!(
        matches!(refused, Err(Refused::StoreDown { .. })),
        "{refused:?}"
    );
    assert_eq!(world.tree.intake().in_flight(), 0);
}

/// What is logged by this thread.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn about_signatures(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("security:"));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn bad_signatures_are_told_at_once_then_summed_each_minute_and_at_the_end() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::start(Limits::default()).await;
    let intake = world.tree.intake();
    intake.bad_signature("192.0.2.7", "no_match");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let told = lines.about_signatures();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("192.0.2.7") && told[0].contains("no_match"));
    // More at once than fit into the mailbox: all are counted.
    for _ in 0..1_000 {
        intake.bad_signature("192.0.2.7", "no_match");
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    let told = lines.about_signatures();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("count=1000"), "{}", told[1]);
    intake.bad_signature("192.0.2.8", "stale");
    world.tree.drain(Duration::from_secs(10)).await;
    let told = lines.about_signatures();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].contains("192.0.2.8 stale (1)"), "{}", told[2]);
}

#[tokio::test(start_paused = true)]
async fn an_input_in_hand_at_three_crashes_is_set_aside_and_its_neighbours_are_applied() {
    let store = Arc::new(FakeStore::new());
    let all: Vec<_> = (1..=3)
        .map(|n| event(Scope::PLATFORM, n, &payment(1), "ok"))
        .collect();
    store.accept(all).await.unwrap();
    // What three crashes with input 2 in hand leave behind.
    for (key, value) in [("starts", "3"), ("in_hand:2", "3"), ("in_hand:3", "1")] {
        let key = ("boot".to_owned(), key.to_owned());
        store.state().kept.insert(key, value.into());
    }
    let world = World::over(Arc::clone(&store), Limits::default(), Performers::new()).await;
    world.settled().await;
    assert_eq!(world.snapshot(&payment(1)), "1 3 ");
    assert!(store.state().inputs[&2].reason.contains("in hand"));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(
        store.state().kept.is_empty(),
        "a good start clears the record"
    );
}

async fn trace_of_a_run() -> Vec<String> {
    let mut world = World::start(Limits::default()).await;
    for n in 0..200 {
        let to = payment(n % 13);
        let text = match n % 17 {
            3 => "panic now",
            5 => "effect stripe_read",
            7 => "timer soon 100",
            _ => "send tenant:acme ok",
        };
        world.send(&to, text).await.unwrap();
    }
    world.settled().await;
    let state = world.store.state();
    state.trace.clone()
}

#[tokio::test(start_paused = true)]
async fn a_run_repeats_exactly_on_paused_time() {
    let first = trace_of_a_run().await;
    assert!(first.len() > 300);
    assert_eq!(first, trace_of_a_run().await);
}
