//! What a command is asked to do, and what comes back from trying.
//!
//! Invariants: an order is whole before anything is sent, so every attempt sends the same bytes; results name the
//! generation of the key they were got under.
//! Not here: what a result means (`mod`), where evidence is looked for (`proof`).

use crate::ids::{CommandId, Scope, TenantId, Timestamp};
use crate::reread::any_json;
use crate::stripe_call::StripeCall;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What programs and people can order at Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CommandKind {
    Customer,
    CustomerSync,
    Checkout,
    Sale,
    Portal,
    Refund,
    Capture,
    CancelPayment,
    ChangePlan,
    SetQuantity,
    CancelSubscription,
    ResumeSubscription,
    FinalizeInvoice,
    ConnectAccount,
    AccountLink,
    LoginLink,
    DisputeEvidence,
}

impl CommandKind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Customer,
        Self::CustomerSync,
        Self::Checkout,
        Self::Sale,
        Self::Portal,
        Self::Refund,
        Self::Capture,
        Self::CancelPayment,
        Self::ChangePlan,
        Self::SetQuantity,
        Self::CancelSubscription,
        Self::ResumeSubscription,
        Self::FinalizeInvoice,
        Self::ConnectAccount,
        Self::AccountLink,
        Self::LoginLink,
        Self::DisputeEvidence,
    ];
    /// The word of lists and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::CustomerSync => "customer_sync",
            Self::Checkout => "checkout",
            Self::Sale => "sale",
            Self::Portal => "portal",
            Self::Refund => "refund",
            Self::Capture => "capture",
            Self::CancelPayment => "cancel_payment",
            Self::ChangePlan => "change_plan",
            Self::SetQuantity => "set_quantity",
            Self::CancelSubscription => "cancel_subscription",
            Self::ResumeSubscription => "resume_subscription",
            Self::FinalizeInvoice => "finalize_invoice",
            Self::ConnectAccount => "connect_account",
            Self::AccountLink => "account_link",
            Self::LoginLink => "login_link",
            Self::DisputeEvidence => "dispute_evidence",
        }
    }
}

/// An order to Stripe for a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOrder {
    /// What is ordered.
    pub kind: CommandKind,
    /// For whom.
    pub tenant: TenantId,
    /// Who ordered it: `operator`, `service_key:<id>`.
    pub by: String,
    /// The request.
    pub call: StripeCall,
    /// Ids of what it is about, for `explain`.
    pub objects: Vec<String>,
    /// The command that makes the tenant's customer: the call waits for it and gets `customer` as its last parameter.
    pub awaits: Option<CommandId>,
    /// An earlier command that must be over before this one is sent: the later word is the last one Stripe hears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<CommandId>,
    /// How long somebody waits for the outcome, in ms. Past it a call of which nothing ever left is given up;
    /// `None`: nobody waits, and it is tried until it is done.
    pub patience_ms: Option<u64>,
}

/// A call to be made, as its effect holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEffect {
    /// Whose.
    pub command: CommandId,
    /// For whom: its answer is sealed under this tenant's key.
    pub tenant: TenantId,
    /// What it is for.
    pub kind: CommandKind,
    /// Which key of the command: raised only on stored evidence that the earlier one did nothing.
    pub generation: u32,
    /// The request.
    pub call: StripeCall,
    /// See [`CommandOrder::patience_ms`].
    pub patience_ms: Option<u64>,
}

/// What every key of ours begins with.
const KEY_PREFIX: &str = "bursar_";

impl CallEffect {
    /// The `Idempotency-Key`: the same at every attempt of a generation.
    pub fn key(&self) -> String {
        format!("{KEY_PREFIX}{}_{}", self.command, self.generation)
    }
}

/// The command whose key this is.
pub fn command_of_key(key: &str) -> Option<CommandId> {
    let (command, generation) = key.strip_prefix(KEY_PREFIX)?.rsplit_once('_')?;
    generation.parse::<u32>().ok()?;
    CommandId::parse(command).ok()
}

/// How the attempts under one key ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CallResult {
    /// Stripe's word.
    Answered {
        /// Under which key.
        generation: u32,
        /// HTTP status.
        status: u16,
        /// The answer's `Date`, unix seconds; 0 if it had none.
        date: i64,
        /// Stripe's `Request-Id`.
        request_id: String,
        /// The body is that of an earlier answer.
        is_replayed: bool,
        /// The object, or `{"error": …}`.
        #[serde(default, deserialize_with = "any_json")]
        body: Option<Box<RawValue>>,
    },
    /// Nothing of it ever left, and nobody waits any more.
    GaveUp {
        /// Under which key.
        generation: u32,
        /// `stripe_unavailable`, `stripe_circuit_open`, `stripe_key_refused`, `rate_limited`.
        code: String,
        /// In words.
        reason: String,
    },
    /// The key answers nothing but its failure any more, or may not be sent again: only looking helps.
    Indeterminate {
        /// Under which key.
        generation: u32,
        /// When it was sent last.
        last_try_at: Timestamp,
        /// In words.
        reason: String,
    },
    /// The key was used for another request. A defect of ours: nothing is sent again.
    KeyReused {
        /// Under which key.
        generation: u32,
        /// When it was sent last.
        last_try_at: Timestamp,
        /// Stripe's `Request-Id`.
        request_id: String,
    },
}

impl PartialEq for CallResult {
    fn eq(&self, other: &Self) -> bool {
        let text = |result: &Self| serde_json::to_string(result).unwrap_or_default();
        text(self) == text(other)
    }
}

/// An event under a key of ours: proof that the command reached Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The event type.
    pub kind: String,
    /// The account it came from.
    pub scope: Scope,
    /// The object it is about.
    pub object_id: String,
}
