//! Mending a damaged store: what is lost, and the longest store that can still be believed.
//!
//! ```text
//! dir/recovering/           a whole store made of what can be believed; nothing in `dir` changes meanwhile
//! dir/recovering.backup/    a backup, unpacked, when one is given
//! dir/damaged.<time>/       afterwards: what was there before, for whoever wants to know why
//! ```
//!
//! Invariants
//! - A rehearsal is the real thing but for the last step, so what it tells is what will happen.
//! - Where both copies of the keys are gone the backup's take their place, and its journal: what came later is sealed
//!   under keys nobody has.
//! - Segments that are damaged are taken from the backup where it has them; what the backup had not seen yet of a
//!   segment is kept from the damaged one. The result is read like any journal: checksums, numbers, chain.
//! - The journal changes place in one step (`RENAME_EXCHANGE`). Before it, the store is refused as it was; after
//!   it, it opens. Rows go first and are made again, keys hold for both.
//! - A store that lost records is treated like an old backup: what others were told of is not told again.
//!
//! Not here: what Stripe still knows of the rest (`bursar reconcile`).
//! Failure: nothing of the journal can be believed, or both copies of the keys are gone and no backup has them:
//! [`StoreError::Damaged`]. An interrupted attempt leaves `recovering/`, which the next one removes.
//! Source: Linux `renameat2(2)`.

use crate::OpenOptions;
use crate::backup::{hold_all_back, unpack};
use crate::error::StoreError;
use crate::journal::survey::{Survey, survey};
use crate::journal::{DirLock, JournalError, cut};
use crate::record::{Entry, NewFate, NewInput, decode, time_of};
use crate::vault::{KEY_FILES, Vault};
use crate::vfs::{RealVfs, Vfs};
use bursar_domain::decision::Lane;
use bursar_domain::ids::Timestamp;
use bursar_domain::input::InputSource;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions as FileOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const JOURNAL: &str = "journal";
const KEYS: &str = "keys";
const SLED: &str = "sled";
const RECOVERING: &str = "recovering";
const UNPACKED: &str = "recovering.backup";
/// Ids that are named one by one; the rest is counted.
const NAMED_MAX: usize = 1_000;
const COPY_BYTES: usize = 1 << 20;

/// What was found, and what the mended store is.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Whether the store opens as it is; then nothing else is filled in.
    pub is_whole: bool,
    /// File, byte and what is wrong there.
    pub damages: Vec<String>,
    /// The last record of the mended store, and when it was written.
    pub kept_record: u64,
    /// When, as far as the records say.
    pub kept_until: Option<Timestamp>,
    /// The last record that had been synced; `None`: the mark that said it is damaged too.
    pub marked_record: Option<u64>,
    /// Segments taken from the backup, whole or in part.
    pub from_backup: Vec<String>,
    /// Whether the keys had to come from the backup: what was sealed under newer ones is lost.
    pub keys_from_backup: bool,
    /// Records behind the damage that can be read but rest on what is lost: first and last of each stretch.
    pub behind: Vec<(u64, u64)>,
    /// Stripe's events named in those: `evt_…`, and how many there are in all.
    pub events_behind: (Vec<String>, u64),
    /// Orders of people and programs named in those, likewise.
    pub orders_behind: (Vec<String>, u64),
    /// Small records (people, keys, settings) changed in those.
    pub kept_behind: u64,
    /// The mended store's state.
    pub state_digest: String,
    /// What is not told again, by lane.
    pub held_back: Vec<(Lane, u64)>,
    /// Where the damaged files lie, once the mended ones took their place.
    pub set_aside: Option<PathBuf>,
}

impl Recovery {
    /// The records that are not in the mended store, as far as anybody knows their number.
    #[must_use]
    pub fn lost(&self) -> Option<(u64, u64)> {
        let behind = self.behind.last().map(|(_, last)| *last);
        let last = self.marked_record.max(behind)?;
        (last > self.kept_record).then_some((self.kept_record + 1, last))
    }

    /// Whether it is known that nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.marked_record.is_some() && self.lost().is_none()
    }
}

/// Finds out what is damaged in the store in `dir` and what can be made of it, and with `apply` puts that in place.
///
/// # Errors
/// [`StoreError::Locked`]; [`StoreError::Damaged`] if nothing can be made of it; the backup's own; I/O.
pub async fn recover(
    dir: &Path,
    backup: Option<&Path>,
    apply: bool,
    options: OpenOptions,
    now: Timestamp,
) -> Result<Recovery, StoreError> {
    let lock = DirLock::acquire(&RealVfs, dir, std::process::id(), &options.socket)?;
    let scene = Scene {
        dir,
        work: dir.join(RECOVERING),
        unpacked: dir.join(UNPACKED),
    };
    scene.clean()?;
    let outcome = scene.rehearse(backup, options, now).await;
    let outcome = match outcome {
        Ok(mut recovery) if apply && !recovery.is_whole => scene.put_in_place(now).map(|aside| {
            recovery.set_aside = Some(aside);
            recovery
        }),
        other => other,
    };
    let cleaned = scene.clean();
    drop(lock);
    let recovery = outcome?;
    cleaned?;
    Ok(recovery)
}

struct Scene<'a> {
    dir: &'a Path,
    work: PathBuf,
    unpacked: PathBuf,
}

impl Scene<'_> {
    /// Removes what an attempt leaves: ours alone.
    fn clean(&self) -> Result<(), StoreError> {
        for folder in [&self.work, &self.unpacked] {
            match fs::remove_dir_all(folder) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(io_at("removing", folder)(cause));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn rehearse(
        &self,
        backup: Option<&Path>,
        options: OpenOptions,
        now: Timestamp,
    ) -> Result<Recovery, StoreError> {
        let found = survey(&RealVfs, &self.dir.join(JOURNAL), &mut |_, _, _| {});
        let found = found?.ok_or_else(|| beyond_help(self.dir, "there is no journal"))?;
        let keys = self.keys_are_whole(&found);
        let mut recovery = Recovery {
            damages: found.damages.iter().map(ToString::to_string).collect(),
            marked_record: found.marked,
            ..Recovery::default()
        };
        recovery
            .damages
            .extend(keys.as_ref().err().map(ToString::to_string));
        if recovery.damages.is_empty() {
            recovery.is_whole = true;
            recovery.kept_record = found.kept.record;
            return Ok(recovery);
        }
        if let Some(backup) = backup {
            unpack(backup, &self.unpacked)?;
            self.same_installation(&found)?;
        }
        if keys.is_err() && backup.is_none() {
            let keys = self.dir.join(KEYS);
            return Err(beyond_help(&keys, "both copies of the keys are gone"));
        }
        // Without its keys nothing later than the backup can be read.
        let source = if keys.is_err() {
            &self.unpacked
        } else {
            self.dir
        };
        recovery.from_backup = self.assemble(&found, &source.join(JOURNAL))?;
        recovery.keys_from_backup = keys.is_err();
        copy_folder(&source.join(KEYS), &self.work.join(KEYS))?;
        self.cut_where_it_ends(&mut recovery)?;
        self.open(&mut recovery, options, now).await?;
        Ok(recovery)
    }

    /// Reads what was assembled, and ends it where it can be believed.
    fn cut_where_it_ends(&self, recovery: &mut Recovery) -> Result<(), StoreError> {
        let mut seen = Seen::default();
        let journal = self.work.join(JOURNAL);
        let made = survey(&RealVfs, &journal, &mut |number, kept, bytes| {
            seen.look(number, kept, bytes);
        });
        let made = made?.ok_or_else(|| beyond_help(&journal, "nothing of the journal"))?;
        if made.kept.record == 0 {
            return Err(beyond_help(
                self.dir,
                "no record of the journal can be believed",
            ));
        }
        self.cut(&made)?;
        recovery.kept_record = made.kept.record;
        recovery.behind = made.behind;
        seen.tell(recovery);
        Ok(())
    }

    /// Opens copies of the keys: opening mends what it can, and this is a look.
    fn keys_are_whole(&self, found: &Survey) -> Result<(), JournalError> {
        let look = || -> io::Result<()> {
            make_folder(&self.work)?;
            copy_folder(&self.dir.join(KEYS), &self.work.join(KEYS)).map_err(io::Error::other)
        };
        let keys = self.work.join(KEYS);
        look().map_err(crate::journal::io_error("copying", &keys))?;
        let lock = DirLock::acquire(&RealVfs, &self.work, std::process::id(), Path::new(""))?;
        let opened = Vault::open(Arc::new(RealVfs), &keys, &lock, found.installation, false);
        opened.map(|_| ())
    }

    fn same_installation(&self, found: &Survey) -> Result<(), StoreError> {
        let theirs = cut::Cut::of(&RealVfs, &self.unpacked.join(JOURNAL))?.installation;
        if theirs == found.installation {
            return Ok(());
        }
        Err(StoreError::Incompatible(format!(
            "the backup is of installation {}, the store of {}",
            hex::encode(theirs.0),
            hex::encode(found.installation.0)
        )))
    }

    /// Puts a journal together: each segment as it is, or where it is damaged as the backup has it, and behind what
    /// the backup has of it as it is. Answers what came from the backup.
    fn assemble(&self, found: &Survey, live: &Path) -> Result<Vec<String>, StoreError> {
        let backup = self.unpacked.join(JOURNAL);
        let to = self.work.join(JOURNAL);
        fs::remove_dir_all(&self.work).map_err(io_at("removing", &self.work))?;
        make_folder(&to).map_err(io_at("creating", &to))?;
        let damaged: BTreeSet<&Path> = found.damages.iter().map(|one| one.file.as_path()).collect();
        let mut names: BTreeSet<String> = names_in(live)?;
        let mut theirs = if backup.exists() {
            names_in(&backup)?
        } else {
            BTreeSet::new()
        };
        // A checkpoint the store has let go since is no loss.
        theirs.retain(|name| cut::is_segment(name) || names.contains(name));
        names.extend(theirs.iter().cloned());
        let mut taken = Vec::new();
        for name in names
            .iter()
            .filter(|name| cut::is_journal_file(name) && *name != cut::MARK_NAME)
        {
            let (mine, other) = (live.join(name), backup.join(name));
            let is_usable = mine.exists() && !damaged.contains(mine.as_path());
            if is_usable || !theirs.contains(name) {
                if mine.exists() {
                    copy_file(&mine, &to.join(name))?;
                }
                continue;
            }
            copy_file(&other, &to.join(name))?;
            if mine.exists() {
                self.overlay(&mine, &to.join(name))?;
            }
            taken.push(name.clone());
        }
        Ok(taken)
    }

    /// Fills a segment of a backup up with what was written to it later.
    fn overlay(&self, mine: &Path, made: &Path) -> Result<(), StoreError> {
        let cut = cut::Cut::of(&RealVfs, &self.unpacked.join(JOURNAL))?;
        let name = made.file_name().unwrap_or_default();
        let Some(end) = cut.end_of(&name.to_string_lossy()) else {
            return Ok(());
        };
        let from = fs::File::open(mine).map_err(io_at("opening", mine))?;
        let to = FileOptions::new().write(true).open(made);
        let to = to.map_err(io_at("opening", made))?;
        let mut piece = vec![0; COPY_BYTES];
        let mut at = end;
        loop {
            let read = from
                .read_at(&mut piece, at)
                .map_err(io_at("reading", mine))?;
            if read == 0 {
                return Ok(());
            }
            to.write_all_at(&piece[..read], at)
                .map_err(io_at("writing", made))?;
            at += read as u64;
        }
    }

    /// Ends the assembled journal where it can be believed.
    fn cut(&self, made: &Survey) -> Result<(), StoreError> {
        let journal = self.work.join(JOURNAL);
        for name in names_in(&journal)? {
            let path = journal.join(&name);
            if cut::comes_after(&name, made.kept.segment, made.kept.record) {
                fs::remove_file(&path).map_err(io_at("removing", &path))?;
            }
        }
        let last = journal.join(cut::segment_file(made.kept.segment));
        let file = FileOptions::new().write(true).open(&last);
        let file = file.map_err(io_at("opening", &last))?;
        let size = file.metadata().map_err(io_at("measuring", &last))?.len();
        file.set_len(made.kept.end)
            .and_then(|()| file.set_len(size.max(made.kept.end)))
            .and_then(|()| file.sync_all())
            .map_err(io_at("cutting", &last))?;
        let mark = journal.join(cut::MARK_NAME);
        fs::write(&mark, made.kept.mark_bytes(made.installation)).map_err(io_at("writing", &mark))
    }

    /// Opens the mended store once: folds its rows, and holds back what others were told of.
    async fn open(
        &self,
        recovery: &mut Recovery,
        options: OpenOptions,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let options = OpenOptions {
            erase_again: true,
            check_rows: true,
            ..options
        };
        let (store, _) = crate::open_sled(&self.work, options)?;
        recovery.state_digest = store.state_digest().await?;
        if !recovery.is_complete() {
            let note = "it was due when the store was damaged, and may have been done since";
            recovery.held_back = hold_all_back(store.as_ref(), note, now).await?;
        }
        store.close().await
    }

    /// Exchanges the damaged files for the mended ones.
    fn put_in_place(&self, now: Timestamp) -> Result<PathBuf, StoreError> {
        sync_tree(&self.work)?;
        let sled = self.dir.join(SLED);
        let aside = self.work.join("sled.before");
        match fs::rename(&sled, &aside) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(io_at("setting aside", &sled)(cause));
            }
            _ => {}
        }
        for name in [KEYS, JOURNAL] {
            let (mine, made) = (self.dir.join(name), self.work.join(name));
            renameat_with(CWD, &made, CWD, &mine, RenameFlags::EXCHANGE)
                .map_err(|errno| io_at("exchanging", &mine)(errno.into()))?;
            sync(self.dir)?;
        }
        let made = self.work.join(SLED);
        fs::rename(&made, &sled).map_err(io_at("putting in place", &sled))?;
        let kept = self.dir.join(format!("damaged.{}", now.0));
        fs::rename(&self.work, &kept).map_err(io_at("naming", &kept))?;
        sync(self.dir)?;
        Ok(kept)
    }
}

/// What the records say on the way.
#[derive(Default)]
struct Seen {
    until: Option<Timestamp>,
    events: (Vec<String>, u64),
    orders: (Vec<String>, u64),
    kept: u64,
}

impl Seen {
    fn look(&mut self, _number: u64, is_kept: bool, bytes: &[u8]) {
        let Ok((entry, _)) = decode(bytes) else {
            return;
        };
        if is_kept {
            self.until = time_of(&entry).max(self.until);
            return;
        }
        match &entry {
            Entry::Accepted(inputs) => inputs.iter().for_each(|input| self.input(input)),
            Entry::Administered { keeps, .. } => self.kept += keeps.len() as u64,
            Entry::Kept(kept) => self.kept += (kept.keeps.len() + kept.sealed.len()) as u64,
            _ => {}
        }
    }

    fn input(&mut self, input: &NewInput) {
        if matches!(input.fate, NewFate::Ignored { .. }) {
            // It changed nothing, and nobody misses it.
            return;
        }
        let (list, id) = match &input.source {
            InputSource::Event(_, id) => (&mut self.events, id.as_str().to_owned()),
            InputSource::Operator(id) => (&mut self.orders, id.clone()),
            _ => return,
        };
        list.1 += 1;
        if list.0.len() < NAMED_MAX {
            list.0.push(id);
        }
    }

    fn tell(self, recovery: &mut Recovery) {
        recovery.kept_until = self.until;
        recovery.events_behind = self.events;
        recovery.orders_behind = self.orders;
        recovery.kept_behind = self.kept;
    }
}

fn beyond_help(file: &Path, kind: &str) -> StoreError {
    StoreError::Damaged {
        file: file.display().to_string(),
        offset: 0,
        kind: format!("{kind}: only a backup helps"),
    }
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>, StoreError> {
    let names = RealVfs.list(folder).map_err(io_at("listing", folder))?;
    Ok(names.into_iter().collect())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    if !fs::symlink_metadata(from).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    fs::copy(from, to)
        .map(|_| ())
        .map_err(io_at("copying", from))
}

/// Copies the key files of a folder.
fn copy_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    make_folder(to).map_err(io_at("creating", to))?;
    for name in KEY_FILES {
        if from.join(name).exists() {
            copy_file(&from.join(name), &to.join(name))?;
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    RealVfs.sync_dir(folder).map_err(io_at("syncing", folder))
}

/// Makes a folder and everything in it durable.
fn sync_tree(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(io_at("listing", folder))? {
        let path = entry.map_err(io_at("listing", folder))?.path();
        let meta = fs::symlink_metadata(&path).map_err(io_at("measuring", &path))?;
        if meta.is_dir() {
            sync_tree(&path)?;
        } else if meta.is_file() {
            let file = fs::File::open(&path).map_err(io_at("opening", &path))?;
            file.sync_all().map_err(io_at("syncing", &path))?;
        }
    }
    sync(folder)
}

fn io_at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let file = Some(path.to_owned());
    move |cause| StoreError::Io {
        operation,
        file,
        cause,
    }
}
