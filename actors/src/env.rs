//! What every actor of a tree shares: ports, limits, directory, signs of life, the way out.

use crate::boot::Boot;
use crate::circuits::{Announcer, Shown};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::ports::Reducer;
use bursar_domain::decision::Lane;
use bursar_domain::settings::Settings;
use bursar_store::api::Store;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Why the tree ended, and the code the process should end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 65: the store is another account's; 70: restarted too often; 74: the store failed for good.
    pub code: u8,
    /// In words.
    pub reason: String,
}

/// `EX_DATAERR`: the store is another account's.
pub const EXIT_ACCOUNT: u8 = 65;
/// `EX_SOFTWARE`: an actor could not be kept alive.
pub const EXIT_ESCALATED: u8 = 70;
/// `EX_IOERR`: the store cannot be trusted any more.
pub const EXIT_STORE: u8 = 74;

/// The core actors, in start order: what is later uses what is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Core {
    /// Due timers.
    Clock,
    /// The registry of entities.
    Entities,
    /// Supervisor of the lanes.
    Outbound,
    /// Admission.
    Intake,
    /// Finds work nobody was told about.
    Sweeper,
    /// Compares with Stripe.
    Reconciler,
    /// Signs of life.
    Observer,
}

impl Core {
    /// All, in start order.
    pub const ALL: [Self; 7] = [
        Self::Clock,
        Self::Entities,
        Self::Outbound,
        Self::Intake,
        Self::Sweeper,
        Self::Reconciler,
        Self::Observer,
    ];
    /// The word used in logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Entities => "entities",
            Self::Outbound => "outbound",
            Self::Intake => "intake",
            Self::Sweeper => "sweeper",
            Self::Reconciler => "reconciler",
            Self::Observer => "observer",
        }
    }
}

/// When each core actor last showed a sign of life, on the uptime scale.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    last: Mutex<BTreeMap<Core, Duration>>,
}

impl Beats {
    pub(crate) fn mark(&self, who: Core, at: Duration) {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(who, at);
    }
    pub(crate) fn all(&self) -> BTreeMap<Core, Duration> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Figures the actors publish for the observer.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) live: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) cooling: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    pub(crate) entity_failures: AtomicU64,
    pub(crate) systemic_pauses: AtomicU64,
    pub(crate) spawned: AtomicU64,
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Shared by all actors of one tree.
pub(crate) struct Env {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reducer: Arc<dyn Reducer>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) settings_fingerprint: String,
    /// Lanes without a performer: the commit that decides their effects skips them.
    pub(crate) skipped_lanes: Vec<Lane>,
    /// An import is running: what is decided tells nobody.
    pub(crate) hushed: AtomicBool,
    pub(crate) limits: Limits,
    pub(crate) directory: Directory,
    pub(crate) boot: Boot,
    pub(crate) beats: Beats,
    pub(crate) gauges: Gauges,
    pub(crate) circuits: Shown,
    pub(crate) announcer: Announcer,
    pub(crate) gate: Arc<Gate>,
    pub(crate) exit: watch::Sender<Option<Exit>>,
}

impl Env {
    /// Asks for the end of the process; the first reason stays.
    pub(crate) fn escalate(&self, code: u8, reason: String) {
        self.exit.send_if_modified(|exit| {
            if exit.is_some() {
                return false;
            }
            tracing::error!(code, reason, "the process must end");
            *exit = Some(Exit { code, reason });
            true
        });
    }
    /// Lanes whose effects the next commit skips: those nobody performs, and while an import runs those
    /// that tell people.
    pub(crate) fn lanes_to_skip(&self) -> Vec<Lane> {
        const TELLING: [Lane; 3] = [Lane::Mail, Lane::Notify, Lane::Alert];
        let mut lanes = self.skipped_lanes.clone();
        if self.hushed.load(Ordering::SeqCst) {
            lanes.extend(
                TELLING
                    .into_iter()
                    .filter(|lane| !self.skipped_lanes.contains(lane)),
            );
        }
        lanes
    }
    pub(crate) fn alive(&self, who: Core) {
        self.beats.mark(who, self.clock.uptime());
    }
}
