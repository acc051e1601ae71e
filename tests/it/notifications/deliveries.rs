//! Deliveries: outages, order, retries, ends.

use super::receiver::Receiver;
use super::{ENDPOINTS, announced, buys, endpoint, order, stage, until};
use bursar_store::query::AuditQuery;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HOUR: i64 = 3_600;

/// The ids of a feed, by tenant, in order.
fn by_tenant(feed: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut by_tenant: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in feed {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        by_tenant
            .entry(text("tenantId"))
            .or_default()
            .push(text("id"));
    }
    by_tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_for_an_hour_gets_everything_once_and_in_order() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    endpoint(&bursar, &receiver, json!({})).await;
    buys(&stage, &bursar, "t0", "hobby").await;
    until("the first ones arrive", || async {
        !receiver.taken().is_empty()
    })
    .await;
    let before = announced(&bursar).await.len();
    until("all of them", || async { receiver.taken().len() == before }).await;

    receiver.is_down(true);
    for number in 1..5 {
        buys(&stage, &bursar, &format!("t{number}"), "pro").await;
        // Money waits for nobody: it is settled while the receiver is away.
        let tenant = order(
            &bursar,
            &format!("GET /api/v1/tenants/t{number}"),
            Value::Null,
        )
        .await;
        assert_eq!(
            (&tenant["status"], &tenant["license"]["state"]),
            (&json!("active"), &json!("active"))
        );
    }
    buys(&stage, &bursar, "t1", "credits-10").await;
    for _ in 0..6 {
        stage.pass(HOUR / 12).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let bursar = stage.again(bursar, |_| {}).await;
    stage.tell(&bursar);
    stage.pass(HOUR / 2).await;
    let feed = announced(&bursar).await;
    assert_eq!(receiver.taken().len(), before);
    receiver.is_down(false);
    // The next attempt of one is hours away at most; its success brings the others.
    for _ in 0..4 {
        stage.pass(HOUR).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let feed_now = announced(&bursar).await;
    assert_eq!(feed_now[..feed.len()], feed[..]);
    until("everything arrives", || async {
        receiver.taken().len() >= feed_now.len()
    })
    .await;

    assert_eq!(receiver.taken_by_tenant(), by_tenant(&feed_now));
    let came = receiver.came();
    assert!(came.iter().all(|one| one.is_genuine));
    // A tenant's versions never fall, so that whoever drops older ones drops nothing that counts.
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for one in &came {
        let version = one.body["data"]["version"].as_u64().unwrap();
        let known = versions.insert(one.tenant.clone(), version).unwrap_or(0);
        assert!(
            version >= known && one.body["data"]["tenant"]["version"] == version,
            "{one:?}"
        );
    }
    println!(
        "notifications={} taken={} attempts={} tenants={} wrong=0",
        feed_now.len(),
        receiver.taken().len(),
        came.len(),
        versions.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_holds_up_its_tenant_and_nobody_else() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    endpoint(&bursar, &receiver, json!({})).await;
    let mut refusals = 0;
    receiver.answers(move |came| {
        let refuses = came.tenant == "t0" && refusals < 1;
        refusals += usize::from(refuses);
        (if refuses { 500 } else { 204 }, "")
    });
    buys(&stage, &bursar, "t0", "hobby").await;
    buys(&stage, &bursar, "t1", "hobby").await;
    let feed = announced(&bursar).await;
    let all = by_tenant(&feed);
    until("the other tenant's arrive", || async {
        receiver.taken_by_tenant().get("t1") == all.get("t1")
    })
    .await;
    // The refused one is the first of its tenant: nothing went past it.
    assert_eq!(receiver.taken_by_tenant().get("t0"), None);
    stage.pass(10).await;
    until("its own follow", || async {
        receiver.taken().len() >= feed.len()
    })
    .await;
    assert_eq!(receiver.taken_by_tenant(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_takes_no_place_of_another() {
    let (stage, bursar) = stage().await;
    let (dead, live) = (Receiver::start().await, Receiver::start().await);
    dead.hangs();
    for _ in 0..8 {
        endpoint(&bursar, &dead, json!({})).await;
    }
    endpoint(&bursar, &live, json!({})).await;
    for number in 0..3 {
        buys(&stage, &bursar, &format!("t{number}"), "hobby").await;
    }
    let began = std::time::Instant::now();
    let feed = announced(&bursar).await;
    until("all arrive", || async { live.taken().len() == feed.len() }).await;
    // A hanging one is given 15 s.
    assert!(began.elapsed().as_secs() < 12, "{:?}", began.elapsed());
    assert_eq!(live.taken_by_tenant(), by_tenant(&feed));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_hear_what_they_asked_for_and_of_their_tenant() {
    let (stage, bursar) = stage().await;
    let (licences, own) = (Receiver::start().await, Receiver::start().await);
    endpoint(
        &bursar,
        &licences,
        json!({"types": ["payment.*", "tenant.activated"]}),
    )
    .await;
    buys(&stage, &bursar, "t0", "hobby").await;
    endpoint(&bursar, &own, json!({"tenantId": "t0"})).await;
    buys(&stage, &bursar, "t1", "hobby").await;
    buys(&stage, &bursar, "t0", "credits-10").await;
    let feed = announced(&bursar).await;
    let wanted = |line: &&Value| {
        let kind = line["type"].as_str().unwrap();
        kind == "tenant.activated" || kind.starts_with("payment.")
    };
    let expected: Vec<Value> = feed.iter().filter(wanted).cloned().collect();
    until("the filtered ones", || async {
        licences.taken().len() == expected.len()
    })
    .await;
    assert_eq!(licences.taken_by_tenant(), by_tenant(&expected));
    until("a grant", || async {
        own.taken().iter().any(|one| one.kind == "credits.granted")
    })
    .await;
    assert!(
        own.came().iter().all(|one| one.tenant == "t0"),
        "{:?}",
        own.came()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_wants_nothing_more_is_disabled_and_can_be_taken_back() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&bursar, &receiver, json!({})).await;
    receiver.answers(|_| (410, ""));
    buys(&stage, &bursar, "t0", "hobby").await;
    let path = format!("{ENDPOINTS}/{id}");
    let show = format!("GET {path}");
    until("it is disabled", || async {
        order(&bursar, &show, Value::Null).await["status"] == "disabled"
    })
    .await;
    assert_eq!(
        order(&bursar, &show, Value::Null).await["disabledReason"],
        "gone"
    );
    buys(&stage, &bursar, "t1", "hobby").await;
    let feed = announced(&bursar).await;
    assert_eq!(receiver.came().len(), 1);
    let query = AuditQuery {
        tenant: None,
        limit: 50,
        after: None,
    };
    let audit = bursar.store().audit(query).await.unwrap().items;
    assert!(
        audit
            .iter()
            .any(|line| line.action == "notification_endpoint.disabled" && line.object_id == id)
    );
    until("operators are told", || async {
        let outbox = order(&bursar, "GET /api/v1/outbox?limit=100", Value::Null).await;
        let outbox = outbox["data"].as_array().unwrap().clone();
        outbox
            .iter()
            .any(|one| one["kind"] == "alert.endpoint_disabled" && one["status"] == "done")
    })
    .await;

    receiver.answers(|_| (200, ""));
    order(&bursar, &format!("POST {path}/enable"), json!({})).await;
    let retried = order(&bursar, &format!("POST {path}/retry"), json!({})).await;
    assert!(retried["retried"].as_u64().unwrap() > 0, "{retried}");
    until("what was given up arrives", || async {
        receiver.taken().len() >= feed.len()
    })
    .await;
    let mut ids: Vec<String> = receiver.taken().into_iter().map(|one| one.id).collect();
    let mut all: Vec<String> = feed
        .iter()
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    all.sort();
    assert_eq!(ids, all);
    let again = order(&bursar, &format!("POST {path}/retry"), json!({})).await;
    assert_eq!(again, json!({"retried": 0, "hasMore": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_for_three_days_is_disabled_and_its_owners_are_told() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    buys(&stage, &bursar, "t0", "hobby").await;
    announced(&bursar).await;
    let id = endpoint(&bursar, &receiver, json!({"tenantId": "t0"})).await;
    receiver.answers(|_| (500, ""));
    buys(&stage, &bursar, "t0", "credits-10").await;
    announced(&bursar).await;
    let path = format!("GET {ENDPOINTS}/{id}");
    for attempts in 1..=10 {
        until("the next attempt", || async {
            receiver.came().len() >= attempts
        })
        .await;
        let endpoint = order(&bursar, &path, Value::Null).await;
        if attempts < 10 {
            assert_eq!(endpoint["status"], "enabled", "{attempts}");
            stage.stripe.advance(27 * HOUR).unwrap();
        }
    }
    until("it is disabled", || async {
        order(&bursar, &path, Value::Null).await["status"] == "disabled"
    })
    .await;
    // There is such a mail: this one finds nobody to go to, and does not fail.
    until("its mail is over", || async {
        let page = order(&bursar, "GET /api/v1/outbox?limit=100", Value::Null).await;
        let mut all = page["data"].as_array().unwrap().iter();
        let mail = all.find(|one| one["kind"] == "mail.endpoint_disabled");
        let status = mail.map(|mail| mail["status"].clone());
        assert_ne!(status, Some("failed".into()), "{mail:?}");
        status == Some("done".into()) || status == Some("skipped".into())
    })
    .await;
    let page = order(
        &bursar,
        &format!("{path}/deliveries?status=failed&limit=100"),
        Value::Null,
    )
    .await;
    let attempts = page["data"].as_array().unwrap();
    assert_eq!(attempts.len(), 10);
    assert_eq!(
        (&attempts[0]["attempt"], &attempts[0]["nextAttemptAt"]),
        (&json!(10), &Value::Null)
    );
    assert_eq!(
        (&attempts[9]["attempt"], &attempts[9]["statusCode"]),
        (&json!(1), &json!(500))
    );
    assert_eq!(attempts[0]["answer"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_and_429_hold_the_whole_endpoint_back() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    endpoint(&bursar, &receiver, json!({"types": ["tenant.created"]})).await;
    receiver.answers(|_| (429, "retry-after: 3600\r\n"));
    buys(&stage, &bursar, "t0", "hobby").await;
    until("the first", || async { receiver.came().len() == 1 }).await;
    receiver.answers(|_| (200, ""));
    buys(&stage, &bursar, "t1", "hobby").await;
    announced(&bursar).await;
    stage.pass(HOUR - 60).await;
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(receiver.came().len(), 1);
    stage.pass(120).await;
    until("both", || async { receiver.taken().len() == 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_one_delivery_can_be_made_again() {
    let (stage, bursar) = stage().await;
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let id = endpoint(&bursar, &receiver, json!({"types": ["tenant.created"]})).await;
    let location: &'static str = format!("location: {}\r\n", elsewhere.url()).leak();
    receiver.answers(move |_| (307, location));
    buys(&stage, &bursar, "t0", "hobby").await;
    until("it came", || async { receiver.came().len() == 1 }).await;
    let path = format!("{ENDPOINTS}/{id}");
    let list = format!("GET {path}/deliveries");
    until("it is noted", || async {
        order(&bursar, &list, Value::Null).await["data"][0].is_object()
    })
    .await;
    let attempt = order(&bursar, &list, Value::Null).await["data"][0].clone();
    assert_eq!(
        (&attempt["status"], &attempt["statusCode"]),
        (&json!("failed"), &json!(307))
    );
    assert!(elsewhere.came().is_empty());

    receiver.answers(|_| (200, ""));
    let delivery = attempt["deliveryId"].as_str().unwrap();
    let again = order(
        &bursar,
        &format!("POST {path}/deliveries/{delivery}/retry"),
        json!({}),
    )
    .await;
    assert_eq!(
        (&again["status"], &again["notificationId"]),
        (&json!("pending"), &attempt["notificationId"])
    );
    until("it is taken at once", || async {
        receiver.taken().len() == 1
    })
    .await;
    order(
        &bursar,
        &format!("POST {path}/deliveries/{delivery}/retry"),
        json!({}),
    )
    .await;
    until("and once more, as it was asked", || async {
        receiver.taken().len() == 2
    })
    .await;
    let taken = receiver.taken();
    assert_eq!(
        (&taken[0].id, &taken[0].body),
        (&taken[1].id, &taken[1].body)
    );
    let page = order(&bursar, &format!("{list}?status=succeeded"), Value::Null).await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_in_the_middle_loses_nothing_and_renames_nothing() {
    let (stage, mut bursar) = stage().await;
    let receiver = Receiver::start().await;
    endpoint(&bursar, &receiver, json!({})).await;
    // Slow enough that some are under way at each end.
    receiver.answers(|_| {
        std::thread::sleep(std::time::Duration::from_millis(40));
        (200, "")
    });
    for number in 0..4 {
        stage.buys(&format!("t{number}"), "hobby").await;
        stage.delivered().await;
        bursar = stage.crashed(bursar).await;
        stage.tell(&bursar);
    }
    let feed = announced(&bursar).await;
    let ids = || -> std::collections::BTreeSet<String> {
        receiver.taken().into_iter().map(|one| one.id).collect()
    };
    until("everything arrives", || async { ids().len() >= feed.len() }).await;
    let all: Vec<String> = by_tenant(&feed).into_values().flatten().collect();
    assert_eq!(ids(), all.iter().cloned().collect());
    // What was under way at an end may come again, in its place and under its id; nothing else does.
    let taken = receiver.taken_by_tenant();
    for (tenant, expected) in by_tenant(&feed) {
        let mut came = taken[&tenant].clone();
        came.dedup();
        assert_eq!(came, expected, "{tenant}");
    }
    let again = receiver.taken().len() - feed.len();
    println!(
        "crashes=4 notifications={} again={again} wrong=0",
        feed.len()
    );
    assert!(again <= 16, "{again}");
}
