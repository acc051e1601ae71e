//! Start: bring the rows up to the journal, whatever state they were left in.
//!
//! Invariants: rows name the last record they hold; records after it are folded in order by the same
//! function as live ones, in batches of their own; erasures are applied again.
//! Failure: rows ahead of the journal mean that the journal lost its end: the caller decides.

use super::committer::{Folded, close_batch};
use super::fold::{ERASED, State, broken, fold};
use super::places;
use super::port::{Place, Records, Sealer};
use crate::error::StoreError;
use crate::keys;
use crate::kv::{Kv, Overlay, Tally, end_of};
use crate::record::{Entry, decode};
use crate::shapes::{PROJECTIONS, pack, unpack};
use bursar_domain::rows::Subject;
use std::ops::ControlFlow;

/// Records folded into one batch.
const BATCH_RECORDS: u64 = 512;

/// How often a long fold says where it is.
const PROGRESS_RECORDS: u64 = 50_000;

/// What the rows say about themselves; all zero for an empty store.
pub(crate) fn folded(kv: &dyn Kv) -> Result<Folded, StoreError> {
    let counters = match kv.get(&keys::meta("counters"))? {
        Some(bytes) => unpack(&bytes)?,
        None => Default::default(),
    };
    let tally = match kv.get(&keys::meta("tally"))? {
        Some(bytes) => unpack(&bytes)?,
        None => Tally::default(),
    };
    let record = match kv.get(&keys::meta("record"))? {
        Some(bytes) => bytes
            .as_slice()
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| broken("the rows' position cannot be read".to_owned()))?,
        None => 0,
    };
    Ok(Folded {
        counters,
        tally,
        record,
    })
}

/// Whether the rows have the layout this program writes.
pub(crate) fn is_readable(kv: &dyn Kv) -> Result<bool, StoreError> {
    match kv.get(&keys::meta("projections"))? {
        Some(bytes) => Ok(bytes == pack(&PROJECTIONS)?),
        None => Ok(folded(kv)?.record == 0),
    }
}

/// Whether the rows are all there: counts every one of them.
pub(crate) fn is_complete(kv: &dyn Kv) -> Result<bool, StoreError> {
    Ok(count(kv)? == folded(kv)?.tally)
}

/// Counts every row.
pub(super) fn count(kv: &dyn Kv) -> Result<Tally, StoreError> {
    count_by(kv, Tally::add)
}

/// Counts every row in this way.
pub(super) fn count_by(
    kv: &dyn Kv,
    add: impl Fn(&mut Tally, &[u8], &[u8]),
) -> Result<Tally, StoreError> {
    let mut counted = Tally::default();
    let high = crate::kv::end_of(&[0xfe]);
    kv.range(&[keys::META + 1], &high, false, &mut |key, value| {
        add(&mut counted, key, value);
        ControlFlow::Continue(())
    })?;
    Ok(counted)
}

/// Which erasures are carried out again.
///
/// Keys are forgotten right after the record that says so is durable, and that record is the last of
/// its group. So only the journal's very last record can speak of keys that still exist; an older one
/// may name a subject that has come back since, with a key of its own.
pub(crate) struct Erase<'a> {
    pub(crate) keys: &'a dyn Sealer,
    /// All of them: the keys were restored from a backup that may be older than their erasure.
    pub(crate) all: bool,
}

/// Folds every record after the rows' last one; says how many there were.
pub(crate) fn catch_up(
    kv: &dyn Kv,
    records: &dyn Records,
    erase: &Erase<'_>,
) -> Result<u64, StoreError> {
    let from = folded(kv)?.record + 1;
    let last = records.head().0;
    if from > last + 1 {
        return Err(broken("the rows are ahead of the journal".to_owned()));
    }
    let mut open = Open::new(kv)?;
    let mut count = 0;
    records.scan(from, &mut |number, place, bytes| {
        let (entry, _) = decode(bytes)?;
        if let Entry::Erased { subjects, .. } = &entry
            && number == last
        {
            erase.keys.erase(subjects)?;
        }
        open.add(number, place, entry)?;
        bursar_domain::step!("KS1");
        count += 1;
        if count % BATCH_RECORDS == 0 {
            open.write()?;
        }
        if count % PROGRESS_RECORDS == 0 {
            tracing::info!(record = number, of = last, "folding the rows again");
        }
        Ok(())
    })?;
    open.write()?;
    if erase.all {
        erase_all(kv, erase.keys)?;
    }
    Ok(count)
}

/// Forgets every key that was ever to be forgotten. Who that is outlives the records that said so.
fn erase_all(kv: &dyn Kv, keys: &dyn Sealer) -> Result<(), StoreError> {
    let low = keys::Key::new(keys::KEEP).text(ERASED);
    let mut subjects = Vec::new();
    kv.range(&low, &end_of(&low), false, &mut |key, _| {
        let mut fields = keys::Fields::of(key);
        let _ = fields.text();
        subjects.extend(fields.text().map(Subject));
        ControlFlow::Continue(())
    })?;
    keys.erase(&subjects).map(|_| ())
}

/// The batch being filled.
struct Open<'a> {
    kv: &'a dyn Kv,
    state: State<'a>,
    record: u64,
    /// Of the records since the last write.
    places: Vec<Place>,
}

impl<'a> Open<'a> {
    fn new(kv: &'a dyn Kv) -> Result<Self, StoreError> {
        let folded = folded(kv)?;
        Ok(Self {
            kv,
            state: State::new(Overlay::new(kv, folded.tally), folded.counters),
            record: folded.record,
            places: Vec::new(),
        })
    }

    fn add(&mut self, number: u64, place: Place, entry: Entry) -> Result<(), StoreError> {
        if number != self.record + 1 {
            return Err(broken(format!("record {} is missing", self.record + 1)));
        }
        fold(&mut self.state, number, entry)?;
        self.places.push(place);
        self.record = number;
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let since = self.record + 1 - self.places.len() as u64;
        places::put(&mut self.state.kv, since, &std::mem::take(&mut self.places))?;
        let empty = Overlay::new(self.kv, Tally::default());
        let (mut batch, tally) = std::mem::replace(&mut self.state.kv, empty).finish();
        let folded = Folded {
            counters: self.state.counters.clone(),
            tally: tally.clone(),
            record: self.record,
        };
        close_batch(&mut batch, &folded)?;
        batch.insert(keys::meta("projections"), Some(pack(&PROJECTIONS)?));
        self.kv.take_batch(batch)?;
        self.state.kv = Overlay::new(self.kv, tally);
        Ok(())
    }
}
