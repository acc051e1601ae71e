//! Plays the story: act, let the webhooks settle, print what was ordered and what Bursar made of each webhook, compare.

use super::owner::Login;
use super::receiver::Receiver;
use super::story::STORY;
use super::table::StepResult;
use super::world::{Failure, World};
use bursar_sandbox::{Control, Delivery};
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// How long the webhooks of one step may take.
const SETTLE_WAIT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the lines of a tenant begin that are worth an arrow's one line.
const ABOUT_TENANT: [&str; 6] = [
    "the tenant",
    "the licence",
    "the plan",
    "no plan",
    "credits",
    "archived",
];

/// Plays every step; answers how each ended.
///
/// # Errors
/// The output cannot be written.
pub(super) async fn play(
    mut world: World,
    control: &Control,
    receiver: &Receiver,
    login: &Login,
) -> std::io::Result<Vec<StepResult>> {
    let mut results = Vec::new();
    let mut arrows = control.subscribe();
    let mut told = Told::default();
    let opened = world
        .post(
            "/api/v1/tenants",
            &serde_json::json!({"tenantId": "acme", "name": "Acme Inc"}),
        )
        .await;
    if let Err(Failure(text)) = opened {
        results.push(StepResult {
            title: "the operator creates a tenant",
            webhooks: 0,
            wrong: vec![text],
        });
        return Ok(results);
    }
    results.push(begin(&world, login).await?);
    for step in STORY {
        writeln!(std::io::stdout(), "{}", step.title)?;
        let mut wrong = match (step.act)(&mut world).await {
            Ok(()) => Vec::new(),
            Err(Failure(text)) => vec![text],
        };
        for line in world.take_ordered() {
            writeln!(std::io::stdout(), "{line}")?;
        }
        let delivered = settle(&world, control, &mut arrows).await;
        for delivery in &delivered {
            writeln!(std::io::stdout(), "{}", arrow(&world, delivery).await)?;
        }
        if wrong.is_empty() {
            wrong = world.await_expected(&(step.expect)(&world)).await;
        }
        wrong.extend(delivered.iter().filter_map(refused));
        wrong.extend(told.settle(&world, receiver).await);
        for line in receiver.take_lines() {
            writeln!(std::io::stdout(), "{line}")?;
        }
        for text in &wrong {
            writeln!(std::io::stdout(), "    WRONG: {text}")?;
        }
        writeln!(std::io::stdout())?;
        results.push(StepResult {
            title: step.title,
            webhooks: delivered.len(),
            wrong,
        });
    }
    results.push(audit(&world).await);
    Ok(results)
}

/// The first step: the tenant's owner gets in.
async fn begin(world: &World, login: &Login) -> std::io::Result<StepResult> {
    let title = "the operator invites an owner, who gets in by mail";
    writeln!(std::io::stdout(), "{title}")?;
    let (lines, wrong) = match world.let_owner_in(login).await {
        Ok(lines) => (lines, Vec::new()),
        Err(Failure(text)) => (vec![format!("    WRONG: {text}")], vec![text]),
    };
    for line in lines {
        writeln!(std::io::stdout(), "{line}")?;
    }
    writeln!(std::io::stdout())?;
    Ok(StepResult {
        title,
        webhooks: 0,
        wrong,
    })
}

/// Waits until the sandbox has delivered everything and Bursar has applied it.
async fn settle(
    world: &World,
    control: &Control,
    arrows: &mut broadcast::Receiver<Delivery>,
) -> Vec<Delivery> {
    let started = Instant::now();
    let mut delivered = Vec::new();
    while started.elapsed() < SETTLE_WAIT {
        while let Ok(delivery) = arrows.try_recv() {
            delivered.push(delivery);
        }
        let waiting = world
            .bursar("/api/v1/webhook-events?status=received&limit=1")
            .await;
        let applied = waiting.is_ok_and(|page| page["data"].as_array().is_some_and(Vec::is_empty));
        if applied && control.unsent_deliveries() == 0 && arrows.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    delivered
}

/// How far the feed was read, to know what the product's application should have been told.
#[derive(Default)]
struct Told {
    after: String,
    count: usize,
}

impl Told {
    /// Waits until the application was told all there is; says what it could not verify, or did not get.
    async fn settle(&mut self, world: &World, receiver: &Receiver) -> Vec<String> {
        let started = Instant::now();
        while !self.is_over(world, receiver).await {
            if started.elapsed() > SETTLE_WAIT {
                return vec!["not every notification arrived".to_owned()];
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match receiver.wrong() {
            0 => Vec::new(),
            wrong => vec![format!("{wrong} notifications are not genuine")],
        }
    }

    async fn is_over(&mut self, world: &World, receiver: &Receiver) -> bool {
        let waiting = "/api/v1/outbox?status=pending&lane=notify&limit=1";
        let waiting = world.bursar(waiting).await;
        let path = format!("/api/v1/notifications?limit=100{}", self.after);
        let Ok(page) = world.bursar(&path).await else {
            return false;
        };
        self.count += page["data"].as_array().map_or(0, Vec::len);
        if let Some(next) = page["nextCursor"].as_str() {
            self.after = format!("&after={next}");
        }
        page["hasMore"] == false
            && waiting.is_ok_and(|page| page["data"].as_array().is_some_and(Vec::is_empty))
            && receiver.genuine() >= self.count
    }
}

/// A delivery that was not taken is wrong, even if it comes again.
fn refused(delivery: &Delivery) -> Option<String> {
    let (id, status) = (&delivery.event_id, delivery.status);
    (status != 200).then(|| format!("{id} was answered {status}"))
}

/// `--> type  event  [200]  what it changed`.
async fn arrow(world: &World, delivery: &Delivery) -> String {
    let made = match world
        .bursar(&format!("/api/v1/explain/{}", delivery.event_id))
        .await
    {
        Ok(found) => outcome(&found),
        Err(Failure(text)) => text,
    };
    format!(
        "  --> {:<32} {}  [{}]  {made}",
        delivery.event_type, delivery.event_id, delivery.status
    )
}

/// What an event did, in its own lines' words: the tenant's line if it reached the tenant.
fn outcome(found: &Value) -> String {
    let lines = found["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let is_about_tenant = |line: &&Value| {
        let summary = line["summary"].as_str().unwrap_or("");
        ABOUT_TENANT.iter().any(|start| summary.starts_with(start))
    };
    if let Some(line) = lines.iter().rev().find(is_about_tenant).or(lines.first()) {
        return line["summary"].as_str().unwrap_or("").to_owned();
    }
    let input = &found["inputs"][0];
    let reason = input["reason"].as_str().unwrap_or("");
    let status = input["status"].as_str().unwrap_or("unknown");
    if reason.is_empty() {
        status.to_owned()
    } else {
        format!("{status}: {reason}")
    }
}

/// The last step: the books balance, the fold agrees, nothing is left over, and every order took effect.
async fn audit(world: &World) -> StepResult {
    let title = "the books balance and the journal agrees with the state";
    let mut wrong = Vec::new();
    match world.post("/api/v1/verify", &serde_json::json!({})).await {
        Ok(report) if report["mismatches"] == 0 => {}
        Ok(report) => wrong.push(format!(
            "verify found {}: {}",
            report["mismatches"], report["findings"]
        )),
        Err(Failure(text)) => wrong.push(text),
    }
    for status in ["parked", "dead"] {
        match world
            .bursar(&format!("/api/v1/webhook-events?status={status}&limit=5"))
            .await
        {
            Ok(page) if page["data"].as_array().is_some_and(Vec::is_empty) => {}
            Ok(page) => wrong.push(format!("{status} events: {}", page["data"])),
            Err(Failure(text)) => wrong.push(text),
        }
    }
    for status in ["initiated", "failed", "unknown"] {
        match world
            .bursar(&format!("/api/v1/commands?status={status}&limit=5"))
            .await
        {
            Ok(page) if page["data"].as_array().is_some_and(Vec::is_empty) => {}
            Ok(page) => wrong.push(format!("{status} orders: {}", page["data"])),
            Err(Failure(text)) => wrong.push(text),
        }
    }
    StepResult {
        title,
        webhooks: 0,
        wrong,
    }
}
