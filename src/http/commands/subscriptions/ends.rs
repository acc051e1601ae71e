//! The end of a subscription: at its period's end, now, or called off.
//!
//! Invariants: ending now has no idempotency key at Stripe; that it happened is read off the subscription
//! (`bursar_domain::command`), so a second attempt's 404 is no failure. What is to be called off is decided by what
//! Stripe shows now: an event on its way may not have told us yet.

use super::{Subject, answer, conflict, live, must_live, subject};
use crate::http::answer::Answer;
use crate::http::commands::{Ended, Plan, command_id, run};
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::subscriptions::{
    CancelNow, PeriodEnd, at_period_end, cancel_now, no_end, resume as go_on,
};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::CommandId;
use bursar_domain::stripe_call::StripeCall;
use serde_json::Value;

/// `POST /api/v1/billing/subscriptions/{id}/cancel`.
pub fn cancel(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let subject = subject(&call).await?;
        let id = command_id(&call);
        let waits = call.fields.boolean("atPeriodEnd").unwrap_or(true);
        let plan = async {
            must_live(subject.status())?;
            let comment = call.fields.text("reason").map(str::to_owned);
            let subscription = subject.id.clone();
            let order = if waits {
                let ends = true;
                let order = PeriodEnd {
                    subscription,
                    ends,
                    comment,
                };
                at_period_end(&order, &id)
            } else {
                cancel_now(&CancelNow {
                    subscription,
                    invoice_now: false,
                    prorate: false,
                    comment,
                })
            };
            Ok(planned(&subject, CommandKind::CancelSubscription, order))
        };
        match run(&call, id.clone(), plan).await? {
            Ended::Succeeded(_) => {
                let ended = |row: &Value| row["status"] == "canceled";
                let applied = |row: &Value| ended(row) || waits && row["cancelAtPeriodEnd"] == true;
                answer(&call, &subject, None, applied).await
            }
            Ended::Pending(answer) => Ok(answer),
        }
    })
}

fn planned(subject: &Subject, kind: CommandKind, call: StripeCall) -> Plan {
    Plan {
        kind,
        tenant: subject.tenant.clone(),
        call,
        objects: vec![subject.id.to_string()],
        awaits: None,
    }
}

/// `POST /api/v1/billing/subscriptions/{id}/resume`.
pub fn resume(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let subject = subject(&call).await?;
        let id = command_id(&call);
        let plan = async {
            let subscription = live(&call, &subject).await?;
            let order = going_on(&subject, &subscription, &id)?;
            Ok(planned(&subject, CommandKind::ResumeSubscription, order))
        };
        match run(&call, id.clone(), plan).await? {
            Ended::Succeeded(_) => {
                let goes_on = |row: &Value| {
                    row["cancelAtPeriodEnd"] == false
                        && row["cancelAt"].is_null()
                        && row["status"] != "paused"
                };
                answer(&call, &subject, None, goes_on).await
            }
            Ended::Pending(answer) => Ok(answer),
        }
    })
}

/// What lets it go on. # Errors: 409 where nothing holds it.
fn going_on(subject: &Subject, live: &Value, id: &CommandId) -> Result<StripeCall, Problem> {
    must_live(live["status"].as_str().unwrap_or_default())?;
    if live["cancel_at_period_end"] == true {
        let order = PeriodEnd {
            subscription: subject.id.clone(),
            ends: false,
            comment: None,
        };
        return Ok(at_period_end(&order, id));
    }
    if !live["cancel_at"].is_null() {
        return Ok(no_end(&subject.id, id));
    }
    if live["status"] == "paused" {
        return Ok(go_on(&subject.id));
    }
    Err(conflict(
        "no end of the subscription is scheduled, and it is not paused",
    ))
}
