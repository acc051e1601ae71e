//! Routes of notifications: endpoints, their deliveries, the feed.
//!
//! Invariants: a caller of one tenant sees and makes what is that tenant's; a foreign endpoint is 404 like an absent one. A
//! secret is answered once, when it is made.
//! Source: contract §3 "Operators", §4 "Notifications".

pub mod deliveries;
pub mod endpoints;
pub mod feed;

use crate::http::auth::Reach;
use crate::http::order::audit_line;
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

/// Whose notifications a request is about; none: everybody's. # Errors: 404 for a caller who sees nothing.
fn tenant_of(reach: &Reach) -> Result<Option<TenantId>, Problem> {
    match reach.tenant() {
        Some(tenant) => Ok(Some(tenant.clone())),
        None if reach.is_everything() => Ok(None),
        None => Err(Problem::not_found()),
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
    let action = format!("notification_endpoint.{action}");
    audit_line(call, &action, id, tenant, detail)
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
