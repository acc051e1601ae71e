//! Recovery against Stripe: a Bursar that missed things ends where one that heard everything is.

use crate::stage::{DAY, Stage, differing};
use bursar_sandbox::{Fault, FaultKind};
use serde_json::json;
use std::collections::BTreeSet;

fn chance(kind: FaultKind, per_thousand: u32) -> Fault {
    Fault {
        kind,
        count: None,
        per_thousand: Some(per_thousand),
        matching: None,
        seconds: None,
    }
}

/// Ids of the events that were never sent, of types that mean something here.
fn dropped(stage: &Stage) -> BTreeSet<String> {
    let sent: BTreeSet<String> = stage
        .stripe
        .deliveries()
        .into_iter()
        .map(|delivery| delivery.event_id)
        .collect();
    let events = stage.stripe.events().into_iter();
    events
        .filter(|event| bursar_domain::route::is_handled(event["type"].as_str().unwrap()))
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .filter(|id| !sent.contains(id))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bursar_that_lost_one_event_in_twenty_ends_where_one_that_heard_all_is() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    assert!(stage.stripe.add_fault(chance(FaultKind::Drop, 50)));
    assert!(stage.stripe.add_fault(chance(FaultKind::Reorder, 300)));
    let customers = stage.life_begins(20).await;
    bursar.settle().await;
    let lost_first = dropped(&stage).len();
    assert!(lost_first > 2, "only {lost_first} events were dropped");
    let first = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(first["missing"], lost_first, "{first:#}");

    stage.life_goes_on(&customers).await;
    stage.stripe.clear_faults();
    bursar.settle().await;
    let lost = dropped(&stage).len() - lost_first;
    assert!(lost > 2, "only {lost} events were dropped");
    let whole = stage.bursar().await;
    stage.tell_everything(&whole).await;
    let truth = whole.digest().await;
    let before = bursar.digest().await;
    assert_ne!(before, truth, "what was dropped changes nothing");

    // A check changes nothing, however often.
    for _ in 0..2 {
        let check = bursar.reconcile(json!({})).await;
        assert_eq!(check["status"], "done", "{check:#}");
        assert_eq!(check["missing"], lost, "{check:#}");
        assert_eq!(check["repaired"], 0);
        assert!(check["drifted"].as_u64().unwrap() > 0, "{check:#}");
        assert_eq!(bursar.digest().await, before);
    }

    let repair = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(repair["status"], "done", "{repair:#}");
    assert_eq!(
        (&repair["missing"], &repair["failed"]),
        (&json!(lost), &json!(0))
    );
    bursar.settle().await;
    let left = differing(&whole.rows().await, &bursar.rows().await);
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(bursar.digest().await, truth);

    let after = bursar.reconcile(json!({})).await;
    assert_eq!(
        (&after["missing"], &after["drifted"]),
        (&json!(0), &json!(0)),
        "{after:#}"
    );
    assert_eq!(bursar.get("/api/v1/reconcile").await.json, after);
    let verified = bursar.post("/api/v1/verify", &json!({})).await.json;
    assert_eq!(verified["mismatches"], 0, "{verified:#}");
    // What heard everything is no drift to anybody.
    let clean = whole.reconcile(json!({})).await;
    let found = (&clean["missing"], &clean["drifted"]);
    assert_eq!(found, (&json!(0), &json!(0)), "{clean:#}");
}

/// What no object tells: when a checkout session ended and was paid. An event of the last 30 days
/// does; of an older one only the day is known, since a session lives that long.
const TOLD_BY_EVENTS_ALONE: &[&str] =
    &["checkout-sessions completedAt", "checkout-sessions paidAt"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_into_an_empty_store_makes_the_rows_of_one_that_heard_everything() {
    let stage = Stage::set().await;
    let whole = stage.bursar().await;
    stage.tell(&whole);
    stage.busy_life(6).await;
    whole.settle().await;

    let empty = stage.bursar().await;
    let import = empty.reconcile(json!({"import": true})).await;
    assert_eq!(
        (&import["status"], &import["failed"]),
        (&json!("done"), &json!(0)),
        "{import:#}"
    );
    empty.settle().await;
    let differing = differing(&whole.rows().await, &empty.rows().await);
    let unexpected: Vec<_> = differing
        .iter()
        .filter(|(field, _)| !TOLD_BY_EVENTS_ALONE.contains(&field.as_str()))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");

    // Nobody is told of what happened long ago.
    let alerts = empty.get("/api/v1/outbox?lane=alert&limit=100").await.json;
    let alerts = alerts["data"].as_array().unwrap().clone();
    assert!(!alerts.is_empty(), "a dispute alerts whoever hears of it");
    assert!(
        alerts.iter().all(|alert| alert["status"] == "skipped"),
        "{alerts:#?}"
    );
    let again = empty
        .post("/api/v1/reconcile", &json!({"import": true}))
        .await;
    assert_eq!(
        (again.status, &again.json["code"]),
        (409, &json!("store_not_empty"))
    );
    let check = empty.reconcile(json!({})).await;
    assert_eq!(
        (&check["missing"], &check["drifted"]),
        (&json!(0), &json!(0)),
        "{check:#}"
    );
}

/// A connected account of a tenant, with a sale on it.
async fn merchant(stage: &Stage, tenant: &str) -> String {
    let form = format!(
        "type=express&country=US&capabilities[card_payments][requested]=true&metadata[tenant_id]={tenant}"
    );
    let account = stage.post(None, "/v1/accounts", &form).await;
    let account = account["id"].as_str().unwrap().to_owned();
    stage.stripe.onboard(&account).unwrap();
    account
}

async fn sale(stage: &Stage, account: &str) -> String {
    let form = "amount=1500&currency=usd&payment_method=pm_card_visa&confirm=true\
                &automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never";
    let intent = stage.post(Some(account), "/v1/payment_intents", form).await;
    intent["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_connected_accounts_are_the_ones_their_deliveries_would_have_been() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    stage.buys("t1", "pro").await;
    let account = merchant(&stage, "t1").await;
    let left = merchant(&stage, "t1").await;
    stage.delivered().await;
    stage.stripe.deauthorize(&left).unwrap();
    stage.delivered().await;
    bursar.settle().await;
    // Nobody tells of the sale and of what became of it.
    stage.stripe.set_webhook(None, Vec::new());
    let intent = sale(&stage, &account).await;
    let form = format!("payment_intent={intent}&amount=500");
    stage.post(Some(&account), "/v1/refunds", &form).await;
    let untold = dropped(&stage).len();
    stage.stripe.advance(300).unwrap();
    let path = format!("/api/v1/payments/{intent}");
    assert_eq!(bursar.get(&path).await.status, 404);

    let repair = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(
        (&repair["status"], &repair["failed"]),
        (&json!("done"), &json!(0)),
        "{repair:#}"
    );
    assert_eq!(repair["missing"], untold, "{repair:#}");
    bursar.settle().await;
    let payment = bursar.get(&path).await.json;
    assert_eq!(payment["merchantAccountId"], account, "{payment:#}");
    assert_eq!(
        (&payment["tenantId"], &payment["amountRefunded"]),
        (&json!("t1"), &json!(500))
    );
    let asked: BTreeSet<_> = stage
        .stripe
        .requests()
        .into_iter()
        .filter_map(|r| r.account)
        .collect();
    assert!(
        asked.contains(&account) && !asked.contains(&left),
        "{asked:?}"
    );

    // Stripe's own retry of one of them is a duplicate and no alarm.
    let events = stage.stripe.events();
    let event = events
        .iter()
        .find(|event| event["account"] == account.as_str())
        .unwrap();
    let id = event["id"].as_str().unwrap();
    let before = bursar
        .get(&format!("/api/v1/webhook-events/{id}"))
        .await
        .json;
    let body = serde_json::to_vec_pretty(event).unwrap();
    assert_eq!(stage.deliver(&bursar, body).await, 200);
    let after = bursar
        .get(&format!("/api/v1/webhook-events/{id}"))
        .await
        .json;
    assert_eq!(before, after);

    let whole = stage.bursar().await;
    stage.tell_everything(&whole).await;
    let found = differing(&whole.rows().await, &bursar.rows().await);
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(whole.digest().await, bursar.digest().await);

    let empty = stage.bursar().await;
    let import = empty.reconcile(json!({"import": true})).await;
    assert_eq!(
        (&import["status"], &import["failed"]),
        (&json!("done"), &json!(0)),
        "{import:#}"
    );
    empty.settle().await;
    let found = differing(&whole.rows().await, &empty.rows().await);
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stripe_that_fails_in_the_middle_is_reported_and_the_next_run_goes_on_from_there() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    let customers = stage.life_begins(12).await;
    assert!(!customers.is_empty());
    stage.stripe.advance(300).unwrap();
    let events = dropped(&stage).len();
    assert!(events > 100, "{events} events are one page only");
    let broken = Fault {
        kind: FaultKind::Unavailable,
        count: Some(1_000),
        per_thousand: None,
        matching: Some("GET /v1/charges".to_owned()),
        seconds: None,
    };
    stage.stripe.add_fault(broken);
    let first = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(first["status"], "failed", "{first:#}");
    assert_eq!(
        (&first["stripeFailed"], &first["failed"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(first["missing"], events, "{first:#}");
    assert!(
        first["errors"][0]["error"]
            .as_str()
            .unwrap()
            .contains("503"),
        "{first:#}"
    );

    stage.stripe.clear_faults();
    let asked = stage.stripe.requests().len();
    let second = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(
        (&second["status"], &second["failed"]),
        (&json!("done"), &json!(0)),
        "{second:#}"
    );
    assert_eq!(
        (&second["missing"], &second["drifted"]),
        (&json!(0), &json!(0)),
        "{second:#}"
    );
    let paths: Vec<_> = stage.stripe.requests()[asked..]
        .iter()
        .map(|r| r.path.clone())
        .collect();
    assert!(
        !paths.iter().any(|path| path.starts_with("/v1/customers")),
        "{paths:?}"
    );
    assert!(
        paths.iter().any(|path| path.starts_with("/v1/charges")),
        "{paths:?}"
    );
    bursar.settle().await;
    let whole = stage.bursar().await;
    stage.tell_everything(&whole).await;
    assert_eq!(bursar.digest().await, whole.digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_tell_what_happened_longer_ago_than_stripe_lists_events() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    let session = stage.buys("t1", "pro").await;
    stage.delivered().await;
    stage.stripe.advance(300).unwrap();
    let synced = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(synced["missing"], 0, "{synced:#}");
    // An outage of 70 days: two renewals, another customer, an end.
    stage.stripe.set_webhook(None, Vec::new());
    stage.pass(5 * DAY).await;
    stage.buys("t2", "hobby").await;
    stage.pass(30 * DAY).await;
    let id = session["subscription"].as_str().unwrap();
    stage
        .post(
            None,
            &format!("/v1/subscriptions/{id}"),
            "cancel_at_period_end=true",
        )
        .await;
    stage.pass(35 * DAY).await;

    let repair = bursar.reconcile(json!({"repair": true})).await;
    assert_eq!(
        (&repair["status"], &repair["failed"]),
        (&json!("done"), &json!(0)),
        "{repair:#}"
    );
    assert!(repair["drifted"].as_u64().unwrap() > 0, "{repair:#}");
    bursar.settle().await;
    let whole = stage.bursar().await;
    stage.tell_everything(&whole).await;
    let found = differing(&whole.rows().await, &bursar.rows().await);
    let fields: Vec<_> = found
        .iter()
        .filter(|(f, _)| !TOLD_BY_EVENTS_ALONE.contains(&f.as_str()))
        .collect();
    assert!(fields.is_empty(), "{fields:#?}");
    let after = bursar.reconcile(json!({})).await;
    assert_eq!(
        (&after["missing"], &after["drifted"]),
        (&json!(0), &json!(0)),
        "{after:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missed_events_are_found_without_being_asked_for_once_they_are_late() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.buys("t1", "pro").await;
    let bursar = stage
        .again(bursar, |config| {
            config.reconcile_interval = Some(std::time::Duration::from_millis(300));
        })
        .await;
    let runs = async |at_least: u64| {
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let report = bursar.get("/api/v1/reconcile").await.json;
            if report["status"] == "done" {
                seen.insert(report["runId"].to_string());
            }
            if seen.len() as u64 >= at_least {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("it does not run by itself");
    };
    runs(2).await;
    // A minute has not passed: they may still be on their way.
    assert_eq!(bursar.store().stats().await.unwrap().inputs, 0);
    stage.stripe.advance(120).unwrap();
    runs(3).await;
    bursar.settle().await;
    let tenant = bursar.get("/api/v1/tenants/t1").await.json;
    assert_eq!(tenant["status"], "active", "{tenant:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_runs_at_a_time_and_what_cannot_be_meant_is_refused() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    let none = bursar.get("/api/v1/reconcile").await.json;
    assert_eq!(none["status"], "none", "{none:#}");
    let slow = Fault {
        kind: FaultKind::Slow,
        count: Some(1),
        per_thousand: None,
        matching: Some("GET /v1/events".to_owned()),
        seconds: Some(2),
    };
    stage.stripe.add_fault(slow);
    let first = bursar
        .app
        .edge()
        .reconciler
        .start(bursar_actors::reconcile::Order {
            mode: bursar_actors::reconcile::Mode::Check,
            since: None,
        });
    let mut first = first.await.unwrap();
    let second = bursar.post("/api/v1/reconcile", &json!({})).await;
    assert_eq!(
        (second.status, &second.json["code"]),
        (409, &json!("reconcile_running"))
    );
    let under_way = bursar.get("/api/v1/reconcile").await.json;
    assert_eq!(under_way["status"], "running", "{under_way:#}");
    let ended = first.wait_for(|report| report.finished_at.is_some()).await;
    assert_eq!(
        ended.unwrap().status,
        bursar_actors::reconcile::RunStatus::Done
    );
    let ahead = json!({"since": "2031-01-01T00:00:00Z"});
    assert_eq!(bursar.post("/api/v1/reconcile", &ahead).await.status, 400);
    let audit = bursar.get("/api/v1/audit").await.json;
    assert!(audit["data"].as_array().unwrap().is_empty(), "{audit:#}");
    bursar.reconcile(json!({"repair": true})).await;
    let audit = bursar.get("/api/v1/audit").await.json;
    assert_eq!(audit["data"][0]["action"], "reconcile.started", "{audit:#}");
}

/// `bursar reconcile` against the process that holds the store: exit code, stdout, stderr.
async fn command(bursar: &crate::stage::Bursar, flags: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bursar"));
    let folder = bursar.config.store.data_dir().to_owned();
    command.env_clear().arg("reconcile").args(flags);
    command.arg("--data-dir").arg(folder);
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ran.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_ends_with_what_is_left_to_do() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.buys("t1", "pro").await;
    stage.stripe.advance(300).unwrap();
    let lost = dropped(&stage).len();
    let (code, said, aloud) = command(&bursar, &[]).await;
    assert_eq!(code, 1, "{said}{aloud}");
    assert!(said.contains(&format!("missing={lost} ")), "{said}");
    assert!(said.contains("--repair"), "{said}");
    assert!(aloud.contains("looked at: "), "progress is told: {aloud}");
    let (code, said, _) = command(&bursar, &["--repair", "--json", "-q"]).await;
    assert_eq!(code, 0, "{said}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["repaired"], lost, "{report:#}");
    let (code, said, _) = command(&bursar, &[]).await;
    assert_eq!(code, 0, "{said}");
    let (code, _, aloud) = command(&bursar, &["--import"]).await;
    assert_eq!(code, 1, "{aloud}");
    assert!(aloud.contains("store_not_empty"), "{aloud}");
    assert_eq!(command(&bursar, &["--since", "yesterday"]).await.0, 64);
    assert_eq!(command(&bursar, &["--import", "--repair"]).await.0, 64);
    let away = Fault {
        kind: FaultKind::Unavailable,
        count: Some(1_000),
        per_thousand: None,
        matching: None,
        seconds: None,
    };
    stage.stripe.add_fault(away);
    let (code, said, _) = command(&bursar, &[]).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("failed: stripe of the platform"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_stripe_broke_off_goes_on_where_it_was_and_takes_nothing_in_twice() {
    let stage = Stage::set().await;
    let whole = stage.bursar().await;
    stage.tell(&whole);
    stage.life_begins(6).await;
    whole.settle().await;
    let broken = Fault {
        kind: FaultKind::ServerError,
        count: Some(1_000),
        per_thousand: None,
        matching: Some("GET /v1/payment_intents".to_owned()),
        seconds: None,
    };
    let empty = stage.bursar().await;
    stage.stripe.add_fault(broken);
    let first = empty.reconcile(json!({"import": true})).await;
    assert_eq!(
        (&first["status"], &first["stripeFailed"]),
        (&json!("failed"), &json!(true))
    );
    let taken = first["repaired"].as_u64().unwrap();
    assert!(taken > 0, "{first:#}");
    stage.stripe.clear_faults();
    let asked = stage.stripe.requests().len();
    let empty = stage.again(empty, |_| {}).await;
    let second = empty.reconcile(json!({"import": true})).await;
    assert_eq!(
        (&second["status"], &second["failed"]),
        (&json!("done"), &json!(0)),
        "{second:#}"
    );
    assert!(second["byObject"]["customer"].is_null(), "{second:#}");
    let again = &stage.stripe.requests()[asked..];
    assert!(
        again
            .iter()
            .all(|request| !request.path.starts_with("/v1/customers"))
    );
    empty.settle().await;
    let found = differing(&whole.rows().await, &empty.rows().await);
    assert!(
        found
            .keys()
            .all(|field| TOLD_BY_EVENTS_ALONE.contains(&field.as_str())),
        "{found:#?}"
    );
    let verified = empty.post("/api/v1/verify", &json!({})).await.json;
    assert_eq!(verified["mismatches"], 0, "{verified:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_fills_a_store_nobody_serves() {
    let stage = Stage::set().await;
    let session = stage.buys("t1", "pro").await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let base = stage.sandbox.base_url().to_owned();
    let run = async |words: &[&str], with_key: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bursar"));
        command
            .env_clear()
            .args(words)
            .arg("--data-dir")
            .arg(&folder);
        command.env("BURSAR_ADMIN_KEY", "operator-key-of-at-least-32-characters");
        command.env(
            "BURSAR_JWT_SECRET",
            "another-secret-of-at-least-32-bytes-here",
        );
        command.env("APP_BASE_URL", "https://billing.example.com");
        command.env(
            "STRIPE_WEBHOOK_SECRET",
            "whsec_0123456789abcdef0123456789abcdef",
        );
        command.env("STRIPE_API_BASE", &base);
        if with_key {
            command.env("STRIPE_API_KEY", "sk_test_0123456789abcdef0123456789");
        }
        let ran = tokio::task::spawn_blocking(move || command.output()).await;
        let output = ran.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    // Nothing is there to compare, and without a key nobody can be asked.
    let (code, _, aloud) = run(&["reconcile"], true).await;
    assert_eq!(code, Some(69), "{aloud}");
    let (code, _, aloud) = run(&["reconcile", "--import"], false).await;
    assert_eq!(code, Some(78), "{aloud}");
    let (code, said, aloud) = run(&["reconcile", "--import"], true).await;
    assert_eq!(code, Some(0), "{said}{aloud}");
    assert!(said.contains("subscription: looked_at=1 "), "{said}");
    let id = session["subscription"].as_str().unwrap();
    let (code, said, aloud) = run(&["explain", id], true).await;
    assert_eq!(code, Some(0), "{aloud}");
    assert!(
        said.contains("tenant t1") && said.contains("active"),
        "{said}"
    );
    let (code, said, _) = run(&["verify"], true).await;
    assert_eq!(code, Some(0), "{said}");
}
