//! What the actors need from outside, as traits: the root gives real ones, tests give their own.
//!
//! Invariants: a port never panics for a reason outside the process; every future ends in bounded
//! time (the caller adds a deadline all the same).
//!
//! Not here: the store (`bursar_store::api::Store`), the clock (`crate::clock`).

use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Decision;
use bursar_domain::ids::Scope;
use bursar_domain::input::{Ctx, StoredInput};
use bursar_domain::link::LinkKey;
use bursar_domain::settings::Settings;
use bursar_domain::stripe_call::StripeCall;
use bursar_store::api::{DueEffect, Inbound};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future of a port.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What Stripe answered to a GET: 200 or 404, both are answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// 200 or 404.
    pub status: u16,
    /// The answer's `Date`, seconds since 1970.
    pub date_unix: i64,
    /// The JSON body, not parsed.
    pub body: Vec<u8>,
    /// Stripe's `Request-Id`, empty if none.
    pub request_id: String,
}

/// Why a GET brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("no connection: {0}")]
    Network(String),
    /// 429.
    #[error("too many requests")]
    RateLimited {
        /// `Retry-After`, if any.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the server answered {0}")]
    Server(u16),
    /// 401 or 403: our key is wrong or limited. Asking again soon changes nothing.
    #[error("the key was refused ({0})")]
    Auth(u16),
    /// Not asked: the gate lets nothing through now.
    #[error("not asked: {}", circuit.as_deref().map_or("the allowance of requests is used up", |_| "a circuit is open"))]
    Refused {
        /// The open circuit; none: the allowance is used up.
        circuit: Option<String>,
        /// When to ask again.
        retry_after: Duration,
    },
    /// Any other status: asking again changes nothing.
    #[error("unexpected answer {status}: {detail}")]
    Unexpected {
        /// The status.
        status: u16,
        /// Stripe's error code or what is odd, no personal data.
        detail: String,
    },
}

/// GETs at Stripe's API.
pub trait StripeRead: Send + Sync + 'static {
    /// Asks once; no retries of its own. `path` starts with `/v1/` and may have a query.
    fn get(&self, scope: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>>;
}

/// Stripe's word on a call: what it did, or why it refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// 2xx, or 400, 402, 404 and the like with an error of Stripe's.
    pub status: u16,
    /// The answer's `Date`, seconds since 1970.
    pub date_unix: i64,
    /// Stripe's `Request-Id`, empty if none.
    pub request_id: String,
    /// `Idempotent-Replayed: true`: what was answered to an earlier request under this key, so the body is as old.
    pub is_replayed: bool,
    /// The JSON body, not parsed; an object for 2xx, an `error` otherwise.
    pub body: Vec<u8>,
}

/// The reason of a call whose answer did not come in time.
pub const NO_ANSWER_IN_TIME: &str = "no whole answer in time";

/// How one call ended. Source of the rows: Stripe API reference, "Errors", "Idempotent requests".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// Stripe's definite word.
    Answer(CallAnswer),
    /// No byte of the request left: no connection, no name, no TLS.
    NotSent {
        /// In words, no personal data.
        reason: String,
    },
    /// 429: not executed.
    RateLimited {
        /// `Retry-After`, if any.
        retry_after: Option<Duration>,
        /// `Stripe-Rate-Limited-Reason`; none for a lock on an object.
        reason: Option<String>,
    },
    /// 401 or 403: not executed; our key is wrong or limited.
    KeyRefused {
        /// The status.
        status: u16,
        /// Stripe's code, no personal data.
        detail: String,
    },
    /// 409: an earlier request under this key still runs, or the object is locked.
    InProgress {
        /// `Retry-After`, if any.
        retry_after: Option<Duration>,
    },
    /// `idempotency_error`: this key was used for another request. A defect of ours.
    KeyReused {
        /// Stripe's `Request-Id`.
        request_id: String,
    },
    /// Nobody can know: no answer after the first byte, a 5xx, an unreadable 2xx, a redirect.
    Unknown {
        /// In words, no personal data.
        reason: String,
        /// `Stripe-Should-Retry`, if sent.
        should_retry: Option<bool>,
        /// The failure itself is a replay: the key answers it for a day, so asking again is no use.
        is_replayed: bool,
        /// `Retry-After`, if any.
        retry_after: Option<Duration>,
    },
}

/// POSTs and DELETEs at Stripe's API.
pub trait StripeWrite: Send + Sync + 'static {
    /// Sends once; no retries of its own. At most `within`.
    fn send(
        &self,
        call: StripeCall,
        idempotency_key: String,
        within: Duration,
    ) -> PortFuture<'_, CallEnd>;
}

/// A re-read a reducer asked for, read from its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RereadOrder {
    /// Whose account.
    pub scope: Scope,
    /// Path and query of the GET.
    pub path: String,
    /// The target as JSON, handed back with the answer.
    pub target: serde_json::Value,
}

/// An input in hand: read once, asked twice.
pub trait Prepared: Send {
    /// Links `decide` wants to see.
    fn lookups(&self, settings: &Settings) -> Vec<LinkKey>;
    /// Decides. A panic makes this one input dead, nothing else.
    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision;
}

/// The pure core, behind a trait so that tests can put a broken one in its place.
pub trait Reducer: Send + Sync + 'static {
    /// Revision recorded with every decision.
    fn revision(&self) -> u32;
    /// Reads an input and the state it meets. A panic makes this one input dead, nothing else.
    fn prepare<'a>(
        &self,
        key: &'a AggregateKey,
        snapshot: Option<&'a [u8]>,
        input: &'a StoredInput,
    ) -> Box<dyn Prepared + 'a>;
    /// Reads a re-read effect. # Errors: in words; the effect is settled as failed.
    fn reread(&self, payload: &[u8]) -> Result<RereadOrder, String>;
}

/// How one attempt at an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done {
        /// Closing note, no personal data.
        note: String,
        /// Its result as a new input.
        result: Option<Box<Inbound>>,
    },
    /// It will not be done, and that is all right.
    Skipped {
        /// Why.
        note: String,
    },
    /// It cannot be done; trying again changes nothing.
    Failed {
        /// Why.
        note: String,
    },
    /// It did not work this time.
    Retry {
        /// Not before (the lane's own delay if `None`); exactly then if the attempt does not count.
        after: Option<Duration>,
        /// What went wrong.
        error: String,
        /// Whether the attempt counts towards the limit (a refused key or an open breaker does not).
        counts: bool,
        /// Whether the reason is one recipient's, so that the far side's circuit hears nothing of it.
        of_one: bool,
        /// What the aggregate must hear now, e.g. that nobody can know whether it happened.
        told: Option<Box<Inbound>>,
    },
}

/// Performs the effects of one lane, each at least once.
pub trait Performer: Send + Sync + 'static {
    /// One attempt. A panic counts as a failed attempt.
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome>;
    /// How a due effect ends without an attempt, because its time is over. Asked of each before its attempt, and while
    /// the circuit is open too. Quick: no I/O.
    fn overdue(&self, _effect: &DueEffect) -> Option<Outcome> {
        None
    }
    /// How long an effect may be put off at most, whatever the lane's own delay says; `None`: as long as that. Quick.
    fn put_off_max(&self, _effect: &DueEffect) -> Option<Duration> {
        None
    }
}
