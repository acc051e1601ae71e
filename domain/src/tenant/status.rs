//! The status table: what a tenant's parts make of it.
//!
//! Source: contract §4, the table "Stripe's subscription → tenant status → license.state",
//! several subscriptions, archive, free plan.

use super::TenantState;
use crate::ids::{Scope, SubscriptionId, Timestamp};
use crate::message::{LicenseState, SubscriptionSummary};
use crate::plans::{Catalogue, PlanEffect};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What a tenant's parts make of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Standing {
    pub(crate) status: String,
    pub(crate) plan_id: Option<String>,
    pub(crate) price_id: Option<String>,
    pub(crate) license: LicenseState,
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) grace_until: Option<Timestamp>,
    pub(crate) is_stale: bool,
    pub(crate) features: BTreeSet<String>,
    pub(crate) archived_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) end_reason: Option<String>,
    /// Whether there is a subscription to show.
    pub(crate) shows_subscription: bool,
}

type Key = (Scope, SubscriptionId);

/// Best first: by what it gives, then the newest, then by id.
pub(super) fn ranked(
    subscriptions: &BTreeMap<Key, SubscriptionSummary>,
) -> Vec<(&Key, &SubscriptionSummary)> {
    let mut all: Vec<(&Key, &SubscriptionSummary)> = subscriptions.iter().collect();
    all.sort_by_key(|(key, summary)| {
        (
            rank(summary),
            Reverse(summary.ended_at),
            Reverse(summary.created),
            (*key).clone(),
        )
    });
    all
}

fn rank(summary: &SubscriptionSummary) -> u8 {
    match (summary.status.as_str(), summary.license) {
        ("active", LicenseState::Active) => 0,
        ("trialing", LicenseState::Active) => 1,
        ("past_due", LicenseState::Active) => 2,
        ("past_due", LicenseState::Grace) => 3,
        ("active" | "trialing", _) => 4,
        ("past_due", _) => 5,
        ("unpaid", _) => 6,
        ("paused", _) => 7,
        ("incomplete", _) => 8,
        ("canceled", _) => 10,
        ("incomplete_expired", _) => 11,
        _ => 9,
    }
}

/// The tenant's word for a subscription's status.
fn status_of(summary: &SubscriptionSummary) -> &'static str {
    match summary.status.as_str() {
        "trialing" => "trialing",
        "active" => "active",
        "past_due" => "past_due",
        "unpaid" | "paused" => "suspended",
        "incomplete_expired" | "canceled" => "canceled",
        _ => "pending",
    }
}

/// The features of a plan of the catalogue.
pub(super) fn features_of(catalogue: &Catalogue, plan_id: Option<&str>) -> BTreeSet<String> {
    let plan = plan_id.and_then(|id| catalogue.plan(id));
    match plan.map(|plan| &plan.effect) {
        Some(PlanEffect::Subscription(terms)) => terms.features.clone(),
        Some(PlanEffect::Free { features, .. }) => features.clone(),
        _ => BTreeSet::new(),
    }
}

/// Whether a licence of this state gives features.
pub(super) const fn gives(license: LicenseState) -> bool {
    matches!(license, LicenseState::Active | LicenseState::Grace)
}

/// Derives what a tenant's parts make of it.
pub(super) fn derive(state: &TenantState, catalogue: &Catalogue) -> Standing {
    let all = ranked(&state.subscriptions);
    let best = all.first().map(|(_, summary)| *summary);
    let living = || all.iter().filter(|(_, summary)| summary.ended_at.is_none());
    let lives = living().next().is_some();
    let last_end = state
        .subscriptions
        .values()
        .filter_map(|summary| summary.ended_at)
        .max()
        .max(state.ended_last);
    let paid_after = state.credits_paid_at().is_some() && state.credits_paid_at() > last_end;
    let archived_at = last_end.filter(|_| !lives && !paid_after);
    let mut standing = Standing {
        archived_at,
        shows_subscription: best.is_some(),
        ..Standing::default()
    };
    standing.status = match best {
        Some(summary) if summary.ended_at.is_none() => status_of(summary),
        _ if paid_after => "active",
        Some(summary) => status_of(summary),
        None if last_end.is_some() => "canceled",
        None => "pending",
    }
    .to_owned();
    if let Some(summary) = best {
        standing.price_id = summary.price_id.clone();
        standing.plan_id = summary.plan_id.clone();
        standing.license = summary.license;
        standing.valid_until = summary.valid_until;
        standing.grace_until = summary.grace_until;
        standing.is_stale = summary.stale;
        standing.started_at = living()
            .filter_map(|(_, summary)| summary.created)
            .min()
            .or(summary.created);
        standing.expires_at = summary
            .current_period_end
            .filter(|_| summary.cancel_at_period_end || !lives);
        standing.ended_at = summary.ended_at;
        standing.end_reason = summary.end_reason.clone();
    }
    for (_, summary) in living().filter(|(_, summary)| gives(summary.license)) {
        let features = features_of(catalogue, summary.plan_id.as_deref());
        standing.features.extend(features);
    }
    if !lives {
        // The free plan holds whenever no subscription lives.
        if let Some(free) = catalogue.free() {
            standing.plan_id = Some(free.id.clone());
            standing.price_id = None;
            standing.features = features_of(catalogue, Some(&free.id));
        }
    }
    standing
}
