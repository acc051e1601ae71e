//! What outlives a process: the disk, Stripe, the clock, chance; and the moment a process ends.
//!
//! An end is an instant: at that moment the disk loses its handles (and, if the power went, what was not synced), and
//! whatever still runs reaches nobody. The runner then drops the runtime.
//! Invariants: the trace is a hash of everything that crossed a border, with its virtual time.

use super::dice::Streams;
use super::time::Time;
use bursar_sandbox::{PortableSandbox, SandboxConfig, SeedPlan};
use bursar_store::vfs::SimVfs;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes of each point, and ends at it.
pub(crate) type Counts = BTreeMap<&'static str, (u64, u64)>;

/// When the present process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doom {
    /// Where.
    pub(crate) point: &'static str,
    /// At which pass from now on.
    pub(crate) pass: u64,
    /// Not before this virtual millisecond.
    pub(crate) not_before_ms: u64,
}

/// A letter that left.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) to: String,
    pub(crate) message_id: String,
}

/// A request to Stripe that orders something.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) key: String,
    /// Path and parameters.
    pub(crate) bytes: String,
    pub(crate) command: String,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) dice: Streams,
    pub(crate) time: Arc<Time>,
    pub(crate) disk: SimVfs,
    pub(crate) stripe: PortableSandbox,
    pub(crate) letters: Mutex<Vec<Posted>>,
    pub(crate) ordered: Mutex<Vec<Ordered>>,
    /// Notifications that were received, by their ids.
    pub(crate) told: Mutex<BTreeMap<String, serde_json::Value>>,
    /// Nothing goes wrong any more.
    pub(crate) is_calm: AtomicBool,
    /// Stripe is away until this virtual millisecond.
    pub(crate) away_until: AtomicU64,
    is_dead: AtomicBool,
    died: Notify,
    doom: Mutex<Option<Doom>>,
    counts: Mutex<Counts>,
    /// What must never be and was seen.
    wrongs: Mutex<Vec<String>>,
    trace: Mutex<Sha256>,
    lines: Mutex<Option<Vec<String>>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let time = Arc::new(Time::new());
        let stripe = PortableSandbox::new(&SandboxConfig {
            clock: Arc::<Time>::clone(&time),
            seed,
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        });
        Arc::new(Self {
            seed,
            dice: Streams::new(seed),
            time,
            disk: SimVfs::new(),
            stripe: stripe.expect("the demo's catalogue"),
            letters: Mutex::default(),
            ordered: Mutex::default(),
            told: Mutex::default(),
            is_calm: AtomicBool::new(false),
            away_until: AtomicU64::new(0),
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
            doom: Mutex::default(),
            counts: Mutex::default(),
            wrongs: Mutex::default(),
            trace: Mutex::new(Sha256::new()),
            lines: Mutex::new(std::env::var("BURSAR_SIM_TRACE").is_ok().then(Vec::new)),
        })
    }

    /// A process begins; `doom` says where it ends, if it does.
    pub(crate) fn begin(&self, doom: Option<Doom>) {
        self.time.begin();
        self.disk.heal();
        *locked(&self.doom) = doom;
        self.is_dead.store(false, Ordering::SeqCst);
        self.trace(&format!("begins {doom:?}"));
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::SeqCst)
    }

    /// Completes once the process is dead.
    pub(crate) async fn death(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    /// Whoever is dead goes no further than here.
    pub(crate) async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// A point was passed.
    pub(crate) fn pass(&self, point: &'static str) {
        if self.is_dead() {
            return;
        }
        self.trace(point);
        let mut counts = locked(&self.counts);
        let count = counts.entry(point).or_default();
        count.0 += 1;
        let mut doom = locked(&self.doom);
        let now = self.time.ms();
        let is_meant = |doom: &&mut Doom| doom.point == point && now >= doom.not_before_ms;
        let Some(doom) = doom.as_mut().filter(is_meant) else {
            return;
        };
        doom.pass -= 1;
        if doom.pass == 0 {
            count.1 += 1;
            self.die();
        }
    }

    /// The process ends, now.
    pub(crate) fn die(&self) {
        self.trace("dies");
        self.is_dead.store(true, Ordering::SeqCst);
        let (has_power, seed) = self
            .dice
            .with("ends", |dice| (dice.percent(40), dice.roll()));
        if has_power {
            self.disk.process_end();
        } else {
            self.disk.power_cut_for_good(seed);
        }
        self.died.notify_one();
    }

    /// Something happened that must never happen.
    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let what = what.into();
        self.trace(&what);
        locked(&self.wrongs).push(what);
    }

    pub(crate) fn wrongs(&self) -> Vec<String> {
        locked(&self.wrongs).clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        locked(&self.counts).clone()
    }

    /// Adds to the trace.
    pub(crate) fn trace(&self, what: &str) {
        let line = format!("{} {what}\n", self.time.ms());
        locked(&self.trace).update(line.as_bytes());
        if let Some(lines) = &mut *locked(&self.lines) {
            lines.push(line);
        }
    }

    /// The hash of all that was traced; the trace itself goes to the file `BURSAR_SIM_TRACE` names.
    pub(crate) fn traced(&self) -> String {
        if let (Some(lines), Ok(path)) = (&*locked(&self.lines), std::env::var("BURSAR_SIM_TRACE"))
        {
            std::fs::write(path, lines.concat()).expect("the trace can be written");
        }
        hex::encode(locked(&self.trace).clone().finalize())
    }
}
