//! Tenants: made, read, waited for, changed; their personal data out.
//!
//! Invariants: a change is an order to the tenant's aggregate, never a write from here; the `ETag`
//! is the version of the aggregate, so a program can poll at the price of a look-up. `If-Match` is
//! decided in the commit that changes the tenant: of two changes of one version one wins.
//! Source: contract §3 "Billing", §4.

use crate::http::answer::Answer;
use crate::http::order::{audit, place, tenant_row};
use crate::http::problem::{Code, Problem};
use crate::http::reads::{row_json, wait_for};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::TenantId;
use bursar_domain::rows::RowKind;
use bursar_domain::tenant::orders::VERSION_CHANGED;
use bursar_store::api::InputStatus;
use bursar_store::query::{InputView, RowQuery, RowView, TimelineOf, TimelineQuery};
use hyper::{StatusCode, header};
use serde_json::Value;
use std::collections::BTreeMap;

/// Rows per list an export holds at most; `truncated` says when there were more.
const EXPORT_ROWS_MAX: usize = 10_000;
const PAGE: usize = 100;

fn etag(row: &RowView) -> String {
    format!("\"{}\"", row.version)
}

fn shown(row: &RowView, status: StatusCode) -> Answer {
    Answer::of(status, crate::http::answer::JSON, row_json(row)).with("etag", &etag(row))
}

fn metadata(value: Option<&Value>) -> Option<BTreeMap<String, String>> {
    let entries = value?.as_object()?;
    let texts = entries
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some(texts.collect())
}

/// An order that was refused by the reducers. # Errors: 409 with their reason.
pub fn accepted(view: &InputView) -> Result<(), Problem> {
    match view.status {
        InputStatus::Applied => Ok(()),
        _ => Err(Problem::new(Code::StateConflict, view.reason.clone())),
    }
}

/// `POST /api/v1/tenants`.
pub fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let named = call.reach().tenant().cloned();
        let tenant = named.unwrap_or_else(|| new_tenant_id(&call));
        match tenant_row(&call, &tenant).await {
            Ok(row) => return if_equal(&call, &row),
            Err(problem) if problem.code == Code::NotFound => {}
            Err(problem) => return Err(problem),
        }
        let text = |name: &str| call.fields.text(name).map(str::to_owned);
        let order = Order::TenantCreate {
            name: text("name"),
            email: text("email"),
            metadata: metadata(call.fields.value("metadata")).unwrap_or_default(),
            timezone: text("timezone"),
        };
        let to = AggregateKey::Tenant(tenant.clone());
        let ids = vec![tenant.as_str().to_owned()];
        accepted(&place(&call, &order, to, tenant.clone(), ids).await?)?;
        audit(
            &call,
            "tenant.created",
            tenant.as_str(),
            Some(tenant.clone()),
            String::new(),
        )
        .await?;
        let row = tenant_row(&call, &tenant).await.map_err(|problem| {
            tracing::error!(tenant.id = %tenant, "a tenant was created and has no row");
            match problem.code {
                Code::NotFound => Problem::new(Code::NotAppliedYet, "ask again"),
                _ => problem,
            }
        })?;
        // Somebody else may have made it in between, with other words.
        if_equal(&call, &row)?;
        Ok(shown(&row, StatusCode::CREATED))
    })
}

/// A UUID that a repeat under the same idempotency key draws again.
fn new_tenant_id(call: &Call) -> TenantId {
    let order = crate::http::idempotency::order_id(call);
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, order.as_bytes());
    TenantId::parse(&id.to_string()).expect("a UUID fits the grammar of tenant ids")
}

fn if_equal(call: &Call, row: &RowView) -> Result<Answer, Problem> {
    let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    let equal = |name: &str| {
        call.fields
            .text(name)
            .is_none_or(|given| stored[name].as_str() == Some(given))
    };
    let notes = metadata(call.fields.value("metadata"));
    let same_notes = notes.is_none_or(|given| Some(given) == metadata(stored.get("metadata")));
    if equal("name") && equal("email") && equal("timezone") && same_notes || row.erased {
        return Ok(shown(row, StatusCode::OK));
    }
    let detail = "a tenant of this id exists with another name or address; PATCH changes it";
    Err(Problem::new(Code::TenantExists, detail))
}

/// `GET /api/v1/tenants/{tenantId}`, with `ETag`, `minVersion` and `waitSeconds`.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call.path_tenant("tenantId")?;
        let known = if_none_match(&call);
        let least = call.fields.integer("minVersion");
        let matches = |row: &RowView| known.iter().any(|tag| *tag == "*" || *tag == etag(row));
        let ready = |row: &RowView| match least {
            Some(least) => u64::try_from(least).is_ok_and(|least| row.version >= least),
            None => !matches(row),
        };
        let row = wait_for(&call, || tenant_row(&call, &tenant), ready).await?;
        if matches(&row) {
            return Ok(Answer::empty(StatusCode::NOT_MODIFIED).with("etag", &etag(&row)));
        }
        Ok(shown(&row, StatusCode::OK))
    })
}

fn if_none_match(call: &Call) -> Vec<&str> {
    let values = call.headers.get_all(header::IF_NONE_MATCH).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        // GET compares weakly (RFC 9110 §13.1.2).
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .collect()
}

fn changed_since() -> Problem {
    let detail = "the tenant has changed since; read it again";
    Problem::new(Code::PreconditionFailed, detail)
}

/// The version under which the tenant must still be shown when the change is decided, if the
/// request says so by `If-Match`.
/// # Errors: 412 if the tenant is none of those named already.
fn if_match(call: &Call, row: &RowView) -> Result<Option<u64>, Problem> {
    let mut values = call.headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let own = etag(row);
    // PATCH compares strongly: a weak tag matches nothing (RFC 9110 §13.1.1).
    for tag in values.flat_map(|value| value.to_str().unwrap_or("").split(',')) {
        match tag.trim() {
            "*" => return Ok(None),
            tag if tag == own => return Ok(Some(row.version)),
            _ => {}
        }
    }
    Err(changed_since())
}

/// `PATCH /api/v1/tenants/{tenantId}`.
pub fn patch(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call.path_tenant("tenantId")?;
        let row = tenant_row(&call, &tenant).await?;
        let expected_version = if_match(&call, &row)?;
        // `null` clears a text, and the reducers' word for a cleared text is the empty one.
        let text = |name: &str| match call.fields.value(name)? {
            Value::Null => Some(String::new()),
            value => value.as_str().map(str::to_owned),
        };
        let order = Order::TenantPatch {
            name: text("name"),
            email: text("email"),
            metadata: match call.fields.value("metadata") {
                Some(Value::Null) => Some(BTreeMap::new()),
                given => metadata(given),
            },
            timezone: text("timezone"),
            contract_reference: text("contract.reference"),
            expected_version,
        };
        let to = AggregateKey::Tenant(tenant.clone());
        let ids = vec![tenant.as_str().to_owned()];
        let view = place(&call, &order, to, tenant.clone(), ids).await?;
        if view.reason == VERSION_CHANGED {
            return Err(changed_since());
        }
        accepted(&view)?;
        crate::http::commands::customer_sync::push(&call, &tenant, &row).await?;
        let detail = "fields: ".to_owned() + &patched(&call);
        audit(
            &call,
            "tenant.changed",
            tenant.as_str(),
            Some(tenant.clone()),
            detail,
        )
        .await?;
        let row = tenant_row(&call, &tenant).await?;
        Ok(shown(&row, StatusCode::OK))
    })
}

fn patched(call: &Call) -> String {
    let names = call.route.params.iter().map(|param| param.name);
    let given: Vec<&str> = names.filter(|n| call.fields.value(n).is_some()).collect();
    given.join(", ")
}

/// `GET /api/v1/tenants/{tenantId}/export`: everything kept about one tenant.
pub fn export(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        const LISTS: [(&str, RowKind); 9] = [
            ("customers", RowKind::Customer),
            ("subscriptions", RowKind::Subscription),
            ("invoices", RowKind::Invoice),
            ("payments", RowKind::Payment),
            ("refunds", RowKind::Refund),
            ("disputes", RowKind::Dispute),
            ("checkoutSessions", RowKind::Session),
            ("merchantAccounts", RowKind::Merchant),
            ("creditEntries", RowKind::CreditEntry),
        ];
        let tenant = call.path_tenant("tenantId")?;
        let own = tenant_row(&call, &tenant).await?;
        let mut body = format!("{{\"tenant\":{}", row_json(&own));
        let mut truncated = false;
        for (name, kind) in LISTS {
            let rows = rows_of(&call, kind, &tenant, &mut truncated).await?;
            let items: Vec<String> = rows.iter().map(row_json).collect();
            body.push_str(&format!(",\"{name}\":[{}]", items.join(",")));
        }
        let store = call.edge.store.as_ref();
        let (members, invitations) = crate::identity::tenants::exported(store, &tenant).await?;
        body.push_str(&format!(
            ",\"members\":{members},\"invitations\":{invitations}"
        ));
        let lines = timeline_of(&call, &tenant, &mut truncated).await?;
        body.push_str(&format!(
            ",\"timeline\":[{}],\"truncated\":{truncated}}}",
            lines.join(",")
        ));
        audit(
            &call,
            "tenant.exported",
            tenant.as_str(),
            Some(tenant.clone()),
            String::new(),
        )
        .await?;
        Ok(Answer::json_text(body).with("cache-control", "no-store"))
    })
}

/// Rows of one kind of a tenant, up to a bound that `truncated` says was met.
pub(crate) async fn rows_of(
    call: &Call,
    kind: RowKind,
    tenant: &TenantId,
    truncated: &mut bool,
) -> Result<Vec<RowView>, Problem> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let query = RowQuery {
            kind,
            tenant: Some(tenant.clone()),
            status: None,
            created_after: None,
            created_before: None,
            hidden: true,
            after: after.take(),
            limit: PAGE,
        };
        let page = call.edge.store.rows(&call.reach(), query).await?;
        rows.extend(page.items);
        match page.next {
            Some(next) if rows.len() < EXPORT_ROWS_MAX => after = Some(next),
            next => {
                *truncated |= next.is_some();
                return Ok(rows);
            }
        }
    }
}

async fn timeline_of(
    call: &Call,
    tenant: &TenantId,
    truncated: &mut bool,
) -> Result<Vec<String>, Problem> {
    let mut lines = Vec::new();
    let mut after = None;
    loop {
        let query = TimelineQuery {
            of: TimelineOf::Tenant(tenant.clone()),
            after: after.take(),
            limit: PAGE,
        };
        let page = call.edge.store.timeline(&call.reach(), query).await?;
        lines.extend(page.items.iter().map(crate::http::history::line_json));
        match page.next {
            Some(next) if lines.len() < EXPORT_ROWS_MAX => after = Some(next),
            next => {
                *truncated |= next.is_some();
                return Ok(lines);
            }
        }
    }
}
