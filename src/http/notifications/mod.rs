//! Routes of notifications: endpoints, their deliveries, the feed.
//!
//! Invariants: a caller of one tenant sees and makes what is that tenant's; a foreign endpoint is 404 like an absent one. A
//! secret is answered once, when it is made.
//! Source: contract §3 "Operators", §4 "Notifications".

pub mod deliveries;
pub mod endpoints;
pub mod feed;

use crate::http::auth::Reach;
use crate::http::problem::{FieldCode, Problem};
use crate::http::route::Call;
use crate::notifications::CONFIGURED;
use crate::notifications::records::Endpoint;
use bursar_domain::ids::TenantId;
use bursar_domain::notification::{TYPES, is_filter};
use bursar_store::api::AuditEntry;
use std::sync::Arc;

/// The endpoint of the path. # Errors: 404 absent or foreign.
fn endpoint_of(call: &Call) -> Result<Arc<Endpoint>, Problem> {
    let found = call.edge.notifications.registry.get(call.path("id"));
    let found = found.filter(|one| call.reach().covers(one.tenant.as_ref()));
    found.ok_or_else(Problem::not_found)
}

/// The one tenant the request is about; none: all.
fn tenant_of(call: &Call) -> Option<TenantId> {
    match call.reach() {
        Reach::Tenant(tenant) => Some(tenant),
        Reach::Installation => None,
    }
}

/// The types a request names, sorted. # Errors: 400 for what is no type.
fn types(call: &Call) -> Result<Vec<String>, Problem> {
    let mut types = call.fields.texts("types");
    if let Some(unknown) = types.iter().find(|text| !is_filter(text)) {
        let detail = format!(
            "{unknown:?} is no type of notification; they are {} and groups such as payment.*",
            TYPES.join(", ")
        );
        return Err(Problem::field("types", FieldCode::Unknown, detail));
    }
    types.sort();
    types.dedup();
    Ok(types)
}

fn audit(
    call: &Call,
    action: &str,
    id: &str,
    tenant: Option<TenantId>,
    detail: String,
) -> AuditEntry {
    AuditEntry {
        at: call.edge.now(),
        actor: call.caller.principal.text(),
        action: format!("notification_endpoint.{action}"),
        object_id: id.to_owned(),
        tenant,
        request_id: call.request_id.clone(),
        detail,
    }
}

/// An endpoint that may be changed here. # Errors: 409 for the configured one.
fn changeable(endpoint: &Endpoint) -> Result<(), Problem> {
    if endpoint.id != CONFIGURED {
        return Ok(());
    }
    let detail = "this endpoint is OUTBOUND_WEBHOOK_URL of the configuration, and is changed there";
    Err(Problem::new(
        crate::http::problem::Code::StateConflict,
        detail,
    ))
}
