//! GETs at Stripe through the gate: what the read lane and the handlers both ask with.
//!
//! Invariants: no GET without a pass; every end is reported to the gate and counted once.

use crate::gate::{FarSide, Gate, Refused};
use crate::metrics;
use crate::ports::{PortFuture, ReadAnswer, ReadError, StripeRead};
use bursar_domain::decision::Lane;
use bursar_domain::ids::Scope;
use std::sync::Arc;

/// The word of GETs in the metrics of requests.
pub(super) const OPERATION: &str = "read";

/// Asks through the gate, with the share of one lane.
#[derive(Clone)]
pub struct GatedRead {
    stripe: Arc<dyn StripeRead>,
    gate: Arc<Gate>,
    lane: Lane,
}

impl GatedRead {
    /// Asks `stripe` if `gate` lets this lane through.
    pub fn new(stripe: Arc<dyn StripeRead>, gate: Arc<Gate>, lane: Lane) -> Self {
        Self { stripe, gate, lane }
    }

    /// Asks once. # Errors: as the port, or the gate refuses.
    pub async fn ask(
        &self,
        scope: Scope,
        path: String,
        is_retry: bool,
    ) -> Result<ReadAnswer, ReadError> {
        let pass = match self.gate.enter(&scope, self.lane, is_retry) {
            Ok(pass) => pass,
            Err(refused) => {
                if refused.circuit.is_some() {
                    metrics::stripe_refused(OPERATION);
                }
                return Err(refused.into());
            }
        };
        let answer = self.stripe.get(scope, path).await;
        metrics::stripe_request(OPERATION, word(&answer), pass.took());
        if let Ok(answer) = &answer {
            pass.heard_at(answer.date_unix);
        }
        pass.end(FarSide::of_read(&answer));
        answer
    }
}

impl StripeRead for GatedRead {
    fn get(&self, scope: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        Box::pin(self.ask(scope, path, false))
    }
}

impl From<Refused> for ReadError {
    fn from(refused: Refused) -> Self {
        Self::Refused {
            circuit: refused.circuit,
            retry_after: refused.retry_after,
        }
    }
}

/// The outcome's word in metrics.
const fn word(end: &Result<ReadAnswer, ReadError>) -> &'static str {
    match end {
        Ok(_) => "ok",
        Err(ReadError::Timeout) => "timeout",
        Err(ReadError::Network(_)) => "network",
        Err(ReadError::RateLimited { .. }) => "rate_limited",
        Err(ReadError::Server(_)) => "server_error",
        Err(ReadError::Auth(_) | ReadError::Unexpected { .. }) => "invalid",
        Err(ReadError::Refused { .. }) => "circuit_open",
    }
}
