//! A tenant's API keys: made by its people, good for that tenant alone, with a role.
//!
//! Invariants: nobody makes a key above their own role, and no key is an owner. A key works for its tenant whatever
//! a request names; it is refused from the request after its revocation or expiry on, since every request reads its
//! record. Use is noted by the day, in a commit that a revocation in between wins over.
//! Not here: the shape of a key (`keys`), what a role may do (`routes`).
//! Failure: a note of use that cannot be written is left out; the request goes on.
//! Source: contract §3 "Callers", "People".

use crate::http::answer::Answer;
use crate::http::auth::{Bound, Caller, Principal};
use crate::http::commands::tenant_of;
use crate::http::edge::Edge;
use crate::http::keys::{self, Presented};
use crate::http::problem::{Code, Problem};
use crate::http::reads::{after, cursor_after, limit};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::identity::Role;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_store::api::{Administer, AuditEntry, Keep};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where keys are kept, by their id.
pub const SPACE: &str = "api_key";
/// Which keys a tenant has: `<tenant>/<id>`.
pub const SPACE_OF: &str = "api_key_of";
/// Keys of one tenant.
const KEYS_MAX: usize = 100;
/// Roles a key may have.
pub const ROLE_WORDS: &[&str] = &["viewer", "member", "admin"];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    tenant: TenantId,
    name: String,
    role: Role,
    created_at: Timestamp,
    created_by: String,
    expires_at: Option<Timestamp>,
    last_used_on: Option<String>,
    secret_sha256: String,
}

impl Record {
    fn shown(&self, id: &str) -> Value {
        json!({
            "id": id, "tenantId": self.tenant, "name": self.name, "role": self.role.as_str(),
            "createdAt": self.created_at.rfc3339(), "createdBy": self.created_by,
            "expiresAt": self.expires_at.map(Timestamp::rfc3339), "lastUsedOn": self.last_used_on,
        })
    }
    fn written(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(|error| {
            tracing::error!(%error, "an API key's record cannot be written");
            Problem::new(Code::Internal, "the key cannot be stored")
        })
    }
}

fn read(bytes: &[u8]) -> Option<Record> {
    let record = serde_json::from_slice(bytes);
    record
        .inspect_err(|error| tracing::error!(%error, "an API key's record cannot be read"))
        .ok()
}

fn place(tenant: &TenantId, id: &str) -> String {
    format!("{tenant}/{id}")
}

fn keep(space: &'static str, key: String, value: Option<Vec<u8>>) -> Keep {
    Keep {
        space,
        key,
        value,
        subject: None,
    }
}

/// The day of a time: the first ten characters of RFC 3339.
fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

/// The caller behind a presented key. # Errors: 503 if the store is away.
pub async fn find(edge: &Edge, presented: Presented<'_>) -> Result<Option<Caller>, Problem> {
    let id = presented.id.to_owned();
    let Some(bytes) = edge.store.kept(SPACE, id.clone()).await? else {
        return Ok(None);
    };
    let Some(record) = read(&bytes) else {
        return Ok(None);
    };
    let now = edge.now();
    let is_over = record.expires_at.is_some_and(|end| end <= now);
    if !presented.fits(&record.secret_sha256) || is_over {
        return Ok(None);
    }
    let bound = Bound {
        tenant: record.tenant.clone(),
        role: record.role,
    };
    used(edge, &id, record, bytes).await;
    Ok(Some(Caller {
        principal: Principal::ApiKey(id),
        scopes: Vec::new(),
        bound: Some(bound),
    }))
}

/// Notes the first use of a day.
async fn used(edge: &Edge, id: &str, record: Record, bytes: Vec<u8>) {
    let today = day(edge.now());
    if record.last_used_on.as_ref() == Some(&today) {
        return;
    }
    let noted = Record {
        last_used_on: Some(today),
        ..record
    };
    let Ok(value) = noted.written() else { return };
    let write = Administer {
        keeps: vec![keep(SPACE, id.to_owned(), Some(value))],
        must_be_unchanged: vec![(SPACE, id.to_owned(), bytes)],
        ..Administer::default()
    };
    if let Err(error) = edge.store.administer(write).await {
        tracing::debug!(%error, key.id = id, "the use of a key was not noted");
    }
}

fn audit(call: &Call, action: &str, id: &str, tenant: &TenantId, detail: String) -> AuditEntry {
    AuditEntry {
        at: call.edge.now(),
        actor: call.caller.principal.text(),
        action: action.to_owned(),
        object_id: id.to_owned(),
        tenant: Some(tenant.clone()),
        request_id: call.request_id.clone(),
        detail,
    }
}

/// The role asked for. # Errors: 403 above the caller's own.
fn role(call: &Call) -> Result<Role, Problem> {
    let asked = call.fields.text("role").and_then(Role::parse);
    let asked = asked.unwrap_or(Role::Viewer);
    let own = call.caller.bound.as_ref().map_or(Role::Owner, |b| b.role);
    if asked > own || asked > Role::Admin {
        let detail = "nobody makes a key above their own role, or an owner's";
        return Err(Problem::new(Code::InsufficientScope, detail));
    }
    Ok(asked)
}

/// When it ends. # Errors: 422 in the past.
fn end(call: &Call) -> Result<Option<Timestamp>, Problem> {
    let end = call.fields.time("expiresAt");
    if end.is_some_and(|end| end <= call.edge.now()) {
        let detail = "`expiresAt` is over: the key would never work";
        return Err(Problem::new(Code::Refused, detail));
    }
    Ok(end)
}

async fn ids_of(
    call: &Call,
    tenant: &TenantId,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<String>, Problem> {
    let first = place(tenant, "");
    let from = after.unwrap_or_else(|| first.clone());
    let found = call
        .edge
        .store
        .kept_all(SPACE_OF, Some(from), limit)
        .await?;
    let ids = found
        .iter()
        .map_while(|(key, _)| Some(key.strip_prefix(&first)?.to_owned()));
    Ok(ids.collect())
}

/// `POST /api/v1/api-keys`.
pub fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (tenant, _) = tenant_of(&call).await?;
        let (role, expires_at) = (role(&call)?, end(&call)?);
        if ids_of(&call, &tenant, None, KEYS_MAX).await?.len() >= KEYS_MAX {
            let detail = "the tenant has a hundred keys: revoke one first";
            return Err(Problem::new(Code::Refused, detail));
        }
        let drawn = keys::draw(call.edge.now())?;
        let record = Record {
            name: call.fields.text("name").unwrap_or("").to_owned(),
            role,
            created_at: call.edge.now(),
            created_by: call.caller.principal.text(),
            expires_at,
            last_used_on: None,
            secret_sha256: drawn.secret_sha256,
            tenant: tenant.clone(),
        };
        let detail = format!("{}, {}", record.name, role.as_str());
        let write = Administer {
            keeps: vec![
                keep(SPACE, drawn.id.clone(), Some(record.written()?)),
                keep(SPACE_OF, place(&tenant, &drawn.id), Some(b"{}".to_vec())),
            ],
            must_be_absent: vec![(SPACE, drawn.id.clone())],
            audit: vec![audit(&call, "api_key.created", &drawn.id, &tenant, detail)],
            ..Administer::default()
        };
        if !call.edge.store.administer(write).await? {
            return Err(Problem::new(Code::Internal, "two keys drew the same id"));
        }
        let mut shown = record.shown(&drawn.id);
        shown["key"] = drawn.key.into();
        Ok(Answer::created(&shown).holding_secret())
    })
}

/// `GET /api/v1/api-keys`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (tenant, _) = tenant_of(&call).await?;
        let limit = limit(&call);
        let from = after(&call)?.map(|key| String::from_utf8_lossy(&key).into_owned());
        let mut ids = ids_of(&call, &tenant, from, limit + 1).await?;
        let has_more = ids.len() > limit;
        ids.truncate(limit);
        let last = ids.last().filter(|_| has_more);
        let next = last.map(|id| cursor_after(&call, place(&tenant, id).as_bytes()));
        let mut data = Vec::new();
        for id in &ids {
            let bytes = call.edge.store.kept(SPACE, id.clone()).await?;
            data.extend(bytes.and_then(|bytes| read(&bytes)).map(|r| r.shown(id)));
        }
        Ok(Answer::json(
            &json!({"data": data, "hasMore": has_more, "nextCursor": next}),
        ))
    })
}

/// `DELETE /api/v1/api-keys/{id}`.
pub fn revoke(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let id = call.path("id").to_owned();
        let bytes = call.edge.store.kept(SPACE, id.clone()).await?;
        let record = bytes.and_then(|bytes| read(&bytes));
        let reach = call.reach();
        let record = record.filter(|record| reach.covers(Some(&record.tenant)));
        let record = record.ok_or_else(Problem::not_found)?;
        let tenant = &record.tenant;
        let write = Administer {
            keeps: vec![
                keep(SPACE, id.clone(), None),
                keep(SPACE_OF, place(tenant, &id), None),
            ],
            audit: vec![audit(
                &call,
                "api_key.revoked",
                &id,
                tenant,
                record.name.clone(),
            )],
            ..Administer::default()
        };
        call.edge.store.administer(write).await?;
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    })
}
