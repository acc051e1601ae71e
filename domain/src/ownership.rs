//! Whose a child of Stripe's objects is: one piece for every aggregate that can belong to a tenant.
//!
//! A child has words of its own (reference, metadata) and refers to things that may be linked
//! (customer, command, account). Its tenant is the least of all of them; it tells the things it
//! refers to what it claims and whose it thinks it is, and they tell it when that is wrong.
//!
//! Invariants: joining only adds; `settle` makes `tenant` a function of what was joined and of the
//! links. A word about a tenant that does not exist yet waits for it, and so does the child.
//! Source: contract §4, "Finding the tenant of an event".

use crate::aggregate::AggregateKey;
use crate::claims::{Claims, metadata_claims, resolve};
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect};
use crate::ids::{TenantId, Timestamp};
use crate::input::Ctx;
use crate::link::{Claim, LinkKey};
use crate::message::Message;
use crate::project::Projection;
use crate::route::command_of;
use crate::settings::Settings;
use crate::stripe_wire::Metadata;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most things one child refers to.
const REFERENCES_MAX: usize = 16;

/// Whose a child is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ownership {
    /// Its own words.
    pub(crate) claims: Claims,
    /// What it refers to that may be linked: the least ones.
    pub(crate) references: BTreeSet<LinkKey>,
    /// Derived: whose it is.
    pub(crate) tenant: Option<TenantId>,
    /// Derived: claimed tenants that do not exist yet.
    pub(crate) awaited: BTreeSet<TenantId>,
    /// Derived: all tenants named, when more than one.
    pub(crate) disagreeing: BTreeSet<TenantId>,
}

impl Ownership {
    /// Refers to something.
    pub(crate) fn refer(&mut self, key: LinkKey) {
        self.references.insert(key);
        if self.references.len() > REFERENCES_MAX {
            self.references.pop_last();
        }
    }
    /// Takes tenants and command from an object's metadata.
    pub(crate) fn read_metadata(
        &mut self,
        metadata: &Metadata,
        created: Timestamp,
        object_id: &str,
        settings: &Settings,
    ) {
        for claim in metadata_claims(metadata, created, object_id, settings) {
            self.claims.join(claim);
        }
        if let Some(command) = command_of(metadata) {
            self.refer(LinkKey::Command(command));
        }
    }
    /// The links `settle` needs.
    pub(crate) fn lookups(&self) -> Vec<LinkKey> {
        let claimed = self
            .claims
            .iter()
            .map(|claim| LinkKey::Tenant(claim.tenant.clone()));
        self.references.iter().cloned().chain(claimed).collect()
    }
    /// Makes the derived parts follow. `is_trusted`: its own words make a tenant exist.
    pub(crate) fn settle(&mut self, ctx: &Ctx<'_>, is_trusted: bool) {
        let references: Vec<LinkKey> = self.references.iter().cloned().collect();
        self.tenant = resolve(&self.claims, &references, ctx, is_trusted);
        let exists = |tenant: &TenantId| ctx.links.contains_key(&LinkKey::Tenant(tenant.clone()));
        self.awaited = self
            .claims
            .iter()
            .filter(|claim| !is_trusted && !exists(&claim.tenant))
            .map(|claim| claim.tenant.clone())
            .collect();
        let linked = references
            .iter()
            .filter_map(|key| ctx.links.get(key)?.tenant.clone());
        let claimed = self.claims.iter().map(|claim| claim.tenant.clone());
        self.disagreeing = linked.chain(claimed).collect();
        if self.disagreeing.len() < 2 {
            self.disagreeing.clear();
        }
    }
    /// The messages of ownership: claims and greetings to `parents`, a note to itself for awaited
    /// tenants.
    pub(crate) fn project(
        &self,
        projection: &mut Projection,
        own: &AggregateKey,
        parents: &[AggregateKey],
    ) {
        for parent in parents {
            for claim in self.claims.iter() {
                let park = if self.awaited.contains(&claim.tenant) {
                    vec![LinkKey::Tenant(claim.tenant.clone())]
                } else {
                    Vec::new()
                };
                let message = Message::Claim {
                    claim: claim.clone(),
                };
                projection.tell_when(parent.clone(), claim.tenant.to_string(), message, park);
            }
            let tenant = self.tenant.clone();
            projection.tell(parent.clone(), "", Message::Hello { tenant });
        }
        for tenant in &self.awaited {
            let key = LinkKey::Tenant(tenant.clone());
            let message = Message::Relinked {
                key: key.clone(),
                tenant: Some(tenant.clone()),
            };
            projection.tell_when(own.clone(), tenant.to_string(), message, vec![key]);
        }
        projection.tenant = self.tenant.clone();
    }
    /// An alert when references disagree in a new way.
    pub(crate) fn conflict(
        &self,
        old: &Self,
        own: &AggregateKey,
        object_id: &str,
        now: Timestamp,
    ) -> Option<EffectIntent> {
        if self.disagreeing.is_empty() || self.disagreeing == old.disagreeing {
            return None;
        }
        let named: Vec<&str> = self.disagreeing.iter().map(TenantId::as_str).collect();
        let named = named.join(", ");
        let alert = Effect::Alert(Alert {
            code: "link_conflict".to_owned(),
            tenant: self.tenant.clone(),
            object_id: object_id.to_owned(),
            text: format!("{object_id} is claimed by several tenants: {named}"),
        });
        Some(alert.intent(own, &named, now, None))
    }
    /// Joins what another aggregate says on ownership; `None` when the message is about else.
    pub(crate) fn hear(&mut self, message: &Message) -> Option<bool> {
        match message {
            Message::Claim { claim } => Some(self.claims.join(claim.clone())),
            Message::Relinked { .. } => Some(false),
            _ => None,
        }
    }
    /// Adds an order's or session's word.
    pub(crate) fn claim(&mut self, claim: Claim) -> bool {
        self.claims.join(claim)
    }
}
