//! The gate against a plain model of its circuits, one per host and account, that shares no code with it.

use super::*;

/// Numbers of reliability: ten in a row, or half of twenty within ten seconds; three successes close.
#[derive(Default)]
struct Model {
    calls: Vec<(u64, bool)>,
    in_a_row: u32,
    opened: u32,
    opened_at: Option<u64>,
    is_half_open: bool,
    successes: u32,
    probe: Option<usize>,
}

impl Model {
    /// The wait after the nth opening, without jitter.
    fn wait_ms(&self) -> u64 {
        (5_000 << self.opened.saturating_sub(1).min(6)).min(60_000)
    }

    /// Follows the gate's jitter, but only where it may differ.
    fn agree(&mut self, shown: Circuit, now: u64) -> Result<(), TestCaseError> {
        let Some(at) = self.opened_at else {
            let expected = if self.is_half_open {
                Circuit::HalfOpen
            } else {
                Circuit::Closed
            };
            prop_assert_eq!(shown, expected);
            return Ok(());
        };
        let (wait, since) = (self.wait_ms(), now - at);
        if since < wait * 8 / 10 {
            prop_assert_eq!(shown, Circuit::Open);
        } else if since > (wait * 12 / 10).min(60_000) {
            prop_assert_eq!(shown, Circuit::HalfOpen);
        }
        if shown == Circuit::HalfOpen {
            self.opened_at = None;
            self.is_half_open = true;
            self.successes = 0;
        }
        Ok(())
    }

    fn lets_through(&self) -> bool {
        self.opened_at.is_none() && (!self.is_half_open || self.probe.is_none())
    }

    fn begin(&mut self, id: usize) {
        if self.is_half_open {
            self.probe = Some(id);
        }
    }

    fn end(&mut self, id: usize, ok: Option<bool>, now: u64) {
        let is_probe = self.probe == Some(id);
        if is_probe {
            self.probe = None;
        }
        let Some(ok) = ok else { return };
        if self.opened_at.is_some() || (self.is_half_open && !is_probe) {
            return;
        }
        if self.is_half_open {
            self.successes += u32::from(ok);
            if !ok {
                self.open(now);
            } else if self.successes == 3 {
                *self = Self::default();
            }
            return;
        }
        self.in_a_row = if ok { 0 } else { self.in_a_row + 1 };
        self.calls.push((now, ok));
        self.calls.retain(|(at, _)| now - at <= 10_000);
        let failed = self.calls.iter().filter(|(_, ok)| !ok).count();
        let half = self.calls.len() >= 20 && failed * 2 >= self.calls.len();
        if !ok && (half || self.in_a_row >= 10) {
            self.open(now);
        }
    }

    fn open(&mut self, now: u64) {
        self.opened += 1;
        self.opened_at = Some(now);
        self.is_half_open = false;
        self.in_a_row = 0;
        self.calls.clear();
    }
}

const ENDS: usize = 6;

/// An end and what it says of host and account.
fn end(kind: usize) -> (FarSide, Option<bool>, Option<bool>) {
    match kind {
        0 => (FarSide::Worked, Some(true), Some(true)),
        1 => (failed(), Some(false), None),
        2 => (limited(), Some(true), Some(false)),
        3 => (FarSide::KeyRefused { status: 403 }, None, Some(false)),
        4 => (FarSide::KeyRefused { status: 401 }, None, None),
        _ => (FarSide::Silent, None, None),
    }
}

/// The host, then two connected accounts.
const NAMES: [&str; 3] = ["stripe", "stripe:acct_1", "stripe:acct_2"];

struct Both {
    world: World,
    models: [Model; 3],
    held: Vec<(usize, usize, Pass)>,
    begun: usize,
}

impl Both {
    fn now(&self) -> u64 {
        self.world.clock.ms()
    }

    fn agree(&mut self) -> Result<(), TestCaseError> {
        let now = self.now();
        for (model, name) in self.models.iter_mut().zip(NAMES) {
            model.agree(self.world.state(name), now)?;
        }
        Ok(())
    }

    /// `to`: 0 the platform, else an account.
    fn begin(&mut self, to: usize) -> Result<(), TestCaseError> {
        let scope = if to == 0 {
            Scope::PLATFORM
        } else {
            account(to)
        };
        let expected = self.models[0].lets_through() && (to == 0 || self.models[to].lets_through());
        prop_assert_eq!(self.world.gate.check(&scope).is_ok(), expected);
        let pass = self.world.pass(&scope);
        prop_assert_eq!(pass.is_ok(), expected);
        if let Ok(pass) = pass {
            self.begun += 1;
            self.models[0].begin(self.begun);
            if to > 0 {
                self.models[to].begin(self.begun);
            }
            self.held.push((self.begun, to, pass));
        }
        Ok(())
    }

    fn end(&mut self, which: usize, kind: usize) {
        if self.held.is_empty() {
            return;
        }
        let (id, to, pass) = self.held.swap_remove(which % self.held.len());
        let now = self.now();
        let (mut host, mut of_account) = (None, None);
        if kind < ENDS {
            let (far_side, of_host, of) = end(kind);
            (host, of_account) = (of_host, of);
            pass.end(far_side);
        } else {
            let gone = |model: &Model| (model.probe == Some(id)).then_some(false);
            (host, of_account) = (
                gone(&self.models[0]).or(host),
                gone(&self.models[to]).or(of_account),
            );
            drop(pass);
        }
        self.models[0].end(id, host, now);
        if to > 0 {
            self.models[to].end(id, of_account, now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("BURSAR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200),
        ..ProptestConfig::default()
    })]

    /// Phases in which one kind of end prevails, so that circuits open, are tried and close again.
    #[test]
    fn each_circuit_follows_its_own_calls_alone(
        holding in 0_usize..6,
        phases in prop::collection::vec(
            (0..ENDS + 1, prop::collection::vec((0_usize..3, 0_u64..900, 0_usize..40), 1..60)),
            1..12,
        ),
    ) {
        let mut both = Both { world: World::new(100_000), models: Default::default(), held: Vec::new(), begun: 0 };
        for (mostly, steps) in phases {
            for (to, wait, odd) in steps {
                both.world.sleep(wait);
                both.agree()?;
                both.begin(to)?;
                both.agree()?;
                // Some passes stay out while circuits open and close, but no probe longer than it may.
                let kind = if odd < ENDS + 1 { odd } else { mostly };
                if both.held.len() > holding || both.models.iter().any(|model| model.probe.is_some()) {
                    both.end(odd, kind);
                }
                both.agree()?;
            }
        }
    }
}

/// Prints what a caller sees of an outage: how often it is asked, and when all is well again.
#[test]
fn the_model_walks_through_an_outage_and_back() {
    let world = World::new(100);
    let mut opened = 0;
    let mut recovered_ms = None;
    for tick in 0..1_200_u64 {
        world.sleep(100);
        let is_down = tick < 600;
        let end = if is_down { failed() } else { FarSide::Worked };
        let asked = world.call(&account(1), end);
        opened += u64::from(is_down && asked);
        if !is_down && world.state("stripe") == Circuit::Closed && recovered_ms.is_none() {
            recovered_ms = Some((tick - 600) * 100);
        }
    }
    // Ten to open it, then a probe after about 5, 10, 20 and 40 s.
    assert!(
        (13..=15).contains(&opened),
        "{opened} calls in a minute of outage"
    );
    let recovered_ms = recovered_ms.expect("it closes again");
    println!("breaker model=ok calls_while_down={opened} recover_ms={recovered_ms}");
    assert!(
        recovered_ms <= 48_000 + 400,
        "{recovered_ms}: within one open interval"
    );
}
