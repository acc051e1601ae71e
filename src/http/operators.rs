//! What operators look at: the outbox, the audit trail, circuits; and claiming what is unclaimed.

use crate::http::answer::Answer;
use crate::http::order::{audit, audit_line, place, tenant_row, visible_row};
use crate::http::problem::{Code, Problem};
use crate::http::reads::{after, limit, page, page_of};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::tenants::accepted;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectId, Lane};
use bursar_domain::fact::Order;
use bursar_domain::ids::{SessionId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_store::api::{AuditEntry, EffectStatus, Revive, Revived};
use bursar_store::query::{AuditQuery, OutboxQuery, OutboxView, RowView};
use serde_json::{Value, json};

/// Words of the outbox's `status` filter.
pub const EFFECT_STATUS_WORDS: &[&str] = &["pending", "done", "skipped", "failed", "dead"];
/// Words of the outbox's `lane` filter.
pub const LANE_WORDS: &[&str] = &[
    "stripe_read",
    "stripe",
    "mail",
    "notify",
    "identity",
    "alert",
    "stripe_refund",
    "stripe_background",
];

const fn effect_status(status: EffectStatus) -> &'static str {
    match status {
        EffectStatus::Pending => "pending",
        EffectStatus::Done => "done",
        EffectStatus::Skipped => "skipped",
        EffectStatus::Failed => "failed",
        EffectStatus::Dead => "dead",
    }
}

fn effect_json(view: &OutboxView) -> String {
    effect_value(view).to_string()
}

fn effect_value(view: &OutboxView) -> Value {
    json!({
        "id": view.id.0, "aggregate": view.aggregate.to_string(), "lane": view.lane.as_str(),
        "kind": view.kind, "status": effect_status(view.status), "attempts": view.attempts,
        "note": view.note, "decidedAt": view.decided_at.rfc3339(),
        "dueAt": view.due_at.rfc3339(), "settledAt": view.settled_at.map(|at| at.rfc3339()),
    })
}

/// `GET /api/v1/outbox`.
pub fn outbox(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        const STATUSES: [EffectStatus; 5] = [
            EffectStatus::Pending,
            EffectStatus::Done,
            EffectStatus::Skipped,
            EffectStatus::Failed,
            EffectStatus::Dead,
        ];
        let status = call.fields.text("status");
        let lane = call.fields.text("lane");
        let query = OutboxQuery {
            status: STATUSES
                .into_iter()
                .find(|s| status == Some(effect_status(*s))),
            lane: Lane::ALL.into_iter().find(|l| lane == Some(l.as_str())),
            after: after(&call)?,
            limit: limit(&call),
        };
        let found = call.whole_store()?.outbox(query).await?;
        Ok(page(&call, found, effect_json))
    })
}

/// Lanes whose effects an operator may order again. Stripe's are not among them: their commands ended, and money moves
/// by an order of its own.
const RETRIED: [Lane; 4] = [Lane::Mail, Lane::Notify, Lane::Identity, Lane::Alert];

/// `POST /api/v1/outbox/{id}/retry`.
pub fn retry(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let id = call.path("id").to_owned();
        let at = call.edge.now();
        let revive = Revive {
            id: EffectId(id.clone()),
            lanes: RETRIED.to_vec(),
            at,
            audit: audit_line(&call, "effect.retried", &id, None, String::new()),
        };
        match call.whole_store()?.revive(revive).await? {
            Revived::Pending(view) => {
                call.edge.intake.hint(vec![view.lane]);
                Ok(Answer::json(&effect_value(&view)))
            }
            Revived::Unknown => Err(Problem::not_found()),
            Revived::Refused => {
                let detail = "only mail, notifications, accounts and alerts that failed can be ordered again";
                Err(Problem::new(Code::StateConflict, detail))
            }
        }
    })
}

fn audit_json(entry: &AuditEntry) -> String {
    json!({
        "at": entry.at.rfc3339(), "actor": entry.actor, "action": entry.action,
        "objectId": entry.object_id, "tenantId": entry.tenant, "requestId": entry.request_id,
        "detail": entry.detail,
    })
    .to_string()
}

/// `GET /api/v1/audit`.
pub fn audit_trail(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let query = AuditQuery {
            tenant: call.fields.tenant("tenantId").or(call.selected.clone()),
            after: after(&call)?,
            limit: limit(&call),
        };
        let found = call.whole_store()?.audit(query).await?;
        Ok(page(&call, found, audit_json))
    })
}

/// `GET /api/v1/circuits`.
pub fn circuits(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let circuits = call.edge.health.circuits();
        let data: Vec<_> = circuits
            .iter()
            .map(|circuit| {
                json!({
                    "name": circuit.name, "state": circuit.state,
                    "since": circuit.since.map(|at| at.rfc3339()),
                })
            })
            .collect();
        page_of(&call, &data)
    })
}

/// How much of what there is, by status. # Errors: 403 for anybody but the operator, the store's.
pub async fn figures(call: &Call) -> Result<Value, Problem> {
    const SHOWN: [(RowKind, &str); 6] = [
        (RowKind::Tenant, "tenants"),
        (RowKind::Subscription, "subscriptions"),
        (RowKind::Payment, "payments"),
        (RowKind::Refund, "refunds"),
        (RowKind::Dispute, "disputes"),
        (RowKind::Invoice, "invoices"),
    ];
    let stats = call.whole_store()?.stats().await?;
    let kinds = SHOWN.iter().map(|(kind, list)| {
        let own = stats
            .rows
            .iter()
            .filter(|(of, _, count)| of == kind && *count > 0);
        let counts: Vec<Value> = own
            .map(|(_, status, count)| json!({"status": status, "count": count}))
            .collect();
        json!({"list": list, "counts": counts})
    });
    Ok(json!({
        "kinds": kinds.collect::<Vec<_>>(), "inputs": stats.inputs, "pending": stats.pending,
        "outbox": stats.outbox.iter().map(|(_, count)| count).sum::<u64>(),
    }))
}

/// `POST /api/v1/unclaimed/{id}/claim`.
pub fn claim(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call
            .fields
            .tenant("tenantId")
            .ok_or_else(Problem::not_found)?;
        tenant_row(&call, &tenant).await?;
        let row = claimable(&call, call.path("id"), call.fields.text("account")).await?;
        claim_row(&call, &row, &tenant).await?;
        Ok(Answer::json(
            &json!({"id": row.id, "tenantId": tenant, "claimed": true}),
        ))
    })
}

/// What waits to be claimed under this id, or was set aside and is nobody's still.
/// # Errors: 404.
pub async fn claimable(call: &Call, id: &str, account: Option<&str>) -> Result<RowView, Problem> {
    let everyone = call.caller.reach(None);
    match visible_row(&call.edge, RowKind::Unclaimed, id, account, &everyone).await {
        Err(problem) if problem.code == Code::NotFound => {
            let row = visible_row(&call.edge, RowKind::Session, id, account, &everyone).await?;
            row.tenant.is_none().then_some(row).ok_or(problem)
        }
        other => other,
    }
}

/// Gives it to a tenant that exists, with its line in the audit trail.
/// # Errors: 409 if it is not for a person to say whose it is; 503.
pub async fn claim_row(call: &Call, row: &RowView, tenant: &TenantId) -> Result<(), Problem> {
    let session = SessionId::parse(&row.id).map_err(|_| Problem::not_found())?;
    let order = Order::UnclaimedClaim {
        tenant: tenant.clone(),
    };
    let to = AggregateKey::Session(row.scope.clone(), session);
    let ids = vec![row.id.clone(), tenant.as_str().to_owned()];
    accepted(&place(call, &order, to, tenant.clone(), ids).await?)?;
    let owner = Some(tenant.clone());
    audit(call, "unclaimed.claimed", &row.id, owner, String::new()).await
}

/// `POST /api/v1/circuits/{name}/reset`.
pub fn reset_circuit(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let known = call.edge.health.circuits();
        let name = call.path("name").to_owned();
        if !known.iter().any(|circuit| circuit.name == name) {
            return Err(Problem::not_found());
        }
        if !call.edge.health.reset_circuit(&name).await {
            let detail = "the circuit is closed already";
            return Err(Problem::new(Code::StateConflict, detail));
        }
        audit(&call, "circuit.reset", &name, None, String::new()).await?;
        circuits(call).await
    })
}
