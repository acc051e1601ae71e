//! Changes of a subscription: plan, quantity, end.
//!
//! Invariants: an item is changed by its own id, so that no second item appears; a change that waits for its payment
//! carries nothing Stripe would not let wait.
//! Source: Stripe API reference, "Subscriptions"; Stripe documentation, "Pending updates reference", which lists what
//! may go along with `pending_if_incomplete` (`metadata` may not before 2026-05-27.dahlia).

use super::ProrationBehavior;
use super::draft::{Draft, path};
use bursar_domain::ids::{CommandId, ObjectId, PriceId, Scope, SubscriptionId};
use bursar_domain::stripe_call::{Operation, StripeCall};

const PATH: &str = "/v1/subscriptions";

/// What happens to a change whose invoice is not paid at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpaidChange {
    /// It waits as a pending update until it is paid, at most 23 hours. For every change that may cost money.
    Waits,
    /// It holds, and the subscription is past due. For changes that cost nothing now.
    Holds,
}

/// Another price or quantity for one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemChange {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// `si_…`: which item of it.
    pub item: ObjectId,
    /// The new price; the present one if none.
    pub price: Option<PriceId>,
    /// The new quantity; the present one if none.
    pub quantity: Option<u64>,
    /// How the rest of the period is settled; Stripe's default (on the next invoice) if none.
    pub proration: Option<ProrationBehavior>,
    /// As of when, Unix seconds: that of the preview, so that it costs what was shown.
    pub proration_date_seconds: Option<i64>,
    /// What an unpaid invoice does to it.
    pub unpaid: UnpaidChange,
}

/// `POST /v1/subscriptions/{id}` for another plan or quantity. A change that waits cannot carry our command's id; the
/// event's own `request.idempotency_key` names it then. The answer shows the invoice whole.
pub fn change(order: &ItemChange, command: &CommandId) -> StripeCall {
    let draft = update(&order.subscription)
        .set("items[0][id]", &order.item)
        .set_some("items[0][price]", order.price.as_ref())
        .set_some("items[0][quantity]", order.quantity)
        .set_some(
            "proration_behavior",
            order.proration.map(ProrationBehavior::as_str),
        )
        .set_some("proration_date", order.proration_date_seconds);
    let draft = match order.unpaid {
        UnpaidChange::Waits => draft.set("payment_behavior", "pending_if_incomplete"),
        UnpaidChange::Holds => draft
            .set("payment_behavior", "allow_incomplete")
            .command(command),
    };
    draft.set("expand[0]", "latest_invoice").done()
}

/// The end of a subscription with its period, ordered or called off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodEnd {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// Whether it ends then; `false` lets it go on.
    pub ends: bool,
    /// Why, in the caller's words.
    pub comment: Option<String>,
}

/// `POST /v1/subscriptions/{id}` with `cancel_at_period_end`.
pub fn at_period_end(order: &PeriodEnd, command: &CommandId) -> StripeCall {
    update(&order.subscription)
        .set("cancel_at_period_end", order.ends)
        .set_some("cancellation_details[comment]", order.comment.as_deref())
        .command(command)
        .done()
}

/// `POST /v1/subscriptions/{id}` without a `cancel_at`: an end on a date is called off.
pub fn no_end(subscription: &SubscriptionId, command: &CommandId) -> StripeCall {
    update(subscription)
        .set("cancel_at", "")
        .command(command)
        .done()
}

fn update(subscription: &SubscriptionId) -> Draft {
    let path = path(PATH, subscription.as_str(), "");
    Draft::post(Operation::SubscriptionUpdate, &Scope::PLATFORM, path)
}

/// The end of a subscription, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelNow {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// Bill what is still open.
    pub invoice_now: bool,
    /// Credit what was paid and not used.
    pub prorate: bool,
    /// Why, in the caller's words.
    pub comment: Option<String>,
}

/// `DELETE /v1/subscriptions/{id}`. It takes no metadata and knows no idempotency key; asked twice, Stripe answers 404.
pub fn cancel_now(order: &CancelNow) -> StripeCall {
    let path = path(PATH, order.subscription.as_str(), "");
    Draft::delete(Operation::SubscriptionCancel, &Scope::PLATFORM, path)
        .set("invoice_now", order.invoice_now)
        .set("prorate", order.prorate)
        .set_some("cancellation_details[comment]", order.comment.as_deref())
        .done()
}

/// `POST /v1/subscriptions/{id}/resume`: a paused one goes on, with a new period from now. It takes no metadata.
pub fn resume(subscription: &SubscriptionId) -> StripeCall {
    let path = path(PATH, subscription.as_str(), "/resume");
    Draft::post(Operation::SubscriptionResume, &Scope::PLATFORM, path)
        .set("billing_cycle_anchor", "now")
        .done()
}
