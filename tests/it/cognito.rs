//! Accounts at a double of Amazon Cognito nobody here wrote (moto): made by a payment, kept out by a revoked
//! licence, let in again by the next payment, deleted with the tenant. `tests/outside/cognito/run.sh` starts the double.

use crate::stage::{Bursar, Stage};
use bursar_config::{BaseUrl, Cognito, IdentityProvider};
use serde_json::{Value, json};
use std::time::Duration;

/// The double wants to be told a region, as a signature does, and checks nothing else.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIATEST/20250512/eu-central-1/cognito-idp/aws4_request, \
     SignedHeaders=host, Signature=00";

struct Double {
    base: String,
    pool: String,
}

impl Double {
    async fn with_a_pool() -> Self {
        let base = std::env::var("BURSAR_COGNITO_DOUBLE")
            .expect("BURSAR_COGNITO_DOUBLE names the double (tests/outside/cognito/run.sh)");
        let mut double = Self {
            base,
            pool: String::new(),
        };
        let order = json!({"PoolName": "customers", "Schema": [
            {"Name": "tenant_id", "AttributeDataType": "String", "Mutable": true}]});
        let made = double.ask("CreateUserPool", order).await;
        made["UserPool"]["Id"]
            .as_str()
            .unwrap()
            .clone_into(&mut double.pool);
        double
    }

    async fn ask(&self, operation: &str, body: Value) -> Value {
        let sent = reqwest::Client::new()
            .post(&self.base)
            .header("authorization", AUTHORIZATION)
            .header("content-type", "application/x-amz-json-1.1")
            .header(
                "x-amz-target",
                format!("AWSCognitoIdentityProviderService.{operation}"),
            )
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert!(sent.status().is_success(), "{operation}: {}", sent.status());
        sent.json().await.unwrap()
    }

    async fn user(&self, address: &str) -> Value {
        let body = json!({"UserPoolId": self.pool, "Username": address});
        self.ask("AdminGetUser", body).await
    }

    async fn users(&self) -> usize {
        let listed = self.ask("ListUsers", json!({"UserPoolId": self.pool}));
        listed.await["Users"].as_array().unwrap().len()
    }

    fn config(&self) -> IdentityProvider {
        IdentityProvider::Cognito(Cognito {
            user_pool_id: self.pool.clone(),
            region: "eu-central-1".to_owned(),
            endpoint: BaseUrl::parse(&self.base).unwrap(),
            tenant_attribute: Some("custom:tenant_id".to_owned()),
            access_key_id: "AKIATEST".to_owned(),
            secret_access_key: "not-a-secret-of-anybody".into(),
            session_token: None,
        })
    }
}

/// Waits until so many effects of this kind are done.
async fn done(bursar: &Bursar, kind: &str, count: usize) {
    for _ in 0..1_000 {
        let page = bursar.get("/api/v1/outbox?limit=100").await.ok().unwrap();
        let effects = page["data"].as_array().unwrap().iter();
        let ended: Vec<_> = effects.filter(|effect| effect["kind"] == kind).collect();
        assert!(
            !ended
                .iter()
                .any(|e| e["status"] == "failed" || e["status"] == "dead"),
            "{ended:?}"
        );
        if ended.iter().filter(|e| e["status"] == "done").count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{kind} was not done {count} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pays_gets_an_account_and_who_stops_is_kept_out() {
    let double = Double::with_a_pool().await;
    let stage = Stage::set().await;
    let bursar = stage
        .bursar_with(|config| config.identity = double.config())
        .await;
    stage.tell(&bursar);
    let session = stage.buys("acme", "hobby").await;
    stage.delivered().await;
    bursar.settle().await;
    done(&bursar, "provision", 1).await;
    let user = double.user("acme@example.com").await;
    assert_eq!(user["Enabled"], true);
    let named = user["UserAttributes"].as_array().unwrap().iter();
    let named = named.filter(|one| one["Name"] == "custom:tenant_id");
    let named: Vec<_> = named.map(|one| one["Value"].as_str().unwrap()).collect();
    assert_eq!(named, ["acme"]);

    let subscription = session["subscription"].as_str().unwrap();
    stage
        .delete(&format!("/v1/subscriptions/{subscription}"))
        .await;
    stage.delivered().await;
    bursar.settle().await;
    done(&bursar, "access", 1).await;
    assert_eq!(double.user("acme@example.com").await["Enabled"], false);

    let pro = stage.buys("acme", "pro").await;
    stage.delivered().await;
    bursar.settle().await;
    done(&bursar, "access", 2).await;
    done(&bursar, "provision", 2).await;
    assert_eq!(double.user("acme@example.com").await["Enabled"], true);
    assert_eq!(double.users().await, 1);
    let outbox = bursar.get("/api/v1/outbox?limit=100").await.ok().unwrap();
    assert!(!outbox.to_string().contains("acme@example.com"), "{outbox}");

    // Erased: the user is deleted there too, after a cancellation that kept it out.
    let subscription = pro["subscription"].as_str().unwrap();
    stage
        .delete(&format!("/v1/subscriptions/{subscription}"))
        .await;
    stage.delivered().await;
    bursar.settle().await;
    let erased = bursar.post("/api/v1/tenants/acme/erase", &json!({})).await;
    let erased = erased.ok().unwrap();
    assert_eq!(erased["providerAccounts"], 1, "{erased}");
    done(&bursar, "forget", 1).await;
    assert_eq!(double.users().await, 0);
    println!("ran cognito: users=1 disabled=1 enabled_again=1 deleted=1");
}
