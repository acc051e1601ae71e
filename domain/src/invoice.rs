//! The invoice reducer: what is owed and paid, and what that says of a subscription's period.
//!
//! Invariants: `paid` and `void` are final; a late `payment_failed` never undoes them. One-off facts
//! (first failure, paid time) are minima. `invoice.paid` and `payment_succeeded` are one fact: both
//! only join the same snapshot. The paid period is the latest end among subscription *lines*.
//! Not here: the licence (`subscription`), money (`payment`).
//! Source: contract §4 (`invoice.*`); Stripe documentation, "Invoice workflow transitions".

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::{Disposition, EffectIntent};
use crate::effect::{Alert, Effect, Mail, Notify};
use crate::fact::{Fact, Order, answer_in};
use crate::ids::{CustomerId, InvoiceId, PaymentId, Scope, SubscriptionId, TenantId, Timestamp};
use crate::input::Ctx;
use crate::link::{LinkKey, LinkTarget};
use crate::message::{Cause, InvoiceFact, Message};
use crate::ownership::Ownership;
use crate::project::Projection;
use crate::register::{Origin, Ranked, Register, earliest};
use crate::reread::{Answer, Reread, RereadTarget};
use crate::route::customer_subject;
use crate::rows::{Personal, Row, RowKind, text_of};
use crate::settings::{Receipts, Settings};
use crate::stripe_wire::{Amount, Invoice, InvoicePayment, Object, read_object};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most payments of one invoice that are kept: Stripe splits an invoice over a handful.
const PAYMENTS_MAX: usize = 16;

impl Ranked for Invoice {
    fn is_final(&self) -> bool {
        matches!(self.status.as_deref(), Some("paid" | "void"))
    }
    fn rank(&self) -> u8 {
        match self.status.as_deref() {
            Some("draft") => 0,
            Some("open") => 1,
            Some("uncollectible") => 2,
            Some("paid" | "void") => 3,
            _ => 1,
        }
    }
}

/// What is known of one invoice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InvoiceState {
    invoice: Register<Invoice>,
    owner: Ownership,
    subscription: Option<SubscriptionId>,
    payments: BTreeSet<PaymentId>,
    first_failed_at: Option<Timestamp>,
    action_required_at: Option<Timestamp>,
    finalization_failed_at: Option<Timestamp>,
    /// `created` of the earliest event that says it is paid.
    paid_seen_at: Option<Timestamp>,
    is_erased: bool,
    /// Derived: the due date passed.
    is_past_due: bool,
}

impl InvoiceState {
    fn status(&self) -> Option<&str> {
        self.invoice.value()?.status.as_deref()
    }

    fn paid_at(&self) -> Option<Timestamp> {
        let invoice = self
            .invoice
            .value()
            .filter(|_| self.status() == Some("paid"))?;
        invoice
            .paid_at
            .map(Timestamp::from_seconds)
            .or(self.paid_seen_at)
    }

    fn is_overdue(&self) -> bool {
        let failed = self.first_failed_at.is_some() || self.action_required_at.is_some();
        self.status() == Some("open") && (failed || self.is_past_due)
    }

    fn join_invoice(
        &mut self,
        scope: &Scope,
        invoice: &Invoice,
        origin: Origin,
        ctx: &Ctx<'_>,
    ) -> Outcome {
        let id = invoice.id.clone().unwrap_or_default();
        let created = Timestamp::from_seconds(invoice.created.unwrap_or_default());
        for metadata in [&invoice.metadata, &invoice.subscription_metadata] {
            self.owner
                .read_metadata(metadata, created, &id, ctx.settings);
        }
        refer(&mut self.owner, scope, invoice);
        if let Some(Ok(subscription)) = invoice.subscription.as_deref().map(SubscriptionId::parse) {
            self.subscription = self.subscription.take().max(Some(subscription));
        }
        let paid = invoice
            .payments
            .iter()
            .filter_map(|id| PaymentId::parse(id).ok());
        self.payments.extend(paid);
        while self.payments.len() > PAYMENTS_MAX {
            self.payments.pop_last();
        }
        if invoice.status.as_deref() == Some("paid") {
            earliest(&mut self.paid_seen_at, origin.at);
        }
        Outcome::of(self.invoice.join(invoice.clone(), origin), id)
    }

    fn join_answer(&mut self, key: &AggregateKey, answer: &Answer, ctx: &Ctx<'_>) -> Outcome {
        let (scope, id) = parts(key);
        if matches!(answer.target, RereadTarget::InvoicePayments(_)) {
            let payments = answer.list().unwrap_or_default();
            for payment in payments {
                let read = read_object::<InvoicePayment>(payment.get());
                let paid = read.ok().and_then(|payment| payment.payment_id);
                if let Some(Ok(payment)) = paid.as_deref().map(PaymentId::parse) {
                    self.payments.insert(payment);
                }
            }
            return Outcome::applied(id.as_str())
                .saying("payments of the invoice read from Stripe");
        }
        match answer.json().map(read_object::<Invoice>) {
            Some(Ok(invoice)) => {
                self.join_invoice(scope, &invoice, Origin::reread(answer.at()), ctx)
            }
            Some(Err(error)) => Outcome::ignored(id.as_str(), error.to_string()),
            None => Outcome::ignored(id.as_str(), "Stripe knows no such invoice"),
        }
    }

    fn row(&self, scope: &Scope, id: &InvoiceId) -> Option<Row> {
        let invoice = self.invoice.value()?;
        let time = |seconds: Option<i64>| seconds.map(|s| Timestamp::from_seconds(s).rfc3339());
        let amount = |amount: Option<Amount>| amount.map(Amount::minor);
        let created_at = invoice.created.map(Timestamp::from_seconds);
        let status = invoice.status.clone().unwrap_or_default();
        let value = serde_json::json!({
            "id": id,
            "stripeInvoiceId": id,
            "tenantId": self.owner.tenant,
            "merchantAccountId": scope.0,
            "stripeCustomerId": invoice.customer,
            "stripeSubscriptionId": self.subscription,
            "subscriptionId": self.subscription,
            "stripePaymentIntentId": self.payments.first(),
            "createdAt": created_at.map(Timestamp::rfc3339),
            "number": invoice.number,
            "status": status,
            "amountDue": amount(invoice.amount_due),
            "amountPaid": amount(invoice.amount_paid),
            "currency": invoice.currency,
            "overdue": self.is_overdue(),
            "attemptCount": invoice.attempt_count.unwrap_or_default(),
            "nextPaymentAttempt": time(invoice.next_payment_attempt),
            "periodEnd": time(invoice.lines_period_end),
            "dueDate": time(invoice.due_date),
            "paidAt": self.paid_at().map(Timestamp::rfc3339),
            "billingReason": invoice.billing_reason,
            "finalizationFailed": self.finalization_failed_at.is_some() && status == "draft",
            "hostedInvoiceUrl": null, "invoicePdf": null,
        });
        let customer = invoice
            .customer
            .as_deref()
            .and_then(|id| CustomerId::parse(id).ok());
        let links = serde_json::json!({
            "hostedInvoiceUrl": invoice.hosted_invoice_url, "invoicePdf": invoice.invoice_pdf,
        });
        Some(Row {
            kind: RowKind::Invoice,
            scope: scope.clone(),
            id: id.to_string(),
            tenant: self.owner.tenant.clone(),
            created_at,
            status,
            hidden: false,
            value: text_of(&value),
            personal: customer
                .filter(|_| !self.is_erased)
                .map(|customer| Personal {
                    subject: customer_subject(scope, &customer),
                    fields: text_of(&links),
                }),
        })
    }

    fn fact(&self) -> Option<InvoiceFact> {
        let invoice = self.invoice.value()?;
        Some(InvoiceFact {
            status: invoice.status.clone().unwrap_or_default(),
            period_end: invoice.lines_period_end.map(Timestamp::from_seconds),
            paid_at: self.paid_at(),
            first_failed_at: [self.first_failed_at, self.action_required_at]
                .into_iter()
                .flatten()
                .min(),
            payments: self.payments.iter().cloned().collect(),
        })
    }

    fn parents(&self, scope: &Scope) -> Vec<AggregateKey> {
        let customer = self.invoice.value().and_then(|invoice| {
            let id = CustomerId::parse(invoice.customer.as_deref()?).ok()?;
            Some(AggregateKey::Customer(scope.clone(), id))
        });
        let merchant = scope.0.clone().map(AggregateKey::Merchant);
        customer.into_iter().chain(merchant).collect()
    }

    fn mail(&self, tenant: &TenantId, id: &InvoiceId, template: &str) -> Effect {
        let mut params = BTreeMap::new();
        params.insert("invoiceId".to_owned(), id.to_string());
        if let Some(invoice) = self.invoice.value() {
            let amount = if template == "receipt" {
                invoice.amount_paid
            } else {
                invoice.amount_due
            };
            if let (Some(amount), Some(currency)) = (amount, invoice.currency) {
                let money = crate::money::Money::new(amount.minor(), currency);
                params.insert("amount".to_owned(), money.to_string());
            }
            let next = invoice.next_payment_attempt.map(Timestamp::from_seconds);
            let texts = [
                ("number", invoice.number.clone()),
                ("attempt", invoice.attempt_count.map(|n| n.to_string())),
                ("nextAttempt", next.map(Timestamp::rfc3339)),
            ];
            for (name, text) in texts {
                params.extend(text.map(|text| (name.to_owned(), text)));
            }
        }
        Effect::Mail(Mail {
            template: template.to_owned(),
            tenant: Some(tenant.clone()),
            to: None,
            params,
        })
    }
}

fn refer(owner: &mut Ownership, scope: &Scope, invoice: &Invoice) {
    if let Some(Ok(customer)) = invoice.customer.as_deref().map(CustomerId::parse) {
        owner.refer(LinkKey::Customer(scope.clone(), customer));
    }
    if let Some(account) = &scope.0 {
        owner.refer(LinkKey::Merchant(account.clone()));
    }
}

fn parts(key: &AggregateKey) -> (&Scope, &InvoiceId) {
    match key {
        AggregateKey::Invoice(scope, id) => (scope, id),
        other => unreachable!("{other} is no invoice"),
    }
}

impl Reducer for InvoiceState {
    fn references(&self, key: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey> {
        let (scope, _) = parts(key);
        let mut owner = self.owner.clone();
        let mut add = |invoice: &Invoice| {
            refer(&mut owner, scope, invoice);
            for metadata in [&invoice.metadata, &invoice.subscription_metadata] {
                owner.read_metadata(metadata, Timestamp(0), "", settings);
            }
        };
        match fact {
            Fact::Event(event) => {
                if let Object::Invoice(invoice) = &event.object {
                    add(invoice);
                }
            }
            Fact::Message(envelope) => {
                owner.hear(&envelope.message);
            }
            Fact::Answer(answer) => {
                if let Some(Ok(invoice)) = answer.json().map(read_object::<Invoice>) {
                    add(&invoice);
                }
            }
            Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {}
        }
        owner.lookups()
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let (scope, id) = parts(key);
        if let Some(answer) = answer_in(fact) {
            return self.join_answer(key, answer, ctx);
        }
        match fact {
            Fact::Event(event) => {
                let Object::Invoice(invoice) = &event.object else {
                    return Outcome::ignored(id.as_str(), "not an invoice");
                };
                let is_new_fact = match event.kind.as_str() {
                    "invoice.payment_failed" => earliest(&mut self.first_failed_at, event.created),
                    "invoice.payment_action_required" => {
                        earliest(&mut self.action_required_at, event.created)
                    }
                    "invoice.finalization_failed" => {
                        earliest(&mut self.finalization_failed_at, event.created)
                    }
                    _ => false,
                };
                let outcome = self.join_invoice(scope, invoice, Origin::of(event), ctx);
                if is_new_fact && outcome.disposition == Disposition::Duplicate {
                    return Outcome::applied(outcome.object_id);
                }
                outcome
            }
            Fact::Message(envelope) => match self.owner.hear(&envelope.message) {
                Some(_) => Outcome::applied(id.as_str()),
                None => Outcome::ignored(id.as_str(), "not for an invoice"),
            },
            Fact::Called(_) | Fact::Timer(_) => Outcome::applied(id.as_str()),
            Fact::Order(Order::Erase {}) => {
                self.is_erased = true;
                Outcome::applied(id.as_str()).saying("personal fields erased")
            }
            Fact::Answer(_) | Fact::Order(_) => Outcome::ignored(id.as_str(), "not for an invoice"),
        }
    }

    fn settle(&mut self, _: &AggregateKey, ctx: &Ctx<'_>) {
        self.owner.settle(ctx, false);
        let due = self.invoice.value().and_then(|invoice| invoice.due_date);
        self.is_past_due = due.is_some_and(|due| Timestamp::from_seconds(due) <= ctx.now);
        if self.is_erased {
            self.invoice.forget();
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
        projection.subject = row
            .personal
            .as_ref()
            .map(|personal| personal.subject.clone());
        projection
            .ids
            .extend(self.subscription.iter().map(ToString::to_string));
        projection.row(row);
        let target = LinkTarget {
            tenant: self.owner.tenant.clone(),
        };
        projection
            .links
            .insert(LinkKey::Invoice(scope.clone(), id.clone()), target);
        if let (Some(subscription), Some(fact)) = (&self.subscription, self.fact()) {
            let to = AggregateKey::Subscription(scope.clone(), subscription.clone());
            let message = Message::InvoiceFact {
                invoice: id.clone(),
                fact: Some(fact),
            };
            projection.tell(to, id.as_str(), message);
        }
        for payment in &self.payments {
            let message = Message::PaysInvoice {
                invoice: id.clone(),
                subscription: self.subscription.clone(),
            };
            let to = AggregateKey::Payment(scope.clone(), payment.clone());
            projection.tell(to, id.as_str(), message);
        }
        let due = self.invoice.value().and_then(|invoice| invoice.due_date);
        if let (Some(due), Some("open"), false) = (due, self.status(), self.is_past_due) {
            projection
                .timers
                .insert("due".to_owned(), Timestamp::from_seconds(due));
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
        let (scope, id) = parts(key);
        let now = ctx.now;
        let mut effects: Vec<EffectIntent> = Vec::new();
        effects.extend(self.owner.conflict(&old.owner, key, id.as_str(), now));
        let ask = |target: RereadTarget, fact: &str| {
            let scope = scope.clone();
            Effect::Reread(Reread { scope, target }).intent(key, fact, now, None)
        };
        if self.invoice.is_tied() && !old.invoice.is_tied() {
            let at = self.invoice.at().unwrap_or_default();
            effects.push(ask(
                RereadTarget::Invoice(id.clone()),
                &format!("tie:{}", at.0),
            ));
        }
        let Some(invoice) = self.invoice.value() else {
            return effects;
        };
        let became_paid = self.status() == Some("paid") && old.status() != Some("paid");
        let costs = invoice.amount_paid.unwrap_or_default().minor() > 0;
        if became_paid && costs && self.payments.is_empty() {
            effects.push(ask(RereadTarget::InvoicePayments(id.clone()), "paid"));
        }
        let finals = (old.status(), self.status());
        if matches!(
            finals,
            (Some("paid"), Some("void")) | (Some("void"), Some("paid"))
        ) {
            let alert = Effect::Alert(Alert {
                code: "contradiction".to_owned(),
                tenant: self.owner.tenant.clone(),
                object_id: id.to_string(),
                text: format!("{id} is said to be both paid and void"),
            });
            effects.push(alert.intent(key, "paid-and-void", now, None));
            effects.push(ask(RereadTarget::Invoice(id.clone()), "paid-and-void"));
        }
        let Some(tenant) = self
            .owner
            .tenant
            .as_ref()
            .filter(|_| *scope == Scope::PLATFORM)
        else {
            return effects;
        };
        let mut notify = |kind: &str, fact: &str| {
            let object = self.row(scope, id).map(|row| row.value).unwrap_or_default();
            let notify = Effect::Notify(Notify {
                kind: kind.to_owned(),
                tenant: tenant.clone(),
                object: serde_json::from_slice(&object).unwrap_or_default(),
                cause: cause.clone(),
            });
            effects.push(notify.intent(key, fact, now, None));
        };
        if became_paid {
            notify("invoice.paid", "paid");
        }
        let attempt = invoice.attempt_count.unwrap_or_default();
        let failed = self.status() == Some("open")
            && self.first_failed_at.is_some()
            && (old.first_failed_at.is_none() || old_attempt(old) < attempt);
        if failed {
            notify("invoice.payment_failed", &format!("attempt:{attempt}"));
        }
        let mails = [
            (
                became_paid && costs && ctx.settings.receipts != Receipts::Off,
                "receipt",
                "paid".to_owned(),
            ),
            (failed, "payment_failed", format!("attempt:{attempt}")),
            (
                self.status() == Some("open")
                    && self.action_required_at.is_some()
                    && old.action_required_at.is_none(),
                "action_required",
                "action".to_owned(),
            ),
            (
                self.status() == Some("draft")
                    && self.finalization_failed_at.is_some()
                    && old.finalization_failed_at.is_none(),
                "invoice_finalization_failed",
                "finalization".to_owned(),
            ),
        ];
        for (_, template, fact) in mails.into_iter().filter(|(fires, ..)| *fires) {
            let mail = self.mail(tenant, id, template);
            effects.push(match (template, ctx.settings.receipts) {
                // Named after the tenant, so that whichever payment is first takes it.
                ("receipt", Receipts::First) => {
                    mail.intent(&AggregateKey::Tenant(tenant.clone()), "first", now, None)
                }
                _ => mail.intent(key, &fact, now, None),
            });
            if template == "invoice_finalization_failed" {
                let alert = Effect::Alert(Alert {
                    code: "invoice_finalization_failed".to_owned(),
                    tenant: Some(tenant.clone()),
                    object_id: id.to_string(),
                    text: format!("Stripe could not finalize {id}"),
                });
                effects.push(alert.intent(key, &fact, now, None));
            }
        }
        effects
    }
}

fn old_attempt(old: &InvoiceState) -> u64 {
    let invoice = old.invoice.value();
    invoice
        .and_then(|invoice| invoice.attempt_count)
        .unwrap_or_default()
}
