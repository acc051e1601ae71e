//! What a reducer consumes, and what it may know beside it.
//!
//! Invariants: a reducer sees time only as `Ctx::now`, links only as the values it asked for with
//! `lookups`, settings only as `Ctx::settings`, its own version only as `Ctx::shown_version`. Nothing
//! here is a clock, a store or a socket.

use crate::aggregate::AggregateKey;
use crate::decision::EffectId;
use crate::ids::{EventId, Scope, Timestamp};
use crate::link::{LinkKey, LinkTarget};
use crate::settings::Settings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an input comes from. Its text is the dedup key: the same text is the same input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InputSource {
    /// A Stripe event: `(account, event id)`.
    Event(Scope, EventId),
    /// A delivery whose body is no event: named after its SHA-256 (`raw_<hash>`).
    Raw(String),
    /// The result of an effect (a re-read).
    Effect(EffectId),
    /// A message of another aggregate: its key, the version that sent it, the n-th of that commit.
    Message(AggregateKey, u64, u32),
    /// A timer of this aggregate: name and due time.
    Timer(AggregateKey, String, Timestamp),
    /// An operator's or program's order, by its own id.
    Operator(String),
}

impl InputSource {
    /// The dedup key: unique text per input, e.g. `event:/evt_1`, `timer:tenant:acme#grace@1747`.
    pub fn dedup_text(&self) -> String {
        match self {
            Self::Event(scope, id) => {
                let scope = crate::mutant!("M7b", "", scope.as_str());
                ["event:", scope, "/", id.as_str()].concat()
            }
            Self::Raw(hash) => format!("raw:{hash}"),
            Self::Effect(id) => format!("effect:{}", id.0),
            Self::Message(from, version, n) => format!("message:{from}@{version}.{n}"),
            Self::Timer(of, name, at) => format!("timer:{of}#{name}@{}", at.0),
            Self::Operator(id) => format!("operator:{id}"),
        }
    }
    /// The id people know it by: the event's id, `raw_…`, the effect's id, …
    pub fn public_id(&self) -> String {
        match self {
            Self::Event(_, id) => id.to_string(),
            Self::Raw(hash) => format!("raw_{hash}"),
            Self::Effect(id) => id.0.clone(),
            Self::Message(..) | Self::Timer(..) => self.dedup_text(),
            Self::Operator(id) => id.clone(),
        }
    }
}

/// An input as the store hands it back: body still in bytes, decoded by `decide`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInput {
    /// Its number in the fold; order of the fold only, never of meaning.
    pub seq: u64,
    /// Where it comes from.
    pub source: InputSource,
    /// Event type, message kind, timer name or order kind.
    pub kind: String,
    /// When we stored it.
    pub received_at: Timestamp,
    /// The raw event, or the JSON of a message, re-read or order. Empty for timers.
    pub body: Vec<u8>,
}

/// What a reducer may know beside state and input.
#[derive(Clone, Debug)]
pub struct Ctx<'a> {
    /// When we decide.
    pub now: Timestamp,
    /// Configuration.
    pub settings: &'a Settings,
    /// Present values of every key `lookups` asked for (absent: not linked).
    pub links: &'a BTreeMap<LinkKey, LinkTarget>,
    /// Under which version the aggregate's own row is shown to callers; looked up for conditional
    /// orders only. `None`: there is no row, or an earlier input of the same commit changed it, so
    /// that nobody can have seen what it is now.
    pub shown_version: Option<u64>,
}
