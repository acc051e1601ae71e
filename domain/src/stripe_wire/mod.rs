//! Reads Stripe's events and objects from bytes: tolerant of shape, strict about amounts.
//!
//! Invariants: decides by the presence of a field, never by `api_version`, so pre-basil, basil and
//! newer objects give equal snapshots; unknown keys are skipped, unknown enum values kept as they
//! are; an amount is a whole number 0..=2^53 or the event is unusable. Every field of a snapshot is
//! optional so that `previous_attributes` reads into the same type.
//! Not here: what an event means (reducers), signatures (the root crate).
//! Failure: a `WireError` with a sentence that quotes no value of the body.
//! Source: Stripe API reference, "Event object"; changelog "basil 2025-03-31".

mod account;
mod balance;
mod check;
mod customer;
mod fields;
mod invoice;
mod outline;
mod payment;
mod session;
mod subscription;

pub use account::{Account, Capability, Payout};
pub use balance::{BalanceTransaction, FeeDetail};
pub use check::{JSON_DEPTH_MAX, JSON_NODES_MAX, check_json};
pub use customer::Customer;
pub(crate) use fields::customer_in;
pub use fields::{AMOUNT_MINOR_MAX, Amount, Metadata, Reference};
pub use invoice::{Invoice, InvoicePayment};
pub use outline::Checked;
pub use payment::{Charge, Dispute, DisputeMovement, FraudWarning, PaymentIntent, Refund, Review};
pub use session::{Session, SessionLineItem};
pub use subscription::{PendingUpdate, Subscription, SubscriptionItem};

use crate::command::command_of_key;
use crate::ids::{AccountId, CommandId, EventId, Scope, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why bytes are not a usable event or object. The text quotes nothing of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

impl WireError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// serde's words without the values it quotes: they may be personal.
    fn of(what: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let mut words = String::with_capacity(text.len());
        let mut quoted = false;
        for c in text.chars() {
            if c == '"' {
                quoted = !quoted;
                words.push_str(if quoted { "a text" } else { "" });
            } else if !quoted {
                words.push(c);
            }
        }
        Self(format!("{what}: {words}"))
    }
}

/// A snapshot of one Stripe object, read tolerantly.
pub trait WireObject:
    Serialize + DeserializeOwned + Clone + PartialEq + Eq + std::fmt::Debug
{
    /// Stripe's word in `object`.
    const OBJECT: &'static str;
    /// Reads the object, or a part of it (`previous_attributes`).
    /// # Errors: a field is of the wrong kind or an amount out of range.
    fn read(json: &str) -> Result<Self, WireError>;
    /// Whether everything a whole object must have is there.
    /// # Errors: names the missing field.
    fn check(&self) -> Result<(), WireError>;
}

/// Leaves of a snapshot as `path -> JSON text`, without empty ones: what succession compares.
pub type Leaves = BTreeMap<String, String>;

/// The leaves of a value; nulls and empty lists are left out.
pub fn leaves<T: Serialize>(value: &T) -> Leaves {
    fn walk(path: &str, value: &serde_json::Value, out: &mut Leaves) {
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::Object(map) => {
                for (key, inner) in map {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    walk(&path, inner, out);
                }
            }
            serde_json::Value::Array(list) => {
                for (n, inner) in list.iter().enumerate() {
                    walk(&format!("{path}[{n}]"), inner, out);
                }
            }
            leaf => {
                out.insert(path.to_owned(), leaf.to_string());
            }
        }
    }
    let mut out = Leaves::new();
    let value = serde_json::to_value(value).expect("snapshots are plain values with text keys");
    walk("", &value, &mut out);
    out
}

/// A whole object of Stripe from bytes (an answer of its API).
/// # Errors: not JSON of the right shape, a missing field, an impossible amount.
pub fn read_object<T: WireObject>(json: &str) -> Result<T, WireError> {
    let object = T::read(json)?;
    object.check()?;
    Ok(object)
}

/// The members of an event's outside.
#[derive(Deserialize)]
struct WireEnvelope<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "raw")]
    created: Option<&'a str>,
    #[serde(borrow)]
    account: Option<Cow<'a, str>>,
    livemode: Option<bool>,
    #[serde(borrow, default, deserialize_with = "raw")]
    request: Option<&'a str>,
    #[serde(borrow)]
    data: Option<WireData<'a>>,
}

#[derive(Deserialize)]
struct WireData<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    object: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "raw")]
    previous_attributes: Option<&'a str>,
}

/// A value as it is written; `None` for null.
fn raw<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<&'de str>, D::Error> {
    let value = Option::<&RawValue>::deserialize(reader)?;
    Ok(value.map(RawValue::get))
}

impl<'a> WireEnvelope<'a> {
    /// From where its members were found to lie. `None`: not found, or not what they should be; whoever reads the
    /// whole text will say what is wrong.
    fn of(checked: &Checked<'a>) -> Option<Self> {
        let given = |in_data: bool, key: &str| {
            let value = checked.member(in_data, key)?;
            Some(value.filter(|text| *text != "null"))
        };
        let text = |key: &str| match given(false, key)? {
            Some(json) => serde_json::from_str(json).ok().map(Cow::Borrowed).map(Some),
            None => Some(None),
        };
        let livemode = given(false, "livemode")?;
        Some(Self {
            id: text("id")?,
            object: text("object")?,
            kind: text("type")?,
            created: given(false, "created")?,
            account: text("account")?,
            livemode: livemode.map(serde_json::from_str).transpose().ok()?,
            request: given(false, "request")?,
            data: Some(WireData {
                // Without one it is thin, or wrong in a way that only the whole text shows.
                object: Some(given(true, "object")??),
                previous_attributes: given(true, "previous_attributes")?,
            }),
        })
    }
}

/// The outside of an event; its object still in text.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// `evt_…`.
    pub id: EventId,
    /// The event type.
    pub kind: Cow<'a, str>,
    /// Whether it is a thin (v2) notification, which has no object.
    pub thin: bool,
    /// When it happened; `None` for thin events.
    pub created: Option<Timestamp>,
    /// The account the object lives on.
    pub scope: Scope,
    /// Live or test; `None` for thin events.
    pub livemode: Option<bool>,
    /// `data.object`; empty for thin events.
    pub object: &'a str,
    /// `data.previous_attributes`.
    pub previous: Option<&'a str>,
    /// `request`: the API request that made it, if one did.
    pub request: Option<&'a str>,
}

fn event_id(id: &str) -> Result<EventId, WireError> {
    if !id.starts_with("evt_") {
        return Err(WireError::new("event: `id` does not start with evt_"));
    }
    EventId::parse(id).map_err(|error| WireError::new(error.to_string()))
}

fn scope_of(account: Option<&str>) -> Result<Scope, WireError> {
    match account {
        None | Some("") => Ok(Scope::PLATFORM),
        Some(text) => AccountId::parse(text)
            .map(|account| Scope(Some(account)))
            .map_err(|error| WireError::new(error.to_string())),
    }
}

/// Account and id of a body that says it is an event, whatever else is wrong with it.
pub fn read_identity(body: &str) -> Option<(Scope, EventId)> {
    #[derive(Deserialize)]
    struct Identity<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        object: Cow<'a, str>,
        #[serde(borrow)]
        account: Option<Cow<'a, str>>,
    }
    let read: Identity<'_> = serde_json::from_str(body).ok()?;
    let is_event = matches!(read.object.as_ref(), "event" | "v2.core.event");
    let scope = scope_of(read.account.as_deref()).ok()?;
    Some((scope, event_id(&read.id).ok()?)).filter(|_| is_event)
}

/// Reads the outside of an event. Everything else of the body was looked at by `check_json`.
/// # Errors: not JSON, not an event, or a field of the outside is missing or malformed.
pub fn read_envelope(body: &str) -> Result<Envelope<'_>, WireError> {
    serde_json::from_str(body)
        .map_err(|error| WireError::of("event", &error))
        .and_then(envelope)
}

/// The same of a text that was just checked, without looking for its members again.
/// # Errors: as [`read_envelope`].
pub fn read_checked<'a>(checked: &Checked<'a>) -> Result<Envelope<'a>, WireError> {
    match WireEnvelope::of(checked) {
        Some(wire) => envelope(wire),
        None => read_envelope(checked.text),
    }
}

fn envelope(wire: WireEnvelope<'_>) -> Result<Envelope<'_>, WireError> {
    let missing = |field: &str| WireError::new(format!("event: missing field `{field}`"));
    let id = wire.id.ok_or_else(|| missing("id"))?;
    let id = event_id(&id)?;
    let kind = wire.kind.ok_or_else(|| missing("type"))?;
    let scope = scope_of(wire.account.as_deref())?;
    let thin = wire.object.as_deref() == Some("v2.core.event");
    if thin {
        return Ok(Envelope {
            id,
            kind,
            thin,
            created: None,
            scope,
            livemode: wire.livemode,
            object: "",
            previous: None,
            request: None,
        });
    }
    if wire.object.as_deref() != Some("event") {
        return Err(WireError::new("event: `object` is not \"event\""));
    }
    let created = wire.created.ok_or_else(|| missing("created"))?;
    let created: i64 =
        serde_json::from_str(created).map_err(|error| WireError::of("event: `created`", &error))?;
    let data = wire.data.ok_or_else(|| missing("data"))?;
    let object = data.object.ok_or_else(|| missing("data.object"))?;
    Ok(Envelope {
        id,
        kind,
        thin,
        created: Some(Timestamp::from_seconds(created)),
        scope,
        livemode: Some(wire.livemode.ok_or_else(|| missing("livemode"))?),
        object,
        previous: data.previous_attributes,
        request: wire.request,
    })
}

/// The command of ours whose request made an event. Before 2017-05-25 `request` was the bare id.
fn command_in(request: Option<&str>) -> Option<CommandId> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        idempotency_key: Option<Cow<'a, str>>,
    }
    let read: Request<'_> = serde_json::from_str(request?).ok()?;
    command_of_key(&read.idempotency_key?)
}

/// The typed object of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Object {
    Customer(Customer),
    Subscription(Subscription),
    Invoice(Invoice),
    Session(Session),
    PaymentIntent(PaymentIntent),
    Charge(Charge),
    Refund(Refund),
    Dispute(Dispute),
    Account(Account),
    Capability(Capability),
    /// `account.application.deauthorized`: the object is an application, the account the event's.
    Deauthorized,
    Payout(Payout),
    FraudWarning(FraudWarning),
    Review(Review),
}

/// An event, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`.
    pub id: EventId,
    /// The event type.
    pub kind: String,
    /// When it happened (whole seconds).
    pub created: Timestamp,
    /// The account the object lives on.
    pub scope: Scope,
    /// Live or test.
    pub livemode: bool,
    /// The object as it was then.
    pub object: Object,
    /// Leaves of `previous_attributes` as the object's own type reads them.
    pub previous: Option<Leaves>,
    /// The command of ours whose request made it.
    pub command: Option<CommandId>,
}

impl Event {
    /// The id of its object; empty for what has none.
    pub fn object_id(&self) -> &str {
        let id = match &self.object {
            Object::Customer(object) => &object.id,
            Object::Subscription(object) => &object.id,
            Object::Invoice(object) => &object.id,
            Object::Session(object) => &object.id,
            Object::PaymentIntent(object) => &object.id,
            Object::Charge(object) => &object.id,
            Object::Refund(object) => &object.id,
            Object::Dispute(object) => &object.id,
            Object::Account(object) => &object.id,
            Object::Capability(object) => &object.id,
            Object::Payout(object) => &object.id,
            Object::FraudWarning(object) => &object.id,
            Object::Review(object) => &object.id,
            Object::Deauthorized => &None,
        };
        id.as_deref().unwrap_or_default()
    }
}

fn part<T: WireObject>(
    envelope: &Envelope<'_>,
    wrap: impl FnOnce(T) -> Object,
    check: bool,
) -> Result<(Object, Option<Leaves>), WireError> {
    let object = T::read(envelope.object)?;
    if check {
        object.check()?;
    }
    // A part that does not read is no reason to refuse the event: succession is then unknown.
    let previous = envelope
        .previous
        .and_then(|text| T::read(text).ok())
        .map(|part| leaves(&part));
    Ok((wrap(object), previous))
}

/// Decodes the object of an event; `None` for a type nobody handles.
/// # Errors: missing fields, wrong kinds, impossible amounts.
pub fn read_event(envelope: &Envelope<'_>) -> Result<Option<Event>, WireError> {
    let kind: &str = &envelope.kind;
    if !crate::route::is_handled(kind) {
        return Ok(None);
    }
    let (object, previous) = match kind {
        "customer.created" | "customer.updated" | "customer.deleted" => {
            part(envelope, Object::Customer, true)?
        }
        "invoice.upcoming" => part(envelope, Object::Invoice, false)?,
        "capability.updated" => part(envelope, Object::Capability, true)?,
        "account.application.deauthorized" => (Object::Deauthorized, None),
        "account.updated" => part(envelope, Object::Account, true)?,
        "charge.refund.updated" => part(envelope, Object::Refund, true)?,
        _ if kind.starts_with("customer.subscription.") => {
            part(envelope, Object::Subscription, true)?
        }
        _ if kind.starts_with("invoice.") => part(envelope, Object::Invoice, true)?,
        _ if kind.starts_with("checkout.session.") => part(envelope, Object::Session, true)?,
        _ if kind.starts_with("payment_intent.") => part(envelope, Object::PaymentIntent, true)?,
        _ if kind.starts_with("charge.dispute.") => part(envelope, Object::Dispute, true)?,
        _ if kind.starts_with("charge.") => part(envelope, Object::Charge, true)?,
        _ if kind.starts_with("refund.") => part(envelope, Object::Refund, true)?,
        _ if kind.starts_with("payout.") => part(envelope, Object::Payout, true)?,
        _ if kind.starts_with("radar.") => part(envelope, Object::FraudWarning, true)?,
        _ if kind.starts_with("review.") => part(envelope, Object::Review, true)?,
        _ => return Ok(None),
    };
    Ok(Some(Event {
        id: envelope.id.clone(),
        kind: kind.to_owned(),
        created: envelope
            .created
            .ok_or_else(|| WireError::new("event: missing field `created`"))?,
        scope: envelope.scope.clone(),
        livemode: envelope.livemode.unwrap_or_default(),
        object,
        previous,
        command: command_in(envelope.request),
    }))
}
