//! Invoices: what a change would cost, and closing a draft.
//!
//! Invariants: a preview asks for exactly what [`super::subscriptions::change`] would do.
//! Source: Stripe API reference, "Invoices", "Create a preview invoice", "Finalize".

use super::ProrationBehavior;
use super::draft::{Draft, path};
use bursar_domain::ids::{InvoiceId, ObjectId, PriceId, Scope, SubscriptionId};
use bursar_domain::stripe_call::{Operation, StripeCall};

/// A change of one item that is only looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePreview {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// `si_…`: which item of it.
    pub item: ObjectId,
    /// The new price; the present one if none.
    pub price: Option<PriceId>,
    /// The new quantity; the present one if none.
    pub quantity: Option<u64>,
    /// How the rest of the period would be settled.
    pub proration: Option<ProrationBehavior>,
    /// As of when, Unix seconds.
    pub proration_date_seconds: Option<i64>,
}

/// `POST /v1/invoices/create_preview`. Nothing is made, so there is no metadata.
pub fn preview(order: &ChangePreview) -> StripeCall {
    let path = "/v1/invoices/create_preview";
    let (item, details) = ("subscription_details[items][0]", "subscription_details");
    Draft::post(Operation::InvoicePreview, &Scope::PLATFORM, path)
        .set("subscription", &order.subscription)
        .set(format!("{item}[id]"), &order.item)
        .set_some(&format!("{item}[price]"), order.price.as_ref())
        .set_some(&format!("{item}[quantity]"), order.quantity)
        .set_some(
            &format!("{details}[proration_behavior]"),
            order.proration.map(ProrationBehavior::as_str),
        )
        .set_some(
            &format!("{details}[proration_date]"),
            order.proration_date_seconds,
        )
        .done()
}

/// `POST /v1/invoices/{invoice}/finalize`: a draft becomes open, and gets its payment intent. It takes no metadata.
pub fn finalize(invoice: &InvoiceId) -> StripeCall {
    let path = path("/v1/invoices", invoice.as_str(), "/finalize");
    Draft::post(Operation::InvoiceFinalize, &Scope::PLATFORM, path).done()
}
