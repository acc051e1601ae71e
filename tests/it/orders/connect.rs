//! Connect: one account per tenant, links into Stripe's pages, sales on it.

use super::stand::{Stand, at_once};
use bursar_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ACCOUNTS: &str = "/api/v1/connect/accounts";
const LINKS: &str = "/api/v1/connect/account-links";
const CHECKOUT: &str = "/api/v1/checkout-sessions";

fn login(tenant: &str) -> String {
    format!("/api/v1/connect/express-login-link?tenantId={tenant}")
}

/// A tenant with an account, and the account's id.
async fn merchant(stand: &Stand, tenant: &str) -> String {
    stand.tenant(tenant).await;
    let opened = stand.post(ACCOUNTS, &json!({"tenantId": tenant})).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    opened.ok()["merchantAccountId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// An account that may charge, as Bursar shows it.
async fn onboarded(stand: &Stand, tenant: &str) -> String {
    let account = merchant(stand, tenant).await;
    stand.sandbox.control().onboard(&account).unwrap();
    let path = format!("/api/v1/connect/account?tenantId={tenant}");
    let is_ready = |found: &Value| found["chargesEnabled"] == true;
    stand.until(&path, is_ready).await;
    account
}

/// A problem without the id of its request.
fn told(mut problem: Value) -> String {
    problem["requestId"] = Value::Null;
    problem.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_becomes_a_merchant_and_follows_its_account() {
    let mut stand = Stand::start().await;
    stand.tenant("shop").await;
    let body = json!({"tenantId": "shop", "email": "owner@shop.example", "country": "de"});
    let opened = stand.keyed(ACCOUNTS, "k1", &body).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let shown = opened.json();
    let account = shown["merchantAccountId"].as_str().unwrap().to_owned();
    assert_eq!(
        (
            &shown["chargesEnabled"],
            &shown["payoutsEnabled"],
            &shown["detailsSubmitted"],
            &shown["tenantId"]
        ),
        (&json!(false), &json!(false), &json!(false), &json!("shop"))
    );
    assert!(
        shown["requirements"]["pastDue"]
            .as_array()
            .is_some_and(|due| !due.is_empty())
    );
    assert_eq!(shown["disabledReason"], "requirements.past_due");
    let made = stand.sandbox.control().object(&account).unwrap();
    assert_eq!(
        (
            &made["type"],
            &made["country"],
            &made["email"],
            &made["metadata"]["tenant_id"]
        ),
        (
            &json!("express"),
            &json!("DE"),
            &json!("owner@shop.example"),
            &json!("shop")
        )
    );
    let again = stand.keyed(ACCOUNTS, "k1", &body).await;
    assert!(again.is_replayed && again.text == opened.text, "{again:?}");
    let plain = json!({"tenantId": "shop"});
    let other = stand.keyed(ACCOUNTS, "k2", &plain).await;
    assert_eq!(other.status, 200, "{other:?}");
    assert_eq!(other.json()["merchantAccountId"], json!(account));

    // Nobody is let into the dashboard before the form is finished.
    let early = stand
        .get(&login("shop"))
        .await
        .problem(422, "stripe_refused");
    assert!(
        early["detail"].as_str().unwrap().contains("onboarding"),
        "{early}"
    );
    assert!(early.get("commandId").is_none(), "{early}");
    let link = stand.keyed(LINKS, "k3", &json!({"tenantId": "shop"})).await;
    let url = link.json()["url"].as_str().unwrap().to_owned();
    assert!(url.contains(&account), "{link:?}");
    assert!(
        link.json()["expiresAt"].as_str().unwrap() > "2025",
        "{link:?}"
    );
    let same = stand.keyed(LINKS, "k3", &json!({"tenantId": "shop"})).await;
    assert!(same.is_replayed && same.text == link.text, "{same:?}");
    let fresh = stand.post(LINKS, &json!({"tenantId": "shop"})).await.ok();
    assert_ne!(fresh["url"], json!(url));

    stand.sandbox.control().onboard(&account).unwrap();
    let ready = stand
        .until("/api/v1/connect/account?tenantId=shop", |found| {
            found["payoutsEnabled"] == true && found["capabilities"]["transfers"] == "active"
        })
        .await;
    assert_eq!(ready["disabledReason"], Value::Null, "{ready}");
    let tenant = stand.get("/api/v1/tenants/shop").await.ok();
    assert_eq!(tenant["merchantAccountId"], json!(account));
    let dashboard = stand.get(&login("shop")).await.ok();
    assert!(
        dashboard["url"].as_str().unwrap().contains("/express/"),
        "{dashboard}"
    );
    assert_eq!(stand.requests("POST", "/v1/accounts").len(), 1);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_open_one_account() {
    let mut stand = Stand::start().await;
    stand.tenant("shop").await;
    let body = json!({"tenantId": "shop"});
    let replies = at_once((0..8).map(|_| stand.post(ACCOUNTS, &body))).await;
    let accounts: BTreeSet<String> = replies
        .into_iter()
        .map(|reply| reply.ok()["merchantAccountId"].to_string())
        .collect();
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    assert_eq!(stand.requests("POST", "/v1/accounts").len(), 1);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_and_a_restart_leave_one_account() {
    let mut stand = Stand::start().await;
    stand.tenant("shop").await;
    let lost = Fault::once(FaultKind::ResetAfterCommit, "POST /v1/accounts");
    assert!(stand.sandbox.control().add_fault(lost));
    let body = json!({"tenantId": "shop"});
    stand.post_async(ACCOUNTS, &body).await.ok();
    stand.end().await;
    stand.begin().await;
    let opened = stand.post(ACCOUNTS, &body).await.ok();
    let account = opened["merchantAccountId"].as_str().unwrap().to_owned();
    let path = "/api/v1/connect/account?tenantId=shop";
    let shown = stand
        .until(path, |found| found["merchantAccountId"] == json!(account))
        .await;
    let made = stand.sandbox.control().object(&account).unwrap();
    let command = made["metadata"]["command_id"].as_str().unwrap();
    let effects = stand.sandbox.control().side_effects(command);
    assert_eq!(effects.get("account"), Some(&1), "{effects:?} {shown}");
    // It was lost after all: Stripe was asked twice, under one key.
    let asked = stand.requests("POST", "/v1/accounts");
    assert!(asked.len() > 1, "{asked:?}");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_disconnects_is_gone_and_a_new_one_takes_its_place() {
    let mut stand = Stand::start().await;
    let first = onboarded(&stand, "shop").await;
    stand.sandbox.control().deauthorize(&first).unwrap();
    let path = "/api/v1/connect/account?tenantId=shop";
    stand
        .until(path, |found| found["deauthorized"] == true)
        .await;
    let body = json!({"tenantId": "shop"});
    stand.post(LINKS, &body).await.problem(404, "not_found");
    stand.get(&login("shop")).await.problem(404, "not_found");
    let second = stand.post(ACCOUNTS, &body).await;
    assert_eq!(second.status, 201, "{second:?}");
    let second = second.json()["merchantAccountId"].clone();
    assert_ne!(second, json!(first));
    let shown = stand.get(path).await.ok();
    assert_eq!(shown["merchantAccountId"], second);
    stand.post(LINKS, &body).await.ok();
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_opens_nothing_and_may_be_asked_better() {
    let mut stand = Stand::start().await;
    stand.tenant("shop").await;
    stand.tenant("other").await;
    for (path, body, status, code) in [
        (ACCOUNTS, json!({}), 400, "invalid_request"),
        (ACCOUNTS, json!({"tenantId": "nobody"}), 404, "not_found"),
        (
            ACCOUNTS,
            json!({"tenantId": "shop", "country": "D1"}),
            400,
            "invalid_request",
        ),
        (
            ACCOUNTS,
            json!({"tenantId": "shop", "email": "no address"}),
            400,
            "invalid_request",
        ),
        (LINKS, json!({"tenantId": "shop"}), 404, "not_found"),
    ] {
        stand.post(path, &body).await.problem(status, code);
    }
    assert_eq!(stand.sandbox.control().requests().len(), 0);
    // Stripe's refusal is final for its request, and not for the tenant.
    let nowhere = json!({"tenantId": "shop", "country": "XX"});
    let refused = stand.keyed(ACCOUNTS, "k1", &nowhere).await;
    let refused = refused.problem(422, "stripe_refused");
    assert_eq!(refused["param"], "country", "{refused}");
    let again = stand.keyed(ACCOUNTS, "k1", &nowhere).await;
    assert!(again.is_replayed, "{again:?}");
    assert_eq!(stand.requests("POST", "/v1/accounts").len(), 1);
    let shop = merchant(&stand, "shop").await;
    for field in ["returnUrl", "refreshUrl"] {
        let evil = json!({"tenantId": "shop", field: "https://evil.example/"});
        stand
            .post(LINKS, &evil)
            .await
            .problem(422, "return_url_not_allowed");
    }
    assert_eq!(stand.requests("POST", "/v1/account_links").len(), 0);
    // The account of another tenant is as absent as one that does not exist.
    let sale = |account: &str| {
        json!({"tenantId": "other", "merchantAccountId": account,
        "lineItems": [{"name": "Tea", "amount": 500, "currency": "usd", "quantity": 1}]})
    };
    let foreign = stand.post(CHECKOUT, &sale(&shop)).await;
    let absent = stand.post(CHECKOUT, &sale("acct_absent")).await;
    assert_eq!(
        told(foreign.problem(404, "not_found")),
        told(absent.problem(404, "not_found"))
    );
    let unowned = stand.post(LINKS, &json!({"tenantId": "other"})).await;
    let nobody = stand.post(LINKS, &json!({"tenantId": "nobody"})).await;
    assert_eq!(
        told(unowned.problem(404, "not_found")),
        told(nobody.problem(404, "not_found"))
    );
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_the_merchants_and_the_fee_the_platforms() {
    let mut stand = Stand::start().await;
    let account = onboarded(&stand, "shop").await;
    stand.tenant("other").await;
    let body = json!({"tenantId": "shop", "merchantAccountId": account, "applicationFeeAmount": 150,
        "customerEmail": "buyer@example.com", "orderId": "order-9", "lineItems": [
            {"name": "Tea", "amount": 500, "currency": "usd", "quantity": 3},
            {"name": "Cup", "amount": 900, "currency": "usd"}]});
    let opened = stand.keyed(CHECKOUT, "k1", &body).await.ok();
    let session = opened["sessionId"].as_str().unwrap().to_owned();
    let control = stand.sandbox.control();
    control.pay_session(&session, "4242", None).unwrap();
    let list = "/api/v1/payments?tenantId=shop&status=succeeded";
    let is_there = |found: &Value| found["data"].as_array().is_some_and(|all| all.len() == 1);
    let payment = stand.until(list, is_there).await["data"][0].clone();
    assert_eq!(
        (
            &payment["merchantAccountId"],
            &payment["tenantId"],
            &payment["amount"]
        ),
        (&json!(account), &json!("shop"), &json!(2_400)),
        "{payment}"
    );
    let order = format!("{CHECKOUT}/{session}?tenantId=shop");
    let order = stand
        .until(&order, |found| found["status"] == "complete")
        .await;
    assert_eq!(order["orderId"], "order-9", "{order}");
    // The platform's part changes hands: the merchant's book pays it, revenue takes it.
    let id = payment["id"].as_str().unwrap();
    let ledger = format!("/api/v1/ledger?tenantId=shop&paymentId={id}");
    let earned = |found: &Value| {
        let entries = found["data"].as_array().cloned().unwrap_or_default();
        let revenue = entries.iter().filter(|one| one["account"] == "revenue");
        revenue
            .filter_map(|one| one["amount"].as_i64())
            .sum::<i64>()
    };
    let moved = stand.until(&ledger, |found| earned(found) != 0).await;
    assert_eq!(earned(&moved), -150, "{moved}");
    let all = moved["data"].as_array().unwrap().iter();
    let sum: i64 = all.filter_map(|one| one["amount"].as_i64()).sum();
    assert_eq!(sum, 0, "{moved}");
    // Nothing of it is another tenant's.
    let hidden = format!("/api/v1/payments/{id}?tenantId=other");
    stand.get(&hidden).await.problem(404, "not_found");
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_key_needs_the_scope_connect_and_then_may_whatever_the_setting_says() {
    let mut stand = Stand::start().await;
    stand.tenant("shop").await;
    let client = reqwest::Client::new();
    let url = format!("http://{}{ACCOUNTS}?tenantId=shop", stand.address);
    for (scope, status) in [("billing", 403), ("connect", 201)] {
        let body = json!({"name": scope, "scopes": [scope]});
        let made = stand.post("/api/v1/service-keys", &body).await.ok();
        let key = made["key"].as_str().unwrap_or_default();
        let answer = client.post(&url).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{scope} {made}");
    }
    stand.end().await;
}
