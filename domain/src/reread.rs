//! Re-reads: asking Stripe's API for an object when events do not tell.
//!
//! Invariants: a re-read is a GET and changes nothing at Stripe; its answer comes back as an input
//! of the aggregate that asked and counts as a snapshot at the answer's `Date`.

use crate::aggregate::AggregateKey;
use crate::ids::{
    AccountId, BalanceTransactionId, ChargeId, CustomerId, DisputeId, InvoiceId, PaymentIntentId,
    RefundId, Scope, SessionId, SubscriptionId, Timestamp,
};
use crate::route::month_of;
use crate::rows::Subject;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "object", content = "id", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RereadTarget {
    Subscription(SubscriptionId),
    Invoice(InvoiceId),
    PaymentIntent(PaymentIntentId),
    Charge(ChargeId),
    Refund(RefundId),
    Dispute(DisputeId),
    Session(SessionId),
    SessionLineItems(SessionId),
    Customer(CustomerId),
    Account(AccountId),
    /// What a charge or refund cost: its fee.
    BalanceTransaction(BalanceTransactionId),
    /// The payments of an invoice: the only link from one to the other since basil.
    InvoicePayments(InvoiceId),
    /// Whatever tells whether a command took effect: path and query.
    Lookup {
        /// Starts with `/v1/`; ids in it are escaped.
        path: String,
    },
}

impl RereadTarget {
    /// The id of the object read, or of the one whose parts are.
    pub fn id(&self) -> &str {
        match self {
            Self::Subscription(id) => id.as_str(),
            Self::Invoice(id) | Self::InvoicePayments(id) => id.as_str(),
            Self::PaymentIntent(id) => id.as_str(),
            Self::Charge(id) => id.as_str(),
            Self::Refund(id) => id.as_str(),
            Self::Dispute(id) => id.as_str(),
            Self::Session(id) | Self::SessionLineItems(id) => id.as_str(),
            Self::Customer(id) => id.as_str(),
            Self::Account(id) => id.as_str(),
            Self::BalanceTransaction(id) => id.as_str(),
            Self::Lookup { .. } => "",
        }
    }
}

/// An id as a path or query holds it: what is not plain ASCII of names is percent-encoded.
pub(crate) fn escaped(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// One GET at Stripe, on an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reread {
    /// The account the object lives on (header `Stripe-Account`).
    pub scope: Scope,
    /// What to read.
    pub target: RereadTarget,
}

impl Reread {
    /// Path and query of the GET. Ids hold no `/`, `?` or `#`; the rest of ASCII is escaped where
    /// a query needs it.
    pub fn path(&self) -> String {
        match &self.target {
            RereadTarget::Subscription(id) => format!("/v1/subscriptions/{}", escaped(id.as_str())),
            RereadTarget::Invoice(id) => format!("/v1/invoices/{}", escaped(id.as_str())),
            RereadTarget::PaymentIntent(id) => {
                format!("/v1/payment_intents/{}", escaped(id.as_str()))
            }
            // With its refunds, which a charge no longer carries unasked since 2022-11-15, and with
            // its fee.
            RereadTarget::Charge(id) => format!(
                "/v1/charges/{}?expand%5B%5D=refunds&expand%5B%5D=balance_transaction",
                escaped(id.as_str())
            ),
            RereadTarget::Refund(id) => format!("/v1/refunds/{}", escaped(id.as_str())),
            RereadTarget::Dispute(id) => format!("/v1/disputes/{}", escaped(id.as_str())),
            RereadTarget::Session(id) => format!("/v1/checkout/sessions/{}", escaped(id.as_str())),
            RereadTarget::SessionLineItems(id) => format!(
                "/v1/checkout/sessions/{}/line_items?limit=100",
                escaped(id.as_str())
            ),
            RereadTarget::Customer(id) => format!("/v1/customers/{}", escaped(id.as_str())),
            RereadTarget::Account(id) => format!("/v1/accounts/{}", escaped(id.as_str())),
            RereadTarget::BalanceTransaction(id) => {
                format!("/v1/balance_transactions/{}", escaped(id.as_str()))
            }
            RereadTarget::Lookup { path } => path.clone(),
            RereadTarget::InvoicePayments(id) => {
                format!(
                    "/v1/invoice_payments?limit=100&invoice={}",
                    escaped(id.as_str())
                )
            }
        }
    }
}

/// The answer, as the input's body: `{"target":…,"status":200,"date":1747044000,"body":{…}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    pub target: RereadTarget,
    /// 200, or 404 when Stripe knows no such object.
    pub status: u16,
    /// The answer's `Date`, unix seconds.
    pub date: i64,
    /// Stripe's object, unread.
    #[serde(default, deserialize_with = "any_json")]
    pub body: Option<Box<RawValue>>,
}

/// Reads a body by way of a value: an answer that travels inside a tagged message is buffered on
/// its way, and a raw value cannot be read from a buffer.
pub(crate) fn any_json<'de, D: Deserializer<'de>>(
    reader: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(reader)?;
    let raw = value.map(|value| RawValue::from_string(value.to_string()));
    raw.transpose().map_err(serde::de::Error::custom)
}

impl Answer {
    /// When Stripe said it.
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_seconds(self.date)
    }
    /// The text of the object, if Stripe had it.
    pub fn json(&self) -> Option<&str> {
        if self.status != 200 {
            return None;
        }
        self.body.as_ref().map(|body| body.get())
    }
    /// The objects of a Stripe list (`{"data": […]}`), unread; `None` if it is no list.
    pub fn list(&self) -> Option<Vec<Box<RawValue>>> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Box<RawValue>>,
        }
        serde_json::from_str::<List>(self.json()?)
            .ok()
            .map(|list| list.data)
    }
}
impl Answer {
    /// Under whose key it is sealed on its way to `to`; `None` without an object.
    pub(crate) fn subject(&self, to: &AggregateKey) -> Option<Subject> {
        let object = serde_json::from_str(self.json()?).unwrap_or(Value::Null);
        let scope = to.scope().unwrap_or(&Scope::PLATFORM);
        Some(subject_of(scope, &object, self.at()))
    }
}

/// Under whose key an object read at Stripe is sealed: its customer's, else a guest's session's, else its account's,
/// else the month's.
pub fn subject_of(scope: &Scope, object: &Value, at: Timestamp) -> Subject {
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    let is_a = |kind: &str| text("object") == Some(kind);
    let customer = if is_a("customer") {
        text("id")
    } else {
        text("customer").or_else(|| object.get("customer")?.get("id")?.as_str())
    };
    if let Some(customer) = customer {
        return Subject(format!("customer:{}/{customer}", scope.as_str()));
    }
    if let Some(session) = text("id").filter(|_| is_a("checkout.session")) {
        return Subject(format!("session:{}/{session}", scope.as_str()));
    }
    if let Some(account) = text("id").filter(|_| is_a("account")) {
        return Subject(format!("account:{account}"));
    }
    match &scope.0 {
        Some(account) => Subject(format!("account:{account}")),
        None => month_of(at),
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        (&self.target, self.status, self.date, self.json())
            == (&other.target, other.status, other.date, other.json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use serde_json::json;

    #[test]
    fn an_answer_survives_being_passed_on_in_a_message() {
        let answer = Answer {
            target: RereadTarget::Charge(ChargeId::parse("ch_1").unwrap()),
            status: 200,
            date: 1_747_044_000,
            body: RawValue::from_string(r#"{"id":"ch_1","amount":9007199254740992}"#.into()).ok(),
        };
        let sent = serde_json::to_vec(&Message::Answer(answer.clone())).unwrap();
        let Message::Answer(got) = serde_json::from_slice(&sent).unwrap() else {
            panic!("another message");
        };
        let value = |answer: &Answer| -> serde_json::Value {
            serde_json::from_str(answer.json().unwrap()).unwrap()
        };
        assert_eq!(value(&got), value(&answer));
        assert_eq!(got.target, answer.target);
    }

    #[test]
    fn an_answer_is_sealed_under_its_customer_else_its_session_or_account_else_the_month() {
        let account_scope = || Scope(AccountId::parse("acct_9").ok());
        let account = account_scope();
        let now = Timestamp(1_700_000_000_000);
        for (scope, object, expected) in [
            (
                Scope::PLATFORM,
                json!({"object": "customer", "id": "cus_1"}),
                "customer:/cus_1",
            ),
            (
                Scope::PLATFORM,
                json!({"id": "sub_1", "customer": "cus_2"}),
                "customer:/cus_2",
            ),
            (
                account.clone(),
                json!({"id": "sub_1", "customer": {"id": "cus_3"}}),
                "customer:acct_9/cus_3",
            ),
            (
                account,
                json!({"id": "ch_1", "customer": null}),
                "account:acct_9",
            ),
            (
                Scope::PLATFORM,
                json!({"object": "account", "id": "acct_1"}),
                "account:acct_1",
            ),
            (
                account_scope(),
                json!({"object": "checkout.session", "id": "cs_1", "customer": null}),
                "session:acct_9/cs_1",
            ),
            (Scope::PLATFORM, json!({"error": {}}), "month:2023-11"),
        ] {
            assert_eq!(subject_of(&scope, &object, now).0, expected);
        }
    }

    #[test]
    fn an_answer_that_is_passed_on_is_sealed_where_it_names_somebody() {
        let to = AggregateKey::Session(Scope::PLATFORM, SessionId::parse("cs_1").unwrap());
        let target = RereadTarget::Session(SessionId::parse("cs_1").unwrap());
        let subject = |status: u16, body: Value| {
            let answer = Answer {
                target: target.clone(),
                status,
                date: 1_700_000_000,
                body: RawValue::from_string(body.to_string()).ok(),
            };
            let subject = Message::Answer(answer).subject(&to);
            subject.map(|subject| subject.0)
        };
        let session = |customer: Value| json!({"object": "checkout.session", "id": "cs_1", "customer": customer});
        let named = subject(200, session(json!("cus_1")));
        assert_eq!(named.as_deref(), Some("customer:/cus_1"));
        let guest = subject(200, session(Value::Null));
        assert_eq!(guest.as_deref(), Some("session:/cs_1"));
        assert_eq!(subject(404, json!({"error": {}})), None);
    }
}
