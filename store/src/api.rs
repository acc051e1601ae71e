//! The store in the product's words: accept, apply, settle.
//!
//! Every word is one atomic commit that is durable before it is answered. Backends (memory, sled
//! under a journal, PostgreSQL later) pass one conformance suite; nothing here assumes one process.
//!
//! Invariants, each a test of the suite:
//! - an input is pending until an `apply` consumes it by number; never "after a cursor";
//! - `apply` is atomic over: version, guards, consumed inputs, snapshot, links and un-parking,
//!   messages to other inboxes, effects, timers, rows, ledger, timeline;
//! - every word may be repeated after an unknown outcome: `accept` by dedup key, `apply` by version,
//!   `settle` by effect id;
//! - ledger entries of a movement sum to zero per currency, checked here again;
//! - limits are arguments; nothing returns an unbounded list.
//!
//! Not here: what an input means (`domain`), when to act (`actors`).

use crate::backup::Manifest;
use crate::error::StoreError;
use crate::query::{
    AuditQuery, Explained, InputQuery, InputView, JournalAudit, LedgerLine, LedgerQuery,
    OutboxQuery, OutboxView, Page, RowQuery, RowView, Stats, TimelineLine, TimelineQuery,
    VerifyItem,
};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Decision, Disposition, EffectId, EffectIntent, Lane};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::rows::{RowKind, Subject};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// A boxed future, so that the store is one object whatever the backend.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Most inputs one `apply` may consume.
pub const APPLY_STEPS_MAX: usize = 64;

/// SHA-256 of a decision's canonical bytes (postcard): what an apply records and `verify` compares.
/// # Errors: `Invalid` if the decision cannot be written (a bug).
pub fn decision_digest(decision: &Decision) -> Result<[u8; 32], StoreError> {
    crate::shapes::packed(decision, |bytes| Sha256::digest(bytes).into())
        .map_err(|error| StoreError::Invalid(format!("a decision cannot be written: {error}")))
}

/// What should become of something that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// For this aggregate; parked unless `park` is empty or one of it is linked.
    Pending {
        /// Whose inbox.
        to: AggregateKey,
        /// References that must be linked first (one is enough).
        park: Vec<LinkKey>,
    },
    /// Stored and never applied.
    Ignored {
        /// Why, in words.
        reason: String,
    },
    /// Stored, unusable.
    Dead {
        /// Why, in words.
        reason: String,
    },
}

/// Something that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Where from; its text is the dedup key.
    pub source: InputSource,
    /// Event type, order kind, …
    pub kind: String,
    /// What should become of it.
    pub fate: Fate,
    /// Ids under which `explain` finds it.
    pub object_ids: Vec<String>,
    /// The event's own `created`.
    pub created_at: Option<Timestamp>,
    /// When it came.
    pub received_at: Timestamp,
    /// Under whose key the body is sealed.
    pub subject: Subject,
    /// The raw body.
    pub body: Bytes,
    /// Tenant named by the caller (operator orders), for lists.
    pub tenant: Option<TenantId>,
}

/// Status of an input, in the contract's words.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
#[repr(u8)]
pub enum InputStatus {
    Received = 1,
    Applied = 2,
    Ignored = 3,
    Parked = 4,
    Dead = 5,
}

impl InputStatus {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
    /// What an input of this disposition is shown as.
    pub const fn of(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Applied | Disposition::Stale | Disposition::Duplicate => Self::Applied,
            Disposition::Ignored => Self::Ignored,
            Disposition::Parked => Self::Parked,
            Disposition::Dead => Self::Dead,
        }
    }
}

/// Answer to `accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Durable now.
    New {
        /// Its number.
        seq: u64,
        /// What became of it.
        status: InputStatus,
        /// Whose inbox holds it, if pending.
        to: Option<AggregateKey>,
    },
    /// Durable before.
    Duplicate {
        /// The first one's number.
        seq: u64,
        /// Whether the bodies' prints are equal; if not, the first is kept and somebody should compare the two.
        same_body: bool,
    },
}

/// One input of an `apply` and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The input consumed.
    pub seq: u64,
    /// The `now` handed to the reducer.
    pub now: Timestamp,
    /// Links the reducer looked up, with the values it saw: recorded for the audit, and guards.
    pub looked_up: Vec<(LinkKey, Option<LinkTarget>)>,
    /// What it decided.
    pub decision: Decision,
}

/// The decisions of one aggregate over some of its pending inputs, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Whose.
    pub aggregate: AggregateKey,
    /// The version the decisions are based on (0: new). Each apply adds one.
    pub expected_version: u64,
    /// Revision of the reducers that decided.
    pub reducer_rev: u32,
    /// Fingerprint of the settings they saw.
    pub settings: String,
    /// Lanes nobody performs: their effects are recorded as skipped in this very commit, instead of
    /// each waiting for a commit of its own that says so.
    pub skipped_lanes: Vec<Lane>,
    /// At most [`APPLY_STEPS_MAX`].
    pub steps: Vec<Step>,
}

/// Answer to `apply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Durable; act on it.
    Done {
        /// The new version.
        version: u64,
        /// Aggregates that have something to do now: addressees of messages, owners of freed inputs.
        woken: Vec<AggregateKey>,
        /// Lanes that got an effect.
        lanes: Vec<Lane>,
    },
    /// Somebody was first, an input is gone or a link changed: load again and decide again.
    Stale {
        /// The version stored.
        actual_version: u64,
    },
}

/// A loaded aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many applies made it.
    pub version: u64,
    /// The reducer's bytes; empty: no decision wrote any yet.
    pub bytes: Vec<u8>,
}

/// An effect to perform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEffect {
    /// Its id.
    pub id: EffectId,
    /// Who decided it.
    pub aggregate: AggregateKey,
    /// Who performs it.
    pub lane: Lane,
    /// Its word.
    pub kind: String,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The effect, JSON. `None`: its personal data was erased; settle as skipped.
    pub payload: Option<Vec<u8>>,
}

/// How an effect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum EffectStatus {
    Pending,
    Done,
    Skipped,
    Failed,
    Dead,
}

/// The end of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Which.
    pub id: EffectId,
    /// How (never `Pending`).
    pub status: EffectStatus,
    /// In words.
    pub note: String,
    /// When.
    pub at: Timestamp,
    /// Its result as a new input, accepted in the same commit.
    pub result: Option<Inbound>,
}

/// Answer to `settle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Done now.
    Settled {
        /// Whose inbox got the result.
        woken: Option<AggregateKey>,
    },
    /// Was already.
    AlreadySettled,
}

/// An effect that ended badly is to be performed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revive {
    /// Which.
    pub id: EffectId,
    /// Only if it is of one of these lanes.
    pub lanes: Vec<Lane>,
    /// When it is due.
    pub at: Timestamp,
    /// Who ordered it.
    pub audit: AuditEntry,
}

/// Answer to `revive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revived {
    /// Pending again, with no attempts counted.
    Pending(Box<OutboxView>),
    /// It did not fail, or is of another lane.
    Refused,
    /// There is none of this id.
    Unknown,
}

/// A timer that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTimer {
    /// Whose.
    pub aggregate: AggregateKey,
    /// Its name.
    pub name: String,
    /// When it was due.
    pub at: Timestamp,
}

/// A small durable record beside the fold: keys, stored answers, boot counters. Not money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// A namespace, e.g. `service_key`.
    pub space: &'static str,
    /// The key in it.
    pub key: String,
    /// The bytes; `None` removes it.
    pub value: Option<Vec<u8>>,
    /// Whose personal fields the bytes hold: they are stored under that subject's key, and are gone once it is
    /// erased. A record has one from its first write to its removal, or never.
    pub subject: Option<Subject>,
}

/// One line of the audit trail, hash-chained with the journal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: `operator`, `service_key:<id>`, `system`.
    pub actor: String,
    /// What, e.g. `service_key.created`, `event.replayed`.
    pub action: String,
    /// On what.
    pub object_id: String,
    /// The tenant, if any.
    pub tenant: Option<TenantId>,
    /// The request that caused it.
    pub request_id: String,
    /// In words; no secrets.
    pub detail: String,
}

/// A guarded administrative commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Administer {
    /// Records to write, refused as a whole if a `must_be_absent` one exists.
    pub keeps: Vec<Keep>,
    /// Of the keeps: those that must not exist yet.
    pub must_be_absent: Vec<(&'static str, String)>,
    /// Records that must still hold the very bytes that were read: (space, key, bytes). What was decided over them
    /// is refused as a whole if one changed meanwhile.
    pub must_be_unchanged: Vec<(&'static str, String, Vec<u8>)>,
    /// What is to be done outside, and in whose name; an effect whose id exists is not added again.
    pub effects: Vec<(AggregateKey, EffectIntent)>,
    /// Audit lines.
    pub audit: Vec<AuditEntry>,
}

/// The store.
pub trait Store: Send + Sync + 'static {
    /// Makes each item durable, or says that it was. One commit; answers in order.
    /// # Errors: `Busy` (queue full), `Full` (disk watermark), `Closed`, `Damaged`.
    fn accept(&self, items: Vec<Inbound>) -> Fut<'_, Vec<Accepted>>;
    /// Turns a due timer into an input of its aggregate (kind = its name) and clears it.
    fn fire(&self, timers: Vec<DueTimer>, now: Timestamp) -> Fut<'_, Vec<AggregateKey>>;
    /// Commits decisions. # Errors: as `accept`; `Invalid` for unbalanced movements or too many steps.
    fn apply(&self, apply: Apply) -> Fut<'_, Applied>;
    /// Ends an effect.
    fn settle(&self, settle: Settle) -> Fut<'_, Settled>;
    /// Puts an effect off: one more attempt was made (or none, if `attempted` is false).
    fn postpone(
        &self,
        id: EffectId,
        attempted: bool,
        due_at: Timestamp,
        error: String,
    ) -> Fut<'_, ()>;
    /// Puts a failed or dead effect back among the pending ones, with its audit line.
    fn revive(&self, revive: Revive) -> Fut<'_, Revived>;
    /// Marks a pending input dead without a decision (a reducer panicked on it).
    fn bury(&self, seq: u64, reason: String, at: Timestamp) -> Fut<'_, bool>;
    /// Puts ended inputs back into their inbox, freshly routed: (seq, new fate). Dedup is untouched.
    fn requeue(&self, items: Vec<(u64, Fate)>, at: Timestamp) -> Fut<'_, Vec<AggregateKey>>;
    /// Sets a dead or parked input aside for good, with a reason.
    fn dismiss(&self, seq: u64, reason: String, at: Timestamp) -> Fut<'_, bool>;
    /// Small records, effects and audit lines. Answers `false` if one of `must_be_absent` exists, or one of
    /// `must_be_unchanged` has changed.
    fn administer(&self, write: Administer) -> Fut<'_, bool>;
    /// Forgets the keys of these subjects; their personal fields become unreadable for good.
    fn erase(&self, subjects: Vec<Subject>, at: Timestamp) -> Fut<'_, u64>;

    /// Aggregates whose snapshot is sealed under this subject's key. Each must write one without
    /// personal fields before the key is erased: an erased snapshot cannot be decided over.
    fn holders(&self, subject: Subject, limit: usize) -> Fut<'_, Vec<AggregateKey>>;
    /// Those of these subjects under whose key an input is sealed that is not applied yet: erasing it
    /// would lose what it says. All of them while more wait than are looked through.
    fn awaited(&self, subjects: Vec<Subject>) -> Fut<'_, Vec<Subject>>;

    /// The aggregate's snapshot. # Errors: `Invalid` if its subject was erased.
    fn load(&self, aggregate: AggregateKey) -> Fut<'_, Option<Snapshot>>;
    /// Its inputs still to apply, oldest first. An erased body comes back empty with kind kept.
    fn pending(&self, aggregate: AggregateKey, limit: usize) -> Fut<'_, Vec<StoredInput>>;
    /// Link values, in order of the keys.
    fn links(&self, keys: Vec<LinkKey>) -> Fut<'_, Vec<Option<LinkTarget>>>;
    /// Aggregates with pending inputs, after `cursor`, oldest pending first is not promised.
    fn ready(&self, cursor: Option<AggregateKey>, limit: usize) -> Fut<'_, Vec<AggregateKey>>;
    /// Effects due by `now`.
    fn due_effects(&self, lane: Lane, now: Timestamp, limit: usize) -> Fut<'_, Vec<DueEffect>>;
    /// Timers due by `now`.
    fn due_timers(&self, now: Timestamp, limit: usize) -> Fut<'_, Vec<DueTimer>>;
    /// When the next effect of the lane, or (lane `None`) the next timer is due.
    fn next_due(&self, lane: Option<Lane>) -> Fut<'_, Option<Timestamp>>;

    /// One row of a list, aliases followed.
    fn row(&self, kind: RowKind, scope: Scope, id: String) -> Fut<'_, Option<RowView>>;
    /// The rows with this id in any scope (at most 8): ids are unique per account only.
    fn rows_by_id(&self, kind: RowKind, id: String) -> Fut<'_, Vec<RowView>>;
    /// A page of a list.
    fn rows(&self, query: RowQuery) -> Fut<'_, Page<RowView>>;
    /// A page of a timeline, oldest first.
    fn timeline(&self, query: TimelineQuery) -> Fut<'_, Page<TimelineLine>>;
    /// A page of the ledger, oldest first.
    fn ledger(&self, query: LedgerQuery) -> Fut<'_, Page<LedgerLine>>;
    /// One input by the id people know it by.
    fn input(&self, public_id: String, scope: Option<Scope>) -> Fut<'_, Vec<InputView>>;
    /// One input by number.
    fn input_by_seq(&self, seq: u64) -> Fut<'_, Option<InputView>>;
    /// Its body; `None` if erased or past retention.
    fn input_body(&self, seq: u64) -> Fut<'_, Option<Vec<u8>>>;
    /// A page of inputs, newest first.
    fn inputs(&self, query: InputQuery) -> Fut<'_, Page<InputView>>;
    /// Every input and timeline line that names this id, oldest first, at most `limit` of each; with a tenant, those
    /// known to be that tenant's, and nothing is cut off for what others have under the id.
    fn explain(&self, id: String, of: Option<TenantId>, limit: usize) -> Fut<'_, Explained>;
    /// A page of the outbox, newest first.
    fn outbox(&self, query: OutboxQuery) -> Fut<'_, Page<OutboxView>>;
    /// A page of the audit trail, newest first.
    fn audit(&self, query: AuditQuery) -> Fut<'_, Page<AuditEntry>>;
    /// A kept record.
    fn kept(&self, space: &'static str, key: String) -> Fut<'_, Option<Vec<u8>>>;
    /// Kept records of a space, by key, after `cursor`.
    fn kept_all(
        &self,
        space: &'static str,
        cursor: Option<String>,
        limit: usize,
    ) -> Fut<'_, Vec<(String, Vec<u8>)>>;

    /// The fold again: what every apply that is kept consumed and decided, in order, after `cursor`.
    fn applied(&self, cursor: u64, limit: usize) -> Fut<'_, Vec<VerifyItem>>;
    /// Walks what is kept of the journal and holds chain and checkpoints against each other.
    fn audit_journal(&self) -> Fut<'_, JournalAudit>;
    /// SHA-256 (hex) over canonical rows, ledger sums and credits; the same for any order of arrival.
    fn state_digest(&self) -> Fut<'_, String>;
    /// Number and hash (hex) of the journal's last record.
    fn chain_head(&self) -> Fut<'_, (u64, String)>;
    /// Figures for metrics and health.
    fn stats(&self) -> Fut<'_, Stats>;
    /// A write that must become durable: proves that the store works.
    fn probe(&self) -> Fut<'_, ()>;
    /// Writes a consistent copy of everything into a file that must not exist, while the store serves. It ends with a
    /// record that was durable when it began.
    /// # Errors: `Invalid` (no files), `Io` (the file exists, no room).
    fn backup(&self, to: PathBuf) -> Fut<'_, Manifest>;
    /// Rises with every commit; wait on it instead of polling.
    fn commits(&self) -> crate::progress::Watch;
    /// Stops taking work, finishes what is queued, closes cleanly.
    fn close(&self) -> Fut<'_, ()>;
}
