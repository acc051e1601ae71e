//! One route asked from within a page's request: how the console reads and orders.
//!
//! Invariants: a page has no way of its own to decide, authorize or read. What it asks goes through the row of a route
//! of the API: its right, the reading of its fields, its idempotency, its trail.
//! Failure: the route's own problems.

use crate::http::answer::Answer;
use crate::http::auth::Caller;
use crate::http::fields;
use crate::http::problem::Problem;
use crate::http::route::{Auth, Call};
use crate::http::router::{anonymous, authorize, carry_out};
use crate::http::routes;
use bursar_domain::ids::TenantId;
use bytes::Bytes;
use std::sync::Arc;

/// Whether who looks at a page may call the route of this label.
pub fn may(caller: &Caller, label: &str) -> bool {
    authorize(routes::labelled(label).auth, caller).is_ok()
}

/// What a page asks of a route.
pub struct Inner<'a> {
    /// Which one.
    pub label: &'a str,
    /// Parameters of its path.
    pub path: Vec<(&'static str, String)>,
    /// Its fields.
    pub fields: Vec<(&'a str, String)>,
    /// Its idempotency key.
    pub key: Option<String>,
}

/// Asks a route from within a page's request, as its caller: the same right, the same reading of the fields, the same
/// idempotency and the same trail as a request from outside.
/// # Errors: the route's.
pub async fn within(page: &Call, inner: Inner<'_>) -> Result<Answer, Problem> {
    let route = routes::labelled(inner.label);
    let (caller, selected) = match route.auth {
        Auth::Public | Auth::Stripe => (anonymous(), None),
        Auth::Person => (
            Caller {
                bound: None,
                ..page.caller.clone()
            },
            None,
        ),
        _ => (page.caller.clone(), page.selected.clone()),
    };
    authorize(route.auth, &caller)?;
    let takes_tenant = route.params.iter().any(|param| param.name == "tenantId");
    let tenant = selected.as_ref().filter(|_| takes_tenant);
    let fields = fields::read(route, Some(&query_of(&inner.fields, tenant)), None, &[])?;
    let call = Call {
        edge: Arc::clone(&page.edge),
        route,
        caller,
        peer: page.peer,
        selected,
        path: inner.path,
        fields,
        headers: page.headers.clone(),
        body: Bytes::new(),
        request_id: page.request_id.clone(),
        idempotency_key: inner.key.filter(|_| route.is_idempotent()),
    };
    carry_out(call).await
}

/// The fields as a query: texts, which each field's kind reads. The tenant one is in is named unless another is.
fn query_of(fields: &[(&str, String)], tenant: Option<&TenantId>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        query.append_pair(name, value);
    }
    let is_named = fields.iter().any(|(name, _)| *name == "tenantId");
    if let Some(tenant) = tenant.filter(|_| !is_named) {
        query.append_pair("tenantId", tenant.as_str());
    }
    query.finish()
}
