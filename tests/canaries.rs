//! Secrets given to a running Bursar, and made by it, are nowhere they could be read: no log, metric, answer, file of the
//! store or command line holds one.
//!
//! Method: the real binary at its most talkative, beside the sandbox, is driven through everything that takes or makes a
//! secret, the refusals too; then all it wrote is searched (`child`). That the search finds what is there is checked with a
//! name that may be there.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod child;

use base64::Engine;
use bursar_sandbox::{Sandbox, SandboxConfig};
use child::{ADMIN_KEY, Server, Settings};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const EMAIL: &str = "ada@example.com";
/// What everybody may know, and the search must find.
const KNOWN: &str = "canary-control-tenant";

fn settings(folder: &Path, sandbox: &Sandbox) -> Settings {
    let base = sandbox.base_url();
    let outbound =
        base64::engine::general_purpose::STANDARD.encode("CANARY-outbound-0123456789abcdef");
    Settings::in_folder(folder)
        .known(KNOWN)
        .env("BURSAR_LOG", "debug,sled=warn")
        .secret("BURSAR_METRICS_TOKEN", "CANARY-metrics-token-1188aa")
        .env("STRIPE_API_BASE", base)
        .env("MAIL_TRANSPORT", "mailgun")
        .env("MAIL_FROM", "billing@example.com")
        .env("MAILGUN_DOMAIN", "mg.example.com")
        .env("MAILGUN_BASE_URL", base)
        .secret("MAILGUN_API_KEY", "CANARY-mailgun-key-90cc")
        .env("OUTBOUND_WEBHOOK_URL", "http://127.0.0.1:9/nobody")
        .secret("OUTBOUND_WEBHOOK_SECRET", &format!("whsec_{outbound}"))
        .env("BURSAR_OUTBOUND_ALLOW_PRIVATE", "true")
}

/// Asks, and keeps what is answered to be searched: all of it but answers that hand a secret out.
struct Client {
    http: reqwest::Client,
    public: String,
    answers: String,
}

impl Client {
    async fn post(&mut self, bearer: Option<&str>, path: &str, body: &Value, status: u16) -> Value {
        let mut request = self.http.post(format!("{}{path}", self.public)).json(body);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let headers = format!("{:?}", answer.headers());
        let text = answer.text().await.unwrap();
        if status >= 400 {
            self.answers.push_str(&format!("{path} {headers} {text}\n"));
        }
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// What a link in the newest mail holds.
async fn token(http: &reqwest::Client, sandbox: &Sandbox, link: &str) -> (String, String) {
    let started = Instant::now();
    loop {
        let page = format!("{}/mail/latest?to={EMAIL}", sandbox.base_url());
        let mail: Value = http.get(page).send().await.unwrap().json().await.unwrap();
        let text = mail["text"].as_str().unwrap_or("").to_owned();
        if let Some((_, rest)) = text.split_once(&format!("{link}?token=")) {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            return (rest[..end].to_owned(), text);
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "no {link} in {mail}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
        .to_owned()
}

/// A life in which every secret is used, and misused.
async fn live(client: &mut Client, sandbox: &Sandbox, secrets: &mut Server) {
    let first = secrets.keep_secret("a password", "CANARY-password-one");
    let wrong = secrets.keep_secret("a wrong password", "CANARY-password-wrong");
    let admin = ADMIN_KEY.to_owned();
    let order = json!({"email": EMAIL, "password": first, "tenantName": "Canary"});
    client.post(None, "/api/v1/signup", &order, 201).await;
    let (link, mail) = token(&client.http, sandbox, "/verify-email").await;
    let link = secrets.keep_secret("a verification's link", &link);
    assert!(mail.contains("/verify-email"));
    client
        .post(
            None,
            "/verify-email",
            &json!({"token": format!("{link}x")}),
            422,
        )
        .await;
    client
        .post(None, "/verify-email", &json!({"token": link}), 200)
        .await;
    let bad = json!({"email": EMAIL, "password": wrong});
    client.post(None, "/api/v1/login", &bad, 401).await;
    // A field of another name is named in the answer; what it holds is not.
    let misspelt = json!({"email": EMAIL, "passwrd": first});
    client.post(None, "/api/v1/login", &misspelt, 400).await;
    let good = json!({"email": EMAIL, "password": first});
    let session = client.post(None, "/api/v1/login", &good, 200).await;
    let access = secrets.keep_secret("an access token", &text(&session, "accessToken"));
    let refresh = secrets.keep_secret("a refresh token", &text(&session, "refreshToken"));
    let again = client
        .post(
            None,
            "/api/v1/refresh",
            &json!({"refreshToken": refresh}),
            200,
        )
        .await;
    secrets.keep_secret("a second refresh token", &text(&again, "refreshToken"));
    secrets.keep_secret("a second access token", &text(&again, "accessToken"));
    client
        .post(
            None,
            "/api/v1/refresh",
            &json!({"refreshToken": refresh}),
            401,
        )
        .await;
    client
        .post(
            Some(&access),
            "/api/v1/api-keys",
            &json!({"name": "x", "role": "owner"}),
            401,
        )
        .await;
    let cookie = json!({"email": EMAIL, "password": first, "session": "cookie"}).to_string();
    let answer = client
        .http
        .post(format!("{}/api/v1/login", client.public))
        .header("content-type", "application/json")
        .body(cookie)
        .send()
        .await
        .unwrap();
    let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let value = set.split(['=', ';']).nth(1).unwrap();
    secrets.keep_secret("a console session", value);
    let order = json!({"tenantId": KNOWN, "name": "Control"});
    client
        .post(Some(&admin), "/api/v1/tenants", &order, 201)
        .await;
    let made = client
        .post(
            Some(&admin),
            "/api/v1/service-keys",
            &json!({"name": "a", "scopes": ["billing"]}),
            201,
        )
        .await;
    secrets.keep_secret("a service key", &text(&made, "key"));
    let order = json!({"tenantId": KNOWN, "name": "k", "role": "viewer"});
    let made = client
        .post(Some(&admin), "/api/v1/api-keys", &order, 201)
        .await;
    let key = secrets.keep_secret("an API key", &text(&made, "key"));
    client
        .post(Some(&format!("{key}0")), "/api/v1/refunds", &json!({}), 401)
        .await;
    let order = json!({"url": "https://app.example.com/hook", "tenantId": KNOWN});
    let made = client
        .post(Some(&admin), "/api/v1/notification-endpoints", &order, 201)
        .await;
    secrets.keep_secret("an endpoint's secret", &text(&made, "secret"));
    client
        .post(
            None,
            "/api/v1/password/forgot",
            &json!({"email": EMAIL}),
            200,
        )
        .await;
    let (reset, _) = token(&client.http, sandbox, "/password/reset").await;
    let reset = secrets.keep_secret("a reset's link", &reset);
    let second = secrets.keep_secret("a new password", "CANARY-password-two");
    let order = json!({"token": reset, "newPassword": second});
    client
        .post(None, "/api/v1/password/reset", &order, 200)
        .await;
    client
        .post(None, "/api/v1/password/reset", &order, 422)
        .await;
    let stripes = secrets.keep_secret("somebody's key of Stripe", "sk_live_CANARYothers0001");
    client
        .post(Some(&stripes), "/api/v1/refunds", &json!({}), 401)
        .await;
    let card = secrets.keep_secret("a card's number", "4242424242424242");
    let order = json!({"tenantId": "carded", "name": card});
    client
        .post(Some(&admin), "/api/v1/tenants", &order, 422)
        .await;
    client
        .post(None, "/webhook", &json!({"id": "evt_1"}), 400)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_can_be_read_where_it_was_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = bursar_sandbox::start(SandboxConfig::default())
        .await
        .unwrap();
    let mut server = Server::start(&settings(folder.path(), &sandbox));
    let mut client = Client {
        http: reqwest::Client::new(),
        public: server.url(),
        answers: String::new(),
    };
    live(&mut client, &sandbox, &mut server).await;
    assert!(server.metrics_page().starts_with(b"HTTP/1.1 200"));
    // As they are while it runs, and after it ended.
    server.also_search_data();
    server.also_search("answers", client.answers.into_bytes());
    assert_eq!(server.terminate(), Some(0), "a clean stop");
}
