//! What a tenant's licence allows, feature by feature.
//!
//! Invariants: "no" is an answer (200), a name no plan has is a mistake (404 `unknown_feature`).
//! Source: contract §3 "Billing", §4 (`license.state`).

use crate::http::answer::Answer;
use crate::http::order::tenant_row;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::plans::{Catalogue, Limit, PlanEffect};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every feature any plan has.
fn known_features(catalogue: &Catalogue) -> BTreeSet<&str> {
    fn of_plan(effect: &PlanEffect) -> Option<(&BTreeSet<String>, &BTreeMap<String, Limit>)> {
        match effect {
            PlanEffect::Free { features, limits } => Some((features, limits)),
            PlanEffect::Subscription(terms) => Some((&terms.features, &terms.limits)),
            PlanEffect::Credits(_) => None,
        }
    }
    let plans = catalogue.plans.iter();
    plans
        .filter_map(|plan| of_plan(&plan.effect))
        .flat_map(|(features, limits)| features.iter().chain(limits.keys()))
        .map(String::as_str)
        .collect()
}

/// The bound of a feature under a plan; `Quantity` is that of the subscription.
fn limit_of(catalogue: &Catalogue, tenant: &Value, feature: &str) -> Option<u64> {
    let subscription = &tenant["subscription"];
    let plan_id = subscription["planId"]
        .as_str()
        .or(tenant["planId"].as_str())?;
    let limits = match &catalogue.plan(plan_id)?.effect {
        PlanEffect::Free { limits, .. } => limits,
        PlanEffect::Subscription(terms) => &terms.limits,
        PlanEffect::Credits(_) => return None,
    };
    match limits.get(feature)? {
        Limit::Fixed(most) => Some(*most),
        Limit::Quantity => subscription["quantity"].as_u64(),
    }
}

fn entitlement(catalogue: &Catalogue, tenant: &Value, feature: &str) -> Value {
    let license = &tenant["license"];
    let state = license["state"].as_str().unwrap_or("none");
    let listed = license["features"]
        .as_array()
        .is_some_and(|features| features.iter().any(|f| f.as_str() == Some(feature)));
    let limit = limit_of(catalogue, tenant, feature);
    let allowed = listed && state != "revoked";
    let reason = match (allowed, state) {
        (true, "grace") => "in_grace",
        (true, "active") => "licensed",
        (true, _) => "free_plan",
        (false, "revoked") => "license_revoked",
        (false, "none") => "no_license",
        (false, _) => "not_in_plan",
    };
    json!({
        "feature": feature, "allowed": allowed, "reason": reason,
        "until": license["validUntil"], "limit": limit,
        "stale": license["stale"].as_bool().unwrap_or(false),
    })
}

async fn stored_tenant(call: &Call) -> Result<Value, Problem> {
    let tenant = call.path_tenant("tenantId")?;
    let row = tenant_row(&call.edge, &tenant).await?;
    Ok(serde_json::from_slice(&row.value).unwrap_or(Value::Null))
}

/// `GET /api/v1/tenants/{tenantId}/entitlements`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = stored_tenant(&call).await?;
        let catalogue = &call.edge.settings.domain.catalogue;
        let data: Vec<Value> = known_features(catalogue)
            .into_iter()
            .map(|feature| entitlement(catalogue, &tenant, feature))
            .collect();
        Ok(Answer::json(
            &json!({"data": data, "hasMore": false, "nextCursor": null}),
        ))
    })
}

/// `GET /api/v1/tenants/{tenantId}/entitlements/{feature}`.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = stored_tenant(&call).await?;
        let catalogue = &call.edge.settings.domain.catalogue;
        let feature = call.path("feature");
        if !known_features(catalogue).contains(feature) {
            let detail = "no plan of the catalogue has a feature of this name";
            return Err(Problem::new(Code::UnknownFeature, detail));
        }
        Ok(Answer::json(&entitlement(catalogue, &tenant, feature)))
    })
}
