//! What falls due as time passes, and the loop that lets it.
//!
//! Invariants: things happen in the order of their times, each at its own time (`World::now`, and so
//! the `created` of its events); each is checked against the state before it acts.
//! Not here: who moves the clock (`control`, the server's ticker).
//! Failure: a thing whose object has moved on does nothing.
//! Source of outside rules: Stripe documentation, "Subscription webhooks" (draft hour), "Trials",
//! "Smart Retries".

use super::collect::{self, NewInvoice};
use super::{change, period, subscribe};
use crate::api::{charges, checkout, customers, intents, platform, refunds, subscriptions};
use crate::error::ApiError;
use crate::world::{Due, World, int, public, text};
use serde_json::{Value, json};

/// A renewal's invoice stays a draft this long.
const DRAFT_SECONDS: i64 = 3_600;
/// Most things one call lets happen; a runaway would otherwise hold the lock.
const STEPS_MAX: usize = 100_000;

/// Lets everything due up to `until` happen. Returns how many things did.
pub(crate) fn run(w: &mut World, until: i64) -> usize {
    let mut count = 0;
    while count < STEPS_MAX {
        let Some((at, account, due)) = w.take_due(until) else {
            break;
        };
        count += 1;
        w.now = at.max(w.now);
        let caused = std::mem::take(&mut w.cause);
        w.within(&account, |w| happen(w, due));
        w.cause = caused;
    }
    w.now = until.max(w.now);
    count
}

fn happen(w: &mut World, due: Due) {
    match due {
        Due::PeriodEnd(id) => period_over(w, &id),
        Due::Upcoming(id) => upcoming(w, &id),
        Due::TrialWillEnd(id) => trial_will_end(w, &id),
        Due::IncompleteExpires(id) => incomplete_over(w, &id),
        Due::FinalizeInvoice(id) => finalize_and_collect(w, &id),
        Due::RetryInvoice(id) => retry(w, &id),
        Due::SessionExpires(id) => checkout::expire_due(w, &id),
        Due::IntentSettles(id) => intents::settle(w, &id),
        Due::AuthorizationLapses(id) => intents::lapse(w, &id),
        Due::DisputeArrives(id) => charges::aftermath(w, &id),
        Due::RefundMoves(id) => refunds::moves(w, &id),
        Due::PayoutMoves(id) => platform::payout_moves(w, &id),
    }
}

fn period_over(w: &mut World, id: &str) {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return;
    };
    if subscriptions::is_over(&sub)
        || matches!(sub["status"].as_str(), Some("incomplete" | "paused"))
    {
        return;
    }
    if sub["cancel_at"].as_i64().is_some_and(|at| at <= w.now) {
        subscriptions::cancel(w, id, "cancellation_requested");
        return;
    }
    if subscriptions::period_end(&sub) > w.now {
        return;
    }
    if sub["status"] == "trialing" {
        trial_over(w, id, &sub, DRAFT_SECONDS);
    } else {
        open_period(w, id, &sub, &text(&sub, "status"), DRAFT_SECONDS);
    }
}

/// A trial ends: into a paid period, or paused or canceled without a payment method.
pub(crate) fn trial_over(w: &mut World, id: &str, before: &Value, draft_seconds: i64) {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return;
    };
    let has_method = sub["default_payment_method"].is_string()
        || customers::default_payment_method(w, &text(&sub, "customer")).is_some();
    let without = text(
        &sub["trial_settings"]["end_behavior"],
        "missing_payment_method",
    );
    match without.as_str() {
        "cancel" if !has_method => drop(subscriptions::cancel(w, id, "cancellation_requested")),
        "pause" if !has_method => {
            let (_, after) = w.change(id, |v| v["status"] = json!("paused"));
            w.tell_change("customer.subscription.updated", before, &after);
            w.tell("customer.subscription.paused", &after);
        }
        _ => drop(open_period(w, id, before, "active", draft_seconds)),
    }
}

/// Moves the period on and drafts its invoice.
fn open_period(
    w: &mut World,
    id: &str,
    before: &Value,
    status: &str,
    draft_seconds: i64,
) -> String {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return String::new();
    };
    let anchor = int(&sub, "billing_cycle_anchor");
    let mut next = sub.clone();
    let mut lines = Vec::new();
    let previous_start = int(&sub["items"]["data"][0], "current_period_start");
    let start = subscriptions::period_end(&sub);
    for item in next["items"]["data"].as_array_mut().into_iter().flatten() {
        let recurring = &item["price"]["recurring"];
        let interval = recurring["interval"].as_str().unwrap_or("month");
        let end = period::next(
            anchor,
            start,
            interval,
            recurring["interval_count"].as_i64().unwrap_or(1),
        );
        item["current_period_start"] = json!(start);
        item["current_period_end"] = json!(end);
        let (price, quantity, item_id) = (
            item["price"].clone(),
            int(item, "quantity"),
            text(item, "id"),
        );
        lines.push(collect::line_for_price(
            w,
            &price,
            quantity,
            (start, end),
            Some((id, &item_id)),
        ));
    }
    let mut all = collect::take_pending(w, &text(&sub, "customer"), Some(id));
    all.extend(lines);
    let invoice = collect::draft(
        w,
        &NewInvoice {
            customer: text(&sub, "customer"),
            subscription: Some(id.to_owned()),
            currency: text(&sub, "currency"),
            reason: "subscription_cycle",
            lines: all,
            period: (previous_start, start),
            auto_advance: true,
        },
    );
    let invoice_id = text(&invoice, "id");
    collect::settle_pending(w, &invoice);
    next["latest_invoice"] = json!(invoice_id);
    next["status"] = json!(status);
    let end = next["items"]["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|i| int(i, "current_period_end"))
        .min();
    w.change(id, |v| *v = next.clone());
    w.tell_change("customer.subscription.updated", before, &next);
    let finalizes_at = w.now + draft_seconds;
    let (_, invoice) = w.change(&invoice_id, |v| {
        v["automatically_finalizes_at"] = json!(finalizes_at)
    });
    w.tell("invoice.created", &invoice);
    subscribe::schedule_period(w, id, end.unwrap_or(w.now + 86_400));
    if draft_seconds > 0 {
        w.schedule(finalizes_at, Due::FinalizeInvoice(invoice_id.clone()));
    } else {
        finalize_and_collect(w, &invoice_id);
    }
    invoice_id
}

/// Starts a new period now (a paused subscription resumes) and collects it at once.
///
/// # Errors
/// 402 when the payment fails.
pub(crate) fn start_period_now(w: &mut World, id: &str) -> Result<(), ApiError> {
    let before = w.need("subscription", id, "subscription")?;
    let now = w.now;
    w.change(id, |v| {
        v["billing_cycle_anchor"] = json!(now);
        for item in v["items"]["data"].as_array_mut().into_iter().flatten() {
            item["current_period_end"] = json!(now);
        }
    });
    open_period(w, id, &before, "paused", 0);
    Ok(())
}

fn finalize_and_collect(w: &mut World, id: &str) {
    let Some(invoice) = w.get("invoice", id).cloned() else {
        return;
    };
    let subscription = text(&invoice["parent"]["subscription_details"], "subscription");
    let pause = w
        .get("subscription", &subscription)
        .map(|s| text(&s["pause_collection"], "behavior"))
        .unwrap_or_default();
    if invoice["status"] != "draft" || invoice["auto_advance"] != true || pause == "keep_as_draft" {
        return;
    }
    let finalized = collect::finalize(w, id);
    w.tell("invoice.finalized", &finalized);
    if pause == "void" {
        collect::void(w, id);
        return;
    }
    if int(&finalized, "amount_due") == 0 {
        collect::mark_paid(w, id, true);
        return;
    }
    // A declined renewal is an outcome; the invoice and the subscription already say so.
    drop(collect::attempt(w, id, None, true));
}

fn retry(w: &mut World, id: &str) {
    let open = w.get("invoice", id).is_some_and(|v| {
        v["status"] == "open"
            && v["next_payment_attempt"]
                .as_i64()
                .is_some_and(|at| at <= w.now)
    });
    if open {
        drop(collect::attempt(w, id, None, true));
    }
}

fn upcoming(w: &mut World, id: &str) {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return;
    };
    let live = matches!(
        sub["status"].as_str(),
        Some("active" | "trialing" | "past_due")
    );
    if !live || sub["cancel_at_period_end"] == true {
        return;
    }
    let customer = sub["customer"].clone();
    let Ok(change) = subscriptions::planned_change(w, &sub, &json!({})) else {
        return;
    };
    let lines = change.preview_lines(w, &sub);
    let start = int(&sub["items"]["data"][0], "current_period_start");
    let invoice = collect::draft(
        w,
        &NewInvoice {
            customer: customer.as_str().unwrap_or_default().to_owned(),
            subscription: Some(id.to_owned()),
            currency: text(&sub, "currency"),
            reason: "upcoming",
            lines,
            period: (start, subscriptions::period_end(&sub)),
            auto_advance: true,
        },
    );
    w.remove(&text(&invoice, "id"));
    let mut invoice = public(&invoice);
    invoice["next_payment_attempt"] = json!(subscriptions::period_end(&sub) + DRAFT_SECONDS);
    w.tell("invoice.upcoming", &invoice);
}

fn trial_will_end(w: &mut World, id: &str) {
    if let Some(sub) = w
        .get("subscription", id)
        .filter(|s| s["status"] == "trialing")
        .cloned()
    {
        w.tell("customer.subscription.trial_will_end", &sub);
    }
}

fn incomplete_over(w: &mut World, id: &str) {
    let Some(sub) = w.get("subscription", id).cloned() else {
        return;
    };
    if sub["pending_update"]["expires_at"]
        .as_i64()
        .is_some_and(|at| at <= w.now)
    {
        change::pending_expired(w, id);
        return;
    }
    if sub["status"] != "incomplete" {
        return;
    }
    let now = w.now;
    w.change_and_tell(id, "customer.subscription.updated", |v| {
        v["status"] = json!("incomplete_expired");
        v["ended_at"] = json!(now);
    });
    collect::void(w, &text(&sub, "latest_invoice"));
}
