//! What a checkpoint holds: every row, in pieces; and how rows are made from it again.
//!
//! ```text
//! first piece   00, u32 LE version of keys and values (`PROJECTIONS`)
//! rows          01, then per row: u32 LE length of the key, u32 LE length of the value + 1, key, value;
//!               a length of 0 says that the row was removed
//! last piece    02, `End`
//! ```
//!
//! Invariants: pieces are applied in order and a later row replaces an earlier one; rows about the rows themselves
//! (`keys::META`) are in `End` alone. What was made is counted against `End`'s tally before anything says that it is
//! there, so a half-made store is empty for the next opening.
//! Not here: the file around the pieces (`journal::checkpoint`), when one is written (`keeper`).
//! Failure: rows that do not come to the tally are damage of the checkpoint's file.

use super::committer::{Folded, close_batch};
use super::layouts::{OLDEST_READ, bring_up, remove};
use super::replay::{count, count_by};
use crate::error::StoreError;
use crate::journal::{Checkpoint, Checkpoints};
use crate::keys;
use crate::kv::{Batch, Kv, Tally};
use crate::shapes::{Counters, PROJECTIONS, pack, unpack};
use serde::{Deserialize, Serialize};

const LAYOUT: u8 = 0;
const ROWS: u8 = 1;
const END: u8 = 2;

/// The first piece.
pub(super) fn layout() -> Vec<u8> {
    let mut piece = vec![LAYOUT];
    piece.extend_from_slice(&PROJECTIONS.to_le_bytes());
    piece
}

/// A piece of rows being filled.
pub(super) struct Rows(Vec<u8>);

impl Rows {
    pub(super) fn new() -> Self {
        Self(vec![ROWS])
    }

    /// Adds a row, or says that it was removed.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1);
        let of_value = value.map_or(0, |value| length(value) + 1);
        self.0.extend_from_slice(&length(key).to_le_bytes());
        self.0.extend_from_slice(&of_value.to_le_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value.unwrap_or_default());
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// The piece; the next one is empty.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.0, vec![ROWS])
    }
}

/// What the rows say about themselves.
#[derive(Serialize, Deserialize)]
struct End {
    counters: Counters,
    tally: Tally,
    record: u64,
}

/// The last piece.
pub(super) fn end(folded: &Folded) -> Result<Vec<u8>, StoreError> {
    let mut piece = vec![END];
    piece.extend(pack(&End {
        counters: folded.counters.clone(),
        tally: folded.tally.clone(),
        record: folded.record,
    })?);
    Ok(piece)
}

/// What empty rows were made from.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The record after which the checkpoint stands; `None`: the journal's first records are to be folded.
    pub(crate) record: Option<u64>,
    /// Newer checkpoints that could not be used, and why.
    pub(crate) damaged: Vec<String>,
}

/// Fills empty rows from the newest checkpoint that can be used.
/// # Errors: none can be used and the journal's first records were dropped; `Io`.
pub(crate) fn restore(kv: &dyn Kv, checkpoints: &Checkpoints) -> Result<Restored, StoreError> {
    let mut out = Restored::default();
    let mut worst = None;
    for record in checkpoints.records()? {
        let opened = checkpoints.open(record).map_err(StoreError::from);
        let tried = opened.and_then(|found| match found {
            Some(checkpoint) => load(kv, &checkpoint).map(|()| true),
            // It leads nowhere: the records after it were dropped.
            None => Ok(false),
        });
        match tried {
            Ok(true) => {
                out.record = Some(record);
                return Ok(out);
            }
            Ok(false) => {}
            Err(error @ (StoreError::Damaged { .. } | StoreError::Incompatible(_))) => {
                tracing::error!(%error, "a checkpoint cannot be used; the one before it, or the whole journal, is");
                out.damaged.push(error.to_string());
                worst.get_or_insert(error);
                clear(kv)?;
            }
            Err(error) => return Err(error),
        }
    }
    let (first, _) = checkpoints.reads().bounds();
    if first == 1 {
        return Ok(out);
    }
    Err(worst.unwrap_or_else(|| StoreError::Damaged {
        file: "journal".to_owned(),
        offset: 0,
        kind: format!("the records before {first} were dropped and no checkpoint holds them"),
    }))
}

/// Fills empty rows from one checkpoint.
fn load(kv: &dyn Kv, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let wrong = |kind: &str| StoreError::Damaged {
        file: checkpoint.path().display().to_string(),
        offset: 0,
        kind: kind.to_owned(),
    };
    let mut pieces = checkpoint.pieces();
    let layout = pieces.next().transpose()?.unwrap_or_default();
    let version = match layout.split_first() {
        Some((&LAYOUT, version)) => version.try_into().map_or(0, u32::from_le_bytes),
        _ => return Err(wrong("does not begin with its layout")),
    };
    if !(OLDEST_READ..=PROJECTIONS).contains(&version) {
        return Err(StoreError::Incompatible(format!(
            "the rows in {} have layout {version}, this program reads {OLDEST_READ} to {PROJECTIONS}; start the version that \
             wrote them",
            checkpoint.path().display(),
        )));
    }
    let mut said: Option<End> = None;
    for piece in pieces {
        let piece = piece?;
        match (piece.split_first(), &said) {
            (Some((&ROWS, rows)), None) => {
                let batch = batch_of(rows).ok_or_else(|| wrong("a row cannot be read"))?;
                kv.apply_batch(&batch)?;
                bursar_domain::step!("KS2");
            }
            (Some((&END, bytes)), None) => said = Some(unpack(bytes)?),
            _ => return Err(wrong("a piece of no known kind")),
        }
    }
    let mut said = said.ok_or_else(|| wrong("does not say what it holds"))?;
    if said.record != checkpoint.head().record {
        return Err(wrong("holds the rows of another record"));
    }
    let counted = match version {
        PROJECTIONS => count(kv)?,
        _ => count_by(kv, Tally::add_as_before)?,
    };
    if counted != said.tally {
        return Err(wrong("its rows are not the ones it counted"));
    }
    if version < PROJECTIONS {
        bring_up(kv)?;
        said.tally = count(kv)?;
    }
    let mut batch = Batch::new();
    let folded = Folded {
        counters: said.counters,
        tally: said.tally,
        record: said.record,
    };
    close_batch(&mut batch, &folded)?;
    batch.insert(keys::meta("projections"), Some(pack(&PROJECTIONS)?));
    kv.apply_batch(&batch)
}

fn batch_of(mut rows: &[u8]) -> Option<Batch> {
    let mut batch = Batch::new();
    while !rows.is_empty() {
        let (lengths, rest) = rows.split_first_chunk::<8>()?;
        let length = |at: usize| {
            let four = &lengths[at..at + 4];
            four.try_into().map_or(0, u32::from_le_bytes)
        };
        let (key, rest) = rest.split_at_checked(length(0) as usize)?;
        let of_value = length(4);
        let (value, rest) = rest.split_at_checked(of_value.saturating_sub(1) as usize)?;
        if key.first().is_none_or(|prefix| *prefix <= keys::META) {
            return None;
        }
        batch.insert(key.into(), (of_value > 0).then(|| value.to_vec()));
        rows = rest;
    }
    Some(batch)
}

/// Removes every row.
fn clear(kv: &dyn Kv) -> Result<(), StoreError> {
    remove(kv, &[0], &[0xff])
}

/// The pieces of a checkpoint as an earlier layout wrote them.
#[cfg(test)]
pub(crate) fn as_before(layout: u8, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let [_, pieces @ .., last] = pieces else {
        panic!("no checkpoint");
    };
    let mut rows = Batch::new();
    pieces
        .iter()
        .for_each(|piece| rows.extend(batch_of(&piece[1..]).unwrap()));
    rows.retain(|_, value| value.is_some());
    let (before, tally) = super::layouts::as_before(layout.into(), rows);
    let mut piece = Rows::new();
    for (key, value) in &before {
        piece.add(key, Some(value));
    }
    let end: End = unpack(&last[1..]).unwrap();
    let end = pack(&End { tally, ..end }).unwrap();
    let first = vec![LAYOUT, layout, 0, 0, 0];
    vec![first, piece.take(), [vec![END], end].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_documented_bytes_and_the_last_one_counts() {
        let mut rows = Rows::new();
        assert!(rows.is_empty());
        rows.add(&[2, 7], Some(b"old"));
        rows.add(&[2, 8], Some(b""));
        rows.add(&[2, 7], None);
        assert_eq!(rows.bytes(), 1 + 13 + 10 + 10);
        let piece = rows.take();
        assert!(rows.is_empty());
        assert_eq!(
            hex::encode(&piece),
            "01020000000400000002076f6c64020000000100000002080200000000000000\
             0207"
        );
        let batch = batch_of(&piece[1..]).unwrap();
        assert_eq!(
            batch,
            Batch::from([([2, 7].into(), None), ([2, 8].into(), Some(Vec::new()))])
        );
        for cut in 1..10 {
            assert_eq!(batch_of(&piece[1..piece.len() - cut]), None, "{cut}");
        }
        let mut about_itself = Rows::new();
        about_itself.add(&keys::meta("record"), Some(&[0; 8]));
        assert_eq!(batch_of(&about_itself.take()[1..]), None);
    }
}
