//! Stripe asked while a request waits: reads, and calls that change nothing worth keeping.
//!
//! Invariants: nothing is stored and nothing is retried; while the circuit is open Stripe is not called.
//! Not here: orders (`super::run`).
//! Failure: 404 for what Stripe does not have, 402 and 422 in Stripe's words, 502 and 503 when it cannot be asked.

use crate::http::problem::{Code, Problem, StripeWords};
use crate::http::route::Call;
use bursar_actors::ports::{CallAnswer, CallEnd, ReadError};
use bursar_domain::ids::Scope;
use bursar_domain::stripe_call::StripeCall;
use serde_json::Value;
use std::time::Duration;

fn held_back(retry_after: Duration) -> Problem {
    Problem {
        retry_after_seconds: Some(retry_after.as_secs().max(1)),
        ..Problem::new(
            Code::StripeCircuitOpen,
            "calls to Stripe are held back; ask again",
        )
    }
}

/// One object or list, read now. # Errors: 404, 502, 503.
pub(super) async fn read(call: &Call, scope: Scope, path: String) -> Result<Value, Problem> {
    let answer = call.edge.stripe.get(scope, path).await.map_err(|error| {
        tracing::warn!(%error, "Stripe could not be read for a request");
        match error {
            ReadError::Refused { retry_after, .. } => held_back(retry_after),
            _ => Problem::new(
                Code::StripeUnavailable,
                "Stripe could not be asked; nothing happened",
            ),
        }
    })?;
    if answer.status == 404 {
        return Err(Problem::not_found());
    }
    readable(&answer.body)
}

/// One call that changes nothing, made now; the object it answers. # Errors: 402, 422, 502, 503.
pub(super) async fn preview(call: &Call, request: StripeCall) -> Result<Value, Problem> {
    let operation = request.operation.as_str();
    let end = call.edge.stripe.preview(request).await;
    match end.map_err(held_back)? {
        CallEnd::Answer(answer) if (200..300).contains(&answer.status) => readable(&answer.body),
        CallEnd::Answer(answer) => Err(refused(&answer)),
        CallEnd::RateLimited { retry_after, .. } => {
            Err(held_back(retry_after.unwrap_or(Duration::from_secs(1))))
        }
        CallEnd::NotSent { .. }
        | CallEnd::KeyRefused { .. }
        | CallEnd::InProgress { .. }
        | CallEnd::KeyReused { .. }
        | CallEnd::Unknown { .. } => {
            tracing::warn!(operation, "Stripe could not be asked for a request");
            let detail = "Stripe could not be asked; nothing happened, ask again";
            Err(Problem::new(Code::StripeUnavailable, detail))
        }
    }
}

fn readable(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::error!(%error, "an answer of Stripe cannot be read");
        Problem::new(Code::StripeUnavailable, "Stripe's answer could not be read")
    })
}

/// A refusal in Stripe's words.
fn refused(answer: &CallAnswer) -> Problem {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |name: &str| body["error"][name].as_str().map(str::to_owned);
    let code = match answer.status {
        402 => Code::StripeDeclined,
        _ => Code::StripeRefused,
    };
    let detail = text("message").unwrap_or_else(|| "Stripe refused it".to_owned());
    let request_id = Some(answer.request_id.clone()).filter(|id| !id.is_empty());
    Problem {
        stripe: Some(Box::new(StripeWords {
            stripe_code: text("code").or_else(|| text("type")),
            decline_code: text("decline_code"),
            param: text("param"),
            stripe_request_id: request_id,
            command_id: String::new(),
        })),
        ..Problem::new(code, detail)
    }
}
