//! The edge's ports, filled by the actors: each adapter translates one vocabulary into the other.

use crate::http::edge::{
    Check, Circuit, Health as HttpHealth, Intake as HttpIntake, IntakeError, Stripe as HttpStripe,
};
use crate::http::server::{BoxFuture, Peer};
use crate::stripe::signature::Refusal;
use bursar_actors::circuits::Circuits;
use bursar_actors::gate::{FarSide, Gate};
use bursar_actors::intake::{Intake, Refused};
use bursar_actors::metrics;
use bursar_actors::observer::Health;
use bursar_actors::outbound::gated_read::GatedRead;
use bursar_actors::outbound::stripe_call::word_of;
use bursar_actors::ports::{CallEnd, ReadAnswer, ReadError, StripeRead, StripeWrite};
use bursar_actors::tree::Waker;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::ids::Scope;
use bursar_domain::stripe_call::StripeCall;
use bursar_store::api::{Accepted, Inbound};
use std::sync::Arc;
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

    fn hint(&self, lanes: Vec<Lane>) {
        self.waker.hint(lanes);
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

/// How long a preview may take: somebody waits for it.
const PREVIEW_WITHIN: Duration = Duration::from_secs(15);

/// Stripe for handlers: what they ask passes the gate like everything else.
pub struct EdgeStripe {
    gate: Arc<Gate>,
    read: GatedRead,
    write: Arc<dyn StripeWrite>,
}

impl EdgeStripe {
    /// Over the clients.
    pub fn new(gate: Arc<Gate>, read: Arc<dyn StripeRead>, write: Arc<dyn StripeWrite>) -> Self {
        let read = GatedRead::new(read, Arc::clone(&gate), Lane::Stripe);
        Self { gate, read, write }
    }
}

impl HttpStripe for EdgeStripe {
    fn check(&self, scope: &Scope) -> Result<(), Duration> {
        self.gate
            .check(scope)
            .map_err(|refused| refused.retry_after)
    }

    fn get(&self, scope: Scope, path: String) -> BoxFuture<Result<ReadAnswer, ReadError>> {
        let read = self.read.clone();
        Box::pin(async move { read.ask(scope, path, false).await })
    }

    fn preview(&self, call: StripeCall) -> BoxFuture<Result<CallEnd, Duration>> {
        let (gate, write) = (Arc::clone(&self.gate), Arc::clone(&self.write));
        let key = format!("bursar_preview_{}", uuid::Uuid::now_v7().simple());
        Box::pin(async move {
            let pass = gate
                .enter(&call.scope, Lane::Stripe, false)
                .map_err(|refused| refused.retry_after)?;
            let operation = call.operation.as_str();
            let end = write.send(call, key, PREVIEW_WITHIN).await;
            metrics::stripe_request(operation, word_of(&end), pass.took());
            pass.end(FarSide::from(&end));
            Ok(end)
        })
    }
}
