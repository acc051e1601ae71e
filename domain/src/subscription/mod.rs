//! The subscription reducer: plan, period, licence of one subscription.
//!
//! Invariants: `canceled` and `incomplete_expired` are final; everything else is what Stripe said
//! last. The period Stripe shows moves about an hour before the money, so access is paid for only
//! by paid invoices. At most `INVOICES_MAX` invoices are remembered, those of the latest periods.
//! Source: contract §4 (`customer.subscription.*`); Stripe documentation, "Subscription statuses".

pub(crate) mod license;
mod notices;

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::fact::answer_in;
use crate::fact::{Fact, Order};
use crate::ids::{CustomerId, InvoiceId, PaymentId, Scope, SubscriptionId, Timestamp};
use crate::input::Ctx;
use crate::link::{LinkKey, LinkTarget};
use crate::message::{
    Cause, InvoiceFact, LicenseState, Message, PaymentOutcome, SubscriptionSummary,
};
use crate::ownership::Ownership;
use crate::project::Projection;
use crate::register::{Origin, Ranked, Register, earliest};
use crate::reread::{Answer, RereadTarget};
use crate::route::customer_subject;
use crate::rows::{Row, RowKind, text_of};
use crate::settings::Settings;
use crate::stripe_wire::{Object, Subscription, read_object};
use license::License;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most invoices remembered: those of the latest periods decide, older ones only tell history.
const INVOICES_MAX: usize = 24;
/// Most payment outcomes remembered.
const OUTCOMES_MAX: usize = 24;
/// Most periods of which the first sight of `past_due` is remembered.
const PAST_DUE_MAX: usize = 8;

impl Ranked for Subscription {
    fn is_final(&self) -> bool {
        matches!(
            self.status.as_deref(),
            Some("canceled" | "incomplete_expired")
        )
    }
    fn rank(&self) -> u8 {
        match self.status.as_deref() {
            Some("incomplete") => 0,
            Some("trialing") => 1,
            Some("active") => 2,
            Some("paused") => 3,
            Some("past_due") => 4,
            Some("unpaid") => 5,
            Some("canceled" | "incomplete_expired") => 9,
            _ => 6,
        }
    }
}

/// What is known of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SubscriptionState {
    pub(crate) subscription: Register<Subscription>,
    owner: Ownership,
    pub(crate) invoices: BTreeMap<InvoiceId, InvoiceFact>,
    pub(crate) outcomes: BTreeMap<PaymentId, PaymentOutcome>,
    /// Period end to the first sight of `past_due` in it.
    #[serde(with = "crate::pairs")]
    pub(crate) past_due_seen: BTreeMap<Timestamp, Timestamp>,
    trial_will_end_at: Option<Timestamp>,
    is_erased: bool,
    /// Derived.
    pub(crate) license: License,
    plan_id: Option<String>,
    price_id: Option<String>,
    quantity: Option<u64>,
    /// An answer and an event of one second differ; of the decision at hand, not kept.
    #[serde(skip)]
    is_at_odds: bool,
    /// What the change that waits is for.
    pending: Option<license::Sold>,
}

impl SubscriptionState {
    pub(crate) fn status(&self) -> &str {
        let value = self.subscription.value();
        value
            .and_then(|subscription| subscription.status.as_deref())
            .unwrap_or_default()
    }

    fn join_subscription(
        &mut self,
        scope: &Scope,
        subscription: &Subscription,
        origin: Origin,
        ctx: &Ctx<'_>,
    ) -> Outcome {
        let id = subscription.id.clone().unwrap_or_default();
        let created = Timestamp::from_seconds(subscription.created.unwrap_or_default());
        self.owner
            .read_metadata(&subscription.metadata, created, &id, ctx.settings);
        refer(&mut self.owner, scope, subscription);
        if subscription.status.as_deref() == Some("past_due") {
            let end = Timestamp::from_seconds(subscription.period_end.unwrap_or_default());
            let mut first = self.past_due_seen.get(&end).copied();
            earliest(&mut first, origin.at);
            self.past_due_seen.extend(first.map(|first| (end, first)));
            if self.past_due_seen.len() > PAST_DUE_MAX {
                self.past_due_seen.pop_first();
            }
        }
        self.is_at_odds = self.subscription.is_at_odds(subscription, &origin);
        Outcome::of(self.subscription.join(subscription.clone(), origin), id)
    }

    fn join_answer(&mut self, key: &AggregateKey, answer: &Answer, ctx: &Ctx<'_>) -> Outcome {
        let (scope, id) = parts(key);
        if !matches!(answer.target, RereadTarget::Subscription(_)) {
            return Outcome::applied(id.as_str());
        }
        match answer.json().map(read_object::<Subscription>) {
            Some(Ok(subscription)) => {
                self.join_subscription(scope, &subscription, Origin::reread(answer.at()), ctx)
            }
            Some(Err(error)) => Outcome::ignored(id.as_str(), error.to_string()),
            None => Outcome::ignored(id.as_str(), "Stripe knows no such subscription"),
        }
    }

    fn remember(&mut self, invoice: &InvoiceId, fact: Option<&InvoiceFact>) {
        match fact {
            Some(fact) => self.invoices.insert(invoice.clone(), fact.clone()),
            None => self.invoices.remove(invoice),
        };
        while self.invoices.len() > INVOICES_MAX {
            let oldest = self
                .invoices
                .iter()
                .min_by_key(|(id, fact)| (fact.period_end, (*id).clone()))
                .map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.invoices.remove(&oldest);
            }
        }
    }

    fn settle_message(&mut self, message: &Message, id: &SubscriptionId) -> Outcome {
        match message {
            Message::InvoiceFact { invoice, fact } => self.remember(invoice, fact.as_ref()),
            Message::PaymentOutcome { payment, outcome } => {
                self.outcomes.insert(payment.clone(), *outcome);
                while self.outcomes.len() > OUTCOMES_MAX {
                    self.outcomes.pop_first();
                }
            }
            other => {
                if self.owner.hear(other).is_none() {
                    return Outcome::ignored(id.as_str(), "not for a subscription");
                }
            }
        }
        Outcome::applied(id.as_str())
    }

    /// What the tenant is told.
    pub(crate) fn summary(&self) -> Option<SubscriptionSummary> {
        let subscription = self.subscription.value()?;
        let time = |seconds: Option<i64>| seconds.map(Timestamp::from_seconds);
        let ended = self.subscription.value().is_some_and(Ranked::is_final);
        let ended_at = subscription.ended_at.or(subscription.canceled_at);
        Some(SubscriptionSummary {
            status: self.status().to_owned(),
            plan_id: self.plan_id.clone(),
            price_id: self.price_id.clone(),
            quantity: self.quantity,
            current_period_end: time(subscription.period_end),
            cancel_at_period_end: subscription.cancel_at_period_end.unwrap_or_default(),
            trial_end: time(subscription.trial_end),
            discounts: subscription.discounts.clone(),
            created: time(subscription.created),
            ended_at: ended
                .then(|| time(ended_at).or(self.subscription.at()))
                .flatten(),
            end_reason: subscription.cancellation_reason.clone().filter(|_| ended),
            license: self.license.state,
            valid_until: self.license.valid_until,
            grace_until: self
                .license
                .grace
                .filter(|_| self.license.state == LicenseState::Grace)
                .map(license::Grace::until),
            stale: self.license.is_stale,
            as_of: self.subscription.at().unwrap_or_default(),
        })
    }

    fn row(&self, scope: &Scope, id: &SubscriptionId) -> Option<Row> {
        let subscription = self.subscription.value()?;
        let summary = self.summary()?;
        let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let time = |seconds: Option<i64>| text(seconds.map(Timestamp::from_seconds));
        let value = serde_json::json!({
            "id": id,
            "stripeSubscriptionId": id,
            "stripeCustomerId": subscription.customer,
            "tenantId": self.owner.tenant,
            "merchantAccountId": scope.0,
            "createdAt": text(summary.created),
            "status": summary.status,
            "planId": summary.plan_id,
            "priceId": summary.price_id,
            "quantity": summary.quantity,
            "currentPeriodEnd": text(summary.current_period_end),
            "cancelAtPeriodEnd": summary.cancel_at_period_end,
            "cancelAt": time(subscription.cancel_at),
            "canceledAt": time(subscription.canceled_at),
            "endedAt": text(summary.ended_at),
            "trialEnd": text(summary.trial_end),
            "discounts": summary.discounts,
            "latestInvoiceId": subscription.latest_invoice,
            "pendingUpdate": self.pending_json(subscription),
            "license": {
                "state": summary.license.as_str(),
                "validUntil": text(summary.valid_until),
                "graceUntil": text(summary.grace_until),
                "stale": summary.stale,
            },
        });
        Some(Row {
            kind: RowKind::Subscription,
            scope: scope.clone(),
            id: id.to_string(),
            tenant: self.owner.tenant.clone(),
            created_at: summary.created,
            status: summary.status,
            hidden: false,
            value: text_of(&value),
            personal: None,
        })
    }

    fn pending_json(&self, subscription: &Subscription) -> Option<serde_json::Value> {
        let pending = subscription.pending_update.as_ref()?;
        let sold = self.pending.clone().unwrap_or_default();
        let expires_at = pending.expires_at.map(Timestamp::from_seconds);
        Some(serde_json::json!({
            "planId": sold.plan_id,
            "priceId": sold.price_id,
            "quantity": sold.quantity,
            "expiresAt": expires_at.map(Timestamp::rfc3339),
        }))
    }

    fn parents(&self, scope: &Scope) -> Vec<AggregateKey> {
        let customer = self.subscription.value().and_then(|subscription| {
            let id = CustomerId::parse(subscription.customer.as_deref()?).ok()?;
            Some(AggregateKey::Customer(scope.clone(), id))
        });
        let merchant = scope.0.clone().map(AggregateKey::Merchant);
        customer.into_iter().chain(merchant).collect()
    }
}

fn refer(owner: &mut Ownership, scope: &Scope, subscription: &Subscription) {
    if let Some(Ok(customer)) = subscription.customer.as_deref().map(CustomerId::parse) {
        owner.refer(LinkKey::Customer(scope.clone(), customer));
    }
    if let Some(account) = &scope.0 {
        owner.refer(LinkKey::Merchant(account.clone()));
    }
}

fn parts(key: &AggregateKey) -> (&Scope, &SubscriptionId) {
    match key {
        AggregateKey::Subscription(scope, id) => (scope, id),
        other => unreachable!("{other} is no subscription"),
    }
}

impl Reducer for SubscriptionState {
    fn references(&self, key: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey> {
        let (scope, _) = parts(key);
        let mut owner = self.owner.clone();
        let mut add = |subscription: &Subscription| {
            refer(&mut owner, scope, subscription);
            owner.read_metadata(&subscription.metadata, Timestamp(0), "", settings);
        };
        if let Some(answer) = answer_in(fact) {
            if let Some(Ok(subscription)) = answer.json().map(read_object::<Subscription>) {
                add(&subscription);
            }
        } else if let Fact::Event(event) = fact {
            if let Object::Subscription(subscription) = &event.object {
                add(subscription);
            }
        } else if let Fact::Message(envelope) = fact {
            owner.hear(&envelope.message);
        }
        owner.lookups()
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let (scope, id) = parts(key);
        self.is_at_odds = false;
        if let Some(answer) = answer_in(fact) {
            return self.join_answer(key, answer, ctx);
        }
        match fact {
            Fact::Event(event) => {
                let Object::Subscription(subscription) = &event.object else {
                    // `invoice.upcoming`: told, nothing was made yet.
                    return Outcome::applied(id.as_str()).saying("an invoice will be made soon");
                };
                if event.kind == "customer.subscription.trial_will_end" {
                    self.trial_will_end_at = self.trial_will_end_at.max(Some(event.created));
                }
                self.join_subscription(scope, subscription, Origin::of(event), ctx)
            }
            Fact::Message(envelope) => self.settle_message(&envelope.message, id),
            Fact::Called(_) | Fact::Timer(_) => Outcome::applied(id.as_str()),
            Fact::Order(Order::Erase {}) => {
                self.is_erased = true;
                Outcome::applied(id.as_str()).saying("personal fields erased")
            }
            Fact::Answer(_) | Fact::Order(_) => {
                Outcome::ignored(id.as_str(), "not for a subscription")
            }
        }
    }

    fn settle(&mut self, _: &AggregateKey, ctx: &Ctx<'_>) {
        self.owner.settle(ctx, false);
        let catalogue = &ctx.settings.catalogue;
        let subscription = self.subscription.value();
        let pending = subscription.and_then(|value| value.pending_update.as_ref());
        let pending = pending.map(|pending| license::sold(&pending.items, catalogue));
        let sold = subscription.map(|value| license::sold(&value.items, catalogue));
        let sold = sold.unwrap_or_default();
        (self.plan_id, self.price_id, self.quantity) = (sold.plan_id, sold.price_id, sold.quantity);
        self.pending = pending;
        self.license = license::derive(self, ctx);
        if self.is_erased {
            self.subscription.forget();
        }
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let (scope, id) = parts(key);
        let mut projection = Projection::default();
        self.owner
            .project(&mut projection, key, &self.parents(scope));
        projection.ids.insert(id.to_string());
        let Some(row) = self.row(scope, id) else {
            return projection;
        };
        let customer = self
            .subscription
            .value()
            .and_then(|value| value.customer.as_deref());
        projection.subject = customer
            .filter(|_| !self.is_erased)
            .and_then(|id| CustomerId::parse(id).ok())
            .map(|id| customer_subject(scope, &id));
        projection.ids.extend(customer.map(str::to_owned));
        projection.row(row);
        let target = LinkTarget {
            tenant: self.owner.tenant.clone(),
        };
        projection
            .links
            .insert(LinkKey::Subscription(scope.clone(), id.clone()), target);
        if let Some(tenant) = self
            .owner
            .tenant
            .as_ref()
            .filter(|_| *scope == Scope::PLATFORM)
        {
            let message = Message::SubscriptionSummary {
                scope: scope.clone(),
                id: id.clone(),
                summary: self.summary(),
            };
            projection.tell(AggregateKey::Tenant(tenant.clone()), id.as_str(), message);
        }
        if self.license.state == LicenseState::Grace
            && let Some(grace) = self.license.grace
        {
            projection.timers.insert("grace".to_owned(), grace.until());
            let reminder = grace.reminder().filter(|_| !self.license.is_grace_ending);
            let reminder = reminder.map(|at| ("grace_ending".to_owned(), at));
            projection.timers.extend(reminder);
        }
        if let (Some(check_at), false) = (self.license.check_at, self.license.is_stale) {
            projection.timers.insert("check".to_owned(), check_at);
        }
        projection
    }

    fn effects(
        &self,
        old: &Self,
        key: &AggregateKey,
        cause: &Cause,
        ctx: &Ctx<'_>,
    ) -> Vec<EffectIntent> {
        notices::effects(self, old, key, cause, ctx)
    }
}
