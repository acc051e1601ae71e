//! The bad-input catalogue against the real binary, by its rows: BW deliveries, BH framing, BA credentials, BC commands,
//! BE environment and configuration, BL command line, BF files.
//!
//! Every answer is one of those that are right, says what is wrong as a problem document, and nothing panics: panics are
//! counted in the process's own log, by 500s, and by connections that close without a word.
//!
//! Not here, by row: BW6 and BW8 in part and BE15 a rotation (`drain`); BH21 thousands of connections (`overload`); BE8
//! and BE13 the contract decides otherwise; BE14 needs PostgreSQL; BE16 a clock of one's own; BF8 stores of other
//! formats (`formats`); BF9 to BF12 have suites of their own (`store`).

mod command_line;
mod commands;
mod credentials;
mod environment;
mod files;
mod http;
mod moments;
mod people;
mod webhook;

use crate::catalogue::wire::{self, Reply};
use crate::child::{ADMIN_KEY, Server, Settings, WEBHOOK_SECRET, unix_now};
use bursar::stripe::signature::sign;
use bursar_sandbox::{Sandbox, SandboxConfig, SeedPlan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::task::Poll;
use std::time::{Duration, Instant};

/// What came of all rows.
#[derive(Default)]
pub(super) struct Tally {
    cases: usize,
    rows: BTreeSet<String>,
    panics: usize,
    unexpected: Vec<String>,
}

impl Tally {
    /// One more case of a row, which is right or is told.
    pub(super) fn case(&mut self, row: &str, is_right: bool, told: impl FnOnce() -> String) {
        self.cases += 1;
        let name = row.split([' ', '/']).next().unwrap_or(row);
        // BW11a to BW11d are one row.
        self.rows
            .insert(name.trim_end_matches(['a', 'b', 'c', 'd']).to_owned());
        if !is_right {
            self.unexpected.push(format!("{row}: {:.300}", told()));
        }
    }

    pub(super) fn is(&mut self, row: &str, reply: &Reply, allowed: &[u16]) {
        // A head that is no HTTP is answered by hyper itself, without a body.
        let is_told = reply.status < 400
            || reply.body.is_empty()
            || reply.header("content-type") == Some("application/problem+json");
        self.panics += usize::from(matches!(reply.status, 0 | 500));
        let is_right = allowed.contains(&reply.status) && is_told;
        self.case(row, is_right, || format!("{} {}", reply.status, reply.body));
    }
}

/// A served binary beside a sandbox, and a client that sends bytes.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) settings: Settings,
    pub(super) sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let config = SandboxConfig {
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        };
        let sandbox = bursar_sandbox::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let base = sandbox.base_url();
        let price = &sandbox.seeded()[0];
        let plans = format!(
            "[[plan]]\nid = \"hobby\"\nstripe_price_id = \"{}\"\n[plan.subscription]\n",
            price.price_id
        );
        let settings = Settings::in_folder(folder.path())
            .stripe(base, &plans)
            .env("MAIL_TRANSPORT", "mailgun")
            .env("MAIL_FROM", "billing@example.com")
            .env("MAILGUN_DOMAIN", "mg.example.com")
            .env("MAILGUN_BASE_URL", base)
            .secret("MAILGUN_API_KEY", "CANARY-mailgun-key-90cc");
        let mut server = Server::start(&settings);
        server.wait_ready().await;
        let world = Self {
            server,
            settings,
            sandbox,
            folder,
        };
        for id in ["t1", "t2"] {
            world.server.create_tenant(id).await;
        }
        world
    }

    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        wire::raw(self.server.address(), bytes).await
    }
    pub(super) async fn send(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        wire::send(self.server.address(), line, headers, body).await
    }
    pub(super) async fn bearer(&self, key: &str, line: &str, json: &str) -> Reply {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !json.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        self.send(line, &headers, json.as_bytes()).await
    }
    pub(super) async fn operator(&self, line: &str, json: &str) -> Reply {
        self.bearer(ADMIN_KEY, line, json).await
    }
    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        let line = format!("POST {path}");
        let headers = [("Content-Type", "application/json")];
        let reply = self
            .send(&line, &headers, body.to_string().as_bytes())
            .await;
        assert!(reply.status < 300, "{path}: {reply:?}");
        reply.json()
    }
    /// A delivery, signed now.
    pub(super) async fn deliver(&self, body: &[u8]) -> Reply {
        let signature = sign(WEBHOOK_SECRET, body, unix_now());
        let headers = [("Stripe-Signature", signature.as_str())];
        self.send("POST /webhook", &headers, body).await
    }
    /// A key of a tenant, an administrator's.
    pub(super) async fn api_key(&self, tenant: &str) -> String {
        let order = json!({"tenantId": tenant, "name": "k", "role": "admin"}).to_string();
        let made = self.operator("POST /api/v1/api-keys", &order).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["key"].as_str().unwrap().to_owned()
    }
    /// Somebody who signed up, proved the address and logged in: access and refresh token.
    pub(super) async fn person(&self, address: &str) -> (String, String) {
        let password = "a long enough password";
        let order = json!({"email": address, "password": password, "tenantName": "Own"});
        self.post("/api/v1/signup", &order).await;
        let token = self.mailed(address, "/verify-email?token=").await;
        self.post("/verify-email", &json!({"token": token})).await;
        let order = json!({"email": address, "password": password});
        let session = self.post("/api/v1/login", &order).await;
        let text = |name: &str| session[name].as_str().unwrap().to_owned();
        (text("accessToken"), text("refreshToken"))
    }
    /// What follows this in a mail.
    async fn mailed(&self, address: &str, link: &str) -> String {
        let started = Instant::now();
        loop {
            let page = format!("{}/mail/latest?to={address}", self.sandbox.base_url());
            let mail: Value = reqwest::get(page).await.unwrap().json().await.unwrap();
            let text = mail["text"].as_str().unwrap_or("").to_owned();
            if let Some((_, rest)) = text.split_once(link) {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
            let waited = started.elapsed() < Duration::from_secs(30);
            assert!(waited, "no {link} in {mail}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// All of them at the same time, each on a connection of its own.
pub(super) async fn at_once<F: Future<Output = Reply>>(
    asked: impl Iterator<Item = F>,
) -> Vec<Reply> {
    let mut waiting: Vec<_> = asked.map(Box::pin).collect();
    let mut replies = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(reply) => {
                replies.push(reply);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_catalogue_breaks_the_real_binary() {
    let mut world = World::start().await;
    let mut tally = Tally::default();
    // Those that wait for the server's patience wait beside everything else.
    let slow = tokio::spawn(http::slow(world.server.address()));
    webhook::rows(&world, &mut tally).await;
    http::rows(&world, &mut tally).await;
    credentials::rows(&mut world, &mut tally).await;
    people::rows(&mut world, &mut tally).await;
    commands::rows(&world, &mut tally).await;
    moments::rows(&world, &mut tally).await;
    for (row, is_right, told) in slow.await.unwrap() {
        tally.case(row, is_right, || told);
    }
    environment::rows(&world, &mut tally).await;
    command_line::rows(&world, &mut tally).await;
    let reply = world.operator("GET /api/v1/tenants", "").await;
    assert_eq!(reply.status, 200, "it still serves");
    tally.panics += world.server.panics();
    assert_eq!(world.server.terminate(), Some(0), "a clean stop");
    files::rows(&world, &mut tally).await;
    let unexpected = tally.unexpected.len();
    println!(
        "badinput rows={} cases={} unexpected={unexpected} panics={}",
        tally.rows.len(),
        tally.cases,
        tally.panics
    );
    assert!(tally.unexpected.is_empty(), "{:#?}", tally.unexpected);
    assert_eq!(tally.panics, 0);
    drop(world.folder);
}
