//! Connected accounts, their capabilities, payouts.

use super::fields::{
    Amount, Metadata, Reference, currency, lenient, reference, required, required_id,
};
use super::{WireError, WireObject};
use crate::money::Currency;
use serde::{Deserialize, Serialize};

/// What Bursar keeps of a connected account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Account {
    pub id: Option<String>,
    pub created: Option<i64>,
    pub charges_enabled: Option<bool>,
    pub payouts_enabled: Option<bool>,
    pub details_submitted: Option<bool>,
    pub email: Option<String>,
    pub currently_due: Vec<String>,
    pub past_due: Vec<String>,
    pub pending_verification: Vec<String>,
    pub disabled_reason: Option<String>,
    pub current_deadline: Option<i64>,
    pub metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    id: Option<String>,
    created: Option<i64>,
    charges_enabled: Option<bool>,
    payouts_enabled: Option<bool>,
    details_submitted: Option<bool>,
    email: Option<String>,
    #[serde(deserialize_with = "lenient")]
    requirements: Option<Requirements>,
    metadata: Metadata,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Requirements {
    currently_due: Option<Vec<String>>,
    past_due: Option<Vec<String>>,
    pending_verification: Option<Vec<String>>,
    disabled_reason: Option<String>,
    current_deadline: Option<i64>,
}

impl WireObject for Account {
    const OBJECT: &'static str = "account";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: Wire =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let requirements = wire.requirements.unwrap_or_default();
        Ok(Self {
            id: wire.id,
            created: wire.created,
            charges_enabled: wire.charges_enabled,
            payouts_enabled: wire.payouts_enabled,
            details_submitted: wire.details_submitted,
            email: wire.email,
            currently_due: requirements.currently_due.unwrap_or_default(),
            past_due: requirements.past_due.unwrap_or_default(),
            pending_verification: requirements.pending_verification.unwrap_or_default(),
            disabled_reason: requirements.disabled_reason,
            current_deadline: requirements.current_deadline,
            metadata: wire.metadata,
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())
    }
}

/// One capability of a connected account; its id is a word, e.g. `card_payments`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Capability {
    pub id: Option<String>,
    #[serde(deserialize_with = "reference")]
    pub account: Reference,
    pub requested: Option<bool>,
    pub status: Option<String>,
}

impl WireObject for Capability {
    const OBJECT: &'static str = "capability";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "account", &self.account)?;
        required(Self::OBJECT, "status", &self.status)
    }
}

/// A payout of a balance to a bank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Payout {
    pub id: Option<String>,
    pub status: Option<String>,
    pub created: Option<i64>,
    /// Negative when the bank is debited, so no `Amount`.
    pub amount: Option<i64>,
    #[serde(deserialize_with = "currency")]
    pub currency: Option<Currency>,
    pub arrival_date: Option<i64>,
    pub failure_code: Option<String>,
}

impl WireObject for Payout {
    const OBJECT: &'static str = "payout";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "amount", &self.amount)?;
        required(Self::OBJECT, "currency", &self.currency)?;
        let amount = self.amount.unwrap_or_default();
        Amount::new(amount.saturating_abs()).map(|_| ())
    }
}
