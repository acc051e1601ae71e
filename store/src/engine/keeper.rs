//! Keeps the journal short: writes checkpoints beside the commits, and lets old segments go.
//!
//! A checkpoint is a walk over all rows (`recount`) that writes down what it sees. The walk goes on in slices on the
//! committer's thread, the only one that writes rows, so a slice sees the rows between two groups. What a later group
//! changes in the part already walked is written down after it. So at every moment the pieces, applied in order, are
//! exactly the rows below the walk's place as of the last group; at the end, all rows as of one synced record. The
//! recount's sums prove it, or find the rows wanting.
//!
//! ```text
//! committer ── rows, changes (pieces of 256 KiB) ──> thread: file, sync, rename, older ones removed
//!           <── records old enough, checkpoints read whole ── thread: what retention would let go
//! ```
//!
//! Invariants: the committer never waits for the disk here; memory is bounded by [`QUEUED_BYTES_MAX`]; two checkpoints
//! are kept and segments go only up to the older one, so that one damaged file takes nothing; segments go on the
//! committer's thread, in one step with the look at what is still open.
//! Not here: the pieces (`export`), the file (`journal::checkpoint`), which segments may go (`journal::retain`).
//! Failure: a checkpoint that cannot be written is given up, said aloud, and tried again later; nothing depends on it.

use super::committer::Folded;
use super::export::{self, Rows};
use super::port::Log;
use crate::api::InputStatus;
use crate::error::StoreError;
use crate::journal::{Checkpoints, Covered, Head};
use crate::keys::{self, Key};
use crate::kv::{Batch, Kv, Overlay, end_of};
use crate::record::{decode, time_of};
use crate::shapes::{InputRow, unpack};
use crate::threads::give_way;
use bursar_domain::ids::Timestamp;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of one piece, about.
const PIECE_BYTES: usize = if cfg!(test) { 300 } else { 256 << 10 };
/// Pieces the writing thread may be behind.
const PIECES_WAITING: usize = 4;
/// Bytes of changes that may wait for a slow disk; more, and the checkpoint is given up.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// Checkpoints kept.
const KEPT: usize = 2;
/// How long after a failure the next attempt is made.
const AFTER_FAILURE: Duration = Duration::from_secs(600);
/// How often old segments are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// Nobody waits for a checkpoint, nor for what it allows to drop.
const NICENESS: i32 = 5;

/// How the journal is kept short.
pub(crate) struct Keeping {
    pub(crate) checkpoints: Checkpoints,
    /// A checkpoint is due after this many bytes of journal; 0: never.
    pub(crate) every_bytes: u64,
    /// How long records are kept at least; `None`: for ever.
    pub(crate) retention: Option<Duration>,
    pub(crate) now: fn() -> Timestamp,
    /// Without threads: a checkpoint is written at the look after its last piece.
    pub(crate) is_here: bool,
}

/// What may go: records before this one are old enough, and this is covered.
pub(super) struct Old {
    before: u64,
    covered: Covered,
}

/// The committer's part of it.
pub(super) struct Keeper {
    keeping: Keeping,
    /// The newest checkpoint's record and size.
    newest: u64,
    newest_bytes: u64,
    writing: Option<Writing>,
    looking: Option<JoinHandle<Result<Option<Old>, StoreError>>>,
    looked_at: Option<Instant>,
    failed_at: Option<Instant>,
}

/// A checkpoint on its way.
struct Writing {
    rows: Rows,
    queue: VecDeque<Order>,
    queued_bytes: usize,
    /// `None` once the thread was told everything, or to give up.
    to: Option<SyncSender<Order>>,
    /// The head it stands after, once the walk is through.
    sealed: Option<Head>,
    work: Work,
}

/// Who writes.
enum Work {
    Thread(JoinHandle<Result<bool, StoreError>>),
    /// Whoever looks, once everything was handed over.
    Here(Checkpoints, Receiver<Order>),
}

impl Work {
    fn is_over(&self, is_told: bool) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Here(..) => is_told,
        }
    }

    fn came_to(self) -> Result<bool, StoreError> {
        match self {
            Self::Thread(thread) => joined(thread),
            Self::Here(checkpoints, orders) => write(&checkpoints, &orders),
        }
    }
}

enum Order {
    Piece(Vec<u8>),
    Finish(Head),
}

impl Keeper {
    /// # Errors: the journal's folder cannot be read.
    pub(super) fn new(keeping: Keeping) -> Result<Self, StoreError> {
        let newest = keeping.checkpoints.records()?.first().copied();
        let newest_bytes = match newest {
            Some(record) => keeping.checkpoints.size(record)?,
            None => 0,
        };
        Ok(Self {
            keeping,
            newest: newest.unwrap_or(0),
            newest_bytes,
            writing: None,
            looking: None,
            looked_at: None,
            failed_at: None,
        })
    }

    /// Whether a checkpoint is due. The journal grows by as much as the last one took, at least: writing the state
    /// again and again must not cost more than the records it saves.
    pub(super) fn is_due(&self, log: &dyn Log) -> bool {
        let every = self.keeping.every_bytes;
        every > 0
            && self.writing.is_none()
            && self.looking.is_none()
            && self
                .failed_at
                .is_none_or(|at| at.elapsed() >= AFTER_FAILURE)
            && log.bytes_after(self.newest) >= every.max(self.newest_bytes)
    }

    /// Bytes of the newest checkpoint; the next one is about as large.
    pub(super) const fn newest_bytes(&self) -> u64 {
        self.newest_bytes
    }

    /// Begins a checkpoint with a walk that begins now. Says whether it did.
    pub(super) fn begin(&mut self) -> bool {
        let checkpoints = self.keeping.checkpoints.clone();
        let (to, work) = match begin_writing(checkpoints, self.keeping.is_here) {
            Ok(begun) => begun,
            Err(error) => {
                self.fail(&error);
                return false;
            }
        };
        let mut writing = Writing {
            rows: Rows::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            to: Some(to),
            sealed: None,
            work,
        };
        writing.queue(export::layout());
        self.writing = Some(writing);
        true
    }

    fn fail(&mut self, error: &dyn std::fmt::Display) {
        tracing::error!(%error, "no checkpoint was written; the next attempt is in ten minutes");
        self.failed_at = Some(Instant::now());
    }

    /// A walk's row.
    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        if let Some(writing) = &mut self.writing {
            writing.add(key, Some(value));
        }
    }

    /// What a group changed while the walk was at this place.
    pub(super) fn changed(&mut self, batch: &Batch, walked_to: &[u8]) {
        let Some(writing) = &mut self.writing else {
            return;
        };
        if writing.sealed.is_some() {
            return;
        }
        let walked = batch.range(Key::new(keys::META + 1)..walked_to.into());
        for (key, value) in walked {
            writing.add(key, value.as_deref());
        }
    }

    /// The walk is through and its sums are right: these rows are the checkpoint's.
    pub(super) fn seal(&mut self, folded: &Folded) {
        let (_, head) = self.keeping.checkpoints.reads().bounds();
        let Some(writing) = &mut self.writing else {
            return;
        };
        let end = export::end(folded).and_then(|end| {
            if head.record == folded.record {
                return Ok(end);
            }
            let kind = format!("rows of record {} at {}", folded.record, head.record);
            Err(super::fold::broken(kind))
        });
        match end {
            Ok(end) => {
                writing.cut();
                writing.queue(end);
                writing.queue.push_back(Order::Finish(head));
                writing.sealed = Some(head);
                writing.hand_over();
            }
            Err(error) => {
                writing.to = None;
                self.fail(&error);
            }
        }
    }

    /// Gives the checkpoint up, if there is one on its way.
    pub(super) fn give_up(&mut self) {
        if let Some(writing) = &mut self.writing {
            writing.to = None;
            writing.queue.clear();
        }
    }

    /// Whether a checkpoint is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether the walk should wait for the disk.
    pub(super) fn is_behind(&self) -> bool {
        let writing = self.writing.as_ref();
        writing.is_some_and(|writing| writing.queue.len() > PIECES_WAITING)
    }

    /// Hands over what is queued and takes what is ready; says what may go.
    pub(super) fn look(&mut self) -> Option<Old> {
        if let Some(writing) = &mut self.writing {
            writing.hand_over();
            if writing.work.is_over(writing.to.is_none()) {
                self.written();
            }
        }
        if self.looking.as_ref().is_some_and(JoinHandle::is_finished) {
            let found = self.looking.take().map(joined);
            match found.transpose() {
                Ok(old) => return old.flatten(),
                Err(error) => {
                    tracing::error!(%error, "no old segment can be dropped while this is so");
                }
            }
        }
        let is_time = self
            .looked_at
            .is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if let Some(retention) = self.keeping.retention
            && self.looking.is_none()
            && self.writing.is_none()
            && is_time
        {
            self.looked_at = Some(Instant::now());
            let checkpoints = self.keeping.checkpoints.clone();
            let now = (self.keeping.now)();
            let spawned = std::thread::Builder::new()
                .name("retention".to_owned())
                .spawn(move || {
                    give_way(NICENESS);
                    old_enough(&checkpoints, now, retention)
                });
            match spawned {
                Ok(thread) => self.looking = Some(thread),
                Err(error) => tracing::error!(%error, "old segments cannot be looked for"),
            }
        }
        None
    }

    /// The writing thread ended.
    fn written(&mut self) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        let sealed = writing.sealed;
        match (writing.work.came_to(), sealed) {
            (Ok(true), Some(head)) => {
                let bytes = self.keeping.checkpoints.size(head.record).unwrap_or(0);
                tracing::info!(record = head.record, bytes, "a checkpoint was written");
                (self.newest, self.newest_bytes) = (head.record, bytes);
                self.failed_at = None;
                self.looked_at = None;
            }
            (Ok(_), _) => self.fail(&"it was given up"),
            (Err(error), _) => self.fail(&error),
        }
    }

    /// Waits for the writing thread; nothing writes to the journal's folder afterwards.
    pub(super) fn stop(&mut self) {
        self.give_up();
        if let Some(writing) = self.writing.take() {
            let _ = writing.work.came_to();
        }
        // It only reads, and may have much to read: a close does not wait for it.
        drop(self.looking.take());
    }
}

impl Writing {
    fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.rows.add(key, value);
        if self.rows.bytes() >= PIECE_BYTES {
            self.cut();
            self.hand_over();
        }
    }

    fn cut(&mut self) {
        if !self.rows.is_empty() {
            let piece = self.rows.take();
            self.queue(piece);
        }
    }

    fn queue(&mut self, piece: Vec<u8>) {
        self.queued_bytes += piece.len();
        self.queue.push_back(Order::Piece(piece));
    }

    /// Gives the thread what it takes without being waited for.
    fn hand_over(&mut self) {
        let Some(to) = &self.to else {
            self.queue.clear();
            return;
        };
        while let Some(order) = self.queue.pop_front() {
            let bytes = match &order {
                Order::Piece(piece) => piece.len(),
                Order::Finish(_) => 0,
            };
            match to.try_send(order) {
                Ok(()) => self.queued_bytes -= bytes,
                Err(TrySendError::Full(order)) => {
                    self.queue.push_front(order);
                    break;
                }
                // It failed, and says why when it is joined.
                Err(TrySendError::Disconnected(_)) => self.queue.clear(),
            }
        }
        let is_told = self.sealed.is_some() && self.queue.is_empty();
        if is_told || self.queued_bytes > QUEUED_BYTES_MAX {
            self.to = None;
        }
    }
}

fn joined<T>(thread: JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    let panicked = |_| Err(super::fold::broken("its thread panicked".to_owned()));
    thread.join().unwrap_or_else(panicked)
}

/// Pieces that may wait where nobody takes them before the last one.
const PIECES_HERE_MAX: usize = 1 << 10;

fn begin_writing(
    checkpoints: Checkpoints,
    is_here: bool,
) -> std::io::Result<(SyncSender<Order>, Work)> {
    if is_here {
        let (to, orders) = sync_channel(PIECES_HERE_MAX);
        return Ok((to, Work::Here(checkpoints, orders)));
    }
    let (to, orders) = sync_channel(PIECES_WAITING);
    let spawned = std::thread::Builder::new()
        .name("checkpoint".to_owned())
        .spawn(move || {
            give_way(NICENESS);
            write(&checkpoints, &orders)
        });
    Ok((to, Work::Thread(spawned?)))
}

/// Writes what comes; says whether it came to an end.
fn write(checkpoints: &Checkpoints, orders: &Receiver<Order>) -> Result<bool, StoreError> {
    let mut writer = checkpoints.begin()?;
    for order in orders {
        match order {
            Order::Piece(piece) => {
                if let Err(error) = writer.piece(&piece) {
                    // Room may be what was missing.
                    let _ = checkpoints.abandon(writer);
                    return Err(error.into());
                }
            }
            Order::Finish(head) => {
                checkpoints.finish(writer, head)?;
                if let Err(error) = drop_old(checkpoints) {
                    tracing::error!(%error, "older checkpoints are kept");
                }
                return Ok(true);
            }
        }
    }
    checkpoints.abandon(writer)?;
    Ok(false)
}

/// An older checkpoint goes only once those that stay were read whole: one of them may be damaged.
fn drop_old(checkpoints: &Checkpoints) -> Result<(), StoreError> {
    if checkpoints.covered(KEPT)?.record() > 0 {
        checkpoints.drop_old(KEPT)?;
    }
    Ok(())
}

/// Finds the segments whose records are all older than the retention; if there are any, reads the checkpoints that
/// would have to stand in for them.
fn old_enough(
    checkpoints: &Checkpoints,
    now: Timestamp,
    retention: Duration,
) -> Result<Option<Old>, StoreError> {
    let age_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let limit = Timestamp(now.0.saturating_sub(age_ms));
    let reads = checkpoints.reads();
    let mut before = None;
    // A segment is as old as the first thing known of the next one.
    for start in reads.segment_starts().into_iter().skip(1) {
        match time_from(checkpoints, start)? {
            Some(at) if at < limit => before = Some(start),
            _ => break,
        }
    }
    let Some(before) = before else {
        return Ok(None);
    };
    let covered = checkpoints.covered(KEPT)?;
    Ok(Some(Old { before, covered }))
}

/// The time of the first record from here on that has one.
fn time_from(checkpoints: &Checkpoints, record: u64) -> Result<Option<Timestamp>, StoreError> {
    for found in checkpoints.reads().records_from(record)? {
        let (entry, _) = decode(&found?.payload)?;
        if let Some(at) = time_of(&entry) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Drops what is old, covered and needed by nothing open. Between two groups, on the committer's thread: an input
/// that is not open now and whose record goes can never be opened again (`orders::requeue`).
pub(super) fn let_go(kv: &dyn Kv, log: &mut dyn Log, old: &Old) -> Result<(), StoreError> {
    let open = oldest_open(kv)?.unwrap_or(u64::MAX);
    let before = old.before.min(open).min(old.covered.record() + 1);
    let first = log.drop_before(before, &old.covered)?;
    keep_from(kv, first)?;
    if before < old.before {
        tracing::info!(
            first,
            old = old.before,
            open = open < old.before,
            "records past their retention stay: something open needs them, or no two checkpoints cover them yet"
        );
    }
    Ok(())
}

/// Files the first record that is kept.
pub(crate) fn keep_from(kv: &dyn Kv, first: u64) -> Result<(), StoreError> {
    let value = first.to_be_bytes().to_vec();
    kv.apply_batch(&Batch::from([(keys::meta("kept_from"), Some(value))]))
}

/// The first record that is kept, as the open group sees it.
pub(super) fn kept_from(kv: &Overlay<'_>) -> Result<u64, StoreError> {
    let filed = kv.get(&keys::meta("kept_from"))?;
    let number = |bytes: Vec<u8>| bytes.try_into().map(u64::from_be_bytes);
    let broken = |_| super::fold::broken("the first record kept cannot be read".to_owned());
    filed.map_or(Ok(1), |bytes| number(bytes).map_err(broken))
}

/// The first record whose body an input that is not ended needs. Inputs are numbered in the order of their records, so
/// it is the oldest one's of each list.
fn oldest_open(kv: &dyn Kv) -> Result<Option<u64>, StoreError> {
    let mut oldest: Option<u64> = None;
    for status in [
        InputStatus::Received,
        InputStatus::Parked,
        InputStatus::Dead,
    ] {
        let low = Key::new(keys::STATUS).byte(status as u8);
        let mut seq = None;
        kv.range(&low, &end_of(&low), true, &mut |key, _| {
            let mut fields = keys::Fields::of(key);
            let _ = fields.byte();
            seq = fields.newest();
            ControlFlow::Break(())
        })?;
        let Some(seq) = seq else { continue };
        let row = kv.get(&keys::input(seq))?;
        let row = row.ok_or_else(|| super::fold::broken(format!("input {seq} is missing")))?;
        let record = unpack::<InputRow>(&row)?.record;
        oldest = Some(oldest.map_or(record, |oldest| oldest.min(record)));
    }
    Ok(oldest)
}
