//! Links: which tenant a reference belongs to.
//!
//! A reference is something an event names (a customer, a payment, a tenant id in metadata, …). The
//! commit that writes a link frees every input parked under it, so "applied the moment it is known"
//! is atomic and not a race.
//!
//! Invariants: a link's value is decided by the lowest *claim* (source in the contract's order, then
//! the claiming object's `created`, then its id), never by arrival; so it is a minimum over a set.
//! Source: contract §4, "Finding the tenant of an event".

use crate::ids::{
    AccountId, ChargeId, CommandId, CustomerId, IdError, InvoiceId, PaymentId, Scope, SessionId,
    SubscriptionId, TenantId, Timestamp,
};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Something an event can name, and that may be known to belong to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum LinkKey {
    /// The tenant itself: linked once it exists.
    Tenant(TenantId),
    /// A command of ours.
    Command(CommandId),
    /// A customer of Stripe.
    Customer(Scope, CustomerId),
    /// A subscription.
    Subscription(Scope, SubscriptionId),
    /// An invoice.
    Invoice(Scope, InvoiceId),
    /// A payment.
    Payment(Scope, PaymentId),
    /// A charge (of a payment known by its intent).
    Charge(Scope, ChargeId),
    /// A Checkout session.
    Session(Scope, SessionId),
    /// A connected account.
    Merchant(AccountId),
}

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTarget {
    /// The tenant; `None` when the object is known and names nobody (a guest's payment).
    pub tenant: Option<TenantId>,
}

/// Where a claim comes from, best first: the contract's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimSource {
    /// An operator's own word (claiming something unclaimed).
    Operator,
    /// Our command's id on the object.
    Command,
    /// A linked customer.
    Customer,
    /// A payment or invoice already known.
    Payment,
    /// A linked Connect account.
    Merchant,
    /// `client_reference_id`.
    ClientReference,
    /// The n-th of `TENANT_METADATA_KEYS`.
    Metadata(u8),
    /// A tenant made for a Payment Link's visitor: never before anyone else's word.
    PaymentLink,
}

/// One object's word that something belongs to a tenant. Ordered: the least claim is the link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// Where it comes from.
    pub source: ClaimSource,
    /// `created` of the claiming object.
    pub created: Timestamp,
    /// The claiming object's id.
    pub object_id: String,
    /// The tenant it names.
    pub tenant: TenantId,
}

impl LinkKey {
    /// What its text form is made of, in order.
    pub fn parts(&self) -> [&str; 4] {
        match self {
            Self::Tenant(id) => ["tenant:", "", "", id.as_str()],
            Self::Command(id) => ["command:", "", "", id.as_str()],
            Self::Merchant(id) => ["merchant:", "", "", id.as_str()],
            Self::Customer(scope, id) => ["customer:", scope.as_str(), "/", id.as_str()],
            Self::Subscription(scope, id) => ["subscription:", scope.as_str(), "/", id.as_str()],
            Self::Invoice(scope, id) => ["invoice:", scope.as_str(), "/", id.as_str()],
            Self::Payment(scope, id) => ["payment:", scope.as_str(), "/", id.as_str()],
            Self::Charge(scope, id) => ["charge:", scope.as_str(), "/", id.as_str()],
            Self::Session(scope, id) => ["session:", scope.as_str(), "/", id.as_str()],
        }
    }
    /// Reads the text form (as `AggregateKey`'s). # Errors: unknown kind or malformed id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const BAD: IdError = IdError {
            kind: "link key",
            rule: "kind:scope/id",
        };
        let (kind, rest) = text.split_once(':').ok_or(BAD)?;
        match kind {
            "tenant" => return Ok(Self::Tenant(TenantId::parse(rest)?)),
            "command" => return Ok(Self::Command(CommandId::parse(rest)?)),
            "merchant" => return Ok(Self::Merchant(AccountId::parse(rest)?)),
            _ => {}
        }
        let (scope, id) = rest.split_once('/').ok_or(BAD)?;
        let scope = Scope(if scope.is_empty() {
            None
        } else {
            Some(AccountId::parse(scope)?)
        });
        Ok(match kind {
            "customer" => Self::Customer(scope, CustomerId::parse(id)?),
            "subscription" => Self::Subscription(scope, SubscriptionId::parse(id)?),
            "invoice" => Self::Invoice(scope, InvoiceId::parse(id)?),
            "payment" => Self::Payment(scope, PaymentId::parse(id)?),
            "charge" => Self::Charge(scope, ChargeId::parse(id)?),
            "session" => Self::Session(scope, SessionId::parse(id)?),
            _ => return Err(BAD),
        })
    }
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts()
            .into_iter()
            .try_for_each(|part| f.write_str(part))
    }
}
/// As its text.
impl Serialize for LinkKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
impl TryFrom<String> for LinkKey {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<LinkKey> for String {
    fn from(key: LinkKey) -> String {
        key.to_string()
    }
}
