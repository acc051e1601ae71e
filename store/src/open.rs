//! Opening a store on disk: lock, journal, keys, rows; and which installation it belongs to.
//!
//! ```text
//! dir/            0700
//!   lock          who holds it
//!   journal/      the truth
//!   keys/         keys of the data subjects
//!   sled/         rows, folded from the journal; may be deleted at any time
//!   sled.aside/   rows that could not be believed, kept for whoever wants to know why
//! ```
//!
//! When rows are believed: their journal is this one and every row was counted. Large stores that
//! were written during this boot of the machine are believed at once and counted while they serve.
//! Otherwise rows are made again: from the newest checkpoint that is whole and the records after it,
//! or from the first record. A damaged checkpoint is said aloud and passed over.
//! Failure: damage in journal or keys refuses to open; damage in rows never does; damage in checkpoints
//! only if retention dropped what would have to be folded instead.

use crate::api::{Administer, Keep, Store};
use crate::backup::Source;
use crate::durable::{JournalLog, JournalRecords, unread_of};
use crate::engine::export::{self, Restored};
use crate::engine::fold::broken;
use crate::engine::keeper::{self, Keeping};
use crate::engine::port::{Log, Records, Sealer};
use crate::engine::shared::Watermarks;
use crate::engine::{Doubt, Engine, Parts, replay};
use crate::error::StoreError;
use crate::journal::{self, Checkpoints, DirLock, InstallationId, Journal, JournalSettings};
use crate::keys;
use crate::kv::{Batch, Buffered, Kv, SledKv, no_thread};
use crate::record::{Entry, encode};
use crate::vault::{Vault, VaultReport};
use crate::vfs::{RealVfs, Vfs};
use bursar_domain::ids::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Up to this many rows are counted before anything is served; more, in the background.
const ROWS_CHECKED_AT_ONCE: u64 = 500_000;
/// Says that the rows were found wanting: they are folded again, whatever they say.
const ROWS_DOUBTED: &str = "rows.doubted";
/// Says that an old segment was found wanting: all of the journal is read before it opens.
const JOURNAL_DOUBTED: &str = "journal.doubted";

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bytes sled may cache; resident memory is about three times that.
    pub cache_bytes: u64,
    /// From which free space on what is refused.
    pub watermarks: Watermarks,
    /// Size of the journal's segments.
    pub journal: JournalSettings,
    /// Written into the lock file: where the holder can be talked to.
    pub socket: PathBuf,
    /// Count every row before serving, however many there are.
    pub check_rows: bool,
    /// Forget again every key the journal says was erased: after a restore.
    pub erase_again: bool,
    /// Write a checkpoint of the rows whenever the journal grew by this many bytes; 0: never.
    pub checkpoint_bytes: u64,
    /// How long records are kept at least, before whole segments of them may go; `None`: for ever.
    pub retention: Option<Duration>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            watermarks: Watermarks::default(),
            journal: JournalSettings::default(),
            socket: PathBuf::from("bursar.sock"),
            check_rows: false,
            erase_again: false,
            // One segment: some 20,000 events are the most that are folded again.
            checkpoint_bytes: 64 << 20,
            retention: None,
        }
    }
}

#[cfg(any(test, feature = "crashpoints"))]
impl OpenOptions {
    /// Small files and no watermarks, for many stores in one test run.
    pub(crate) fn small() -> Self {
        Self {
            cache_bytes: 4 << 20,
            watermarks: Watermarks::OFF,
            journal: JournalSettings {
                segment_bytes: 32 << 20,
                zero_chunk_bytes: 64 << 10,
                ..JournalSettings::default()
            },
            ..Self::default()
        }
    }
}

/// The whole store on a simulated disk; rows in memory are folded at every opening.
#[cfg(any(test, feature = "crashpoints"))]
pub(crate) fn open_simulated(
    vfs: &crate::vfs::SimVfs,
    kv: crate::kv::MemKv,
) -> Result<Arc<dyn Store>, StoreError> {
    open_simulated_with(vfs, kv, &OpenOptions::small()).map(|(store, _)| store)
}

/// The same, kept as the options say; tells what the rows were made from.
#[cfg(any(test, feature = "crashpoints"))]
pub(crate) fn open_simulated_with(
    vfs: &crate::vfs::SimVfs,
    kv: crate::kv::MemKv,
    options: &OpenOptions,
) -> Result<(Arc<dyn Store>, Made), StoreError> {
    let (parts, made, _) = simulated(vfs, kv, options)?;
    Ok((Arc::new(Engine::start(parts)?), made))
}

/// The same without a thread, as a part of the runtime this is called in.
#[cfg(feature = "crashpoints")]
pub(crate) fn open_here(
    vfs: &crate::vfs::SimVfs,
    kv: crate::kv::MemKv,
    options: &OpenOptions,
) -> Result<(Arc<dyn Store>, OpenReport), StoreError> {
    let (mut parts, _, report) = simulated(vfs, kv, options)?;
    if let Some(keeping) = &mut parts.keeping {
        keeping.is_here = true;
    }
    Ok((Arc::new(Engine::start_here(parts)?), report))
}

#[cfg(any(test, feature = "crashpoints"))]
fn simulated(
    vfs: &crate::vfs::SimVfs,
    kv: crate::kv::MemKv,
    options: &OpenOptions,
) -> Result<(Parts, Made, OpenReport), StoreError> {
    let vfs: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let dir = Path::new("/data");
    let lock = DirLock::acquire(&*vfs, dir, 1, &options.socket)?;
    let durable = open_durable(&vfs, dir, &lock, options.journal)?;
    let made = make(&kv, &durable, options)?;
    let report = OpenReport {
        installation: hex::encode(durable.installation.0),
        journal: durable.journal_report.clone(),
        vault: durable.vault_report.clone(),
        rows: made_again(&durable, "there were none".to_owned()),
        replayed: made.folded,
        checkpoint: made.restored.record.unwrap_or(0),
        checkpoints_damaged: made.restored.damaged.clone(),
    };
    let parts = Parts {
        kv: Box::new(kv),
        log: Box::new(durable.log),
        records: durable.records,
        keys: durable.keys,
        // The walk runs beside every random history; `audit` compares its outcome.
        count_rows: true,
        doubt: Some(Box::new(|| panic!("a row was miscounted"))),
        unread: None,
        keeping: Some(keeping(durable.checkpoints, options)),
        backup: None,
        dir: None,
        marks: options.watermarks,
        leave: Some(Box::new(move || {
            drop(lock);
            Ok(())
        })),
    };
    Ok((parts, made, report))
}

/// How the rows were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsFound {
    /// There was no journal either.
    New,
    /// Written during this boot; being counted in the background.
    Trusted,
    /// Every row counted, none missing.
    Checked,
    /// Made again: see [`OpenReport::checkpoint`].
    Rebuilt {
        /// Why they were not believed.
        reason: String,
    },
}

/// What opening found and did.
#[derive(Clone, Debug)]
pub struct OpenReport {
    /// Which installation this is: 32 hex digits.
    pub installation: String,
    /// What the journal says.
    pub journal: journal::OpenReport,
    /// What the vault says.
    pub vault: VaultReport,
    /// How the rows were found.
    pub rows: RowsFound,
    /// Records folded into the rows.
    pub replayed: u64,
    /// The record of the checkpoint that rows were made from; 0: they were folded from the first record, or there
    /// already.
    pub checkpoint: u64,
    /// Newer checkpoints that could not be used, and why.
    pub checkpoints_damaged: Vec<String>,
}

/// Opens or makes the store in `dir`. Blocks: call it before the runtime serves anybody.
/// # Errors: `Locked`, `Damaged` (journal or keys), `Incompatible` (rows of another installation,
/// newer format), `Io`.
pub fn open_sled(
    dir: &Path,
    options: OpenOptions,
) -> Result<(Arc<dyn Store>, OpenReport), StoreError> {
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let lock = DirLock::acquire(&*vfs, dir, std::process::id(), &options.socket)?;
    let mut settings = options.journal;
    if dir.join(JOURNAL_DOUBTED).exists() {
        settings.read_bytes = u64::MAX;
    }
    let (durable, kept) = std::thread::scope(|scope| {
        // Both read all they have, from files of their own: a large store is there sooner.
        let kept = std::thread::Builder::new()
            .name("opening rows".to_owned())
            .spawn_scoped(scope, || open_kv(dir, &options));
        let durable = open_durable(&vfs, dir, &lock, settings);
        let kept = kept.map_err(no_thread).and_then(|opening| {
            let gone = |_| Err(broken("opening the rows panicked".to_owned()));
            opening.join().unwrap_or_else(gone)
        });
        (durable, kept)
    });
    let durable = durable?;
    believe_again(&dir.join(JOURNAL_DOUBTED))?;
    let (kv, rows, made) = open_rows(dir, kept, &durable, &options)?;
    let report = OpenReport {
        installation: hex::encode(durable.installation.0),
        journal: durable.journal_report,
        vault: durable.vault_report,
        rows,
        replayed: made.folded,
        checkpoint: made.restored.record.unwrap_or(0),
        checkpoints_damaged: made.restored.damaged,
    };
    tracing::info!(
        rows = ?report.rows,
        checkpoint = report.checkpoint,
        replayed = report.replayed,
        unread_segments = report.journal.unread_segments,
        "the store is open"
    );
    let unread = report.journal.unread_segments;
    let engine = Engine::start(Parts {
        kv: Box::new(kv),
        log: Box::new(durable.log),
        records: durable.records,
        keys: durable.keys,
        count_rows: report.rows == RowsFound::Trusted,
        doubt: Some(doubts(dir, ROWS_DOUBTED)),
        unread: unread_of(
            durable.checkpoints.reads(),
            unread,
            doubts(dir, JOURNAL_DOUBTED),
        ),
        keeping: Some(keeping(durable.checkpoints, &options)),
        backup: Some(Source::new(dir, durable.vault)),
        dir: Some(dir.to_owned()),
        marks: options.watermarks,
        // The lock goes with the last file.
        leave: Some(Box::new(move || {
            drop(lock);
            Ok(())
        })),
    })?;
    Ok((Arc::new(engine), report))
}

/// Journal and keys, opened and consistent with each other.
pub(crate) struct Durable {
    pub(crate) log: JournalLog,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) keys: Arc<dyn Sealer>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) installation: InstallationId,
    pub(crate) journal_report: journal::OpenReport,
    pub(crate) vault_report: VaultReport,
}

/// Opens journal and keys below `dir`; a new journal gets its first record.
pub(crate) fn open_durable(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    lock: &DirLock,
    settings: JournalSettings,
) -> Result<Durable, StoreError> {
    let (journal, journal_report) =
        Journal::open(Arc::clone(vfs), &dir.join("journal"), lock, settings)?;
    let installation = journal.installation();
    let is_new = journal.head().record == 0;
    let (vault, vault_report) = Vault::open(
        Arc::clone(vfs),
        &dir.join("keys"),
        lock,
        installation,
        is_new,
    )?;
    let checkpoints = journal.checkpoints();
    let vault = Arc::new(vault);
    let mut log = JournalLog::new(journal);
    if is_new {
        let entry = Entry::Installed {
            id: hex::encode(installation.0),
            at: now(),
        };
        log.append(&[encode(&entry, &[])?])?;
    }
    Ok(Durable {
        log,
        records: Arc::new(JournalRecords::new(checkpoints.clone())),
        checkpoints,
        keys: Arc::<Vault>::clone(&vault),
        vault,
        installation,
        journal_report,
        vault_report,
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Leaves a file of this name for the next opening.
fn doubts(dir: &Path, name: &'static str) -> Doubt {
    let doubted = dir.join(name);
    Box::new(move || {
        if let Err(error) = std::fs::write(&doubted, b"looked at again at the next opening\n") {
            tracing::error!(%error, name, "a doubt cannot be written down");
        }
    })
}

fn believe_again(doubted: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(doubted) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Io {
            operation: "removing the mark of doubt",
            file: Some(doubted.to_owned()),
            cause,
        }),
        _ => Ok(()),
    }
}

/// Why rows are not believed; `None`: they are.
fn doubt(
    dir: &Path,
    kv: &dyn Kv,
    durable: &Durable,
    options: &OpenOptions,
) -> Result<Result<RowsFound, String>, StoreError> {
    if !replay::is_readable(kv)? {
        return Ok(Err("their layout is another version's".to_owned()));
    }
    let record = replay::folded(kv)?.record;
    if record == 0 {
        if !crate::kv::first(kv, &[0], &[0xff], 1)?.is_empty() {
            return Ok(Err("they do not say which record they are up to".to_owned()));
        }
        // Nothing to move out of the way: these are filled where they are.
        return Ok(Ok(made_again(durable, "there were none".to_owned())));
    }
    if record + 1 < durable.records.first() {
        return Ok(Err("records after them were dropped".to_owned()));
    }
    if record > durable.records.head().0 {
        return Ok(Err("they are ahead of the journal".to_owned()));
    }
    if dir.join(ROWS_DOUBTED).exists() {
        return Ok(Err(
            "some were found missing or changed while it ran".to_owned()
        ));
    }
    let boot = boot();
    let same_boot = !boot.is_empty() && kv.get(&keys::meta("boot"))? == Some(boot);
    let is_large = replay::folded(kv)?.tally.total() > ROWS_CHECKED_AT_ONCE;
    if same_boot && is_large && !options.check_rows {
        return Ok(Ok(RowsFound::Trusted));
    }
    if replay::is_complete(kv)? {
        Ok(Ok(RowsFound::Checked))
    } else {
        Ok(Err("some are missing or changed".to_owned()))
    }
}

/// The id of this boot of the machine; empty if the system does not tell.
fn boot() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Opens the rows as they are, or makes an empty place for them.
fn open_kv(dir: &Path, options: &OpenOptions) -> Result<Buffered, StoreError> {
    let sled = SledKv::open(&dir.join("sled"), options.cache_bytes)?;
    Buffered::over(Box::new(sled))
}

/// Brings the rows that were kept up to the journal, if they can be believed; makes them again otherwise.
fn open_rows(
    dir: &Path,
    kept: Result<Buffered, StoreError>,
    durable: &Durable,
    options: &OpenOptions,
) -> Result<(Buffered, RowsFound, Made), StoreError> {
    let believed = kept.and_then(|kv| {
        check_owner(&kv, durable.installation)?;
        let found = doubt(dir, &kv, durable, options)?;
        let found = match found {
            Ok(found) => Ok((found, make(&kv, durable, options)?)),
            Err(reason) => Err(reason),
        };
        Ok((kv, found))
    });
    let reason = match believed {
        Ok((kv, Ok((found, made)))) => {
            sign(&kv, durable)?;
            return Ok((kv, found, made));
        }
        Ok((kv, Err(reason))) => {
            drop(kv);
            reason
        }
        Err(
            error @ (StoreError::Incompatible(_)
            | StoreError::Locked { .. }
            | StoreError::Io { .. }),
        ) => return Err(error),
        Err(error) => error.to_string(),
    };
    tracing::warn!(reason, "the rows are made again from the journal");
    set_aside(dir)?;
    believe_again(&dir.join(ROWS_DOUBTED))?;
    let kv = open_kv(dir, options)?;
    let made = make(&kv, durable, options)?;
    sign(&kv, durable)?;
    // They go below beside the work: a process killed before that folds them again.
    kv.tidy()?;
    Ok((kv, made_again(durable, reason), made))
}

/// Rows made from the first record: of a journal that is as new as they are, or of an old one.
fn made_again(durable: &Durable, reason: String) -> RowsFound {
    if durable.journal_report.created {
        RowsFound::New
    } else {
        RowsFound::Rebuilt { reason }
    }
}

/// What bringing the rows up to the journal took.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The checkpoint they began with.
    pub(crate) restored: Restored,
    /// Records folded.
    pub(crate) folded: u64,
}

/// Brings rows up to the journal; empty ones begin with a checkpoint.
fn make(kv: &dyn Kv, durable: &Durable, options: &OpenOptions) -> Result<Made, StoreError> {
    let restored = match replay::folded(kv)?.record {
        0 => export::restore(kv, &durable.checkpoints)?,
        _ => Restored::default(),
    };
    let erase = replay::Erase {
        keys: durable.keys.as_ref(),
        all: options.erase_again,
    };
    let folded = replay::catch_up(kv, durable.records.as_ref(), &erase)?;
    keeper::keep_from(kv, durable.records.first())?;
    Ok(Made { restored, folded })
}

fn keeping(checkpoints: Checkpoints, options: &OpenOptions) -> Keeping {
    Keeping {
        checkpoints,
        every_bytes: options.checkpoint_bytes,
        retention: options.retention,
        now,
        is_here: false,
    }
}

/// # Errors: `Incompatible` if the rows belong to another installation.
fn check_owner(kv: &dyn Kv, installation: InstallationId) -> Result<(), StoreError> {
    match kv.get(&keys::meta("installation"))? {
        Some(owner) if owner != installation.0 => Err(StoreError::Incompatible(format!(
            "the folder sled belongs to installation {}, the journal to {}; put the right one in \
             place, or remove the folder to have it made again from the journal",
            hex::encode(owner),
            hex::encode(installation.0)
        ))),
        _ => Ok(()),
    }
}

/// Writes whose rows these are and during which boot they are written.
fn sign(kv: &dyn Kv, durable: &Durable) -> Result<(), StoreError> {
    let owner = durable.installation.0.to_vec();
    let batch = Batch::from([
        (keys::meta("installation"), Some(owner)),
        (keys::meta("boot"), Some(boot())),
    ]);
    kv.apply_batch(&batch)
}

/// Moves rows that are not believed out of the way; the ones before them are removed.
fn set_aside(dir: &Path) -> Result<(), StoreError> {
    let (sled, aside) = (dir.join("sled"), dir.join("sled.aside"));
    let io = |operation, file: &Path, cause| StoreError::Io {
        operation,
        file: Some(file.to_owned()),
        cause,
    };
    if aside.exists() {
        std::fs::remove_dir_all(&aside)
            .map_err(|source| io("removing the rows set aside before,", &aside, source))?;
    }
    if sled.exists() {
        std::fs::rename(&sled, &aside)
            .map_err(|source| io("setting aside the unbelievable rows", &sled, source))?;
    }
    Ok(())
}

/// Ties the store to Stripe's live or test mode, which the key tells before Stripe is asked anything; or checks that it
/// is tied to this one.
/// # Errors: `Incompatible` if it is tied to the other.
pub async fn bind_mode(store: &dyn Store, livemode: bool) -> Result<(), StoreError> {
    let word = |live: bool| if live { "live" } else { "test" };
    let mine = word(livemode);
    let bound = bind(store, "mode", mine).await?;
    if bound == mine {
        return Ok(());
    }
    Err(StoreError::Incompatible(format!(
        "this store belongs to Stripe's {bound} mode, and the key is a {mine} one; give each mode a store of its own"
    )))
}

/// Writes a fact of the installation once; what it has been since.
async fn bind(store: &dyn Store, key: &str, mine: &str) -> Result<String, StoreError> {
    const SPACE: &str = "store";
    let write = Administer {
        keeps: vec![Keep {
            space: SPACE,
            key: key.to_owned(),
            value: Some(mine.as_bytes().to_vec()),
            subject: None,
        }],
        must_be_absent: vec![(SPACE, key.to_owned())],
        ..Administer::default()
    };
    if store.administer(write).await? {
        return Ok(mine.to_owned());
    }
    let bound = store.kept(SPACE, key.to_owned()).await?;
    Ok(String::from_utf8_lossy(&bound.unwrap_or_default()).into_owned())
}

/// Ties the store to an account of Stripe's, or checks that it is tied to this one.
/// # Errors: `Incompatible` if it is tied to another.
pub async fn bind_account(store: &dyn Store, account: &str) -> Result<(), StoreError> {
    let bound = bind(store, "account", account).await?;
    if bound == account {
        return Ok(());
    }
    Err(StoreError::Incompatible(format!(
        "this store belongs to Stripe account {bound}, and the key is of {account}; give each account a store of its own"
    )))
}
