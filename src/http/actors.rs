//! The edge's ports, served by the actors.
//!
//! Not here: the tree itself (`bursar_actors`), who starts it.

use crate::http::edge::{Check, Edge, Health, Intake, IntakeError};
use crate::http::server::{BoxFuture, Peer};
use crate::stripe::signature::{Refusal, SecretSet};
use bursar_actors::intake::{self, Refused};
use bursar_actors::observer;
use bursar_actors::tree::Waker;
use bursar_domain::aggregate::AggregateKey;
use bursar_store::api::{Accepted, Inbound};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The actors' intake as the edge's way in.
pub struct ActorsIntake {
    intake: intake::Intake,
    waker: Waker,
}

impl ActorsIntake {
    /// The port over a running tree.
    pub const fn new(intake: intake::Intake, waker: Waker) -> Self {
        Self { intake, waker }
    }
}

impl From<Refused> for IntakeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy { retry_after } => Self::Busy { retry_after },
            Refused::StoreDown { retry_after } => Self::StoreAway { retry_after },
            // The edge's own limit is smaller; a deployment that turned them around is busy for good.
            Refused::TooLarge => Self::Busy {
                retry_after: Duration::from_secs(60),
            },
        }
    }
}

impl Intake for ActorsIntake {
    fn accept(&self, inbound: Inbound) -> BoxFuture<Result<Accepted, IntakeError>> {
        let intake = self.intake.clone();
        Box::pin(async move { Ok(intake.submit(inbound).await?) })
    }
    fn wake(&self, aggregates: Vec<AggregateKey>) {
        self.waker.wake(aggregates);
    }
    fn refused(&self, refusal: Refusal, peer: Peer) {
        let from = match peer {
            Peer::Address(address) => address.to_string(),
            Peer::ControlSocket => "control socket".to_owned(),
        };
        if refusal.is_unauthenticated() {
            self.intake
                .bad_signature(&format!("{from} ({})", refusal.as_str()));
        }
    }
}

/// The observer's health as the edge's.
pub struct TreeHealth(watch::Receiver<observer::Health>);

impl TreeHealth {
    /// The port over a running tree.
    pub const fn new(health: watch::Receiver<observer::Health>) -> Self {
        Self(health)
    }
}

impl Health for TreeHealth {
    fn checks(&self) -> BoxFuture<Vec<Check>> {
        let health = self.0.borrow().clone();
        let starting = health.checks.is_empty();
        let mut checks: Vec<Check> = health
            .checks
            .into_iter()
            .map(|(name, check)| Check {
                name,
                ok: check.ok,
                detail: check.detail,
            })
            .collect();
        if starting {
            checks.push(Check {
                name: "actors",
                ok: false,
                detail: "still starting".to_owned(),
            });
        }
        Box::pin(std::future::ready(checks))
    }
}

/// Keeps the edge's prepared secrets equal to the intake's, until that is gone.
pub async fn follow_secrets(edge: Arc<Edge>, mut secrets: watch::Receiver<intake::SecretSet>) {
    loop {
        let prepared = SecretSet::new(secrets.borrow_and_update().iter());
        edge.replace_secrets(prepared);
        if secrets.changed().await.is_err() {
            return;
        }
    }
}
