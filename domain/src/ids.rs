//! Identifiers as types: nothing that names a thing is a bare string.
//!
//! Invariants: an id is checked when it is made, so a value of these types is always 1..=255 visible
//! ASCII characters (a tenant's: the grammar below). Ids of Stripe are otherwise opaque: Stripe
//! promises no prefixes, so nothing here reads meaning out of one.
//! Not here: which tenant an id belongs to (`link`).
//! Source: Stripe API reference, "Object ids"; this product's contract §4 (tenant grammar).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest id of Stripe we accept, in bytes.
pub const STRIPE_ID_BYTES_MAX: usize = 255;
/// Longest tenant id, in bytes.
pub const TENANT_ID_BYTES_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {rule}")]
pub struct IdError {
    /// What was being read, e.g. `tenant id`.
    pub kind: &'static str,
    /// The rule it broke, in words.
    pub rule: &'static str,
}

fn check_stripe_id(kind: &'static str, text: &str) -> Result<(), IdError> {
    let fits = !text.is_empty() && text.len() <= STRIPE_ID_BYTES_MAX;
    if fits
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'/' && b != b'?' && b != b'#')
    {
        return Ok(());
    }
    Err(IdError {
        kind,
        rule: "1 to 255 visible ASCII characters without '/', '?' or '#'",
    })
}

macro_rules! stripe_id {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Reads an id. # Errors: not 1..=255 visible ASCII characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check_stripe_id($kind, text)?;
                Ok(Self(text.to_owned()))
            }
            /// The id as Stripe writes it.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check_stripe_id($kind, &text)?;
                Ok(Self(text))
            }
        }
        impl From<$name> for String { fn from(id: $name) -> String { id.0 } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

stripe_id! {
    /// `acct_…`: a connected account.
    AccountId = "account id";
    /// `cus_…`.
    CustomerId = "customer id";
    /// `sub_…`.
    SubscriptionId = "subscription id";
    /// `in_…`.
    InvoiceId = "invoice id";
    /// `pi_…`.
    PaymentIntentId = "payment intent id";
    /// `ch_…`.
    ChargeId = "charge id";
    /// `re_…`.
    RefundId = "refund id";
    /// `du_…` or `dp_…`.
    DisputeId = "dispute id";
    /// `txn_…`.
    BalanceTransactionId = "balance transaction id";
    /// `cs_…`.
    SessionId = "checkout session id";
    /// `evt_…`.
    EventId = "event id";
    /// `price_…`.
    PriceId = "price id";
    /// Ours: `cmd_…`, one order of a program or person.
    CommandId = "command id";
    /// Any object of Stripe whose kind is said elsewhere.
    ObjectId = "object id";
    /// A payment: its PaymentIntent's id, or its charge's when there is none.
    PaymentId = "payment id";
}

impl From<&PaymentIntentId> for PaymentId {
    fn from(id: &PaymentIntentId) -> Self {
        Self(id.0.clone())
    }
}
impl From<&ChargeId> for PaymentId {
    fn from(id: &ChargeId) -> Self {
        Self(id.0.clone())
    }
}

/// A customer of the installation: a UUID or `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, case-sensitive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TenantId(String);

impl TenantId {
    /// Reads a tenant id. # Errors: outside the grammar.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= TENANT_ID_BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(IdError {
            kind: "tenant id",
            rule: "a letter or digit, then up to 63 letters, digits, '.', '_' or '-'",
        })
    }
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.0
    }
}
impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose Stripe account an object lives on: the platform's own (`None`) or a connected one.
///
/// All state of Stripe objects is keyed by (scope, object id): ids are unique per account only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Scope(pub Option<AccountId>);

impl Scope {
    /// The platform's own account.
    pub const PLATFORM: Self = Self(None);
    /// `acct_…`, or the empty text for the platform: the form used in keys.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", AccountId::as_str)
    }
}

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From Stripe's whole seconds. Saturates: a far date stays far.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }
    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }
    /// This much later (or earlier, if negative), in milliseconds.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// RFC 3339 in UTC, e.g. `2025-05-12T10:00:00Z`; fractions only when there are any.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .map_or_else(|_| format!("{}ms", self.0), |t| t.to_string())
    }
}
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}
