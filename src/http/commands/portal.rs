//! `POST /api/v1/billing/stripe/portal`: a session of Stripe's customer portal; its static address while the circuit
//! is open.

use super::urls;
use super::{Ended, Plan, command_id, customer_named, customer_of, run, tenant_of};
use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::customers::{self, PortalVisit};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{CustomerId, TenantId};
use bursar_domain::rows::RowKind;
use serde_json::json;

/// `POST /api/v1/billing/stripe/portal`.
pub fn open(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let plan = async {
            let (tenant, customer) = visitor(&call).await?;
            let return_url = urls::checked(&call, "returnUrl")?;
            let objects = vec![customer.to_string()];
            let order = PortalVisit {
                customer,
                return_url,
            };
            Ok(Plan {
                kind: CommandKind::Portal,
                tenant,
                call: customers::portal(&order),
                objects,
                awaits: None,
            })
        };
        match run(&call, command_id(&call), plan).await {
            Ok(Ended::Succeeded(command)) => {
                let url = json!({"portalUrl": command.text("url")});
                Ok(Answer::json(&url).holding_link())
            }
            Ok(Ended::Pending(answer)) => Ok(answer),
            Err(problem) => fallback(&call, problem),
        }
    })
}

/// The static portal, where Stripe cannot be asked for a session.
fn fallback(call: &Call, problem: Problem) -> Result<Answer, Problem> {
    let is_away = matches!(
        problem.code,
        Code::StripeCircuitOpen | Code::StripeUnavailable
    );
    match &call.edge.settings.billing.portal_url {
        Some(url) if is_away => Ok(Answer::json(&json!({"portalUrl": url})).unkept()),
        _ => Err(problem),
    }
}

/// Whose portal: the customer named, else the tenant's.
async fn visitor(call: &Call) -> Result<(TenantId, CustomerId), Problem> {
    let reach = call.reach();
    if let (Some(id), true) = (call.fields.text("customerId"), reach.is_everything()) {
        let row = visible_row(&call.edge, RowKind::Customer, id, Some(""), &reach).await?;
        let tenant = row.tenant.clone().ok_or_else(Problem::not_found)?;
        return Ok((tenant.clone(), customer_named(call, id, &tenant).await?));
    }
    let (tenant, row) = tenant_of(call).await?;
    if let Some(id) = call.fields.text("customerId") {
        let customer = customer_named(call, id, &tenant).await?;
        return Ok((tenant, customer));
    }
    // Nobody opens a portal for a customer who has never been one: there would be nothing in it.
    let customer = customer_of(&row).ok_or_else(|| {
        let detail = "this tenant has no customer at Stripe yet: a first checkout makes one";
        Problem::new(Code::NoCustomer, detail)
    })?;
    Ok((tenant, customer))
}
