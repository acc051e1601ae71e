//! Doing deliveries again: what the dry run says is what the run does.

use crate::app::App;
use crate::story::{play, scenario};
use bursar_domain::ids::{CustomerId, Scope};
use bursar_domain::link::LinkKey;
use bursar_store::api::{Fate, Inbound};
use serde_json::{Value, json};

const REPLAY: &str = "POST /api/v1/webhook-events/replay";

/// A delivery that was set aside when it came, as by a defect that is mended since.
async fn dead(app: &App, event: &Value) {
    let body = event.to_string().into_bytes();
    let now = app.edge.now();
    let routed = bursar_domain::route(&body, &app.edge.settings.domain, now);
    let inbound = Inbound {
        source: routed.source,
        kind: routed.kind,
        fate: Fate::Dead {
            reason: "a defect of then".to_owned(),
        },
        object_ids: routed.objects,
        created_at: routed.created_at,
        received_at: now,
        subject: routed.subject,
        body: body.into(),
        tenant: None,
    };
    app.store.accept(vec![inbound]).await.unwrap();
}

/// The subscription of the first purchase, `days` later in another status.
fn later(id: &str, kind: &str, days: i64, status: &str) -> Value {
    let events = scenario("new_subscription_checkout");
    let created = events
        .iter()
        .find(|event| event["type"] == "customer.subscription.created");
    let mut event = created.unwrap().clone();
    let at = event["created"].as_i64().unwrap() + days * 86_400;
    event["id"] = id.into();
    event["type"] = kind.into();
    event["created"] = at.into();
    let object = &mut event["data"]["object"];
    object["status"] = status.into();
    if status == "canceled" {
        object["ended_at"] = at.into();
        object["canceled_at"] = at.into();
    }
    event
}

fn status_changes(changed: &Value) -> Vec<(Value, Value)> {
    let changes = changed.as_array().unwrap().iter();
    let of_status = changes.filter(|change| change["field"] == "status");
    of_status
        .map(|change| (change["from"].clone(), change["to"].clone()))
        .collect()
}

#[tokio::test]
async fn a_dry_run_of_several_events_of_one_object_says_what_each_of_them_will_change() {
    let app = App::start().await;
    play(&app, "new_subscription_checkout").await;
    let subscription = app.operator("GET /api/v1/subscriptions", "").await.json();
    let subscription = &subscription["data"][0];
    assert_eq!(subscription["status"], "active");
    let object = subscription["id"].as_str().unwrap();
    let told = [
        ("evt_1_late", "customer.subscription.updated", 1, "past_due"),
        ("evt_2_paid", "customer.subscription.updated", 2, "active"),
        ("evt_3_gone", "customer.subscription.deleted", 3, "canceled"),
    ];
    for (id, kind, days, status) in told {
        dead(&app, &later(id, kind, days, status)).await;
    }
    let before = app.store.state_digest().await.unwrap();
    let filter = r#"{"status":"dead","dryRun":true}"#;
    let dry = app.operator(REPLAY, filter).await.json();
    assert_eq!(
        (&dry["matched"], &dry["replayed"]),
        (&json!(3), &json!(3)),
        "{dry}"
    );
    assert_eq!(app.store.state_digest().await.unwrap(), before);
    let lines = dry["diff"].as_array().unwrap();
    let (mut ids, mut said) = (Vec::new(), Vec::new());
    for line in lines {
        ids.push(line["id"].as_str().unwrap());
        said.extend(status_changes(&line["changed"]));
    }
    assert_eq!(ids, told.map(|(id, ..)| id));
    let words = ["active", "past_due", "active", "canceled"];
    let steps: Vec<(Value, Value)> = words
        .windows(2)
        .map(|pair| (pair[0].into(), pair[1].into()))
        .collect();
    assert_eq!(said, steps, "{dry}");
    // The run itself leaves the same lines behind.
    let run = app.operator(REPLAY, r#"{"status":"dead"}"#).await.json();
    assert_eq!(run["diff"], dry["diff"]);
    app.settle().await;
    for line in lines {
        let id = line["id"].as_str().unwrap();
        let explained = app.operator(&format!("GET /api/v1/explain/{id}"), "").await;
        let explained = explained.json();
        let done = explained["timeline"].as_array().unwrap().iter();
        let own = done.clone().find(|done| done["objectId"] == object);
        assert_eq!(own.unwrap()["changed"], line["changed"], "{id}");
    }
    let again = app.operator(REPLAY, r#"{"status":"applied"}"#).await.json();
    assert_eq!(again["replayed"], 0, "{again}");
}

#[tokio::test]
async fn a_dry_run_says_of_an_event_nobody_is_linked_to_that_it_would_wait() {
    let app = App::start().await;
    let mut stranger = later(
        "evt_stranger",
        "customer.subscription.updated",
        1,
        "past_due",
    );
    stranger["data"]["object"]["metadata"] = json!({});
    dead(&app, &stranger).await;
    let dry = app
        .operator(&format!("{REPLAY}?dryRun=true"), "")
        .await
        .json();
    let line = &dry["diff"][0];
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("it would wait for ") && reason.contains("customer cus_"),
        "{line}"
    );
    assert_eq!(line["changed"], json!([]));
    app.operator(REPLAY, r#"{"status":"dead"}"#).await;
    app.settle().await;
    let event = app
        .operator("GET /api/v1/webhook-events/evt_stranger", "")
        .await
        .json();
    assert_eq!(event["status"], "parked", "{event}");
    let list = app
        .operator("GET /api/v1/webhook-events?status=parked", "")
        .await
        .json();
    for shown in [&event, &list["data"][0]] {
        let reason = shown["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("waits for ")
                && reason.contains("customer cus_")
                && reason.contains(" to be linked"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_replay_of_more_events_than_one_request_looks_at_goes_on_with_its_cursor() {
    let app = App::start().await;
    let mut all = Vec::new();
    for n in 0..1_050 {
        let id = format!("evt_{n:04}");
        dead(
            &app,
            &json!({"id": id, "object": "event", "type": "plan.created", "created": 1_747_044_000,
                "livemode": false, "data": {"object": {"id": "plan_1", "object": "plan"}}}),
        )
        .await;
        all.push(id);
    }
    for is_dry in [true, false] {
        let filter = json!({"status": "dead", "dryRun": is_dry});
        let first = app.operator(REPLAY, &filter.to_string()).await.json();
        assert_eq!(
            (&first["matched"], &first["hasMore"]),
            (&json!(1_000), &json!(true))
        );
        assert_eq!(first["diff"][0]["id"], all[0], "in order of receipt");
        let mut rest = filter.clone();
        rest["cursor"] = first["nextCursor"].clone();
        let second = app.operator(REPLAY, &rest.to_string()).await.json();
        assert_eq!(
            (&second["matched"], &second["hasMore"]),
            (&json!(50), &json!(false))
        );
        assert_eq!(second["nextCursor"], Value::Null);
        let told = second["diff"].as_array().unwrap().iter();
        let told: Vec<&Value> = told.map(|line| &line["id"]).collect();
        assert_eq!(told, all[1_000..].iter().collect::<Vec<_>>());
        rest["status"] = "applied".into();
        let other = app.operator(REPLAY, &rest.to_string()).await;
        assert_eq!(other.json()["code"], "cursor_invalid");
    }
    app.settle().await;
    let left = app.operator(REPLAY, r#"{"status":"dead"}"#).await.json();
    assert_eq!(left["matched"], 0, "{left}");
}

/// A parked delivery: as when the configuration of then named another reference than that of now.
async fn parked(app: &App, event: &Value, on: LinkKey) {
    let body = event.to_string().into_bytes();
    let now = app.edge.now();
    let routed = bursar_domain::route(&body, &app.edge.settings.domain, now);
    let bursar_domain::route::Fate::Pending { to, .. } = routed.fate else {
        panic!("it is for somebody");
    };
    let inbound = Inbound {
        source: routed.source,
        kind: routed.kind,
        fate: Fate::Pending { to, park: vec![on] },
        object_ids: routed.objects,
        created_at: routed.created_at,
        received_at: now,
        subject: routed.subject,
        body: body.into(),
        tenant: None,
    };
    app.store.accept(vec![inbound]).await.unwrap();
}

#[tokio::test]
async fn what_is_parked_goes_on_by_a_replay_only_if_nothing_holds_it_any_more() {
    let app = App::start().await;
    play(&app, "new_subscription_checkout").await;
    let customer = CustomerId::parse("cus_nobodys").unwrap();
    let on = LinkKey::Customer(Scope::PLATFORM, customer);
    let update = "customer.subscription.updated";
    parked(&app, &later("evt_held", update, 1, "past_due"), on).await;
    let mut stranger = later("evt_stranger", update, 1, "past_due");
    stranger["data"]["object"]["metadata"] = json!({});
    stranger["data"]["object"]["id"] = "sub_nobodys".into();
    stranger["data"]["object"]["customer"] = "cus_nobodys".into();
    app.deliver(stranger.to_string().as_bytes()).await;
    app.settle().await;
    let list = "GET /api/v1/webhook-events?status=parked";
    let waiting = app.operator(list, "").await.json();
    assert_eq!(waiting["data"].as_array().unwrap().len(), 2, "{waiting}");
    let filter = r#"{"status":"parked","dryRun":true}"#;
    let dry = app.operator(REPLAY, filter).await.json();
    let counts = ["matched", "replayed", "unchanged"].map(|name| dry[name].clone());
    assert_eq!(counts, [json!(2), json!(1), json!(1)], "{dry}");
    assert_eq!(dry["diff"][0]["id"], "evt_held");
    app.operator(REPLAY, r#"{"status":"parked"}"#).await;
    app.settle().await;
    let waiting = app.operator(list, "").await.json();
    let ids: Vec<&Value> = waiting["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["id"])
        .collect();
    assert_eq!(ids, ["evt_stranger"]);
    let subscription = app.operator("GET /api/v1/subscriptions", "").await.json();
    assert_eq!(subscription["data"][0]["status"], "past_due");
}
