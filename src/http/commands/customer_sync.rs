//! What a PATCH of a tenant changes at its customer at Stripe: name, address and notes, in the background.
//!
//! Invariants: only what the PATCH names is pushed, with the values the tenant has when the push is stored, so what
//! the customer changed of the rest stays the customer's. Pushes of one tenant are stored one after the other, and each
//! is sent when the one before is over: the last word Stripe hears is the last one said here. The same fields of the
//! same version of the tenant are pushed once. PATCH answers when the push is stored, whatever Stripe does meanwhile.
//! Not here: what of the notes can be pushed (`stripe::requests::customers`). Nothing Stripe says of a customer changes
//! its tenant, so nothing comes back.
//! Failure: 503 when the push cannot be stored; the tenant is changed by then, and the same PATCH again pushes it.
//! Source: contract §3 "Billing" (PATCH).

use super::{Plan, begin_with, customer_of, find};
use crate::http::order::tenant_row;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::stripe::requests::customers::{self, CustomerChange};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{CommandId, CustomerId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_store::query::{RowQuery, RowView};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a stored push is waited for until it is there for the next one to see.
const APPLY_WAIT: Duration = Duration::from_secs(10);
/// Open commands of a tenant looked through for the push before.
const OPEN_LOOKED_AT: usize = 100;

/// Pushes what this PATCH named. `before` is the tenant as it was. # Errors: 503.
pub async fn push(call: &Call, tenant: &TenantId, before: &RowView) -> Result<(), Problem> {
    let is_named = |name: &str| call.fields.value(name).is_some();
    if !["name", "email", "metadata"].into_iter().any(is_named) {
        return Ok(());
    }
    let _turn = call.edge.commands.turn(tenant).await;
    let row = tenant_row(call, tenant).await?;
    let Some(customer) = customer_of(&row).filter(|_| !row.erased) else {
        return Ok(());
    };
    let change = change(call, customer, before, &row);
    let id = id_of(tenant, row.version, &change);
    if find(call, &id).await?.is_some() {
        return Ok(());
    }
    let after = last_open(call, tenant).await?;
    let plan = Plan {
        kind: CommandKind::CustomerSync,
        tenant: tenant.clone(),
        call: customers::update(&change, &id),
        objects: vec![tenant.to_string(), change.customer.to_string()],
        awaits: None,
    };
    begin_with(call, &id, plan, None, after).await?;
    seen(call, &id).await
}

/// The notes of a tenant's row.
pub(super) fn notes(row: &RowView) -> BTreeMap<String, String> {
    let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    serde_json::from_value(stored["metadata"].clone()).unwrap_or_default()
}

fn change(call: &Call, customer: CustomerId, before: &RowView, row: &RowView) -> CustomerChange {
    let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    let text = |name: &str| {
        call.fields.value(name)?;
        Some(stored[name].as_str().unwrap_or_default().to_owned())
    };
    let mut metadata = BTreeMap::new();
    if call.fields.value("metadata").is_some() {
        let gone = notes(before).into_keys().map(|key| (key, None));
        metadata.extend(gone);
        let present = notes(row).into_iter();
        metadata.extend(present.map(|(key, value)| (key, Some(value))));
    }
    CustomerChange {
        customer,
        name: text("name"),
        email: text("email"),
        metadata,
    }
}

fn id_of(tenant: &TenantId, version: u64, change: &CustomerChange) -> CommandId {
    let digest = Sha256::digest(format!("{tenant}\ncustomer_sync\n{version}\n{change:?}"));
    let id = format!("cmd_{}", hex::encode(&digest[..16]));
    CommandId::parse(&id).expect("hex behind a prefix is an id")
}

/// The newest push of the tenant that is not over.
async fn last_open(call: &Call, tenant: &TenantId) -> Result<Option<CommandId>, Problem> {
    let mut open = Vec::new();
    for status in ["initiated", "unknown"] {
        let query = RowQuery {
            kind: RowKind::Command,
            tenant: Some(tenant.clone()),
            status: Some(status.to_owned()),
            created_after: None,
            created_before: None,
            hidden: false,
            after: None,
            limit: OPEN_LOOKED_AT,
        };
        open.extend(call.edge.store.rows(&call.reach(), query).await?.items);
    }
    let is_push = |row: &&RowView| {
        let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
        stored["kind"] == CommandKind::CustomerSync.as_str()
    };
    let pushes = open.iter().filter(is_push);
    let last = pushes.max_by_key(|row| (row.created_at, row.id.clone()));
    Ok(last.and_then(|row| CommandId::parse(&row.id).ok()))
}

/// Waits until the push is there for others to see.
async fn seen(call: &Call, id: &CommandId) -> Result<(), Problem> {
    let mut commits = call.edge.store.commits();
    let waiting = async {
        loop {
            commits.look();
            if find(call, id).await?.is_some() {
                return Ok(());
            }
            if commits.changed().await.is_err() {
                return Err(Problem::new(Code::StoreUnavailable, "the store is closing"));
            }
        }
    };
    tokio::time::timeout(APPLY_WAIT, waiting)
        .await
        .unwrap_or_else(|_elapsed| {
            let detail = "the change is stored and will be pushed to Stripe; ask again";
            Err(Problem::new(Code::NotAppliedYet, detail))
        })
}
