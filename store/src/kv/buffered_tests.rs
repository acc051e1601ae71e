//! Tables over rows: they read like a plain map, are below whole or not at all, and slow down rather than stop.

use super::*;
use crate::keys;
use crate::kv::{MemKv, SledKv, first};

/// Pseudo-random, from a seed.
struct Dice(u64);
impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn walk(kv: &dyn Kv, low: &[u8], high: &[u8], reverse: bool, most: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    kv.range(low, high, reverse, &mut |key, value| {
        seen.push([key, value].concat());
        if seen.len() == most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    seen
}

fn key(dice: &mut Dice) -> Key {
    // Kinds of keys the filter keeps, and one it does not.
    let kind = [keys::INPUT, keys::PENDING, keys::READY][dice.roll(3) as usize];
    let mut key = vec![kind, dice.roll(4) as u8, dice.roll(60) as u8];
    key.truncate(1 + dice.roll(3) as usize);
    key.into()
}

#[test]
fn it_reads_like_a_plain_map_whatever_was_written_below() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let (model, below) = (MemKv::default(), MemKv::default());
        let kv = Buffered::with_tables_of(Box::new(below.clone()), 4_000).unwrap();
        for _ in 0..60 {
            let mut batch = Batch::new();
            for _ in 0..dice.roll(40) {
                let value = (dice.roll(3) > 0).then(|| vec![dice.roll(250) as u8]);
                batch.insert(key(&mut dice), value);
            }
            model.apply_batch(&batch).unwrap();
            kv.take_batch(batch).unwrap();
            if dice.roll(10) == 0 {
                kv.tidy().unwrap();
            }
            let (low, high, most) = (key(&mut dice), key(&mut dice), 1 + dice.roll(80) as usize);
            for reverse in [false, true] {
                assert_eq!(
                    walk(&kv, &low, &high, reverse, most),
                    walk(&model, &low, &high, reverse, most),
                    "seed {seed}"
                );
            }
            assert_eq!(kv.get(&low).unwrap(), model.get(&low).unwrap());
        }
        kv.flush().unwrap();
        let whole = |kv: &dyn Kv| first(kv, &[0], &end_of(&[254]), usize::MAX).unwrap();
        assert_eq!(whole(&below), whole(&model), "seed {seed}");
    }
}

/// A writer that fails, as a full disk would.
struct Broken;
impl Kv for Broken {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
    fn range(&self, _: &[u8], _: &[u8], _: bool, _: &mut Each<'_>) -> Result<(), StoreError> {
        Ok(())
    }
    fn apply_batch(&self, _: &Batch) -> Result<(), StoreError> {
        Err(StoreError::Full { free_bytes: 0 })
    }
    fn size_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn what_came_and_went_within_a_table_never_goes_below() {
    let below = MemKv::default();
    let kv = Buffered::over(Box::new(below.clone())).unwrap();
    let row = |n: u8| Key::from([keys::PENDING, n]);
    while !kv.shared.tables().known.denies(Hash::of(&row(0))) {
        std::thread::yield_now();
    }
    kv.take_batch(Batch::from([
        (row(1), Some(vec![1])),
        (row(2), Some(vec![2])),
    ]))
    .unwrap();
    kv.take_batch(Batch::from([(row(1), None)])).unwrap();
    assert_eq!(kv.get(&row(1)).unwrap(), None);
    assert_eq!(kv.shared.tables().open.len(), 1);
    kv.flush().unwrap();
    // What is below by now is deleted there.
    kv.take_batch(Batch::from([(row(2), None)])).unwrap();
    assert_eq!(kv.get(&row(2)).unwrap(), None);
    kv.flush().unwrap();
    assert_eq!(below.get(&row(2)).unwrap(), None);
}

#[test]
fn what_could_not_be_written_below_is_still_read_and_the_next_batch_hears_of_it() {
    let kv = Buffered::over(Box::new(Broken)).unwrap();
    let batch = |n: u8| Batch::from([([2, n].into(), Some(vec![n]))]);
    kv.take_batch(batch(1)).unwrap();
    assert!(kv.flush().is_err());
    assert_eq!(kv.get(&[2, 1]).unwrap(), Some(vec![1]));
    assert!(kv.take_batch(batch(2)).is_err());
}

#[test]
fn a_table_is_below_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let sled = SledKv::open(dir.path(), 8 << 20).unwrap();
    let kv = Buffered::with_tables_of(Box::new(sled), 50_000).unwrap();
    for n in 0..2_100_u16 {
        let n = n.to_be_bytes().to_vec();
        let row = Key::from([&[2], n.as_slice()].concat());
        kv.take_batch(Batch::from([(row, Some(n.clone())), ([1].into(), Some(n))]))
            .unwrap();
    }
    // As a kill would: what is in the open table is gone.
    drop(kv);
    let sled = SledKv::open(dir.path(), 8 << 20).unwrap();
    let last = sled.get(&[1]).unwrap().unwrap();
    let rows = first(&sled, &[2], &[3], usize::MAX).unwrap();
    assert!(rows.len() > 500 && rows.len() < 2_100, "{}", rows.len());
    assert_eq!(rows.last().unwrap().1, last);
}

/// Rows that take as long to write as told, for each table.
struct Slow(MemKv, Duration);

impl Kv for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
    fn range(&self, a: &[u8], b: &[u8], back: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
        self.0.range(a, b, back, each)
    }
    fn apply_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        std::thread::sleep(self.1);
        self.0.apply_batch(batch)
    }
    fn size_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn a_writer_that_is_behind_slows_batches_down_and_stops_none_for_long() {
    let writing = Duration::from_millis(600);
    let size = 64 * 1_024;
    let kv = Buffered::with_tables_of(Box::new(Slow(MemKv::default(), writing)), size).unwrap();
    let mut longest = Duration::ZERO;
    // A hundredth of a table each, for four tables.
    for n in 0..400_u16 {
        let key = [&[1], &n.to_be_bytes()[..]].concat();
        let row = Batch::from([(key[..].into(), Some(vec![7; size / 100 - ROW_BYTES]))]);
        let began = std::time::Instant::now();
        kv.apply_batch(&row).unwrap();
        longest = longest.max(began.elapsed());
    }
    assert!(longest < writing / 2, "one batch waited {longest:?}");
    kv.flush().unwrap();
    assert_eq!(walk(&kv, &[1], &[2], false, 1_000).len(), 400);
}
