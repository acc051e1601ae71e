//! The two runtimes: one for the edge, and one for the actors, whose threads give way to it.
//!
//! Deciding and applying can wait: what they work on is durable. Stripe and people at the edge cannot,
//! so on a busy machine the operating system serves the edge's threads and the committer first. With
//! processors idle, nothing is slower for it.
//!
//! Invariants: the edge talks to it through channels alone.
//! Failure: a system that refuses the lower priority has all threads alike; nothing else changes.

use bursar_store::threads::give_way;
use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Far enough below the edge (0) to get about a tenth of a busy processor's time.
const NICENESS: i32 = 10;

/// The runtime of the edge: a thread for each processor.
///
/// # Errors
/// No thread can be had.
pub fn edge() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("edge")
        .enable_all()
        .build()
}

/// The runtime of the actors; its tasks end with it.
pub struct Background(Place);

enum Place {
    /// Its own threads; `None` only while it is dropped.
    Own(Option<Runtime>),
    /// Another's.
    Shared(Handle),
}

impl Background {
    /// Starts its threads: as many as there are processors.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("actors")
            .on_thread_start(|| give_way(NICENESS))
            .enable_all()
            .build()?;
        Ok(Self(Place::Own(Some(runtime))))
    }

    /// The caller's runtime, so that everything runs on one thread and by one clock.
    pub fn shared(handle: Handle) -> Self {
        Self(Place::Shared(handle))
    }

    /// Where to spawn.
    pub fn handle(&self) -> Handle {
        match &self.0 {
            Place::Own(Some(runtime)) => runtime.handle().clone(),
            Place::Shared(handle) => handle.clone(),
            Place::Own(None) => unreachable!("the runtime is there until it is dropped"),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may be dropped on a thread of another runtime, which must not block.
        if let Place::Own(runtime) = &mut self.0
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_background();
        }
    }
}
