//! Threads that give way: what can wait should not delay what somebody waits for.
//!
//! Not here: which threads those are; each says so where it begins.
//! Failure: a system that refuses has all threads alike; nothing else changes.

/// Lowers the priority of the calling thread, and of threads it starts, to this niceness (0: as usual,
/// 19: least).
pub fn give_way(niceness: i32) {
    let me = Some(rustix::thread::gettid());
    if let Err(error) = rustix::process::setpriority_process(me, niceness) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}
