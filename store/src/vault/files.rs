//! The two key files: reading, comparing, appending, rewriting.
//!
//! The layout is written out in the module header of [`crate::vault`].
//!
//! **Invariants**
//! - An append goes to the first file and is synced there before the second is touched: a crash tears at most one.
//! - A rewrite raises the generation; of two whole files the higher generation counts, and within one generation the
//!   longer, of which the other must be a beginning.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretBox;
use secrecy::zeroize::Zeroizing;

use super::VaultReport;
use crate::journal::{
    Damage, DamageKind, InstallationId, JournalError, array_at, check_preamble, crc, damage,
    io_error, u32_at, u64_at,
};
use crate::vfs::{self, Access, TEMPORARY, Vfs, VfsFile};

pub(crate) const NAMES: [&str; 2] = ["keys.a", "keys.b"];
const MAGIC: &[u8; 8] = b"BURSARKV";
const HEADER_BYTES: usize = 64;
const ENTRY_HEADER_BYTES: usize = 8;
const SECRET_AT: usize = 17;
const SUBJECT_AT: usize = SECRET_AT + 32;
const KEY: u8 = 1;
const ERASED: u8 = 2;
/// The longest name of a subject. Stripe ids have at most 255 characters.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// The largest key file: some ten million customers.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One entry of a key file.
pub(super) enum Entry {
    Key {
        id: u64,
        secret: SecretBox<[u8; 32]>,
        subject: Arc<str>,
    },
    Erased {
        id: u64,
        subject_hash: [u8; 32],
    },
}

impl Entry {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Key { id, .. } | Self::Erased { id, .. } => *id,
        }
    }
}

/// Appends a key's entry to `bytes`, which will lie at `from` in the file.
pub(super) fn encode_key(
    bytes: &mut Zeroizing<Vec<u8>>,
    from: u64,
    id: u64,
    secret: &[u8; 32],
    subject: &str,
) {
    encode_entry(bytes, from, KEY, id, secret, subject);
}

/// Appends an erased key's entry.
pub(super) fn encode_erased(bytes: &mut Zeroizing<Vec<u8>>, from: u64, id: u64, hash: &[u8; 32]) {
    encode_entry(bytes, from, ERASED, id, hash, "");
}

fn encode_entry(
    bytes: &mut Zeroizing<Vec<u8>>,
    from: u64,
    kind: u8,
    id: u64,
    secret: &[u8; 32],
    subject: &str,
) {
    let at = from + bytes.len() as u64;
    let mut entry = Zeroizing::new(Vec::with_capacity(SUBJECT_AT + subject.len()));
    let len = u32::try_from(SUBJECT_AT - ENTRY_HEADER_BYTES + subject.len())
        .expect("checked when the key was made");
    entry.extend_from_slice(&len.to_le_bytes());
    entry.extend_from_slice(&[0; 4]);
    entry.push(kind);
    entry.extend_from_slice(&id.to_le_bytes());
    entry.extend_from_slice(secret);
    entry.extend_from_slice(subject.as_bytes());
    let sum = entry_sum(at, &entry);
    entry[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(&entry);
}

fn entry_sum(at: u64, entry: &[u8]) -> u32 {
    crc(&[&at.to_le_bytes(), &entry[..4], &entry[ENTRY_HEADER_BYTES..]])
}

fn decode_entry(bytes: &[u8], at: usize) -> Result<(Entry, usize), (u64, DamageKind)> {
    let here = at as u64;
    let rest = &bytes[at..];
    if rest.len() < SUBJECT_AT {
        return Err((here, DamageKind::Truncated));
    }
    let len = u32_at(rest, 0);
    let end = ENTRY_HEADER_BYTES + len as usize;
    if !(SUBJECT_AT..=SUBJECT_AT + SUBJECT_BYTES_MAX).contains(&end) || end > rest.len() {
        return Err((
            here,
            DamageKind::Length {
                found: u64::from(len),
            },
        ));
    }
    let entry = &rest[..end];
    if entry_sum(here, entry) != u32_at(entry, 4) {
        return Err((here, DamageKind::Checksum));
    }
    let id = u64_at(entry, 9);
    let secret: [u8; 32] = array_at(entry, SECRET_AT);
    let subject = std::str::from_utf8(&entry[SUBJECT_AT..]);
    let decoded = match (entry[8], subject) {
        (KEY, Ok(subject)) => {
            let secret = SecretBox::new(Box::new(secret));
            Entry::Key {
                id,
                secret,
                subject: subject.into(),
            }
        }
        (ERASED, _) => Entry::Erased {
            id,
            subject_hash: secret,
        },
        _ => return Err((here + 8, DamageKind::Magic)),
    };
    Ok((decoded, at + end))
}

pub(super) fn encode_header(installation: InstallationId, generation: u64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[0..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&1_u32.to_le_bytes());
    out[16..32].copy_from_slice(&installation.0);
    out[32..40].copy_from_slice(&generation.to_le_bytes());
    let sum = crc(&[&out[..HEADER_BYTES - 4]]);
    out[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// One copy as found: its bytes up to the first that cannot be trusted.
struct Copy {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    generation: u64,
    entries: Vec<Entry>,
    bad: Option<(u64, DamageKind)>,
}

impl Copy {
    fn read(vfs: &dyn Vfs, path: PathBuf, id: InstallationId) -> Result<Self, JournalError> {
        let missing = |path| Self {
            path,
            bytes: Zeroizing::default(),
            generation: 0,
            entries: Vec::new(),
            bad: Some((0, DamageKind::Missing)),
        };
        let file = match vfs.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(missing(path)),
            Err(error) => return Err(io_error("opening", &path)(error)),
        };
        let size = file.size().map_err(io_error("measuring", &path))?;
        let mut copy = missing(path);
        if size > FILE_BYTES_MAX {
            copy.bad = Some((FILE_BYTES_MAX, DamageKind::Length { found: size }));
            return Ok(copy);
        }
        copy.bytes.resize(usize::try_from(size).unwrap_or(0), 0);
        let read =
            vfs::read_full(&*file, &mut copy.bytes, 0).map_err(io_error("reading", &copy.path))?;
        copy.bytes.truncate(read);
        match copy.decode(id) {
            Err((
                offset,
                kind @ (DamageKind::NewerFormat { .. } | DamageKind::ForeignInstallation),
            )) => Err(damage(&copy.path, offset, kind)),
            decoded => {
                copy.bad = decoded.err();
                if let Some((offset, _)) = copy.bad {
                    copy.bytes.truncate(usize::try_from(offset).unwrap_or(0));
                }
                Ok(copy)
            }
        }
    }

    fn decode(&mut self, installation: InstallationId) -> Result<(), (u64, DamageKind)> {
        check_preamble(&self.bytes, MAGIC, HEADER_BYTES)?;
        if array_at(&self.bytes, 16) != installation.0 {
            return Err((16, DamageKind::ForeignInstallation));
        }
        self.generation = u64_at(&self.bytes, 32);
        let mut at = HEADER_BYTES;
        while at < self.bytes.len() {
            let (entry, next) = decode_entry(&self.bytes, at)?;
            self.entries.push(entry);
            at = next;
        }
        Ok(())
    }

    fn whole(&self) -> bool {
        self.bad.is_none()
    }

    fn damage(&self) -> Damage {
        let (offset, kind) = self
            .bad
            .unwrap_or((self.bytes.len() as u64, DamageKind::Truncated));
        Damage {
            file: self.path.clone(),
            offset,
            kind,
        }
    }
}

/// The two files, open for writing.
#[derive(Debug)]
pub(super) struct KeyFiles {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    installation: InstallationId,
    generation: u64,
    bytes: u64,
    files: [Arc<dyn VfsFile>; 2],
    poison: Option<String>,
}

impl KeyFiles {
    pub(super) fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        installation: InstallationId,
        may_create: bool,
    ) -> Result<(Self, Vec<Entry>, VaultReport), JournalError> {
        vfs.create_dir(dir).map_err(io_error("creating", dir))?;
        if let Some(parent) = dir.parent() {
            vfs.sync_dir(parent).map_err(io_error("syncing", parent))?;
        }
        let mut report = VaultReport {
            removed: remove_temporary(&*vfs, dir)?,
            ..Default::default()
        };
        let [a, b] = NAMES.map(|name| Copy::read(&*vfs, dir.join(name), installation));
        let (a, b) = (a?, b?);
        let none = |copy: &Copy| matches!(copy.bad, Some((_, DamageKind::Missing)));
        let good = if none(&a) && none(&b) {
            if !may_create {
                return Err(a.damage().into());
            }
            report.created = true;
            let bytes = Zeroizing::new(encode_header(installation, 1).to_vec());
            write_both(&*vfs, dir, &bytes)?;
            Copy {
                bytes,
                generation: 1,
                bad: None,
                ..a
            }
        } else {
            let (good, repaired) = choose(a, b)?;
            if let Some(repaired) = &repaired {
                let name = if repaired.file == dir.join(NAMES[0]) {
                    NAMES[0]
                } else {
                    NAMES[1]
                };
                vfs::replace(&*vfs, dir, name, &good.bytes)
                    .map_err(io_error("repairing", &repaired.file))?;
            }
            report.repaired.extend(repaired);
            good
        };
        // A name may be there only in memory: the rename worked and the sync after it did not.
        vfs.sync_dir(dir).map_err(io_error("syncing", dir))?;
        let files = Self {
            files: open_both(&*vfs, dir)?,
            vfs,
            dir: dir.to_path_buf(),
            installation,
            generation: good.generation,
            bytes: good.bytes.len() as u64,
            poison: None,
        };
        Ok((files, good.entries, report))
    }

    /// The beginning of a file of this generation.
    pub(super) fn header(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encode_header(self.installation, self.generation).to_vec())
    }

    pub(super) fn check_poison(&self) -> Result<(), JournalError> {
        match &self.poison {
            Some(cause) => Err(JournalError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    fn poisoned(&mut self, error: JournalError) -> JournalError {
        self.poison = Some(error.to_string());
        error
    }

    /// Appends entries to the first file, then the second, each synced.
    pub(super) fn append(
        &mut self,
        encode: impl FnOnce(&mut Zeroizing<Vec<u8>>, u64),
    ) -> Result<(), JournalError> {
        let mut bytes = Zeroizing::default();
        encode(&mut bytes, self.bytes);
        for (file, name) in self.files.iter().zip(NAMES) {
            let written = file
                .write_at(&bytes, self.bytes)
                .and_then(|()| file.sync_data());
            if let Err(error) = written {
                let error = io_error("appending to", &self.dir.join(name))(error);
                return Err(self.poisoned(error));
            }
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Replaces both files by the next generation and overwrites the old ones.
    pub(super) fn rewrite(
        &mut self,
        encode: impl FnOnce(&mut Zeroizing<Vec<u8>>),
    ) -> Result<(), JournalError> {
        let header = encode_header(self.installation, self.generation + 1);
        let mut bytes = Zeroizing::new(header.to_vec());
        encode(&mut bytes);
        let old_bytes = usize::try_from(self.bytes).unwrap_or(0);
        let replaced = write_both(&*self.vfs, &self.dir, &bytes)
            .and_then(|()| overwrite(&self.files, &self.dir, old_bytes))
            .and_then(|()| open_both(&*self.vfs, &self.dir));
        self.files = match replaced {
            Ok(files) => files,
            Err(error) => return Err(self.poisoned(error)),
        };
        self.generation += 1;
        self.bytes = bytes.len() as u64;
        Ok(())
    }
}

/// Decides which copy counts and what is wrong with the other.
fn choose(a: Copy, b: Copy) -> Result<(Copy, Option<Damage>), JournalError> {
    let both = |a: &Copy, b: &Copy| {
        let other_offset = b.damage().offset;
        Err(damage(
            &a.path,
            a.damage().offset,
            DamageKind::BothCopies { other_offset },
        ))
    };
    match (a.whole(), b.whole()) {
        (false, false) => both(&a, &b),
        (true, false) => Ok((a, Some(b.damage()))),
        (false, true) => Ok((b, Some(a.damage()))),
        (true, true) => {
            let newer = a.generation.cmp(&b.generation);
            let (long, short) = match newer.then(a.bytes.len().cmp(&b.bytes.len())) {
                std::cmp::Ordering::Less => (b, a),
                _ => (a, b),
            };
            if long.bytes == short.bytes {
                return Ok((long, None));
            }
            // Two whole files of one generation that say different things were not both written by us.
            if newer.is_eq() && !long.bytes.starts_with(&short.bytes) {
                return both(&long, &short);
            }
            let repaired = short.damage();
            Ok((long, Some(repaired)))
        }
    }
}

fn write_both(vfs: &dyn Vfs, dir: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    for name in NAMES {
        vfs::replace(vfs, dir, name, bytes).map_err(io_error("replacing", &dir.join(name)))?;
    }
    Ok(())
}

fn open_both(vfs: &dyn Vfs, dir: &Path) -> Result<[Arc<dyn VfsFile>; 2], JournalError> {
    let open = |name| {
        let path = dir.join(name);
        vfs.open(&path, Access::Write)
            .map_err(io_error("opening", &path))
    };
    Ok([open(NAMES[0])?, open(NAMES[1])?])
}

/// Writes zeros over files whose names are gone, so that erased keys do not linger in free blocks.
fn overwrite(files: &[Arc<dyn VfsFile>], dir: &Path, bytes: usize) -> Result<(), JournalError> {
    let zeros = vec![0; bytes];
    for file in files {
        file.write_at(&zeros, 0)
            .and_then(|()| file.sync_data())
            .map_err(io_error("overwriting the old keys in", dir))?;
    }
    Ok(())
}

fn remove_temporary(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut names = vfs.list(dir).map_err(io_error("listing", dir))?;
    names.retain(|name| name.ends_with(TEMPORARY));
    let paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    for path in &paths {
        vfs.remove(path).map_err(io_error("removing", path))?;
    }
    Ok(paths)
}
