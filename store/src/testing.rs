//! A whole store on a disk in memory, for checks outside this crate that take the power away.
//!
//! Not part of the product's interface; only with the feature `mutants`.

use crate::api::Store;
use crate::error::StoreError;
use crate::kv::MemKv;
use crate::open::open_simulated;
use crate::vfs::SimVfs;
use std::sync::Arc;

/// Opens the store this disk holds, making it if there is none; rows are folded from the journal.
/// # Errors: as opening on files.
pub fn open_on(disk: &SimVfs) -> Result<Arc<dyn Store>, StoreError> {
    open_simulated(disk, MemKv::default())
}
