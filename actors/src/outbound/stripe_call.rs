//! The lanes that order things at Stripe: one attempt at a command's call, and what its end means.
//!
//! Invariants: every attempt of a call sends the same bytes under the same key; a key is not sent 23 h after its call
//! was decided, because Stripe may forget it after 24 and would run the request as new. A call somebody waits for is
//! given up only if this process made all of its attempts and nothing of any of them left: what an earlier process did
//! nobody knows. Before an attempt that may have happened is put off, its command hears so.
//! Not here: waits and retries (`lane`), what an outcome means (`bursar_domain::command`), bytes and sockets (the
//! root's `StripeWrite`).
//! Failure: see [`CallEnd`]; the table is that of the contract, "Stripe and unknown outcomes".

use crate::clock::Clock;
use crate::gate::{FarSide, Gate};
use crate::metrics;
use crate::ports::{
    CallAnswer, CallEnd, NO_ANSWER_IN_TIME, Outcome, Performer, PortFuture, StripeWrite,
};
use bursar_domain::command::{CallEffect, CallResult};
use bursar_domain::decision::EffectId;
use bursar_domain::effect::Effect;
use bursar_domain::fact::{CALL, Order};
use bursar_domain::ids::Timestamp;
use bursar_domain::input::InputSource;
use bursar_domain::tenant;
use bursar_store::api::{DueEffect, Fate, Inbound};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a key may be sent after its call was decided, in ms: Stripe keeps it 24 h at least.
const KEY_SENT_MS_MAX: i64 = 23 * 3_600_000;
/// Longest single attempt. Stripe's own libraries wait 80 s; asking again under the same key is as good and sooner.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// Longest single attempt while somebody waits.
const ATTEMPT_WAITED_FOR: Duration = Duration::from_secs(12);
/// Wait after a refused key: no storm, and soon enough for a corrected one.
const KEY_REFUSED_WAIT: Duration = Duration::from_secs(30);
/// Wait while an earlier request under the key still runs.
const IN_PROGRESS_WAIT: Duration = Duration::from_secs(1);
/// Calls remembered at once; beyond, some are forgotten, and a forgotten call is never given up.
const HISTORIES_MAX: usize = 100_000;

/// What this process knows of a call's attempts.
#[derive(Clone, Debug)]
struct History {
    /// When it was first in hand, on the uptime scale.
    since: Duration,
    /// Nothing of any attempt left, in this process or before.
    never_left: bool,
    /// This process sent it before, whether that counted as an attempt or not.
    was_sent: bool,
    /// Why the last attempt did nothing.
    code: &'static str,
}

/// Performs calls.
pub struct StripeCalls {
    stripe: Arc<dyn StripeWrite>,
    clock: Arc<dyn Clock>,
    gate: Arc<Gate>,
    /// When this process began, by the wall clock.
    began_at: Timestamp,
    histories: Mutex<BTreeMap<EffectId, History>>,
}

impl StripeCalls {
    /// Sends through `stripe` what `gate` lets through.
    pub fn new(stripe: Arc<dyn StripeWrite>, clock: Arc<dyn Clock>, gate: Arc<Gate>) -> Self {
        Self {
            began_at: clock.now(),
            stripe,
            clock,
            gate,
            histories: Mutex::new(BTreeMap::new()),
        }
    }

    fn history(&self, effect: &DueEffect) -> History {
        let mut all = self
            .histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() >= HISTORIES_MAX && !all.contains_key(&effect.id) {
            all.pop_first();
        }
        let known = all.entry(effect.id.clone()).or_insert_with(|| History {
            since: self.clock.uptime(),
            never_left: effect.attempts == 0 && effect.decided_at >= self.began_at,
            was_sent: false,
            code: "stripe_unavailable",
        });
        known.clone()
    }

    fn note(&self, id: &EffectId, change: impl FnOnce(&mut History)) {
        let mut all = self
            .histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(id) {
            change(known);
        }
    }

    fn forget(&self, id: &EffectId) {
        let mut all = self
            .histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.remove(id);
    }

    /// How long somebody still waits; `None`: nobody does, or it may have happened and must end known.
    fn patience_left(&self, call: &CallEffect, history: &History) -> Option<Duration> {
        let patience = Duration::from_millis(call.patience_ms?);
        let waited = self.clock.uptime().saturating_sub(history.since);
        history.never_left.then(|| patience.saturating_sub(waited))
    }

    fn given_up(&self, effect: &DueEffect, call: &CallEffect, history: &History) -> Outcome {
        let result = CallResult::GaveUp {
            generation: call.generation,
            code: history.code.to_owned(),
            reason: "nothing of it left before its time was over".to_owned(),
        };
        self.done(effect, call, &result, format!("given up: {}", history.code))
    }

    fn done(
        &self,
        effect: &DueEffect,
        call: &CallEffect,
        result: &CallResult,
        note: String,
    ) -> Outcome {
        self.forget(&effect.id);
        let body = match serde_json::to_vec(result) {
            Ok(body) => body,
            Err(error) => {
                return Outcome::Failed {
                    note: format!("result: {error}"),
                };
            }
        };
        let source = InputSource::Effect(effect.id.clone());
        let inbound = self.inbound(effect, call, source, CALL, body);
        Outcome::Done {
            note,
            result: Some(Box::new(inbound)),
        }
    }

    fn inbound(
        &self,
        effect: &DueEffect,
        call: &CallEffect,
        source: InputSource,
        kind: &str,
        body: Vec<u8>,
    ) -> Inbound {
        Inbound {
            source,
            kind: kind.to_owned(),
            fate: Fate::Pending {
                to: effect.aggregate.clone(),
                park: Vec::new(),
            },
            object_ids: vec![call.command.to_string()],
            created_at: None,
            received_at: self.clock.now(),
            subject: tenant::subject(&call.tenant),
            body: body.into(),
            tenant: Some(call.tenant.clone()),
        }
    }

    async fn attempt(&self, effect: DueEffect) -> Outcome {
        let call = match read(&effect) {
            Ok(call) => call,
            Err(note) => return Outcome::Failed { note },
        };
        let history = self.history(&effect);
        if let Some(over) = self.is_over(&effect, &call, &history) {
            return over;
        }
        let within = match self.patience_left(&call, &history) {
            Some(left) => left.clamp(Duration::from_secs(1), ATTEMPT_WAITED_FOR),
            None => ATTEMPT_MAX,
        };
        let operation = call.call.operation.as_str();
        let is_retry = effect.attempts > 0 || history.was_sent;
        let pass = match self.gate.enter(&call.call.scope, effect.lane, is_retry) {
            Ok(pass) => pass,
            Err(refused) => {
                if refused.circuit.is_some() {
                    metrics::stripe_refused(operation);
                    self.note(&effect.id, |history| history.code = "stripe_circuit_open");
                }
                let after = Some(refused.retry_after);
                return Self::again(after, refused.to_string(), false);
            }
        };
        // An attempt may be cut off at any time: until its end is known, it may have left.
        self.note(&effect.id, |known| {
            (known.never_left, known.was_sent) = (false, true)
        });
        let once = bursar_domain::mutant!(
            "M4",
            format!("{}_{}", call.key(), effect.attempts),
            call.key()
        );
        let key = bursar_domain::mutant!("M5", format!("{once}_{}", self.began_at.0), once);
        let sent = self.stripe.send(call.call.clone(), key, within);
        let end = sent.await;
        bursar_domain::step!("KC3");
        if did_nothing(&end) {
            self.note(&effect.id, |known| known.never_left = history.never_left);
        }
        let word = word_of(&end);
        metrics::stripe_request(operation, word, pass.took());
        let reason = reason_of(&end);
        if let CallEnd::Answer(answer) = &end {
            pass.heard_at(answer.date_unix);
        }
        pass.end(FarSide::from(&end));
        let outcome = self.ended(&effect, &call, end);
        if matches!(outcome, Outcome::Retry { .. }) {
            metrics::stripe_retry(operation, reason);
        }
        outcome
    }

    /// What is over without another attempt.
    fn is_over(&self, effect: &DueEffect, call: &CallEffect, history: &History) -> Option<Outcome> {
        if self.patience_left(call, history) == Some(Duration::ZERO) {
            return Some(self.given_up(effect, call, history));
        }
        let age_ms = self.clock.now().0.saturating_sub(effect.decided_at.0);
        (age_ms > KEY_SENT_MS_MAX).then(|| {
            let result = CallResult::Indeterminate {
                generation: call.generation,
                last_try_at: self.clock.now(),
                reason: "its key is too old to be sent again".to_owned(),
            };
            self.done(effect, call, &result, "its key is too old".to_owned())
        })
    }

    fn ended(&self, effect: &DueEffect, call: &CallEffect, end: CallEnd) -> Outcome {
        match end {
            CallEnd::Answer(answer) => self.answered(effect, call, answer),
            CallEnd::NotSent { reason } => {
                self.note(&effect.id, |history| history.code = "stripe_unavailable");
                Self::again(None, reason, true)
            }
            CallEnd::RateLimited {
                retry_after,
                reason,
            } => {
                self.note(&effect.id, |history| history.code = "stripe_rate_limited");
                let reason = reason.unwrap_or_else(|| "the object is locked".to_owned());
                Self::again(retry_after, format!("429: {reason}"), false)
            }
            CallEnd::KeyRefused { status, detail } => {
                tracing::error!(status, detail, "the Stripe key may not do this: correct it");
                self.note(&effect.id, |history| history.code = "stripe_key_refused");
                let history = self.history(effect);
                if self.patience_left(call, &history).is_some() {
                    return self.given_up(effect, call, &history);
                }
                let error = format!("the key was refused ({status})");
                Self::again(Some(KEY_REFUSED_WAIT), error, false)
            }
            CallEnd::InProgress { retry_after } => {
                let after = retry_after.unwrap_or(IN_PROGRESS_WAIT);
                let reason = "an earlier request under this key still runs".to_owned();
                self.unsure(effect, call, Some(after), reason)
            }
            CallEnd::KeyReused { request_id } => {
                tracing::error!(command = %call.command, request_id, "Stripe knows this key for another request");
                let result = CallResult::KeyReused {
                    generation: call.generation,
                    last_try_at: self.clock.now(),
                    request_id,
                };
                self.done(effect, call, &result, "idempotency_error".to_owned())
            }
            CallEnd::Unknown {
                reason,
                should_retry: Some(false),
                ..
            }
            | CallEnd::Unknown {
                reason,
                is_replayed: true,
                ..
            } => {
                let result = CallResult::Indeterminate {
                    generation: call.generation,
                    last_try_at: self.clock.now(),
                    reason: reason.clone(),
                };
                self.done(effect, call, &result, reason)
            }
            CallEnd::Unknown {
                reason,
                retry_after,
                ..
            } => self.unsure(effect, call, retry_after, reason),
        }
    }

    fn answered(&self, effect: &DueEffect, call: &CallEffect, answer: CallAnswer) -> Outcome {
        let Ok(body) = serde_json::from_slice::<Box<RawValue>>(&answer.body) else {
            return self.unsure(effect, call, None, "the answer is not JSON".to_owned());
        };
        let note = format!("{} {}", answer.status, answer.request_id);
        let result = CallResult::Answered {
            generation: call.generation,
            status: answer.status,
            date: answer.date_unix,
            request_id: answer.request_id,
            is_replayed: answer.is_replayed,
            body: Some(body),
        };
        self.done(effect, call, &result, note)
    }

    /// Once more, nothing having happened.
    fn again(after: Option<Duration>, error: String, counts: bool) -> Outcome {
        Outcome::Retry {
            after,
            error,
            counts,
            of_one: false,
            told: None,
        }
    }

    /// Once more under the same key; whether it happened nobody can know.
    fn unsure(
        &self,
        effect: &DueEffect,
        call: &CallEffect,
        after: Option<Duration>,
        reason: String,
    ) -> Outcome {
        // At every attempt, in case an earlier word could not be stored; the same word counts once.
        let order = Order::CommandUnsure {
            generation: call.generation,
            reason: reason.clone(),
        };
        let id = format!("{}.{}.unsure", call.command, call.generation);
        let source = InputSource::Operator(id);
        let told = self.inbound(effect, call, source, order.kind(), order.to_body());
        Outcome::Retry {
            after,
            error: reason,
            counts: true,
            of_one: false,
            told: Some(Box::new(told)),
        }
    }
}

impl Performer for StripeCalls {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(self.attempt(effect))
    }

    fn overdue(&self, effect: &DueEffect) -> Option<Outcome> {
        let call = read(effect).ok()?;
        let history = self.history(effect);
        self.is_over(effect, &call, &history)
    }

    /// Not later than the moment it is given up: somebody waits for that.
    fn put_off_max(&self, effect: &DueEffect) -> Option<Duration> {
        let call = read(effect).ok()?;
        self.patience_left(&call, &self.history(effect))
    }
}

fn read(effect: &DueEffect) -> Result<CallEffect, String> {
    match Effect::from_payload(effect.payload.as_deref().unwrap_or_default()) {
        Ok(Effect::Call(call)) => Ok(call),
        Ok(_) => Err("not a call".to_owned()),
        Err(error) => Err(format!("not a call: {error}")),
    }
}

/// Whether Stripe surely executed nothing of it.
const fn did_nothing(end: &CallEnd) -> bool {
    matches!(
        end,
        CallEnd::NotSent { .. } | CallEnd::RateLimited { .. } | CallEnd::KeyRefused { .. }
    )
}

/// The word of an end in the metrics of requests.
pub fn word_of(end: &CallEnd) -> &'static str {
    match end {
        CallEnd::Answer(answer) => match answer.status {
            200..300 => "ok",
            402 => "declined",
            _ => "invalid",
        },
        CallEnd::NotSent { .. } => "network",
        CallEnd::RateLimited { .. } => "rate_limited",
        CallEnd::KeyRefused { .. } | CallEnd::KeyReused { .. } => "invalid",
        CallEnd::InProgress { .. } => "rate_limited",
        CallEnd::Unknown { reason, .. } if reason == NO_ANSWER_IN_TIME => "timeout",
        CallEnd::Unknown { .. } => "server_error",
    }
}

/// Why it is sent again, in the word of the metrics.
fn reason_of(end: &CallEnd) -> &'static str {
    match end {
        CallEnd::NotSent { .. } => "network",
        CallEnd::RateLimited { .. } => "rate_limited",
        CallEnd::KeyRefused { .. } => "key_refused",
        CallEnd::InProgress { .. } => "in_progress",
        CallEnd::Unknown { reason, .. } if reason == NO_ANSWER_IN_TIME => "timeout",
        CallEnd::Unknown { .. } => "server_error",
        CallEnd::Answer(_) | CallEnd::KeyReused { .. } => "unknown",
    }
}

#[cfg(test)]
#[path = "stripe_call_tests.rs"]
mod tests;
