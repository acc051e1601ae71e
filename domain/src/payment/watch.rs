//! Early fraud warnings and reviews of a payment: what was said of them last.
//!
//! Invariants: a warning is the newest snapshot; a closed review stays closed. Neither moves money.
//! Source: Stripe API reference, "Early Fraud Warnings", "Reviews".

use super::read_id;
use crate::ids::{ChargeId, Timestamp};
use crate::register::Origin;
use crate::stripe_wire;
use serde::{Deserialize, Serialize};

/// A snapshot of an early fraud warning. Field order is comparison order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct WarningSaid {
    /// When Stripe said so.
    pub(super) said_at: Timestamp,
    /// An answer to our own question.
    pub(super) reread: bool,
    /// A refund may still avoid a dispute.
    pub(super) actionable: bool,
    /// `issfr_…`.
    pub(super) id: String,
    /// Stripe's word.
    pub(super) fraud_type: Option<String>,
    /// The charge.
    pub(super) charge: Option<ChargeId>,
    /// It belongs to a payment intent.
    pub(super) has_intent: bool,
}

/// A snapshot of a review. Field order is comparison order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ReviewSaid {
    /// It is over.
    pub(super) closed: bool,
    /// When Stripe said so.
    pub(super) said_at: Timestamp,
    /// An answer to our own question.
    pub(super) reread: bool,
    /// `prv_…`.
    pub(super) id: String,
    /// Why it was opened.
    pub(super) reason: Option<String>,
    /// How it ended.
    pub(super) closed_reason: Option<String>,
    /// The charge.
    pub(super) charge: Option<ChargeId>,
    /// It belongs to a payment intent.
    pub(super) has_intent: bool,
}

impl WarningSaid {
    /// What an object says. `None`: it has no id.
    pub(super) fn read(object: &stripe_wire::FraudWarning, origin: &Origin) -> Option<Self> {
        Some(Self {
            said_at: origin.at,
            reread: origin.reread,
            actionable: object.actionable.unwrap_or(false),
            id: object.id.clone()?,
            fraud_type: object.fraud_type.clone(),
            charge: read_id(&object.charge, ChargeId::parse),
            has_intent: object.payment_intent.is_some(),
        })
    }
}

impl ReviewSaid {
    /// What an object says. `None`: it has no id.
    pub(super) fn read(object: &stripe_wire::Review, origin: &Origin) -> Option<Self> {
        Some(Self {
            closed: object.open == Some(false),
            said_at: origin.at,
            reread: origin.reread,
            id: object.id.clone()?,
            reason: object.reason.clone(),
            closed_reason: object.closed_reason.clone(),
            charge: read_id(&object.charge, ChargeId::parse),
            has_intent: object.payment_intent.is_some(),
        })
    }
}
