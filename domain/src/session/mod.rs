//! The Checkout session reducer: who bought what, and whether it was paid.
//!
//! Invariants: paid wins over unpaid whatever the order, expired never follows complete. Credits are
//! granted once per session, once paid, for N × quantity. A session filled in by a visitor (Payment
//! Link) claims nothing that exists: it makes a tenant of its own or waits as unclaimed.
//! Not here: reversals of a grant (`payment`), the subscription it made (`subscription`).
//! Source: contract §4 (`checkout.session.*`, Payment Links, the plan of a checkout).

mod notices;
mod purchase;

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::{Disposition, EffectIntent};
use crate::fact::answer_in;
use crate::fact::{Fact, Order};
use crate::ids::{
    CustomerId, InvoiceId, PaymentId, Scope, SessionId, SubscriptionId, TenantId, Timestamp,
};
use crate::input::Ctx;
use crate::link::{Claim, ClaimSource, LinkKey, LinkTarget};
use crate::message::{Cause, Grant, Message, Sums, TenantNamed};
use crate::ownership::Ownership;
use crate::project::Projection;
use crate::register::{Origin, Ranked, Register, earliest};
use crate::reread::{Answer, RereadTarget};
use crate::route::customer_subject;
use crate::rows::{Personal, Row, RowKind, Subject, text_of};
use crate::settings::Settings;
use crate::stripe_wire::{Amount, Object, Session, SessionLineItem, WireObject, read_object};
use purchase::Purchase;
use serde::{Deserialize, Serialize};

/// Most line items read: Stripe allows 100 in a session.
const LINE_ITEMS_MAX: usize = 100;

impl Session {
    /// Whether nothing is owed: paid, or nothing to pay.
    pub(crate) fn is_paid(&self) -> bool {
        let paid = matches!(
            self.payment_status.as_deref(),
            Some("paid" | "no_payment_required")
        );
        self.status.as_deref() == Some("complete") && paid
    }
}

impl Ranked for Session {
    fn is_final(&self) -> bool {
        self.status.as_deref() == Some("expired") || self.is_paid()
    }
    fn rank(&self) -> u8 {
        match self.status.as_deref() {
            Some("complete") if self.is_paid() => 9,
            Some("complete") => 2,
            Some("expired") => 3,
            _ => 0,
        }
    }
}

/// What is known of one session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionState {
    session: Register<Session>,
    owner: Ownership,
    completed_at: Option<Timestamp>,
    paid_at: Option<Timestamp>,
    /// A delayed payment failed.
    failed_at: Option<Timestamp>,
    /// Read from Stripe; empty list: Stripe has none.
    line_items: Option<Vec<SessionLineItem>>,
    /// A tenant named outside the grammar.
    is_misnamed: bool,
    is_erased: bool,
    /// An operator set it aside. Left out while it is not so: older snapshots keep their bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_dismissed: bool,
    /// Derived: what it bought.
    purchase: Purchase,
}

impl SessionState {
    fn join_session(
        &mut self,
        scope: &Scope,
        session: &Session,
        origin: Origin,
        ctx: &Ctx<'_>,
    ) -> Outcome {
        let id = session.id.clone().unwrap_or_default();
        read_owner(&mut self.owner, scope, session, ctx.settings);
        self.is_misnamed |= is_misnamed(session, ctx.settings);
        if session.status.as_deref() == Some("complete") {
            earliest(&mut self.completed_at, origin.at);
        }
        if session.is_paid() {
            earliest(&mut self.paid_at, origin.at);
        }
        if !session.line_items.is_empty() {
            self.join_line_items(session.line_items.clone());
        }
        Outcome::of(self.session.join(session.clone(), origin), id)
    }

    fn join_line_items(&mut self, mut items: Vec<SessionLineItem>) {
        items.sort();
        items.truncate(LINE_ITEMS_MAX);
        self.line_items = self.line_items.take().max(Some(items));
    }

    fn join_answer(&mut self, key: &AggregateKey, answer: &Answer, ctx: &Ctx<'_>) -> Outcome {
        let (scope, id) = parts(key);
        if matches!(answer.target, RereadTarget::SessionLineItems(_)) {
            let read = answer.list().unwrap_or_default();
            let items = read.iter().map(|item| SessionLineItem::read(item.get()));
            return match items.collect::<Result<Vec<_>, _>>() {
                Ok(items) => {
                    self.join_line_items(items);
                    Outcome::applied(id.as_str()).saying("line items read from Stripe")
                }
                Err(error) => Outcome::ignored(id.as_str(), error.to_string()),
            };
        }
        match answer.json().map(read_object::<Session>) {
            Some(Ok(session)) => {
                self.join_session(scope, &session, Origin::reread(answer.at()), ctx)
            }
            Some(Err(error)) => Outcome::ignored(id.as_str(), error.to_string()),
            None => Outcome::ignored(id.as_str(), "Stripe knows no such session"),
        }
    }

    fn created(&self) -> Timestamp {
        let created = self.session.value().and_then(|session| session.created);
        Timestamp::from_seconds(created.unwrap_or_default())
    }

    /// Whether it waits for a person to say whose it is.
    fn is_unclaimed(&self) -> bool {
        self.is_ownerless() && !self.is_dismissed
    }

    /// Whether only a person can say whose it is, also after it was set aside.
    fn is_ownerless(&self) -> bool {
        self.completed_at.is_some()
            && self.owner.tenant.is_none()
            && (self.is_misnamed || self.is_visitors())
    }

    fn is_visitors(&self) -> bool {
        let session = self.session.value();
        session.is_some_and(|session| session.payment_link.is_some())
    }

    fn payment(&self) -> Option<PaymentId> {
        let session = self.session.value()?;
        PaymentId::parse(session.payment_intent.as_deref()?).ok()
    }

    fn subscription(&self) -> Option<SubscriptionId> {
        let session = self.session.value()?;
        SubscriptionId::parse(session.subscription.as_deref()?).ok()
    }

    fn row(&self, scope: &Scope, id: &SessionId, kind: RowKind) -> Option<Row> {
        let session = self.session.value()?;
        let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let created_at = session.created.map(Timestamp::from_seconds);
        let status = session.status.clone().unwrap_or_default();
        let reason = (kind == RowKind::Unclaimed).then(|| self.unclaimed_reason());
        let value = serde_json::json!({
            "id": id,
            "orderId": session.metadata.get("order_id"),
            "tenantId": self.owner.tenant,
            "merchantAccountId": scope.0,
            "planId": self.purchase.plan_id,
            "priceId": self.purchase.price_id,
            "quantity": self.purchase.quantity,
            "mode": session.mode,
            "status": status,
            "paymentStatus": session.payment_status,
            "amountTotal": session.amount_total.map(Amount::minor),
            "currency": session.currency,
            "subscriptionId": session.subscription,
            "paymentId": session.payment_intent,
            "stripeCustomerId": session.customer,
            "stripeSubscriptionId": session.subscription,
            "stripeInvoiceId": session.invoice,
            "stripePaymentIntentId": session.payment_intent,
            "paymentLinkId": session.payment_link,
            "credits": self.purchase.credits,
            "createdAt": text(created_at),
            "completedAt": text(self.completed_at),
            "paidAt": text(self.paid_at),
            "failedAt": text(self.failed_at.filter(|_| self.paid_at.is_none())),
            "expiresAt": text(session.expires_at.map(Timestamp::from_seconds)),
            "reason": reason,
            "email": null,
        });
        let is_known = session.email.is_some() || session.name.is_some();
        Some(Row {
            kind,
            scope: scope.clone(),
            id: id.to_string(),
            tenant: self.owner.tenant.clone(),
            created_at,
            status,
            hidden: false,
            value: text_of(&value),
            personal: (is_known && !self.is_erased).then(|| Personal {
                subject: subject(scope, id, session),
                fields: serde_json::json!({"email": session.email, "name": session.name})
                    .to_string()
                    .into_bytes(),
            }),
        })
    }

    fn unclaimed_reason(&self) -> &'static str {
        if self.is_misnamed && !self.is_visitors() {
            "reference_not_a_tenant_id"
        } else if self.purchase.is_unread() {
            "price_not_read_yet"
        } else if self.purchase.plan_id.is_none() {
            "price_unknown"
        } else {
            "held"
        }
    }

    fn tell_tenant(&self, projection: &mut Projection, id: &SessionId, tenant: &TenantId) {
        let to = AggregateKey::Tenant(tenant.clone());
        let (Some(credits), Some(paid_at)) = (self.purchase.credits, self.paid_at) else {
            return;
        };
        let sums = Sums {
            granted: i64::try_from(credits).unwrap_or(i64::MAX),
            reversed: 0,
            paid_at: Some(paid_at),
        };
        let message = Message::CreditSums {
            old: Sums::default(),
            new: sums,
        };
        projection.tell(to, id.as_str(), message);
    }

    fn project_children(&self, projection: &mut Projection, key: &AggregateKey) {
        let (scope, id) = parts(key);
        let claims = self.owner.claims.iter();
        for claim in claims {
            let park = vec![LinkKey::Tenant(claim.tenant.clone())];
            let message = Message::Claim {
                claim: claim.clone(),
            };
            let payment = self
                .payment()
                .map(|id| AggregateKey::Payment(scope.clone(), id));
            let subscription = self
                .subscription()
                .map(|id| AggregateKey::Subscription(scope.clone(), id));
            for to in payment.into_iter().chain(subscription) {
                let distinct = claim.tenant.to_string();
                projection.tell_when(to, distinct, message.clone(), park.clone());
            }
        }
        if let (Some(payment), Some(credits), Some(paid_at), Some(plan_id)) = (
            self.payment(),
            self.purchase.credits,
            self.paid_at,
            &self.purchase.plan_id,
        ) {
            let message = Message::GrantAttached {
                session: id.clone(),
                grant: Some(Grant {
                    credits,
                    plan_id: plan_id.clone(),
                    paid_at,
                    tenant: self.owner.tenant.clone(),
                }),
            };
            let to = AggregateKey::Payment(scope.clone(), payment);
            projection.tell(to, id.as_str(), message);
        }
    }

    /// The entry of the credits list a grant makes.
    fn credit_row(&self, id: &SessionId, tenant: &TenantId) -> Option<Row> {
        let (credits, paid_at) = (self.purchase.credits?, self.paid_at?);
        let entry = format!("grant_{id}");
        let value = serde_json::json!({
            "id": entry, "kind": "grant", "amount": credits, "tenantId": tenant,
            "reference": id, "planId": self.purchase.plan_id,
            "createdAt": paid_at.rfc3339(),
        });
        Some(Row {
            kind: RowKind::CreditEntry,
            scope: Scope::PLATFORM,
            id: entry,
            tenant: Some(tenant.clone()),
            created_at: Some(paid_at),
            status: "grant".to_owned(),
            hidden: false,
            value: text_of(&value),
            personal: None,
        })
    }
}

/// Whose personal fields a session holds: its customer's, else its own.
fn subject(scope: &Scope, id: &SessionId, session: &Session) -> Subject {
    let customer = session
        .customer
        .as_deref()
        .and_then(|id| CustomerId::parse(id).ok());
    match customer {
        Some(customer) => customer_subject(scope, &customer),
        None => Subject(format!("session:{}/{id}", scope.as_str())),
    }
}

/// Whether it names a tenant, but none there can be.
fn is_misnamed(session: &Session, settings: &Settings) -> bool {
    let named = session.client_reference_id.is_some();
    named
        && session.payment_link.is_none()
        && crate::route::named_tenants(session, settings).is_empty()
}

fn read_owner(owner: &mut Ownership, scope: &Scope, session: &Session, settings: &Settings) {
    if let Some(account) = &scope.0 {
        owner.refer(LinkKey::Merchant(account.clone()));
    }
    if session.payment_link.is_some() {
        // A visitor filled it in: it claims nothing, and a customer's link is not its own either.
        return;
    }
    let id = session.id.clone().unwrap_or_default();
    let created = Timestamp::from_seconds(session.created.unwrap_or_default());
    if let Some(Ok(customer)) = session.customer.as_deref().map(CustomerId::parse) {
        owner.refer(LinkKey::Customer(scope.clone(), customer));
    }
    let reference = session.client_reference_id.as_deref();
    if let Some(Ok(tenant)) = reference.map(TenantId::parse) {
        owner.claim(Claim {
            source: ClaimSource::ClientReference,
            created,
            object_id: id.clone(),
            tenant,
        });
    }
    owner.read_metadata(&session.metadata, created, &id, settings);
}

fn parts(key: &AggregateKey) -> (&Scope, &SessionId) {
    match key {
        AggregateKey::Session(scope, id) => (scope, id),
        other => unreachable!("{other} is no session"),
    }
}

impl Reducer for SessionState {
    fn references(&self, key: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey> {
        let (scope, _) = parts(key);
        let mut owner = self.owner.clone();
        if let Some(answer) = answer_in(fact) {
            if let Some(Ok(session)) = answer.json().map(read_object::<Session>) {
                read_owner(&mut owner, scope, &session, settings);
            }
        } else if let Fact::Event(event) = fact {
            if let Object::Session(session) = &event.object {
                read_owner(&mut owner, scope, session, settings);
            }
        } else if let Fact::Message(envelope) = fact {
            owner.hear(&envelope.message);
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
                let Object::Session(session) = &event.object else {
                    return Outcome::ignored(id.as_str(), "not a session");
                };
                let before = self.clone();
                if event.kind == "checkout.session.async_payment_failed" {
                    earliest(&mut self.failed_at, event.created);
                }
                let outcome = self.join_session(scope, session, Origin::of(event), ctx);
                let outcome = match outcome.disposition {
                    Disposition::Duplicate if *self != before => {
                        Outcome::applied(outcome.object_id)
                    }
                    _ => outcome,
                };
                let became_paid = self.paid_at.is_some() && before.paid_at.is_none();
                let waits = self.derive_purchase(ctx.settings).is_unread();
                if became_paid && waits && *scope == Scope::PLATFORM {
                    return outcome.saying(
                        "paid, but what was bought is not known: no plan and quantity are noted on \
                         the session, so its line items are asked of Stripe; what it grants waits",
                    );
                }
                outcome
            }
            Fact::Order(Order::UnclaimedClaim { tenant }) => {
                if !self.is_ownerless() {
                    return Outcome::ignored(id.as_str(), "not unclaimed");
                }
                self.owner.claim(Claim {
                    source: ClaimSource::Operator,
                    created: self.created(),
                    object_id: id.to_string(),
                    tenant: tenant.clone(),
                });
                Outcome::applied(id.as_str()).saying("claimed by an operator")
            }
            Fact::Order(Order::UnclaimedDismiss { reason }) => {
                if !self.is_unclaimed() {
                    return Outcome::ignored(id.as_str(), "not unclaimed");
                }
                self.is_dismissed = true;
                Outcome::applied(id.as_str()).saying(format!("set aside by an operator: {reason}"))
            }
            Fact::Order(Order::Erase {}) => {
                self.is_erased = true;
                Outcome::applied(id.as_str()).saying("personal fields erased")
            }
            Fact::Message(envelope) => match self.owner.hear(&envelope.message) {
                Some(_) => Outcome::applied(id.as_str()),
                None => Outcome::applied(id.as_str()).saying("heard from its payment"),
            },
            Fact::Called(_) | Fact::Timer(_) | Fact::Answer(_) | Fact::Order(_) => {
                Outcome::ignored(id.as_str(), "not for a session")
            }
        }
    }

    fn settle(&mut self, key: &AggregateKey, ctx: &Ctx<'_>) {
        let (scope, _) = parts(key);
        self.purchase = self.derive_purchase(ctx.settings);
        if let Some(claim) = self.visitors_claim(key, ctx.settings) {
            self.owner.claim(claim);
        }
        let makes_tenants = *scope == Scope::PLATFORM;
        self.owner.settle(ctx, makes_tenants);
        if self.is_erased {
            self.session.forget();
        }
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let (scope, id) = parts(key);
        let mut projection = Projection::default();
        let Some(session) = self.session.value() else {
            return projection;
        };
        let customer = session
            .customer
            .as_deref()
            .and_then(|id| CustomerId::parse(id).ok());
        let merchant = scope.0.clone().map(AggregateKey::Merchant);
        let customer = customer.map(|id| AggregateKey::Customer(scope.clone(), id));
        let parents: Vec<AggregateKey> = customer.into_iter().chain(merchant).collect();
        self.owner.project(&mut projection, key, &parents);
        // An erased one holds nothing personal: its key is to go.
        projection.subject = (!self.is_erased).then(|| subject(scope, id, session));
        let made = [
            &session.subscription,
            &session.payment_intent,
            &session.invoice,
            &session.customer,
        ];
        projection.ids.extend(made.into_iter().flatten().cloned());
        projection.ids.insert(id.to_string());
        projection.rows.extend(
            self.row(scope, id, RowKind::Session)
                .map(|row| ((row.kind, row.scope.clone(), row.id.clone()), row)),
        );
        if self.is_unclaimed() {
            let row = self.row(scope, id, RowKind::Unclaimed);
            row.into_iter().for_each(|row| projection.row(row));
        }
        let tenant = self.owner.tenant.clone();
        let link = LinkKey::Session(scope.clone(), id.clone());
        if tenant.is_some() || !self.is_ownerless() {
            projection.links.insert(link, LinkTarget { tenant });
        }
        if *scope == Scope::PLATFORM {
            for claim in self.owner.claims.iter() {
                if claim.source <= ClaimSource::Command {
                    continue;
                }
                let is_made = claim.source == ClaimSource::PaymentLink;
                let named = TenantNamed {
                    at: self.created(),
                    session: id.clone(),
                    name: session.name.clone().filter(|_| is_made),
                    email: session.email.clone(),
                };
                let to = AggregateKey::Tenant(claim.tenant.clone());
                projection.tell(to, id.as_str(), Message::TenantNamed(named));
            }
            if let Some(tenant) = &self.owner.tenant {
                self.tell_tenant(&mut projection, id, tenant);
                let row = self.credit_row(id, tenant);
                row.into_iter().for_each(|row| projection.row(row));
            }
        }
        self.project_children(&mut projection, key);
        if let Some(invoice) = session.invoice.as_deref() {
            projection
                .ids
                .extend(InvoiceId::parse(invoice).ok().map(|id| id.to_string()));
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
