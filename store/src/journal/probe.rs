//! Measures what the journal costs over the bare disk, for the `bench` command.
//!
//! **Not here**: limits and verdicts; this gives figures.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::damage::{JournalError, io_error};
use super::{DirLock, Journal, JournalSettings};
use crate::vfs::{RealVfs, Vfs, create_over};

/// Durations of single durable writes, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Median of a bare 4 KiB `pwrite` + `fdatasync` over zeros.
    pub raw_p50_us: u64,
    /// 99th percentile of the same.
    pub raw_p99_us: u64,
    /// Median of one 4 KiB record appended and synced.
    pub journal_p50_us: u64,
    /// 99th percentile of the same.
    pub journal_p99_us: u64,
    /// Median of a group of 64 records of 4 KiB appended and synced.
    pub group_of_64_p50_us: u64,
}

const PAYLOAD: [u8; 4096] = [0x5A; 4096];

/// Writes `rounds` records the bare way and the journal's way, by turns, in a new directory under `dir`.
///
/// The directory must be empty; what is written there stays for the caller to remove.
///
/// # Errors
/// [`JournalError`] from the disk.
pub fn probe(dir: &Path, rounds: u32) -> Result<Probe, JournalError> {
    let vfs = RealVfs;
    let lock = DirLock::acquire(&vfs, dir, std::process::id(), Path::new("none"))?;
    let raw_path = dir.join("raw");
    let raw_error = || io_error("measuring with", &raw_path);
    let raw = create_over(&vfs, &raw_path).map_err(raw_error())?;
    let slots = u64::from(rounds.max(1));
    for slot in 0..slots {
        raw.write_at(&[0; 4096], slot * 4096).map_err(raw_error())?;
    }
    raw.sync_data().map_err(raw_error())?;
    let settings = JournalSettings::default();
    let (mut journal, _) = Journal::open(
        Arc::new(vfs) as Arc<dyn Vfs>,
        &dir.join("journal"),
        &lock,
        settings,
    )?;
    let begin = Instant::now();
    let now_ms = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (mut bare, mut single, mut group) = (Vec::new(), Vec::new(), Vec::new());
    for slot in 0..slots {
        let start = Instant::now();
        raw.write_at(&PAYLOAD, slot * 4096).map_err(raw_error())?;
        raw.sync_data().map_err(raw_error())?;
        bare.push(start.elapsed());
        for (records, times) in [(1, &mut single), (64, &mut group)] {
            journal.prepare_room()?;
            let start = Instant::now();
            journal.append_group(&vec![&PAYLOAD[..]; records])?;
            journal.sync(now_ms())?;
            times.push(start.elapsed());
        }
    }
    journal.close()?;
    Ok(Probe {
        raw_p50_us: percentile(&mut bare, 50),
        raw_p99_us: percentile(&mut bare, 99),
        journal_p50_us: percentile(&mut single, 50),
        journal_p99_us: percentile(&mut single, 99),
        group_of_64_p50_us: percentile(&mut group, 50),
    })
}

fn percentile(times: &mut [Duration], percent: usize) -> u64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len() - 1);
    u64::try_from(times[at].as_micros()).unwrap_or(u64::MAX)
}
