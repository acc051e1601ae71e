//! What a reducer answers: everything one input changes, as plain values, committed together.
//!
//! Reducers *merge, then compare*: an input is joined into the aggregate's state (commutative and
//! idempotent), and rows, ledger movements, messages and effects are the difference between what the
//! old and the new state imply. That is why order and duplication cannot matter.
//!
//! Invariants: entries of one movement sum to zero per currency; an effect's id is derived from the
//! business fact and not from the event, so the same fact never acts twice.

use crate::aggregate::AggregateKey;
use crate::ids::{TenantId, Timestamp};
use crate::link::{LinkKey, LinkTarget};
use crate::money::Currency;
use crate::rows::{RowWrite, Subject};
use serde::{Deserialize, Serialize};

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Disposition {
    Applied,
    Stale,
    Duplicate,
    Ignored,
    Parked,
    Dead,
}

impl Disposition {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
}

/// One field that changed. Values are JSON texts (`"past_due"`, `null`, `3`), so that a record of
/// them needs no self-describing format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted, in the API's words, e.g. `license.state`.
    pub field: String,
    /// Before (`null`: was not there).
    pub from: String,
    /// After.
    pub to: String,
}

/// Where an input came from, in the contract's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum EntrySource {
    Event,
    Command,
    Reread,
    Timer,
    Operator,
}

/// A line of a timeline: what happened, and why it did or did not change anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it happened: the event's `created`, else when we decided.
    pub at: Timestamp,
    /// Where it came from.
    pub source: EntrySource,
    /// The event's, command's, effect's or timer's id.
    pub source_id: String,
    /// The event type, or ours (`license.expired`, `tenant.created`, …).
    pub kind: String,
    /// The object it is about.
    pub object_id: String,
    /// One sentence for people, no personal data.
    pub summary: String,
    /// What changed.
    pub changed: Vec<Change>,
    /// What became of the input.
    pub disposition: Disposition,
    /// Whose timeline it appears on.
    pub tenant: Option<TenantId>,
    /// The payment whose timeline it appears on (as `LinkKey::Payment` text), if any.
    pub payment: Option<LinkKey>,
    /// Every id under which `explain` finds it (the object, its parents, the tenant, the event).
    pub ids: Vec<String>,
}

/// One signed amount in double-entry books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Where it sits.
    pub account: LedgerAccount,
    /// Signed minor units: a debit is positive, a credit negative.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: Currency,
}

/// The accounts of the contract. The discriminant is the byte used in keys: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
#[repr(u8)]
pub enum LedgerAccount {
    StripeBalance = 1,
    Receivable = 2,
    Revenue = 3,
    Refunds = 4,
    Disputes = 5,
    CreditsLiability = 6,
    Merchant = 7,
}

impl LedgerAccount {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StripeBalance => "stripe_balance",
            Self::Receivable => "receivable",
            Self::Revenue => "revenue",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::CreditsLiability => "credits_liability",
            Self::Merchant => "merchant",
        }
    }
}

/// One movement of money: what a Stripe object (charge, refund, dispute movement) did to the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// The Stripe id of the movement; a correction of it carries the same source.
    pub source: String,
    /// When Stripe says it happened.
    pub at: Timestamp,
    /// The tenant, if known.
    pub tenant: Option<TenantId>,
    /// The payment it belongs to (as `LinkKey::Payment`), if any.
    pub payment: Option<LinkKey>,
    /// At least two; sum zero per currency.
    pub entries: Vec<LedgerEntry>,
}

/// Which outbound actor performs an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Lane {
    /// GETs at Stripe: re-reads reducers ask for.
    StripeRead = 1,
    /// Orders to Stripe somebody waits for.
    Stripe = 2,
    /// Mail to people.
    Mail = 3,
    /// Notifications to applications.
    Notify = 4,
    /// Provisioning of people's accounts.
    Identity = 5,
    /// Alerts to operators.
    Alert = 6,
    /// Orders to Stripe that give money back.
    StripeRefund = 7,
    /// Orders to Stripe nobody waits for.
    StripeBackground = 8,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 8] = [
        Self::Stripe,
        Self::StripeRefund,
        Self::StripeRead,
        Self::StripeBackground,
        Self::Mail,
        Self::Notify,
        Self::Identity,
        Self::Alert,
    ];
    /// The word used in labels and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StripeRead => "stripe_read",
            Self::Stripe => "stripe",
            Self::Mail => "mail",
            Self::Notify => "notify",
            Self::Identity => "identity",
            Self::Alert => "alert",
            Self::StripeRefund => "stripe_refund",
            Self::StripeBackground => "stripe_background",
        }
    }
}

/// The derived name of an effect: SHA-256 of (aggregate, kind, business key), first 16 bytes, hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectId(pub String);

/// Something to do outside, as decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectIntent {
    /// Derived, so the same fact gives the same id.
    pub id: EffectId,
    /// Who performs it.
    pub lane: Lane,
    /// Word for lists and labels, e.g. `reread`, `mail.receipt`, `alert.dispute`.
    pub kind: String,
    /// Not before.
    pub due_at: Timestamp,
    /// The effect (`crate::effect::Effect`) as JSON.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Whose personal fields the payload holds, if any.
    pub subject: Option<Subject>,
}

/// A message to another aggregate, delivered through its inbox in the same commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// To whom.
    pub to: AggregateKey,
    /// Word for lists and logs, e.g. `subscription_summary`.
    pub kind: String,
    /// The message (`crate::message::Message`) as JSON.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// When not empty: waits (parked) until one of these is linked.
    pub park: Vec<LinkKey>,
    /// Whose personal fields the payload holds, if any.
    pub subject: Option<Subject>,
}

/// Sets or clears a timer of the aggregate; when due it comes back as an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerWrite {
    /// The timer's name, unique within the aggregate.
    pub name: String,
    /// When; `None` clears it.
    pub at: Option<Timestamp>,
}

/// Writes a link. The commit frees every input parked under the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkWrite {
    /// What is linked.
    pub key: LinkKey,
    /// To whom.
    pub target: LinkTarget,
}

/// Everything one input changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What became of the input.
    pub disposition: Disposition,
    /// Why, in words (empty when simply applied).
    pub reason: String,
    /// The aggregate's new snapshot (JSON); `None`: unchanged.
    #[serde(with = "serde_bytes")]
    pub snapshot: Option<Vec<u8>>,
    /// Whose personal fields the snapshot holds, if any.
    pub snapshot_subject: Option<Subject>,
    /// Links to write.
    pub links: Vec<LinkWrite>,
    /// Messages to other aggregates.
    pub messages: Vec<Outgoing>,
    /// Effects to perform.
    pub effects: Vec<EffectIntent>,
    /// Timers to set or clear.
    pub timers: Vec<TimerWrite>,
    /// Read models to write.
    pub rows: Vec<RowWrite>,
    /// Money that moved.
    pub movements: Vec<Movement>,
    /// What to tell people.
    pub timeline: Vec<TimelineEntry>,
}

impl Decision {
    /// A decision that changes nothing but the input's own fate.
    pub fn nothing(disposition: Disposition, reason: impl Into<String>) -> Self {
        Self {
            disposition,
            reason: reason.into(),
            snapshot: None,
            snapshot_subject: None,
            links: Vec::new(),
            messages: Vec::new(),
            effects: Vec::new(),
            timers: Vec::new(),
            rows: Vec::new(),
            movements: Vec::new(),
            timeline: Vec::new(),
        }
    }
}
