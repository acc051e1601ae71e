//! What a tenant's licence allows, feature by feature.
//!
//! Invariants: "no" is an answer (200), a name no plan has is a mistake (404 `unknown_feature`).
//! Not here: the rules (`bursar_domain::tenant`).
//! Source: contract §3 "Billing".

use crate::http::answer::Answer;
use crate::http::order::tenant_row;
use crate::http::problem::{Code, Problem};
use crate::http::reads::page_of;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::tenant::view::features;
use bursar_domain::tenant::{TenantView, entitlement};
use serde_json::json;

async fn stored_tenant(call: &Call) -> Result<TenantView, Problem> {
    let tenant = call.path_tenant("tenantId")?;
    let row = tenant_row(call, &tenant).await?;
    TenantView::from_row(&row.value).map_err(|error| {
        tracing::error!(tenant.id = %tenant, %error, "a tenant's row cannot be read");
        Problem::new(Code::Internal, "the tenant's row cannot be read")
    })
}

/// `GET /api/v1/tenants/{tenantId}/entitlements`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = stored_tenant(&call).await?;
        let catalogue = &call.edge.settings.domain.catalogue;
        let now = call.edge.now();
        let data: Vec<_> = features(catalogue)
            .iter()
            .filter_map(|feature| entitlement(&tenant, feature, catalogue, now).ok())
            .map(|entitlement| json!(entitlement))
            .collect();
        page_of(&call, &data)
    })
}

/// `GET /api/v1/tenants/{tenantId}/entitlements/{feature}`.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = stored_tenant(&call).await?;
        let catalogue = &call.edge.settings.domain.catalogue;
        let found = entitlement(&tenant, call.path("feature"), catalogue, call.edge.now());
        let found = found.map_err(|_unknown| {
            let detail = "no plan of the catalogue has a feature of this name";
            Problem::new(Code::UnknownFeature, detail)
        })?;
        Ok(Answer::json(&json!(found)))
    })
}
