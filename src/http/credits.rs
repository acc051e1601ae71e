//! Credits: debits by the product, and the entries behind the balance.
//!
//! Invariants: whether there are enough is decided by the tenant's reducer, in order with every
//! grant and reversal; the same `reference` counts once, and with another amount it is refused.
//! Source: contract §3, §4 ("Credits").

use crate::http::answer::Answer;
use crate::http::order::{place, tenant_row};
use crate::http::problem::{Code, Problem};
use crate::http::reads::{after, limit, page, row_json};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Disposition;
use bursar_domain::fact::Order;
use bursar_domain::ids::{Scope, TenantId};
use bursar_domain::rows::RowKind;
use bursar_domain::tenant::orders::debit_entry_id;
use bursar_store::query::RowQuery;
use serde_json::{Value, json};

/// `POST /api/v1/tenants/{tenantId}/credits/debits`.
pub fn debit(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call.path_tenant("tenantId")?;
        tenant_row(&call, &tenant).await?;
        let amount = call.fields.integer("amount").unwrap_or(0);
        let reference = call.fields.text("reference").unwrap_or("").to_owned();
        let order = Order::CreditsDebit {
            amount: u64::try_from(amount).unwrap_or(0),
            reference: reference.clone(),
        };
        let to = AggregateKey::Tenant(tenant.clone());
        let ids = vec![tenant.as_str().to_owned()];
        let view = place(&call, &order, to, tenant.clone(), ids).await?;
        match view.disposition {
            Some(Disposition::Applied) => {}
            Some(Disposition::Duplicate) => same_amount(&call, &tenant, amount, &reference).await?,
            _ if view.reason == "insufficient_credits" => {
                let detail = "the balance is smaller than the debit; nothing was taken";
                return Err(Problem::new(Code::InsufficientCredits, detail));
            }
            _ => return Err(Problem::new(Code::Refused, view.reason)),
        }
        let row = tenant_row(&call, &tenant).await?;
        let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
        let entry_id = debit_entry_id(&tenant, &reference);
        let shown = json!({"credits": stored["credits"], "entryId": entry_id});
        Ok(Answer::json(&shown))
    })
}

/// The reference was debited before: that is the answer to the same debit, and to no other one.
/// # Errors: 409 when its entry says another amount.
async fn same_amount(
    call: &Call,
    tenant: &TenantId,
    amount: i64,
    reference: &str,
) -> Result<(), Problem> {
    let id = debit_entry_id(tenant, reference);
    let entry = call
        .edge
        .store
        .row(&call.reach(), RowKind::CreditEntry, Scope::PLATFORM, id)
        .await?;
    let value = entry.and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    let debited = value.and_then(|value| value["amount"].as_i64());
    if debited == Some(-amount) {
        return Ok(());
    }
    let words = debited.map_or_else(
        || "another amount".to_owned(),
        |debited| format!("{} credits", debited.unsigned_abs()),
    );
    let detail = format!(
        "this reference debited {words} before, not {amount}; nothing was taken. Use a new \
         reference for a new debit"
    );
    Err(Problem::new(Code::DebitReferenceReused, detail))
}

fn entries_of(tenant: TenantId) -> RowQuery {
    RowQuery {
        kind: RowKind::CreditEntry,
        tenant: Some(tenant),
        status: None,
        created_after: None,
        created_before: None,
        hidden: false,
        after: None,
        limit: 20,
    }
}

/// `GET /api/v1/tenants/{tenantId}/credits/entries`.
pub fn entries(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call.path_tenant("tenantId")?;
        tenant_row(&call, &tenant).await?;
        let query = RowQuery {
            after: after(&call)?,
            limit: limit(&call),
            ..entries_of(tenant)
        };
        let rows = call.edge.store.rows(&call.reach(), query).await?;
        Ok(page(&call, rows, row_json))
    })
}
