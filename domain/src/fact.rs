//! A fact: an input, decoded once for the reducer that merges it.
//!
//! Failure: what does not read is a sentence; the input is then dead with that reason.

use crate::aggregate::AggregateKey;
use crate::command::{CallResult, CommandOrder};
use crate::decision::EntrySource;
use crate::ids::{TenantId, Timestamp};
use crate::input::{InputSource, StoredInput};
use crate::message::{Cause, Envelope, Message};
use crate::reread::Answer;
use crate::stripe_wire::{Event, read_envelope, read_event};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an operator or program orders; `kind` of the input is its word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order")]
pub enum Order {
    /// `tenant.create`, to the tenant.
    #[serde(rename = "tenant.create")]
    TenantCreate {
        /// Its name.
        name: Option<String>,
        /// Its owner's address.
        email: Option<String>,
        /// Free notes.
        #[serde(default)]
        metadata: BTreeMap<String, String>,
        /// IANA zone, for mails.
        timezone: Option<String>,
    },
    /// `tenant.patch`, to the tenant: absent fields stay, an empty text clears.
    #[serde(rename = "tenant.patch")]
    TenantPatch {
        /// Its name.
        name: Option<String>,
        /// Its owner's address.
        email: Option<String>,
        /// Replaces all notes.
        metadata: Option<BTreeMap<String, String>>,
        /// IANA zone, for mails.
        timezone: Option<String>,
        /// `contract.reference`.
        contract_reference: Option<String>,
        /// Only while the tenant is shown under this version (`If-Match`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_version: Option<u64>,
    },
    /// `credits.debit`, to the tenant.
    #[serde(rename = "credits.debit")]
    CreditsDebit {
        /// How many, above 0.
        amount: u64,
        /// The caller's own name for it; the same one counts once.
        reference: String,
    },
    /// `unclaimed.claim`, to the session.
    #[serde(rename = "unclaimed.claim")]
    UnclaimedClaim {
        /// Whose it is.
        tenant: TenantId,
    },
    /// `unclaimed.dismiss`, to the session: nobody is going to claim it.
    #[serde(rename = "unclaimed.dismiss")]
    UnclaimedDismiss {
        /// Why, in the operator's words.
        reason: String,
    },
    /// `command.begin`, to the command: what is ordered at Stripe.
    #[serde(rename = "command.begin")]
    CommandBegin(Box<CommandOrder>),
    /// `command.again`, to a command that was given up.
    #[serde(rename = "command.again")]
    CommandAgain {},
    /// `command.unsure`, to the command: an attempt ended without anybody knowing how.
    #[serde(rename = "command.unsure")]
    CommandUnsure {
        /// Under which key.
        generation: u32,
        /// In words.
        reason: String,
    },
    /// `erase`: personal fields go, the rest stays.
    #[serde(rename = "erase")]
    Erase {},
}

impl Order {
    /// The word of the order: the input's `kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TenantCreate { .. } => "tenant.create",
            Self::TenantPatch { .. } => "tenant.patch",
            Self::CreditsDebit { .. } => "credits.debit",
            Self::UnclaimedClaim { .. } => "unclaimed.claim",
            Self::UnclaimedDismiss { .. } => "unclaimed.dismiss",
            Self::CommandBegin(_) => "command.begin",
            Self::CommandAgain {} => "command.again",
            Self::CommandUnsure { .. } => "command.unsure",
            Self::Erase {} => "erase",
        }
    }
    /// The input's body.
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("orders are plain values with text keys")
    }
}

/// The kind of an input that holds a [`CallResult`].
pub const CALL: &str = "call";

/// A decoded input.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Stripe said.
    Event(Box<Event>),
    /// Another aggregate said.
    Message(Box<Envelope>),
    /// Stripe answered a read.
    Answer(Box<Answer>),
    /// An order to Stripe came to an end.
    Called(Box<CallResult>),
    /// Time passed.
    Timer(String),
    /// Someone ordered.
    Order(Order),
}

impl Fact {
    /// Decodes an input. # Errors: why it cannot be used, in a sentence.
    pub fn read(input: &StoredInput) -> Result<Self, String> {
        match &input.source {
            InputSource::Event(..) | InputSource::Raw(_) => {
                let body = std::str::from_utf8(&input.body).map_err(|error| error.to_string())?;
                let envelope = read_envelope(body).map_err(|error| error.to_string())?;
                let event = read_event(&envelope).map_err(|error| error.to_string())?;
                let event = event.ok_or_else(|| "type not handled".to_owned())?;
                Ok(Self::Event(Box::new(event)))
            }
            InputSource::Message(..) => read_json(&input.body, "message").map(Self::Message),
            InputSource::Effect(_) if input.kind == CALL => {
                read_json(&input.body, "result").map(Self::Called)
            }
            InputSource::Effect(_) => read_json(&input.body, "answer").map(Self::Answer),
            InputSource::Timer(_, name, _) => Ok(Self::Timer(name.clone())),
            InputSource::Operator(_) => read_json(&input.body, "order").map(Self::Order),
        }
    }
}

/// The answer to a re-read, whether asked by this aggregate or by another one that passed it on.
pub(crate) fn answer_in(fact: &Fact) -> Option<&Answer> {
    match fact {
        Fact::Answer(answer) => Some(answer),
        Fact::Message(envelope) => match &envelope.message {
            Message::Answer(answer) => Some(answer),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a decision about this input depends on `Ctx::shown_version`: an order that says under
/// which version its writer saw the aggregate.
pub fn is_conditional(input: &StoredInput) -> bool {
    matches!(input.source, InputSource::Operator(_))
        && matches!(
            serde_json::from_slice(&input.body),
            Ok(Order::TenantPatch {
                expected_version: Some(_),
                ..
            })
        )
}

fn read_json<T: serde::de::DeserializeOwned>(body: &[u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("{what}: {error}"))
}

/// The outside fact behind an input.
pub(crate) fn cause_of(
    key: &AggregateKey,
    input: &StoredInput,
    fact: &Fact,
    now: Timestamp,
) -> Cause {
    if let (AggregateKey::Command(id), Fact::Order(_) | Fact::Called(_)) = (key, fact) {
        return Cause {
            source: EntrySource::Command,
            source_id: id.to_string(),
            kind: input.kind.clone(),
            at: now,
        };
    }
    let (source, at) = match fact {
        Fact::Message(envelope) => return envelope.cause.clone(),
        Fact::Event(event) => (EntrySource::Event, event.created),
        Fact::Answer(answer) => (EntrySource::Reread, answer.at()),
        Fact::Timer(_) => (EntrySource::Timer, now),
        Fact::Order(_) | Fact::Called(_) => (EntrySource::Operator, now),
    };
    Cause {
        source,
        source_id: input.source.public_id(),
        kind: input.kind.clone(),
        at,
    }
}
