//! The overview: what needs somebody, with why and what next, and then the figures.

use super::chart;
use super::money;
use super::tenants::for_sale;
use super::visit::Visit;
use crate::http::answer::Answer;
use crate::http::operators;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::ids::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DAYS: usize = 30;
const DAY_MS: i64 = 86_400_000;
/// Without a delivery for so long, while somebody pays, something is wrong.
const SILENT_HOURS: i64 = 24;

/// Something that needs somebody.
fn trouble(tone: &str, what: String, why: &str, next: &str, path: &str) -> Value {
    json!({"tone": tone, "what": what, "why": why, "next": next, "path": path})
}

/// How many are in the first page of a list, said with a plus where there are more.
struct Count {
    number: usize,
    text: String,
    first: Value,
}

async fn count(visit: &Visit, label: &str, status: &str) -> Result<Count, Problem> {
    let mut asked = vec![("limit", "100".to_owned())];
    if !status.is_empty() {
        asked.push(("status", status.to_owned()));
    }
    let page = visit.ask(label, &[], asked).await?;
    let number = page["data"].as_array().map_or(0, Vec::len);
    let plus = if page["hasMore"] == true { "+" } else { "" };
    Ok(Count {
        number,
        text: format!("{number}{plus}"),
        first: page["data"][0].clone(),
    })
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}

/// `GET /console`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut troubles = of_everybody(&visit).await?;
        let mut compared = false;
        if visit.is_operator() {
            let report = visit.ask("reconcile_report", &[], Vec::new()).await?;
            compared = report["status"] == "done";
            let mut first = of_installation(&visit, &report).await?;
            first.append(&mut troubles);
            troubles = first;
        }
        let mut tenant = Value::Null;
        if let Some(id) = visit.call.selected.as_ref().map(ToString::to_string) {
            tenant = visit
                .ask("tenants_get", &[("tenantId", &id)], Vec::new())
                .await?;
            troubles.extend(of_tenant(&tenant));
        }
        let money = money_in(&visit).await?;
        let holds = json!({
            "troubles": troubles, "compared": compared, "shown": tenant, "money": money, "plans": for_sale(&visit).await?,
            "figures": figures(&visit).await?,
        });
        visit.page("overview.html", "Overview", holds).await
    })
}

/// What is wrong beyond any tenant.
async fn of_installation(visit: &Visit, report: &Value) -> Result<Vec<Value>, Problem> {
    let mut found = Vec::new();
    let ready = visit.ask("readyz", &[], Vec::new()).await?;
    for check in ready["checks"].as_array().into_iter().flatten() {
        if check["ok"] != true {
            let what = format!("Not ready: {}", word(check, "name"));
            let next = "While this lasts Stripe’s deliveries are answered 503 and come again. Look at the log.";
            found.push(trouble(
                "bad",
                what,
                word(check, "detail"),
                next,
                "/console/setup",
            ));
        }
    }
    let dead = count(visit, "webhook_events_list", "dead").await?;
    if dead.number > 0 {
        let why = format!("the newest: {}", word(&dead.first, "reason"));
        let next =
            "Read the reason, then replay it (it says first what it would do) or set it aside.";
        let what = format!("Dead letters: {}", dead.text);
        found.push(trouble(
            "bad",
            what,
            &why,
            next,
            "/console/events?status=dead",
        ));
    }
    for circuit in visit.ask("circuits_list", &[], Vec::new()).await?["data"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if circuit["state"] != "closed" {
            let state = word(circuit, "state").replace('_', " ");
            let what = format!("The circuit {} is {state}", word(circuit, "name"));
            let why =
                "calls failed one after the other, so none are sent for a while; nothing is lost";
            let next = "It tries again by itself. If you know that the other side works, reset it.";
            found.push(trouble("bad", what, why, next, "/console/circuits"));
        }
    }
    let unclaimed = count(visit, "unclaimed_list", "").await?;
    if unclaimed.number > 0 {
        let what = format!("Checkouts without a tenant: {}", unclaimed.text);
        let next = "Somebody may have paid and got nothing: give each to its tenant.";
        found.push(trouble(
            "warn",
            what,
            word(&unclaimed.first, "reason"),
            next,
            "/console/unclaimed",
        ));
    }
    found.extend(of_reconcile(report));
    let parked = count(visit, "webhook_events_list", "parked").await?;
    if parked.number > 0 {
        let what = format!("Events that wait for a link: {}", parked.text);
        let why = "they name a tenant or object nobody has told of yet";
        let next = "Seconds are normal, hours are not: look what each waits for.";
        found.push(trouble(
            "warn",
            what,
            why,
            next,
            "/console/events?status=parked",
        ));
    }
    for status in ["dead", "failed"] {
        let effects = count(visit, "outbox", status).await?;
        if effects.number > 0 {
            let what = format!("Effects that are {status}: {}", effects.text);
            let next = "Mail, notifications and accounts can be tried again from the outbox.";
            let path = format!("/console/outbox?status={status}");
            found.push(trouble(
                "warn",
                what,
                word(&effects.first, "note"),
                next,
                &path,
            ));
        }
    }
    found.extend(silence(visit).await?);
    Ok(found)
}

fn of_reconcile(report: &Value) -> Vec<Value> {
    let of = |field: &str| report[field].as_u64().unwrap_or(0);
    let mut found = Vec::new();
    if of("drifted") > 0 {
        let what = format!("Objects that differ from Stripe’s: {}", of("drifted"));
        let why = "the last comparison found other values at Stripe than here";
        let next = "Read what differs, then repair: it takes Stripe’s word in on a webhook’s path.";
        found.push(trouble("bad", what, why, next, "/console/reconcile"));
    }
    if report["status"] == "failed" || of("failed") > 0 {
        let what = "The comparison with Stripe did not end well".to_owned();
        let why = report["errors"][0]["error"]
            .as_str()
            .unwrap_or("Stripe did not answer all of it");
        found.push(trouble(
            "warn",
            what,
            why,
            "Start it again.",
            "/console/reconcile",
        ));
    }
    found
}

/// Whether Stripe has said nothing for long though there is somebody to say something about.
async fn silence(visit: &Visit) -> Result<Option<Value>, Problem> {
    let one = vec![("limit", "1".to_owned())];
    let newest = visit.ask("webhook_events_list", &[], one.clone()).await?;
    let mut active = one;
    active.push(("status", "active".to_owned()));
    let active = visit.ask("subscriptions_list", &[], active).await?;
    if active["data"][0].is_null() {
        return Ok(None);
    }
    let at = newest["data"][0]["receivedAt"]
        .as_str()
        .and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let hours = at.map(|at| (visit.call.edge.now().0 - at.as_millisecond()) / 3_600_000);
    Ok(match hours {
        Some(hours) if hours < SILENT_HOURS => None,
        hours => {
            let what = hours.map_or_else(
                || "Stripe has never delivered an event".to_owned(),
                |hours| format!("No event from Stripe for {hours} hours"),
            );
            let why = "there are active subscriptions, so there should be some";
            let next = "Set-up looks at the endpoint at Stripe and says what is wrong with it.";
            Some(trouble("bad", what, why, next, "/console/setup"))
        }
    })
}

/// What may be wrong for one tenant or any.
async fn of_everybody(visit: &Visit) -> Result<Vec<Value>, Problem> {
    let mut found = Vec::new();
    let unknown = count(visit, "commands_list", "unknown").await?;
    if unknown.number > 0 {
        let what = format!("Orders whose outcome is not known: {}", unknown.text);
        let why = "Stripe did not answer after the order was sent";
        let next =
            "Do not order again: Bursar asks Stripe until it is known, and uses the same key.";
        let path = format!("/console/explain?id={}", word(&unknown.first, "id"));
        found.push(trouble("bad", what, why, next, &path));
    }
    for (status, words) in [
        ("needs_response", "Disputes"),
        ("warning_needs_response", "Warnings of banks"),
    ] {
        let disputes = count(visit, "disputes_list", status).await?;
        if disputes.number > 0 {
            let what = format!("{words} that wait for an answer: {}", disputes.text);
            let due = word(&disputes.first, "evidenceDueBy");
            let why = if due.is_empty() {
                "the bank took the money back or threatens to".to_owned()
            } else {
                format!("evidence is due by {due}")
            };
            let path = format!("/console/explain?id={}", word(&disputes.first, "id"));
            let next = "Hand in evidence by the API or at Stripe before it is due.";
            found.push(trouble("bad", what, &why, next, &path));
        }
    }
    if visit.may("notification_endpoints_list") {
        let page = visit
            .ask("notification_endpoints_list", &[], Vec::new())
            .await?;
        for one in page["data"].as_array().into_iter().flatten() {
            let path = format!("/console/endpoints/{}", word(one, "id"));
            let url = word(one, "url");
            if one["status"] == "disabled" {
                let what = format!("{url} is told nothing");
                let why = format!(
                    "it was disabled: {}",
                    word(one, "disabledReason").replace('_', " ")
                );
                found.push(trouble(
                    "bad",
                    what,
                    &why,
                    "Mend it, then enable it again.",
                    &path,
                ));
            } else if one["failingSince"].is_string() {
                let why = format!("since {}", word(one, "failingSince"));
                let next = "Deliveries are tried again for three days; look what it answers.";
                found.push(trouble(
                    "warn",
                    format!("{url} does not answer well"),
                    &why,
                    next,
                    &path,
                ));
            }
        }
    }
    Ok(found)
}

fn of_tenant(tenant: &Value) -> Vec<Value> {
    let license = word(&tenant["license"], "state");
    let path = format!("/console/tenants/{}", word(tenant, "tenantId"));
    let mut found = Vec::new();
    if matches!(license, "grace" | "revoked") {
        let status = word(tenant, "status").replace('_', " ");
        let what = format!(
            "The licence is {}",
            if license == "grace" {
                "in grace"
            } else {
                "revoked"
            }
        );
        let why = format!("the tenant is {status}");
        let next = "The tenant’s page says since when and why; a payment restores it.";
        found.push(trouble(
            if license == "grace" { "warn" } else { "bad" },
            what,
            &why,
            next,
            &path,
        ));
    }
    found
}

/// Figures by status, from the store’s own counts: the operator’s alone.
async fn figures(visit: &Visit) -> Result<Value, Problem> {
    if !visit.is_operator() || visit.call.selected.is_some() {
        return Ok(Value::Null);
    }
    operators::figures(&visit.call).await
}

/// Money in and back by day, one chart per currency; only days that were read whole.
async fn money_in(visit: &Visit) -> Result<Value, Problem> {
    let now = visit.call.edge.now();
    let today = now.0.div_euclid(DAY_MS);
    let days = i64::try_from(DAYS).unwrap_or(30);
    let from = Timestamp((today - days + 1) * DAY_MS);
    let asked = [("createdAfter", from.rfc3339())];
    let (payments, more_payments) = visit.ask_all("payments_list", &asked).await?;
    let (refunds, more_refunds) = visit.ask_all("refunds_list", &asked).await?;
    let mut first = today - days + 1;
    for (rows, more) in [(&payments, more_payments), (&refunds, more_refunds)] {
        if let (true, Some(day)) = (more, rows.last().and_then(day_of)) {
            // The oldest day may hold more than was read.
            first = first.max(day + 1);
        }
    }
    let mut sums: BTreeMap<String, BTreeMap<i64, (u64, u64)>> = BTreeMap::new();
    let mut add = |row: &Value, field: &str, is_back: bool| {
        let (Some(day), Some(currency)) = (day_of(row), row["currency"].as_str()) else {
            return;
        };
        let amount = row[field].as_u64().unwrap_or(0);
        if day < first || amount == 0 {
            return;
        }
        let sum = sums
            .entry(currency.to_owned())
            .or_default()
            .entry(day)
            .or_default();
        let side = if is_back { &mut sum.1 } else { &mut sum.0 };
        *side = side.saturating_add(amount);
    };
    for payment in &payments {
        add(payment, "amountCaptured", false);
    }
    for refund in &refunds {
        if !matches!(word(refund, "status"), "failed" | "canceled") {
            add(refund, "amount", true);
        }
    }
    let charts = sums
        .iter()
        .take(4)
        .map(|(currency, by_day)| drawn(currency, by_day, first, today));
    Ok(json!({
        "charts": charts.collect::<Vec<_>>(), "from": Timestamp(first * DAY_MS).rfc3339(),
        "isShort": first > today - days + 1,
    }))
}

fn day_of(row: &Value) -> Option<i64> {
    let at: jiff::Timestamp = row["createdAt"].as_str()?.parse().ok()?;
    Some(at.as_millisecond().div_euclid(DAY_MS))
}

fn day_label(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day * DAY_MS);
    at.map_or_else(|_| String::new(), |at| at.strftime("%-d %b").to_string())
}

fn drawn(currency: &str, by_day: &BTreeMap<i64, (u64, u64)>, first: i64, today: i64) -> Value {
    let groups: Vec<(String, Vec<u64>)> = (first..=today)
        .map(|day| {
            let (into, back) = by_day.get(&day).copied().unwrap_or_default();
            (day_label(day), vec![into, back])
        })
        .collect();
    let shown = |amount: u64| money::shown(i64::try_from(amount).unwrap_or(i64::MAX), currency);
    let rows = by_day.iter().rev().map(|(day, (into, back))| {
        json!({"day": day_label(*day), "into": shown(*into), "back": shown(*back)})
    });
    let sum = |side: fn(&(u64, u64)) -> u64| by_day.values().map(side).fold(0, u64::saturating_add);
    let mut chart = chart::columns(&groups);
    if let Some(top) = chart["top"].as_u64() {
        chart["top"] = shown(top).into();
    }
    json!({
        "currency": currency.to_uppercase(), "chart": chart, "rows": rows.collect::<Vec<_>>(),
        "into": shown(sum(|day| day.0)), "back": shown(sum(|day| day.1)),
    })
}
