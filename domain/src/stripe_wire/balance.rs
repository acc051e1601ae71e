//! Balance transactions: what a charge, refund or dispute cost beside its amount.
//!
//! Invariants: amounts are signed (negative left the balance) and within 2^53 either way; a fee of which
//! nothing says otherwise is Stripe's own.
//! Not here: where fees are booked (`ledger`).
//! Failure: a `WireError`, as all of `stripe_wire`.
//! Source: Stripe API reference, "The Balance Transaction object".

use super::fields::{Amount, required, required_id};
use super::{WireError, WireObject};
use crate::money::Currency;
use serde::{Deserialize, Serialize};

/// What Bursar keeps of a balance transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct BalanceTransaction {
    pub id: Option<String>,
    /// The balance's currency, which may differ from the charge's.
    #[serde(deserialize_with = "super::fields::currency")]
    pub currency: Option<Currency>,
    /// All fees together; negative when fees come back.
    pub fee: Option<i64>,
    /// What the fee is made of.
    pub fee_details: Vec<FeeDetail>,
    pub created: Option<i64>,
}

/// One part of a fee.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct FeeDetail {
    pub amount: i64,
    /// `stripe_fee`, `application_fee`, `tax`, …
    #[serde(rename = "type")]
    pub kind: String,
}

impl BalanceTransaction {
    /// The part of the fee that is the platform's own (an application fee).
    pub fn application_fee(&self) -> i64 {
        let parts = self.fee_details.iter();
        parts
            .filter(|part| part.kind == "application_fee")
            .fold(0_i64, |sum, part| sum.saturating_add(part.amount))
    }
}

impl WireObject for BalanceTransaction {
    const OBJECT: &'static str = "balance transaction";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "currency", &self.currency)?;
        required(Self::OBJECT, "fee", &self.fee)?;
        let parts = self.fee_details.iter().map(|part| part.amount);
        for amount in parts.chain(self.fee) {
            Amount::new(amount.saturating_abs())?;
        }
        Ok(())
    }
}
