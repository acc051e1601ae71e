//! The store in memory: the same engine over a map and a journal that are gone with the process.

use crate::api::Store;
use crate::engine::port::{MemKeys, MemLog};
use crate::engine::{Engine, Parts, replay};
use crate::error::StoreError;
use crate::kv::MemKv;
use std::sync::Arc;

/// Makes stores in memory.
pub struct MemStore;

impl MemStore {
    /// An empty store with a committer thread of its own; cheap enough for every test.
    /// # Errors: no thread can be started.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Result<Arc<dyn Store>, StoreError> {
        let log = MemLog::default();
        let kv = MemKv::default();
        let keys = Arc::new(MemKeys::default());
        let erase = replay::Erase {
            keys: keys.as_ref(),
            all: false,
        };
        replay::catch_up(&kv, &log, &erase)?;
        let engine = Engine::start(Parts::of(kv, log.clone(), log, keys))?;
        Ok(Arc::new(engine))
    }
}
