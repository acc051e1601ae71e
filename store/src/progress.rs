//! A number that rises, and those who wait for it to.
//!
//! Invariants: whoever waits is woken in the order in which they began to, so that one seed is one order of things in a
//! simulation; a rise between a look and the wait that follows it is not missed.
//! Not `tokio::sync::watch`: it spreads who waits over eight lists by chance.

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Inner {
    value: AtomicU64,
    /// Rises with every call of `raise` and `nudge`.
    moves: AtomicU64,
    is_over: AtomicBool,
    moved: Notify,
}

/// Whoever raises it. Once dropped, nothing rises any more.
#[derive(Debug, Default)]
pub struct Progress(Arc<Inner>);

impl Progress {
    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.value.load(Ordering::Acquire)
    }
    /// Sets the number and wakes everybody.
    pub fn raise(&self, value: u64) {
        self.0.value.store(value, Ordering::Release);
        self.nudge();
    }
    /// Wakes everybody: something else than the number has changed.
    pub fn nudge(&self) {
        self.0.moves.fetch_add(1, Ordering::AcqRel);
        self.0.moved.notify_waiters();
    }
    /// Watches from now on.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            seen: self.0.moves.load(Ordering::Acquire),
            inner: Arc::clone(&self.0),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.moved.notify_waiters();
    }
}

/// Nothing rises any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing rises any more")]
pub struct Over;

/// Whoever waits.
#[derive(Clone, Debug)]
pub struct Watch {
    inner: Arc<Inner>,
    seen: u64,
}

impl Watch {
    /// The number; `changed` waits for what comes after this look.
    pub fn look(&mut self) -> u64 {
        self.seen = self.inner.moves.load(Ordering::Acquire);
        self.inner.value.load(Ordering::Acquire)
    }

    /// Waits for a rise, or a nudge, since the last look or change. # Errors: `Over`.
    ///
    /// # Cancel safety
    /// Dropped before its end it has seen nothing.
    pub async fn changed(&mut self) -> Result<(), Over> {
        loop {
            let mut moved = pin!(self.inner.moved.notified());
            // In line before the look, so that nothing falls in between.
            moved.as_mut().enable();
            let moves = self.inner.moves.load(Ordering::Acquire);
            if moves != self.seen {
                self.seen = moves;
                return Ok(());
            }
            if self.inner.is_over.load(Ordering::Acquire) {
                return Err(Over);
            }
            moved.await;
        }
    }

    /// Waits until the number is as asked for. # Errors: `Over`.
    pub async fn wait_for(&mut self, is_so: impl Fn(u64) -> bool) -> Result<u64, Over> {
        loop {
            let value = self.look();
            if is_so(value) {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn a_rise_after_the_look_is_not_missed_and_the_end_is_told() {
        run(async {
            let progress = Progress::default();
            let mut watch = progress.watch();
            assert_eq!(watch.look(), 0);
            progress.raise(3);
            assert_eq!(watch.changed().await, Ok(()));
            assert_eq!((watch.look(), watch.wait_for(|n| n > 2).await), (3, Ok(3)));
            progress.nudge();
            drop(progress);
            assert_eq!(watch.changed().await, Ok(()), "what was before the end");
            assert_eq!(watch.changed().await, Err(Over));
        });
    }

    #[test]
    fn who_waits_is_woken_in_the_order_of_coming() {
        for _ in 0..20 {
            run(async {
                let (progress, woken) = (Progress::default(), Arc::new(Mutex::new(Vec::new())));
                let waiting: Vec<_> = (0..16)
                    .map(|n| {
                        let (mut watch, woken) = (progress.watch(), Arc::clone(&woken));
                        tokio::spawn(async move {
                            watch.changed().await.unwrap();
                            woken.lock().unwrap().push(n);
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                progress.raise(1);
                for one in waiting {
                    one.await.unwrap();
                }
                assert_eq!(*woken.lock().unwrap(), (0..16).collect::<Vec<_>>());
            });
        }
    }
}
