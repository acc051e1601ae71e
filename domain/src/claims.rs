//! Whose something is: the least of all words on it.
//!
//! Invariants: a set of claims keeps the least per tenant, so joining is order-free; at most
//! `CLAIMS_MAX` tenants, the least ones.
//! Source: contract §4, "Finding the tenant of an event".

use crate::ids::{TenantId, Timestamp};
use crate::input::Ctx;
use crate::link::{Claim, ClaimSource, LinkKey};
use crate::settings::Settings;
use crate::stripe_wire::Metadata;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most tenants that can claim one thing and be remembered.
pub const CLAIMS_MAX: usize = 16;

/// The least claim of each tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claims(BTreeMap<TenantId, Claim>);

impl Claims {
    /// Joins a claim; whether anything changed.
    pub fn join(&mut self, claim: Claim) -> bool {
        let before = self.0.clone();
        let kept = self
            .0
            .get(&claim.tenant)
            .cloned()
            .unwrap_or_else(|| claim.clone());
        let least = kept.min(claim);
        self.0.insert(least.tenant.clone(), least);
        if self.0.len() > CLAIMS_MAX {
            let worst = self.0.values().max().map(|claim| claim.tenant.clone());
            if let Some(worst) = worst {
                self.0.remove(&worst);
            }
        }
        self.0 != before
    }
    /// The least of all.
    pub fn least(&self) -> Option<&Claim> {
        self.0.values().min()
    }
    /// Whether they name several tenants.
    pub fn disagree(&self) -> bool {
        self.0.len() > 1
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.0.values()
    }
}

/// The claims that metadata makes, best key first; texts outside the grammar make none.
pub fn metadata_claims(
    metadata: &Metadata,
    created: Timestamp,
    object_id: &str,
    settings: &Settings,
) -> Vec<Claim> {
    let keys = settings.tenant_metadata_keys.iter().zip(0_u8..);
    keys.filter_map(|(key, n)| {
        let tenant = TenantId::parse(metadata.get(key)?).ok()?;
        Some(Claim {
            source: ClaimSource::Metadata(n),
            created,
            object_id: object_id.to_owned(),
            tenant,
        })
    })
    .collect()
}

/// How good the word of a link is.
pub fn source_of(key: &LinkKey) -> ClaimSource {
    match key {
        LinkKey::Command(_) => ClaimSource::Command,
        LinkKey::Customer(..) => ClaimSource::Customer,
        LinkKey::Merchant(_) => ClaimSource::Merchant,
        LinkKey::Tenant(_)
        | LinkKey::Subscription(..)
        | LinkKey::Invoice(..)
        | LinkKey::Payment(..)
        | LinkKey::Charge(..)
        | LinkKey::Session(..) => ClaimSource::Payment,
    }
}

/// Whose a child is: the least over its own claims and what its references are linked to.
/// Own claims count only for tenants that exist (`ctx.links` holds them) or when `trusted`.
pub fn resolve(
    own: &Claims,
    references: &[LinkKey],
    ctx: &Ctx<'_>,
    trusted: bool,
) -> Option<TenantId> {
    let claimed = own.iter().filter(|claim| {
        trusted
            || claim.source <= ClaimSource::Command
            || ctx
                .links
                .contains_key(&LinkKey::Tenant(claim.tenant.clone()))
    });
    let claimed = claimed.map(|claim| {
        (
            claim.source,
            claim.created,
            claim.object_id.clone(),
            &claim.tenant,
        )
    });
    let linked = references.iter().filter_map(|key| {
        let tenant = ctx.links.get(key)?.tenant.as_ref()?;
        Some((source_of(key), Timestamp(0), key.to_string(), tenant))
    });
    claimed
        .chain(linked)
        .min()
        .map(|(.., tenant)| tenant.clone())
}
