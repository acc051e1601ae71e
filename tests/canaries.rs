//! Secrets given to a running Bursar, and made by it, are nowhere they could be read: no log, metric, answer, file of the
//! store or command line holds one.
//!
//! Method: the real binary at its most talkative, beside the sandbox, is driven through everything that takes or makes a
//! secret, the refusals too; then all it wrote is searched. That the search finds what is there is checked with a name
//! that may be there.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

use base64::Engine;
use bursar_sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const EMAIL: &str = "ada@example.com";
/// What everybody may know, and the search must find.
const KNOWN: &str = "canary-control-tenant";

/// Secrets by what they are.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, text: &str) -> String {
        assert!(text.len() >= 12, "{what} is too short to be searched for");
        self.0.push((what, text.to_owned()));
        text.to_owned()
    }
}

/// Killed when dropped, so that a failed test leaves none.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Served {
    child: Process,
    public: String,
    metrics: String,
    out: std::thread::JoinHandle<String>,
    log: std::path::PathBuf,
}

fn serve(folder: &Path, sandbox: &Sandbox, secrets: &mut Secrets) -> Served {
    let base = sandbox.base_url();
    let outbound =
        base64::engine::general_purpose::STANDARD.encode("CANARY-outbound-0123456789abcdef");
    let log = folder.join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .env_clear()
        .env(
            "BURSAR_STORE",
            format!("sled:{}", folder.join("data").display()),
        )
        .env("BURSAR_LOG", "debug,sled=warn")
        .env(
            "BURSAR_ADMIN_KEY",
            secrets.add("the operator's key", "CANARY-operator-0f9b27c1d4e8a3577ab1"),
        )
        .env(
            "BURSAR_JWT_SECRET",
            secrets.add("the token secret", "CANARY-token-secret-77a0e1b2c94411aa"),
        )
        .env(
            "BURSAR_METRICS_TOKEN",
            secrets.add("the metrics token", "CANARY-metrics-token-1188aa"),
        )
        .env("APP_BASE_URL", "http://127.0.0.1:8087")
        .env(
            "STRIPE_API_KEY",
            secrets.add("Stripe's key", "sk_test_CANARYstripe5521"),
        )
        .env("STRIPE_API_BASE", base)
        .env(
            "STRIPE_WEBHOOK_SECRET",
            secrets.add("the webhook secret", "whsec_CANARYwebhook0123456789"),
        )
        .env("MAIL_TRANSPORT", "mailgun")
        .env("MAIL_FROM", "billing@example.com")
        .env("MAILGUN_DOMAIN", "mg.example.com")
        .env("MAILGUN_BASE_URL", base)
        .env(
            "MAILGUN_API_KEY",
            secrets.add("Mailgun's key", "CANARY-mailgun-key-90cc"),
        )
        .env("OUTBOUND_WEBHOOK_URL", "http://127.0.0.1:9/nobody")
        .env(
            "OUTBOUND_WEBHOOK_SECRET",
            secrets.add("the outbound secret", &format!("whsec_{outbound}")),
        )
        .env("BURSAR_OUTBOUND_ALLOW_PRIVATE", "true")
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut address = |named: &str| loop {
        let mut line = String::new();
        assert!(
            out.read_line(&mut line).unwrap() > 0,
            "no {named}: {seen} {}",
            std::fs::read_to_string(&log).unwrap()
        );
        seen.push_str(&line);
        if line.contains(named) {
            let rest = line.split("http://").nth(1).unwrap();
            return format!("http://{}", rest.split('/').next().unwrap().trim());
        }
    };
    let (public, metrics) = (address("webhooks in"), address("metrics"));
    let out = std::thread::spawn(move || {
        let _ = out.read_to_string(&mut seen);
        seen
    });
    Served {
        child: Process(child),
        public,
        metrics,
        out,
        log,
    }
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
async fn live(client: &mut Client, sandbox: &Sandbox, secrets: &mut Secrets) {
    let first = secrets.add("a password", "CANARY-password-one");
    let wrong = secrets.add("a wrong password", "CANARY-password-wrong");
    let admin = secrets.0[0].1.clone();
    let order = json!({"email": EMAIL, "password": first, "tenantName": "Canary"});
    client.post(None, "/api/v1/signup", &order, 201).await;
    let (link, mail) = token(&client.http, sandbox, "/verify-email").await;
    let link = secrets.add("a verification's link", &link);
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
    let access = secrets.add("an access token", &text(&session, "accessToken"));
    let refresh = secrets.add("a refresh token", &text(&session, "refreshToken"));
    let again = client
        .post(
            None,
            "/api/v1/refresh",
            &json!({"refreshToken": refresh}),
            200,
        )
        .await;
    secrets.add("a second refresh token", &text(&again, "refreshToken"));
    secrets.add("a second access token", &text(&again, "accessToken"));
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
    secrets.add("a console session", value);
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
    secrets.add("a service key", &text(&made, "key"));
    let order = json!({"tenantId": KNOWN, "name": "k", "role": "viewer"});
    let made = client
        .post(Some(&admin), "/api/v1/api-keys", &order, 201)
        .await;
    let key = secrets.add("an API key", &text(&made, "key"));
    client
        .post(Some(&format!("{key}0")), "/api/v1/refunds", &json!({}), 401)
        .await;
    let order = json!({"url": "https://app.example.com/hook", "tenantId": KNOWN});
    let made = client
        .post(Some(&admin), "/api/v1/notification-endpoints", &order, 201)
        .await;
    secrets.add("an endpoint's secret", &text(&made, "secret"));
    client
        .post(
            None,
            "/api/v1/password/forgot",
            &json!({"email": EMAIL}),
            200,
        )
        .await;
    let (reset, _) = token(&client.http, sandbox, "/password/reset").await;
    let reset = secrets.add("a reset's link", &reset);
    let second = secrets.add("a new password", "CANARY-password-two");
    let order = json!({"token": reset, "newPassword": second});
    client
        .post(None, "/api/v1/password/reset", &order, 200)
        .await;
    client
        .post(None, "/api/v1/password/reset", &order, 422)
        .await;
    let stripes = secrets.add("somebody's key of Stripe", "sk_live_CANARYothers0001");
    client
        .post(Some(&stripes), "/api/v1/refunds", &json!({}), 401)
        .await;
    let card = secrets.add("a card's number", "4242424242424242");
    let order = json!({"tenantId": "carded", "name": card});
    client
        .post(Some(&admin), "/api/v1/tenants", &order, 422)
        .await;
    client
        .post(None, "/webhook", &json!({"id": "evt_1"}), 400)
        .await;
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_can_be_read_where_it_was_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = bursar_sandbox::start(SandboxConfig::default())
        .await
        .unwrap();
    let mut secrets = Secrets::default();
    let mut served = serve(folder.path(), &sandbox, &mut secrets);
    let mut client = Client {
        http: reqwest::Client::new(),
        public: served.public.clone(),
        answers: String::new(),
    };
    live(&mut client, &sandbox, &mut secrets).await;
    let metrics = client.http.get(format!("{}/metrics", served.metrics));
    let metrics = metrics
        .bearer_auth("CANARY-metrics-token-1188aa")
        .send()
        .await
        .unwrap();
    assert!(metrics.status().is_success());
    let metrics = metrics.text().await.unwrap();
    let pid = served.child.0.id();
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let mut written = Vec::new();
    // As they are while it runs, and after it ended.
    files(&folder.path().join("data"), &mut written);
    assert!(
        Command::new("kill")
            .arg(pid.to_string())
            .status()
            .unwrap()
            .success()
    );
    let ended = served.child.0.wait().unwrap();
    assert!(ended.success(), "{ended}");
    files(&folder.path().join("data"), &mut written);
    written.push((
        "standard output".to_owned(),
        served.out.join().unwrap().into_bytes(),
    ));
    written.push(("the log".to_owned(), std::fs::read(&served.log).unwrap()));
    written.push(("metrics".to_owned(), metrics.into_bytes()));
    written.push(("answers".to_owned(), client.answers.into_bytes()));
    written.push(("the command line".to_owned(), command_line));
    let controls = written
        .iter()
        .filter(|(_, bytes)| holds(bytes, KNOWN))
        .count();
    assert!(controls > 0, "the search finds nothing");
    let mut hits = Vec::new();
    for (what, secret) in &secrets.0 {
        let found = written.iter().filter(|(_, bytes)| holds(bytes, secret));
        hits.extend(found.map(|(place, _)| format!("{what} in {place}")));
    }
    let bytes: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "canaries={} places={} bytes={bytes} controls={controls} hits={}",
        secrets.0.len(),
        written.len(),
        hits.len()
    );
    assert!(hits.is_empty(), "{hits:#?}");
}
