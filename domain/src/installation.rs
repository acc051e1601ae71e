//! The installation: what belongs to no object of a tenant. Told and alerted, not kept.
//!
//! Payouts and reviews that name no payment come here. They change nothing that can be asked for, so
//! there is nothing to join: the timeline keeps them, and what needs a person raises an alert.
//! Invariants: the stored state is always empty, however many events came.
//! Source: contract §4 (payouts, reviews of unknown charges).

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect};
use crate::fact::Fact;
use crate::input::Ctx;
use crate::link::LinkKey;
use crate::message::Cause;
use crate::money::Money;
use crate::project::Projection;
use crate::settings::Settings;
use crate::stripe_wire::{Event, Object, Payout, Review};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Nothing that lasts; what was said just now, for this one decision.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InstallationState {
    #[serde(skip)]
    said: Option<Said>,
}

/// States differ by what is stored of them, and that is nothing.
impl PartialEq for InstallationState {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What one event says.
#[derive(Clone, Debug)]
struct Said {
    object_id: String,
    summary: String,
    /// The alert's code.
    alert: Option<&'static str>,
}

fn of_payout(kind: &str, payout: &Payout) -> Said {
    let id = payout.id.clone().unwrap_or_default();
    let amount = payout.amount.zip(payout.currency);
    let money = amount.map_or_else(String::new, |(minor, currency)| {
        format!(" of {}", Money::new(minor, currency))
    });
    let failed = kind == "payout.failed";
    let status = payout.status.as_deref().unwrap_or("unknown");
    let why = payout.failure_code.as_deref().filter(|_| failed);
    let why = why.map_or_else(String::new, |code| format!(" ({code})"));
    Said {
        summary: format!("payout {id}{money}: {status}{why}"),
        object_id: id,
        alert: failed.then_some("payout_failed"),
    }
}

fn of_review(kind: &str, review: &Review) -> Said {
    let id = review.id.clone().unwrap_or_default();
    let opened = kind == "review.opened";
    let reason = if opened {
        review.reason.as_deref()
    } else {
        review.closed_reason.as_deref()
    };
    let word = if opened { "opened" } else { "closed" };
    let reason = reason.unwrap_or("unknown reason");
    Said {
        summary: format!("review {id} of no known payment {word} ({reason})"),
        object_id: id,
        alert: opened.then_some("review_opened"),
    }
}

fn said_by(event: &Event) -> Option<Said> {
    match &event.object {
        Object::Payout(payout) => Some(of_payout(&event.kind, payout)),
        Object::Review(review) => Some(of_review(&event.kind, review)),
        Object::FraudWarning(warning) => {
            let id = warning.id.clone().unwrap_or_default();
            Some(Said {
                summary: format!("early fraud warning {id} names no payment"),
                object_id: id,
                alert: Some("early_fraud_warning"),
            })
        }
        _ => None,
    }
}

impl Reducer for InstallationState {
    fn references(&self, _: &AggregateKey, _: &Fact, _: &Settings) -> Vec<LinkKey> {
        Vec::new()
    }
    fn join(&mut self, _: &AggregateKey, fact: &Fact, _: &Cause, _: &Ctx<'_>) -> Outcome {
        let said = match fact {
            Fact::Event(event) => said_by(event),
            _ => None,
        };
        let Some(said) = said else {
            return Outcome::ignored("", "not for the installation");
        };
        let outcome = Outcome::applied(said.object_id.clone()).saying(said.summary.clone());
        self.said = Some(said);
        outcome
    }
    fn settle(&mut self, _: &AggregateKey, _: &Ctx<'_>) {}
    fn project(&self, key: &AggregateKey) -> Projection {
        let account = match key {
            AggregateKey::Installation(scope) => scope.0.as_ref().map(ToString::to_string),
            _ => None,
        };
        let object = self.said.as_ref().map(|said| said.object_id.clone());
        Projection {
            ids: account.into_iter().chain(object).collect::<BTreeSet<_>>(),
            ..Projection::default()
        }
    }
    fn effects(&self, _: &Self, key: &AggregateKey, _: &Cause, ctx: &Ctx<'_>) -> Vec<EffectIntent> {
        let Some((said, code)) = self.said.as_ref().and_then(|s| Some((s, s.alert?))) else {
            return Vec::new();
        };
        let alert = Effect::Alert(Alert {
            code: code.to_owned(),
            tenant: None,
            object_id: said.object_id.clone(),
            text: said.summary.clone(),
        });
        vec![alert.intent(key, &said.object_id, ctx.now, None)]
    }
}
