//! F: what one append + fdatasync costs here, the unit latencies are quoted in.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Appends measured.
const ROUNDS: usize = 200;

/// Median microseconds of "append 4 KiB, fdatasync" on the file system of `folder`.
///
/// # Errors
/// The file cannot be written.
pub fn probe(folder: &Path) -> std::io::Result<u64> {
    let path = folder.join("fsync-probe");
    let mut file = std::fs::File::create(&path)?;
    let block = [0x5a_u8; 4_096];
    let mut micros = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    std::fs::remove_file(&path)?;
    micros.sort_unstable();
    Ok(micros[ROUNDS / 2])
}
