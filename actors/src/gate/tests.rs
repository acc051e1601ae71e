use super::*;
use crate::circuits::Line;
use bursar_store::api::AuditEntry;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

mod isolation;
mod outage;

/// A clock moved by hand alone.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000).plus_ms(i64::try_from(self.ms()).unwrap())
    }
    fn uptime(&self) -> Duration {
        Duration::from_millis(self.ms())
    }
}

impl Hand {
    fn ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct World {
    clock: Arc<Hand>,
    gate: Gate,
    lines: mpsc::Receiver<Line>,
}

impl World {
    fn new(per_second: u32) -> Self {
        let clock = Arc::new(Hand(AtomicU64::new(0)));
        let (announcer, lines) = Announcer::overheard();
        let gate = Gate::new(Arc::clone(&clock) as _, per_second, announcer);
        Self { clock, gate, lines }
    }

    fn pass(&self, scope: &Scope) -> Result<Pass, Refused> {
        self.gate.enter(scope, Lane::Stripe, false)
    }

    fn call(&self, scope: &Scope, end: FarSide) -> bool {
        let entered = self.pass(scope);
        entered.map(|pass| pass.end(end)).is_ok()
    }

    fn sleep(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn state(&self, name: &str) -> Circuit {
        let views = self.gate.circuits().into_iter();
        let mut found = views.filter(|view| view.name == name);
        found.next().map_or(Circuit::Closed, |view| view.state)
    }

    fn told(&mut self) -> Vec<(String, String, String)> {
        let mut told = Vec::new();
        while let Ok(line) = self.lines.try_recv() {
            if let Line::Of(AuditEntry {
                object_id,
                action,
                detail,
                ..
            }) = line
            {
                told.push((object_id, action, detail));
            }
        }
        told
    }
}

fn account(n: usize) -> Scope {
    Scope(Some(AccountId::parse(&format!("acct_{n}")).unwrap()))
}

fn failed() -> FarSide {
    FarSide::HostFailed("no answer in time".into())
}

fn limited() -> FarSide {
    FarSide::AccountLimited {
        reason: None,
        retry_after: None,
    }
}

fn refused(result: Result<Pass, Refused>) -> Refused {
    match result {
        Ok(_) => panic!("it is let through"),
        Err(refused) => refused,
    }
}

#[test]
fn a_host_that_fails_opens_its_circuit_and_every_change_is_told_once() {
    let mut world = World::new(100);
    for _ in 0..10 {
        assert!(world.call(&account(1), failed()));
    }
    let no = refused(world.pass(&Scope::PLATFORM));
    assert_eq!(no.circuit.as_deref(), Some("stripe"));
    assert!(
        (4_000..=6_100).contains(&no.retry_after.as_millis()),
        "{no:?}"
    );
    assert!(world.gate.check(&account(2)).is_err());
    assert_eq!(world.gate.room(), 0);
    let again = refused(world.pass(&Scope::PLATFORM));
    assert_eq!(
        again.retry_after, no.retry_after,
        "asking costs nobody time"
    );
    assert_eq!(world.state("stripe:acct_1"), Circuit::Closed);
    world.sleep(6_100);
    assert_eq!(world.gate.room(), 1);
    assert!(
        world.gate.check(&account(2)).is_ok(),
        "half-open lets handlers try"
    );
    let probe = world.pass(&account(2)).unwrap();
    assert_eq!(world.gate.room(), 0);
    assert!(world.pass(&account(3)).is_err(), "one at a time");
    probe.end(FarSide::Worked);
    for _ in 0..2 {
        assert!(world.call(&account(1), FarSide::Worked));
    }
    assert_eq!(world.gate.room(), usize::MAX);
    let line = |action: &str, why: &str| ("stripe".into(), action.into(), why.into());
    assert_eq!(
        world.told(),
        [
            line("circuit.opened", "no answer in time"),
            line("circuit.half_open", "one call at a time is tried"),
            line("circuit.closed", "calls work again"),
        ]
    );
}

#[test]
fn an_account_that_is_refused_opens_its_own_circuit_and_nobody_else_waits() {
    for end in [limited(), FarSide::KeyRefused { status: 403 }] {
        let world = World::new(100);
        for _ in 0..10 {
            assert!(world.call(&account(1), end.clone()));
        }
        let no = refused(world.pass(&account(1)));
        assert_eq!(no.circuit.as_deref(), Some("stripe:acct_1"));
        assert!(world.gate.check(&account(1)).is_err());
        for other in [Scope::PLATFORM, account(2)] {
            assert!(world.gate.check(&other).is_ok());
            assert!(world.call(&other, FarSide::Worked));
        }
        assert_eq!(world.state("stripe"), Circuit::Closed);
        assert!(world.gate.reset("stripe:acct_1"));
        assert!(!world.gate.reset("stripe:acct_1"), "once is enough");
        assert!(world.call(&account(1), FarSide::Worked));
    }
}

#[test]
fn what_says_nothing_against_an_account_never_opens_it() {
    let limited = |reason: Option<&str>| FarSide::AccountLimited {
        reason: reason.map(str::to_owned),
        retry_after: Some(Duration::from_secs(1)),
    };
    for end in [
        FarSide::Worked,
        FarSide::Silent,
        FarSide::KeyRefused { status: 401 },
        limited(None),
        limited(Some("resource-specific")),
    ] {
        let world = World::new(100);
        for _ in 0..100 {
            assert!(world.call(&account(1), end.clone()), "{end:?}");
            assert!(world.call(&Scope::PLATFORM, end.clone()), "{end:?}");
        }
    }
}

#[test]
fn a_refused_key_is_no_success_and_does_not_close_a_circuit() {
    let world = World::new(100);
    for _ in 0..10 {
        world.call(&Scope::PLATFORM, failed());
    }
    world.sleep(6_100);
    for _ in 0..20 {
        assert!(world.call(&Scope::PLATFORM, FarSide::KeyRefused { status: 401 }));
    }
    assert_eq!(world.state("stripe"), Circuit::HalfOpen);
}

#[test]
fn a_probe_that_is_dropped_or_never_ends_has_failed_and_any_other_pass_says_nothing() {
    let world = World::new(100);
    for _ in 0..30 {
        drop(world.pass(&account(1)).unwrap());
    }
    assert_eq!(world.state("stripe"), Circuit::Closed);
    for _ in 0..10 {
        world.call(&account(1), failed());
    }
    world.sleep(6_100);
    drop(world.pass(&account(1)).unwrap());
    assert_eq!(world.state("stripe"), Circuit::Open);
    world.sleep(12_100);
    let forgotten = world.pass(&account(1)).unwrap();
    world.sleep(90_001);
    assert_eq!(world.state("stripe"), Circuit::Open);
    forgotten.end(FarSide::Worked);
    assert_eq!(world.state("stripe"), Circuit::Open, "too late");
}

#[test]
fn an_accounts_dropped_probe_fails_the_account_alone() {
    let world = World::new(100);
    for _ in 0..10 {
        world.call(&account(1), limited());
    }
    world.sleep(6_100);
    drop(world.pass(&account(1)).unwrap());
    assert_eq!(world.state("stripe:acct_1"), Circuit::Open);
    assert_eq!(world.state("stripe"), Circuit::Closed);
}

#[test]
fn nothing_is_taken_by_who_is_refused() {
    let world = World::new(25);
    for _ in 0..10 {
        world.call(&account(1), limited());
    }
    let mut waits = Vec::new();
    for _ in 0..100 {
        waits.push(refused(world.pass(&account(1))).retry_after);
    }
    assert!(
        waits.windows(2).all(|pair| pair[0] < pair[1]),
        "each its own"
    );
    world.gate.reset("stripe:acct_1");
    let passed = (0..100).filter(|_| world.call(&account(1), FarSide::Worked));
    assert_eq!(passed.count(), 15, "ten of twenty-five were taken");
}

#[test]
fn lanes_share_an_accounts_allowance_and_accounts_have_their_own() {
    let world = World::new(100);
    let drawn = |scope: &Scope, lane| {
        let mut count = 0;
        while let (true, Ok(pass)) = (count < 1_000, world.gate.enter(scope, lane, false)) {
            pass.end(FarSide::Worked);
            count += 1;
        }
        count
    };
    assert_eq!(drawn(&Scope::PLATFORM, Lane::StripeBackground), 40);
    assert_eq!(drawn(&Scope::PLATFORM, Lane::StripeRead), 30);
    assert_eq!(drawn(&account(1), Lane::StripeRead), 70);
    assert_eq!(drawn(&Scope::PLATFORM, Lane::StripeRefund), 20);
    assert_eq!(drawn(&Scope::PLATFORM, Lane::Stripe), 10);
    let no = refused(world.gate.enter(&Scope::PLATFORM, Lane::Stripe, false));
    assert_eq!((no.circuit, no.retry_after.as_millis()), (None, 20));
}

#[test]
fn a_limiters_word_slows_its_account_down_and_a_locks_does_not() {
    for (reason, most) in [(Some("global-rate"), 50), (None, 100)] {
        let world = World::new(100);
        let end = FarSide::AccountLimited {
            reason: reason.map(str::to_owned),
            retry_after: Some(Duration::from_secs(1)),
        };
        world.call(&account(1), end);
        world.sleep(1_000);
        let passed = (0..200).filter(|_| world.call(&account(1), FarSide::Worked));
        assert_eq!(passed.count(), most, "{reason:?}");
        let others = (0..200).filter(|_| world.call(&account(2), FarSide::Worked));
        assert_eq!(others.count(), 100, "{reason:?}");
    }
}

#[test]
fn accounts_are_remembered_up_to_a_bound_and_open_ones_longest() {
    let world = World::new(25);
    for _ in 0..10 {
        world.call(&account(0), limited());
    }
    for n in 1..=3_000 {
        world.sleep(1);
        world.call(&account(n), FarSide::Worked);
    }
    assert_eq!(
        world.gate.shared.inner().accounts.len(),
        accounts::ACCOUNTS_MAX + 1
    );
    assert_ne!(world.state("stripe:acct_0"), Circuit::Closed);
    let shown = world.gate.circuits();
    assert_eq!(shown.len(), 2, "accounts that never failed are not listed");
}
