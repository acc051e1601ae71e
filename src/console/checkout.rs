//! Selling a plan: Stripe's page for the customer, and what came of it.
//!
//! Invariants: a form of ours never leads to Stripe itself: browsers hold `form-action` against redirects too, so what
//! opens is a page of ours with a link. The link lets its holder in, so it is in one answer and nothing else.

use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the page after a sale waits for its end.
const WAIT_SECONDS: &str = "10";
/// How often, and after how long each, a subscription's payment is looked for.
const LOOKS_MAX: usize = 12;
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// `POST /console/checkout`.
pub(super) fn open(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let tenant = match (&visit.call.selected, visit.field("to")) {
            (Some(tenant), _) => tenant.to_string(),
            (None, Some(tenant)) => tenant.to_owned(),
            (None, None) => {
                let detail = "say which tenant it is sold to";
                return Err(Problem::field("to", FieldCode::Required, detail));
            }
        };
        let mut fields = vec![("tenantId", tenant.clone())];
        fields.extend(visit.given(&["planId"]));
        let base = &visit.call.edge.settings.app_base_url;
        let back = format!(
            "{}/console/sold?tenantId={tenant}",
            base.trim_end_matches('/')
        );
        let mut with_way_back = fields.clone();
        with_way_back.push((
            "successUrl",
            format!("{back}&session_id={{CHECKOUT_SESSION_ID}}"),
        ));
        with_way_back.push(("cancelUrl", format!("{back}&canceled=true")));
        let opened = visit.order("checkout_open", &[], with_way_back).await;
        let opened = match opened {
            // The product's front end is elsewhere and ours is no place to come back to: its own pages are.
            Err(problem) if problem.code == Code::ReturnUrlNotAllowed => {
                visit.order("checkout_open", &[], fields).await?
            }
            opened => opened?,
        };
        let answer = json_of(&opened)?;
        let is_open = opened.status == StatusCode::OK;
        let holds = json!({
            "to": tenant, "isOpen": is_open, "url": answer["sessionUrl"], "session": answer["sessionId"],
            "command": answer["commandId"], "plan": visit.field("planId"),
        });
        visit.page("checkout.html", "Checkout opened", holds).await
    })
}

/// `GET /console/sold`: where the customer comes back to.
pub(super) fn sold(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let Some(session) = visit.field("session_id") else {
            let holds = json!({"session": null, "payment": null, "mayRefund": false});
            return visit.page("sold.html", "Checkout left", holds).await;
        };
        let wait = vec![("waitSeconds", WAIT_SECONDS.to_owned())];
        let session = visit
            .ask("checkout_sessions_get", &[("id", session)], wait)
            .await?;
        let payment = paid_by(&visit, &session).await?;
        let title = if session["status"] == "complete" {
            "Sold"
        } else {
            "Checkout"
        };
        let holds = json!({
            "session": session, "payment": payment, "mayRefund": visit.may("refunds_create"),
        });
        visit.page("sold.html", title, holds).await
    })
}

/// The payment of a session. A subscription's is linked to it only once its invoice was read: that is waited for.
/// # Errors: the route's.
async fn paid_by(visit: &Visit, session: &Value) -> Result<Option<Value>, Problem> {
    if let Some(id) = session["paymentId"].as_str() {
        return visit
            .ask("payments_get", &[("id", id)], Vec::new())
            .await
            .map(Some);
    }
    let (Some(subscription), Some(tenant)) = (
        session["subscriptionId"].as_str(),
        session["tenantId"].as_str(),
    ) else {
        return Ok(None);
    };
    for _ in 0..LOOKS_MAX {
        let newest = vec![("tenantId", tenant.to_owned()), ("limit", "10".to_owned())];
        let payments = visit.ask("payments_list", &[], newest).await?;
        let payments = payments["data"].as_array().cloned().unwrap_or_default();
        let own = payments
            .into_iter()
            .find(|payment| payment["subscriptionId"] == subscription);
        if own.is_some() {
            return Ok(own);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(None)
}
