//! What programs and people order of a tenant.
//!
//! A debit's reference counts once for ever, and references are without number: a link named after
//! the reference remembers it, so that the tenant's own state stays bounded.

use super::TenantState;
use crate::decide::Outcome;
use crate::decision::Disposition;
use crate::fact::Order;
use crate::ids::{CommandId, Scope, TenantId};
use crate::input::Ctx;
use crate::link::LinkKey;
use crate::rows::{Row, RowKind, text_of};
use sha2::{Digest, Sha256};

/// Why a patch was refused whose writer saw another version of the tenant.
pub const VERSION_CHANGED: &str = "the tenant has changed since it was read";

/// The id of the entry a debit with this reference makes; the API answers it as `entryId`.
pub fn debit_entry_id(tenant: &TenantId, reference: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((tenant.as_str().len() as u64).to_be_bytes());
    hash.update(tenant.as_str());
    hash.update(reference);
    format!("debit_{}", hex::encode(&hash.finalize()[..16]))
}

/// The link that remembers a debit.
pub(super) fn debit_key(tenant: &TenantId, reference: &str) -> LinkKey {
    let id = CommandId::parse(&debit_entry_id(tenant, reference));
    LinkKey::Command(id.expect("a hex text is an id"))
}

impl TenantState {
    pub(super) fn join_order(&mut self, id: &TenantId, order: &Order, ctx: &Ctx<'_>) -> Outcome {
        self.entry = None;
        self.linked = None;
        let refused = |reason: &str| Outcome::ignored(id.as_str(), reason);
        if self.created_at.is_none() && !matches!(order, Order::TenantCreate { .. }) {
            return refused("no such tenant");
        }
        match order {
            Order::TenantCreate {
                name,
                email,
                metadata,
                timezone,
            } => {
                if self.is_ordered || self.is_erased {
                    return Outcome {
                        disposition: Disposition::Duplicate,
                        ..refused("the tenant exists")
                    };
                }
                self.is_ordered = true;
                self.exist_since(ctx.now);
                self.name = name.clone().or(self.name.take());
                self.email = email.clone().or(self.email.take());
                self.timezone = timezone.clone();
                self.metadata = metadata.clone();
                Outcome::applied(id.as_str()).saying("tenant created")
            }
            Order::TenantPatch {
                name,
                email,
                metadata,
                timezone,
                contract_reference,
                expected_version,
            } => {
                if expected_version.is_some() && *expected_version != ctx.shown_version {
                    return refused(VERSION_CHANGED);
                }
                let is_given = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
                if self.is_erased && (is_given(name) || is_given(email)) {
                    return refused(
                        "its personal fields were erased, and none are kept of it again",
                    );
                }
                let patch = |slot: &mut Option<String>, new: &Option<String>| {
                    if let Some(text) = new {
                        *slot = Some(text.clone()).filter(|text| !text.is_empty());
                    }
                };
                patch(&mut self.name, name);
                patch(&mut self.email, email);
                patch(&mut self.timezone, timezone);
                patch(&mut self.contract_reference, contract_reference);
                if let Some(metadata) = metadata {
                    self.metadata.clone_from(metadata);
                }
                Outcome::applied(id.as_str()).saying("tenant edited")
            }
            Order::CreditsDebit { amount, reference } => self.debit(id, *amount, reference, ctx),
            Order::Erase {} => {
                let lives = self
                    .subscriptions
                    .values()
                    .any(|one| one.ended_at.is_none());
                if lives {
                    return refused("a subscription lives");
                }
                self.name = None;
                self.email = None;
                self.visitor = None;
                self.metadata.clear();
                self.is_erased = true;
                Outcome::applied(id.as_str()).saying("personal fields erased")
            }
            Order::UnclaimedClaim { .. }
            | Order::UnclaimedDismiss { .. }
            | Order::CommandBegin(_)
            | Order::CommandAgain {}
            | Order::CommandUnsure { .. } => refused("not for a tenant"),
        }
    }

    fn debit(&mut self, id: &TenantId, amount: u64, reference: &str, ctx: &Ctx<'_>) -> Outcome {
        let refused = |reason: &str| Outcome::ignored(id.as_str(), reason);
        let key = debit_key(id, reference);
        if ctx.links.contains_key(&key) {
            return Outcome {
                disposition: Disposition::Duplicate,
                ..refused("this reference was debited already")
            };
        }
        let minor = i64::try_from(amount).ok().filter(|amount| *amount > 0);
        let Some(minor) = minor else {
            return refused("amount is out of range");
        };
        if self.credits() < minor {
            return refused("insufficient_credits");
        }
        self.debited = self.debited.saturating_add(minor);
        self.linked = Some(key);
        let entry = debit_entry_id(id, reference);
        self.entry = Some((entry, amount, reference.to_owned(), ctx.now));
        Outcome::applied(id.as_str()).saying(format!("{amount} credits debited"))
    }

    pub(super) fn entry_row(&self, id: &TenantId) -> Option<Row> {
        let (entry, amount, reference, at) = self.entry.as_ref()?;
        let value = serde_json::json!({
            "id": entry, "kind": "debit", "amount": -i128::from(*amount), "tenantId": id,
            "reference": reference, "createdAt": at.rfc3339(),
        });
        Some(Row {
            kind: RowKind::CreditEntry,
            scope: Scope::PLATFORM,
            id: entry.clone(),
            tenant: Some(id.clone()),
            created_at: Some(*at),
            status: "debit".to_owned(),
            hidden: false,
            value: text_of(&value),
            personal: None,
        })
    }
}
