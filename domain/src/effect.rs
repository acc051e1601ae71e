//! Effects: what is to be done outside, as values, each named after the business fact behind it.
//!
//! Invariants: an id is SHA-256 of (aggregate, kind, business key), so the same fact never acts
//! twice, whichever event told it. Effects hold no address of a person unless their intent says
//! whose (`EffectIntent::subject`).
//! Not here: performing them (`actors`), mail texts (root crate).

use crate::aggregate::AggregateKey;
use crate::command::{CallEffect, CommandKind};
use crate::decision::{EffectId, EffectIntent, Lane};
use crate::ids::{SessionId, TenantId, Timestamp};
use crate::message::Cause;
use crate::reread::Reread;
use crate::rows::Subject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Something to do outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Asks Stripe for an object.
    Reread(Reread),
    /// Orders something at Stripe.
    Call(CallEffect),
    /// Mail to people.
    Mail(Mail),
    /// Tells applications.
    Notify(Notify),
    /// Makes the owner's account of a tenant.
    Provision(Provision),
    /// Lets the people of a tenant in, or keeps them out, as its licence says by then.
    Access(Access),
    /// Deletes the accounts of a tenant that was erased.
    Forget(Forget),
    /// Tells operators.
    Alert(Alert),
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Template name, e.g. `receipt`.
    pub template: String,
    /// The tenant it is about; its owners get it unless `to` names somebody.
    pub tenant: Option<TenantId>,
    /// The one address it goes to (a verification, an invitation). An intent that holds one has a subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What the template needs: ids, amounts as text, times; personal fields and secrets only beside `to`.
    pub params: BTreeMap<String, String>,
}

/// A notification to applications. The performer adds the tenant's present state and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// The type, of the contract's closed list, e.g. `license.renewed`.
    pub kind: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The object as the API shows it, without personal fields.
    pub object: serde_json::Value,
    /// What caused it.
    pub cause: Cause,
}

/// The owner's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provision {
    /// The tenant.
    pub tenant: TenantId,
    /// The session that paid.
    pub session: SessionId,
    /// The address the payer gave, to invite; `None`: only the tenant's own can be used.
    pub email: Option<String>,
}

/// Whether the people of a tenant get in, at whoever keeps their accounts. Names no verdict: the performer reads the
/// tenant's licence, so that two of these in the wrong order do no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The tenant.
    pub tenant: TenantId,
}

/// The accounts of an erased tenant are deleted at whoever keeps them. They are named here, sealed under a subject of
/// its own, since the tenant's key goes before this is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// The tenant.
    pub tenant: TenantId,
    /// The accounts' names.
    pub accounts: Vec<String>,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// A stable code, e.g. `link_conflict`, `price_unknown`, `dispute`.
    pub code: String,
    /// The tenant, if known.
    pub tenant: Option<TenantId>,
    /// The object it is about.
    pub object_id: String,
    /// One sentence, no personal data.
    pub text: String,
}

impl Effect {
    /// Who performs it.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Reread(_) => Lane::StripeRead,
            Self::Call(call) => match call.kind {
                CommandKind::Refund => Lane::StripeRefund,
                CommandKind::CustomerSync => Lane::StripeBackground,
                _ => Lane::Stripe,
            },
            Self::Mail(_) => Lane::Mail,
            Self::Notify(_) => Lane::Notify,
            Self::Provision(_) | Self::Access(_) | Self::Forget(_) => Lane::Identity,
            Self::Alert(_) => Lane::Alert,
        }
    }
    /// The word for lists and labels, e.g. `mail.receipt`.
    pub fn kind(&self) -> String {
        match self {
            Self::Reread(_) => "reread".to_owned(),
            Self::Call(call) => format!("call.{}", call.call.operation.as_str()),
            Self::Mail(mail) => format!("mail.{}", mail.template),
            Self::Notify(notify) => format!("notify.{}", notify.kind),
            Self::Provision(_) => "provision".to_owned(),
            Self::Access(_) => "access".to_owned(),
            Self::Forget(_) => "forget".to_owned(),
            Self::Alert(alert) => format!("alert.{}", alert.code),
        }
    }
    /// Reads the payload of an intent. # Errors: not an effect of this version.
    pub fn from_payload(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }
    /// The intent of an aggregate to do this. `business_key` names the fact (an invoice paid, a
    /// tie at a time), never the event.
    pub fn intent(
        &self,
        of: &AggregateKey,
        business_key: &str,
        due_at: Timestamp,
        subject: Option<Subject>,
    ) -> EffectIntent {
        let kind = self.kind();
        EffectIntent {
            id: effect_id(of, &kind, business_key),
            lane: self.lane(),
            kind,
            due_at,
            payload: serde_json::to_vec(self).expect("effects are plain values with text keys"),
            subject,
        }
    }
}

/// The derived name of an effect. The parts are length-framed so that no two triples collide.
pub fn effect_id(of: &AggregateKey, kind: &str, business_key: &str) -> EffectId {
    let mut hash = Sha256::new();
    for part in [of.to_string().as_str(), kind, business_key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    EffectId(hex::encode(&hash.finalize()[..16]))
}
