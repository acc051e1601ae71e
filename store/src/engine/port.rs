//! What the engine needs from the durable parts below it, and twins of them in memory.
//!
//! Invariants: records are numbered from 1 without gaps; `append` returns after they are durable;
//! what was sealed under a forgotten key never opens again.

use crate::error::StoreError;
use crate::journal::Covered;
use bursar_domain::rows::Subject;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Where a record lies; opaque here, stored beside its number.
pub(crate) type Place = Vec<u8>;

/// Called with number, place and bytes of each record.
pub(crate) type EachRecord<'a> = dyn FnMut(u64, Place, &[u8]) -> Result<(), StoreError> + 'a;

/// What a walk over the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainAudit {
    /// Records walked.
    pub(crate) records: u64,
    /// Checkpoints read whole and found in the chain.
    pub(crate) checkpoints: u64,
    /// What is not as it was written, in words.
    pub(crate) damage: Vec<String>,
}

/// The writing end of the journal; one owner.
pub(crate) trait Log: Send {
    /// Appends the records and returns once they are durable; says where each lies, in words of
    /// its own that `Records::read` understands.
    fn append(&mut self, records: &[Vec<u8>]) -> Result<Vec<Place>, StoreError>;
    /// Whether there is something to do that should be done in the first moment nobody waits.
    fn wants_idle(&self) -> bool {
        false
    }
    /// Does what can wait, while nobody does: a little at a time, as `wants_idle` tells.
    fn idle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// About how many bytes were appended after this record.
    fn bytes_after(&self, _record: u64) -> u64 {
        0
    }
    /// Drops whole segments of records before this one; says which record is the first one kept.
    fn drop_before(&mut self, _record: u64, _covered: &Covered) -> Result<u64, StoreError> {
        Ok(1)
    }
    /// Writes what is owed and lets go.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The reading end of the journal.
pub(crate) trait Records: Send + Sync {
    /// One record; `None`: retention dropped it. # Errors: `Damaged` if it is not there.
    fn read(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError>;
    /// Number of the first record that is kept.
    fn first(&self) -> u64 {
        1
    }
    /// Walks the whole chain, from what the first segment begins with, past every checkpoint, to the head.
    fn audit(&self) -> Result<ChainAudit, StoreError>;
    /// Number (0: none) and chain hash, hex, of the last record.
    fn head(&self) -> (u64, String);
    /// Every record from `from` on, in order.
    fn scan(&self, from: u64, each: &mut EachRecord<'_>) -> Result<(), StoreError>;
}

/// Keys of the data subjects.
pub(crate) trait Sealer: Send + Sync {
    /// Compresses and encrypts under the subject's key, making one if there is none.
    fn seal(&self, subject: &Subject, plain: &[u8]) -> Result<Vec<u8>, StoreError>;
    /// `None`: the key was forgotten.
    fn open(&self, subject: &Subject, sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Makes keys made since the last call durable.
    fn sync_new_keys(&self) -> Result<(), StoreError>;
    /// Forgets keys; says how many there were.
    fn erase(&self, subjects: &[Subject]) -> Result<u64, StoreError>;
}

/// A journal in memory, chained like the real one.
#[derive(Clone, Default)]
pub(crate) struct MemLog {
    records: Arc<RwLock<MemRecords>>,
}

#[derive(Default)]
struct MemRecords {
    records: Vec<Arc<[u8]>>,
    chain: [u8; 32],
}

impl MemLog {
    fn get(&self, number: u64) -> Result<Arc<[u8]>, StoreError> {
        let inner = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let index = number.checked_sub(1).and_then(|n| usize::try_from(n).ok());
        match index.and_then(|n| inner.records.get(n)) {
            Some(record) => Ok(Arc::clone(record)),
            None => Err(missing(number)),
        }
    }
}

impl Log for MemLog {
    fn append(&mut self, records: &[Vec<u8>]) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::with_capacity(records.len());
        let mut inner = self.records.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let mut hash = Sha256::new();
            hash.update(inner.chain);
            hash.update(record);
            inner.chain = hash.finalize().into();
            inner.records.push(Arc::from(record.as_slice()));
            places.push((inner.records.len() as u64).to_be_bytes().to_vec());
        }
        Ok(places)
    }
}

impl Records for MemLog {
    fn read(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
        let number = place
            .first_chunk::<8>()
            .map_or(0, |n| u64::from_be_bytes(*n));
        self.get(number).map(|record| Some(record.to_vec()))
    }
    fn audit(&self) -> Result<ChainAudit, StoreError> {
        let records = self.head().0;
        let mut chain = [0; 32];
        for number in 1..=records {
            let mut hash = Sha256::new();
            hash.update(chain);
            hash.update(self.get(number)?);
            chain = hash.finalize().into();
        }
        let is_whole = self.head() == (records, hex::encode(chain)) || self.head().0 > records;
        let damage = (!is_whole).then(|| "the chain breaks".to_owned());
        Ok(ChainAudit {
            records,
            checkpoints: 0,
            damage: damage.into_iter().collect(),
        })
    }
    fn head(&self) -> (u64, String) {
        let inner = self.records.read().unwrap_or_else(PoisonError::into_inner);
        (inner.records.len() as u64, hex::encode(inner.chain))
    }
    fn scan(&self, from: u64, each: &mut EachRecord<'_>) -> Result<(), StoreError> {
        for number in from.max(1)..=self.head().0 {
            each(number, number.to_be_bytes().to_vec(), &self.get(number)?)?;
        }
        Ok(())
    }
}

/// The error for a record that should be there.
pub(crate) fn missing(number: u64) -> StoreError {
    StoreError::Damaged {
        file: "journal".to_owned(),
        offset: 0,
        kind: format!("record {number} is missing"),
    }
}

/// Keys in memory: the same rules (erased is erased, a new key is another key), no cipher.
#[derive(Default)]
pub(crate) struct MemKeys {
    generations: Mutex<BTreeMap<Subject, u64>>,
    next: Mutex<u64>,
}

impl Sealer for MemKeys {
    fn seal(&self, subject: &Subject, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut keys = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let key = *keys.entry(subject.clone()).or_insert_with(|| {
            *next += 1;
            *next
        });
        let mut sealed = key.to_be_bytes().to_vec();
        sealed.extend_from_slice(plain);
        Ok(sealed)
    }
    fn open(&self, subject: &Subject, sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let keys = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some((key, plain)) = sealed.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let held = keys.get(subject) == Some(&u64::from_be_bytes(*key));
        Ok(held.then(|| plain.to_vec()))
    }
    fn sync_new_keys(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn erase(&self, subjects: &[Subject]) -> Result<u64, StoreError> {
        let mut keys = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut gone = 0;
        for subject in subjects {
            gone += u64::from(keys.remove(subject).is_some());
        }
        Ok(gone)
    }
}
