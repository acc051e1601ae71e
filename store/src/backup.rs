//! Backups: one file that holds a consistent cut of a store, taken while it serves; and its restoration.
//!
//! ```text
//! tar       journal/<checkpoint>, journal/<segment>, …  the bytes that count, no zeros behind them
//!           journal/mark                                 the cut: which record it ends with
//!           keys                                         keys of the data subjects
//!           manifest.json                                every file with its length and SHA-256
//!           manifest.sha256                              last: SHA-256 of the manifest, hex
//! ```
//!
//! Invariants: a backup has its name only when it is whole and durable; it ends with a synced record, so it is what a
//! power cut at that moment would have left. Restoring writes nothing where something is, and the folder appears whole
//! or not at all. Rows are not in it: they are folded again, which proves the journal.
//! The file holds the subjects' keys beside what they seal: whoever has it can read everything. It is written with mode
//! 0600, and keeping it encrypted is the operator's.
//! Not here: when backups are taken.
//! Failure: nothing is left under the name asked for; an archive that is cut, changed or holds another file is refused
//! with the file's name.
//! Source: POSIX.1-2017 `pax`, "ustar Interchange Format".

use crate::api::{EffectStatus, Settle, Store};
use crate::error::StoreError;
use crate::journal::cut::{Cut, MARK_NAME, is_journal_file};
use crate::vault::{KEY_FILES, Vault};
use crate::vfs::{Access, RealVfs, Vfs};
use bursar_domain::decision::Lane;
use bursar_domain::ids::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const SEAL: &str = "manifest.sha256";
const KEYS: &str = "keys";
const JOURNAL: &str = "journal";
/// A manifest of a million segments.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Cuts that are begun before one must succeed: retention may drop a segment in between.
const CUTS_MAX: u32 = 3;
/// A SHA-256 in hex.
const SEAL_BYTES: u64 = 64;
const COPY_BYTES: usize = 1 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Layout of the archive.
    pub format: u32,
    /// Which installation: 32 hex digits.
    pub installation: String,
    /// The last record.
    pub record: u64,
    /// The journal's chain after it, hex: the `chainHead` of the store at that moment.
    pub chain_head: String,
    /// Every file, in order.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name in the archive.
    pub name: String,
    /// Its bytes in the archive.
    pub bytes: u64,
    /// Its length where it belongs; what lies behind `bytes` is zero.
    pub size: u64,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// What can be backed up: an open store's files.
#[derive(Clone)]
pub(crate) struct Source {
    dir: PathBuf,
    vault: Arc<Vault>,
}

impl Source {
    pub(crate) fn new(dir: &Path, vault: Arc<Vault>) -> Self {
        Self {
            dir: dir.join(JOURNAL),
            vault,
        }
    }

    /// Writes a backup. Blocks for as long as the journal takes to be read.
    pub(crate) fn write(&self, to: &Path) -> Result<Manifest, StoreError> {
        let unfinished = beside(to, "unfinished");
        let outcome = self.write_unfinished(to, &unfinished);
        if outcome.is_err() {
            // What went wrong is told; that nothing is left of it is a courtesy.
            let _ = std::fs::remove_file(&unfinished);
        }
        outcome
    }

    fn write_unfinished(&self, to: &Path, unfinished: &Path) -> Result<Manifest, StoreError> {
        if to.exists() {
            return Err(io_at("writing a backup over", to)(
                io::ErrorKind::AlreadyExists.into(),
            ));
        }
        for _ in 1..CUTS_MAX {
            match self.attempt(unfinished) {
                Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(manifest) => return publish(manifest, unfinished, to),
            }
        }
        publish(self.attempt(unfinished)?, unfinished, to)
    }

    fn attempt(&self, unfinished: &Path) -> Result<Manifest, StoreError> {
        let cut = Cut::of(&RealVfs, &self.dir)?;
        let file = create(unfinished)?;
        let mut archive = Archive {
            tar: tar::Builder::new(io::BufWriter::with_capacity(COPY_BYTES, file)),
            path: unfinished,
            entries: Vec::new(),
        };
        for one in &cut.files {
            let mut reader = FileReader::open(&self.dir.join(&one.name), one.bytes)?;
            archive.add(
                &format!("{JOURNAL}/{}", one.name),
                one.bytes,
                one.size,
                &mut reader,
            )?;
            bursar_domain::step!("KS5");
        }
        let mark = cut.mark_bytes();
        archive.add_bytes(&format!("{JOURNAL}/{MARK_NAME}"), &mark)?;
        // After the records: every key that seals one of them is there by then.
        archive.add_bytes(KEYS, &self.vault.file())?;
        let manifest = Manifest {
            format: FORMAT,
            installation: hex::encode(cut.installation.0),
            record: cut.record,
            chain_head: hex::encode(cut.chain),
            files: archive.entries.clone(),
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        archive.add_bytes(MANIFEST, &text)?;
        archive.add_bytes(SEAL, hex::encode(Sha256::digest(&text)).as_bytes())?;
        archive.finish()?;
        Ok(manifest)
    }
}

/// An archive being written.
struct Archive<'a> {
    tar: tar::Builder<io::BufWriter<File>>,
    path: &'a Path,
    entries: Vec<Entry>,
}

impl Archive<'_> {
    fn add(
        &mut self,
        name: &str,
        bytes: u64,
        size: u64,
        reader: &mut dyn Read,
    ) -> Result<(), StoreError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        let mut reader = Hashing::new(reader.take(bytes));
        let added = self.tar.append_data(&mut header, name, &mut reader);
        added.map_err(io_at("writing", self.path))?;
        if reader.bytes != bytes {
            let cause = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{name} is shorter than it was"),
            );
            return Err(io_at("reading", self.path)(cause));
        }
        self.entries.push(Entry {
            name: name.to_owned(),
            bytes,
            size,
            sha256: reader.sha256(),
        });
        Ok(())
    }

    fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let len = bytes.len() as u64;
        self.add(name, len, len, &mut &bytes[..])
    }

    fn finish(self) -> Result<(), StoreError> {
        let io = || io_at("writing", self.path);
        let writer = self.tar.into_inner().map_err(io())?;
        let file = writer
            .into_inner()
            .map_err(|error| io()(error.into_error()))?;
        file.sync_all().map_err(io())
    }
}

/// Reads a file of the journal through the rules its owner opens it by.
struct FileReader {
    file: Arc<dyn crate::vfs::VfsFile>,
    at: u64,
}

impl FileReader {
    fn open(path: &Path, _bytes: u64) -> Result<Self, StoreError> {
        let file = RealVfs.open(path, Access::Read);
        let file = file.map_err(io_at("opening", path))?;
        Ok(Self { file, at: 0 })
    }
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Counts and hashes what passes.
struct Hashing<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            bytes: 0,
        }
    }
    fn sha256(self) -> String {
        hex::encode(self.digest.finalize())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.digest.update(&buf[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Gives a finished backup its name.
fn publish(manifest: Manifest, unfinished: &Path, to: &Path) -> Result<Manifest, StoreError> {
    std::fs::hard_link(unfinished, to).map_err(io_at("naming", to))?;
    std::fs::remove_file(unfinished).map_err(io_at("removing", unfinished))?;
    sync_folder_of(to)?;
    Ok(manifest)
}

/// Unpacks a backup into `dir`, which must not be there or be empty. Nothing is opened: see [`crate::open_sled`] with
/// `erase_again`.
///
/// # Errors
/// [`StoreError::Invalid`]: the archive is cut, changed, of another format, or holds a file no backup has;
/// [`StoreError::Io`], also when something is in `dir`.
pub fn unpack(from: &Path, dir: &Path) -> Result<Manifest, StoreError> {
    let is_empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if dir.exists() && !is_empty {
        return Err(io_at("restoring over", dir)(
            io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let unfinished = beside(dir, "restoring");
    if unfinished.exists() {
        // Ours alone: an earlier attempt that was broken off.
        std::fs::remove_dir_all(&unfinished).map_err(io_at("removing", &unfinished))?;
    }
    let outcome = unpack_into(from, &unfinished).and_then(|manifest| {
        if dir.exists() {
            std::fs::remove_dir(dir).map_err(io_at("replacing", dir))?;
        }
        std::fs::rename(&unfinished, dir).map_err(io_at("naming", dir))?;
        sync_folder_of(dir)?;
        Ok(manifest)
    });
    if outcome.is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    outcome
}

/// What a restoration came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup holds.
    pub manifest: Manifest,
    /// The state's digest once its rows were folded again.
    pub state_digest: String,
    /// Effects that were not performed when the backup was taken, and are not now: by lane.
    pub held_back: Vec<(Lane, u64)>,
}

/// What is not done again: people and programs were told of it by the system that went on, or it is too late to tell.
/// Orders to Stripe are not among these: each has its key, and asks before it acts again.
pub(crate) const TOLD_BEFORE: [Lane; 3] = [Lane::Mail, Lane::Notify, Lane::Alert];
const HELD_AT_ONCE: usize = 256;

/// Makes a store of a backup: unpacks it, folds its rows, compares the journal's end with the manifest, forgets again
/// whose keys were erased, and holds back what is told to people and programs. `dir` must not be there or be empty.
///
/// # Errors
/// As [`unpack`] and [`crate::open_sled`]; [`StoreError::Invalid`] if what was folded is not what was backed up.
pub async fn restore(
    from: &Path,
    dir: &Path,
    options: crate::OpenOptions,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    let manifest = unpack(from, dir)?;
    let options = crate::OpenOptions {
        erase_again: true,
        check_rows: true,
        ..options
    };
    let (store, _) = crate::open_sled(dir, options)?;
    let (record, chain) = store.chain_head().await?;
    if (record, &chain) != (manifest.record, &manifest.chain_head) {
        return Err(refused(format!(
            "its journal ends with record {record}, not {}",
            manifest.record
        )));
    }
    let state_digest = store.state_digest().await?;
    let note = "it was due when the backup was taken that this store was restored from";
    let held_back = hold_all_back(store.as_ref(), note, now).await?;
    store.close().await?;
    Ok(Restored {
        manifest,
        state_digest,
        held_back,
    })
}

/// Settles what others were told of already as skipped; how much of each lane.
pub(crate) async fn hold_all_back(
    store: &dyn Store,
    note: &str,
    now: Timestamp,
) -> Result<Vec<(Lane, u64)>, StoreError> {
    let mut held_back = Vec::new();
    for lane in TOLD_BEFORE {
        let held = hold_back(store, lane, note, now).await?;
        held_back.extend((held > 0).then_some((lane, held)));
    }
    Ok(held_back)
}

/// Settles every effect of a lane as skipped.
async fn hold_back(
    store: &dyn Store,
    lane: Lane,
    note: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut held = 0;
    loop {
        let due = store
            .due_effects(lane, Timestamp(i64::MAX), HELD_AT_ONCE)
            .await?;
        if due.is_empty() {
            return Ok(held);
        }
        for effect in due {
            let settle = Settle {
                id: effect.id,
                status: EffectStatus::Skipped,
                note: note.to_owned(),
                at: now,
                result: None,
            };
            store.settle(settle).await?;
            held += 1;
        }
    }
}

fn unpack_into(from: &Path, dir: &Path) -> Result<Manifest, StoreError> {
    for folder in [dir.to_owned(), dir.join(JOURNAL), dir.join(KEYS)] {
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&folder);
        made.map_err(io_at("creating", &folder))?;
    }
    let file = File::open(from).map_err(io_at("opening", from))?;
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(COPY_BYTES, file));
    let mut found: Vec<(String, String, u64)> = Vec::new();
    let mut text: Option<Vec<u8>> = None;
    let mut seal: Option<Vec<u8>> = None;
    let unreadable = |error: io::Error| refused(format!("it cannot be read: {error}"));
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path_bytes();
        let name = String::from_utf8_lossy(&name).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(refused(format!("{name} is no plain file")));
        }
        match (name.as_str(), &text, &seal) {
            (MANIFEST, None, None) => text = Some(small(&mut entry, MANIFEST_BYTES_MAX)?),
            (SEAL, Some(_), None) => seal = Some(small(&mut entry, SEAL_BYTES)?),
            (_, None, None) => found.push(unpack_one(&name, &mut entry, dir)?),
            _ => return Err(refused(format!("{name} comes after its manifest"))),
        }
    }
    let (Some(text), Some(seal)) = (text, seal) else {
        return Err(refused("it ends before its manifest".to_owned()));
    };
    if hex::encode(Sha256::digest(&text)).as_bytes() != seal {
        return Err(refused("its manifest is not what was written".to_owned()));
    }
    let manifest = parse(&text)?;
    let told = manifest.files.iter();
    let told: Vec<_> = told
        .map(|one| (one.name.clone(), one.sha256.clone(), one.bytes))
        .collect();
    if let Some((name, ..)) = found
        .iter()
        .zip(&told)
        .find(|(is, told)| is != told)
        .map(|(is, _)| is)
    {
        return Err(refused(format!(
            "{name} is not what it was when the backup was taken"
        )));
    }
    if found.len() != told.len() {
        return Err(refused("files are missing from it".to_owned()));
    }
    complete(&manifest, dir)?;
    Ok(manifest)
}

/// Writes one file where it belongs; its name, SHA-256 and length.
fn unpack_one(
    name: &str,
    entry: &mut impl Read,
    dir: &Path,
) -> Result<(String, String, u64), StoreError> {
    let place =
        place_of(name, dir).ok_or_else(|| refused(format!("no backup has a file {name}")))?;
    let mut reader = Hashing::new(entry);
    let mut out = create(&place)?;
    io::copy(&mut reader, &mut out)
        .map_err(|error| refused(format!("{name} cannot be read: {error}")))?;
    let bytes = reader.bytes;
    Ok((name.to_owned(), reader.sha256(), bytes))
}

fn small(entry: &mut impl Read, most: u64) -> Result<Vec<u8>, StoreError> {
    let mut text = Vec::new();
    let read = entry.take(most).read_to_end(&mut text);
    read.map_err(|error| refused(format!("its manifest cannot be read: {error}")))?;
    Ok(text)
}

fn parse(text: &[u8]) -> Result<Manifest, StoreError> {
    let manifest: Manifest = serde_json::from_slice(text)
        .map_err(|error| refused(format!("its manifest cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        let format = manifest.format;
        return Err(StoreError::Incompatible(format!(
            "the backup has format {format}; this program reads format {FORMAT}"
        )));
    }
    Ok(manifest)
}

/// Where a file of an archive belongs; none for a name no backup has.
fn place_of(name: &str, dir: &Path) -> Option<PathBuf> {
    if name == KEYS {
        return Some(dir.join(KEYS).join(KEY_FILES[0]));
    }
    let file = name.strip_prefix("journal/")?;
    is_journal_file(file).then(|| dir.join(JOURNAL).join(file))
}

/// Gives files their whole lengths, the keys their second copy, and makes everything durable.
fn complete(manifest: &Manifest, dir: &Path) -> Result<(), StoreError> {
    for one in &manifest.files {
        let Some(path) = place_of(&one.name, dir) else {
            continue;
        };
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(io_at("opening", &path))?;
        file.set_len(one.size.max(one.bytes))
            .and_then(|()| file.sync_all())
            .map_err(io_at("syncing", &path))?;
    }
    let keys = dir.join(KEYS);
    let [first, second] = KEY_FILES.map(|name| keys.join(name));
    let bytes = std::fs::read(&first).map_err(io_at("reading", &first))?;
    let mut copy = create(&second)?;
    copy.write_all(&bytes)
        .and_then(|()| copy.sync_all())
        .map_err(io_at("writing", &second))?;
    for folder in [dir.join(JOURNAL), keys, dir.to_owned()] {
        RealVfs
            .sync_dir(&folder)
            .map_err(io_at("syncing", &folder))?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(io_at("creating", path))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{ending}"));
    path.with_file_name(name)
}

fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    RealVfs.sync_dir(folder).map_err(io_at("syncing", folder))
}

fn refused(why: String) -> StoreError {
    StoreError::Invalid(format!("the backup is not whole: {why}"))
}

fn io_at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let file = Some(path.to_owned());
    move |cause| StoreError::Io {
        operation,
        file,
        cause,
    }
}
