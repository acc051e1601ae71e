//! A whole store on a disk in memory, for checks outside this crate that take the power away.
//!
//! Not part of the product's interface; only with the feature `crashpoints`.

use crate::api::Store;
use crate::error::StoreError;
use crate::kv::MemKv;
use crate::open::{OpenOptions, OpenReport, open_here, open_simulated};
use crate::vfs::SimVfs;
use std::sync::Arc;

/// Opens the store this disk holds, making it if there is none; rows are folded from the journal.
/// # Errors: as opening on files.
pub fn open_on(disk: &SimVfs) -> Result<Arc<dyn Store>, StoreError> {
    open_simulated(disk, MemKv::default())
}

/// The same as a part of the runtime this is called in: no thread, no clock but the runtime's; with a checkpoint
/// whenever the journal grew by so many bytes.
/// # Errors: as opening on files.
pub fn open_in_runtime(
    disk: &SimVfs,
    checkpoint_bytes: u64,
) -> Result<(Arc<dyn Store>, OpenReport), StoreError> {
    let options = OpenOptions {
        checkpoint_bytes,
        ..OpenOptions::small()
    };
    open_here(disk, MemKv::default(), &options)
}
