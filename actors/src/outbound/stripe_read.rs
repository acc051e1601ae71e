//! The read-only lane to Stripe: performs the re-reads reducers ask for, hands answers back as inputs.
//!
//! Invariants: GET only; 404 is an answer; the answer is accepted in the commit that settles the
//! effect, under the effect's id, so it is applied once however often it was asked.
//! Failure: `on_error` says what is tried again; a refused key is asked again every few minutes and
//! does not use up attempts.

use super::gated_read::{GatedRead, OPERATION};
use crate::clock::Clock;
use crate::gate::Gate;
use crate::metrics;
use crate::ports::{Outcome, Performer, PortFuture, ReadAnswer, ReadError, Reducer, StripeRead};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectId, Lane};
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::reread::subject_of;
use bursar_store::api::{DueEffect, Fate, Inbound};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reads remembered as asked before; beyond, some are forgotten and count as new.
const ASKED_MAX: usize = 10_000;
/// Wait after a refused key: long enough not to storm, short enough for a corrected one.
const AUTH_WAIT: Duration = Duration::from_secs(300);

/// Performs re-reads.
pub struct StripeReads {
    stripe: GatedRead,
    reducer: Arc<dyn Reducer>,
    clock: Arc<dyn Clock>,
    /// Effects asked for that brought no answer yet.
    asked: Mutex<BTreeSet<EffectId>>,
}

impl StripeReads {
    /// Reads through `stripe` what `reducer` can name, as far as `gate` lets it.
    pub fn new(
        stripe: Arc<dyn StripeRead>,
        reducer: Arc<dyn Reducer>,
        clock: Arc<dyn Clock>,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            stripe: GatedRead::new(stripe, gate, Lane::StripeRead),
            reducer,
            clock,
            asked: Mutex::default(),
        }
    }

    fn asked(&self) -> MutexGuard<'_, BTreeSet<EffectId>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was asked before, also where that did not count as an attempt (429, a refused key).
    fn is_retry(&self, effect: &DueEffect) -> bool {
        effect.attempts > 0 || self.asked().contains(&effect.id)
    }

    /// Remembers what was asked and brought no answer.
    fn note<T>(&self, id: &EffectId, answer: &Result<T, ReadError>) {
        let mut asked = self.asked();
        match answer {
            Ok(_) => {
                asked.remove(id);
            }
            // Nothing was asked.
            Err(ReadError::Refused { .. }) => {}
            Err(_) => {
                asked.insert(id.clone());
                if asked.len() > ASKED_MAX {
                    asked.pop_first();
                }
            }
        }
    }

    async fn read(&self, effect: DueEffect) -> Outcome {
        let payload = effect.payload.as_deref().unwrap_or_default();
        let order = match self.reducer.reread(payload) {
            Ok(order) => order,
            Err(error) => {
                return Outcome::Failed {
                    note: format!("not a re-read: {error}"),
                };
            }
        };
        let answer = self
            .stripe
            .ask(
                order.scope.clone(),
                order.path.clone(),
                self.is_retry(&effect),
            )
            .await;
        self.note(&effect.id, &answer);
        match answer {
            Ok(answer) => match heard(
                effect.id,
                &effect.aggregate,
                &order.scope,
                &order.target,
                &answer,
                self.clock.now(),
            ) {
                Ok(result) => Outcome::Done {
                    note: format!("{} {}", answer.status, answer.request_id),
                    result: Some(Box::new(result)),
                },
                Err(error) => Outcome::Retry {
                    after: None,
                    error,
                    counts: true,
                    of_one: false,
                    told: None,
                },
            },
            Err(error) => on_error(&error),
        }
    }
}

impl Performer for StripeReads {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(self.read(effect))
    }
}

fn on_error(error: &ReadError) -> Outcome {
    let text = error.to_string();
    let (reason, after, counts) = match error {
        ReadError::Timeout => ("timeout", None, true),
        ReadError::Network(_) => ("network", None, true),
        ReadError::Server(_) => ("server_error", None, true),
        ReadError::RateLimited { retry_after } => ("rate_limited", *retry_after, false),
        // Not a retry: nothing was sent.
        ReadError::Refused { retry_after, .. } => {
            return Outcome::Retry {
                after: Some(*retry_after),
                error: text,
                counts: false,
                of_one: false,
                told: None,
            };
        }
        ReadError::Auth(_) => {
            tracing::error!(error = text, "the Stripe key cannot read: correct it");
            ("key_refused", Some(AUTH_WAIT), false)
        }
        ReadError::Unexpected { .. } => return Outcome::Failed { note: text },
    };
    metrics::stripe_retry(OPERATION, reason);
    Outcome::Retry {
        after,
        error: text,
        counts,
        of_one: false,
        told: None,
    }
}

#[derive(serde::Serialize)]
struct ResultBody<'a> {
    target: &'a serde_json::Value,
    status: u16,
    date: i64,
    body: &'a RawValue,
}

/// The answer to a read of `target` as an input of `to`, under the name of the read. # Errors: the body is not JSON.
pub fn heard(
    read: EffectId,
    to: &AggregateKey,
    scope: &Scope,
    target: &serde_json::Value,
    answer: &ReadAnswer,
    now: Timestamp,
) -> Result<Inbound, String> {
    let raw: &RawValue = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the answer is not JSON: {error}"))?;
    let object: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let body = serde_json::to_vec(&ResultBody {
        target,
        status: answer.status,
        date: answer.date_unix,
        body: raw,
    })
    .map_err(|error| error.to_string())?;
    let id = object.get("id").and_then(serde_json::Value::as_str);
    Ok(Inbound {
        source: InputSource::Effect(read),
        kind: "reread".into(),
        fate: Fate::Pending {
            to: to.clone(),
            park: Vec::new(),
        },
        object_ids: id.map(str::to_owned).into_iter().collect(),
        created_at: Some(Timestamp::from_seconds(answer.date_unix)),
        received_at: now,
        subject: subject_of(scope, &object, now),
        body: body.into(),
        tenant: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_or_rate_limit_does_not_use_up_attempts() {
        for (error, after, counts) in [
            (ReadError::Timeout, None, true),
            (ReadError::Server(502), None, true),
            (
                ReadError::RateLimited {
                    retry_after: Some(Duration::from_secs(7)),
                },
                Some(Duration::from_secs(7)),
                false,
            ),
            (ReadError::Auth(401), Some(AUTH_WAIT), false),
            (
                ReadError::Refused {
                    circuit: None,
                    retry_after: Duration::from_millis(40),
                },
                Some(Duration::from_millis(40)),
                false,
            ),
        ] {
            let Outcome::Retry {
                after: got,
                counts: got_counts,
                ..
            } = on_error(&error)
            else {
                panic!("{error} is tried again");
            };
            assert_eq!((got, got_counts), (after, counts), "{error}");
        }
    }
}
