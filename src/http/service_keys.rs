//! Service keys: made by the operator for the product's backend, good for every tenant within their scopes.
//!
//! Not here: the shape of a key and how it is compared (`keys`), keys of one tenant (`api_keys`).
//! Failure: revoking acts on the next request, since every request reads the record.

use crate::http::answer::Answer;
use crate::http::auth::{Caller, Principal, Scope};
use crate::http::edge::Edge;
use crate::http::keys::{self, Presented};
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::ids::Timestamp;
use bursar_store::api::{Administer, AuditEntry, Keep};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where keys are kept.
pub const SPACE: &str = "service_key";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    name: String,
    scopes: Vec<Scope>,
    created_at: Timestamp,
    secret_sha256: String,
}

impl Record {
    fn shown(&self, id: &str) -> Value {
        json!({
            "id": id, "name": self.name,
            "scopes": self.scopes, "createdAt": self.created_at.rfc3339(),
        })
    }
}

/// The caller behind a presented key. # Errors: 503 if the store is away.
pub async fn find(edge: &Edge, presented: Presented<'_>) -> Result<Option<Caller>, Problem> {
    let id = presented.id.to_owned();
    let Some(bytes) = edge.store.kept(SPACE, id.clone()).await? else {
        return Ok(None);
    };
    let Ok(record) = serde_json::from_slice::<Record>(&bytes) else {
        tracing::error!(key.id = id, "a service key's record cannot be read");
        return Ok(None);
    };
    let fits = presented.fits(&record.secret_sha256);
    let caller = Caller {
        principal: Principal::ServiceKey(id),
        scopes: record.scopes,
        bound: None,
    };
    Ok(fits.then_some(caller))
}

fn audit(call: &Call, action: &str, id: &str, detail: String) -> AuditEntry {
    AuditEntry {
        at: call.edge.now(),
        actor: call.caller.principal.text(),
        action: action.to_owned(),
        object_id: id.to_owned(),
        tenant: None,
        request_id: call.request_id.clone(),
        detail,
    }
}

/// `POST /api/v1/service-keys`.
pub fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let names = call.fields.texts("scopes");
        let mut scopes: Vec<Scope> = names.iter().filter_map(|n| Scope::parse(n)).collect();
        scopes.sort();
        scopes.dedup();
        if scopes.is_empty() {
            let detail = "`scopes` must name at least one scope";
            return Err(Problem::field("scopes", FieldCode::Required, detail));
        }
        let drawn = keys::draw(call.edge.now())?;
        let id = drawn.id;
        let record = Record {
            name: call.fields.text("name").unwrap_or("").to_owned(),
            scopes,
            created_at: call.edge.now(),
            secret_sha256: drawn.secret_sha256,
        };
        let value = serde_json::to_vec(&record).map_err(|error| {
            tracing::error!(%error, "a service key's record cannot be written");
            Problem::new(Code::Internal, "the key cannot be stored")
        })?;
        let write = Administer {
            keeps: vec![Keep {
                space: SPACE,
                key: id.clone(),
                value: Some(value),
                subject: None,
            }],
            must_be_absent: vec![(SPACE, id.clone())],
            audit: vec![audit(
                &call,
                "service_key.created",
                &id,
                record.name.clone(),
            )],
            ..Administer::default()
        };
        if !call.edge.store.administer(write).await? {
            return Err(Problem::new(Code::Internal, "two keys drew the same id"));
        }
        let mut shown = record.shown(&id);
        shown["key"] = drawn.key.into();
        Ok(Answer::created(&shown).holding_secret())
    })
}

/// `GET /api/v1/service-keys`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let limit = crate::http::reads::limit(&call);
        let query = "service_keys";
        let cursor = match call.fields.text("cursor") {
            Some(cursor) => {
                let key = call.edge.cursors.unwrap(query, cursor)?;
                Some(String::from_utf8_lossy(&key).into_owned())
            }
            None => None,
        };
        let mut rows = call.edge.store.kept_all(SPACE, cursor, limit + 1).await?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| has_more)
            .map(|(id, _)| call.edge.cursors.wrap(query, id.as_bytes()));
        let data: Vec<Value> = rows
            .iter()
            .filter_map(|(id, bytes)| Some((id, serde_json::from_slice::<Record>(bytes).ok()?)))
            .map(|(id, record)| record.shown(id))
            .collect();
        Ok(Answer::json(
            &json!({"data": data, "hasMore": has_more, "nextCursor": next}),
        ))
    })
}

/// `DELETE /api/v1/service-keys/{id}`.
pub fn revoke(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let id = call.path("id").to_owned();
        if call.edge.store.kept(SPACE, id.clone()).await?.is_none() {
            return Err(Problem::not_found());
        }
        let write = Administer {
            keeps: vec![Keep {
                space: SPACE,
                key: id.clone(),
                value: None,
                subject: None,
            }],
            audit: vec![audit(&call, "service_key.revoked", &id, String::new())],
            ..Administer::default()
        };
        call.edge.store.administer(write).await?;
        Ok(Answer::empty(hyper::StatusCode::NO_CONTENT))
    })
}
