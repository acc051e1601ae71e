//! Endpoints: who sees them, what they may point at, their secrets.

use super::receiver::Receiver;
use super::{ENDPOINTS, announced, ask, buys, endpoint, order, service_key, stage, until};
use secrecy::SecretString;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_sign_while_one_replaces_the_other() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&bursar, &receiver, json!({"types": ["tenant.created"]})).await;
    let path = format!("{ENDPOINTS}/{id}");
    let shown = order(&bursar, &format!("GET {path}"), Value::Null).await;
    assert!(shown.get("secret").is_none(), "{shown}");
    buys(&stage, &bursar, "t0", "hobby").await;
    until("one arrives", || async { receiver.taken().len() == 1 }).await;
    let rotated = order(
        &bursar,
        &format!("POST {path}/rotate-secret"),
        json!({"overlapHours": 2}),
    )
    .await;
    let secret = rotated["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && rotated["previousSecretUntil"].is_string());
    // The receiver knows the old one alone, and still everything is genuine to it.
    buys(&stage, &bursar, "t1", "hobby").await;
    until("another arrives", || async { receiver.taken().len() == 2 }).await;
    stage.pass(3 * 3_600).await;
    buys(&stage, &bursar, "t2", "hobby").await;
    until("a third", || async { receiver.taken().len() == 3 }).await;
    let came = receiver.came();
    let seen: Vec<(usize, bool)> = came
        .iter()
        .map(|one| (one.signatures.len(), one.is_genuine))
        .collect();
    assert_eq!(seen, [(1, true), (2, true), (1, false)]);
    receiver.knows(secret);
    buys(&stage, &bursar, "t3", "hobby").await;
    until("a fourth", || async { receiver.came().len() == 4 }).await;
    assert!(receiver.came()[3].is_genuine);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_what_came_of_it_and_is_no_news() {
    let (_stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    let id = endpoint(
        &bursar,
        &receiver,
        json!({"types": ["payment.*", "refund.created"]}),
    )
    .await;
    let path = format!("{ENDPOINTS}/{id}");
    let good = order(&bursar, &format!("POST {path}/test"), json!({})).await;
    assert_eq!(
        (&good["status"], &good["statusCode"], &good["type"]),
        (&json!("succeeded"), &json!(200), &json!("refund.created"))
    );
    receiver.answers(|_| (503, ""));
    let bad = order(
        &bursar,
        &format!("POST {path}/test"),
        json!({"type": "license.revoked"}),
    )
    .await;
    assert_eq!(
        (&bad["status"], &bad["statusCode"], &bad["type"]),
        (&json!("failed"), &json!(503), &json!("license.revoked"))
    );
    let came = receiver.came();
    assert!(came.iter().all(|one| one.is_genuine
        && one.body["data"]["test"] == true
        && one.body["data"]["version"] == 0));
    let list = order(&bursar, &format!("GET {path}/deliveries"), Value::Null).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert!(announced(&bursar).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_one_tenant_meets_no_others_endpoint() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    for tenant in ["own", "other"] {
        buys(&stage, &bursar, tenant, "hobby").await;
    }
    announced(&bursar).await;
    let all = endpoint(&bursar, &receiver, json!({})).await;
    let others = endpoint(&bursar, &receiver, json!({"tenantId": "other"})).await;
    let own = endpoint(&bursar, &receiver, json!({"tenantId": "own"})).await;
    let key = service_key(&bursar, &["notifications"]).await;
    let as_own = |line: String, body: Value| {
        let (bursar, key) = (&bursar, &key);
        async move { ask(bursar, Some(key), Some("own"), &line, body).await }
    };
    let (_, list) = as_own(format!("GET {ENDPOINTS}"), Value::Null).await;
    let seen: Vec<&Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(seen, [&json!(own)]);
    let absent = "ne_000000000000000000000000";
    for id in [all.as_str(), others.as_str(), absent] {
        for (line, body) in [
            (format!("GET {ENDPOINTS}/{id}"), Value::Null),
            (
                format!("PATCH {ENDPOINTS}/{id}"),
                json!({"description": "mine"}),
            ),
            (format!("DELETE {ENDPOINTS}/{id}"), Value::Null),
            (format!("POST {ENDPOINTS}/{id}/rotate-secret"), json!({})),
            (format!("POST {ENDPOINTS}/{id}/test"), json!({})),
            (format!("POST {ENDPOINTS}/{id}/enable"), json!({})),
            (format!("POST {ENDPOINTS}/{id}/retry"), json!({})),
            (format!("GET {ENDPOINTS}/{id}/deliveries"), Value::Null),
            (
                format!("POST {ENDPOINTS}/{id}/deliveries/nd_1/retry"),
                json!({}),
            ),
        ] {
            let (status, answer) = as_own(line.clone(), body).await;
            assert_eq!(
                (status, answer["code"].as_str()),
                (404, Some("not_found")),
                "{line}"
            );
        }
    }
    let foreign = as_own(
        format!("POST {ENDPOINTS}"),
        json!({"url": receiver.url(), "tenantId": "other"}),
    )
    .await;
    assert_eq!(foreign.0, 400, "{foreign:?}");
    let (status, made) = as_own(format!("POST {ENDPOINTS}"), json!({"url": receiver.url()})).await;
    assert_eq!((status, &made["tenantId"]), (201, &json!("own")));
    let (_, feed) = as_own(
        "GET /api/v1/notifications?limit=100".to_owned(),
        Value::Null,
    )
    .await;
    let feed = feed["data"].as_array().unwrap();
    assert!(!feed.is_empty() && feed.iter().all(|line| line["tenantId"] == "own"));
    // One of the other's deliveries is nobody else's to have again.
    let foreign = order(
        &bursar,
        "GET /api/v1/notifications?tenantId=other&limit=1",
        Value::Null,
    )
    .await;
    let delivery = foreign["data"][0]["id"]
        .as_str()
        .unwrap()
        .replace("ntf_", "nd_");
    let (status, _) = as_own(
        format!("POST {ENDPOINTS}/{own}/deliveries/{delivery}/retry"),
        json!({}),
    )
    .await;
    assert_eq!(status, 404);
    let without = service_key(&bursar, &["billing"]).await;
    let (status, _) = ask(
        &bursar,
        Some(&without),
        None,
        &format!("GET {ENDPOINTS}"),
        Value::Null,
    )
    .await;
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_checked_changed_and_removed() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    for (body, field) in [
        (json!({"url": "http://app.example.com/"}), "url"),
        (json!({"url": "https://user:pw@app.example.com/"}), "url"),
        (json!({"url": "https://169.254.169.254/latest"}), "url"),
        (json!({"url": "gopher://app.example.com/"}), "url"),
        (
            json!({"url": receiver.url(), "types": ["payments.*"]}),
            "types",
        ),
        (json!({}), "url"),
    ] {
        let (status, answer) = ask(
            &bursar,
            None,
            None,
            &format!("POST {ENDPOINTS}"),
            body.clone(),
        )
        .await;
        assert_eq!(
            (status, answer["errors"][0]["field"].as_str()),
            (400, Some(field)),
            "{body} {answer}"
        );
    }
    let unknown = json!({"url": receiver.url(), "tenantId": "nobody"});
    assert_eq!(
        ask(&bursar, None, None, &format!("POST {ENDPOINTS}"), unknown)
            .await
            .0,
        404
    );

    let id = endpoint(&bursar, &receiver, json!({"types": ["refund.*"]})).await;
    let path = format!("{ENDPOINTS}/{id}");
    let body = json!({"types": ["tenant.created"], "description": "ours", "enabled": false});
    let changed = order(&bursar, &format!("PATCH {path}"), body).await;
    assert_eq!(
        (&changed["status"], &changed["description"]),
        (&json!("disabled"), &json!("ours"))
    );
    buys(&stage, &bursar, "t0", "hobby").await;
    announced(&bursar).await;
    assert!(receiver.came().is_empty());
    order(&bursar, &format!("PATCH {path}"), json!({"enabled": true})).await;
    buys(&stage, &bursar, "t1", "hobby").await;
    until("one", || async { receiver.taken().len() == 1 }).await;
    assert_eq!(
        ask(&bursar, None, None, &format!("DELETE {path}"), Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        ask(&bursar, None, None, &format!("GET {path}"), Value::Null)
            .await
            .0,
        404
    );
    buys(&stage, &bursar, "t2", "hobby").await;
    announced(&bursar).await;
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_endpoint_is_shown_first_and_changed_in_the_configuration_alone() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    let secret = format!("whsec_{}", "QUJD".repeat(8));
    receiver.knows(&secret);
    let url = bursar_config::BaseUrl::parse(&receiver.url()).unwrap();
    let secret: SecretString = secret.into();
    let bursar = stage
        .again(bursar, |config| {
            config.outbound.endpoint = Some((url, secret))
        })
        .await;
    stage.tell(&bursar);
    endpoint(&bursar, &Receiver::start().await, json!({})).await;
    let list = order(&bursar, &format!("GET {ENDPOINTS}"), Value::Null).await;
    assert_eq!(
        (&list["data"][0]["id"], &list["data"][0]["readOnly"]),
        (&json!("ne_config"), &json!(true))
    );
    let path = format!("{ENDPOINTS}/ne_config");
    for (line, body) in [
        (format!("PATCH {path}"), json!({"description": "x"})),
        (format!("DELETE {path}"), Value::Null),
        (format!("POST {path}/rotate-secret"), json!({})),
    ] {
        let (status, answer) = ask(&bursar, None, None, &line, body).await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (409, Some("state_conflict")),
            "{line}"
        );
    }
    buys(&stage, &bursar, "t0", "hobby").await;
    let feed = announced(&bursar).await;
    until("all arrive", || async {
        receiver.taken().len() == feed.len()
    })
    .await;
    assert!(receiver.came().iter().all(|one| one.is_genuine));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_inside_is_refused_at_the_delivery_too() {
    let (stage, bursar) = stage().await;
    let receiver = Receiver::start().await;
    // Made while it was allowed.
    let id = endpoint(&bursar, &receiver, json!({"types": ["tenant.created"]})).await;
    let bursar = stage
        .again(bursar, |config| config.outbound.allow_private = false)
        .await;
    stage.tell(&bursar);
    buys(&stage, &bursar, "t0", "hobby").await;
    let list = format!("GET {ENDPOINTS}/{id}/deliveries");
    until("it is noted", || async {
        order(&bursar, &list, Value::Null).await["data"][0].is_object()
    })
    .await;
    let attempt = order(&bursar, &list, Value::Null).await["data"][0].clone();
    assert_eq!(
        (&attempt["status"], &attempt["statusCode"]),
        (&json!("failed"), &Value::Null),
        "{attempt}"
    );
    assert!(receiver.came().is_empty());
}
