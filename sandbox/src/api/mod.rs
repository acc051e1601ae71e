//! What each operation of the API does to the world.
//!
//! Invariants: parameters arrive checked against the table; an operation without a handler is
//! refused like an unknown URL, never answered with made-up data.
//! Not here: HTTP, keys, idempotency, faults (`server`), time passing by itself (`billing::due`).
//! Failure: `ApiError` in Stripe's shape.
//! Source of outside rules: Stripe API reference, the sections named in each module.

pub(crate) mod catalog;
pub(crate) mod charges;
pub(crate) mod checkout;
pub(crate) mod connect;
pub(crate) mod customers;
pub(crate) mod disputes;
pub(crate) mod fields;
pub(crate) mod intents;
pub(crate) mod invoices;
pub(crate) mod payment_links;
pub(crate) mod payment_methods;
pub(crate) mod platform;
pub(crate) mod purchase;
pub(crate) mod refunds;
pub(crate) mod subscriptions;
mod unsupported;

use crate::error::ApiError;
use crate::lists;
use crate::world::World;
use serde_json::Value;

/// Runs one operation of the table.
///
/// # Errors
/// Whatever Stripe would refuse, in its shape.
pub(crate) fn run(
    w: &mut World,
    operation: &str,
    ids: &[String],
    p: &Value,
) -> Result<Value, ApiError> {
    let id = ids.first().map_or("", String::as_str);
    let second = ids.get(1).map_or("", String::as_str);
    let Some((method, path)) = operation.split_once(' ') else {
        return Err(ApiError::unrecognized_url("", operation));
    };
    let path = path.strip_prefix("/v1/").unwrap_or(path);
    unsupported::refuse(method, path, p)?;
    match (method, path) {
        ("POST", "products") => catalog::create_product(w, p),
        ("POST", "products/{id}") => catalog::update_product(w, id, p),
        ("DELETE", "products/{id}") => catalog::delete_product(w, id),
        ("POST", "prices") => catalog::create_price(w, p),
        ("POST", "prices/{price}") => catalog::update_price(w, id, p),
        ("GET", "prices") => catalog::list_prices(w, p),
        ("POST", "coupons") => catalog::create_coupon(w, p),
        ("POST", "coupons/{coupon}") => catalog::update_coupon(w, id, p),
        ("DELETE", "coupons/{coupon}") => catalog::delete_coupon(w, id),
        ("POST", "promotion_codes/{promotion_code}") => catalog::update_promotion_code(w, id, p),
        ("POST", "payouts/{payout}") => platform::update_payout(w, id, p),
        ("POST", "promotion_codes") => catalog::create_promotion_code(w, p),
        ("POST", "customers") => customers::create(w, p),
        ("GET", "customers/{customer}") => customers::retrieve(w, id),
        ("POST", "customers/{customer}") => customers::update(w, id, p),
        ("DELETE", "customers/{customer}") => customers::delete(w, id),
        ("GET", "customers/{customer}/payment_methods") => payment_methods::list_of(w, id, p),
        ("POST", "payment_methods") => payment_methods::create(w, p),
        ("GET", "payment_methods") => {
            payment_methods::list_of(w, p["customer"].as_str().unwrap_or(""), p)
        }
        ("POST", "payment_methods/{payment_method}") => payment_methods::update(w, id, p),
        ("POST", "payment_methods/{payment_method}/attach") => {
            payment_methods::attach_request(w, id, p)
        }
        ("POST", "payment_methods/{payment_method}/detach") => payment_methods::detach(w, id),
        ("POST", "payment_intents") => intents::create(w, p),
        ("POST", "payment_intents/{intent}") => intents::update(w, id, p),
        ("POST", "payment_intents/{intent}/confirm") => intents::confirm_request(w, id, p),
        ("POST", "payment_intents/{intent}/capture") => intents::capture(w, id, p),
        ("POST", "payment_intents/{intent}/cancel") => intents::cancel_request(w, id, p),
        ("POST", "charges/{charge}") => charges::update(w, id, p),
        ("POST", "charges/{charge}/capture") => charges::capture(w, id, p),
        ("POST", "refunds") => refunds::create(w, p),
        ("POST", "refunds/{refund}") => refunds::update(w, id, p),
        ("POST", "disputes/{dispute}") => disputes::update(w, id, p),
        ("POST", "disputes/{dispute}/close") => disputes::close(w, id),
        ("POST", "invoiceitems") => invoices::create_item(w, p),
        ("POST", "invoiceitems/{invoiceitem}") => invoices::update_item(w, id, p),
        ("DELETE", "invoiceitems/{invoiceitem}") => invoices::delete_item(w, id),
        ("POST", "invoices") => invoices::create(w, p),
        ("POST", "invoices/create_preview") => invoices::preview(w, p),
        ("POST", "invoices/{invoice}") => invoices::update(w, id, p),
        ("DELETE", "invoices/{invoice}") => invoices::delete(w, id),
        ("POST", "invoices/{invoice}/finalize") => invoices::finalize_request(w, id),
        ("POST", "invoices/{invoice}/pay") => invoices::pay(w, id, p),
        ("POST", "invoices/{invoice}/void") => invoices::void(w, id),
        ("POST", "invoices/{invoice}/mark_uncollectible") => invoices::mark_uncollectible(w, id),
        ("POST", "invoices/{invoice}/send") => invoices::send(w, id),
        ("GET", "invoices/{invoice}/lines") => invoices::lines(w, id, p),
        ("GET", "invoice_payments") => invoices::list_payments(w, p),
        ("POST", "subscriptions") => subscriptions::create(w, p),
        ("POST", "subscriptions/{subscription_exposed_id}") => subscriptions::update(w, id, p),
        ("DELETE", "subscriptions/{subscription_exposed_id}") => {
            subscriptions::cancel_request(w, id, p)
        }
        ("POST", "subscriptions/{subscription}/resume") => subscriptions::resume(w, id),
        ("GET", "subscriptions") => subscriptions::list(w, p),
        ("GET", "subscription_items") => subscriptions::list_items(w, p),
        ("GET", "subscription_items/{item}") => subscriptions::item(w, id),
        ("POST", "checkout/sessions") => checkout::create(w, p),
        ("POST", "checkout/sessions/{session}") => checkout::update(w, id, p),
        ("POST", "checkout/sessions/{session}/expire") => checkout::expire_request(w, id),
        ("GET", "checkout/sessions/{session}/line_items") => checkout::line_items(w, id, p),
        ("GET", "checkout/sessions") => checkout::list(w, p),
        ("GET", "payment_pages/{session}") => checkout::page(w, id),
        ("POST", "payment_pages/{session}/confirm") => checkout::confirm_page(w, id, p),
        ("POST", "billing_portal/sessions") => platform::create_portal_session(w, p),
        ("POST", "payment_links") => payment_links::create(w, p),
        ("POST", "payment_links/{payment_link}") => payment_links::update(w, id, p),
        ("GET", "payment_links/{payment_link}/line_items") => payment_links::line_items(w, id, p),
        ("GET", "account") => w.within(&w.platform.clone(), |w| {
            w.need("account", &w_account(w), "account")
        }),
        ("POST", "accounts") => connect::create(w, p),
        ("GET", "accounts/{account}") => connect::retrieve(w, id),
        ("POST", "accounts/{account}") => connect::update(w, id, p),
        ("DELETE", "accounts/{account}") => connect::delete(w, id),
        ("GET", "accounts/{account}/capabilities") => connect::capabilities(w, id),
        ("POST", "account_links") => connect::account_link(w, p),
        ("POST", "accounts/{account}/login_links") => connect::login_link(w, id),
        ("GET", "balance") => Ok(platform::balance(w)),
        ("GET", "events") => platform::list_events(w, p),
        ("GET", "events/{id}") => platform::event(w, id),
        ("POST", "webhook_endpoints") => platform::create_endpoint(w, p),
        ("POST", "webhook_endpoints/{webhook_endpoint}") => platform::update_endpoint(w, id, p),
        ("DELETE", "webhook_endpoints/{webhook_endpoint}") => platform::delete_endpoint(w, id),
        ("POST", "payouts") => platform::create_payout(w, p),
        ("POST", "reviews/{review}/approve") => disputes::approve_review(w, id),
        ("POST", "test_helpers/test_clocks") => platform::create_test_clock(w, p),
        ("POST", "test_helpers/test_clocks/{test_clock}/advance") => {
            platform::advance_test_clock(w, id, p)
        }
        ("GET", _) => lists::generic(w, path, id, second, p),
        _ => Err(ApiError::unrecognized_url(method, &format!("/v1/{path}"))),
    }
}

fn w_account(w: &World) -> String {
    w.account.clone()
}
