//! What a change of a subscription sets off: re-reads, mails, notifications, alerts.
//!
//! Invariants: each is named after the fact (a period, a failure, a cancellation), so the same fact
//! told twice acts once; what is already passed when its event is applied sets off nothing, because
//! only the difference between what holds now and what held before is looked at.

use super::{SubscriptionState, parts};
use crate::aggregate::AggregateKey;
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect, Mail, Notify};
use crate::ids::{InvoiceId, Scope, Timestamp};
use crate::input::Ctx;
use crate::message::{Cause, LicenseState, SubscriptionSummary};
use crate::reread::{Reread, RereadTarget};
use std::collections::BTreeMap;

/// A subscription only heard of is asked for after this: its own events are usually on their way.
const HEARSAY_DELAY_MS: i64 = 2_000;

/// The effects of `old` becoming `new`.
pub(super) fn effects(
    new: &SubscriptionState,
    old: &SubscriptionState,
    key: &AggregateKey,
    cause: &Cause,
    ctx: &Ctx<'_>,
) -> Vec<EffectIntent> {
    let (scope, id) = parts(key);
    let now = ctx.now;
    let mut effects: Vec<EffectIntent> = Vec::new();
    effects.extend(new.owner.conflict(&old.owner, key, id.as_str(), now));
    rereads(new, old, key, now, &mut effects);
    let (Some(after), Scope(None)) = (new.summary(), scope) else {
        return effects;
    };
    let before = old.summary();
    if new.plan_id.is_none() && new.price_id.is_some() && old.price_id != new.price_id {
        let price = new.price_id.clone().unwrap_or_default();
        let alert = Effect::Alert(Alert {
            code: "price_unknown".to_owned(),
            tenant: new.owner.tenant.clone(),
            object_id: id.to_string(),
            text: format!("{id} is for {price}, which no plan of the catalogue sells"),
        });
        effects.push(alert.intent(key, &price, now, None));
    }
    let Some(tenant) = &new.owner.tenant else {
        return effects;
    };
    let fired = notifications(new, old, before.as_ref(), &after);
    let row = (!fired.is_empty()).then(|| new.row(scope, id)).flatten();
    let object = row.map(|row| row.value).unwrap_or_default();
    let object: serde_json::Value = serde_json::from_slice(&object).unwrap_or_default();
    for (kind, fact) in fired {
        let notify = Effect::Notify(Notify {
            kind: kind.to_owned(),
            tenant: tenant.clone(),
            object: object.clone(),
            cause: cause.clone(),
        });
        effects.push(notify.intent(key, &fact, now, None));
    }
    for (template, fact) in mails(new, old, before.as_ref(), &after) {
        let mut params = BTreeMap::new();
        params.insert("subscriptionId".to_owned(), id.to_string());
        params.extend(
            after
                .plan_id
                .clone()
                .map(|plan| ("planId".to_owned(), plan)),
        );
        let until = after.current_period_end.map(Timestamp::rfc3339);
        params.extend(until.map(|until| ("periodEnd".to_owned(), until)));
        let trial = after.trial_end.map(Timestamp::rfc3339);
        params.extend(trial.map(|trial| ("trialEnd".to_owned(), trial)));
        let until = after.grace_until.map(Timestamp::rfc3339);
        params.extend(until.map(|until| ("until".to_owned(), until)));
        if template == "plan_changed" {
            params.extend(changed(before.as_ref(), &after));
        }
        let mail = Effect::Mail(Mail {
            template: template.to_owned(),
            tenant: Some(tenant.clone()),
            to: None,
            params,
        });
        effects.push(mail.intent(key, &fact, now, None));
    }
    effects
}

fn rereads(
    new: &SubscriptionState,
    old: &SubscriptionState,
    key: &AggregateKey,
    now: Timestamp,
    effects: &mut Vec<EffectIntent>,
) {
    let (scope, id) = parts(key);
    let ask = |target: RereadTarget, fact: &str, due_at: Timestamp| {
        let scope = scope.clone();
        Effect::Reread(Reread { scope, target }).intent(key, fact, due_at, None)
    };
    let own = RereadTarget::Subscription(id.clone());
    let Some(subscription) = new.subscription.value() else {
        let claimed = new.owner.claims.least().is_some();
        if claimed && old.owner.claims.least().is_none() {
            effects.push(ask(own, "heard-of", now.plus_ms(HEARSAY_DELAY_MS)));
        }
        return;
    };
    if new.subscription.is_tied() && !old.subscription.is_tied() {
        let at = new.subscription.at().unwrap_or_default();
        let due_at = new.subscription.asked_at(now);
        effects.push(ask(own.clone(), &format!("tie:{}", at.0), due_at));
    }
    if new.is_at_odds {
        let at = new.subscription.at().unwrap_or_default();
        effects.push(ask(
            own.clone(),
            &format!("odds:{}", at.0),
            now.plus_ms(1_000),
        ));
    }
    if let (true, Some(check_at)) = (new.license.is_stale, new.license.check_at) {
        let fact = format!("silence:{}", check_at.0);
        effects.push(ask(own, &fact, now));
        let latest = subscription.latest_invoice.as_deref();
        if let Some(Ok(invoice)) = latest.map(InvoiceId::parse) {
            effects.push(ask(RereadTarget::Invoice(invoice), &fact, now));
        }
    }
}

/// What a changed plan was, and how many it is for now.
fn changed(
    before: Option<&SubscriptionSummary>,
    after: &SubscriptionSummary,
) -> Vec<(String, String)> {
    let mut params = Vec::new();
    let old = before.and_then(|before| before.plan_id.clone());
    let old = old.filter(|old| Some(old) != after.plan_id.as_ref());
    params.extend(old.map(|old| ("oldPlanId".to_owned(), old)));
    let quantity = after.quantity.filter(|quantity| *quantity > 1);
    params.extend(quantity.map(|quantity| ("quantity".to_owned(), quantity.to_string())));
    params
}

type Fired = Vec<(&'static str, String)>;

fn notifications(
    new: &SubscriptionState,
    old: &SubscriptionState,
    before: Option<&SubscriptionSummary>,
    after: &SubscriptionSummary,
) -> Fired {
    let mut fired = Fired::new();
    let at = after.as_of.0;
    let Some(before) = before else {
        fired.push(("subscription.created", "created".to_owned()));
        return fired;
    };
    let ended = after.ended_at.is_some() && before.ended_at.is_none();
    if ended {
        fired.push(("subscription.canceled", "ended".to_owned()));
    } else if shown(before) != shown(after) {
        fired.push(("subscription.updated", format!("{at}:{:?}", shown(after))));
    }
    if new.trial_will_end_at > old.trial_will_end_at && after.status == "trialing" {
        let end = after.trial_end.unwrap_or_default().0;
        fired.push(("subscription.trial_ending", format!("{end}")));
    }
    if before.valid_until.is_some()
        && after.valid_until > before.valid_until
        && after.license == LicenseState::Active
    {
        let until = after.valid_until.unwrap_or_default().0;
        fired.push(("license.renewed", format!("{until}")));
    }
    let start = new.license.grace.map_or(at, |grace| grace.start.0);
    match (before.license, after.license) {
        (from, to) if from == to => {}
        (_, LicenseState::Grace) => fired.push(("license.grace", format!("{start}"))),
        (LicenseState::Grace | LicenseState::Active, LicenseState::Revoked) => {
            fired.push(("license.revoked", format!("{start}")));
        }
        (LicenseState::Grace | LicenseState::Revoked, LicenseState::Active) => {
            fired.push(("license.restored", format!("{at}")));
        }
        _ => {}
    }
    fired
}

/// What counts as an update: not the time of the word, nor what the licence events tell.
fn shown(summary: &SubscriptionSummary) -> impl PartialEq + std::fmt::Debug {
    (
        summary.status.clone(),
        summary.plan_id.clone(),
        summary.price_id.clone(),
        summary.quantity,
        summary.current_period_end,
        summary.cancel_at_period_end,
        summary.trial_end,
        summary.discounts.clone(),
    )
}

fn mails(
    new: &SubscriptionState,
    old: &SubscriptionState,
    before: Option<&SubscriptionSummary>,
    after: &SubscriptionSummary,
) -> Fired {
    let mut fired = Fired::new();
    let Some(before) = before else {
        return fired;
    };
    let at = after.as_of.0;
    if after.ended_at.is_some() && before.ended_at.is_none() {
        fired.push(("subscription_canceled", "ended".to_owned()));
        return fired;
    }
    if after.ended_at.is_some() {
        return fired;
    }
    let (from, to) = (
        (&before.price_id, before.quantity),
        (&after.price_id, after.quantity),
    );
    if from != to {
        fired.push(("plan_changed", format!("{at}:{to:?}")));
    }
    if before.cancel_at_period_end != after.cancel_at_period_end {
        let end = after.current_period_end.unwrap_or_default().0;
        let template = if after.cancel_at_period_end {
            "cancellation_scheduled"
        } else {
            "cancellation_undone"
        };
        fired.push((template, format!("{end}:{at}")));
    }
    if new.trial_will_end_at > old.trial_will_end_at && after.status == "trialing" {
        let end = after.trial_end.unwrap_or_default().0;
        fired.push(("trial_ending", format!("{end}")));
    }
    fired.extend(dunning(new, old, before, after));
    fired
}

/// What follows a failed renewal: the reminder, the end of access, its return. The failure itself is the invoice's
/// to tell, and a payment within the grace the receipt's.
fn dunning(
    new: &SubscriptionState,
    old: &SubscriptionState,
    before: &SubscriptionSummary,
    after: &SubscriptionSummary,
) -> Option<(&'static str, String)> {
    let start = |state: &SubscriptionState| state.license.grace.map(|grace| grace.start.0);
    if new.license.is_grace_ending && (!old.license.is_grace_ending || start(new) != start(old)) {
        return Some(("grace_ending", format!("{}", start(new)?)));
    }
    let owes = |summary: &SubscriptionSummary| {
        let is_owed = matches!(summary.status.as_str(), "past_due" | "unpaid");
        is_owed && summary.license == LicenseState::Revoked
    };
    if owes(after) && !owes(before) {
        let period = after.valid_until.unwrap_or_default().0;
        return Some(("access_revoked", format!("{period}")));
    }
    if owes(before) && after.license == LicenseState::Active {
        let period = after.valid_until.unwrap_or_default().0;
        return Some(("access_restored", format!("{period}")));
    }
    None
}
