//! What a change of a session sets off: reading line items, provisioning, receipts, notifications.

use super::{SessionState, parts};
use crate::aggregate::AggregateKey;
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect, Mail, Notify, Provision};
use crate::ids::Scope;
use crate::input::Ctx;
use crate::message::Cause;
use crate::money::Money;
use crate::reread::{Reread, RereadTarget};
use crate::rows::RowKind;
use crate::settings::Receipts;
use std::collections::BTreeMap;

/// The effects of `old` becoming `new`.
pub(super) fn effects(
    new: &SessionState,
    old: &SessionState,
    key: &AggregateKey,
    cause: &Cause,
    ctx: &Ctx<'_>,
) -> Vec<EffectIntent> {
    let (scope, id) = parts(key);
    let now = ctx.now;
    let mut effects: Vec<EffectIntent> = Vec::new();
    effects.extend(new.owner.conflict(&old.owner, key, id.as_str(), now));
    let Some(session) = new.session.value() else {
        return effects;
    };
    let ask = |target: RereadTarget, fact: &str| {
        let scope = scope.clone();
        Effect::Reread(Reread { scope, target }).intent(key, fact, now, None)
    };
    if new.session.is_tied() && !old.session.is_tied() {
        let at = new.session.at().unwrap_or_default();
        effects.push(ask(
            RereadTarget::Session(id.clone()),
            &format!("tie:{}", at.0),
        ));
    }
    if *scope != Scope::PLATFORM {
        return effects;
    }
    let completed = new.completed_at.is_some();
    if completed && new.purchase.asks_line_items() {
        effects.push(ask(RereadTarget::SessionLineItems(id.clone()), "bought"));
    }
    if new.is_unclaimed() && !old.is_unclaimed() {
        let alert = Effect::Alert(Alert {
            code: "unclaimed".to_owned(),
            tenant: None,
            object_id: id.to_string(),
            text: format!(
                "{id} was paid and nobody is known to own it: {}",
                new.unclaimed_reason()
            ),
        });
        effects.push(alert.intent(key, "unclaimed", now, None));
    }
    let Some(tenant) = &new.owner.tenant else {
        return effects;
    };
    let was_owned = old.owner.tenant.is_some();
    let became_paid = new.paid_at.is_some() && (old.paid_at.is_none() || !was_owned);
    if became_paid {
        let provision = Effect::Provision(Provision {
            tenant: tenant.clone(),
            session: id.clone(),
            email: session.email.clone(),
        });
        let subject = super::subject(scope, id, session);
        effects.push(provision.intent(key, "paid", now, Some(subject)));
    }
    // A session with an invoice gets the invoice's receipt.
    let costs = session.amount_total.unwrap_or_default().minor() > 0;
    let wants = ctx.settings.receipts != Receipts::Off && session.invoice.is_none();
    if became_paid && costs && wants {
        let mut params = BTreeMap::new();
        params.insert("sessionId".to_owned(), id.to_string());
        if let (Some(amount), Some(currency)) = (session.amount_total, session.currency) {
            let money = Money::new(amount.minor(), currency);
            params.insert("amount".to_owned(), money.to_string());
        }
        let mail = Effect::Mail(Mail {
            template: "receipt".to_owned(),
            tenant: Some(tenant.clone()),
            to: None,
            params,
        });
        effects.push(match ctx.settings.receipts {
            // Named after the tenant, so that whichever payment is first takes it.
            Receipts::First => {
                mail.intent(&AggregateKey::Tenant(tenant.clone()), "first", now, None)
            }
            _ => mail.intent(key, "paid", now, None),
        });
    }
    let granted = |state: &SessionState| {
        let is_paid = state.paid_at.is_some() && state.owner.tenant.is_some();
        state.purchase.credits.filter(|_| is_paid)
    };
    if granted(new).is_some() && granted(old).is_none() {
        let object = new.row(scope, id, RowKind::Session).map(|row| row.value);
        let notify = Effect::Notify(Notify {
            kind: "credits.granted".to_owned(),
            tenant: tenant.clone(),
            object: serde_json::from_slice(&object.unwrap_or_default()).unwrap_or_default(),
            cause: cause.clone(),
        });
        effects.push(notify.intent(key, "granted", now, None));
    }
    effects
}
