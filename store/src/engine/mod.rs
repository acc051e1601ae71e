//! The engine: one state machine behind `Store`, whatever lies below it.
//!
//! ```text
//! caller ── seal ──> queue (2 × 1,024) ──> committer thread ──> journal (durable) ──> rows
//!        <──────────── answer ───────────────┘
//!        <── reads ── rows (+ bodies from the journal), never older than the last answer
//! ```
//!
//! Invariants: every write is one commit through one thread; rows are a fold of records; a read
//! sees everything that was answered to anybody before the read began.
//! Not here: files (`open`), the journal's bytes (`journal`), keys (`vault`).

mod accept;
mod apply;
mod commit;
pub(crate) mod committer;
mod due;
pub(crate) mod export;
pub(crate) mod fold;
mod fold_apply;
pub(crate) mod keeper;
mod layouts;
mod orders;
pub(crate) mod places;
pub(crate) mod port;
mod queue;
mod reads;
pub(crate) mod recount;
pub(crate) mod replay;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod schedules_tests;
pub(crate) mod shared;
mod store;
mod unread;

use commit::{Answer, Commit, Queued};
use committer::Committer;
use keeper::{Keeper, Keeping};
use port::{Log, Records, Sealer};
use queue::{Rest, Shares};
use shared::{Disk, Leave, Shared, Wants, Watermarks};
pub(crate) use unread::Unread;

use crate::backup::Source;
use crate::error::StoreError;
use crate::kv::{Kv, no_thread};
use crate::metrics::observe::Outcome;
use crate::query::Page;
use crate::sync::{Builder, JoinHandle, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Stretches of an index looked through for a page while nothing is found.
const LOOKS_MAX: u32 = 64;

/// The parts an engine is made of.
pub(crate) struct Parts {
    pub(crate) kv: Box<dyn Kv>,
    pub(crate) log: Box<dyn Log>,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) keys: Arc<dyn Sealer>,
    /// Where the free space is watched; `None`: nowhere.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) marks: Watermarks,
    /// The last step of a clean close.
    pub(crate) leave: Option<Leave>,
    /// Count the rows in the background, once, from the start on.
    pub(crate) count_rows: bool,
    /// Called if a count finds rows missing.
    pub(crate) doubt: Option<Doubt>,
    /// What of the journal is still to be read; `None`: nothing.
    pub(crate) unread: Option<Unread>,
    /// Checkpoints and retention; `None`: the journal is kept whole.
    pub(crate) keeping: Option<Keeping>,
    /// What a backup is made of; `None`: there are no files.
    pub(crate) backup: Option<Source>,
}

impl Parts {
    /// An engine over these and nothing else: no files, no checkpoints, nothing counted or read beside the work.
    pub(crate) fn of(
        kv: impl Kv + 'static,
        log: impl Log + 'static,
        records: impl Records + 'static,
        keys: Arc<dyn Sealer>,
    ) -> Self {
        Self {
            kv: Box::new(kv),
            log: Box::new(log),
            records: Arc::new(records),
            keys,
            dir: None,
            marks: Watermarks::OFF,
            leave: None,
            count_rows: false,
            doubt: None,
            unread: None,
            keeping: None,
            backup: None,
        }
    }
}

/// Remembers, for the next opening, that something cannot be believed.
pub(crate) type Doubt = Box<dyn FnOnce() + Send>;

/// The store's engine.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
    /// Reads what is still unread of the journal.
    reader: Option<JoinHandle<()>>,
}

/// The last handle waits for its threads: whoever opens the same files next finds them free.
impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.queue.close();
        // The committer closes the store, which ends the reader.
        for thread in [self.committer.take(), self.reader.take()] {
            // Their panics are caught inside; there is nobody to tell.
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl Outcome for Answer {
    fn is_stale(&self) -> bool {
        matches!(self, Self::Applied(crate::api::Applied::Stale { .. }))
    }
}

impl Engine {
    /// Starts the committer over rows that hold everything the journal says.
    /// # Errors: rows that cannot be read, or no thread.
    pub(crate) fn start(mut parts: Parts) -> Result<Self, StoreError> {
        let unread = parts.unread.take();
        let (shared, committer) = Self::prepare(parts)?;
        let begin = |name: &str| Builder::new().name(name.to_owned());
        let mut engine = Self {
            shared: Arc::clone(&shared),
            committer: Some(
                begin("committer")
                    .spawn(move || committer.run())
                    .map_err(no_thread)?,
            ),
            reader: None,
        };
        if let Some(unread) = unread {
            let reader = begin("old segments").spawn(move || unread::read_on(&shared, unread));
            engine.reader = Some(reader.map_err(no_thread)?);
        }
        Ok(engine)
    }

    /// The same without a thread: the committer is a task of the runtime this is called in, and ends with it.
    /// # Errors: rows that cannot be read.
    #[cfg(feature = "crashpoints")]
    pub(crate) fn start_here(parts: Parts) -> Result<Self, StoreError> {
        let (shared, committer) = Self::prepare(parts)?;
        tokio::spawn(committer.run_here());
        Ok(Self {
            shared,
            committer: None,
            reader: None,
        })
    }

    fn prepare(parts: Parts) -> Result<(Arc<Shared>, Committer), StoreError> {
        let folded = replay::folded(parts.kv.as_ref())?;
        let unfreed = apply::unfreed(parts.kv.as_ref())?;
        let disk = Disk::new(parts.dir, parts.marks);
        let shared = Arc::new(Shared::new(
            parts.kv,
            parts.records,
            Arc::clone(&parts.keys),
            disk,
            parts.leave,
            parts.backup,
            &folded,
        ));
        let committer = Committer {
            shared: Arc::clone(&shared),
            log: parts.log,
            keys: parts.keys,
            flushed: folded.record,
            flushed_at: Instant::now(),
            counted_at: Instant::now(),
            counted_for: std::time::Duration::ZERO,
            worked_at: Instant::now(),
            recount: parts.count_rows.then(recount::Recount::start),
            doubt: parts.doubt,
            keeper: parts.keeping.map(Keeper::new).transpose()?,
            was_refused: false,
            shares: Shares::default(),
            rest: Rest::new(Instant::now()),
            rests: false,
            delivered_at: Instant::now(),
            rooms: committer::Rooms::default(),
            folded,
            unfreed,
        };
        Ok((shared, committer))
    }

    /// Hands a commit to the committer and waits for what it came to.
    async fn commit(&self, commit: Commit) -> Result<Answer, StoreError> {
        if let Some(error) = self.shared.poisoned() {
            return Err(error);
        }
        let (answer, came_to) = oneshot::channel();
        let queued = Queued {
            commit,
            since: Instant::now(),
            answer: Some(answer),
        };
        self.shared.queue.push(queued)?;
        match came_to.await {
            Ok(answer) => answer,
            Err(_) => Err(self.shared.poisoned().unwrap_or(StoreError::Closed)),
        }
    }

    /// Reads a few keys, on the caller's thread.
    async fn read<T>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.fence().await?;
        guarded(&self.shared, read)
    }

    /// Reads many keys, on a thread that may wait for the disk.
    async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.shared.fence().await?;
        if !self.shared.reads_block || tokio::runtime::Handle::try_current().is_err() {
            return guarded(&self.shared, read);
        }
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || guarded(&shared, read));
        task.await.unwrap_or(Err(StoreError::Closed))
    }

    /// A page of a list, looked for further while nothing is found: an empty page is read as "there is none", whatever
    /// it says of a next one. Between two looks others get their turn.
    async fn page<Q: Clone + Send + 'static, T: Send + 'static>(
        &self,
        mut query: Q,
        after: fn(&mut Q) -> &mut Option<Vec<u8>>,
        read: fn(&Shared, &Q) -> Result<Page<T>, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let mut looks = 0;
        loop {
            let asked = query.clone();
            let found = self.scan(move |shared| read(shared, &asked)).await?;
            looks += 1;
            if !found.items.is_empty() || found.next.is_none() || looks == LOOKS_MAX {
                return Ok(found);
            }
            *after(&mut query) = found.next;
        }
    }

    fn room_for(&self, wants: Wants) -> Result<(), StoreError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        self.shared.room_for(wants)
    }
}

/// A reader's panic is damage it met, not the end of its thread. Damage poisons the store.
fn guarded<T>(
    shared: &Shared,
    read: impl FnOnce(&Shared) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let out = catch_unwind(AssertUnwindSafe(|| read(shared)))
        .unwrap_or_else(|_| Err(fold::broken("a read panicked".to_owned())));
    if let Err(error) = &out
        && error.class() == crate::error::ErrorClass::Fatal
    {
        shared.poison(error);
    }
    out
}

/// An answer of the wrong kind is a bug of this crate.
fn mismatch() -> StoreError {
    StoreError::Invalid("the committer gave an answer of another kind".to_owned())
}
