//! Where a delivery goes: decided from its bytes alone, before anything is known.
//!
//! Invariants: never fails and never panics, whatever the bytes; an event's address, what it waits
//! for and whose fields it holds follow from the event, so arrival order cannot change them.
//! Not here: whether it waits (the store looks at the links), what it means (reducers).
//! Source: contract §3 "Stripe's side", §4 "Finding the tenant of an event".

use crate::aggregate::AggregateKey;
use crate::claims::metadata_claims;
use crate::ids::{
    AccountId, ChargeId, CommandId, CustomerId, InvoiceId, PaymentId, Scope, SessionId,
    SubscriptionId, TenantId, Timestamp,
};
use crate::input::InputSource;
use crate::link::LinkKey;
use crate::rows::Subject;
use crate::settings::Settings;
use crate::stripe_wire::{
    Envelope, Event, Metadata, Object, Session, check_json, read_checked, read_event, read_identity,
};
use sha2::{Digest, Sha256};

/// What becomes of a delivery at intake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Goes to this aggregate; waits iff `park` is not empty and none of it is linked.
    Pending {
        /// The aggregate.
        to: AggregateKey,
        /// Everything it refers to.
        park: Vec<LinkKey>,
    },
    /// Stored and shown, for nobody.
    Ignored {
        /// Why.
        reason: String,
    },
    /// Genuine but unusable.
    Dead {
        /// Why.
        reason: String,
    },
}

/// A delivery, addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The dedup key.
    pub source: InputSource,
    /// The event type; `unreadable` for what is no event.
    pub kind: String,
    /// Stripe's `created`.
    pub created_at: Option<Timestamp>,
    /// Live or test.
    pub livemode: Option<bool>,
    /// What becomes of it.
    pub fate: Fate,
    /// Ids of the objects it is about and refers to.
    pub objects: Vec<String>,
    /// Whose personal fields its body holds.
    pub subject: Subject,
}

/// The event types reducers handle: the table of contract §4.
pub const HANDLED: [&str; 57] = [
    "account.application.deauthorized",
    "account.updated",
    "capability.updated",
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.expired",
    "charge.failed",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.finalization_failed",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.upcoming",
    "invoice.updated",
    "invoice.voided",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payout.created",
    "payout.failed",
    "payout.paid",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "review.closed",
    "review.opened",
];

/// Whether reducers handle this event type.
pub fn is_handled(kind: &str) -> bool {
    HANDLED.contains(&kind)
}

/// Addresses a delivery.
pub fn route(body: &[u8], settings: &Settings, received_at: Timestamp) -> Routed {
    let read = check_json(body).and_then(|checked| read_checked(&checked));
    let envelope = match read {
        Ok(envelope) => envelope,
        Err(error) => return unreadable(body, received_at, error.to_string()),
    };
    let mut routed = Routed {
        source: InputSource::Event(envelope.scope.clone(), envelope.id.clone()),
        kind: envelope.kind.clone().into_owned(),
        created_at: envelope.created,
        livemode: envelope.livemode,
        fate: Fate::Ignored {
            reason: String::new(),
        },
        objects: Vec::new(),
        subject: Subject(String::new()),
    };
    if let Some(account) = &envelope.scope.0 {
        routed.subject = Subject(format!("account:{account}"));
    }
    routed.fate = fate(&envelope, settings, &mut routed);
    if !matches!(routed.fate, Fate::Pending { .. }) {
        // Nobody reads it, but its body is kept: it must go with the customer it is about.
        let customer = crate::stripe_wire::customer_in(envelope.object);
        if let Some(Ok(customer)) = customer.as_deref().map(CustomerId::parse) {
            routed.subject = customer_subject(&envelope.scope, &customer);
        }
    }
    if routed.subject.0.is_empty() {
        routed.subject = month_of(received_at);
    }
    crate::mutant!("M7", crate::mutants::name_after_object(&mut routed));
    routed
}

fn fate(envelope: &Envelope<'_>, settings: &Settings, routed: &mut Routed) -> Fate {
    let ignored = |reason: &str| Fate::Ignored {
        reason: reason.to_owned(),
    };
    let dead = |reason: String| Fate::Dead { reason };
    if envelope.thin {
        return ignored("thin event (v2): carries no object");
    }
    if envelope
        .livemode
        .is_some_and(|mode| mode != settings.livemode)
    {
        let mode = |live: bool| if live { "live" } else { "test" };
        let reason = format!(
            "event of {} mode, this installation is in {} mode",
            mode(!settings.livemode),
            mode(settings.livemode)
        );
        return match envelope.scope.0 {
            Some(_) => Fate::Ignored { reason },
            None => dead(reason),
        };
    }
    if !is_handled(&envelope.kind) {
        return ignored("type not handled");
    }
    let event = match read_event(envelope) {
        Ok(Some(event)) => event,
        Ok(None) => return ignored("type not handled"),
        Err(error) => return dead(error.to_string()),
    };
    match address(&event, settings) {
        Ok(address) => {
            routed.objects = address.objects;
            if let Some(subject) = address.subject {
                routed.subject = subject;
            }
            Fate::Pending {
                to: address.to,
                park: address.park,
            }
        }
        Err(reason) => dead(reason),
    }
}

/// Dead under its own id where it has a good one, else under its hash.
fn unreadable(body: &[u8], received_at: Timestamp, reason: String) -> Routed {
    let source = check_json(body)
        .ok()
        .and_then(|checked| read_identity(checked.text))
        .map_or_else(
            || InputSource::Raw(hex::encode(Sha256::digest(body))),
            |(scope, id)| InputSource::Event(scope, id),
        );
    Routed {
        source,
        kind: "unreadable".to_owned(),
        created_at: None,
        livemode: None,
        fate: Fate::Dead { reason },
        objects: Vec::new(),
        subject: month_of(received_at),
    }
}

pub(crate) fn month_of(at: Timestamp) -> Subject {
    let text = at.rfc3339();
    Subject(format!("month:{}", text.get(..7).unwrap_or("unknown")))
}

struct Address {
    to: AggregateKey,
    park: Vec<LinkKey>,
    objects: Vec<String>,
    subject: Option<Subject>,
}

/// Collects what an event refers to.
struct References<'s> {
    scope: Scope,
    settings: &'s Settings,
    park: Vec<LinkKey>,
    objects: Vec<String>,
    subject: Option<Subject>,
}

type Read<T> = Result<T, String>;

fn parsed<T>(read: Result<T, crate::ids::IdError>) -> Read<T> {
    read.map_err(|error| error.to_string())
}

fn id_text(id: Option<&str>) -> Read<&str> {
    id.ok_or_else(|| "object: missing field `id`".to_owned())
}

impl References<'_> {
    fn note(&mut self, id: &str) {
        if !self.objects.iter().any(|known| known == id) {
            self.objects.push(id.to_owned());
        }
    }
    fn link(&mut self, key: LinkKey) {
        if !self.park.contains(&key) {
            self.park.push(key);
        }
    }
    fn account(&mut self, account: &AccountId) {
        self.subject
            .get_or_insert_with(|| Subject(format!("account:{account}")));
        self.link(LinkKey::Merchant(account.clone()));
    }
    fn customer(&mut self, id: Option<&str>) -> Read<()> {
        if let Some(id) = id {
            let customer = parsed(CustomerId::parse(id))?;
            self.note(id);
            self.subject = Some(customer_subject(&self.scope, &customer));
            self.link(LinkKey::Customer(self.scope.clone(), customer));
        }
        Ok(())
    }
    fn subscription(&mut self, id: Option<&str>) -> Read<()> {
        if let Some(id) = id {
            self.note(id);
            let id = parsed(SubscriptionId::parse(id))?;
            self.link(LinkKey::Subscription(self.scope.clone(), id));
        }
        Ok(())
    }
    fn invoice(&mut self, id: Option<&str>) -> Read<()> {
        if let Some(id) = id {
            self.note(id);
            let id = parsed(InvoiceId::parse(id))?;
            self.link(LinkKey::Invoice(self.scope.clone(), id));
        }
        Ok(())
    }
    fn payment(&mut self, id: Option<&str>) -> Read<()> {
        if let Some(id) = id {
            self.note(id);
            let id = parsed(PaymentId::parse(id))?;
            self.link(LinkKey::Payment(self.scope.clone(), id));
        }
        Ok(())
    }
    fn charge(&mut self, id: Option<&str>) -> Read<()> {
        if let Some(id) = id {
            self.note(id);
            let id = parsed(ChargeId::parse(id))?;
            self.link(LinkKey::Charge(self.scope.clone(), id));
        }
        Ok(())
    }
    fn metadata(&mut self, metadata: &Metadata) {
        for claim in metadata_claims(metadata, Timestamp(0), "", self.settings) {
            self.note(claim.tenant.as_str());
            self.link(LinkKey::Tenant(claim.tenant));
        }
        if let Some(command) = command_of(metadata) {
            self.note(command.as_str());
            self.link(LinkKey::Command(command));
        }
    }
    fn done(self, to: AggregateKey) -> Address {
        Address {
            to,
            park: self.park,
            objects: self.objects,
            subject: self.subject,
        }
    }
}

/// The subject of a customer's personal fields.
pub fn customer_subject(scope: &Scope, customer: &CustomerId) -> Subject {
    Subject(format!("customer:{}/{customer}", scope.as_str()))
}

/// The command of ours that metadata names.
pub fn command_of(metadata: &Metadata) -> Option<CommandId> {
    let text = metadata.get("command_id")?;
    CommandId::parse(text).ok()
}

/// The payment an object belongs to: its intent, else its charge.
pub fn payment_of(intent: Option<&str>, charge: Option<&str>) -> Read<Option<PaymentId>> {
    intent
        .or(charge)
        .map(|id| parsed(PaymentId::parse(id)))
        .transpose()
}

/// The tenants a session names with authority: by reference or metadata, unless a visitor filled it
/// in (Payment Link).
pub fn named_tenants(session: &Session, settings: &Settings) -> Vec<TenantId> {
    if session.payment_link.is_some() {
        return Vec::new();
    }
    let reference = session.client_reference_id.as_deref();
    let reference = reference.and_then(|text| TenantId::parse(text).ok());
    let noted = metadata_claims(&session.metadata, Timestamp(0), "", settings);
    reference
        .into_iter()
        .chain(noted.into_iter().map(|claim| claim.tenant))
        .collect()
}

fn address(event: &Event, settings: &Settings) -> Read<Address> {
    let scope = event.scope.clone();
    let mut refs = References {
        scope: scope.clone(),
        settings,
        park: Vec::new(),
        objects: Vec::new(),
        subject: None,
    };
    if let Some(account) = &scope.0 {
        refs.account(account);
    }
    let to = match &event.object {
        Object::Customer(customer) => {
            let id = parsed(CustomerId::parse(id_text(customer.id.as_deref())?))?;
            refs.customer(customer.id.as_deref())?;
            refs.metadata(&customer.metadata);
            AggregateKey::Customer(scope, id)
        }
        Object::Subscription(subscription) => {
            let id = parsed(SubscriptionId::parse(id_text(subscription.id.as_deref())?))?;
            refs.subscription(subscription.id.as_deref())?;
            refs.customer(subscription.customer.as_deref())?;
            refs.metadata(&subscription.metadata);
            AggregateKey::Subscription(scope, id)
        }
        Object::Invoice(invoice) => {
            refs.invoice(invoice.id.as_deref())?;
            refs.subscription(invoice.subscription.as_deref())?;
            refs.customer(invoice.customer.as_deref())?;
            refs.metadata(&invoice.metadata);
            refs.metadata(&invoice.subscription_metadata);
            let is_own = |key: &LinkKey| matches!(key, LinkKey::Invoice(..));
            if refs.park.iter().all(is_own) {
                // Names nobody: recorded, since nothing can ever say whose it is.
                refs.park.clear();
            }
            invoice_address(scope, invoice)?
        }
        Object::Session(session) => {
            let id = parsed(SessionId::parse(id_text(session.id.as_deref())?))?;
            refs.note(id.as_str());
            refs.customer(session.customer.as_deref())?;
            let made = [
                &session.subscription,
                &session.invoice,
                &session.payment_intent,
            ];
            for id in made.into_iter().flatten() {
                refs.note(id);
            }
            if let Some(command) = command_of(&session.metadata) {
                refs.link(LinkKey::Command(command));
            }
            let named = named_tenants(session, settings);
            let names_someone = !named.is_empty() || session.client_reference_id.is_some();
            if scope.0.is_some() {
                // On a connected account it makes no tenant exist, so it waits like anything else.
                let tenants = named.into_iter().map(LinkKey::Tenant);
                tenants.for_each(|tenant| refs.link(tenant));
            } else if names_someone || session.payment_link.is_some() {
                // It names who it is for, or nobody can ever tell but a person: nothing to wait for.
                refs.park.clear();
            }
            AggregateKey::Session(scope, id)
        }
        _ => return payment_address(event, scope, refs),
    };
    Ok(refs.done(to))
}

fn invoice_address(scope: Scope, invoice: &crate::stripe_wire::Invoice) -> Read<AggregateKey> {
    // `invoice.upcoming` has no id: nothing was made yet.
    Ok(
        match (&invoice.id, &invoice.subscription, &invoice.customer) {
            (Some(id), ..) => AggregateKey::Invoice(scope, parsed(InvoiceId::parse(id))?),
            (None, Some(id), _) => {
                AggregateKey::Subscription(scope, parsed(SubscriptionId::parse(id))?)
            }
            (None, None, Some(id)) => AggregateKey::Customer(scope, parsed(CustomerId::parse(id))?),
            (None, None, None) => {
                return Err("invoice: names no subscription and no customer".into());
            }
        },
    )
}

fn payment_address(event: &Event, scope: Scope, mut refs: References<'_>) -> Read<Address> {
    let (payment, own) = match &event.object {
        Object::PaymentIntent(intent) => {
            refs.payment(intent.id.as_deref())?;
            refs.customer(intent.customer.as_deref())?;
            refs.invoice(intent.invoice.as_deref())?;
            refs.metadata(&intent.metadata);
            (payment_of(intent.id.as_deref(), None)?, true)
        }
        Object::Charge(charge) => {
            refs.payment(charge.payment_intent.as_deref())?;
            refs.charge(charge.id.as_deref())?;
            refs.customer(charge.customer.as_deref())?;
            refs.invoice(charge.invoice.as_deref())?;
            refs.metadata(&charge.metadata);
            let payment = payment_of(charge.payment_intent.as_deref(), charge.id.as_deref())?;
            (payment, true)
        }
        Object::Refund(refund) => {
            refs.note(id_text(refund.id.as_deref())?);
            refs.payment(refund.payment_intent.as_deref())?;
            refs.charge(refund.charge.as_deref())?;
            (
                payment_of(refund.payment_intent.as_deref(), refund.charge.as_deref())?,
                false,
            )
        }
        Object::Dispute(dispute) => {
            refs.note(id_text(dispute.id.as_deref())?);
            refs.payment(dispute.payment_intent.as_deref())?;
            refs.charge(dispute.charge.as_deref())?;
            (
                payment_of(dispute.payment_intent.as_deref(), dispute.charge.as_deref())?,
                false,
            )
        }
        Object::FraudWarning(warning) => {
            refs.note(id_text(warning.id.as_deref())?);
            refs.payment(warning.payment_intent.as_deref())?;
            refs.charge(warning.charge.as_deref())?;
            (
                payment_of(warning.payment_intent.as_deref(), warning.charge.as_deref())?,
                false,
            )
        }
        Object::Review(review) => {
            refs.note(id_text(review.id.as_deref())?);
            refs.payment(review.payment_intent.as_deref())?;
            refs.charge(review.charge.as_deref())?;
            (
                payment_of(review.payment_intent.as_deref(), review.charge.as_deref())?,
                false,
            )
        }
        _ => return merchant_address(event, scope, refs),
    };
    let Some(payment) = payment else {
        refs.park.clear();
        return Ok(refs.done(AggregateKey::Installation(scope)));
    };
    let names_itself_only = refs
        .park
        .iter()
        .all(|key| matches!(key, LinkKey::Payment(..) | LinkKey::Charge(..)));
    if !own {
        // Its payment keeps it and asks Stripe for what it never heard of. On an account nobody is
        // known to own there is nobody to ask for: that alone it waits for.
        refs.park.retain(|key| matches!(key, LinkKey::Merchant(_)));
    }
    if own && names_itself_only {
        // Names nobody: recorded without a tenant until a session adopts it.
        refs.park.clear();
    }
    Ok(refs.done(AggregateKey::Payment(scope, payment)))
}

fn merchant_address(event: &Event, scope: Scope, mut refs: References<'_>) -> Read<Address> {
    let account = match &event.object {
        Object::Account(account) => {
            refs.metadata(&account.metadata);
            account.id.as_deref()
        }
        Object::Capability(capability) => {
            refs.note(id_text(capability.id.as_deref())?);
            capability.account.as_deref()
        }
        Object::Payout(payout) => {
            refs.note(id_text(payout.id.as_deref())?);
            refs.park.clear();
            return Ok(refs.done(AggregateKey::Installation(scope)));
        }
        _ => None,
    };
    let account = match (&scope.0, account) {
        (Some(account), _) => account.clone(),
        (None, Some(id)) => parsed(AccountId::parse(id))?,
        (None, None) => return Err("event: missing field `account`".to_owned()),
    };
    refs.note(account.as_str());
    refs.account(&account);
    Ok(refs.done(AggregateKey::Merchant(account)))
}
