//! Connected accounts: creation, onboarding, links.
//!
//! Invariants: the platform's books hold the account objects; a connected account's own events carry
//! its id.
//! Not here: acting as an account (the `Stripe-Account` header, `server`).
//! Failure: 403 `account_invalid` for accounts that are not ours.
//! Source of outside rules: Stripe API reference, "Accounts", "Account Links", "Login Links".

use super::fields;
use crate::error::ApiError;
use crate::lists::page_of;
use crate::world::{World, text};
use serde_json::{Value, json};

const DUE_AT_START: &[&str] = &[
    "business_profile.url",
    "external_account",
    "tos_acceptance.date",
    "tos_acceptance.ip",
];

/// Codes that ISO 3166-1 leaves to users: no country will ever have one.
const NO_COUNTRIES: &[&str] = &["AA", "XX", "ZZ"];

pub(crate) fn create(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    if w.account != w.platform {
        return Err(ApiError::refused(
            Some("platform_account_required"),
            "Only the platform can create accounts.",
        ));
    }
    let id = w.ids.id("acct", 16);
    let mut account = w.blank("account");
    account["id"] = json!(id);
    account["external_accounts"]["url"] = json!(format!("/v1/accounts/{id}/external_accounts"));
    account["type"] = json!(match (
        fields::given(p, "type"),
        p["controller"]["stripe_dashboard"]["type"].as_str()
    ) {
        (Some(kind), _) => kind,
        (None, Some("express")) => "express",
        (None, Some("none")) => "none",
        _ => "standard",
    });
    account["controller"]["type"] = json!("application");
    account["requirements"]["currently_due"] = json!(DUE_AT_START);
    account["requirements"]["eventually_due"] = json!(DUE_AT_START);
    account["requirements"]["past_due"] = json!(DUE_AT_START);
    account["requirements"]["disabled_reason"] = json!("requirements.past_due");
    apply(&mut account, p)?;
    w.open_account(&id);
    w.insert(account.clone());
    Ok(account)
}

fn apply(account: &mut Value, p: &Value) -> Result<(), ApiError> {
    fields::copy(
        account,
        p,
        &["email", "country", "business_type", "default_currency"],
    );
    fields::copy_hash(account, p, "business_profile");
    if let Some(code) = fields::given(p, "country").filter(|code| NO_COUNTRIES.contains(code)) {
        let message = format!(
            "Country '{code}' is unknown. Try using a 2-character alphanumeric country code instead, such as 'US', 'EG', or 'GB'. \
             A full list of country codes is available at https://stripe.com/global"
        );
        return Err(ApiError::invalid("country", None, &message));
    }
    for (name, wish) in p["capabilities"].as_object().into_iter().flatten() {
        if wish["requested"] == true && account["capabilities"][name].is_null() {
            account["capabilities"][name] = json!("inactive");
        }
    }
    if p["tos_acceptance"]["date"].is_i64() {
        account["tos_acceptance"]["date"] = p["tos_acceptance"]["date"].clone();
    }
    fields::metadata(account, p)
}

fn need(w: &World, id: &str) -> Result<Value, ApiError> {
    w.get("account", id)
        .cloned()
        .ok_or_else(|| ApiError::account_invalid(id))
}

pub(crate) fn retrieve(w: &World, id: &str) -> Result<Value, ApiError> {
    need(w, id)
}

/// Changes the account and tells it on the account's own books.
fn change(w: &mut World, id: &str, f: impl FnOnce(&mut Value)) -> Value {
    let platform = w.platform.clone();
    let (before, after) = w.within(&platform, |w| w.change(id, f));
    w.within(id, |w| w.tell_change("account.updated", &before, &after));
    after
}

pub(crate) fn update(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut account = need(w, id)?;
    apply(&mut account, p)?;
    Ok(change(w, id, |v| *v = account))
}

pub(crate) fn delete(w: &mut World, id: &str) -> Result<Value, ApiError> {
    need(w, id)?;
    w.remove(id);
    Ok(json!({"id": id, "object": "account", "deleted": true}))
}

/// The merchant went through onboarding: details in, then everything enabled.
pub(crate) fn onboarded(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let platform = w.platform.clone();
    w.within(&platform, |w| need(w, id))?;
    let now = w.now;
    change(w, id, |v| {
        v["details_submitted"] = json!(true);
        v["tos_acceptance"]["date"] = json!(now);
        for list in ["currently_due", "eventually_due", "past_due"] {
            v["requirements"][list] = json!([]);
        }
        v["requirements"]["pending_verification"] = json!(["company.tax_id"]);
        v["requirements"]["disabled_reason"] = json!("requirements.pending_verification");
    });
    let mut names = Vec::new();
    let after = change(w, id, |v| {
        v["charges_enabled"] = json!(true);
        v["payouts_enabled"] = json!(true);
        v["requirements"]["pending_verification"] = json!([]);
        v["requirements"]["disabled_reason"] = Value::Null;
        for (name, status) in v["capabilities"].as_object_mut().into_iter().flatten() {
            *status = json!("active");
            names.push(name.clone());
        }
    });
    for name in names {
        let capability = capability(w, &after, &name);
        w.within(id, |w| w.tell("capability.updated", &capability));
    }
    Ok(after)
}

fn capability(w: &World, account: &Value, name: &str) -> Value {
    let mut capability = w.blank("capability");
    capability["id"] = json!(name);
    capability["account"] = account["id"].clone();
    capability["status"] = account["capabilities"][name].clone();
    capability["requested_at"] = account["created"].clone();
    capability
}

pub(crate) fn capabilities(w: &World, id: &str) -> Result<Value, ApiError> {
    let account = need(w, id)?;
    let names = account["capabilities"].as_object().into_iter().flatten();
    let rows = names
        .map(|(name, _)| capability(w, &account, name))
        .collect();
    page_of(
        rows,
        &format!("/v1/accounts/{id}/capabilities"),
        &json!({"limit": 100}),
    )
}

pub(crate) fn account_link(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let id = fields::required(p, "account")?;
    need(w, id)?;
    for name in ["refresh_url", "return_url"] {
        fields::required(p, name)?;
    }
    let token = w.ids.secret(24);
    let back = p["return_url"].clone();
    w.change(id, |v| {
        v["__link"] = json!(token);
        v["__return_url"] = back;
    });
    let mut link = w.blank("account_link");
    link["expires_at"] = json!(w.now + 300);
    link["url"] = json!(format!("{}/setup/{id}/{token}", w.base_url));
    Ok(link)
}

pub(crate) fn login_link(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let account = need(w, id)?;
    if account["type"] != "express" {
        let message =
            "Cannot create a login link for an account that does not use the Express Dashboard.";
        return Err(ApiError::refused(None, message));
    }
    if account["details_submitted"] != true {
        let message =
            "Cannot create a login link for an account that has not completed onboarding.";
        return Err(ApiError::refused(None, message));
    }
    let token = w.ids.secret(12);
    let mut link = w.blank("login_link");
    link["url"] = json!(format!("{}/express/{id}/{token}", w.base_url));
    Ok(link)
}

/// The merchant cut the connection: calls for it are refused from now on.
pub(crate) fn deauthorize(w: &mut World, id: &str) -> Result<(), ApiError> {
    let account = need(w, id)?;
    let application = json!({"id": "ca_SandboxPlatformApplication00", "object": "application", "name": "Sandbox platform"});
    w.within(&text(&account, "id"), |w| {
        w.tell("account.application.deauthorized", &application)
    });
    w.remove(id);
    Ok(())
}
