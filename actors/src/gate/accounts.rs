//! What is known of each account: the platform's allowance, and of connected accounts a circuit as well.
//!
//! Invariants: at most `ACCOUNTS_MAX` connected accounts; the one asked for longest ago goes first, if possible one
//! whose circuit is closed. The platform's own entry never goes.

use super::Moment;
use super::bucket::Bucket;
use super::guarded::Guarded;
use crate::breaker::Circuit;
use crate::circuits::{CircuitView, Transition};
use bursar_domain::ids::Scope;
use std::collections::BTreeMap;
use std::time::Duration;

/// Connected accounts remembered.
pub(super) const ACCOUNTS_MAX: usize = 1_024;
/// The label of every connected account's circuit.
pub(super) const ACCOUNT_LABEL: &str = "stripe_account";

/// Before an account's id: the name of its circuit.
pub(super) const ACCOUNT_PREFIX: &str = "stripe:";
/// Its effects are put off one by one and come back this far apart.
const STEP: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Account {
    /// None for the platform: what it meets is the host.
    pub(super) circuit: Option<Guarded>,
    pub(super) bucket: Bucket,
    used: Duration,
}

#[derive(Debug)]
pub(super) struct Accounts {
    per_second: u32,
    all: BTreeMap<Scope, Account>,
}

impl Accounts {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            all: BTreeMap::new(),
        }
    }

    /// The entry of an account, made if there is none.
    pub(super) fn of(&mut self, scope: &Scope, now: Moment) -> &mut Account {
        if !self.all.contains_key(scope) {
            if self.all.len() > ACCOUNTS_MAX {
                self.forget_one(now);
            }
            let name = |id: &str| format!("{ACCOUNT_PREFIX}{id}");
            let circuit = |id: &str| Guarded::new(name(id), ACCOUNT_LABEL, STEP, now);
            let made = Account {
                circuit: scope.0.as_ref().map(|id| circuit(id.as_str())),
                bucket: Bucket::new(self.per_second, now.uptime),
                used: now.uptime,
            };
            self.all.insert(scope.clone(), made);
        }
        let account = self.all.get_mut(scope).expect("it was just made");
        account.used = now.uptime;
        account
    }

    fn forget_one(&mut self, now: Moment) {
        let connected = self.all.iter_mut().filter(|(scope, _)| scope.0.is_some());
        let ranked = connected.map(|(scope, account)| {
            let closed = |circuit: &Guarded| circuit.state() == Circuit::Closed;
            let is_closed = account.circuit.as_ref().is_none_or(closed);
            let is_idle = account.bucket.is_idle(now.uptime);
            (!is_closed, !is_idle, account.used, scope)
        });
        if let Some(scope) = ranked.min().map(|(.., scope)| scope.clone()) {
            self.all.remove(&scope);
        }
    }

    /// What is known of an account, if anything.
    pub(super) fn known(&mut self, scope: &Scope) -> Option<&mut Account> {
        self.all.get_mut(scope)
    }

    fn circuits(&mut self) -> impl Iterator<Item = &mut Guarded> {
        self.all
            .values_mut()
            .filter_map(|account| account.circuit.as_mut())
    }

    /// Looks at those that are not closed; answers the worst state.
    pub(super) fn look(&mut self, now: Moment, told: &mut Vec<Transition>) -> Circuit {
        let mut worst = Circuit::Closed;
        for circuit in self.circuits() {
            let state = match circuit.state() {
                Circuit::Closed => Circuit::Closed,
                _ => circuit.look(now, told),
            };
            worst = worse(worst, state);
        }
        worst
    }

    /// Those that were ever open, in the order of their names.
    pub(super) fn views(&mut self) -> Vec<CircuitView> {
        let notable = self.circuits().filter(|circuit| circuit.is_notable());
        notable.map(|circuit| circuit.view()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

fn worse(one: Circuit, other: Circuit) -> Circuit {
    match (one, other) {
        (Circuit::Open, _) | (_, Circuit::Open) => Circuit::Open,
        (Circuit::HalfOpen, _) | (_, Circuit::HalfOpen) => Circuit::HalfOpen,
        _ => Circuit::Closed,
    }
}
