//! Live reads: what Stripe says now, where a stored row may be too old to decide by.
//!
//! Invariants: nothing is changed at Stripe. Failure: 404, 502, 503; nothing was ordered.

use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_actors::ports::ReadError;
use bursar_domain::ids::Scope;
use serde_json::Value;

/// One object or list, read now. # Errors: 404, 502, 503.
pub(super) async fn read(call: &Call, scope: Scope, path: String) -> Result<Value, Problem> {
    let answer = call.edge.stripe.get(scope, path).await.map_err(|error| {
        tracing::warn!(%error, "Stripe could not be read for a request");
        match error {
            ReadError::Refused { retry_after, .. } => Problem {
                retry_after_seconds: Some(retry_after.as_secs().max(1)),
                ..Problem::new(
                    Code::StripeCircuitOpen,
                    "calls to Stripe are held back; ask again",
                )
            },
            _ => Problem::new(
                Code::StripeUnavailable,
                "Stripe could not be asked; nothing happened",
            ),
        }
    })?;
    if answer.status == 404 {
        return Err(Problem::not_found());
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        tracing::error!(%error, "an answer of Stripe cannot be read");
        Problem::new(Code::StripeUnavailable, "Stripe's answer could not be read")
    })
}
