//! A batch on its way into sled, in a file beside it: what makes many small writes one.
//!
//! ```text
//! bytes 0..4    "redo"
//! bytes 4..8    CRC-32 of what follows, LE
//! bytes 8..16   length of what follows, LE
//! bytes 16..    postcard of the rows, puts and deletes
//! ```
//!
//! Invariants: the file is whole before the first row is written and goes after the last one was
//! handed to the operating system; a file that is not whole means that no row was written.
//! Not here: power cuts. After one, every row is counted before any is believed (`open`); what the rows
//! say about themselves is written last for that reason.

use super::Batch;
use super::sled::io;
use crate::error::StoreError;
use crate::keys::Key;
use serde::{Serialize, Serializer};
use serde_bytes::Bytes;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"redo";
const HEAD_BYTES: usize = 16;
/// What a row takes beside its key and its value, about.
const LENGTHS_BYTES: usize = 8;

fn path(dir: &Path) -> PathBuf {
    dir.join("redo")
}

/// A batch as it is written: its values at once and not byte by byte.
struct Rows<'a>(&'a Batch);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let rows = self.0.iter();
        to.collect_map(rows.map(|(key, value)| (key, value.as_deref().map(Bytes::new))))
    }
}

/// Writes the batch down.
pub(super) fn write(dir: &Path, batch: &Batch) -> Result<(), StoreError> {
    let cost = |(key, value): (&Key, &Option<Vec<u8>>)| {
        LENGTHS_BYTES + key.len() + value.as_ref().map_or(0, Vec::len)
    };
    let mut file = Vec::with_capacity(HEAD_BYTES + batch.iter().map(cost).sum::<usize>());
    file.resize(HEAD_BYTES, 0);
    file = postcard::to_extend(&Rows(batch), file)
        .map_err(|error| StoreError::Invalid(format!("rows cannot be written down: {error}")))?;
    let (head, rows) = file.split_at_mut(HEAD_BYTES);
    head[..4].copy_from_slice(MAGIC);
    head[4..8].copy_from_slice(&crc32fast::hash(rows).to_le_bytes());
    head[8..].copy_from_slice(&(rows.len() as u64).to_le_bytes());
    let to = path(dir);
    std::fs::write(&to, &file).map_err(|cause| io("writing down a batch of rows", &to, cause))
}

/// A batch that was begun and perhaps not finished.
pub(super) fn read(dir: &Path) -> Result<Option<Batch>, StoreError> {
    let from = path(dir);
    let file = match std::fs::read(&from) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(io("reading an unfinished batch of rows", &from, cause)),
    };
    let Some((head, rows)) = file.split_at_checked(HEAD_BYTES) else {
        return Ok(None);
    };
    let is_whole = &head[..4] == MAGIC
        && head[4..8] == crc32fast::hash(rows).to_le_bytes()
        && head[8..] == (rows.len() as u64).to_le_bytes();
    Ok(if is_whole {
        postcard::from_bytes(rows).ok()
    } else {
        None
    })
}

/// The batch is done.
pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
    let done = path(dir);
    match std::fs::remove_file(&done) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(io("removing a finished batch of rows", &done, cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Kv, SledKv};

    fn batch() -> Batch {
        Batch::from([
            ([2, 1].into(), Some(vec![7; 9_000])),
            ([2, 2].into(), None),
            ([2, 3].into(), Some(b"new".to_vec())),
        ])
    }

    #[test]
    fn a_batch_that_was_begun_is_finished_at_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let kv = SledKv::open(dir.path(), 8 << 20).unwrap();
        let before = Batch::from([
            ([2, 2].into(), Some(vec![1])),
            ([2, 3].into(), Some(vec![1])),
        ]);
        kv.apply_batch(&before).unwrap();
        drop(kv);
        // The process ended after the first of three rows.
        write(dir.path(), &batch()).unwrap();
        let kv = SledKv::open(dir.path(), 8 << 20).unwrap();
        assert_eq!(kv.get(&[2, 1]).unwrap(), Some(vec![7; 9_000]));
        assert_eq!(kv.get(&[2, 2]).unwrap(), None);
        assert_eq!(kv.get(&[2, 3]).unwrap(), Some(b"new".to_vec()));
        assert!(read(dir.path()).unwrap().is_none(), "it was removed");
    }

    #[test]
    fn rows_are_written_as_they_are_read() {
        let written = postcard::to_stdvec(&Rows(&batch())).unwrap();
        assert_eq!(written, postcard::to_stdvec(&batch()).unwrap());
    }

    #[test]
    fn a_torn_or_changed_file_is_no_batch() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &batch()).unwrap();
        let whole = std::fs::read(path(dir.path())).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(batch()));
        let mut taken = 0;
        for cut in 0..whole.len() {
            std::fs::write(path(dir.path()), &whole[..cut]).unwrap();
            taken += usize::from(read(dir.path()).unwrap().is_some());
        }
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            std::fs::write(path(dir.path()), &changed).unwrap();
            taken += usize::from(read(dir.path()).unwrap().is_some());
        }
        assert_eq!(taken, 0);
    }
}
