//! The ordered key-value store on disk: one sled tree.
//!
//! sled is a cache of the journal here. It is never asked to be durable before an answer, and never
//! believed to be complete (`Tally`).
//!
//! Invariants: one tree; no transactions, merge operators, `generate_id` or `flush_async`, and none of
//! sled's own batches: one holds a lock of the whole process and everything it replaced until it
//! ends. A batch of ours is written to a file first (`redo`), then row by row, and done again from
//! that file if the process ended in between. A value over 4 KiB is cut into pieces under prefix
//! `0xff`, so that no page grows large and nothing goes to sled's `blobs/`.
//! Value layout: first byte 0 = the value follows; 1 = u16 BE count of further pieces, then the
//! first piece. Piece key: 0xff, the value's key, u16 BE number.
//! Failure: sled 0.34 panics on some damage; every call is caught and answered as `Damaged`. It also panics when it
//! is let go on a disk that does not sync (`Opened`).
//! Source: measurements of sled 0.34.7 on damage, growth and flush (reliability notes F1 to F4).

use super::{Batch, Each, Kv, redo};
use crate::error::StoreError;
use crate::keys::{self, Key};
use std::fs::File;
use std::ops::{Bound, ControlFlow, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

/// Longest piece of a value.
const PIECE_BYTES_MAX: usize = 4_096;
/// Rows written before others get a turn.
const ROWS_PER_TURN: usize = 16;
const PIECES: u8 = 0xff;
/// Where sled has its log, in its folder.
const SLED_FILE: &str = "db";
/// A tree that was just dropped is held a moment longer by sled's own threads, which write behind.
const LET_GO_TRIES: u32 = 25;
const LET_GO_PAUSE: Duration = Duration::from_millis(20);
const WHOLE: u8 = 0;
const CUT: u8 = 1;

/// One sled tree.
pub(crate) struct SledKv {
    db: Opened,
    dir: PathBuf,
    /// Held for writing while pieces of cut values change, for reading while a cut value is put
    /// together: a batch is atomic for each key, but a cut value is many.
    pieces: RwLock<()>,
}

/// An open tree. sled syncs its file when the last handle goes and panics if that fails, which would end a process that
/// is about to say what its disk did. So the file is synced first, and a tree on a disk that does not sync is not let go:
/// it is left to the end of the process. Nothing is lost with it that the journal does not have.
struct Opened {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
}

impl Deref for Opened {
    type Target = sled::Db;
    fn deref(&self) -> &sled::Db {
        match &self.db {
            Some(db) => db,
            None => unreachable!("the tree is there until it is dropped"),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else {
            return;
        };
        let file = self.dir.join(SLED_FILE);
        let synced = File::open(&file).and_then(|file| file.sync_all());
        if let Err(error) = synced {
            let file = file.display();
            tracing::warn!(%file, %error, "the rows' file cannot be synced");
            std::mem::forget(db);
        } else if let Err(error) = guarded(&self.dir, || {
            drop(db);
            Ok(())
        }) {
            tracing::warn!(%error, "the rows' file was not closed well");
        }
    }
}

/// Removes sled's half-written snapshots (the rename is their commit; sled chokes on leftovers).
fn remove_unfinished_snapshots(dir: &Path) -> Result<u32, StoreError> {
    let mut removed = 0;
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(io("reading the sled directory", dir, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| io("reading the sled directory", dir, source))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let path = entry.path();
            std::fs::remove_file(&path)
                .map_err(|source| io("removing the unfinished sled snapshot", &path, source))?;
            removed += 1;
        }
    }
    Ok(removed)
}

pub(super) fn io(operation: &'static str, file: &Path, cause: std::io::Error) -> StoreError {
    StoreError::Io {
        operation,
        file: Some(file.to_owned()),
        cause,
    }
}

/// Runs a call of sled; what it panics or errs about becomes an error of ours.
fn guarded<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let damaged = |kind: String| StoreError::Damaged {
        file: dir.display().to_string(),
        offset: 0,
        kind,
    };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(classified(dir, source, damaged)),
        Ok(Err(other)) => Err(damaged(other.to_string())),
        Err(_) => Err(damaged("sled panicked".to_owned())),
    }
}

/// sled tells of damage, and of its lock, as I/O errors too.
fn classified(
    dir: &Path,
    source: std::io::Error,
    damaged: impl Fn(String) -> StoreError,
) -> StoreError {
    use std::io::ErrorKind;
    let words = source.to_string();
    match source.kind() {
        ErrorKind::Other if words.contains("acquire lock") => StoreError::Locked {
            pid: std::process::id(),
        },
        ErrorKind::Other
        | ErrorKind::InvalidData
        | ErrorKind::InvalidInput
        | ErrorKind::UnexpectedEof => damaged(words),
        _ => io("using sled in", dir, source),
    }
}

impl SledKv {
    /// Opens or makes the tree. # Errors: `Damaged`, `Io`.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        remove_unfinished_snapshots(dir)?;
        let open = || {
            guarded(dir, || {
                sled::Config::new()
                    .path(dir)
                    .cache_capacity(cache_bytes)
                    .flush_every_ms(None)
                    .mode(sled::Mode::HighThroughput)
                    .use_compression(false)
                    .open()
            })
        };
        let mut db = open();
        for _ in 0..LET_GO_TRIES {
            if !matches!(db, Err(StoreError::Locked { .. })) {
                break;
            }
            std::thread::sleep(LET_GO_PAUSE);
            db = open();
        }
        let kv = Self {
            db: Opened {
                db: Some(db?),
                dir: dir.to_owned(),
            },
            dir: dir.to_owned(),
            pieces: RwLock::new(()),
        };
        if let Some(unfinished) = redo::read(dir)? {
            kv.put_all(&unfinished)?;
            kv.flush()?;
        }
        redo::remove(dir)?;
        Ok(kv)
    }

    /// Every row of a batch; doing it twice comes to the same.
    fn put_all(&self, batch: &Batch) -> Result<(), StoreError> {
        // What the rows say about themselves comes last: should a power cut leave a part of this, the
        // old count does not fit the new rows.
        let rows = Key::new(keys::META + 1);
        let in_order = batch.range(rows.clone()..).chain(batch.range(..rows));
        for (n, (key, value)) in in_order.enumerate() {
            match value {
                Some(value) => self.put(key, value)?,
                None => self.remove(key)?,
            }
            if n.is_multiple_of(ROWS_PER_TURN) {
                // A large batch would keep a processor for milliseconds at a time.
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let (stored, rest) = cut(value)?;
        let now = pieces_of(&stored);
        if now == 0 {
            let before = self.guard(|| self.db.insert(key, stored))?;
            return self.remove_pieces(key, before.as_deref());
        }
        let _changing = self.changing();
        self.guard(|| {
            let before = self.db.insert(key, stored)?;
            for (n, piece) in (0..now).zip(rest.chunks(PIECE_BYTES_MAX)) {
                self.db.insert(piece_key(key, n), piece)?;
            }
            for n in now..before.map_or(0, |before| pieces_of(&before)) {
                self.db.remove(piece_key(key, n))?;
            }
            Ok(())
        })
    }

    fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        let before = self.guard(|| self.db.remove(key))?;
        self.remove_pieces(key, before.as_deref())
    }

    /// Removes the further pieces of a value that is no longer there. Whoever still reads them holds them until then,
    /// and whoever comes later does not find what led to them.
    fn remove_pieces(&self, key: &[u8], gone: Option<&[u8]>) -> Result<(), StoreError> {
        let pieces = gone.map_or(0, pieces_of);
        if pieces == 0 {
            return Ok(());
        }
        let _changing = self.changing();
        self.guard(|| {
            for n in 0..pieces {
                self.db.remove(piece_key(key, n))?;
            }
            Ok(())
        })
    }

    fn changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.pieces.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        guarded(&self.dir, call)
    }

    fn damaged(&self, kind: &str) -> StoreError {
        StoreError::Damaged {
            file: self.dir.display().to_string(),
            offset: 0,
            kind: kind.to_owned(),
        }
    }

    /// The whole value behind a stored one; `None` if it was removed meanwhile.
    fn assemble(&self, key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match stored.split_first() {
            Some((&WHOLE, value)) => Ok(Some(value.to_vec())),
            Some((&CUT, _)) => self.assemble_cut(key),
            _ => Err(self.damaged("a value has no known form")),
        }
    }

    /// Reads a cut value again from its first piece on, while no piece can change.
    fn assemble_cut(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let _unchanging = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let Some(stored) = self.guard(|| self.db.get(key))? else {
            return Ok(None);
        };
        let (count, head) = match &stored[..] {
            [WHOLE, value @ ..] => return Ok(Some(value.to_vec())),
            [CUT, high, low, head @ ..] => (u16::from_be_bytes([*high, *low]), head),
            _ => return Err(self.damaged("a value has no known form")),
        };
        let mut value = head.to_vec();
        for n in 0..count {
            let piece = self
                .guard(|| self.db.get(piece_key(key, n)))?
                .ok_or_else(|| self.damaged("a piece of a value is missing"))?;
            value.extend_from_slice(&piece);
        }
        Ok(Some(value))
    }
}

fn piece_key(key: &[u8], n: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 3);
    out.push(PIECES);
    out.extend_from_slice(key);
    out.extend_from_slice(&n.to_be_bytes());
    out
}

fn pieces_of(stored: &[u8]) -> u16 {
    match stored {
        [CUT, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// A value as it is stored: its first piece, and what follows under other keys.
fn cut(value: &[u8]) -> Result<(Vec<u8>, &[u8]), StoreError> {
    let mut stored = Vec::with_capacity(value.len().min(PIECE_BYTES_MAX) + 3);
    if value.len() <= PIECE_BYTES_MAX {
        stored.push(WHOLE);
        stored.extend_from_slice(value);
        return Ok((stored, &[]));
    }
    let (head, rest) = value.split_at(PIECE_BYTES_MAX);
    let count = u16::try_from(rest.len().div_ceil(PIECE_BYTES_MAX))
        .map_err(|_| StoreError::Invalid(format!("a value of {} bytes", value.len())))?;
    stored.push(CUT);
    stored.extend_from_slice(&count.to_be_bytes());
    stored.extend_from_slice(head);
    Ok((stored, rest))
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.guard(|| self.db.get(key))? {
            Some(stored) => self.assemble(key, &stored),
            None => Ok(None),
        }
    }

    fn range(
        &self,
        low: &[u8],
        high: &[u8],
        reverse: bool,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        let high = high.min(&[PIECES]);
        if low >= high {
            return Ok(());
        }
        let mut range = self.guard(|| {
            Ok(self
                .db
                .range::<&[u8], _>((Bound::Included(low), Bound::Excluded(high))))
        })?;
        loop {
            let next = self.guard(|| {
                let next = if reverse {
                    range.next_back()
                } else {
                    range.next()
                };
                next.transpose()
            })?;
            let Some((key, stored)) = next else {
                return Ok(());
            };
            let Some(value) = self.assemble(&key, &stored)? else {
                continue;
            };
            if let ControlFlow::Break(()) = each(&key, &value) {
                return Ok(());
            }
        }
    }

    fn apply_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        redo::write(&self.dir, batch)?;
        self.put_all(batch)?;
        self.flush()?;
        redo::remove(&self.dir)
    }

    fn size_bytes(&self) -> u64 {
        self.guard(|| self.db.size_on_disk()).unwrap_or(0)
    }

    fn stray_files(&self) -> u64 {
        std::fs::read_dir(self.dir.join("blobs")).map_or(0, |entries| entries.count() as u64)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.guard(|| self.db.flush()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_shrink_or_go_leave_no_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let kv = SledKv::open(dir.path(), 8 << 20).unwrap();
        let pieces = || kv.db.scan_prefix([PIECES]).count();
        let mut counts = Vec::new();
        for len in [Some(20_000), Some(9_000), Some(9), None, Some(9_000), None] {
            let value = len.map(|len| vec![7; len]);
            kv.apply_batch(&Batch::from([([1, 9].into(), value.clone())]))
                .unwrap();
            assert_eq!(kv.get(&[1, 9]).unwrap(), value);
            counts.push(pieces());
        }
        assert_eq!(counts, [4, 2, 0, 0, 2, 0]);
    }
}
