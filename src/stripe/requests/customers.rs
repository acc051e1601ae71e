//! Customers and the portal they look after themselves in.
//!
//! Invariants: a customer we make names its tenant; an empty text unsets a field at Stripe, so it is only sent when a
//! change asks for that.
//! Source: Stripe API reference, "Customers", "Customer Portal".

use super::draft::{Draft, path};
use bursar_domain::ids::{CommandId, CustomerId, Scope, TenantId};
use bursar_domain::stripe_call::{Operation, StripeCall};
use std::collections::BTreeMap;

/// A customer for a tenant that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCustomer {
    /// Whose.
    pub tenant: TenantId,
    /// Shown on invoices.
    pub name: Option<String>,
    /// Where Stripe writes to.
    pub email: Option<String>,
}

/// `POST /v1/customers`.
pub fn create(order: &NewCustomer, command: &CommandId) -> StripeCall {
    Draft::post(Operation::CustomerCreate, &Scope::PLATFORM, "/v1/customers")
        .set_some("name", order.name.as_deref())
        .set_some("email", order.email.as_deref())
        .set("metadata[tenant_id]", &order.tenant)
        .command(command)
        .done()
}

/// What changes of a customer. `Some` of an empty text unsets the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerChange {
    /// Which.
    pub customer: CustomerId,
    /// The new name.
    pub name: Option<String>,
    /// The new address.
    pub email: Option<String>,
    /// Keys set, or taken away (`None`).
    pub metadata: BTreeMap<String, Option<String>>,
}

/// `POST /v1/customers/{customer}`. `tenant_id` and `command_id` are ours, and Stripe has no keys with square brackets:
/// changes of those stay with us, so that one key does not hold up the others.
pub fn update(order: &CustomerChange, command: &CommandId) -> StripeCall {
    let path = path("/v1/customers", order.customer.as_str(), "");
    let mut draft = Draft::post(Operation::CustomerUpdate, &Scope::PLATFORM, path)
        .set_some("name", order.name.as_deref())
        .set_some("email", order.email.as_deref());
    let mut set = 0;
    for (key, value) in &order.metadata {
        set += usize::from(value.is_some());
        if is_pushed(key) && (value.is_none() || set <= NOTES_MAX) {
            let value = value.as_deref().unwrap_or_default();
            draft = draft.set(format!("metadata[{key}]"), value);
        }
    }
    draft.command(command).done()
}

/// Notes of a tenant that fit beside our two: Stripe takes 50.
const NOTES_MAX: usize = 48;

fn is_pushed(key: &str) -> bool {
    !matches!(key, "tenant_id" | "command_id") && !key.contains(['[', ']'])
}

/// A new customer with the tenant's notes.
pub fn with_notes(mut call: StripeCall, notes: &BTreeMap<String, String>) -> StripeCall {
    let pushed = notes.iter().filter(|(key, _)| is_pushed(key));
    let params = pushed
        .take(NOTES_MAX)
        .map(|(key, value)| (format!("metadata[{key}]"), value.clone()));
    call.params.extend(params);
    call
}

/// A visit to the customer portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalVisit {
    /// Who.
    pub customer: CustomerId,
    /// Where the way back leads to; Stripe's dashboard setting if none.
    pub return_url: Option<String>,
}

/// `POST /v1/billing_portal/sessions`. A portal session takes no metadata.
pub fn portal(order: &PortalVisit) -> StripeCall {
    let path = "/v1/billing_portal/sessions";
    Draft::post(Operation::PortalCreate, &Scope::PLATFORM, path)
        .set("customer", &order.customer)
        .set_some("return_url", order.return_url.as_deref())
        .done()
}
