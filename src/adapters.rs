//! The edge's ports, filled by the actors: each adapter translates one vocabulary into the other.

use crate::http::edge::{Check, Circuit, Health as HttpHealth, Intake as HttpIntake, IntakeError};
use crate::http::server::{BoxFuture, Peer};
use crate::stripe::signature::Refusal;
use bursar_actors::circuits::Circuits;
use bursar_actors::intake::{Intake, Refused};
use bursar_actors::observer::Health;
use bursar_actors::tree::Waker;
use bursar_domain::aggregate::AggregateKey;
use bursar_store::api::{Accepted, Inbound};
use std::time::Duration;
use tokio::sync::watch;

/// The intake actor, as the edge asks it.
pub struct EdgeIntake {
    intake: Intake,
    waker: Waker,
}

impl EdgeIntake {
    /// Over the handles of a tree.
    pub fn new(intake: Intake, waker: Waker) -> Self {
        Self { intake, waker }
    }
}

impl HttpIntake for EdgeIntake {
    fn accept(&self, inbound: Inbound) -> BoxFuture<Result<Accepted, IntakeError>> {
        let intake = self.intake.clone();
        Box::pin(async move {
            intake
                .submit(inbound)
                .await
                .map_err(|refused| match refused {
                    Refused::Busy { retry_after } => IntakeError::Busy { retry_after },
                    Refused::StoreDown { retry_after } => IntakeError::StoreAway { retry_after },
                    // Larger than everything we take at once: a matter of configuration, not of time.
                    Refused::TooLarge => IntakeError::Busy {
                        retry_after: Duration::from_secs(60),
                    },
                })
        })
    }

    fn wake(&self, aggregates: Vec<AggregateKey>) {
        self.waker.wake(aggregates);
    }

    fn refused(&self, refusal: Refusal, peer: Peer) {
        if !refusal.is_unauthenticated() {
            return;
        }
        let reason = refusal.as_str();
        match peer {
            Peer::Address(address) => self.intake.bad_signature(&address.to_string(), reason),
            Peer::ControlSocket => self.intake.bad_signature("control socket", reason),
        }
    }
}

/// The observer's health and the circuits, as the edge asks them.
pub struct EdgeHealth {
    health: watch::Receiver<Health>,
    circuits: Circuits,
}

impl EdgeHealth {
    /// Over the handles of a tree.
    pub const fn new(health: watch::Receiver<Health>, circuits: Circuits) -> Self {
        Self { health, circuits }
    }
}

impl HttpHealth for EdgeHealth {
    fn checks(&self) -> BoxFuture<Vec<Check>> {
        let health = self.health.borrow().clone();
        if health.checks.is_empty() {
            // Nobody has looked yet: that is no reason to call it ready.
            let starting = Check {
                name: "actors",
                ok: false,
                detail: "still starting".to_owned(),
            };
            return Box::pin(std::future::ready(vec![starting]));
        }
        Box::pin(async move {
            let checks = health.checks.into_iter();
            checks
                .map(|(name, check)| Check {
                    name,
                    ok: check.ok,
                    detail: check.detail,
                })
                .collect()
        })
    }

    fn circuits(&self) -> Vec<Circuit> {
        let views = self.circuits.all().into_iter();
        views
            .map(|view| Circuit {
                name: view.name,
                state: view.state.as_str(),
                since: Some(view.since),
            })
            .collect()
    }

    fn reset_circuit(&self, name: &str) -> BoxFuture<bool> {
        let (circuits, name) = (self.circuits.clone(), name.to_owned());
        Box::pin(async move { circuits.reset(&name).await })
    }
}
