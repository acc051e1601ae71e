//! Accounts of merchants: opening one, and the pages Stripe serves for it.
//!
//! Invariants: every call is the platform's own, the account is a parameter or part of the path.
//! Source: Stripe API reference, "Accounts", "Account Links", "Login Links".

use super::draft::{Draft, path};
use bursar_domain::ids::{AccountId, CommandId, Scope, TenantId};
use bursar_domain::stripe_call::{Operation, StripeCall};

/// An Express account for a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Whose.
    pub tenant: TenantId,
    /// Filled in for the merchant.
    pub email: Option<String>,
    /// Two letters; the platform's country if none. It cannot change later.
    pub country: Option<String>,
}

/// `POST /v1/accounts`.
pub fn account(order: &NewAccount, command: &CommandId) -> StripeCall {
    Draft::post(Operation::AccountCreate, &Scope::PLATFORM, "/v1/accounts")
        .set("type", "express")
        .set_some("country", order.country.as_deref())
        .set_some("email", order.email.as_deref())
        .set("capabilities[card_payments][requested]", true)
        .set("capabilities[transfers][requested]", true)
        .set("metadata[tenant_id]", &order.tenant)
        .command(command)
        .done()
}

/// A way into Stripe's onboarding form; good once, for minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onboarding {
    /// Which account.
    pub account: AccountId,
    /// Where a link that is spent leads to: it makes a new one.
    pub refresh_url: String,
    /// Where the way back leads to; it says nothing about completion.
    pub return_url: String,
}

/// `POST /v1/account_links`. A link takes no metadata.
pub fn account_link(order: &Onboarding) -> StripeCall {
    let path = "/v1/account_links";
    Draft::post(Operation::AccountLinkCreate, &Scope::PLATFORM, path)
        .set("account", &order.account)
        .set("type", "account_onboarding")
        .set("refresh_url", &order.refresh_url)
        .set("return_url", &order.return_url)
        .done()
}

/// `POST /v1/accounts/{account}/login_links`: a way into the Express dashboard. A link takes no metadata.
pub fn login_link(account: &AccountId) -> StripeCall {
    let path = path("/v1/accounts", account.as_str(), "/login_links");
    Draft::post(Operation::LoginLinkCreate, &Scope::PLATFORM, path).done()
}
