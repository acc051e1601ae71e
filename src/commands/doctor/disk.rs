//! The disk under the store, and who holds the store.
//!
//! Invariants: opens no store; the lock is tried and given back at once.

use super::finding::Findings;
use crate::bench::fsync;
use bursar_config::Config;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// Below this share of free space it is time to act.
const FREE_PERCENT_WARN: u64 = 10;
/// Below this one nothing can be kept soon.
const FREE_PERCENT_FAIL: u64 = 2;
/// A synced write that takes longer than this slows every acknowledgement, in microseconds.
const SYNC_MICROS_WARN: u64 = 20_000;

/// Looks at both.
pub(super) fn look(config: &Config, found: &mut Findings) {
    let folder = config.store.data_dir();
    let shown = folder.display();
    if !folder.is_dir() {
        found.skip(
            "store",
            format!("there is no {shown} yet; `bursar serve` makes it"),
        );
        found.skip("disk", "there is no data folder yet");
        return;
    }
    room(folder, found);
    sync_time(folder, found);
    match holder(&folder.join("lock")) {
        Ok(Some(who)) => found.ok("store", format!("{shown} is held by {who}")),
        Ok(None) if folder.join("journal").exists() => {
            let text = format!("{shown} is there and held by nobody");
            found.ok("store", text);
        }
        Ok(None) => found.skip("store", format!("{shown} holds no store yet")),
        Err(error) => found.fail(
            "store",
            format!("{shown} cannot be looked at: {error}"),
            "run the doctor as the user that runs `bursar serve`",
        ),
    }
}

fn room(folder: &Path, found: &mut Findings) {
    let stat = match statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => {
            found.warn(
                "disk",
                format!("its free space cannot be read: {error}"),
                "look with `df`",
            );
            return;
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    let percent = stat.f_bavail.saturating_mul(100) / stat.f_blocks.max(1);
    let text = format!("{free} MiB free ({percent} %)");
    let next = "free some, or move the data folder; intake stops before the disk is full";
    if percent < FREE_PERCENT_FAIL {
        found.fail("disk", text, next);
    } else if percent < FREE_PERCENT_WARN {
        found.warn("disk", text, next);
    } else {
        found.ok("disk", text);
    }
}

fn sync_time(folder: &Path, found: &mut Findings) {
    // In a folder of its own: a running process's files are not touched, and it goes away by itself.
    let measured = tempfile::Builder::new()
        .prefix("doctor-")
        .tempdir_in(folder)
        .and_then(|own| fsync::probe(own.path()));
    match measured {
        Ok(micros) if micros <= SYNC_MICROS_WARN => {
            found.ok(
                "disk sync",
                format!("a synced write takes {micros} µs (median)"),
            );
        }
        Ok(micros) => found.warn(
            "disk sync",
            format!("a synced write takes {} ms (median)", micros / 1_000),
            "every webhook waits for one: use a local SSD for the data folder",
        ),
        Err(error) => found.fail(
            "disk sync",
            format!("nothing can be written in {}: {error}", folder.display()),
            "give the folder to the user that runs `bursar serve`",
        ),
    }
}

/// What the holder of the lock wrote, if there is one.
fn holder(lock: &Path) -> std::io::Result<Option<String>> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Given back when the file is closed, a moment later.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let text = std::fs::read_to_string(lock)?;
            Ok(Some(text.trim().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}
