//! Where the records lie in the journal, 32 of them in a row.
//!
//! ```text
//! row n   byte w, then for each of the records 32n to 32n + 31 that there are: its place, w bytes
//! ```
//!
//! Invariants: records are filed in order; there is no record 0, its place is zeros.

use super::port::Place;
use crate::error::StoreError;
use crate::keys;
use crate::kv::{Kv, Overlay};

const PER_ROW: u64 = 32;

/// Files the places of these records, the first of which has this number.
pub(super) fn put(
    kv: &mut Overlay<'_>,
    first: u64,
    mut places: &[Place],
) -> Result<(), StoreError> {
    let mut number = first;
    while let Some(place) = places.first() {
        let (key, at) = (keys::places(number / PER_ROW), (number % PER_ROW) as usize);
        let (here, later) = places.split_at(places.len().min(PER_ROW as usize - at));
        let begun = if at == 0 { None } else { kv.get(&key)? };
        let is_new = begun.is_none();
        let width = u8::try_from(place.len())
            .map_err(|_| StoreError::Invalid("a place is over 255 bytes".to_owned()))?;
        let mut row = begun.unwrap_or_else(|| vec![width]);
        row.resize(1 + at * usize::from(width), 0);
        here.iter().for_each(|place| row.extend_from_slice(place));
        if is_new {
            kv.put_new(key, row);
        } else {
            kv.put(key, row)?;
        }
        number += here.len() as u64;
        places = later;
    }
    Ok(())
}

/// Where a record lies; `None`: it was never filed.
pub(crate) fn find(kv: &dyn Kv, number: u64) -> Result<Option<Place>, StoreError> {
    let row = kv.get(&keys::places(number / PER_ROW))?.unwrap_or_default();
    let Some((width @ 1.., places)) = row.split_first() else {
        return Ok(None);
    };
    let mut places = places.chunks_exact(usize::from(*width));
    Ok(places.nth((number % PER_ROW) as usize).map(<[u8]>::to_vec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{MemKv, Tally, first};

    #[test]
    fn places_are_found_however_they_came_and_rows_are_the_same() {
        let place = |number: u64| (number * 7).to_be_bytes().to_vec();
        let filed = |steps: &[u64]| {
            let kv = MemKv::default();
            let (mut tally, mut next) = (Tally::default(), 1);
            for count in steps {
                let mut group = Overlay::new(&kv, tally);
                let some: Vec<Place> = (next..next + count).map(place).collect();
                put(&mut group, next, &some).unwrap();
                let (batch, after) = group.finish();
                kv.apply_batch(&batch).unwrap();
                (tally, next) = (after, next + count);
            }
            for number in 1..next {
                assert_eq!(find(&kv, number).unwrap(), Some(place(number)));
            }
            assert_eq!(find(&kv, next).unwrap(), None);
            (first(&kv, &[0], &[0xff], 99).unwrap(), tally)
        };
        let at_once = filed(&[100]);
        assert_eq!(at_once.0.len(), 4);
        assert_eq!(filed(&[31, 1, 32, 36]), at_once);
        assert_eq!(filed(&[1; 100]), at_once);
    }
}
