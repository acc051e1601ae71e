//! What goes wrong when asked to, and what the sandbox refuses by itself.

use crate::client::{world, world_with};
use bursar_sandbox::{Fault, FaultKind, SandboxConfig, start};

#[tokio::test]
async fn faults_before_execution_leave_nothing_behind() {
    let w = world().await;
    for (kind, status) in [
        (FaultKind::Unauthorized, 401),
        (FaultKind::Declined, 402),
        (FaultKind::Conflict, 409),
        (FaultKind::RateLimited, 429),
        (FaultKind::ServerError, 500),
        (FaultKind::Unavailable, 503),
        (FaultKind::Redirect, 302),
    ] {
        w.control.add_fault(Fault::once(kind, "/v1/customers"));
        let answer = w
            .send("POST", "/v1/customers", &[], "email=a@example.com")
            .await
            .unwrap();
        assert_eq!(answer.status, status);
        if status == 429 {
            assert_eq!(
                (
                    answer.header("retry-after"),
                    answer.header("stripe-should-retry")
                ),
                ("1", "true")
            );
        }
    }
    w.control.add_fault(Fault::once(FaultKind::ResetBefore, ""));
    w.send("POST", "/v1/customers", &[], "").await.unwrap_err();
    assert!(
        w.get("/v1/customers").await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn garbage_and_huge_answers_are_what_they_say() {
    let w = world().await;
    w.control
        .add_fault(Fault::once(FaultKind::Garbage, "/v1/customers"));
    let garbage = w.send("POST", "/v1/customers", &[], "").await.unwrap();
    assert!(
        garbage.status == 200
            && serde_json::from_slice::<serde_json::Value>(&garbage.bytes).is_err()
    );
    assert_eq!(
        w.get("/v1/customers").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    w.control
        .add_fault(Fault::once(FaultKind::Huge, "/v1/customers"));
    assert!(
        w.send("GET", "/v1/customers", &[], "")
            .await
            .unwrap()
            .bytes
            .len()
            > 8_000_000
    );
}

#[tokio::test]
async fn a_hang_after_commit_never_answers_but_has_acted() {
    let w = world().await;
    w.control
        .add_fault(Fault::once(FaultKind::HangAfterCommit, "/v1/customers"));
    let waited = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        w.send("POST", "/v1/customers", &[("idempotency-key", "k")], ""),
    )
    .await;
    assert!(waited.is_err());
    assert_eq!(
        w.get("/v1/customers").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let again = w
        .send("POST", "/v1/customers", &[("idempotency-key", "k")], "")
        .await
        .unwrap();
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn keys_that_are_missing_short_live_or_of_another_kind_are_401() {
    let w = world().await;
    for bad in [
        "",
        "Bearer sk_test_1",
        "Bearer sk_live_0123456789abcdef",
        "Bearer pk_test_0123456789",
        "Basic !!!",
        "Bearer",
    ] {
        let answer = w
            .send("GET", "/v1/customers", &[("authorization", bad)], "")
            .await
            .unwrap();
        assert_eq!(answer.status, 401, "{bad}");
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("0123456789abcdef"));
    }
    // c2tfdGVzdF8wMTIzNDU2Nzg5Og== is "sk_test_0123456789:".
    let basic = w
        .send(
            "GET",
            "/v1/customers",
            &[("authorization", "Basic c2tfdGVzdF8wMTIzNDU2Nzg5Og==")],
            "",
        )
        .await
        .unwrap();
    assert_eq!(basic.status, 200);
    assert!(basic.header("request-id").starts_with("req_"));
}

#[tokio::test]
async fn an_address_other_machines_reach_is_refused_unless_asked_for() {
    let config = SandboxConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..SandboxConfig::default()
    };
    assert!(start(config.clone()).await.is_err());
    let open = start(SandboxConfig {
        allow_non_loopback: true,
        ..config
    })
    .await
    .unwrap();
    open.shutdown().await;
}

#[tokio::test]
async fn bodies_over_a_mebibyte_are_413_and_other_sites_cannot_post() {
    let w = world().await;
    let big = format!("description={}", "x".repeat(1 << 20));
    assert_eq!(
        w.send("POST", "/v1/customers", &[], &big)
            .await
            .map(|a| a.status)
            .unwrap_or(413),
        413
    );
    let foreign = w
        .send(
            "POST",
            "/control/clock/advance?seconds=5",
            &[("origin", "http://evil.example")],
            "",
        )
        .await
        .unwrap();
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn accounts_keep_their_state_apart_and_unknown_ones_are_403() {
    let w = world_with(|config| config.seed = 9).await;
    let account = w.post("/v1/accounts", "type=express").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let there = [("stripe-account", account.as_str())];
    let made = w
        .send("POST", "/v1/customers", &there, "email=a@example.com")
        .await
        .unwrap()
        .json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        w.send("GET", &format!("/v1/customers/{id}"), &[], "")
            .await
            .unwrap()
            .status,
        404
    );
    assert_eq!(
        w.send("GET", &format!("/v1/customers/{id}"), &there, "")
            .await
            .unwrap()
            .status,
        200
    );
    let nobody = w
        .send(
            "GET",
            "/v1/customers",
            &[("stripe-account", "acct_nobody")],
            "",
        )
        .await
        .unwrap();
    assert_eq!(
        (nobody.status, nobody.json()["error"]["code"].as_str()),
        (403, Some("account_invalid"))
    );
    let events = w.control.events();
    assert_eq!(
        events
            .iter()
            .find(|e| e["type"] == "customer.created")
            .unwrap()["account"],
        account
    );
    w.control.deauthorize(&account).unwrap();
    assert_eq!(
        w.send("GET", "/v1/customers", &there, "")
            .await
            .unwrap()
            .status,
        403
    );
}
