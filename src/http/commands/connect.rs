//! `POST /api/v1/connect/…`, `GET /api/v1/connect/express-login-link`: the tenant as a merchant.
//!
//! Invariants: a tenant has one account that is not deauthorized, whoever asks for it how often; the account a link
//! leads to is the tenant's own, never one the request names.
//! Not here: what an account may do (`bursar_domain::merchant`, from Stripe's word), sales on it (`checkout`).
//! Source: contract §2 (`CONNECT_ONBOARDING`), §3 "Billing"; Stripe API reference, "Accounts", "Account Links",
//! "Login Links".

use super::{Ended, Plan, command_id, live, once, run, tenant_of, urls};
use crate::http::answer::{Answer, JSON};
use crate::http::auth::Principal;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::reads::{merchant_of, row_json};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::connect::{self, NewAccount, Onboarding};
use bursar_config::ConnectOnboarding;
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{AccountId, Scope, TenantId};
use bursar_domain::rows::RowKind;
use bursar_store::query::RowView;
use hyper::StatusCode;
use serde_json::json;
use std::time::Duration;

/// What the row of an account Stripe has just made is waited for.
const ROW_WAIT: Duration = Duration::from_secs(2);
/// A row of this status is no account any more.
const GONE: &str = "deauthorized";

/// `POST /api/v1/connect/accounts`.
pub fn open_account(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (tenant, _) = tenant_of(&call).await?;
        may_onboard(&call)?;
        let country = country(&call)?;
        if let Some(row) = live_account(&call, &tenant).await? {
            return Ok(Answer::json_text(row_json(&row)));
        }
        let making = CommandKind::ConnectAccount;
        let id = once::command(&call, &tenant, making, (RowKind::Merchant, GONE)).await?;
        let plan = async {
            let order = NewAccount {
                tenant: tenant.clone(),
                email: call.fields.text("email").map(str::to_owned),
                country,
            };
            Ok(Plan {
                kind: making,
                call: connect::account(&order, &id),
                objects: vec![tenant.to_string()],
                tenant: tenant.clone(),
                awaits: None,
            })
        };
        match run(&call, id.clone(), plan).await? {
            Ended::Succeeded(command) => {
                let row = made(&call, &tenant, command.object_id()).await?;
                Ok(Answer::of(StatusCode::CREATED, JSON, row_json(&row)))
            }
            Ended::Pending(answer) => Ok(answer),
        }
    })
}

/// `POST /api/v1/connect/account-links`.
pub fn open_link(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        may_onboard(&call)?;
        let plan = async {
            let (tenant, account) = own_account(&call).await?;
            let (return_url, refresh_url) = urls::of_onboarding(&call)?;
            let objects = vec![tenant.to_string(), account.to_string()];
            let order = Onboarding {
                account,
                refresh_url,
                return_url,
            };
            Ok(Plan {
                kind: CommandKind::AccountLink,
                tenant,
                call: connect::account_link(&order),
                objects,
                awaits: None,
            })
        };
        match run(&call, command_id(&call), plan).await? {
            Ended::Succeeded(command) => {
                let expires_at = &command.0["expiresAt"];
                let link = json!({"url": command.text("url"), "expiresAt": expires_at});
                Ok(Answer::json(&link).holding_link())
            }
            Ended::Pending(answer) => Ok(answer),
        }
    })
}

/// `GET /api/v1/connect/express-login-link`: made at Stripe now, and no command, since a link nobody uses is nothing.
pub fn login_link(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (_, account) = own_account(&call).await?;
        let link = live::preview(&call, connect::login_link(&account)).await?;
        Ok(Answer::json(&json!({"url": link["url"]})).unkept())
    })
}

/// Whether this caller may bring merchants to the platform: `CONNECT_ONBOARDING`. # Errors: 403.
fn may_onboard(call: &Call) -> Result<(), Problem> {
    let setting = call.edge.settings.billing.connect_onboarding;
    if may(&call.caller.principal, setting) {
        return Ok(());
    }
    let detail = "only the platform opens Connect accounts here (CONNECT_ONBOARDING=operator)";
    Err(Problem::new(Code::InsufficientScope, detail))
}

/// The installation's own callers always may; whoever else gets past the routes' authentication speaks for one tenant,
/// and may where the setting says so.
fn may(principal: &Principal, setting: ConnectOnboarding) -> bool {
    match principal {
        Principal::Operator | Principal::ServiceKey(_) => true,
        Principal::Anonymous | Principal::ApiKey(_) | Principal::User(_) => {
            setting == ConnectOnboarding::Tenant
        }
    }
}

/// The country the request names, as Stripe writes it. # Errors: 400.
fn country(call: &Call) -> Result<Option<String>, Problem> {
    let Some(given) = call.fields.text("country") else {
        return Ok(None);
    };
    if given.len() == 2 && given.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(Some(given.to_ascii_uppercase()));
    }
    let detail = "`country` must be two letters, as in ISO 3166-1: DE, US";
    Err(Problem::field("country", FieldCode::Malformed, detail))
}

async fn live_account(call: &Call, tenant: &TenantId) -> Result<Option<RowView>, Problem> {
    let row = merchant_of(call, tenant).await?;
    Ok(row.filter(|row| row.status != GONE))
}

/// The account of the tenant the caller named. # Errors: 400, 404.
async fn own_account(call: &Call) -> Result<(TenantId, AccountId), Problem> {
    let (tenant, _) = tenant_of(call).await?;
    let row = live_account(call, &tenant).await?;
    let row = row.ok_or_else(Problem::not_found)?;
    let account = AccountId::parse(&row.id).map_err(|_| Problem::not_found())?;
    Ok((tenant, account))
}

/// The row of an account that was just made, once it is there. # Errors: 503, after a while.
async fn made(call: &Call, tenant: &TenantId, account: &str) -> Result<RowView, Problem> {
    let (store, reach) = (&call.edge.store, call.reach());
    let mut commits = store.commits();
    let waiting = async {
        loop {
            commits.look();
            let row = store.row(
                &reach,
                RowKind::Merchant,
                Scope::PLATFORM,
                account.to_owned(),
            );
            if let Some(row) = row.await?.filter(|row| row.tenant.as_ref() == Some(tenant)) {
                return Ok(row);
            }
            if commits.changed().await.is_err() {
                return Err(Problem::new(Code::StoreUnavailable, "the store is closing"));
            }
        }
    };
    tokio::time::timeout(ROW_WAIT, waiting)
        .await
        .unwrap_or_else(|_elapsed| {
            let detail = "the account is made and not shown yet; ask again";
            Err(Problem::new(Code::NotAppliedYet, detail))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_for_the_installation_always_may_onboard_and_others_by_the_setting() {
        let key = Principal::ServiceKey("k".to_owned());
        for own in [&Principal::Operator, &key] {
            assert!(may(own, ConnectOnboarding::Operator));
        }
        assert!(!may(&Principal::Anonymous, ConnectOnboarding::Operator));
        assert!(may(&Principal::Anonymous, ConnectOnboarding::Tenant));
    }
}
