//! What Stripe's lists hold, made into inputs: for reconciliation and for the first filling of a store.
//!
//! A listed event is the delivery that never came; a listed object is the answer to a re-read nobody
//! asked for, addressed and parked exactly like an event that holds it.
//!
//! Invariants: reads bytes and settings only; numbers of a body pass through as they were written; an
//! event listed for a connected account and its delivery have one dedup key.
//! Not here: which lists are read and when (the reconciler), what an object changes (reducers).
//! Failure: what does not read is a sentence without personal data.
//! Source: Stripe API reference, "Pagination", "Events", "Connect".

use crate::aggregate::AggregateKey;
use crate::ids::{
    AccountId, ChargeId, CustomerId, DisputeId, IdError, InvoiceId, PaymentIntentId, RefundId,
    Scope, SessionId, SubscriptionId, Timestamp,
};
use crate::link::LinkKey;
use crate::reread::{Answer, RereadTarget};
use crate::route::{Fate, route};
use crate::rows::Subject;
use crate::settings::Settings;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A kind of object that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Listed {
    Account,
    Customer,
    Session,
    Subscription,
    Invoice,
    PaymentIntent,
    Charge,
    Refund,
    Dispute,
}

impl Listed {
    /// All of them; what others refer to comes first, so that little waits for its owner.
    pub const ALL: [Self; 9] = [
        Self::Account,
        Self::Customer,
        Self::Session,
        Self::Subscription,
        Self::Invoice,
        Self::PaymentIntent,
        Self::Charge,
        Self::Refund,
        Self::Dispute,
    ];
    /// Stripe's own word for the object: labels and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Customer => "customer",
            Self::Session => "checkout.session",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::PaymentIntent => "payment_intent",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Dispute => "dispute",
        }
    }
    /// Path and fixed part of the query of its list, a hundred at a time. Only a charge is asked for
    /// more than events tell: its refunds and its fee, as its re-read is.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Account => "/v1/accounts?limit=100",
            Self::Customer => "/v1/customers?limit=100",
            Self::Session => "/v1/checkout/sessions?limit=100",
            Self::Subscription => "/v1/subscriptions?limit=100&status=all",
            Self::Invoice => "/v1/invoices?limit=100",
            Self::PaymentIntent => "/v1/payment_intents?limit=100",
            Self::Charge => {
                "/v1/charges?limit=100&expand%5B%5D=data.refunds&expand%5B%5D=data.balance_transaction"
            }
            Self::Refund => "/v1/refunds?limit=100",
            Self::Dispute => "/v1/disputes?limit=100",
        }
    }
    /// Whether every object of the kind can change for as long as it exists, however old it is.
    pub const fn lives_long(self) -> bool {
        matches!(self, Self::Account | Self::Customer | Self::Subscription)
    }
    /// An event type whose address is the object's.
    const fn event_type(self) -> &'static str {
        match self {
            Self::Account => "account.updated",
            Self::Customer => "customer.updated",
            Self::Session => "checkout.session.completed",
            Self::Subscription => "customer.subscription.updated",
            Self::Invoice => "invoice.updated",
            Self::PaymentIntent => "payment_intent.created",
            Self::Charge => "charge.succeeded",
            Self::Refund => "refund.updated",
            Self::Dispute => "charge.dispute.updated",
        }
    }
    fn target(self, id: &str) -> Result<RereadTarget, IdError> {
        Ok(match self {
            Self::Account => RereadTarget::Account(AccountId::parse(id)?),
            Self::Customer => RereadTarget::Customer(CustomerId::parse(id)?),
            Self::Session => RereadTarget::Session(SessionId::parse(id)?),
            Self::Subscription => RereadTarget::Subscription(SubscriptionId::parse(id)?),
            Self::Invoice => RereadTarget::Invoice(InvoiceId::parse(id)?),
            Self::PaymentIntent => RereadTarget::PaymentIntent(PaymentIntentId::parse(id)?),
            Self::Charge => RereadTarget::Charge(ChargeId::parse(id)?),
            Self::Refund => RereadTarget::Refund(RefundId::parse(id)?),
            Self::Dispute => RereadTarget::Dispute(DisputeId::parse(id)?),
        })
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// Its objects, unread, newest first.
    pub items: Vec<Box<RawValue>>,
    /// Where the next page starts: the last object's id.
    pub last: Option<String>,
    /// There are older ones.
    pub has_more: bool,
}

#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    created: Option<i64>,
    status: Option<String>,
    payment_status: Option<String>,
    expires_at: Option<i64>,
}

impl Head {
    /// When what the object says was true at the latest. A session that is over does not say when it
    /// ended, only until when it could: its payment must not count as of today.
    fn said_at(&self, kind: Listed, date: i64) -> i64 {
        let is_over = match self.status.as_deref() {
            Some("complete") => self.payment_status.as_deref() != Some("unpaid"),
            Some("expired") => true,
            _ => false,
        };
        let until = self
            .expires_at
            .filter(|_| kind == Listed::Session && is_over);
        until.map_or(date, |until| until.min(date))
    }
}

/// Reads a page. # Errors: it is no list, or an object of it has no id to go on from.
pub fn read_page(body: &[u8]) -> Result<Page, String> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Box<RawValue>>,
        has_more: bool,
    }
    let list: List =
        serde_json::from_slice(body).map_err(|error| format!("the answer is no list: {error}"))?;
    let last = match list.data.last() {
        Some(item) => {
            let head = serde_json::from_str::<Head>(item.get());
            let id = head.ok().and_then(|head| head.id);
            Some(id.ok_or_else(|| "an object of the list has no `id`".to_owned())?)
        }
        None => None,
    };
    Ok(Page {
        has_more: list.has_more && last.is_some(),
        items: list.data,
        last,
    })
}

/// A listed object, ready to be decided about.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its `created`, unix seconds.
    pub created: Option<i64>,
    /// Nobody is told of it yet: a checkout session before it ends makes no event.
    pub is_untold: bool,
    /// Whose inbox.
    pub to: AggregateKey,
    /// References one of which must be linked first.
    pub park: Vec<LinkKey>,
    /// Ids under which it is found.
    pub objects: Vec<String>,
    /// Whose personal fields it holds.
    pub subject: Subject,
    /// The answer a re-read of it would have brought.
    pub answer: Answer,
}

/// Reads an object of a list answered at `date` (unix seconds).
/// # Errors: why it cannot be addressed, in words.
pub fn read_found(
    kind: Listed,
    scope: &Scope,
    raw: &RawValue,
    date: i64,
    settings: &Settings,
) -> Result<Found, String> {
    let head: Head =
        serde_json::from_str(raw.get()).map_err(|error| format!("{}: {error}", kind.as_str()))?;
    let said_at = head.said_at(kind, date);
    let id = head
        .id
        .ok_or_else(|| format!("{}: missing field `id`", kind.as_str()))?;
    let target = kind.target(&id).map_err(|error| error.to_string())?;
    // The one place that knows addresses reads events, so it is shown one that holds the object.
    let account = scope
        .0
        .as_ref()
        .map(|account| format!("\"account\":\"{account}\","));
    let event = format!(
        "{{\"id\":\"evt_listed\",\"object\":\"event\",\"type\":\"{}\",\"created\":{date},\"livemode\":{},{}\"data\":{{\"object\":{}}}}}",
        kind.event_type(),
        settings.livemode,
        account.unwrap_or_default(),
        raw.get(),
    );
    let routed = route(event.as_bytes(), settings, Timestamp::from_seconds(date));
    let (to, park) = match routed.fate {
        Fate::Pending { to, park } => (to, park),
        Fate::Ignored { reason } | Fate::Dead { reason } => return Err(reason),
    };
    let is_untold = kind == Listed::Session && head.status.as_deref() == Some("open");
    Ok(Found {
        created: head.created,
        is_untold,
        to,
        park,
        objects: routed.objects,
        subject: routed.subject,
        answer: Answer {
            target,
            status: 200,
            date: said_at,
            body: Some(raw.to_owned()),
        },
        id,
    })
}

/// A listed event as the body its delivery would have had: one of a connected account names it, as
/// the list does not. # Errors: it is no JSON object.
pub fn event_body(scope: &Scope, raw: &RawValue) -> Result<Vec<u8>, String> {
    #[derive(Deserialize)]
    struct Named {
        account: Option<String>,
    }
    let text = raw.get();
    let Some(account) = &scope.0 else {
        return Ok(text.as_bytes().to_vec());
    };
    let named: Named =
        serde_json::from_str(text).map_err(|error| format!("an event does not read: {error}"))?;
    if named.account.is_some() {
        return Ok(text.as_bytes().to_vec());
    }
    let rest = text
        .trim_start()
        .strip_prefix('{')
        .ok_or_else(|| "an event is no object".to_owned())?;
    Ok(format!("{{\"account\":\"{account}\",{rest}").into_bytes())
}

/// Whether two bodies of one event say the same: white space, the order of fields and how many
/// endpoints still wait for it do not matter, nor whether the account stands in it.
pub fn is_same_event(one: &[u8], other: &[u8]) -> bool {
    let read = |body: &[u8]| -> Option<serde_json::Value> {
        let mut value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let fields = value.as_object_mut()?;
        fields.remove("pending_webhooks");
        fields.remove("account");
        Some(value)
    };
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::InputSource;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }
    fn account() -> Scope {
        Scope(Some(AccountId::parse("acct_9").unwrap()))
    }

    #[test]
    fn an_event_listed_for_an_account_has_the_dedup_key_and_the_object_of_its_delivery() {
        let delivered = br#"{
            "id": "evt_1", "object": "event", "account": "acct_9", "pending_webhooks": 1,
            "type": "charge.succeeded", "created": 1747044000, "livemode": false,
            "data": {"object": {"id": "ch_1", "object": "charge", "amount": 9007199254740993}}}"#;
        let listed = raw(
            r#"{"id":"evt_1","object":"event","pending_webhooks":0,"type":"charge.succeeded","created":1747044000,"livemode":false,"data":{"object":{"id":"ch_1","object":"charge","amount":9007199254740993}}}"#,
        );
        let body = event_body(&account(), &listed).unwrap();
        let settings = Settings::default();
        let source = |body: &[u8]| route(body, &settings, Timestamp(0)).source;
        assert_eq!(source(&body), source(delivered));
        let InputSource::Event(scope, _) = source(&body) else {
            panic!("no event");
        };
        assert_eq!(scope, account());
        assert!(is_same_event(&body, delivered));
        assert!(!is_same_event(
            &body,
            br#"{"id":"evt_1","object":"event","data":{}}"#
        ));
        // What names its account already is not named twice.
        let twice = event_body(&account(), &raw(std::str::from_utf8(&body).unwrap())).unwrap();
        assert_eq!(twice, body);
        let own = event_body(&Scope::PLATFORM, &listed).unwrap();
        assert_eq!(own, listed.get().as_bytes());
    }

    #[test]
    fn a_listed_object_goes_where_its_events_go_and_waits_for_what_they_wait_for() {
        let settings = Settings::default();
        for (kind, object) in [
            (
                Listed::Customer,
                r#"{"id":"cus_1","object":"customer","created":5}"#,
            ),
            (
                Listed::Subscription,
                r#"{"id":"sub_1","object":"subscription","customer":"cus_1","status":"active"}"#,
            ),
            (
                Listed::Refund,
                r#"{"id":"re_1","object":"refund","payment_intent":"pi_1","charge":"ch_1","amount":5,"currency":"usd"}"#,
            ),
        ] {
            let found = read_found(kind, &account(), &raw(object), 9, &settings).unwrap();
            let event = format!(
                r#"{{"id":"evt_2","object":"event","account":"acct_9","type":"{}","created":9,"livemode":false,"data":{{"object":{object}}}}}"#,
                kind.event_type()
            );
            let routed = route(event.as_bytes(), &settings, Timestamp(0));
            let Fate::Pending { to, park } = routed.fate else {
                panic!("{kind:?}");
            };
            assert_eq!((found.to, found.park), (to, park), "{kind:?}");
            assert_eq!(found.subject, routed.subject);
            assert_eq!(found.answer.json(), Some(object));
        }
    }

    #[test]
    fn every_kind_has_an_address_and_a_session_tells_nothing_before_it_ends() {
        let settings = Settings::default();
        for kind in Listed::ALL {
            assert!(crate::route::is_handled(kind.event_type()), "{kind:?}");
            assert!(kind.path().starts_with("/v1/") && kind.path().contains("limit=100"));
        }
        let session = |status: &str| {
            let text = format!(
                r#"{{"id":"cs_test_1","object":"checkout.session","mode":"payment","payment_status":"unpaid","expires_at":7,"status":"{status}"}}"#
            );
            read_found(Listed::Session, &Scope::PLATFORM, &raw(&text), 9, &settings).unwrap()
        };
        assert!(session("open").is_untold);
        assert!(!session("expired").is_untold);
        assert_eq!(session("open").answer.date, 9);
        assert_eq!(
            session("expired").answer.date,
            7,
            "it ended then at the latest"
        );
        let odd = read_found(
            Listed::Charge,
            &account(),
            &raw(r#"{"object":"charge"}"#),
            9,
            &settings,
        );
        assert!(odd.unwrap_err().contains("`id`"));
    }

    #[test]
    fn a_page_says_where_the_next_one_starts() {
        let page =
            read_page(br#"{"object":"list","has_more":true,"data":[{"id":"a"},{"id":"b"}]}"#);
        let page = page.unwrap();
        assert_eq!(
            (page.items.len(), page.last.as_deref(), page.has_more),
            (2, Some("b"), true)
        );
        // Says there is more and shows nothing: going on would ask for the same for ever.
        assert!(
            !read_page(br#"{"has_more":true,"data":[]}"#)
                .unwrap()
                .has_more
        );
        assert!(read_page(br#"{"error":{}}"#).is_err());
        assert!(read_page(br#"{"has_more":false,"data":[{}]}"#).is_err());
    }
}
