//! PaymentIntents, charges, refunds, disputes, early fraud warnings, reviews.
//!
//! Source: Stripe API reference of these objects; `invoice` left intent and charge with basil.

use super::fields::{
    Amount, Metadata, Reference, currency, lenient, missing, reference, required, required_id,
};
use super::{WireError, WireObject};
use crate::money::Currency;
use serde::{Deserialize, Serialize};

/// What Bursar keeps of a PaymentIntent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct PaymentIntent {
    pub id: Option<String>,
    pub status: Option<String>,
    pub created: Option<i64>,
    pub amount: Option<Amount>,
    pub amount_capturable: Option<Amount>,
    pub amount_received: Option<Amount>,
    pub application_fee_amount: Option<Amount>,
    pub currency: Option<Currency>,
    pub customer: Reference,
    pub latest_charge: Reference,
    /// Before basil only.
    pub invoice: Reference,
    pub capture_method: Option<String>,
    pub cancellation_reason: Option<String>,
    pub canceled_at: Option<i64>,
    pub failure_code: Option<String>,
    pub decline_code: Option<String>,
    pub failure_message: Option<String>,
    /// The account that receives a destination charge.
    pub destination: Reference,
    pub metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireIntent {
    id: Option<String>,
    status: Option<String>,
    created: Option<i64>,
    amount: Option<Amount>,
    amount_capturable: Option<Amount>,
    amount_received: Option<Amount>,
    application_fee_amount: Option<Amount>,
    #[serde(deserialize_with = "currency")]
    currency: Option<Currency>,
    #[serde(deserialize_with = "reference")]
    customer: Reference,
    #[serde(deserialize_with = "reference")]
    latest_charge: Reference,
    #[serde(deserialize_with = "reference")]
    invoice: Reference,
    capture_method: Option<String>,
    cancellation_reason: Option<String>,
    canceled_at: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    last_payment_error: Option<PaymentError>,
    #[serde(deserialize_with = "lenient")]
    transfer_data: Option<TransferData>,
    metadata: Metadata,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct PaymentError {
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct TransferData {
    #[serde(deserialize_with = "reference")]
    destination: Reference,
}

impl WireObject for PaymentIntent {
    const OBJECT: &'static str = "payment intent";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: WireIntent =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let error = wire.last_payment_error.unwrap_or_default();
        Ok(Self {
            id: wire.id,
            status: wire.status,
            created: wire.created,
            amount: wire.amount,
            amount_capturable: wire.amount_capturable,
            amount_received: wire.amount_received,
            application_fee_amount: wire.application_fee_amount,
            currency: wire.currency,
            customer: wire.customer,
            latest_charge: wire.latest_charge,
            invoice: wire.invoice,
            capture_method: wire.capture_method,
            cancellation_reason: wire.cancellation_reason,
            canceled_at: wire.canceled_at,
            failure_code: error.code,
            decline_code: error.decline_code,
            failure_message: error.message,
            destination: wire.transfer_data.and_then(|data| data.destination),
            metadata: wire.metadata,
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "status", &self.status)?;
        required(Self::OBJECT, "amount", &self.amount)?;
        required(Self::OBJECT, "currency", &self.currency)
    }
}

/// What Bursar keeps of a charge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Charge {
    pub id: Option<String>,
    pub status: Option<String>,
    pub created: Option<i64>,
    pub amount: Option<Amount>,
    pub amount_captured: Option<Amount>,
    pub amount_refunded: Option<Amount>,
    pub application_fee_amount: Option<Amount>,
    pub captured: Option<bool>,
    pub refunded: Option<bool>,
    pub disputed: Option<bool>,
    pub currency: Option<Currency>,
    pub customer: Reference,
    pub payment_intent: Reference,
    /// Before basil only.
    pub invoice: Reference,
    pub balance_transaction: Reference,
    pub failure_code: Option<String>,
    pub decline_code: Option<String>,
    pub failure_message: Option<String>,
    /// The account that receives a destination charge.
    pub destination: Reference,
    /// Before 2022-11-15, or when asked for.
    pub refunds: Vec<Refund>,
    pub metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireCharge {
    id: Option<String>,
    status: Option<String>,
    created: Option<i64>,
    amount: Option<Amount>,
    amount_captured: Option<Amount>,
    amount_refunded: Option<Amount>,
    application_fee_amount: Option<Amount>,
    captured: Option<bool>,
    refunded: Option<bool>,
    disputed: Option<bool>,
    #[serde(deserialize_with = "currency")]
    currency: Option<Currency>,
    #[serde(deserialize_with = "reference")]
    customer: Reference,
    #[serde(deserialize_with = "reference")]
    payment_intent: Reference,
    #[serde(deserialize_with = "reference")]
    invoice: Reference,
    #[serde(deserialize_with = "reference")]
    balance_transaction: Reference,
    failure_code: Option<String>,
    failure_message: Option<String>,
    #[serde(deserialize_with = "lenient")]
    outcome: Option<Outcome>,
    #[serde(deserialize_with = "lenient")]
    transfer_data: Option<TransferData>,
    #[serde(deserialize_with = "lenient")]
    refunds: Option<RefundList>,
    metadata: Metadata,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome {
    reason: Option<String>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct RefundList {
    data: Vec<serde_json::Value>,
}

impl WireObject for Charge {
    const OBJECT: &'static str = "charge";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: WireCharge =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let reason = wire.outcome.and_then(|outcome| outcome.reason);
        Ok(Self {
            id: wire.id,
            status: wire.status,
            created: wire.created,
            amount: wire.amount,
            amount_captured: wire.amount_captured,
            amount_refunded: wire.amount_refunded,
            application_fee_amount: wire.application_fee_amount,
            captured: wire.captured,
            refunded: wire.refunded,
            disputed: wire.disputed,
            currency: wire.currency,
            customer: wire.customer,
            payment_intent: wire.payment_intent,
            invoice: wire.invoice,
            balance_transaction: wire.balance_transaction,
            decline_code: reason.filter(|_| wire.failure_code.is_some()),
            failure_code: wire.failure_code,
            failure_message: wire.failure_message,
            destination: wire.transfer_data.and_then(|data| data.destination),
            refunds: whole_refunds(wire.refunds),
            metadata: wire.metadata,
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "amount", &self.amount)?;
        required(Self::OBJECT, "currency", &self.currency)?;
        required(Self::OBJECT, "status", &self.status)
    }
}

/// The refunds of a charge that are whole. One that is not is no reason to refuse the charge: its
/// running total still says that there is one.
fn whole_refunds(list: Option<RefundList>) -> Vec<Refund> {
    let all = list.unwrap_or_default().data.into_iter();
    let read = all.filter_map(|value| serde_json::from_value::<Refund>(value).ok());
    read.filter(|refund| refund.check().is_ok()).collect()
}

/// What Bursar keeps of a refund.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Refund {
    pub id: Option<String>,
    pub status: Option<String>,
    pub created: Option<i64>,
    pub amount: Option<Amount>,
    #[serde(deserialize_with = "currency")]
    pub currency: Option<Currency>,
    #[serde(deserialize_with = "reference")]
    pub charge: Reference,
    #[serde(deserialize_with = "reference")]
    pub payment_intent: Reference,
    pub reason: Option<String>,
    pub failure_reason: Option<String>,
    #[serde(deserialize_with = "reference")]
    pub balance_transaction: Reference,
    #[serde(deserialize_with = "reference")]
    pub failure_balance_transaction: Reference,
    pub metadata: Metadata,
}

impl WireObject for Refund {
    const OBJECT: &'static str = "refund";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "amount", &self.amount)?;
        required(Self::OBJECT, "currency", &self.currency)?;
        if self.charge.is_none() && self.payment_intent.is_none() {
            return Err(missing(Self::OBJECT, "charge"));
        }
        Ok(())
    }
}

/// What Bursar keeps of a dispute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Dispute {
    pub id: Option<String>,
    pub status: Option<String>,
    pub created: Option<i64>,
    pub amount: Option<Amount>,
    #[serde(deserialize_with = "currency")]
    pub currency: Option<Currency>,
    #[serde(deserialize_with = "reference")]
    pub charge: Reference,
    #[serde(deserialize_with = "reference")]
    pub payment_intent: Reference,
    pub reason: Option<String>,
    pub evidence_due_by: Option<i64>,
    /// Money that really moved, by balance transaction.
    pub balance_transactions: Vec<DisputeMovement>,
    pub metadata: Metadata,
}

/// One balance transaction of a dispute; negative when money left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DisputeMovement {
    pub id: String,
    pub amount: i64,
    #[serde(default)]
    pub fee: i64,
    pub currency: Currency,
    #[serde(default)]
    pub created: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireDispute {
    #[serde(flatten)]
    plain: std::collections::BTreeMap<String, serde_json::Value>,
}

impl WireObject for Dispute {
    const OBJECT: &'static str = "dispute";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: WireDispute =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let mut plain = wire.plain;
        let due = plain
            .get("evidence_details")
            .and_then(|details| details.get("due_by"))
            .cloned();
        if let Some(due) = due {
            plain.insert("evidence_due_by".to_owned(), due);
        }
        let moved = plain
            .entry("balance_transactions".to_owned())
            .or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if moved.is_null() {
            *moved = serde_json::Value::Array(Vec::new());
        }
        let plain = serde_json::Value::Object(plain.into_iter().collect());
        serde_json::from_value(plain).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "status", &self.status)?;
        required(Self::OBJECT, "amount", &self.amount)?;
        required(Self::OBJECT, "currency", &self.currency)?;
        for moved in &self.balance_transactions {
            Amount::new(moved.amount.saturating_abs())?;
            Amount::new(moved.fee.saturating_abs())?;
        }
        if self.charge.is_none() && self.payment_intent.is_none() {
            return Err(missing(Self::OBJECT, "charge"));
        }
        Ok(())
    }
}

/// `radar.early_fraud_warning`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct FraudWarning {
    pub id: Option<String>,
    pub created: Option<i64>,
    pub actionable: Option<bool>,
    pub fraud_type: Option<String>,
    #[serde(deserialize_with = "reference")]
    pub charge: Reference,
    #[serde(deserialize_with = "reference")]
    pub payment_intent: Reference,
}

impl WireObject for FraudWarning {
    const OBJECT: &'static str = "early fraud warning";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())
    }
}

/// A review by the platform's own people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Review {
    pub id: Option<String>,
    pub created: Option<i64>,
    pub open: Option<bool>,
    pub reason: Option<String>,
    pub closed_reason: Option<String>,
    #[serde(deserialize_with = "reference")]
    pub charge: Reference,
    #[serde(deserialize_with = "reference")]
    pub payment_intent: Reference,
}

impl WireObject for Review {
    const OBJECT: &'static str = "review";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())
    }
}
