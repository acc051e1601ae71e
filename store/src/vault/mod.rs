//! Keys for personal data, one per subject, so that erasing a key erases what an append-only journal must keep.
//!
//! Two files with the same content, `keys.a` and `keys.b`. Numbers are little-endian, CRC is CRC-32 (IEEE 802.3).
//!
//! ```text
//! file      0    8  magic "BURSARKV"          entry   0   4  length of bytes 8..
//!           8    4  format version = 1                4   4  CRC of the entry's offset u64, length, bytes 8..
//!           12   4  zero                              8   1  1 = key, 2 = erased
//!           16  16  installation id                   9   8  key id, from 1, never used again
//!           32   8  generation: one more with         17 32  key: the key; erased: SHA-256 of installation
//!                   every rewrite                                id and subject
//!           40  20  zero                              49  …  key: the subject, UTF-8
//!           60   4  CRC of bytes 0..60
//!           64   …  entries to the end            sealed  0   1  format version = 1
//!                                                         1   1  bit 0: LZ4 (size u32, block) before sealing
//!                                                         2   8  key id
//!                                                         10 12  nonce
//!                                                         22  …  AES-256-GCM ciphertext, 16-byte tag
//! ```
//!
//! What is authenticated beside the plaintext: bytes 0..10 of the sealed form, then what the caller names.
//!
//! **Invariants**
//! - A key is durable in both files before [`Vault::sync_new_keys`] returns; the committer calls that before it
//!   *appends* the first group sealed with the key: appended bytes may survive a crash even unsynced, and then
//!   their key must exist.
//! - A key id is never given twice; an erased id stays known, so "erased" and "lost" are never confused.
//! - Keys are overwritten in memory when dropped and never printed.
//! - Nonces are random, 96 bits: with one key per customer a key seals far fewer than 2^32 texts.
//!
//! **Not here**: which subject an event has (`domain`), who may erase (`actors`).
//!
//! **Failure**: one damaged copy is rewritten from the other and reported; two are [`JournalError::Damage`]. A failed
//! write or sync poisons the vault: [`JournalError::Poisoned`] until it is opened again. Erasing replaces both files
//! and overwrites the old ones once the new names are durable; what a copying file system or a backup keeps of them
//! is out of reach, so a restore must erase again.
//!
//! **Source**: NIST SP 800-38D section 8.3 (random nonces, at most 2^32 per key).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox};

use crate::journal::{Damage, DirLock, InstallationId, JournalError};
use crate::vfs::Vfs;

mod files;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use files::NAMES as KEY_FILES;
pub use files::SUBJECT_BYTES_MAX;
use files::{Entry, KeyFiles};
pub use seal::{PLAIN_BYTES_MAX, UnsealError};

/// What opening a vault found and repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultReport {
    /// Whether there was none.
    pub created: bool,
    /// Usable keys.
    pub keys: usize,
    /// Erased keys.
    pub erased: usize,
    /// Damage to one copy, repaired from the other.
    pub repaired: Vec<Damage>,
    /// Half-written files that were removed.
    pub removed: Vec<PathBuf>,
}

/// The key of one subject.
struct Key {
    secret: SecretBox<[u8; 32]>,
    subject: Arc<str>,
}

#[derive(Default)]
struct Keys {
    by_subject: HashMap<Arc<str>, u64>,
    by_id: BTreeMap<u64, Key>,
    /// Erased ids with the hash of their subject.
    erased: BTreeMap<u64, [u8; 32]>,
    /// Keys that are in use but not yet in the files.
    unsynced: Vec<u64>,
    last_id: u64,
}

/// The open vault. Sealing and unsealing may happen on any number of threads.
pub struct Vault {
    installation: InstallationId,
    keys: RwLock<Keys>,
    /// Held while the files change, so two callers cannot interleave.
    files: Mutex<KeyFiles>,
}

impl Vault {
    /// Opens the vault in `dir`. The lock is that of the data directory.
    ///
    /// `may_create` must be true only while the journal holds no record: afterwards a missing vault is damage.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when both copies are unusable, or missing and `may_create` is false;
    /// [`JournalError::Io`].
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        _lock: &DirLock,
        installation: InstallationId,
        may_create: bool,
    ) -> Result<(Self, VaultReport), JournalError> {
        let (files, entries, mut report) = KeyFiles::open(vfs, dir, installation, may_create)?;
        let mut keys = Keys::default();
        for entry in entries {
            keys.last_id = keys.last_id.max(entry.id());
            match entry {
                Entry::Key {
                    id,
                    secret,
                    subject,
                } => {
                    keys.by_subject.insert(Arc::clone(&subject), id);
                    keys.by_id.insert(id, Key { secret, subject });
                }
                Entry::Erased { id, subject_hash } => {
                    keys.erased.insert(id, subject_hash);
                }
            }
        }
        (report.keys, report.erased) = (keys.by_id.len(), keys.erased.len());
        let vault = Self {
            installation,
            keys: RwLock::new(keys),
            files: Mutex::new(files),
        };
        Ok((vault, report))
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts `plain` under the subject's key, making the key when there is none.
    ///
    /// `aad` is authenticated and not stored; unsealing needs the same bytes. A new key is only in memory until
    /// [`Vault::sync_new_keys`].
    ///
    /// # Errors
    /// [`UnsealError::TooLarge`] over [`PLAIN_BYTES_MAX`] or for a subject over [`SUBJECT_BYTES_MAX`];
    /// [`UnsealError::NoRandomness`].
    pub fn seal(&self, subject: &str, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let compressed = seal::compress(plain)?;
        {
            let keys = self.read();
            if let Some((id, key)) = keys.find(subject) {
                return seal::seal(key, id, aad, compressed);
            }
        }
        let mut keys = self.write();
        let id = match keys.find(subject) {
            Some((id, _)) => id,
            None => keys.make(subject)?,
        };
        let key = &keys.by_id[&id].secret;
        seal::seal(key, id, aad, compressed)
    }

    /// Decrypts what [`Vault::seal`] made.
    ///
    /// # Errors
    /// [`UnsealError::Erased`] when the key was erased; [`UnsealError::UnknownKey`] when it never was here, which is
    /// damage; [`UnsealError::Damaged`] when the bytes or `aad` are not those that were sealed.
    pub fn unseal(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let id = seal::key_id(sealed)?;
        let keys = self.read();
        match keys.by_id.get(&id) {
            Some(key) => seal::unseal(&key.secret, aad, sealed),
            None if keys.erased.contains_key(&id) => Err(UnsealError::Erased),
            None => Err(UnsealError::UnknownKey { key_id: id }),
        }
    }

    /// Makes the keys made since the last call durable in both files. Costs nothing when there are none.
    ///
    /// # Errors
    /// [`JournalError::Io`]; nothing sealed with those keys may then be committed, and the vault is poisoned.
    pub fn sync_new_keys(&self) -> Result<(), JournalError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.check_poison()?;
        if self.read().unsynced.is_empty() {
            return Ok(());
        }
        let unsynced = std::mem::take(&mut self.write().unsynced);
        let encode = |bytes: &mut Zeroizing<Vec<u8>>, from: u64| {
            let keys = self.read();
            for (id, key) in unsynced
                .iter()
                .filter_map(|id| Some((*id, keys.by_id.get(id)?)))
            {
                files::encode_key(bytes, from, id, key.secret.expose_secret(), &key.subject);
            }
        };
        files.append(encode)
    }

    /// Erases the subject's key; everything sealed with it answers [`UnsealError::Erased`] from here on.
    ///
    /// Gives whether there was a key. Otherwise as [`Vault::erase_all`].
    ///
    /// # Errors
    /// As [`Vault::erase_all`].
    pub fn erase(&self, subject: &str) -> Result<bool, JournalError> {
        Ok(self.erase_all([subject])? > 0)
    }

    /// Erases the keys of several subjects in one rewrite, and gives how many there were.
    ///
    /// Both files are durable without them when this returns. A later seal for a subject makes a new key. Costs two
    /// files' worth of writing when there is anything to erase, nothing otherwise.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the keys are gone from memory, and the vault is poisoned. Opening it again may bring
    /// them back: erase again then.
    pub fn erase_all<'a>(
        &self,
        subjects: impl IntoIterator<Item = &'a str>,
    ) -> Result<usize, JournalError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.check_poison()?;
        let mut count = 0;
        {
            let keys = &mut *self.write();
            for subject in subjects {
                let Some(id) = keys.by_subject.remove(subject) else {
                    continue;
                };
                keys.by_id.remove(&id);
                let hash = subject_hash(self.installation, subject);
                keys.erased.insert(id, hash);
                count += 1;
            }
            if count == 0 {
                return Ok(0);
            }
            // The rewrite below holds every key there is.
            keys.unsynced.clear();
        }
        files.rewrite(|bytes| self.read().encode(bytes))?;
        Ok(count)
    }

    /// Gives a whole key file: every key there is now, as either copy holds it.
    pub(crate) fn file(&self) -> Zeroizing<Vec<u8>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = files.header();
        self.read().encode(&mut bytes);
        bytes
    }

    /// Tells whether a key of this subject was ever erased.
    #[must_use]
    pub fn was_erased(&self, subject: &str) -> bool {
        let hash = subject_hash(self.installation, subject);
        self.read().erased.values().any(|erased| *erased == hash)
    }
}

impl fmt::Debug for Vault {
    /// Counts only: subjects are customers' ids and keys are keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("keys", &self.read().by_id.len())
            .finish_non_exhaustive()
    }
}

impl Keys {
    fn find(&self, subject: &str) -> Option<(u64, &SecretBox<[u8; 32]>)> {
        let id = *self.by_subject.get(subject)?;
        Some((id, &self.by_id.get(&id)?.secret))
    }

    fn make(&mut self, subject: &str) -> Result<u64, UnsealError> {
        if subject.len() > SUBJECT_BYTES_MAX {
            return Err(UnsealError::TooLarge {
                bytes: subject.len(),
            });
        }
        let mut drawn = Ok(());
        let secret = SecretBox::init_with_mut(|secret: &mut [u8; 32]| {
            drawn = SystemRandom::new().fill(secret);
        });
        drawn.map_err(|_| UnsealError::NoRandomness)?;
        let id = self.last_id + 1;
        let subject: Arc<str> = subject.into();
        self.by_subject.insert(Arc::clone(&subject), id);
        self.by_id.insert(id, Key { secret, subject });
        self.unsynced.push(id);
        self.last_id = id;
        Ok(id)
    }

    fn encode(&self, bytes: &mut Zeroizing<Vec<u8>>) {
        for (id, hash) in &self.erased {
            files::encode_erased(bytes, 0, *id, hash);
        }
        for (id, key) in &self.by_id {
            files::encode_key(bytes, 0, *id, key.secret.expose_secret(), &key.subject);
        }
    }
}

fn subject_hash(installation: InstallationId, subject: &str) -> [u8; 32] {
    crate::journal::sha256(&[&installation.0, subject.as_bytes()])
}

/// The subject of an event that names none: one key per month.
#[must_use]
pub fn month_subject(year: i16, month: i8) -> String {
    format!("month:{year:04}-{month:02}")
}
