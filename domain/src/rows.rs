//! Read models: what lists and look-ups serve, one kind per list of the contract.
//!
//! A decision carries full rows; the store only files and orders them. `value` is the JSON object the
//! HTTP API answers (camelCase, contract §4), less its personal fields, which travel apart so that
//! they are stored under their subject's key and can be erased.
//!
//! Invariants: a row is a function of its aggregate's state; rows of one state are the same whatever
//! the order of events was.

use crate::ids::{Scope, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// Which list a row belongs to. The discriminant is the byte used in keys: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
#[repr(u8)]
pub enum RowKind {
    Tenant = 1,
    Customer = 2,
    Subscription = 3,
    Invoice = 4,
    Payment = 5,
    Refund = 6,
    Dispute = 7,
    Session = 8,
    Merchant = 9,
    CreditEntry = 10,
    Unclaimed = 11,
    Command = 12,
}

impl RowKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Tenant,
        Self::Customer,
        Self::Subscription,
        Self::Invoice,
        Self::Payment,
        Self::Refund,
        Self::Dispute,
        Self::Session,
        Self::Merchant,
        Self::CreditEntry,
        Self::Unclaimed,
        Self::Command,
    ];
}

/// Whose personal fields something holds: the Stripe customer or account, a tenant, or (for what
/// names nobody) the month it came in. Erasing a subject makes its fields unreadable everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(pub String);

/// Personal fields of a row: a JSON object merged into the row's own when it may be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Whose they are.
    pub subject: Subject,
    /// A JSON object, UTF-8.
    #[serde(with = "serde_bytes")]
    pub fields: Vec<u8>,
}

/// The text of a row's object.
pub(crate) fn text_of(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).expect("objects of rows are plain values with text keys")
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The list.
    pub kind: RowKind,
    /// The Stripe account the object lives on.
    pub scope: Scope,
    /// The object's id.
    pub id: String,
    /// The tenant it belongs to, if known.
    pub tenant: Option<TenantId>,
    /// Stripe's `created` of the object; `None` (only heard of) sorts last.
    pub created_at: Option<Timestamp>,
    /// What the `status` filter compares.
    pub status: String,
    /// Left out of lists unless asked for (archived tenants).
    pub hidden: bool,
    /// A JSON object, UTF-8, without personal fields.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// Its personal fields.
    pub personal: Option<Personal>,
}

/// A change to a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowWrite {
    /// Adds or replaces the row.
    Put(Row),
    /// Removes it (a claimed unclaimed thing).
    Delete {
        /// The list.
        kind: RowKind,
        /// The account.
        scope: Scope,
        /// The id.
        id: String,
    },
    /// Makes `alias` answer the row `id` (a charge answers its payment).
    Alias {
        /// The list.
        kind: RowKind,
        /// The account.
        scope: Scope,
        /// The other name.
        alias: String,
        /// The row's id.
        id: String,
    },
}
