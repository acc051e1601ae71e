//! The pull feed: order, cursors, long polls, erasure.

use super::{announced, ask, buys, order, stage, until};
use bursar::notifications::Notifications;
use bursar::notifications::announce::Announcer;
use bursar::notifications::feed::FeedQuery;
use bursar_actors::clock::{Clock, SystemClock};
use bursar_actors::ports::Performer;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectIntent, EntrySource, Lane};
use bursar_domain::effect::{Effect, Notify};
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::message::Cause;
use bursar_domain::rows::Subject;
use bursar_store::api::{Administer, Fate, Inbound};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_read_in_pages_and_filtered() {
    let (stage, bursar) = stage().await;
    for tenant in ["t0", "t1"] {
        buys(&stage, &bursar, tenant, "hobby").await;
    }
    let feed = announced(&bursar).await;
    let kinds: Vec<&str> = feed
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    for kind in [
        "tenant.created",
        "tenant.activated",
        "subscription.created",
        "payment.succeeded",
        "invoice.paid",
    ] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    assert!(feed.iter().all(|line| {
        let data = &line["data"];
        data["tenantId"] == line["tenantId"]
            && data["version"].as_u64() > Some(0)
            && data["cause"]["eventId"].is_string()
    }));
    let (mut read, mut after) = (Vec::new(), String::new());
    loop {
        let page = order(
            &bursar,
            &format!("GET /api/v1/notifications?limit=3{after}"),
            Value::Null,
        )
        .await;
        read.extend(page["data"].as_array().unwrap().iter().cloned());
        after = format!("&after={}", page["nextCursor"].as_str().unwrap());
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(read, feed);
    let some = order(
        &bursar,
        "GET /api/v1/notifications?types=payment.*,tenant.created&tenantId=t1&limit=100",
        Value::Null,
    )
    .await;
    let some = some["data"].as_array().unwrap();
    assert!(!some.is_empty() && some.iter().all(|line| line["tenantId"] == "t1"));
    // From a notification's id on, with any filter; a cursor goes with its own.
    let third = feed[2]["id"].as_str().unwrap();
    let rest = order(
        &bursar,
        &format!("GET /api/v1/notifications?after={third}&limit=100"),
        Value::Null,
    )
    .await;
    assert_eq!(rest["data"].as_array().unwrap()[..], feed[3..]);
    let (status, answer) = ask(
        &bursar,
        None,
        None,
        &format!("GET /api/v1/notifications?types=invoice.paid{after}"),
        Value::Null,
    )
    .await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (400, Some("cursor_invalid"))
    );
    let (status, _) = ask(
        &bursar,
        None,
        None,
        "GET /api/v1/notifications?types=nonsense",
        Value::Null,
    )
    .await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_at_once() {
    let (stage, bursar) = stage().await;
    let empty = order(&bursar, "GET /api/v1/notifications", Value::Null).await;
    assert_eq!(
        (&empty["data"], &empty["hasMore"]),
        (&json!([]), &json!(false))
    );
    let path = format!(
        "GET /api/v1/notifications?waitSeconds=25&after={}",
        empty["nextCursor"].as_str().unwrap()
    );
    let began = Instant::now();
    let (page, ()) = tokio::join!(order(&bursar, &path, Value::Null), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.buys("t0", "hobby").await;
    });
    assert!(!page["data"].as_array().unwrap().is_empty());
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(300) && waited < Duration::from_secs(20),
        "{waited:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_shows_the_tenant_as_the_event_made_it() {
    let (stage, bursar) = stage().await;
    buys(&stage, &bursar, "t0", "hobby").await;
    stage.pass(32 * crate::stage::DAY).await;
    let feed = announced(&bursar).await;
    let renewed = feed
        .iter()
        .find(|line| line["type"] == "license.renewed")
        .unwrap();
    let (object, tenant) = (&renewed["data"]["object"], &renewed["data"]["tenant"]);
    // The tenant heard of it before it was told of.
    assert_eq!(
        tenant["license"]["validUntil"], object["license"]["validUntil"],
        "{renewed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_tenants_lines_stay_without_their_bodies() {
    let (stage, bursar) = stage().await;
    let body = json!({"tenantId": "t0", "name": "Ada", "email": "ada@example.com"});
    order(&bursar, "POST /api/v1/tenants", body).await;
    announced(&bursar).await;
    let feed = order(&bursar, "GET /api/v1/notifications", Value::Null).await;
    assert_eq!(
        feed["data"][0]["data"]["tenant"]["email"],
        "ada@example.com"
    );
    order(&bursar, "POST /api/v1/tenants/t0/erase", json!({})).await;
    until("its bodies are gone", || async {
        let feed = order(&bursar, "GET /api/v1/notifications", Value::Null).await;
        feed["data"][0]["data"].is_null() && !feed.to_string().contains("ada@example.com")
    })
    .await;
    drop(stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_thirty_days_goes_and_whoever_missed_it_is_told() {
    let (stage, bursar) = stage().await;
    buys(&stage, &bursar, "t0", "hobby").await;
    let old = announced(&bursar).await;
    let page = order(&bursar, "GET /api/v1/notifications?limit=1", Value::Null).await;
    let after = format!("&after={}", page["nextCursor"].as_str().unwrap());
    stage.pass(31 * crate::stage::DAY).await;
    let all = announced(&bursar).await;
    assert!(all.len() > old.len() && all[..old.len()] == old[..]);
    // Sweeping is hourly, and at the start.
    let bursar = stage.again(bursar, |_| {}).await;
    until("the old ones are gone", || async {
        super::whole_feed(&bursar).await == all[old.len()..]
    })
    .await;
    let path = format!("GET /api/v1/notifications?limit=100{after}");
    let page = order(&bursar, &path, Value::Null).await;
    assert_eq!(
        (&page["gap"], &page["data"][0]),
        (&json!(true), &all[old.len()])
    );
    let known = old[0]["id"].as_str().unwrap();
    let path = format!("GET /api/v1/notifications?after={known}");
    let (status, answer) = ask(&bursar, None, None, &path, Value::Null).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (400, Some("cursor_invalid"))
    );
}

/// A notification, as an administrative commit puts it into the outbox.
fn told(tenant: &str, fact: &str) -> (AggregateKey, EffectIntent) {
    let of = AggregateKey::Tenant(TenantId::parse(tenant).unwrap());
    let notify = Effect::Notify(Notify {
        kind: "tenant.activated".to_owned(),
        tenant: TenantId::parse(tenant).unwrap(),
        object: json!({}),
        cause: Cause {
            source: EntrySource::Event,
            source_id: "evt_1".to_owned(),
            kind: "x".to_owned(),
            at: Timestamp(0),
        },
    });
    let intent = notify.intent(&of, fact, Timestamp(0), None);
    (of, intent)
}

#[tokio::test]
async fn a_tenant_that_does_not_get_on_keeps_nobody_else_waiting() {
    let store = bursar_store::MemStore::new().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let outbound = bursar_config::Outbound {
        endpoint: None,
        allow_private: false,
    };
    let opened = Notifications::open(Arc::clone(&store), Arc::clone(&clock), &outbound).await;
    let notifications = opened.unwrap();
    let stuck = AggregateKey::Tenant(TenantId::parse("stuck").unwrap());
    let waits = Inbound {
        source: InputSource::Operator("ord_1".to_owned()),
        kind: "tenant.create".to_owned(),
        fate: Fate::Pending {
            to: stuck,
            park: Vec::new(),
        },
        object_ids: Vec::new(),
        created_at: None,
        received_at: clock.now(),
        subject: Subject("tenant:stuck".to_owned()),
        body: b"{}".to_vec().into(),
        tenant: None,
    };
    store.accept(vec![waits]).await.unwrap();
    let mut effects: Vec<_> = (0..100).map(|n| told("stuck", &n.to_string())).collect();
    effects.push(told("quick", "1"));
    let write = Administer {
        effects,
        ..Administer::default()
    };
    assert!(store.administer(write).await.unwrap());
    let due = store
        .due_effects(Lane::Notify, clock.now(), 200)
        .await
        .unwrap();
    let first = due
        .iter()
        .find(|one| one.aggregate.to_string().ends_with("stuck"));
    let (first, announcer) = (
        first.unwrap().clone(),
        Announcer(Arc::clone(&notifications)),
    );
    let waiting = tokio::spawn(async move { announcer.perform(first).await });
    let query = FeedQuery {
        limit: 10,
        ..FeedQuery::default()
    };
    until("the other is told", || async {
        let page = notifications.feed(&query).await.unwrap();
        let tenants: Vec<&str> = page
            .lines
            .iter()
            .map(|(line, _)| line.tenant.as_str())
            .collect();
        assert!(!tenants.contains(&"stuck"), "told before it has heard");
        tenants == ["quick"]
    })
    .await;
    assert!(!waiting.is_finished());
    waiting.abort();
}
