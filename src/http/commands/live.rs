//! What Stripe says now: reads a request cannot do without, and calls that change nothing.
//!
//! Invariants: nothing read here is stored or logged; what it says is judged and forgotten.
//! Failure: 404 as Stripe's; 402 and 422 where a call that changes nothing was refused; 502 and 503 when Stripe cannot
//! be asked, and nothing happened.

use super::outcome;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_actors::ports::{CallEnd, ReadAnswer, ReadError};
use bursar_domain::ids::Scope;
use bursar_domain::stripe_call::StripeCall;
use serde_json::Value;
use std::time::Duration;

/// An id as one segment of a path.
pub(super) fn escaped(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// One object or list, read now. # Errors: 404, 502, 503.
pub(super) async fn read(call: &Call, scope: Scope, path: String) -> Result<Value, Problem> {
    let answer = whole(call, scope, path).await?;
    if answer.status == 404 {
        return Err(Problem::not_found());
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        tracing::error!(%error, "an answer of Stripe cannot be read");
        Problem::new(Code::StripeUnavailable, "Stripe's answer could not be read")
    })
}

/// An answer as it came, 404 too. # Errors: 502, 503.
pub(super) async fn whole(call: &Call, scope: Scope, path: String) -> Result<ReadAnswer, Problem> {
    let answer = call.edge.stripe.get(scope, path).await;
    answer.map_err(|error| {
        tracing::warn!(%error, "Stripe could not be read for a request");
        match error {
            ReadError::Refused { retry_after, .. } => held_back(retry_after),
            _ => Problem::new(
                Code::StripeUnavailable,
                "Stripe could not be asked; nothing happened",
            ),
        }
    })
}

fn held_back(retry_after: Duration) -> Problem {
    Problem {
        retry_after_seconds: Some(retry_after.as_secs().max(1)),
        ..Problem::new(
            Code::StripeCircuitOpen,
            "calls to Stripe are held back; ask again",
        )
    }
}

/// The answer to a call that changes nothing. # Errors: 402, 404, 422, 502, 503.
pub(super) async fn preview(call: &Call, order: StripeCall) -> Result<Value, Problem> {
    let away = |detail: &str| Problem::new(Code::StripeUnavailable, detail);
    let answer = match call.edge.stripe.preview(order).await.map_err(held_back)? {
        CallEnd::Answer(answer) => answer,
        CallEnd::RateLimited { retry_after, .. } | CallEnd::InProgress { retry_after } => {
            return Err(Problem {
                retry_after_seconds: retry_after.map(|wait| wait.as_secs().max(1)),
                ..away("Stripe asks for patience; nothing happened, ask again")
            });
        }
        CallEnd::KeyRefused { status, detail } => {
            tracing::error!(status, detail, "the Stripe key may not preview: correct it");
            return Err(away(
                "Stripe does not accept the key of this installation; nothing happened",
            ));
        }
        CallEnd::NotSent { reason } | CallEnd::Unknown { reason, .. } => {
            tracing::warn!(reason, "Stripe could not be asked for a preview");
            return Err(away("Stripe could not be asked; nothing happened"));
        }
        CallEnd::KeyReused { request_id } => {
            tracing::error!(request_id, "a preview's fresh key was known to Stripe");
            return Err(away("Stripe could not be asked; nothing happened"));
        }
    };
    let object: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| away("Stripe's answer could not be read"))?;
    if (200..300).contains(&answer.status) {
        return Ok(object);
    }
    Err(outcome::refusal(
        &object["error"],
        answer.status,
        &answer.request_id,
    ))
}
