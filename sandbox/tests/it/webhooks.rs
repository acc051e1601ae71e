//! Deliveries as a receiver meets them.

use crate::client::{Receiver, T0, World, world, world_with};
use bursar_sandbox::{Fault, FaultKind, sign};
use serde_json::Value;

async fn world_and_receiver() -> (World, Receiver) {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let w = world_with(|config| {
        config.webhook_url = Some(url);
        config.webhook_secrets = vec!["whsec_one".to_owned(), "whsec_two".to_owned()];
    })
    .await;
    (w, receiver)
}

fn timestamp(header: &str) -> i64 {
    header
        .split(',')
        .next()
        .unwrap()
        .strip_prefix("t=")
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn deliveries_are_signed_with_every_secret_and_tied_to_the_request_that_caused_them() {
    let (w, receiver) = world_and_receiver().await;
    let answer = w
        .send(
            "POST",
            "/v1/customers",
            &[("idempotency-key", "my-key")],
            "email=a@example.com",
        )
        .await
        .unwrap();
    receiver.wait_for(1).await;
    let (header, body) = receiver.got.lock().unwrap()[0].clone();
    assert_eq!(
        header,
        sign::header(&["whsec_one".to_owned(), "whsec_two".to_owned()], T0, &body)
    );
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["request"]["idempotency_key"], "my-key");
    assert_eq!(event["request"]["id"], answer.header("request-id"));
    assert_eq!(event["pending_webhooks"], 1);
}

#[tokio::test]
async fn what_is_not_answered_with_2xx_comes_again_with_a_fresh_signature_until_it_is() {
    let (w, receiver) = world_and_receiver().await;
    receiver.script.lock().unwrap().extend([500, 302]);
    w.post("/v1/customers", "email=a@example.com").await;
    receiver.wait_for(1).await;
    let id = w.control.events().last().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (count, seconds) in [(2, 5), (3, 30)] {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(
            w.get("/v1/events?delivery_success=false").await["data"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        w.control.advance(seconds).unwrap();
        receiver.wait_for(count).await;
    }
    let times: Vec<i64> = receiver
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|(header, _)| timestamp(header))
        .collect();
    assert_eq!(times, [T0, T0 + 5, T0 + 35]);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(
        w.get(&format!("/v1/events/{id}")).await["pending_webhooks"],
        0
    );
    let log: Vec<(u32, u16, bool)> = w
        .control
        .deliveries()
        .iter()
        .map(|d| (d.attempt, d.status, d.will_retry))
        .collect();
    assert_eq!(log, [(1, 500, true), (2, 302, true), (3, 200, false)]);
    assert_eq!(w.control.deliveries()[0].answer, "noted");
}

#[tokio::test]
async fn duplicate_reorder_and_drop_do_what_they_say() {
    let (w, receiver) = world_and_receiver().await;
    w.control
        .add_fault(Fault::once(FaultKind::Duplicate, "customer.created"));
    w.post("/v1/customers", "").await;
    receiver.wait_for(2).await;
    let twins = receiver.events();
    assert_eq!(twins[0]["id"], twins[1]["id"]);
    w.control
        .add_fault(Fault::once(FaultKind::Drop, "customer.created"));
    w.post("/v1/customers", "email=dropped@example.com").await;
    w.control
        .add_fault(Fault::once(FaultKind::Reorder, "customer.created"));
    w.post("/v1/customers", "email=late@example.com").await;
    w.post("/v1/customers", "email=early@example.com").await;
    receiver.wait_for(4).await;
    let emails: Vec<Value> = receiver.events()[2..]
        .iter()
        .map(|e| e["data"]["object"]["email"].clone())
        .collect();
    assert_eq!(emails, ["early@example.com", "late@example.com"]);
    assert_eq!(
        w.get("/v1/events?type=customer.created").await["data"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[tokio::test]
async fn two_signatures_keep_a_good_one_and_bad_or_old_ones_do_not() {
    let (w, receiver) = world_and_receiver().await;
    for kind in [
        FaultKind::TwoSignatures,
        FaultKind::BadSignature,
        FaultKind::OldTimestamp,
    ] {
        w.control.add_fault(Fault::once(kind, "customer.created"));
        w.post("/v1/customers", "").await;
    }
    receiver.wait_for(3).await;
    let got = receiver.got.lock().unwrap().clone();
    let good = |n: usize| {
        got[n]
            .0
            .contains(&sign::v1("whsec_one", timestamp(&got[n].0), &got[n].1))
    };
    assert_eq!((good(0), good(1), good(2)), (true, false, true));
    assert_eq!(got[0].0.matches("v1=").count(), 3);
    assert_eq!(timestamp(&got[2].0), T0 - 600);
}

#[tokio::test]
async fn a_burst_is_held_until_the_next_second_and_then_comes_at_once() {
    let (w, receiver) = world_and_receiver().await;
    w.control.add_fault(Fault {
        kind: FaultKind::Burst,
        count: Some(3),
        per_thousand: None,
        matching: None,
        seconds: None,
    });
    for _ in 0..3 {
        w.post("/v1/customers", "").await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    assert_eq!(receiver.count(), 0);
    w.control.advance(1).unwrap();
    receiver.wait_for(3).await;
    let created: std::collections::BTreeSet<i64> = receiver
        .events()
        .iter()
        .map(|e| e["created"].as_i64().unwrap())
        .collect();
    assert_eq!(created.len(), 1);
}

#[tokio::test]
async fn endpoints_hear_the_types_and_accounts_they_asked_for() {
    let (own, connect) = (Receiver::default(), Receiver::default());
    let (own_url, connect_url) = (own.listen().await, connect.listen().await);
    let w = world_with(|_| {}).await;
    let made = w
        .post(
            "/v1/webhook_endpoints",
            &format!("url={own_url}&enabled_events[]=customer.created"),
        )
        .await;
    w.post(
        "/v1/webhook_endpoints",
        &format!("url={connect_url}&enabled_events[]=*&connect=true"),
    )
    .await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(
        w.get(&format!(
            "/v1/webhook_endpoints/{}",
            made["id"].as_str().unwrap()
        ))
        .await["secret"]
            .is_null()
    );
    w.post("/v1/products", "name=x").await;
    w.post("/v1/customers", "").await;
    let account = w.post("/v1/accounts", "type=express").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    w.send("POST", "/v1/customers", &[("stripe-account", &account)], "")
        .await
        .unwrap();
    own.wait_for(1).await;
    connect.wait_for(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    assert_eq!((own.count(), connect.count()), (1, 1));
    let (header, body) = own.got.lock().unwrap()[0].clone();
    assert_eq!(header, sign::header(&[secret], T0, &body));
    assert_eq!(connect.events()[0]["account"], account);
}

#[tokio::test]
async fn the_address_a_sandbox_was_started_with_is_two_endpoints_like_any_other() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let w = world_with(|config| config.webhook_url = Some(url.clone())).await;
    let list = w.get("/v1/webhook_endpoints").await;
    let list = list["data"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(
        list.iter()
            .all(|e| e["url"] == url && e["status"] == "enabled")
    );
    assert_eq!(
        list.iter().filter(|e| e["application"].is_null()).count(),
        1
    );
    assert!(!format!("{list:?}").contains("whsec_"), "a secret is shown");

    w.post("/v1/customers", "").await;
    let account = w.post("/v1/accounts", "type=express").await;
    let account = account["id"].as_str().unwrap().to_owned();
    w.send("POST", "/v1/customers", &[("stripe-account", &account)], "")
        .await
        .unwrap();
    let created = || {
        let events = receiver.events().into_iter();
        let created = events.filter(|e| e["type"] == "customer.created");
        created.map(|e| e["account"].clone()).collect::<Vec<_>>()
    };
    receiver.wait_for(2).await;
    while w.control.unsent_deliveries() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(created(), [serde_json::Value::Null, account.into()]);

    let own = list.iter().find(|e| e["application"].is_null()).unwrap();
    let path = format!("/v1/webhook_endpoints/{}", own["id"].as_str().unwrap());
    w.post(&path, "disabled=true").await;
    w.post("/v1/customers", "").await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    assert_eq!(created().len(), 2, "a disabled endpoint hears nothing");

    w.control.set_webhook(None, Vec::new());
    let list = w.get("/v1/webhook_endpoints").await;
    assert_eq!(list["data"], serde_json::json!([]));
}

#[tokio::test]
async fn events_are_listed_by_account_time_and_page_and_only_deliveries_name_the_account() {
    let w = world().await;
    let account = w.post("/v1/accounts", "type=express").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let headers = [("stripe-account", account.as_str())];
    w.send("POST", "/v1/customers", &headers, "").await.unwrap();
    w.control.advance(60).unwrap();
    for _ in 0..4 {
        w.send("POST", "/v1/customers", &headers, "").await.unwrap();
    }
    let list = async |query: &str| {
        let path = format!("/v1/events?{query}");
        w.send("GET", &path, &headers, "").await.unwrap().json()
    };
    let ids = |page: &serde_json::Value| -> Vec<String> {
        let events = page["data"].as_array().unwrap().iter();
        events
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let recent = format!("created%5Bgte%5D={}", T0 + 60);
    let first = list(&format!("limit=3&{recent}")).await;
    assert_eq!(
        (ids(&first).len(), &first["has_more"]),
        (3, &serde_json::json!(true))
    );
    let last = ids(&first).pop().unwrap();
    let second = list(&format!("limit=3&{recent}&starting_after={last}")).await;
    assert_eq!(
        (ids(&second).len(), &second["has_more"]),
        (1, &serde_json::json!(false))
    );
    assert!(ids(&second).iter().all(|id| !ids(&first).contains(id)));
    let all = list("limit=100").await;
    assert_eq!(ids(&all).len(), 5);
    assert!(
        all["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event.get("account").is_none())
    );
    let told = w.control.events();
    let told = told
        .iter()
        .find(|event| event["id"] == last.as_str())
        .unwrap();
    assert_eq!(told["account"], account);
    let single = w
        .send("GET", &format!("/v1/events/{last}"), &headers, "")
        .await
        .unwrap();
    assert!(single.json().get("account").is_none());
    assert!(
        ids(&w.get("/v1/events?limit=100").await)
            .iter()
            .all(|id| !ids(&all).contains(id))
    );
}
