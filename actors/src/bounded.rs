//! A bounded way into an unbounded mailbox: the permit travels inside the message.
//!
//! Invariants: at most `capacity` messages sent through a [`BoundedRef`] exist at once, queued or in
//! hand; a permit comes back when its message is dropped, whether handled or lost with its actor.
//!
//! Not here: hints, which are bounded by coalescing (`directory`).

use crate::directory::Cell;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Held by a message for as long as it exists.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// Why a message was not sent; it never was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    /// As many as may exist already do.
    #[error("the mailbox is full")]
    Full,
    /// The actor is gone or draining.
    #[error("the actor is not running")]
    Gone,
}

/// A sender that takes a permit for every message.
#[derive(Debug)]
pub struct BoundedRef<M> {
    cell: Cell<M>,
    permits: Arc<Semaphore>,
    capacity: usize,
}

impl<M> Clone for BoundedRef<M> {
    fn clone(&self) -> Self {
        Self {
            cell: self.cell.clone(),
            permits: Arc::clone(&self.permits),
            capacity: self.capacity,
        }
    }
}

impl<M: Send + 'static> BoundedRef<M> {
    /// Bounds what is sent into `cell` through this reference and its clones.
    pub fn new(cell: Cell<M>, capacity: usize) -> Self {
        Self {
            cell,
            permits: Arc::new(Semaphore::new(capacity)),
            capacity,
        }
    }
    /// Sends what `make` builds around the permit. # Errors: full or gone.
    pub fn try_send(&self, make: impl FnOnce(Permit) -> M) -> Result<(), SendRefused> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return Err(SendRefused::Full);
        };
        if self.cell.cast(make(Permit { _permit: permit })) {
            Ok(())
        } else {
            Err(SendRefused::Gone)
        }
    }
    /// Messages that exist now.
    pub fn depth(&self) -> usize {
        self.capacity
            .saturating_sub(self.permits.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ractor::{Actor, ActorProcessingErr, ActorRef};
    use std::time::Duration;
    use tokio::sync::Notify;

    struct Slow(Arc<Notify>);
    impl Actor for Slow {
        type Msg = Permit;
        type State = ();
        type Arguments = ();
        async fn pre_start(
            &self,
            _: ActorRef<Permit>,
            (): (),
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(())
        }
        async fn handle(
            &self,
            _: ActorRef<Permit>,
            message: Permit,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            self.0.notified().await;
            drop(message);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_messages_exist_than_permits_and_a_dead_actor_returns_them() {
        let go = Arc::new(Notify::new());
        let (actor, ended) = Actor::spawn(None, Slow(Arc::clone(&go)), ()).await.unwrap();
        let cell = Cell::default();
        cell.set(actor.clone());
        let bounded = BoundedRef::new(cell, 3);
        for _ in 0..3 {
            bounded.try_send(|permit| permit).unwrap();
        }
        assert_eq!(bounded.try_send(|permit| permit), Err(SendRefused::Full));
        go.notify_one();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(bounded.depth(), 2);
        bounded.try_send(|permit| permit).unwrap();
        actor.kill();
        ended.await.unwrap();
        assert_eq!(bounded.depth(), 0);
        assert_eq!(bounded.try_send(|permit| permit), Err(SendRefused::Gone));
    }
}
