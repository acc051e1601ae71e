//! Orders of an operator or program: stored like an event, then waited for.
//!
//! Invariants: an order is durable before anything acts on it; a repeat under the same idempotency
//! key is the same order (the id is derived), so it acts once whatever the client saw.
//! Failure: an order that is stored and not applied in time is 503 `not_applied_yet`: asking again
//! is safe, since every order of this edge is idempotent by what it says.

use crate::http::auth::Reach;
use crate::http::edge::{Edge, IntakeError};
use crate::http::idempotency;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{Scope, TenantId};
use bursar_domain::input::InputSource;
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::{Accepted, Administer, AuditEntry, Fate, Inbound, InputStatus};
use bursar_store::query::{InputView, RowView};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long an order is waited for before the caller is told to ask again.
const APPLY_WAIT: Duration = Duration::from_secs(10);

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let (code, retry_after) = match error {
            IntakeError::Busy { retry_after } => (Code::Overloaded, retry_after),
            IntakeError::StoreAway { retry_after } => (Code::StoreUnavailable, retry_after),
        };
        Self {
            retry_after_seconds: Some(retry_after.as_secs().max(1)),
            ..Self::new(code, "the order was not taken; ask again")
        }
    }
}

/// Stores an order for one aggregate and waits until it is applied.
/// # Errors: 503.
pub async fn place(
    call: &Call,
    order: &Order,
    to: AggregateKey,
    tenant: TenantId,
    object_ids: Vec<String>,
) -> Result<InputView, Problem> {
    let id = order_id(call, &to);
    place_under(&call.edge, id, order, to, tenant, object_ids).await
}

/// The same for something that may be nobody's; what the order says is sealed under `subject`.
/// # Errors: 503.
pub async fn place_on(
    call: &Call,
    order: &Order,
    to: AggregateKey,
    subject: Subject,
    tenant: Option<TenantId>,
    object_ids: Vec<String>,
) -> Result<InputView, Problem> {
    let id = order_id(call, &to);
    sealed_under(&call.edge, id, order, to, subject, tenant, object_ids).await
}

/// The same under an id the caller made: a repeat under it is the same order.
/// # Errors: 503.
pub async fn place_under(
    edge: &Edge,
    id: String,
    order: &Order,
    to: AggregateKey,
    tenant: TenantId,
    object_ids: Vec<String>,
) -> Result<InputView, Problem> {
    let subject = Subject(format!("tenant:{tenant}"));
    sealed_under(edge, id, order, to, subject, Some(tenant), object_ids).await
}

async fn sealed_under(
    edge: &Edge,
    id: String,
    order: &Order,
    to: AggregateKey,
    subject: Subject,
    tenant: Option<TenantId>,
    object_ids: Vec<String>,
) -> Result<InputView, Problem> {
    let inbound = Inbound {
        source: InputSource::Operator(id),
        kind: order.kind().to_owned(),
        fate: Fate::Pending {
            to,
            park: Vec::new(),
        },
        object_ids,
        created_at: None,
        received_at: edge.now(),
        subject,
        body: order.to_body().into(),
        tenant,
    };
    let seq = match edge.intake.accept(inbound).await? {
        Accepted::New { seq, .. } | Accepted::Duplicate { seq, .. } => seq,
    };
    applied(edge, seq).await
}

/// One request may order several aggregates; each order is its own.
fn order_id(call: &Call, to: &AggregateKey) -> String {
    let address = Sha256::digest(to.to_string());
    let request = idempotency::order_id(call);
    format!("{request}_{}", hex::encode(&address[..16]))
}

async fn applied(edge: &Edge, seq: u64) -> Result<InputView, Problem> {
    let mut commits = edge.store.commits();
    let waiting = async {
        loop {
            commits.look();
            match edge.store.input_by_seq(seq).await? {
                Some(view) if view.status != InputStatus::Received => return Ok(view),
                _ => {}
            }
            if commits.changed().await.is_err() {
                return Err(Problem::new(Code::StoreUnavailable, "the store is closing"));
            }
        }
    };
    tokio::time::timeout(APPLY_WAIT, waiting)
        .await
        .unwrap_or_else(|_elapsed| {
            let detail = "the order is stored and will be applied; ask again";
            Err(Problem::new(Code::NotAppliedYet, detail))
        })
}

/// Writes a line of the audit trail. # Errors: the store's.
pub async fn audit(
    call: &Call,
    action: &str,
    object_id: &str,
    tenant: Option<TenantId>,
    detail: String,
) -> Result<(), Problem> {
    let write = Administer {
        audit: vec![audit_line(call, action, object_id, tenant, detail)],
        ..Administer::default()
    };
    call.edge.store.administer(write).await?;
    Ok(())
}

/// One line, for a commit of its caller.
pub fn audit_line(
    call: &Call,
    action: &str,
    object_id: &str,
    tenant: Option<TenantId>,
    detail: String,
) -> AuditEntry {
    AuditEntry {
        at: call.edge.now(),
        actor: call.caller.principal.text(),
        action: action.to_owned(),
        object_id: object_id.to_owned(),
        tenant,
        request_id: call.request_id.clone(),
        detail,
    }
}

/// The tenant's row. # Errors: 404 if there is none, or none for this caller.
pub async fn tenant_row(call: &Call, tenant: &TenantId) -> Result<RowView, Problem> {
    let (kind, id) = (RowKind::Tenant, tenant.as_str().to_owned());
    let reach = call.caller.reach(Some(tenant));
    let row = call.edge.store.row(&reach, kind, Scope::PLATFORM, id);
    row.await?.ok_or_else(Problem::not_found)
}

/// One row by the id of its object, if the caller may see it. Ids are unique per account only:
/// `account` picks one, else the platform's own comes first.
/// # Errors: 404 absent or foreign.
pub async fn visible_row(
    edge: &Edge,
    kind: RowKind,
    id: &str,
    account: Option<&str>,
    reach: &Reach,
) -> Result<RowView, Problem> {
    let mut rows = edge.store.rows_by_id(reach, kind, id.to_owned()).await?;
    // Also where only somebody else's has the id: the foreign costs what the absent costs.
    if rows.is_empty() {
        let scope = account_scope(account)?;
        rows.extend(edge.store.row(reach, kind, scope, id.to_owned()).await?);
    }
    rows.sort_by(|a, b| a.scope.cmp(&b.scope));
    rows.into_iter()
        .find(|row| account.is_none_or(|account| row.scope.as_str() == account))
        .ok_or_else(Problem::not_found)
}

/// The account a caller named, else the platform's own. # Errors: 404 for what is no account id.
pub fn account_scope(account: Option<&str>) -> Result<Scope, Problem> {
    match account {
        None | Some("") => Ok(Scope::PLATFORM),
        Some(text) => bursar_domain::ids::AccountId::parse(text)
            .map(|id| Scope(Some(id)))
            .map_err(|_| Problem::not_found()),
    }
}
