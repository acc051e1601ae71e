//! What a change of a tenant sets off: notifications of its status.

use super::status::Standing;
use super::{TenantState, tenant_of};
use crate::aggregate::AggregateKey;
use crate::decision::EffectIntent;
use crate::effect::{Access, Effect, Notify};
use crate::input::Ctx;
use crate::message::{Cause, LicenseState};

/// The effects of `old` becoming `new`.
pub(super) fn effects(
    new: &TenantState,
    old: &TenantState,
    key: &AggregateKey,
    cause: &Cause,
    ctx: &Ctx<'_>,
) -> Vec<EffectIntent> {
    let id = tenant_of(key);
    if new.created_at.is_none() {
        return Vec::new();
    }
    let (before, after) = (&old.standing, &new.standing);
    // A status comes back: the fact is the change together with the word that made it.
    let newest = new.subscriptions.values().map(|one| one.as_of).max();
    let paid = new.credits_paid_at();
    let when = format!(
        "{}:{}",
        newest.unwrap_or_default().0,
        paid.unwrap_or_default().0
    );
    let mut fired: Vec<(&str, String)> = Vec::new();
    if old.created_at.is_none() {
        fired.push(("tenant.created", "created".to_owned()));
    }
    let lives = |status: &str| matches!(status, "active" | "trialing");
    if lives(&after.status) && !lives(&before.status) {
        fired.push(("tenant.activated", when.clone()));
    }
    if after.status != before.status {
        match after.status.as_str() {
            "past_due" => fired.push(("tenant.past_due", when.clone())),
            "suspended" => fired.push(("tenant.suspended", when.clone())),
            "canceled" => fired.push(("tenant.canceled", when.clone())),
            _ => {}
        }
    }
    if let (Some(at), None) = (after.archived_at, before.archived_at) {
        fired.push(("tenant.archived", at.0.to_string()));
    }
    if new.debited > old.debited {
        fired.push(("credits.debited", new.debited.to_string()));
    }
    let mut effects = Vec::new();
    let is_revoked = |standing: &Standing| standing.license == LicenseState::Revoked;
    if is_revoked(after) != is_revoked(before) {
        let fact = format!("{}:{when}", after.license.as_str());
        let access = Effect::Access(Access { tenant: id.clone() });
        effects.push(access.intent(key, &fact, ctx.now, None));
    }
    if fired.is_empty() {
        return effects;
    }
    let object: serde_json::Value = serde_json::from_slice(&new.row(id).value).unwrap_or_default();
    effects.extend(fired.into_iter().map(|(kind, fact)| {
        let notify = Effect::Notify(Notify {
            kind: kind.to_owned(),
            tenant: id.clone(),
            object: object.clone(),
            cause: cause.clone(),
        });
        notify.intent(key, &fact, ctx.now, None)
    }));
    effects
}
