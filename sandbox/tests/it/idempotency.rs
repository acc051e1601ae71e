//! The idempotency table's rules as a client meets them.

use crate::client::{World, world};
use bursar_sandbox::{Fault, FaultKind};

async fn keyed(w: &World, path: &str, key: &str, form: &str) -> crate::client::Answer {
    w.send("POST", path, &[("idempotency-key", key)], form)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_key_and_request_replays_and_acts_once() {
    let w = world().await;
    let first = keyed(
        &w,
        "/v1/customers",
        "k1",
        "email=a@example.com&metadata[command_id]=cmd_1",
    )
    .await;
    let again = keyed(
        &w,
        "/v1/customers",
        "k1",
        "metadata[command_id]=cmd_1&email=a@example.com",
    )
    .await;
    assert_eq!(first.bytes, again.bytes);
    assert_eq!(
        (
            first.header("idempotent-replayed"),
            again.header("idempotent-replayed")
        ),
        ("", "true")
    );
    assert_eq!(again.header("original-request"), first.header("request-id"));
    assert_eq!(w.control.side_effects("cmd_1")["customer"], 1);
}

#[tokio::test]
async fn another_request_under_a_used_key_is_400_idempotency_error() {
    let w = world().await;
    keyed(&w, "/v1/customers", "k1", "email=a@example.com").await;
    for (path, form) in [
        ("/v1/customers", "email=b@example.com"),
        ("/v1/products", "name=x"),
    ] {
        let other = keyed(&w, path, "k1", form).await;
        assert_eq!(
            (other.status, other.json()["error"]["type"].as_str()),
            (400, Some("idempotency_error"))
        );
    }
}

#[tokio::test]
async fn failed_validation_is_not_kept_but_a_decline_is() {
    let w = world().await;
    assert_eq!(
        keyed(&w, "/v1/customers", "k1", "emial=a").await.status,
        400
    );
    assert_eq!(
        keyed(&w, "/v1/customers", "k1", "email=a@example.com")
            .await
            .status,
        200
    );
    let decline = "amount=500&currency=usd&confirm=true&payment_method=pm_card_chargeDeclined";
    let first = keyed(&w, "/v1/payment_intents", "k2", decline).await;
    let again = keyed(&w, "/v1/payment_intents", "k2", decline).await;
    assert_eq!(
        (
            first.status,
            again.status,
            again.header("idempotent-replayed")
        ),
        (402, 402, "true")
    );
    assert_eq!(first.bytes, again.bytes);
    assert_eq!(
        w.get("/v1/charges").await["data"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_500_after_execution_is_kept_and_replayed() {
    let w = world().await;
    w.control.add_fault(Fault::once(
        FaultKind::ServerErrorSaved,
        "POST /v1/customers",
    ));
    for replayed in ["", "true"] {
        let answer = keyed(&w, "/v1/customers", "k1", "email=a@example.com").await;
        assert_eq!(
            (answer.status, answer.header("idempotent-replayed")),
            (500, replayed)
        );
    }
    assert_eq!(
        w.get("/v1/customers").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_answer_lost_after_commit_is_there_for_the_retry() {
    let w = world().await;
    w.control.add_fault(Fault::once(
        FaultKind::ResetAfterCommit,
        "POST /v1/customers",
    ));
    let lost = w
        .send(
            "POST",
            "/v1/customers",
            &[("idempotency-key", "k1")],
            "email=a@example.com",
        )
        .await;
    lost.unwrap_err();
    let again = keyed(&w, "/v1/customers", "k1", "email=a@example.com").await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (200, "true")
    );
    assert_eq!(
        w.get("/v1/customers").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day_and_belong_to_one_account() {
    let w = world().await;
    let first = keyed(&w, "/v1/customers", "k1", "email=a@example.com")
        .await
        .json();
    let account = w.post("/v1/accounts", "type=express").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let headers = [
        ("idempotency-key", "k1"),
        ("stripe-account", account.as_str()),
    ];
    let there = w
        .send("POST", "/v1/customers", &headers, "email=c@example.com")
        .await
        .unwrap();
    assert_eq!(there.status, 200);
    w.control.advance(25 * 3_600).unwrap();
    let later = keyed(&w, "/v1/customers", "k1", "email=b@example.com").await;
    assert_eq!(later.status, 200);
    assert_ne!(later.json()["id"], first["id"]);
}

#[tokio::test]
async fn the_same_key_while_the_first_runs_is_409_and_may_be_retried() {
    let w = world().await;
    let mut slow = Fault::once(FaultKind::Slow, "POST /v1/customers");
    slow.seconds = Some(1);
    w.control.add_fault(slow);
    let second = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        keyed(&w, "/v1/customers", "k1", "email=a@example.com").await
    };
    let (first, second) = tokio::join!(
        keyed(&w, "/v1/customers", "k1", "email=a@example.com"),
        second
    );
    assert_eq!((first.status, second.status), (200, 409));
    assert_eq!(second.json()["error"]["code"], "idempotency_key_in_use");
    assert_eq!(second.header("stripe-should-retry"), "true");
    let third = keyed(&w, "/v1/customers", "k1", "email=a@example.com").await;
    assert_eq!(third.bytes, first.bytes);
    assert_eq!(first.header("date"), "Mon, 12 May 2025 10:00:00 GMT");
}
