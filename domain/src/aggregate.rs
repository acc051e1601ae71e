//! Aggregates: the units whose transitions are serialized, each with an actor of its own.
//!
//! Every event is addressed to exactly **one** aggregate, and that address follows from the event
//! alone (its object's account and id). Nothing is looked up to route, so arrival order cannot
//! change where an event goes. Aggregates tell each other what changed by messages written in the
//! same commit; what a tenant is follows from what its parts last said.
//!
//! Invariants: the text form is unique and round-trips (`parse(to_string(k)) == k`); ids hold no `/`.

use crate::ids::{
    AccountId, CommandId, CustomerId, IdError, InvoiceId, PaymentId, Scope, SessionId,
    SubscriptionId, TenantId,
};
use crate::rows::{RowKind, RowWrite};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Names one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum AggregateKey {
    /// Status, licence, credits, merchant state of a tenant: decided over all its parts.
    Tenant(TenantId),
    /// A customer object of Stripe and the claims on it.
    Customer(Scope, CustomerId),
    /// One subscription.
    Subscription(Scope, SubscriptionId),
    /// One invoice.
    Invoice(Scope, InvoiceId),
    /// Intent, charges, refunds, disputes, warnings and reviews of one payment.
    Payment(Scope, PaymentId),
    /// One Checkout session.
    Session(Scope, SessionId),
    /// A connected account and the claims on it.
    Merchant(AccountId),
    /// What belongs to no object: payouts, reviews of unknown charges. Keeps no growing state.
    Installation(Scope),
    /// One order of a program or person to Stripe.
    Command(CommandId),
}

/// The kinds, for metric labels and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum AggregateKind {
    Tenant,
    Customer,
    Subscription,
    Invoice,
    Payment,
    Session,
    Merchant,
    Installation,
    Command,
}

impl AggregateKind {
    /// The word used in keys, logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Customer => "customer",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::Payment => "payment",
            Self::Session => "session",
            Self::Merchant => "merchant",
            Self::Installation => "installation",
            Self::Command => "command",
        }
    }
    /// All kinds, in key order.
    pub const ALL: [Self; 9] = [
        Self::Tenant,
        Self::Customer,
        Self::Subscription,
        Self::Invoice,
        Self::Payment,
        Self::Session,
        Self::Merchant,
        Self::Installation,
        Self::Command,
    ];
}

impl AggregateKey {
    /// The row whose version an order to this aggregate may be conditional on.
    pub fn own_row(&self) -> Option<(RowKind, Scope, String)> {
        match self {
            Self::Tenant(id) => Some((RowKind::Tenant, Scope::PLATFORM, id.to_string())),
            _ => None,
        }
    }
    /// Whether one of these writes changes [`Self::own_row`].
    pub fn rewrites_own_row(&self, writes: &[RowWrite]) -> bool {
        let Some(own) = self.own_row() else {
            return false;
        };
        writes.iter().any(|write| match write {
            RowWrite::Put(row) => {
                (row.kind, &row.scope, row.id.as_str()) == (own.0, &own.1, own.2.as_str())
            }
            RowWrite::Delete { kind, scope, id } => {
                (*kind, scope, id.as_str()) == (own.0, &own.1, own.2.as_str())
            }
            RowWrite::Alias { .. } => false,
        })
    }
    /// Which kind of aggregate this is.
    pub const fn kind(&self) -> AggregateKind {
        match self {
            Self::Tenant(_) => AggregateKind::Tenant,
            Self::Customer(..) => AggregateKind::Customer,
            Self::Subscription(..) => AggregateKind::Subscription,
            Self::Invoice(..) => AggregateKind::Invoice,
            Self::Payment(..) => AggregateKind::Payment,
            Self::Session(..) => AggregateKind::Session,
            Self::Merchant(_) => AggregateKind::Merchant,
            Self::Installation(_) => AggregateKind::Installation,
            Self::Command(_) => AggregateKind::Command,
        }
    }

    /// The Stripe account its object lives on; `None` for tenants and commands, which live on none.
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Customer(scope, _)
            | Self::Subscription(scope, _)
            | Self::Invoice(scope, _)
            | Self::Payment(scope, _)
            | Self::Session(scope, _)
            | Self::Installation(scope) => Some(scope),
            Self::Tenant(_) | Self::Merchant(_) | Self::Command(_) => None,
        }
    }

    /// What its text form is made of, in order.
    pub fn parts(&self) -> [&str; 5] {
        let kind = self.kind().as_str();
        const fn on<'a>(kind: &'a str, scope: &'a str, id: &'a str) -> [&'a str; 5] {
            [kind, ":", scope, "/", id]
        }
        match self {
            Self::Tenant(id) => [kind, ":", "", "", id.as_str()],
            Self::Merchant(id) => [kind, ":", "", "", id.as_str()],
            Self::Command(id) => [kind, ":", "", "", id.as_str()],
            Self::Customer(scope, id) => on(kind, scope.as_str(), id.as_str()),
            Self::Subscription(scope, id) => on(kind, scope.as_str(), id.as_str()),
            Self::Invoice(scope, id) => on(kind, scope.as_str(), id.as_str()),
            Self::Payment(scope, id) => on(kind, scope.as_str(), id.as_str()),
            Self::Session(scope, id) => on(kind, scope.as_str(), id.as_str()),
            Self::Installation(scope) => on(kind, scope.as_str(), ""),
        }
    }

    /// Reads the text form, e.g. `payment:/pi_1` (platform) or `payment:acct_9/pi_1`.
    /// # Errors: unknown kind or a malformed id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const BAD: IdError = IdError {
            kind: "aggregate key",
            rule: "kind:scope/id",
        };
        let (kind, rest) = text.split_once(':').ok_or(BAD)?;
        if kind == "tenant" {
            return Ok(Self::Tenant(TenantId::parse(rest)?));
        }
        if kind == "merchant" {
            return Ok(Self::Merchant(AccountId::parse(rest)?));
        }
        if kind == "command" {
            return Ok(Self::Command(CommandId::parse(rest)?));
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
            "session" => Self::Session(scope, SessionId::parse(id)?),
            "installation" if id.is_empty() => Self::Installation(scope),
            _ => return Err(BAD),
        })
    }
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts()
            .into_iter()
            .try_for_each(|part| f.write_str(part))
    }
}
/// As its text.
impl Serialize for AggregateKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
impl TryFrom<String> for AggregateKey {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}
impl From<AggregateKey> for String {
    fn from(key: AggregateKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_through_their_text() {
        for text in [
            "tenant:acme",
            "customer:/cus_1",
            "subscription:acct_9/sub_1",
            "invoice:/in_1",
            "payment:acct_9/pi_1",
            "session:/cs_1",
            "merchant:acct_9",
            "installation:/",
            "installation:acct_9/",
            "command:cmd_1",
        ] {
            assert_eq!(AggregateKey::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "tenant:",
            "payment:pi_1",
            "what:/x",
            "installation:/x",
            "customer:/a/b",
        ] {
            assert!(AggregateKey::parse(text).is_err(), "{text}");
        }
    }
}
