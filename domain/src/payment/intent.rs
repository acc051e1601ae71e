//! The payment intent: the register of its snapshots, and what was ever said of its end and money.
//!
//! Invariants: end states absorb (`register`); both ends said of one intent contradict until an
//! answer of Stripe's own settles it. What was received only grows.
//! Source: Stripe API reference, "The PaymentIntent object"; Stripe documentation, "How
//! PaymentIntents and SetupIntents work".

use super::read_id;
use crate::ids::{ChargeId, Timestamp};
use crate::register::{Joined, Origin, Ranked, Register};
use crate::stripe_wire::{Amount, PaymentIntent};
use serde::{Deserialize, Serialize};

impl Ranked for PaymentIntent {
    fn is_final(&self) -> bool {
        matches!(self.status.as_deref(), Some("succeeded" | "canceled"))
    }
    fn rank(&self) -> u8 {
        match self.status.as_deref().unwrap_or_default() {
            "requires_confirmation" => 1,
            "requires_action" => 2,
            "processing" => 3,
            "requires_capture" => 4,
            "canceled" => 8,
            "succeeded" => 9,
            _ => 0,
        }
    }
}

/// What is known of the payment intent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Intent {
    /// Its snapshots.
    pub(super) register: Register<PaymentIntent>,
    /// Somebody said it succeeded.
    pub(super) succeeded: bool,
    /// Somebody said it was canceled.
    pub(super) canceled: bool,
    /// Most ever received, minor units.
    pub(super) received_max: i64,
}

impl Intent {
    /// Joins a snapshot.
    pub(super) fn join(&mut self, object: &PaymentIntent, origin: &Origin) -> Joined {
        let status = object.status.as_deref().unwrap_or_default();
        let before = (self.succeeded, self.canceled, self.received_max);
        self.succeeded |= status == "succeeded";
        self.canceled |= status == "canceled";
        let received = object.amount_received.map_or(0, Amount::minor);
        crate::mutant!("M13", crate::mutants::choke_on(received));
        self.received_max = self.received_max.max(received);
        let joined = self.register.join(object.clone(), origin.clone());
        let learnt = before != (self.succeeded, self.canceled, self.received_max);
        if learnt { Joined::Kept } else { joined }
    }
    /// The snapshot that stands.
    pub(super) fn current(&self) -> Option<&PaymentIntent> {
        self.register.value()
    }
    /// Stripe's word.
    pub(super) fn status(&self) -> Option<&str> {
        self.current()?.status.as_deref()
    }
    /// It ended with the money taken.
    pub(super) fn ended_paid(&self) -> bool {
        self.status() == Some("succeeded")
    }
    /// The charge made last.
    pub(super) fn latest_charge(&self) -> Option<ChargeId> {
        read_id(&self.current()?.latest_charge, ChargeId::parse)
    }
    /// Stripe's `created`.
    pub(super) fn created_at(&self) -> Option<Timestamp> {
        self.current()?.created.map(Timestamp::from_seconds)
    }
    /// Both ends were said and no answer of Stripe's own settled it.
    pub(super) fn contradicts(&self) -> bool {
        self.succeeded && self.canceled && !self.register.is_reread()
    }
}
