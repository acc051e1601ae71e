//! Lists and single objects: rows of the store, embedded as they are.
//!
//! Invariants: what a row says is what the reducers wrote; a thing of another tenant is 404, told
//! in the same words as a thing that does not exist.
//! Source: contract §3 (lists), §4 (objects).

use crate::http::answer::Answer;
use crate::http::order::{tenant_row, visible_row};
use crate::http::problem::{FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::{BoxFuture, drained};
use bursar_domain::ids::TenantId;
use bursar_domain::rows::RowKind;
use bursar_store::query::{Page, RowQuery, RowView};
use serde_json::Value;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

const LIMIT_DEFAULT: i64 = 20;
/// Accounts of a tenant looked through for one that is connected.
const MERCHANTS_LOOKED_AT: usize = 100;

/// Page size of a list.
pub fn limit(call: &Call) -> usize {
    let limit = call.fields.integer("limit").unwrap_or(LIMIT_DEFAULT);
    usize::try_from(limit).unwrap_or(1).clamp(1, 100)
}

/// What a cursor is bound to: the list, its path, who sees it and every filter.
fn query_text(call: &Call) -> String {
    let path: Vec<&str> = call.path.iter().map(|(_, value)| value.as_str()).collect();
    format!(
        "{}|{}|{}|{}",
        call.route.label,
        path.join("/"),
        call.reach().text(),
        call.fields.canonical_without(&["cursor", "limit"])
    )
}

/// The key the request's cursor stands for. # Errors: 400 `cursor_invalid`.
pub fn after(call: &Call) -> Result<Option<Vec<u8>>, Problem> {
    let cursor = call.fields.text("cursor");
    cursor
        .map(|cursor| call.edge.cursors.unwrap(&query_text(call), cursor))
        .transpose()
}

/// The cursor this request's list goes on with after that key.
pub fn cursor_after(call: &Call, key: &[u8]) -> String {
    call.edge.cursors.wrap(&query_text(call), key)
}

/// A page as JSON; each item is a JSON text.
pub fn page<T>(call: &Call, page: Page<T>, item: impl Fn(&T) -> String) -> Answer {
    let mut body = String::from("{\"data\":[");
    for (index, each) in page.items.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&item(each));
    }
    body.push_str("],\"hasMore\":");
    match page.next {
        Some(key) => {
            let cursor = cursor_after(call, &key);
            body.push_str("true,\"nextCursor\":\"");
            body.push_str(&cursor);
            body.push_str("\"}");
        }
        None => body.push_str("false,\"nextCursor\":null}"),
    }
    Answer::json_text(body)
}

/// A page of a list that is whole in memory; its cursor is how many came before.
/// # Errors: 400 `cursor_invalid`.
pub fn page_of(call: &Call, items: &[Value]) -> Result<Answer, Problem> {
    let before = after(call)?.unwrap_or_default();
    let before = before.try_into().map_or(0, u64::from_be_bytes);
    let before = usize::try_from(before).unwrap_or(usize::MAX);
    let rest = items.get(before..).unwrap_or_default();
    let shown = &rest[..limit(call).min(rest.len())];
    let next = (rest.len() > shown.len()).then(|| {
        let gone = u64::try_from(before + shown.len()).unwrap_or(u64::MAX);
        gone.to_be_bytes().to_vec()
    });
    let items = shown.to_vec();
    Ok(page(call, Page { items, next }, ToString::to_string))
}

/// A row as it is answered. A tenant's carries its version, which is the store's to know.
pub fn row_json(row: &RowView) -> String {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: Option<u64>,
    }
    let text = String::from_utf8_lossy(&row.value).into_owned();
    if row.kind != RowKind::Tenant {
        return text;
    }
    let known = serde_json::from_str::<Versioned>(&text).is_ok_and(|v| v.version.is_some());
    match text.trim_end().strip_suffix('}') {
        Some(open) if !known => {
            let comma = if open.trim_end().ends_with('{') {
                ""
            } else {
                ","
            };
            format!("{open}{comma}\"version\":{}}}", row.version)
        }
        _ => text,
    }
}

/// Filters in order. # Errors: 400 for a range that ends before it begins.
pub fn checked_range(call: &Call, from: &str, to: &str) -> Result<(), Problem> {
    match (call.fields.time(from), call.fields.time(to)) {
        (Some(after), Some(before)) if after > before => {
            let detail = format!("`{from}` must not be later than `{to}`");
            Err(Problem::field(from, FieldCode::Conflicting, detail))
        }
        _ => Ok(()),
    }
}

async fn list(call: Call, kind: RowKind) -> Result<Answer, Problem> {
    listed(&call, kind, row_json).await
}

/// A page of a kind's rows, each shown by `item`. # Errors: 400.
pub async fn listed(
    call: &Call,
    kind: RowKind,
    item: impl Fn(&RowView) -> String,
) -> Result<Answer, Problem> {
    checked_range(call, "createdAfter", "createdBefore")?;
    let query = RowQuery {
        kind,
        tenant: call.reach().tenant().cloned(),
        status: call.fields.text("status").map(str::to_owned),
        created_after: call.fields.time("createdAfter"),
        created_before: call.fields.time("createdBefore"),
        hidden: call.fields.boolean("archived").unwrap_or(false),
        after: after(call)?,
        limit: limit(call),
    };
    let rows = call.edge.store.rows(&call.reach(), query).await?;
    Ok(page(call, rows, item))
}

async fn single(call: Call, kind: RowKind) -> Result<Answer, Problem> {
    let account = call.fields.text("account");
    let row = visible_row(&call.edge, kind, call.path("id"), account, &call.reach()).await?;
    Ok(Answer::json_text(row_json(&row)))
}

macro_rules! lists {
    ($($list:ident, $single:ident = $kind:ident;)*) => {$(
        #[doc = concat!("The list of `", stringify!($kind), "` rows.")]
        pub fn $list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
            Box::pin(list(call, RowKind::$kind))
        }
        #[doc = concat!("One `", stringify!($kind), "` row.")]
        pub fn $single(call: Call) -> BoxFuture<Result<Answer, Problem>> {
            Box::pin(single(call, RowKind::$kind))
        }
    )*};
}

lists! {
    subscriptions, subscription = Subscription;
    invoices, invoice = Invoice;
    payments, payment = Payment;
    refunds, refund = Refund;
    disputes, dispute = Dispute;
    customers, customer = Customer;
}

/// The tenants.
pub fn tenants(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(list(call, RowKind::Tenant))
}
/// What waits to be claimed.
pub fn unclaimed(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(list(call, RowKind::Unclaimed))
}
/// The checkout sessions.
pub fn sessions(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(list(call, RowKind::Session))
}

/// Asks again after every commit until `ready`, or until the caller's `waitSeconds` are over; then
/// answers what is there. With too many waiting already, nobody waits.
/// # Errors: those of `read`.
pub async fn wait_for<T, F>(
    call: &Call,
    read: impl Fn() -> F,
    ready: impl Fn(&T) -> bool,
) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let seconds = call.fields.integer("waitSeconds").unwrap_or(0);
    let most = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    wait_at_most(call, most, read, ready).await
}

/// As [`wait_for`], but for so long at most.
/// # Errors: those of `read`.
pub async fn wait_at_most<T, F>(
    call: &Call,
    most: Duration,
    read: impl Fn() -> F,
    ready: impl Fn(&T) -> bool,
) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let mut commits = call.edge.store.commits();
    commits.look();
    let mut latest = read().await;
    let absent = |found: &Result<T, Problem>| matches!(found, Err(problem) if problem.code == crate::http::problem::Code::NotFound);
    let done = |found: &Result<T, Problem>| match found {
        Ok(value) => ready(value),
        Err(_) => !absent(found),
    };
    let place = call.edge.waiters.take(1);
    if most.is_zero() || place.is_none() || done(&latest) {
        return latest;
    }
    let deadline = tokio::time::Instant::now() + most;
    let mut draining = call.edge.draining.subscribe();
    let mut stop = pin!(drained(&mut draining));
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return latest,
            () = tokio::time::sleep_until(deadline) => return latest,
            changed = commits.changed() => match changed {
                Ok(()) => latest = read().await,
                Err(_closing) => return latest,
            },
        }
        if done(&latest) {
            return latest;
        }
    }
}

/// The tenant's Connect account: the newest that is connected, else the newest there was.
/// # Errors: the store's.
pub async fn merchant_of(call: &Call, tenant: &TenantId) -> Result<Option<RowView>, Problem> {
    let query = RowQuery {
        kind: RowKind::Merchant,
        tenant: Some(tenant.clone()),
        status: None,
        created_after: None,
        created_before: None,
        hidden: true,
        after: None,
        limit: MERCHANTS_LOOKED_AT,
    };
    let mut rows = call.edge.store.rows(&call.reach(), query).await?.items;
    let connected = rows.iter().position(|row| row.status != "deauthorized");
    rows.truncate(connected.map_or(1, |at| at + 1));
    Ok(rows.pop())
}

/// The tenant's Connect account.
pub fn merchant(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let reach = call.reach();
        let Some(tenant) = reach.tenant() else {
            let detail = "name the tenant by `tenantId` or X-Tenant-Id";
            return Err(Problem::field("tenantId", FieldCode::Required, detail));
        };
        tenant_row(&call, tenant).await?;
        let row = merchant_of(&call, tenant).await?;
        let row = row.ok_or_else(Problem::not_found)?;
        Ok(Answer::json_text(row_json(&row)))
    })
}

/// The plan catalogue.
pub fn plans(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let plans = &call.edge.settings.domain.catalogue.plans;
        let data: Vec<_> = plans.iter().map(plan_json).collect();
        page_of(&call, &data)
    })
}

/// One plan.
pub fn plan(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let catalogue = &call.edge.settings.domain.catalogue;
        let plan = catalogue.plan(call.path("id"));
        Ok(Answer::json(&plan_json(
            plan.ok_or_else(Problem::not_found)?,
        )))
    })
}

fn plan_json(plan: &bursar_domain::plans::Plan) -> serde_json::Value {
    use bursar_domain::plans::{Limit, PlanEffect, mode_of};
    let limits = |limits: &std::collections::BTreeMap<String, Limit>| {
        let shown = limits.iter().map(|(feature, limit)| {
            let value = match limit {
                Limit::Fixed(most) => serde_json::json!(most),
                Limit::Quantity => serde_json::json!("quantity"),
            };
            (feature.clone(), value)
        });
        serde_json::Value::Object(shown.collect())
    };
    let mut shown = serde_json::json!({
        "id": plan.id, "name": plan.name, "priceIds": plan.price_ids,
        "mode": mode_of(&plan.effect), "revokeOn": plan.revoke_on, "isDefault": false,
    });
    match &plan.effect {
        PlanEffect::Credits(credits) => shown["credits"] = (*credits).into(),
        PlanEffect::Free {
            features,
            limits: most,
        } => {
            shown["isDefault"] = true.into();
            shown["features"] = serde_json::json!(features);
            shown["limits"] = limits(most);
        }
        PlanEffect::Subscription(terms) => {
            shown["features"] = serde_json::json!(terms.features);
            shown["limits"] = limits(&terms.limits);
            shown["trialDays"] = terms.trial_days.into();
            shown["graceDays"] = terms.grace_days.into();
            shown["minQuantity"] = terms.min_quantity.into();
            shown["maxQuantity"] = serde_json::json!(terms.max_quantity);
        }
    }
    shown
}
