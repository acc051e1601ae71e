//! Group commit and the claim of an event's id, under orders of threads that shuttle draws.
//!
//! Goal: nobody is told anything before it is durable, an event is stored once however many bring it, and nobody waits
//! for ever. Method: the real engine, its committer a thread among others, over a journal that gives the others a turn
//! before and after its sync; every wait, wake-up and lock of the queue is a place where another thread may go on.
//! Shuttle's waits never time out, so a wake-up that is lost is a deadlock, which it reports.
//!
//! `BURSAR_SCHEDULES` sets how many are drawn per test (4,000). The seed is printed first; `BURSAR_SEED` draws the same
//! again.

use super::commit::{Commit, Queued};
use super::port::{Log, MemKeys, MemLog, Place};
use super::queue::{Queue, Waited};
use super::{Engine, Parts, replay};
use crate::api::{Accepted, Store};
use crate::conformance::world;
use crate::error::StoreError;
use crate::kv::MemKv;
use crate::record::{Entry, decode};
use bursar_domain::ids::Timestamp;
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread::{self, yield_now};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A seeded bug is the whole process's, so no test draws while another has one on.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str, default: u64) -> u64 {
    let asked = std::env::var(name).ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}

type Run = fn();

fn draw(scheduler: impl Scheduler + 'static, run: Run, is_quiet: bool) {
    let mut config = shuttle::Config::default();
    // A commit goes through serde and several maps, unoptimised.
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    if is_quiet {
        config.failure_persistence = shuttle::FailurePersistence::None;
    }
    shuttle::Runner::new(scheduler, config).run(run);
}

/// Half of them any order, half few changes of who goes first.
fn schedules(name: &str, run: Run) {
    let _alone = alone();
    let half = number("BURSAR_SCHEDULES", 4_000) / 2;
    let seed = number("BURSAR_SEED", u64::from(std::process::id()));
    let count = usize::try_from(half).expect("a count");
    println!("seed={seed} {name}");
    draw(RandomScheduler::new_from_seed(seed, count), run, false);
    draw(PctScheduler::new_from_seed(seed, 3, count), run, false);
    println!("shuttle schedules={} failures=0 {name}", half * 2);
}

/// What lies in the journal, by the ids of accepted events, and the append at which its disk fails.
#[derive(Clone, Default)]
struct Disk {
    durable: Arc<Mutex<Vec<String>>>,
    fails_at: Option<usize>,
}

impl Disk {
    /// How often this event is there.
    fn holds(&self, id: &str) -> usize {
        let durable = self.durable.lock().unwrap();
        durable.iter().filter(|found| *found == id).count()
    }
}

/// A journal whose writes and syncs take their time.
struct SlowLog {
    log: MemLog,
    disk: Disk,
    appends: usize,
}

fn ids_of(record: &[u8]) -> Vec<String> {
    match decode(record).expect("the engine's own record").0 {
        Entry::Accepted(inputs) => inputs.iter().map(|one| one.source.public_id()).collect(),
        _ => Vec::new(),
    }
}

impl Log for SlowLog {
    fn append(&mut self, records: &[Vec<u8>]) -> Result<Vec<Place>, StoreError> {
        self.appends += 1;
        yield_now();
        if self.disk.fails_at == Some(self.appends) {
            return Err(StoreError::Io {
                operation: "syncing the journal",
                file: None,
                cause: std::io::Error::other("drawn to fail"),
            });
        }
        let places = self.log.append(records)?;
        let ids = records.iter().flat_map(|record| ids_of(record));
        self.disk.durable.lock().unwrap().extend(ids);
        yield_now();
        Ok(places)
    }
}

fn engine_on(disk: &Disk) -> Arc<Engine> {
    let (log, kv, keys) = (
        MemLog::default(),
        MemKv::default(),
        Arc::new(MemKeys::default()),
    );
    let erase = replay::Erase {
        keys: keys.as_ref(),
        all: false,
    };
    replay::catch_up(&kv, &log, &erase).unwrap();
    let slow = SlowLog {
        log: log.clone(),
        disk: disk.clone(),
        appends: 0,
    };
    let engine = Engine::start(Parts::of(kv, slow, log, keys));
    Arc::new(engine.unwrap())
}

/// What one delivery was answered; whatever it was, the event is durable and readable by then.
fn deliver(engine: &Engine, disk: &Disk, id: &str) -> Result<Accepted, StoreError> {
    let event = world::event(id, "payment:/pi_1");
    let accepted = block_on(engine.accept(vec![event]))?.remove(0);
    assert_eq!(disk.holds(id), 1, "{id} was answered before it was durable");
    let (Accepted::New { seq, .. } | Accepted::Duplicate { seq, .. }) = accepted;
    match block_on(engine.input_by_seq(seq)) {
        Ok(read) => {
            let read = read.expect("what was answered can be read");
            assert_eq!(read.source.public_id(), id);
        }
        // Another group may have failed since.
        Err(error) => assert!(disk.fails_at.is_some(), "{error}"),
    }
    Ok(accepted)
}

/// Deliveries of one event by several at once, each beside an event of its own: what they were answered.
fn deliver_together(engine: &Arc<Engine>, disk: &Disk) -> Vec<Result<Accepted, StoreError>> {
    let couriers: Vec<_> = (0..3)
        .map(|n| {
            let (engine, disk) = (Arc::clone(engine), disk.clone());
            thread::spawn(move || {
                let own = deliver(&engine, &disk, &format!("evt_own{n}"));
                assert!(!matches!(own, Ok(Accepted::Duplicate { .. })));
                let shared = deliver(&engine, &disk, "evt_shared");
                assert!(
                    own.is_ok() || shared.is_err(),
                    "nothing is taken after a failed sync"
                );
                shared
            })
        })
        .collect();
    couriers
        .into_iter()
        .map(|one| one.join().unwrap())
        .collect()
}

fn one_of_many_is_new() {
    let disk = Disk::default();
    let engine = engine_on(&disk);
    let answers = deliver_together(&engine, &disk);
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let mut new = answers.iter().filter_map(|answer| match answer {
        Accepted::New { seq, .. } => Some(*seq),
        Accepted::Duplicate { .. } => None,
    });
    let first = new.next().expect("somebody brought it first");
    assert_eq!(new.next(), None, "an event is new once");
    for answer in &answers {
        if let Accepted::Duplicate { seq, same_body } = answer {
            assert_eq!((*seq, *same_body), (first, true));
        }
    }
    drop(engine);
    assert_eq!(disk.holds("evt_shared"), 1);
}

#[test]
fn of_many_deliveries_of_one_event_one_is_stored_and_all_are_answered_after_its_sync() {
    schedules("one event by many at once", one_of_many_is_new);
}

/// As above with a sync that fails; `deliver` checks that only what is durable was answered.
fn a_sync_fails(at: usize) {
    let disk = Disk {
        fails_at: Some(at),
        ..Disk::default()
    };
    let engine = engine_on(&disk);
    let answers = deliver_together(&engine, &disk);
    if disk.holds("evt_shared") == 0 {
        assert!(answers.iter().all(Result::is_err), "nobody is told of it");
    }
    let new = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Accepted::New { .. })));
    assert!(new.count() <= 1);
}

#[test]
fn a_failed_sync_is_nobodys_answer() {
    schedules("the first sync fails", || a_sync_fails(1));
    schedules("a later sync fails", || a_sync_fails(2));
}

fn a_close_comes_at_any_moment() {
    let disk = Disk::default();
    let engine = engine_on(&disk);
    let closer = thread::spawn({
        let engine = Arc::clone(&engine);
        move || block_on(engine.close()).unwrap()
    });
    for answer in deliver_together(&engine, &disk) {
        assert!(matches!(answer, Ok(_) | Err(StoreError::Closed)));
    }
    closer.join().unwrap();
    let late = deliver(&engine, &disk, "evt_late");
    assert!(matches!(late, Err(StoreError::Closed)));
    assert_eq!(disk.holds("evt_late"), 0);
}

#[test]
fn a_close_in_the_middle_answers_everybody_and_takes_nothing_after_it() {
    schedules("a close beside deliveries", a_close_comes_at_any_moment);
}

/// A commit with a number to know it by, in front or behind.
fn numbered(n: i64) -> Queued {
    let commit = if n % 2 == 0 {
        Commit::Fire(Vec::new(), Timestamp(n))
    } else {
        Commit::Probe
    };
    Queued {
        commit,
        since: tokio::time::Instant::now(),
        answer: None,
    }
}

/// Takes commits until the queue is closed and empty: how many came in front, and which behind.
fn work_off(queue: &Queue) -> (usize, Vec<i64>) {
    let (mut front, mut behind) = (0, Vec::new());
    loop {
        match queue.wait(Duration::from_secs(1)) {
            Waited::Closed => return (front, behind),
            Waited::Nothing => panic!("shuttle's waits have no end"),
            Waited::Work => {}
        }
        while let Some(one) = queue.front() {
            assert!(matches!(one.commit, Commit::Probe));
            front += 1;
        }
        if let Some(Commit::Fire(_, Timestamp(n))) = queue.behind().map(|one| one.commit) {
            behind.push(n);
        }
    }
}

fn a_queue_is_worked_off() {
    let queue = Arc::new(Queue::default());
    let committer = thread::spawn({
        let queue = Arc::clone(&queue);
        move || work_off(&queue)
    });
    let pushers: Vec<_> = (0..3)
        .map(|pusher| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let numbers = (0..2).map(|n| pusher * 2 + n);
                numbers
                    .filter(|n| queue.push(numbered(*n)).is_ok())
                    .collect::<Vec<i64>>()
            })
        })
        .collect();
    // At any moment: what is refused is refused, the rest is worked off.
    queue.close();
    assert!(matches!(queue.push(numbered(0)), Err(StoreError::Closed)));
    let taken: Vec<_> = pushers
        .into_iter()
        .flat_map(|pusher| pusher.join().unwrap())
        .collect();
    let (front, mut behind) = committer.join().unwrap();
    assert_eq!(front, taken.iter().filter(|n| *n % 2 != 0).count());
    let mut taken_behind: Vec<_> = taken.into_iter().filter(|n| n % 2 == 0).collect();
    behind.sort_unstable();
    taken_behind.sort_unstable();
    assert_eq!(behind, taken_behind, "each once");
}

#[test]
fn whatever_is_lined_up_is_worked_off_once_and_nothing_after_the_close() {
    schedules("a queue and its close", a_queue_is_worked_off);
}

fn somebody_comes_in_front() {
    let queue = Arc::new(Queue::default());
    let committer = thread::spawn({
        let queue = Arc::clone(&queue);
        move || queue.wait_front(Duration::from_secs(1)) && queue.front().is_some()
    });
    queue.push(numbered(2)).unwrap();
    queue.push(numbered(1)).unwrap();
    assert!(committer.join().unwrap());
    assert_eq!((queue.len(), queue.has_behind()), (1, true));
}

#[test]
fn somebody_in_front_wakes_a_committer_that_rests_from_what_is_behind() {
    schedules("a committer that rests", somebody_comes_in_front);
}

/// What each seeded bug of the committer must be caught by.
#[cfg(feature = "mutants")]
#[test]
fn each_seeded_bug_of_the_committer_is_caught_by_a_schedule() {
    use bursar_domain::mutants::select;
    use std::panic::catch_unwind;

    let _alone = alone();
    let bugs: [(&str, Run); 3] = [
        ("M1", one_of_many_is_new),
        ("M17", somebody_comes_in_front),
        ("M18", one_of_many_is_new),
    ];
    for (id, run) in bugs {
        select(Some(id));
        // Seeds 0, 1, …: one schedule each, so that the first that sees it has a number.
        let caught = (0..200).find(|seed| {
            let drawn = || draw(RandomScheduler::new_from_seed(*seed, 1), run, true);
            catch_unwind(drawn).is_err()
        });
        select(None);
        let caught = caught.unwrap_or_else(|| panic!("{id} lives through 200 schedules"));
        println!("shuttle bug {id} caught seed={caught}");
    }
    println!("shuttle bugs caught={}/{}", bugs.len(), bugs.len());
}
