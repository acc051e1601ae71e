//! What is read off a tenant: its view as the API shows it, and what it may do.
//!
//! Invariants: entitlements are computed from the row and the *present* catalogue, so an edited
//! catalogue acts on features at once. Pure: `now` is an argument.
//! Source: contract §2 (features, limits, free plan), §3 (`/entitlements`).

use super::status::{features_of, gives};
use crate::ids::{Scope, SubscriptionId, Timestamp};
use crate::message::{LicenseState, SubscriptionSummary};
use crate::plans::{Catalogue, Limit, PlanEffect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub(super) fn subscription_json(
    (_, id): &(Scope, SubscriptionId),
    summary: &SubscriptionSummary,
) -> serde_json::Value {
    let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    serde_json::json!({
        "id": id,
        "status": summary.status,
        "planId": summary.plan_id,
        "priceId": summary.price_id,
        "quantity": summary.quantity,
        "currentPeriodEnd": text(summary.current_period_end),
        "cancelAtPeriodEnd": summary.cancel_at_period_end,
        "trialEnd": text(summary.trial_end),
        "discounts": summary.discounts,
        "createdAt": text(summary.created),
        "endedAt": text(summary.ended_at),
        "license": {
            "state": summary.license.as_str(),
            "validUntil": text(summary.valid_until),
            "graceUntil": text(summary.grace_until),
            "stale": summary.stale,
        },
    })
}

/// The part of a tenant's row that entitlements need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct TenantView {
    pub tenant_id: String,
    pub status: String,
    pub subscriptions: Vec<SubscriptionView>,
}

/// A subscription of a tenant's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct SubscriptionView {
    pub id: String,
    pub status: String,
    pub plan_id: Option<String>,
    pub quantity: Option<u64>,
    pub ended_at: Option<String>,
    pub license: LicenseView,
}

/// A licence of a tenant's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct LicenseView {
    pub state: LicenseState,
    pub valid_until: Option<String>,
    pub grace_until: Option<String>,
    pub stale: bool,
}

impl TenantView {
    /// Reads a tenant's row. # Errors: not a row of a tenant.
    pub fn from_row(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// Whether a tenant may use a feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entitlement {
    /// The feature.
    pub feature: String,
    /// Whether.
    pub allowed: bool,
    /// Why: `licensed`, `grace`, `free_plan`, `not_in_plan`, `revoked`, `no_license`.
    pub reason: String,
    /// Until when it holds as far as is known (end of grace, of the paid period); RFC 3339.
    pub until: Option<String>,
    /// How much of it; `None`: no bound, or not allowed.
    pub limit: Option<u64>,
    /// The licence is being checked with Stripe.
    pub stale: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntitlementError {
    /// No plan of the catalogue has it.
    #[error("no plan has the feature {0:?}")]
    UnknownFeature(String),
}

fn is_known(catalogue: &Catalogue, feature: &str) -> bool {
    catalogue.plans.iter().any(|plan| match &plan.effect {
        PlanEffect::Subscription(terms) => {
            terms.features.contains(feature) || terms.limits.contains_key(feature)
        }
        PlanEffect::Free { features, limits } => {
            features.contains(feature) || limits.contains_key(feature)
        }
        PlanEffect::Credits(_) => false,
    })
}

/// All features any plan has, sorted.
pub fn features(catalogue: &Catalogue) -> Vec<String> {
    let mut all: Vec<String> = catalogue
        .plans
        .iter()
        .flat_map(|plan| match &plan.effect {
            PlanEffect::Subscription(terms) => terms
                .features
                .iter()
                .chain(terms.limits.keys())
                .cloned()
                .collect(),
            PlanEffect::Free { features, limits } => features
                .iter()
                .chain(limits.keys())
                .cloned()
                .collect::<Vec<_>>(),
            PlanEffect::Credits(_) => Vec::new(),
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The features a tenant has by the present catalogue: what `license.features` shows on a read, so
/// that an edited catalogue acts at once and not with the tenant's next event.
pub fn features_now(tenant: &TenantView, catalogue: &Catalogue) -> BTreeSet<String> {
    let living = || {
        tenant
            .subscriptions
            .iter()
            .filter(|one| one.ended_at.is_none())
    };
    if living().next().is_none() {
        return features_of(catalogue, catalogue.free().map(|free| free.id.as_str()));
    }
    living()
        .filter(|one| gives(one.license.state))
        .flat_map(|one| features_of(catalogue, one.plan_id.as_deref()))
        .collect()
}

fn has(catalogue: &Catalogue, plan_id: Option<&str>, feature: &str) -> bool {
    features_of(catalogue, plan_id).contains(feature)
        || limit_of(catalogue, plan_id, feature, None).is_some()
}

fn limit_of(
    catalogue: &Catalogue,
    plan_id: Option<&str>,
    feature: &str,
    quantity: Option<u64>,
) -> Option<u64> {
    let plan = catalogue.plan(plan_id?)?;
    let limits = match &plan.effect {
        PlanEffect::Subscription(terms) => &terms.limits,
        PlanEffect::Free { limits, .. } => limits,
        PlanEffect::Credits(_) => return None,
    };
    Some(match limits.get(feature)? {
        Limit::Fixed(limit) => *limit,
        Limit::Quantity => quantity.unwrap_or(1),
    })
}

/// Grace as it stands at `now`, even if the timer that ends it has not been handled yet.
fn state_at(license: &LicenseView, now: Timestamp) -> LicenseState {
    let over = license.grace_until.as_deref().is_some_and(|until| {
        let until = until.parse::<jiff::Timestamp>();
        until.is_ok_and(|until| until.as_millisecond() <= now.0)
    });
    if license.state == LicenseState::Grace && over {
        return LicenseState::Revoked;
    }
    license.state
}

/// Whether a tenant may use a feature, over all its living subscriptions, else by the free plan.
/// # Errors: no plan has the feature.
pub fn entitlement(
    tenant: &TenantView,
    feature: &str,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Result<Entitlement, EntitlementError> {
    if !is_known(catalogue, feature) {
        return Err(EntitlementError::UnknownFeature(feature.to_owned()));
    }
    let living: Vec<&SubscriptionView> = tenant
        .subscriptions
        .iter()
        .filter(|one| one.ended_at.is_none())
        .collect();
    let mut answer = Entitlement {
        feature: feature.to_owned(),
        allowed: false,
        reason: "no_license".to_owned(),
        until: None,
        limit: None,
        stale: living.iter().any(|one| one.license.stale),
    };
    if living.is_empty() {
        if let Some(free) = catalogue.free() {
            answer.allowed = has(catalogue, Some(&free.id), feature);
            let reason = if answer.allowed {
                "free_plan"
            } else {
                "not_in_plan"
            };
            answer.reason = reason.to_owned();
            answer.limit = limit_of(catalogue, Some(&free.id), feature, None);
        }
        return Ok(answer);
    }
    // The best first: rows list subscriptions by rank.
    let mut refused = "not_in_plan";
    for one in living {
        let state = state_at(&one.license, now);
        if !has(catalogue, one.plan_id.as_deref(), feature) {
            continue;
        }
        if !gives(state) {
            refused = if state == LicenseState::Revoked {
                "revoked"
            } else {
                "no_license"
            };
            continue;
        }
        let limit = limit_of(catalogue, one.plan_id.as_deref(), feature, one.quantity);
        if !answer.allowed {
            answer.allowed = true;
            let in_grace = state == LicenseState::Grace;
            answer.reason = if in_grace { "grace" } else { "licensed" }.to_owned();
            let (grace, paid) = (&one.license.grace_until, &one.license.valid_until);
            answer.until = if in_grace { grace } else { paid }.clone();
            answer.limit = limit;
        } else {
            answer.limit = answer.limit.max(limit);
        }
    }
    if !answer.allowed {
        answer.reason = refused.to_owned();
    }
    Ok(answer)
}
