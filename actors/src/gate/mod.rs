//! The gate every request to Stripe passes: circuits per host and account, allowances, a budget of retries.
//!
//! Invariants:
//! - nothing is taken by who is refused; nothing waits here, so a refusal costs no place in any queue;
//! - the host's failures open the host's circuit alone, an account's its own alone;
//! - the lock is never held over an await, nor while anything is told.
//!
//! Not here: deadlines and retries of requests (the lanes), sending (`ports`), what a refusal means to a caller.
//! Failure: a pass that is dropped says nothing, unless it was the probe of a circuit: then that circuit's probe failed.

mod accounts;
mod bucket;
mod budget;
mod far_side;
mod guarded;
mod spacing;

pub use far_side::FarSide;

use crate::breaker::Circuit;
use crate::circuits::{Announcer, CircuitView, Transition};
use crate::clock::Clock;
use crate::metrics;
use accounts::{ACCOUNT_LABEL, ACCOUNT_PREFIX, Accounts};
use budget::Budget;
use bursar_domain::decision::Lane;
use bursar_domain::ids::{AccountId, Scope, Timestamp};
use far_side::Verdict;
use guarded::Guarded;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The name of the host's circuit.
pub const HOST: &str = "stripe";
/// The lanes that pass the gate, those somebody waits for first.
pub const LANES: [Lane; 4] = [
    Lane::Stripe,
    Lane::StripeRefund,
    Lane::StripeRead,
    Lane::StripeBackground,
];

/// Requests a second Stripe allows one account. Source: Stripe's rate limits.
pub const fn requests_per_second(livemode: bool) -> u32 {
    if livemode { 100 } else { 25 }
}

/// Both scales of the time of one question.
#[derive(Clone, Copy, Debug)]
struct Moment {
    uptime: Duration,
    wall: Timestamp,
}

/// Why nothing may be sent now, and when to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The open circuit; none: the allowance or the budget of retries is used up.
    pub circuit: Option<String>,
    /// When to ask again.
    pub retry_after: Duration,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.circuit {
            Some(circuit) => write!(to, "the circuit {circuit} is open"),
            None => write!(to, "the allowance of requests is used up"),
        }
    }
}

struct Inner {
    host: Guarded,
    accounts: Accounts,
    budget: Budget,
    passes: u64,
    /// Retries under way that the budget paid for.
    retries: BTreeSet<u64>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    announcer: Announcer,
    inner: Mutex<Inner>,
}

/// The gate; one per process, shared by lanes and handlers.
pub struct Gate {
    shared: Arc<Shared>,
}

impl Gate {
    /// A gate with closed circuits and full allowances of so many requests a second and account.
    pub(crate) fn new(clock: Arc<dyn Clock>, per_second: u32, announcer: Announcer) -> Self {
        let now = moment(clock.as_ref());
        let inner = Inner {
            // Its effects are not put off but stay due, so nobody has to queue.
            host: Guarded::new(HOST.to_owned(), HOST, Duration::ZERO, now),
            accounts: Accounts::new(per_second),
            budget: Budget::new(),
            retries: BTreeSet::new(),
            passes: 0,
        };
        let shared = Arc::new(Shared {
            clock,
            announcer,
            inner: Mutex::new(inner),
        });
        Self { shared }
    }

    /// Asks to send one request now.
    ///
    /// # Errors
    /// A circuit is open, no token is there for the lane, or the budget of retries is used up. Nothing was taken.
    pub fn enter(&self, scope: &Scope, lane: Lane, is_retry: bool) -> Result<Pass, Refused> {
        let entered = self
            .shared
            .tell(|inner, now, told| inner.enter(scope, lane, is_retry, now, told));
        entered.map(|id| Pass {
            begun: self.shared.clock.uptime(),
            shared: Arc::clone(&self.shared),
            scope: scope.clone(),
            id,
            is_open: true,
        })
    }

    /// Whether it is worth asking at all; takes nothing. For handlers, before anything is made durable.
    ///
    /// # Errors
    /// The host's or the account's circuit is open, or tried by a call that has not ended.
    pub fn check(&self, scope: &Scope) -> Result<(), Refused> {
        self.shared
            .tell(|inner, now, told| inner.check(scope, now, told))
    }

    /// How many requests a lane may begin now, as far as the host's circuit says.
    pub fn room(&self) -> usize {
        self.shared
            .tell(|inner, now, told| match inner.host.look(now, told) {
                Circuit::Closed => usize::MAX,
                Circuit::HalfOpen => usize::from(!inner.host.has_probe()),
                Circuit::Open => 0,
            })
    }

    /// The host's circuit and those of accounts that were ever open and are still remembered.
    pub fn circuits(&self) -> Vec<CircuitView> {
        self.shared.tell(|inner, now, told| {
            inner.look(now, told);
            let mut views = vec![inner.host.view()];
            views.extend(inner.accounts.views());
            views
        })
    }

    /// Closes the circuit of this name by hand. `false`: it was closed, or there is none.
    pub fn reset(&self, name: &str) -> bool {
        self.shared.tell(|inner, now, told| {
            if name == HOST {
                return inner.host.reset(now, told);
            }
            let id = name
                .strip_prefix(ACCOUNT_PREFIX)
                .map(|id| AccountId::parse(id).ok());
            let Some(Some(id)) = id else { return false };
            let account = inner.accounts.known(&Scope(Some(id)));
            let circuit = account.and_then(|account| account.circuit.as_mut());
            circuit.is_some_and(|circuit| circuit.reset(now, told))
        })
    }

    /// Publishes figures and notices what only time changed. Once a second.
    pub(crate) fn publish(&self) {
        let (host, worst, left) = self.shared.tell(|inner, now, told| {
            let (host, worst) = inner.look(now, told);
            let bucket = &mut inner.accounts.of(&Scope::PLATFORM, now).bucket;
            let left = LANES.map(|lane| (lane, bucket.left(lane, now.uptime)));
            (host, worst, left)
        });
        metrics::circuit_state(HOST, host);
        metrics::circuit_state(ACCOUNT_LABEL, worst);
        for (lane, tokens) in left {
            metrics::gauge_with("bursar_stripe_budget_tokens", "lane", lane.as_str(), tokens);
        }
    }
}

fn moment(clock: &dyn Clock) -> Moment {
    Moment {
        uptime: clock.uptime(),
        wall: clock.now(),
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock and tells what changed after it.
    fn tell<T>(&self, work: impl FnOnce(&mut Inner, Moment, &mut Vec<Transition>) -> T) -> T {
        let mut told = Vec::new();
        let answer = {
            let mut inner = self.inner();
            // Read under the lock, so that no question is asked at an earlier time than the one before.
            let now = moment(self.clock.as_ref());
            work(&mut inner, now, &mut told)
        };
        for transition in told {
            self.announcer.announce(transition);
        }
        answer
    }
}

impl Inner {
    fn enter(
        &mut self,
        scope: &Scope,
        lane: Lane,
        is_retry: bool,
        now: Moment,
        told: &mut Vec<Transition>,
    ) -> Result<u64, Refused> {
        let behind = |circuit: &Guarded, retry_after| Refused {
            circuit: Some(circuit.view().name),
            retry_after,
        };
        let account = self.accounts.of(scope, now);
        self.host.look(now, told);
        let host_probes = self
            .host
            .lets_through(now)
            .map_err(|wait| behind(&self.host, wait))?;
        let account_probes = match &mut account.circuit {
            Some(circuit) => {
                circuit.look(now, told);
                circuit
                    .lets_through(now)
                    .map_err(|wait| behind(circuit, wait))?
            }
            None => false,
        };
        // A probe is how an end is found: it needs no budget and takes none.
        let probes = host_probes || account_probes;
        let used_up = |retry_after| Refused {
            circuit: None,
            retry_after,
        };
        if is_retry && !probes && !self.budget.has(now.uptime) {
            return Err(used_up(self.budget.wait(now.uptime)));
        }
        if !account.bucket.has(lane, now.uptime) {
            return Err(used_up(account.bucket.wait(lane, now.uptime)));
        }
        account.bucket.take();
        if !probes {
            self.budget.count(is_retry, now.uptime);
        }
        self.passes += 1;
        if is_retry && !probes {
            self.retries.insert(self.passes);
        }
        if host_probes {
            self.host.probe_begins(self.passes, now);
        }
        if account_probes && let Some(circuit) = &mut account.circuit {
            circuit.probe_begins(self.passes, now);
        }
        Ok(self.passes)
    }

    fn check(
        &mut self,
        scope: &Scope,
        now: Moment,
        told: &mut Vec<Transition>,
    ) -> Result<(), Refused> {
        self.host.look(now, told);
        let account = self.accounts.known(scope);
        if let Some(circuit) = account.and_then(|account| account.circuit.as_mut()) {
            circuit.look(now, told);
            if let Some(retry_after) = circuit.closed_for(now) {
                let circuit = Some(circuit.view().name);
                return Err(Refused {
                    circuit,
                    retry_after,
                });
            }
        }
        match self.host.closed_for(now) {
            Some(retry_after) => Err(Refused {
                circuit: Some(HOST.to_owned()),
                retry_after,
            }),
            None => Ok(()),
        }
    }

    fn end(
        &mut self,
        scope: &Scope,
        id: u64,
        verdict: &Verdict,
        now: Moment,
        told: &mut Vec<Transition>,
    ) {
        let before = self.host.state();
        self.host.end(id, verdict.host, &verdict.why, now, told);
        let is_paid = self.retries.remove(&id);
        if before == Circuit::HalfOpen && self.host.state() == Circuit::Closed {
            // Probes worked: what failed before says nothing any more.
            self.budget.forgive();
        } else if verdict.worked {
            self.budget.worked(is_paid, now.uptime);
        } else if verdict.host.is_some() {
            self.budget.failed(now.uptime);
        }
        let account = self.accounts.of(scope, now);
        if verdict.is_limited {
            account.bucket.limited(now.uptime);
        }
        if let Some(circuit) = &mut account.circuit {
            circuit.end(id, verdict.account, &verdict.why, now, told);
        }
    }

    /// A pass was dropped: a probe of a circuit failed, anything else says nothing.
    fn dropped(&mut self, scope: &Scope, id: u64, now: Moment, told: &mut Vec<Transition>) {
        let failed = |circuit: &Guarded| circuit.is_probe(id).then_some(false);
        let account = self.accounts.known(scope);
        let circuit = account.and_then(|account| account.circuit.as_ref());
        let verdict = Verdict {
            host: failed(&self.host),
            account: circuit.and_then(failed),
            is_limited: false,
            worked: false,
            why: "a probe was given up".to_owned(),
        };
        self.end(scope, id, &verdict, now, told);
    }

    fn look(&mut self, now: Moment, told: &mut Vec<Transition>) -> (Circuit, Circuit) {
        let host = self.host.look(now, told);
        (host, self.accounts.look(now, told))
    }
}

/// Leave to send one request; give it back with how that ended.
#[must_use = "a pass that is dropped says nothing about how the request ended"]
pub struct Pass {
    begun: Duration,
    shared: Arc<Shared>,
    scope: Scope,
    id: u64,
    is_open: bool,
}

impl Pass {
    /// How long it has been under way.
    pub fn took(&self) -> Duration {
        self.shared.clock.uptime().saturating_sub(self.begun)
    }

    /// The answer bore this date, unix seconds: how far the clocks are apart is worth knowing.
    pub fn heard_at(&self, date_unix: i64) {
        metrics::stripe::clock_skew(date_unix, self.shared.clock.now());
    }

    /// The request ended.
    pub fn end(mut self, end: FarSide) {
        self.is_open = false;
        let verdict = end.verdict();
        self.shared
            .tell(|inner, now, told| inner.end(&self.scope, self.id, &verdict, now, told));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_open {
            self.shared
                .tell(|inner, now, told| inner.dropped(&self.scope, self.id, now, told));
        }
    }
}

#[cfg(test)]
mod tests;
