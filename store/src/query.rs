//! Questions to the store, and what it answers: plain values.

use crate::api::{EffectStatus, InputStatus};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Disposition, EffectId, Lane, LedgerAccount, TimelineEntry};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::money::Money;
use bursar_domain::rows::RowKind;

/// A page of a list. `next` is the last key in the store's own form; the edge wraps it into an
/// opaque cursor bound to the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None`: this is the last.
    pub next: Option<Vec<u8>>,
}

/// Filters of a list; all must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowQuery {
    /// The list.
    pub kind: RowKind,
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only this status.
    pub status: Option<String>,
    /// From this time on (inclusive).
    pub created_after: Option<Timestamp>,
    /// Before this time (exclusive).
    pub created_before: Option<Timestamp>,
    /// Also hidden rows (archived tenants).
    pub hidden: bool,
    /// After this key.
    pub after: Option<Vec<u8>>,
    /// At most this many (1..=100).
    pub limit: usize,
}

/// A row with its personal fields merged in, if they may still be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowView {
    /// The list.
    pub kind: RowKind,
    /// The account.
    pub scope: Scope,
    /// The id.
    pub id: String,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// Its `created`.
    pub created_at: Option<Timestamp>,
    /// Its status.
    pub status: String,
    /// The version of its aggregate when the row was written.
    pub version: u64,
    /// The JSON object.
    pub value: Vec<u8>,
    /// The row had personal fields and they were erased.
    pub erased: bool,
}

/// Whose timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimelineOf {
    /// A tenant's.
    Tenant(TenantId),
    /// A payment's (`LinkKey::Payment`).
    Payment(LinkKey),
    /// What belongs to no object.
    Installation,
}

/// A question for a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineQuery {
    /// Whose.
    pub of: TimelineOf,
    /// After this key.
    pub after: Option<Vec<u8>>,
    /// At most this many.
    pub limit: usize,
}

/// A line of a timeline, with the number of the input that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineLine {
    /// The input.
    pub seq: u64,
    /// Which aggregate decided.
    pub aggregate: AggregateKey,
    /// The line.
    pub entry: TimelineEntry,
}

/// A question for the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerQuery {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only this payment's.
    pub payment: Option<LinkKey>,
    /// Only this account.
    pub account: Option<LedgerAccount>,
    /// After this key.
    pub after: Option<Vec<u8>>,
    /// At most this many.
    pub limit: usize,
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// Its account.
    pub account: LedgerAccount,
    /// The signed amount.
    pub amount: Money,
    /// The movement's source id.
    pub source: String,
    /// When it happened.
    pub at: Timestamp,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The payment.
    pub payment: Option<LinkKey>,
}

/// Filters of the inputs; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputQuery {
    /// Only this status.
    pub status: Option<InputStatus>,
    /// Only Stripe's deliveries (events and raw bodies), not messages, timers, re-reads, orders.
    pub deliveries_only: bool,
    /// Only what names this tenant or an object linked to it when it was applied.
    pub tenant: Option<TenantId>,
    /// Received from this time on.
    pub received_after: Option<Timestamp>,
    /// Received before this time.
    pub received_before: Option<Timestamp>,
    /// Only these kinds (event types).
    pub kinds: Vec<String>,
    /// Oldest first instead of newest first; a page goes on with the same order.
    pub oldest_first: bool,
    /// After this key.
    pub after: Option<Vec<u8>>,
    /// At most this many.
    pub limit: usize,
}

/// An input without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputView {
    /// Its number.
    pub seq: u64,
    /// Where from.
    pub source: InputSource,
    /// Its kind.
    pub kind: String,
    /// Whose inbox.
    pub to: Option<AggregateKey>,
    /// Its status.
    pub status: InputStatus,
    /// What became of it, once known.
    pub disposition: Option<Disposition>,
    /// Why.
    pub reason: String,
    /// What it waits for, while parked.
    pub parked_on: Vec<LinkKey>,
    /// The event's own `created`.
    pub created_at: Option<Timestamp>,
    /// When it came.
    pub received_at: Timestamp,
    /// When it was applied, ignored or died.
    pub ended_at: Option<Timestamp>,
    /// The tenant, if known when it ended.
    pub tenant: Option<TenantId>,
    /// Ids under which `explain` finds it.
    pub object_ids: Vec<String>,
    /// Length of the body.
    pub body_bytes: u64,
    /// The body was dropped by retention.
    pub body_dropped: bool,
}

/// What `explain` finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Inputs that name the id.
    pub inputs: Vec<InputView>,
    /// Timeline lines that name it.
    pub lines: Vec<TimelineLine>,
    /// There was more than the limit.
    pub truncated: bool,
}

/// Filters of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxQuery {
    /// Only this status.
    pub status: Option<EffectStatus>,
    /// Only this lane.
    pub lane: Option<Lane>,
    /// After this key.
    pub after: Option<Vec<u8>>,
    /// At most this many.
    pub limit: usize,
}

/// An effect, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxView {
    /// Its id.
    pub id: EffectId,
    /// Who decided it.
    pub aggregate: AggregateKey,
    /// Who performs it.
    pub lane: Lane,
    /// Its word.
    pub kind: String,
    /// How it stands.
    pub status: EffectStatus,
    /// Attempts so far.
    pub attempts: u32,
    /// The last error or closing note.
    pub note: String,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it is due, while pending.
    pub due_at: Timestamp,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
}

/// Filters of the audit trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// After this key.
    pub after: Option<Vec<u8>>,
    /// At most this many.
    pub limit: usize,
}

/// One decision of the past with everything needed to make it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyItem {
    /// Number of the apply in the fold; the next cursor.
    pub position: u64,
    /// Whose.
    pub aggregate: AggregateKey,
    /// The version it made.
    pub version: u64,
    /// Revision of the reducers that decided.
    pub reducer_rev: u32,
    /// Fingerprint of the settings they saw.
    pub settings: String,
    /// In order: the input (its body empty when it is gone), the `now`, links seen, and
    /// the SHA-256 (hex) of the decision's canonical bytes (postcard).
    pub steps: Vec<VerifyStep>,
}

/// One step of a past apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyStep {
    /// The input.
    pub input: StoredInput,
    /// Why its body cannot be read any more; `None`: it was.
    pub gone: Option<Gone>,
    /// The `now` used.
    pub now: Timestamp,
    /// Links seen.
    pub looked_up: Vec<(LinkKey, Option<LinkTarget>)>,
    /// The decision as recorded. Erased personal parts are empty.
    pub decision_sha256: String,
    /// The recorded snapshot after this step, if it changed one and it can be read.
    pub snapshot: Option<Vec<u8>>,
    /// It changed the aggregate's own row, and with it the version orders may be conditional on.
    pub rewrote_own_row: bool,
}

/// Why a body cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its subject's key was forgotten.
    Erased,
    /// Its record was dropped by retention.
    Dropped,
}

/// What a walk over the journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalAudit {
    /// The first record that is kept; 1: all of them.
    pub first_record: u64,
    /// Records walked: every byte of them was read and the chain recomputed.
    pub records: u64,
    /// Checkpoints read whole, their chain the journal's.
    pub checkpoints: u64,
    /// Applies whose records were dropped by retention.
    pub applies_dropped: u64,
    /// What is not as it was written: file, offset, kind.
    pub damage: Vec<String>,
}

/// Figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Inputs stored, ever.
    pub inputs: u64,
    /// Pending inputs.
    pub pending: u64,
    /// When the oldest pending one came.
    pub oldest_pending_at: Option<Timestamp>,
    /// Parked inputs.
    pub parked: u64,
    /// Dead inputs.
    pub dead: u64,
    /// Pending effects per lane.
    pub outbox: Vec<(Lane, u64)>,
    /// When the oldest pending effect of a lane was decided, among those due next; lanes without one are left out.
    pub outbox_oldest: Vec<(Lane, Timestamp)>,
    /// Rows per list and status.
    pub rows: Vec<(RowKind, String, u64)>,
    /// Commits waiting.
    pub queue_depth: u64,
    /// Bytes the store takes on disk.
    pub disk_bytes: u64,
    /// Bytes free where it lives.
    pub disk_free_bytes: u64,
    /// Bytes in all where it lives.
    pub disk_total_bytes: u64,
    /// Files in sled's `blobs/` (should be none).
    pub blob_files: u64,
    /// Intake is refused because the disk is too full.
    pub intake_refused: bool,
    /// The projections are being rebuilt from the journal.
    pub rebuilding: bool,
}
