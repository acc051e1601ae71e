//! The Checkout session object and its line items.

use super::fields::{
    Amount, Metadata, Reference, currency, lenient, reference, required, required_id,
};
use super::{WireError, WireObject};
use crate::money::Currency;
use serde::{Deserialize, Serialize};

/// What Bursar keeps of a Checkout session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Session {
    pub id: Option<String>,
    pub mode: Option<String>,
    pub status: Option<String>,
    pub payment_status: Option<String>,
    pub created: Option<i64>,
    pub expires_at: Option<i64>,
    pub amount_total: Option<Amount>,
    pub currency: Option<Currency>,
    pub customer: Reference,
    pub subscription: Reference,
    pub invoice: Reference,
    pub payment_intent: Reference,
    pub payment_link: Reference,
    pub client_reference_id: Option<String>,
    /// The address the visitor gave.
    pub email: Option<String>,
    /// The name the visitor gave.
    pub name: Option<String>,
    pub metadata: Metadata,
    /// Only when expanded.
    pub line_items: Vec<SessionLineItem>,
}

/// What was bought: a price and how many of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct SessionLineItem {
    pub id: Option<String>,
    #[serde(deserialize_with = "reference")]
    pub price: Reference,
    pub quantity: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    id: Option<String>,
    mode: Option<String>,
    status: Option<String>,
    payment_status: Option<String>,
    created: Option<i64>,
    expires_at: Option<i64>,
    amount_total: Option<Amount>,
    #[serde(deserialize_with = "currency")]
    currency: Option<Currency>,
    #[serde(deserialize_with = "reference")]
    customer: Reference,
    #[serde(deserialize_with = "reference")]
    subscription: Reference,
    #[serde(deserialize_with = "reference")]
    invoice: Reference,
    #[serde(deserialize_with = "reference")]
    payment_intent: Reference,
    #[serde(deserialize_with = "reference")]
    payment_link: Reference,
    client_reference_id: Option<String>,
    customer_email: Option<String>,
    #[serde(deserialize_with = "lenient")]
    customer_details: Option<Details>,
    metadata: Metadata,
    #[serde(deserialize_with = "lenient")]
    line_items: Option<LineItems>,
}
#[derive(Deserialize)]
struct Details {
    email: Option<String>,
    name: Option<String>,
}
#[derive(Deserialize)]
struct LineItems {
    data: Vec<SessionLineItem>,
}

impl WireObject for Session {
    const OBJECT: &'static str = "checkout session";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: Wire =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        let (email, name) = wire
            .customer_details
            .map_or((None, None), |details| (details.email, details.name));
        Ok(Self {
            id: wire.id,
            mode: wire.mode,
            status: wire.status,
            payment_status: wire.payment_status,
            created: wire.created,
            expires_at: wire.expires_at,
            amount_total: wire.amount_total,
            currency: wire.currency,
            customer: wire.customer,
            subscription: wire.subscription,
            invoice: wire.invoice,
            payment_intent: wire.payment_intent,
            payment_link: wire.payment_link,
            client_reference_id: wire.client_reference_id.filter(|text| !text.is_empty()),
            email: email.or(wire.customer_email),
            name,
            metadata: wire.metadata,
            line_items: wire.line_items.map(|items| items.data).unwrap_or_default(),
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())?;
        required(Self::OBJECT, "mode", &self.mode)?;
        required(Self::OBJECT, "payment_status", &self.payment_status)
    }
}

impl WireObject for SessionLineItem {
    const OBJECT: &'static str = "line item";
    fn read(json: &str) -> Result<Self, WireError> {
        serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())
    }
}
