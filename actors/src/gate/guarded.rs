//! One circuit of the gate: a breaker, its one probe at a time, and what is told about it.
//!
//! Invariants: while half-open only the end of the present probe moves it, so a straggler begun before it opened decides
//! nothing; a probe that never ends has failed after `PROBE_MAX`.

use super::Moment;
use super::spacing::Spacing;
use crate::breaker::{Breaker, Circuit};
use crate::circuits::{CircuitView, Transition};
use bursar_domain::ids::Timestamp;
use std::time::Duration;

/// A probe is given up after this; above the longest attempt.
const PROBE_MAX: Duration = Duration::from_secs(90);
/// Wait of those who find a probe under way.
const BEHIND_PROBE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Guarded {
    name: String,
    label: &'static str,
    breaker: Breaker,
    shown: Circuit,
    since: Timestamp,
    has_opened: bool,
    probe: Option<(u64, Duration)>,
    last_failure: String,
    waits: Spacing,
    step: Duration,
}

impl Guarded {
    /// A closed circuit; those who find it open come back `step` after each other.
    pub(super) fn new(name: String, label: &'static str, step: Duration, now: Moment) -> Self {
        Self {
            breaker: Breaker::new(&name),
            name,
            label,
            shown: Circuit::Closed,
            since: now.wall,
            has_opened: false,
            probe: None,
            last_failure: String::new(),
            waits: Spacing::default(),
            step,
        }
    }

    /// The state now; says so if it changed.
    pub(super) fn look(&mut self, now: Moment, told: &mut Vec<Transition>) -> Circuit {
        let is_over = |(_, begun): &(u64, Duration)| now.uptime.saturating_sub(*begun) > PROBE_MAX;
        if self.probe.as_ref().is_some_and(is_over) {
            self.probe = None;
            "a probe did not end".clone_into(&mut self.last_failure);
            self.breaker.on(false, now.uptime);
        }
        let circuit = self.breaker.circuit(now.uptime);
        if circuit != self.shown {
            self.changed(circuit, self.why(circuit), now, told);
        }
        circuit
    }

    fn why(&self, to: Circuit) -> String {
        match to {
            Circuit::Open => self.last_failure.clone(),
            Circuit::HalfOpen => "one call at a time is tried".to_owned(),
            Circuit::Closed => "calls work again".to_owned(),
        }
    }

    fn changed(&mut self, to: Circuit, why: String, now: Moment, told: &mut Vec<Transition>) {
        told.push(Transition {
            circuit: self.name.clone(),
            label: self.label,
            from: self.shown,
            to,
            why,
            at: now.wall,
        });
        self.has_opened |= to == Circuit::Open;
        self.shown = to;
        self.since = now.wall;
    }

    /// Whether a call may begin; `Ok(true)`: as the probe. Looked at before.
    pub(super) fn lets_through(&mut self, now: Moment) -> Result<bool, Duration> {
        match self.shown {
            Circuit::Closed => Ok(false),
            Circuit::HalfOpen if self.probe.is_none() => Ok(true),
            Circuit::HalfOpen | Circuit::Open => {
                let earliest = self.opens_at(now);
                Err(self.waits.wait(now.uptime, earliest, self.step))
            }
        }
    }

    fn opens_at(&self, now: Moment) -> Duration {
        match self.shown {
            Circuit::Open => self.breaker.until(),
            _ => now.uptime.saturating_add(BEHIND_PROBE),
        }
    }

    /// How long until a call may be let through; none if one may be now.
    pub(super) fn closed_for(&self, now: Moment) -> Option<Duration> {
        let is_closed = match self.shown {
            Circuit::Closed => false,
            // A probe may hang for long, and who comes meanwhile would wait for it and for those before.
            Circuit::HalfOpen => self.probe.is_some(),
            Circuit::Open => true,
        };
        is_closed.then(|| self.opens_at(now).saturating_sub(now.uptime))
    }

    pub(super) fn has_probe(&self) -> bool {
        self.probe.is_some()
    }

    pub(super) fn is_probe(&self, id: u64) -> bool {
        self.probe.is_some_and(|(probe, _)| probe == id)
    }

    pub(super) fn probe_begins(&mut self, id: u64, now: Moment) {
        self.probe = Some((id, now.uptime));
    }

    /// The call of this id ended; `None` says nothing.
    pub(super) fn end(
        &mut self,
        id: u64,
        ok: Option<bool>,
        why: &str,
        now: Moment,
        told: &mut Vec<Transition>,
    ) {
        let is_probe = self.is_probe(id);
        if is_probe {
            self.probe = None;
        }
        let circuit = self.look(now, told);
        let Some(ok) = ok else { return };
        if circuit == Circuit::Closed || (circuit == Circuit::HalfOpen && is_probe) {
            if !ok {
                why.clone_into(&mut self.last_failure);
            }
            self.breaker.on(ok, now.uptime);
            self.look(now, told);
        }
    }

    /// Closes it by hand. `false`: it was closed.
    pub(super) fn reset(&mut self, now: Moment, told: &mut Vec<Transition>) -> bool {
        self.look(now, told);
        self.probe = None;
        let was_open = self.breaker.reset(now.uptime);
        if was_open {
            self.changed(Circuit::Closed, "closed by hand".to_owned(), now, told);
        }
        was_open
    }

    pub(super) fn state(&self) -> Circuit {
        self.shown
    }

    /// Whether it is worth a line among many: it is not closed, or was not.
    pub(super) fn is_notable(&self) -> bool {
        self.has_opened
    }

    pub(super) fn view(&self) -> CircuitView {
        CircuitView {
            name: self.name.clone(),
            state: self.shown,
            since: self.since,
        }
    }
}
