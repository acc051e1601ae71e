//! What the committer and the readers share: rows, journal, keys, progress, trouble.

use super::committer::Folded;
use super::due::DueFrom;
use super::port::{Records, Sealer};
use super::queue::Queue;
use crate::backup::Source;
use crate::error::StoreError;
use crate::kv::Kv;
use crate::metrics::observe;
use crate::progress::Progress;
use crate::shapes::Counters;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// From which free space on what is refused. A zero switches a limit off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Orders are refused below this share of the disk, in thousandths.
    pub orders_permille: u64,
    /// Orders are refused below this many bytes.
    pub orders_bytes: u64,
    /// Deliveries are refused below this share of the disk, in thousandths.
    pub deliveries_permille: u64,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self {
            // 5 % or 512 MiB for orders, 2 % for deliveries: Stripe's events are the last to go.
            orders_permille: 50,
            orders_bytes: 512 << 20,
            deliveries_permille: 20,
        }
    }
}

impl Watermarks {
    /// Refuses nothing.
    pub const OFF: Self = Self {
        orders_permille: 0,
        orders_bytes: 0,
        deliveries_permille: 0,
    };
}

/// Who wants room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Order,
    Delivery,
}

/// How often the disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(2);

/// Bytes of the files of one folder.
fn bytes_in(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) kv: Box<dyn Kv>,
    pub(super) records: Arc<dyn Records>,
    pub(super) keys: Arc<dyn Sealer>,
    /// From where on due effects are looked for.
    pub(super) due: DueFrom,
    /// Groups whose records are durable.
    pub(super) synced: AtomicU64,
    /// Groups whose rows are readable.
    pub(super) readable: Progress,
    pub(super) closed: AtomicBool,
    poison: Mutex<Option<StoreError>>,
    counters: RwLock<Counters>,
    disk: Disk,
    /// What must happen last on a clean close.
    leave: Mutex<Option<Leave>>,
    /// What a backup is made of.
    pub(super) backup: Option<Source>,
    /// Whether rows are read on threads of their own (they may wait for a disk).
    pub(super) reads_block: bool,
}

/// Called once on a clean close, after rows and journal are closed.
pub(super) type Leave = Box<dyn FnOnce() -> Result<(), StoreError> + Send>;

/// Where the store lives and how much room there is.
pub(super) struct Disk {
    pub(super) dir: Option<PathBuf>,
    pub(super) marks: Watermarks,
    free: AtomicU64,
    total: AtomicU64,
    looked: Mutex<Option<Instant>>,
}

impl Disk {
    pub(super) fn new(dir: Option<PathBuf>, marks: Watermarks) -> Self {
        Self {
            dir,
            marks,
            free: AtomicU64::new(u64::MAX),
            total: AtomicU64::new(0),
            looked: Mutex::new(None),
        }
    }

    fn look(&self) {
        let Some(dir) = &self.dir else { return };
        match rustix::fs::statvfs(dir) {
            Ok(room) => {
                let block = room.f_frsize;
                self.free
                    .store(room.f_bavail.saturating_mul(block), Ordering::Relaxed);
                self.total
                    .store(room.f_blocks.saturating_mul(block), Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the free space cannot be read"),
        }
    }

    fn is_below(&self, permille: u64, bytes: u64) -> bool {
        let free = self.free.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        free < bytes || free / 1_000 < (total / 1_000_000).saturating_mul(permille)
    }

    fn refuses(&self, wants: Wants) -> bool {
        if self.dir.is_none() {
            return false;
        }
        match wants {
            Wants::Order => self.is_below(self.marks.orders_permille, self.marks.orders_bytes),
            Wants::Delivery => self.is_below(self.marks.deliveries_permille, 0),
        }
    }
}

impl Shared {
    pub(super) fn new(
        kv: Box<dyn Kv>,
        records: Arc<dyn Records>,
        keys: Arc<dyn Sealer>,
        disk: Disk,
        leave: Option<Leave>,
        backup: Option<Source>,
        folded: &Folded,
    ) -> Self {
        let reads_block = disk.dir.is_some();
        let shared = Self {
            queue: Queue::default(),
            kv,
            records,
            keys,
            due: DueFrom::default(),
            synced: AtomicU64::new(0),
            readable: Progress::default(),
            closed: AtomicBool::new(false),
            poison: Mutex::new(None),
            counters: RwLock::new(folded.counters.clone()),
            disk,
            leave: Mutex::new(leave),
            backup,
            reads_block,
        };
        shared.disk.look();
        shared
    }

    /// Remembers the first error; everything after it fails with the same.
    pub(super) fn poison(&self, error: &StoreError) {
        let mut slot = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            tracing::error!(%error, "the store failed and takes no more work");
            *slot = Some(error.again());
        }
        drop(slot);
        self.wake_all();
    }

    pub(super) fn poisoned(&self) -> Option<StoreError> {
        let slot = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map(StoreError::again)
    }

    pub(super) fn wake_all(&self) {
        self.readable.nudge();
    }

    /// Rows of this group are readable now.
    pub(super) fn publish(&self, group: u64, folded: &Folded) {
        self.counters
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&folded.counters);
        self.readable.raise(group);
    }

    /// Waits until everything answered before this call is readable.
    pub(super) async fn fence(&self) -> Result<(), StoreError> {
        let target = self.synced.load(Ordering::Acquire);
        if self.readable.get() < target {
            let mut readable = self.readable.watch();
            let wait = readable.wait_for(|group| group >= target || self.poisoned().is_some());
            let _ = wait.await;
        }
        self.poisoned().map_or(Ok(()), Err)
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the disk now and then.
    pub(super) fn watch_disk(&self) {
        let mut looked = self
            .disk
            .looked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < DISK_EVERY) {
            return;
        }
        *looked = Some(Instant::now());
        drop(looked);
        if self.disk.dir.is_none() {
            return;
        }
        self.disk.look();
        let (free, _) = self.room();
        let stray = self.kv.stray_files();
        let queued = self.queue.len() as u64;
        observe::gauges(queued, self.disk_bytes(), free, stray);
    }

    /// Free and total bytes where the store lives.
    pub(super) fn room(&self) -> (u64, u64) {
        if self.disk.dir.is_none() {
            return (0, 0);
        }
        (
            self.disk.free.load(Ordering::Relaxed),
            self.disk.total.load(Ordering::Relaxed),
        )
    }

    /// Whether twice this many bytes are free where the store lives; yes where nobody knows.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.disk.dir.is_none() || self.room().0 > bytes.saturating_mul(2)
    }

    /// Bytes of the store's files, or of its rows in memory.
    pub(super) fn disk_bytes(&self) -> u64 {
        match &self.disk.dir {
            Some(dir) => ["journal", "keys", "sled"]
                .iter()
                .map(|part| bytes_in(&dir.join(part)))
                .sum(),
            None => self.kv.size_bytes(),
        }
    }

    pub(super) fn refuses(&self, wants: Wants) -> bool {
        self.disk.refuses(wants)
    }

    /// # Errors: `Full` when there is no room for this kind of work.
    pub(super) fn room_for(&self, wants: Wants) -> Result<(), StoreError> {
        if self.refuses(wants) {
            let (free_bytes, _) = self.room();
            return Err(StoreError::Full { free_bytes });
        }
        Ok(())
    }

    /// The last step of a clean close.
    pub(super) fn leave(&self) -> Result<(), StoreError> {
        let mut slot = self.leave.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take().map_or(Ok(()), |leave| leave())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_refused_before_deliveries() {
        let disk = Disk::new(Some(PathBuf::from("/")), Watermarks::default());
        let gib = 1_u64 << 30;
        for (free, orders, deliveries) in [
            (100 * gib, false, false),
            (4 * gib, true, false),
            (gib, true, true),
        ] {
            disk.total.store(100 * gib, Ordering::Relaxed);
            disk.free.store(free, Ordering::Relaxed);
            assert_eq!(disk.refuses(Wants::Order), orders, "{free}");
            assert_eq!(disk.refuses(Wants::Delivery), deliveries, "{free}");
        }
        disk.total.store(gib, Ordering::Relaxed);
        disk.free.store(400 << 20, Ordering::Relaxed);
        assert!(
            disk.refuses(Wants::Order),
            "under 512 MiB whatever the share"
        );
        assert!(!disk.refuses(Wants::Delivery));
    }
}
