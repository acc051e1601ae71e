//! The real binary on a disk that loses its power, fills up, fails or turns read-only.
//!
//! Goal: whatever the disk does, an event that was answered 2xx is there afterwards, once; what cannot be
//! kept is answered 503, and said in the log, in a metric and in readiness. Method: `bursar serve` runs on
//! a mounted file system of this test's own; signed charges arrive all the time; at a numbered operation
//! of the disk the power goes or the operation fails.
//!
//! `BURSAR_BIN` names the binary, `BURSAR_CUTS` the cuts (12), `BURSAR_IO_FAULTS` the faults (24),
//! `BURSAR_SEED` the seed of both, `BURSAR_SWEEP_EVERY` how many operations of a command lie between two that fail (5).

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod faults;
mod load;
mod power;
mod server;
mod sweeps;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A small deterministic generator (xorshift64*), so that a seed repeats a schedule.
struct Random(u64);
impl Random {
    fn from_env() -> Self {
        let seed = number("BURSAR_SEED", u64::from(std::process::id()) * 2_654_435_769);
        println!("seed={seed}");
        Self(seed | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

/// A folder with a disk mounted in it, and one beside it for what must outlive the disk.
fn mounted() -> (tempfile::TempDir, bursar_disk::PowerDisk) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    std::fs::create_dir(&at).unwrap();
    let disk = bursar_disk::PowerDisk::mount(&at).expect("FUSE: /dev/fuse and the right to mount");
    (folder, disk)
}
