//! The licence of a subscription: what was paid, what failed, until when access holds.
//!
//! Invariants: everything here is a function of facts that only grow (paid period ends, first
//! failures, Stripe's status) and of the time; no event is remembered as "the last one".
//! Source: contract §4, the status table and `validUntil`.

use super::SubscriptionState;
use crate::ids::Timestamp;
use crate::input::Ctx;
use crate::message::{InvoiceFact, LicenseState};
use crate::plans::{Catalogue, GRACE_DAYS_DEFAULT, Plan, PlanEffect, RevokeOn};
use crate::stripe_wire::SubscriptionItem;
use serde::{Deserialize, Serialize};

/// A day of the contract.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long after the end of a paid period silence is normal: Stripe takes the money about an hour
/// after the period moved.
pub(crate) const SILENCE_MS: i64 = 3 * 60 * 60 * 1_000;

/// How long before its end people are reminded of it.
const REMINDER_DAYS: u32 = 3;

/// The grace of one failed renewal; its length is fixed when the failure becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grace {
    /// The first failure.
    pub(crate) start: Timestamp,
    /// Its length.
    pub(crate) days: u32,
}

impl Grace {
    /// When people are reminded of its end; not for one that is no longer than the notice.
    pub(crate) const fn reminder(self) -> Option<Timestamp> {
        if self.days <= REMINDER_DAYS {
            return None;
        }
        Some(self.until().plus_ms(-(REMINDER_DAYS as i64) * DAY_MS))
    }
    /// When it ends.
    pub(crate) const fn until(self) -> Timestamp {
        self.start.plus_ms(self.days as i64 * DAY_MS)
    }
}

/// The derived licence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct License {
    pub(crate) state: LicenseState,
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) grace: Option<Grace>,
    /// The reminder of its end is due: the grace goes on, and not for long.
    pub(crate) is_grace_ending: bool,
    /// When silence of Stripe begins to matter; `None` while it does not.
    pub(crate) check_at: Option<Timestamp>,
    /// Silence matters, and Stripe was not heard since.
    pub(crate) is_stale: bool,
}

/// The plan of a subscription: the first item whose price is in the catalogue.
pub(crate) fn plan_of<'c>(state: &SubscriptionState, catalogue: &'c Catalogue) -> Option<&'c Plan> {
    let subscription = state.subscription.value()?;
    let plan = |item| plan_of_item(item, catalogue);
    subscription.items.iter().find_map(plan)
}

fn plan_of_item<'c>(item: &SubscriptionItem, catalogue: &'c Catalogue) -> Option<&'c Plan> {
    let price = crate::ids::PriceId::parse(item.price.as_deref()?).ok()?;
    catalogue.plan_by_price_id(&price)
}

/// What the items of a subscription are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sold {
    pub(crate) plan_id: Option<String>,
    pub(crate) price_id: Option<String>,
    pub(crate) quantity: Option<u64>,
}

/// The first item whose price is in the catalogue decides, else the first.
pub(crate) fn sold(items: &[SubscriptionItem], catalogue: &Catalogue) -> Sold {
    let known = |item: &&SubscriptionItem| plan_of_item(item, catalogue).is_some();
    let item = items.iter().find(known).or(items.first());
    Sold {
        plan_id: item
            .and_then(|item| plan_of_item(item, catalogue))
            .map(|plan| plan.id.clone()),
        price_id: item.and_then(|item| item.price.clone()),
        quantity: item.and_then(|item| item.quantity),
    }
}

fn is_settled(fact: &InvoiceFact) -> bool {
    matches!(fact.status.as_str(), "paid" | "void" | "uncollectible")
}

/// The end of the last paid period.
pub(crate) fn paid_until(state: &SubscriptionState) -> Option<Timestamp> {
    let paid = state.invoices.values().filter(|fact| fact.status == "paid");
    paid.filter_map(|fact| fact.period_end).max()
}

/// When this renewal failed first.
fn first_failure(state: &SubscriptionState) -> Option<Timestamp> {
    let paid_until = paid_until(state);
    // A failed change inside a paid period counts too: its lines end with that period.
    let is_after = |end: Option<Timestamp>| end.is_none() || end >= paid_until;
    let failed = state
        .invoices
        .values()
        .filter(|fact| !is_settled(fact) && is_after(fact.period_end))
        .filter_map(|fact| fact.first_failed_at)
        .min();
    failed.or_else(|| {
        let seen = state.past_due_seen.iter();
        seen.filter(|(end, _)| Some(**end) > paid_until)
            .map(|(_, at)| *at)
            .min()
    })
}

/// Whether the payment of the last paid period was taken back in a way that ends access.
fn is_taken_back(state: &SubscriptionState, plan: Option<&Plan>) -> bool {
    let Some(plan) = plan else { return false };
    let until = paid_until(state);
    let paying = state
        .invoices
        .values()
        .filter(|fact| fact.status == "paid" && fact.period_end == until && until.is_some())
        .flat_map(|fact| &fact.payments);
    paying
        .filter_map(|id| state.outcomes.get(id))
        .any(|outcome| {
            (outcome.fully_refunded && plan.revoke_on.contains(&RevokeOn::FullRefund))
                || (outcome.dispute_lost && plan.revoke_on.contains(&RevokeOn::DisputeLost))
        })
}

/// Derives the licence.
pub(crate) fn derive(state: &SubscriptionState, ctx: &Ctx<'_>) -> License {
    let Some(subscription) = state.subscription.value() else {
        return License::default();
    };
    let status = subscription.status.as_deref().unwrap_or_default();
    let plan = plan_of(state, &ctx.settings.catalogue);
    let trial_end = subscription.trial_end.map(Timestamp::from_seconds);
    let valid_until = paid_until(state).max(trial_end);
    let grace = (status == "past_due")
        .then(|| first_failure(state))
        .flatten()
        .map(|start| match state.license.grace {
            Some(known) if known.start == start => known,
            _ => Grace {
                start,
                days: grace_days(plan),
            },
        });
    let mut license = License {
        state: LicenseState::None,
        valid_until,
        grace,
        is_grace_ending: false,
        check_at: None,
        is_stale: false,
    };
    license.state = match status {
        "trialing" | "active" => LicenseState::Active,
        "past_due" => match grace {
            // Paid meanwhile: Stripe's word on the status is only late.
            None => LicenseState::Active,
            Some(grace) if grace.until() > ctx.now => LicenseState::Grace,
            Some(_) => LicenseState::Revoked,
        },
        "unpaid" | "paused" | "canceled" => LicenseState::Revoked,
        _ => LicenseState::None,
    };
    if is_taken_back(state, plan) && license.state != LicenseState::None {
        license.state = LicenseState::Revoked;
    }
    let reminder = license.grace.and_then(Grace::reminder);
    license.is_grace_ending =
        license.state == LicenseState::Grace && reminder.is_some_and(|at| at <= ctx.now);
    if matches!(status, "trialing" | "active") {
        let check_at = valid_until.map(|until| until.plus_ms(SILENCE_MS));
        license.check_at = check_at.filter(|check| state.subscription.at() < Some(*check));
        license.is_stale = license.check_at.is_some_and(|check| check <= ctx.now);
    }
    license
}

fn grace_days(plan: Option<&Plan>) -> u32 {
    match plan.map(|plan| &plan.effect) {
        Some(PlanEffect::Subscription(terms)) => terms.grace_days,
        _ => GRACE_DAYS_DEFAULT,
    }
}
