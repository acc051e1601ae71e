//! The payment: intent, charges, refunds, disputes, warnings and reviews of one sum of money.
//!
//! Invariants: the state is a join of what Stripe said about its parts (`state`); everything shown,
//! posted or sent is a function of it (`totals`, `rows`, `books`). What contradicts itself is shown
//! with `needsReview`, alerted and re-read, never refused. Nothing here is personal data.
//! Whose it is: the least of its own claims (metadata, the sessions that adopt it) and of what its
//! customer, account, invoices, subscriptions and command are linked to (`ownership`). Customer and
//! account know it and say when they change hands; for the others, not linked yet, it leaves itself
//! a message that waits for their link, so it decides again in the commit that makes one.
//! Not here: the grant itself (session), credits left (tenant), invoices (invoice).
//! Source: contract §4; reliability notes b.4; Stripe API reference of the parts.

mod books;
mod charge;
mod dispute;
mod elsewhere;
mod fees;
mod intent;
mod missing;
mod notices;
mod refund;
mod rows;
mod state;
#[cfg(test)]
mod tests;
mod totals;
mod watch;

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::fact::Fact;
use crate::ids::{IdError, PaymentId, Scope, Timestamp};
use crate::input::Ctx;
use crate::link::{LinkKey, LinkTarget};
use crate::message::{Cause, Message, PaymentOutcome, Sums};
use crate::ownership::Ownership;
use crate::project::Projection;
use crate::register::{Joined, Origin};
use crate::reread::{Answer, RereadTarget};
use crate::rows::RowKind;
use crate::settings::Settings;
use crate::stripe_wire::{self, Event, Metadata, Object, WireObject, read_object};
use charge::ChargeSaid;
use dispute::DisputeSaid;
use fees::FeeSaid;
use refund::RefundSaid;
use serde::{Deserialize, Serialize};
use state::{Fact as Said, Payment};
use std::collections::{BTreeMap, BTreeSet};
use watch::{ReviewSaid, WarningSaid};

/// A payment and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PaymentState {
    /// What Stripe said.
    payment: Payment,
    /// Whose it is.
    owner: Ownership,
    /// References other than customer and account that are not linked yet.
    unlinked: BTreeSet<LinkKey>,
    /// What turned out to belong to another payment.
    elsewhere: elsewhere::Elsewhere,
    /// What is waited for before Stripe is asked, and what was asked.
    missing: missing::Missing,
}

/// The id in a reference, if it is one.
fn read_id<T>(reference: &Option<String>, parse: fn(&str) -> Result<T, IdError>) -> Option<T> {
    parse(reference.as_deref()?).ok()
}

fn parts(key: &AggregateKey) -> Option<(&Scope, &PaymentId)> {
    match key {
        AggregateKey::Payment(scope, id) => Some((scope, id)),
        _ => None,
    }
}

/// What an event says of the payment, and the id of the object that says it.
fn read_event(event: &Event) -> Option<(String, Vec<Said>)> {
    let origin = Origin::of(event);
    let (id, said) = match &event.object {
        Object::PaymentIntent(object) => {
            (&object.id, Said::Intent(Box::new(object.clone()), origin))
        }
        Object::Charge(object) => {
            let id = object.id.clone().unwrap_or_default();
            return Some((id, read_charge(object, &origin)?));
        }
        Object::Refund(object) => (&object.id, Said::Refund(RefundSaid::read(object, &origin)?)),
        Object::Dispute(object) => {
            let said = DisputeSaid::read(&event.kind, object, &origin)?;
            (&object.id, Said::Dispute(said))
        }
        Object::FraudWarning(object) => {
            let said = WarningSaid::read(object, &origin)?;
            (&object.id, Said::Warning(said))
        }
        Object::Review(object) => (&object.id, Said::Review(ReviewSaid::read(object, &origin)?)),
        _ => return None,
    };
    Some((id.clone().unwrap_or_default(), vec![said]))
}

/// Everything a charge says: its refunds, where it carries them, and itself.
fn read_charge(object: &stripe_wire::Charge, origin: &Origin) -> Option<Vec<Said>> {
    let refunds = object.refunds.iter().take(state::REFUNDS_MAX);
    let refunds = refunds.filter_map(|refund| RefundSaid::read(refund, origin));
    let charge = ChargeSaid::read(object, origin)?;
    let said = refunds.map(Said::Refund).chain([Said::Charge(charge)]);
    Some(said.collect())
}

/// The fee a balance transaction tells.
fn read_fee(json: &str, at: Timestamp) -> Option<Said> {
    let object: stripe_wire::BalanceTransaction = read_object(json).ok()?;
    let (id, fee) = FeeSaid::read(&object, at)?;
    Some(Said::Fee(id, fee))
}

/// The fee of a charge that was read with its balance transaction.
fn embedded_fee(json: &str, at: Timestamp) -> Option<Said> {
    #[derive(Deserialize)]
    struct Carrier {
        balance_transaction: Option<Box<serde_json::value::RawValue>>,
    }
    let carrier: Carrier = serde_json::from_str(json).ok()?;
    read_fee(carrier.balance_transaction?.get(), at)
}

impl PaymentState {
    /// Joins what an object's metadata says of whose it is; says whether that is news.
    fn learn_metadata(
        &mut self,
        metadata: &Metadata,
        created: Option<i64>,
        id: Option<&str>,
        settings: &Settings,
    ) -> bool {
        let before = self.owner.clone();
        let created = Timestamp::from_seconds(created.unwrap_or_default());
        let id = id.unwrap_or_default();
        self.owner.read_metadata(metadata, created, id, settings);
        before != self.owner
    }

    fn join_event(&mut self, event: &Event, settings: &Settings) -> Outcome {
        let learnt = match &event.object {
            Object::PaymentIntent(o) => {
                self.learn_metadata(&o.metadata, o.created, o.id.as_deref(), settings)
            }
            Object::Charge(o) => {
                self.learn_metadata(&o.metadata, o.created, o.id.as_deref(), settings)
            }
            _ => false,
        };
        let Some((object_id, said)) = read_event(event) else {
            return Outcome::ignored("", "not an object of a payment");
        };
        // The object itself comes last; what it carries may be news where it is none.
        let joined: Vec<Joined> = said
            .into_iter()
            .map(|said| self.payment.join(said))
            .collect();
        let news = learnt || joined.contains(&Joined::Kept);
        let joined = joined.last().copied().unwrap_or(Joined::Same);
        Outcome::of(if news { Joined::Kept } else { joined }, object_id)
    }

    /// Joins Stripe's answer to a question of ours.
    fn join_answer(&mut self, answer: &Answer, id: &PaymentId) -> Outcome {
        if self.elsewhere.takes(answer, id) {
            return Outcome::applied("").saying("belongs to another payment, which is told");
        }
        let origin = Origin::reread(answer.at());
        let Some(json) = answer.json() else {
            return Outcome::ignored("", "Stripe does not know the object");
        };
        fn whole<T: WireObject>(json: &str) -> Option<T> {
            read_object(json).ok()
        }
        let mut said: Vec<Option<Said>> = Vec::new();
        match &answer.target {
            RereadTarget::PaymentIntent(_) => {
                let object = whole::<stripe_wire::PaymentIntent>(json);
                said.push(object.map(|object| Said::Intent(Box::new(object), origin)));
            }
            RereadTarget::Charge(_) => {
                let object = whole::<stripe_wire::Charge>(json);
                let read = object.and_then(|object| read_charge(&object, &origin));
                said.extend(read.unwrap_or_default().into_iter().map(Some));
                said.push(embedded_fee(json, answer.at()));
            }
            RereadTarget::BalanceTransaction(_) => said.push(read_fee(json, answer.at())),
            RereadTarget::Refund(_) => {
                let object = whole::<stripe_wire::Refund>(json);
                let read = |object| RefundSaid::read(&object, &origin).map(Said::Refund);
                said.push(object.and_then(read));
            }
            RereadTarget::Dispute(_) => {
                let object = whole::<stripe_wire::Dispute>(json);
                let read = |o| DisputeSaid::read("reread", &o, &origin).map(Said::Dispute);
                said.push(object.and_then(read));
            }
            _ => return Outcome::ignored("", "an answer to another question"),
        }
        let joined = said
            .into_iter()
            .flatten()
            .map(|said| self.payment.join(said));
        let news = joined.fold(false, |news, joined| news | (joined == Joined::Kept));
        let joined = if news { Joined::Kept } else { Joined::Same };
        Outcome::of(joined, "")
    }

    fn join_message(&mut self, message: &Message, id: &PaymentId) -> Outcome {
        if let Some(news) = self.owner.hear(message) {
            return Outcome::of(if news { Joined::Kept } else { Joined::Same }, "");
        }
        let news = match message {
            Message::PaysInvoice {
                invoice,
                subscription,
            } => self.payment.pays(invoice.clone(), subscription.clone()),
            Message::GrantAttached { session, grant } => {
                self.payment.bought(session.clone(), grant.clone())
            }
            Message::Answer(answer) => return self.join_answer(answer, id),
            _ => return Outcome::ignored("", "not for a payment"),
        };
        Outcome::of(if news { Joined::Kept } else { Joined::Same }, "")
    }

    /// Refers to everything its parts name that may be linked.
    fn refer(&mut self, scope: &Scope) {
        if let Some(account) = &scope.0 {
            self.owner.refer(LinkKey::Merchant(account.clone()));
        }
        if let Some(customer) = self.payment.customer() {
            self.owner.refer(LinkKey::Customer(scope.clone(), customer));
        }
        for (invoice, subscription) in &self.payment.invoices {
            let invoice = LinkKey::Invoice(scope.clone(), invoice.clone());
            self.owner.refer(invoice);
            if let Some(subscription) = subscription {
                let subscription = LinkKey::Subscription(scope.clone(), subscription.clone());
                self.owner.refer(subscription);
            }
        }
    }

    /// What is told to others.
    fn messages(
        &self,
        projection: &mut Projection,
        key: &AggregateKey,
        scope: &Scope,
        id: &PaymentId,
    ) {
        let payment = &self.payment;
        for waiting in &self.unlinked {
            let message = Message::Relinked {
                key: waiting.clone(),
                tenant: None,
            };
            let park = vec![waiting.clone()];
            projection.tell_when(key.clone(), waiting.to_string(), message, park);
        }
        if let Some(account) = &scope.0 {
            // An account is never claimed by what is sold on it: its merchant writes that metadata.
            let tenant = self.owner.tenant.clone();
            let to = AggregateKey::Merchant(account.clone());
            projection.tell(to, "", Message::Hello { tenant });
        }
        if payment.refunds.is_empty() && payment.disputes.is_empty() {
            return;
        }
        let message = Message::PaymentOutcome {
            payment: id.clone(),
            outcome: PaymentOutcome {
                fully_refunded: payment.fully_refunded(),
                dispute_lost: payment.dispute_lost(),
            },
        };
        for subscription in payment.invoices.values().flatten() {
            let to = AggregateKey::Subscription(scope.clone(), subscription.clone());
            projection.tell(to, id.to_string(), message.clone());
        }
        for (session, grant) in &payment.grants {
            let Some(tenant) = grant.tenant.as_ref().or(self.owner.tenant.as_ref()) else {
                continue;
            };
            let new = Sums {
                granted: 0,
                reversed: books::reversed(payment, grant.credits),
                paid_at: None,
            };
            if new != Sums::default() {
                let old = Sums::default();
                let to = AggregateKey::Tenant(tenant.clone());
                projection.tell(to, session.to_string(), Message::CreditSums { old, new });
            }
        }
    }

    fn ids(&self, id: &PaymentId) -> BTreeSet<String> {
        let payment = &self.payment;
        let mut ids: BTreeSet<String> = BTreeSet::from([id.to_string()]);
        ids.extend(payment.named_charges.iter().map(ToString::to_string));
        ids.extend(payment.refunds.keys().map(ToString::to_string));
        ids.extend(payment.disputes.keys().map(ToString::to_string));
        ids.extend(payment.invoices.keys().map(ToString::to_string));
        ids.extend(payment.customer().map(String::from));
        ids
    }
}

impl Reducer for PaymentState {
    fn references(&self, key: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey> {
        let Some((scope, id)) = parts(key) else {
            return Vec::new();
        };
        // What the fact adds to the state's own references: join it into a copy and ask that.
        let mut after = self.clone();
        match fact {
            Fact::Event(event) => {
                after.join_event(event, settings);
            }
            Fact::Answer(answer) => {
                after.join_answer(answer, id);
            }
            Fact::Message(envelope) => {
                after.join_message(&envelope.message, id);
            }
            Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {}
        }
        after.refer(scope);
        after.owner.lookups()
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let Some((_, id)) = parts(key) else {
            return Outcome::ignored("", "not a payment");
        };
        let mut outcome = match fact {
            Fact::Event(event) => self.join_event(event, ctx.settings),
            Fact::Answer(answer) => self.join_answer(answer, id),
            Fact::Message(envelope) => self.join_message(&envelope.message, id),
            Fact::Timer(name) if name == missing::TIMER => {
                self.missing.ask(ctx.now);
                Outcome::applied("").saying("asks Stripe for what was not heard of yet")
            }
            Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {
                Outcome::ignored("", "not for a payment")
            }
        };
        if outcome.object_id.is_empty() {
            outcome.object_id = id.to_string();
        }
        outcome
    }

    fn settle(&mut self, key: &AggregateKey, ctx: &Ctx<'_>) {
        let Some((scope, id)) = parts(key) else {
            return;
        };
        self.refer(scope);
        self.owner.settle(ctx, false);
        let told_otherwise =
            |key: &&LinkKey| matches!(key, LinkKey::Customer(..) | LinkKey::Merchant(_));
        let references = self.owner.references.iter();
        let missing = references
            .filter(|key| !told_otherwise(key))
            .filter(|key| !ctx.links.contains_key(key));
        self.unlinked = missing.cloned().collect();
        if self.elsewhere.payment().is_none() {
            self.missing.update(&self.payment, id, ctx.now);
        }
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let mut projection = Projection::default();
        let Some((scope, id)) = parts(key) else {
            return projection;
        };
        let payment = &self.payment;
        projection.payment = Some(LinkKey::Payment(scope.clone(), id.clone()));
        projection.ids = self.ids(id);
        projection.tenant = self.owner.tenant.clone();
        for row in rows::rows(self, scope, id) {
            projection.row(row);
        }
        if self.elsewhere.payment().is_some() {
            self.elsewhere.project(&mut projection, scope);
            return projection;
        }
        if !projection.rows.is_empty() {
            let others = payment.named_charges.iter().map(ToString::to_string);
            for charge in others.filter(|charge| charge != id.as_str()) {
                let alias = (RowKind::Payment, scope.clone(), charge);
                projection.aliases.insert(alias, id.to_string());
            }
        }
        projection.postings = books::postings(payment, scope, id, self.owner.tenant.as_ref());
        let customer = payment.customer();
        let customer = customer.map(|id| AggregateKey::Customer(scope.clone(), id));
        let parents: Vec<AggregateKey> = customer.into_iter().collect();
        self.owner.project(&mut projection, key, &parents);
        self.messages(&mut projection, key, scope, id);
        if payment.is_known() {
            let target = LinkTarget {
                tenant: self.owner.tenant.clone(),
            };
            let charges = payment.named_charges.iter().cloned();
            let mut keys: Vec<LinkKey> = charges
                .map(|charge| LinkKey::Charge(scope.clone(), charge))
                .collect();
            keys.push(LinkKey::Payment(scope.clone(), id.clone()));
            let links = keys.into_iter().map(|key| (key, target.clone()));
            projection.links = links.collect::<BTreeMap<_, _>>();
        }
        let timer = self.missing.due().map(|at| (missing::TIMER.to_owned(), at));
        projection.timers.extend(timer);
        projection
    }

    fn effects(
        &self,
        old: &Self,
        key: &AggregateKey,
        cause: &Cause,
        ctx: &Ctx<'_>,
    ) -> Vec<EffectIntent> {
        let Some((scope, id)) = parts(key) else {
            return Vec::new();
        };
        if old == self {
            return Vec::new();
        }
        let object_id = id.as_str();
        let conflict = self.owner.conflict(&old.owner, key, object_id, ctx.now);
        let new = notices::intents(old, self, key, scope, id, cause, ctx.now);
        new.into_values().chain(conflict).collect()
    }
}
