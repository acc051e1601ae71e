//! Where to look whether a command took effect, and what counts as its mark.
//!
//! Everything Stripe lets us mark carries `metadata[command_id]`; what it does not is told by the state of the object
//! the order was about. Presence counts whenever it is seen; absence only in reads made long enough after the last
//! attempt (`mod`).
//! Source: Stripe API reference, "Metadata", "List all refunds", "Retrieve a PaymentIntent", "The subscription object".

use super::order::CommandOrder;
use crate::aggregate::AggregateKey;
use crate::ids::{
    AccountId, ChargeId, CommandId, CustomerId, DisputeId, InvoiceId, PaymentId, PaymentIntentId,
    RefundId, Scope, SessionId, SubscriptionId, Timestamp,
};
use crate::link::LinkKey;
use crate::reread::{Answer, RereadTarget, escaped};
use crate::stripe_call::{Operation, StripeCall};
use serde_json::Value;

/// Clocks of ours and Stripe's may differ by this much, in seconds.
const SKEW_SECONDS: i64 = 300;

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It took effect; the object it made or changed, as it is now.
    Yes(Value),
    /// Not (yet).
    No,
    /// Not on this page; the list goes on after this object.
    More(String),
    /// The object it was about does not exist.
    Gone,
}

/// The id at the end of `/v1/things/{id}` or before a verb: `/v1/things/{id}/verb`.
fn subject_id(path: &str) -> &str {
    path.split('/').nth(3).unwrap_or_default()
}

/// The GET that tells whether a call took effect; `None`: nothing tells (its objects cost nothing).
pub(super) fn lookup_path(order: &CommandOrder, begun_at: Timestamp) -> Option<String> {
    let call = &order.call;
    let since = begun_at.seconds().saturating_sub(SKEW_SECONDS);
    let id = subject_id(&call.path);
    Some(match call.operation {
        Operation::RefundCreate => {
            let of = ["payment_intent", "charge"];
            let (name, id) = of.iter().find_map(|name| Some((name, call.param(name)?)))?;
            format!("/v1/refunds?limit=100&{name}={}", escaped(id))
        }
        Operation::CustomerCreate => {
            format!("/v1/customers?limit=100&created%5Bgte%5D={since}")
        }
        Operation::AccountCreate => format!("/v1/accounts?limit=100&created%5Bgte%5D={since}"),
        Operation::PaymentCapture | Operation::PaymentCancel => {
            format!("/v1/payment_intents/{id}")
        }
        Operation::SubscriptionUpdate
        | Operation::SubscriptionCancel
        | Operation::SubscriptionResume => format!("/v1/subscriptions/{id}"),
        Operation::InvoiceFinalize => format!("/v1/invoices/{id}"),
        Operation::CustomerUpdate => format!("/v1/customers/{id}"),
        Operation::DisputeUpdate => format!("/v1/disputes/{id}"),
        Operation::CheckoutCreate => {
            format!("/v1/checkout/sessions?limit=100&created%5Bgte%5D={since}")
        }
        Operation::PortalCreate
        | Operation::InvoicePreview
        | Operation::AccountLinkCreate
        | Operation::LoginLinkCreate => return None,
    })
}

/// Reads what a look brought.
pub(super) fn found(order: &CommandOrder, command: &CommandId, answer: &Answer) -> Found {
    let Some(json) = answer.json() else {
        return Found::Gone;
    };
    let Ok(object) = serde_json::from_str::<Value>(json) else {
        return Found::No;
    };
    let is_ours = |object: &Value| object["metadata"]["command_id"] == command.as_str();
    if let Some(list) = object["data"].as_array() {
        let mine = list.iter().find(|object| is_ours(object));
        let last = list.last().and_then(|object| object["id"].as_str());
        return match (mine, last) {
            (Some(object), _) => Found::Yes(object.clone()),
            (None, Some(last)) if object["has_more"] == true => Found::More(last.to_owned()),
            (None, _) => Found::No,
        };
    }
    let status = object["status"].as_str().unwrap_or_default();
    let is_done = match order.call.operation {
        Operation::PaymentCapture => status == "succeeded",
        Operation::PaymentCancel | Operation::SubscriptionCancel => status == "canceled",
        Operation::SubscriptionResume => status != "paused",
        Operation::InvoiceFinalize => status != "draft",
        Operation::SubscriptionUpdate | Operation::CustomerUpdate => {
            is_ours(&object) || is_as_ordered(&order.call, &object)
        }
        Operation::DisputeUpdate => is_ours(&object),
        _ => is_ours(&object),
    };
    if is_done {
        Found::Yes(object)
    } else {
        Found::No
    }
}

/// Whether a subscription or customer reads as a call would have left it, in everything a call can say about it and
/// the object shows.
fn is_as_ordered(call: &StripeCall, object: &Value) -> bool {
    let changed = |items: &Value| {
        let named = call.param("items[0][id]");
        let mut all = items.as_array().into_iter().flatten();
        let found = all.find(|item| named.is_none_or(|id| item["id"] == id));
        found.cloned().unwrap_or_default()
    };
    let item = changed(&object["items"]["data"]);
    let pending = changed(&object["pending_update"]["subscription_items"]);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut compared = 0;
    for (name, wanted) in &call.params {
        let shown = match name.as_str() {
            "items[0][price]" => [&item["price"]["id"], &pending["price"]["id"]],
            "items[0][quantity]" => [&item["quantity"], &pending["quantity"]],
            "cancel_at_period_end" | "email" | "name" => [&object[name.as_str()], &Value::Null],
            _ => continue,
        };
        compared += 1;
        if !shown.iter().any(|shown| text(shown) == *wanted) {
            return false;
        }
    }
    compared > 0
}

/// Whether an event of this type, made by a request under our key, proves that the call took effect.
pub(super) fn is_proof(operation: Operation, event_kind: &str) -> bool {
    let proofs: &[&str] = match operation {
        Operation::RefundCreate => &["refund.created", "refund.updated", "charge.refund.updated"],
        Operation::PaymentCapture => &["payment_intent.succeeded"],
        Operation::PaymentCancel => &["payment_intent.canceled"],
        Operation::SubscriptionUpdate => &[
            "customer.subscription.updated",
            "customer.subscription.pending_update_applied",
        ],
        Operation::SubscriptionCancel => &["customer.subscription.deleted"],
        Operation::SubscriptionResume => &[
            "customer.subscription.resumed",
            "customer.subscription.updated",
        ],
        Operation::CustomerCreate => &["customer.created"],
        Operation::CustomerUpdate => &["customer.updated"],
        Operation::InvoiceFinalize => &["invoice.finalized"],
        Operation::DisputeUpdate => &["charge.dispute.updated"],
        Operation::AccountCreate
        | Operation::CheckoutCreate
        | Operation::PortalCreate
        | Operation::InvoicePreview
        | Operation::AccountLinkCreate
        | Operation::LoginLinkCreate => &[],
    };
    proofs.contains(&event_kind)
}

/// Whose state the object of an answer is, and as what it is read there.
pub(super) fn owner_of(call: &StripeCall, object: &Value) -> Option<(AggregateKey, RereadTarget)> {
    let scope = call.scope.clone();
    let id = object["id"].as_str()?;
    Some(match call.operation {
        Operation::CheckoutCreate => {
            let id = SessionId::parse(id).ok()?;
            let target = RereadTarget::Session(id.clone());
            (AggregateKey::Session(scope, id), target)
        }
        Operation::CustomerCreate | Operation::CustomerUpdate => {
            let id = CustomerId::parse(id).ok()?;
            let target = RereadTarget::Customer(id.clone());
            (AggregateKey::Customer(scope, id), target)
        }
        Operation::SubscriptionUpdate
        | Operation::SubscriptionCancel
        | Operation::SubscriptionResume => {
            let id = SubscriptionId::parse(id).ok()?;
            let target = RereadTarget::Subscription(id.clone());
            (AggregateKey::Subscription(scope, id), target)
        }
        Operation::InvoiceFinalize => {
            let id = InvoiceId::parse(id).ok()?;
            let target = RereadTarget::Invoice(id.clone());
            (AggregateKey::Invoice(scope, id), target)
        }
        Operation::AccountCreate => {
            let id = AccountId::parse(id).ok()?;
            (
                AggregateKey::Merchant(id.clone()),
                RereadTarget::Account(id),
            )
        }
        Operation::PaymentCapture | Operation::PaymentCancel => {
            let id = PaymentIntentId::parse(id).ok()?;
            let key = AggregateKey::Payment(scope, (&id).into());
            (key, RereadTarget::PaymentIntent(id))
        }
        Operation::RefundCreate => {
            let target = RereadTarget::Refund(RefundId::parse(id).ok()?);
            (AggregateKey::Payment(scope, payment_of(object)?), target)
        }
        Operation::DisputeUpdate => {
            let target = RereadTarget::Dispute(DisputeId::parse(id).ok()?);
            (AggregateKey::Payment(scope, payment_of(object)?), target)
        }
        Operation::PortalCreate
        | Operation::InvoicePreview
        | Operation::AccountLinkCreate
        | Operation::LoginLinkCreate => return None,
    })
}

/// The payment a refund or dispute belongs to.
fn payment_of(object: &Value) -> Option<PaymentId> {
    if let Some(intent) = object["payment_intent"].as_str() {
        return Some((&PaymentIntentId::parse(intent).ok()?).into());
    }
    Some((&ChargeId::parse(object["charge"].as_str()?).ok()?).into())
}

/// The payment an order is about, if it is about one: its timeline shows the order too.
pub(super) fn payment_about(order: &CommandOrder) -> Option<LinkKey> {
    let call = &order.call;
    let id = match call.operation {
        Operation::PaymentCapture | Operation::PaymentCancel => subject_id(&call.path),
        Operation::RefundCreate => call
            .param("payment_intent")
            .or_else(|| call.param("charge"))?,
        // The call names the dispute alone; whoever ordered it knew the payment.
        Operation::DisputeUpdate => order
            .objects
            .iter()
            .find(|id| id.starts_with("pi_") || id.starts_with("ch_"))?,
        _ => return None,
    };
    let id = PaymentId::parse(id).ok()?;
    Some(LinkKey::Payment(call.scope.clone(), id))
}

/// Where a created object of this call lives, for claims.
pub(super) fn claimed(call: &StripeCall, object_id: &str) -> Option<AggregateKey> {
    match call.operation {
        Operation::CustomerCreate => {
            let id = CustomerId::parse(object_id).ok()?;
            Some(AggregateKey::Customer(call.scope.clone(), id))
        }
        Operation::AccountCreate if call.scope == Scope::PLATFORM => {
            Some(AggregateKey::Merchant(AccountId::parse(object_id).ok()?))
        }
        _ => None,
    }
}
