//! `bursar doctor` against real servers: the sandbox, a `bursar serve`, and what stands in between.
//!
//! Method: everything is right first; then one thing after the other is broken, and the doctor has to name
//! that one and end with the right code.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod child;

use bursar_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig};
use child::{STRIPE_KEY, Server, Settings, WEBHOOK_SECRET};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Hands connections on to `to`, bodies rewritten as a proxy that parses JSON would.
async fn tidying_proxy(to: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4_096];
            loop {
                let read = client.read(&mut part).await.unwrap();
                request.extend_from_slice(&part[..read]);
                let text = String::from_utf8_lossy(&request);
                if read == 0 || text.trim_end().ends_with("\"bursar.doctor\"\n}") {
                    break;
                }
            }
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let tidy: Value = serde_json::from_str(body).unwrap();
            let tidy = tidy.to_string();
            let kept = head
                .lines()
                .filter(|line| !line.to_ascii_lowercase().starts_with("content-length"));
            let head = kept.collect::<Vec<_>>().join("\r\n");
            let mut server = TcpStream::connect(&to).await.unwrap();
            let sent = format!(
                "{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{tidy}",
                tidy.len()
            );
            server.write_all(sent.as_bytes()).await.unwrap();
            tokio::io::copy(&mut server, &mut client).await.unwrap();
        }
    });
    address
}

struct World {
    /// Dropped before the folder it searches.
    server: Server,
    settings: Settings,
    sandbox: Sandbox,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = bursar_sandbox::start(SandboxConfig::default())
            .await
            .unwrap();
        let settings =
            Settings::in_folder(folder.path()).env("STRIPE_API_BASE", sandbox.base_url());
        let server = Server::start(&settings);
        let url = format!("{}/webhook", server.url());
        let secrets = vec![WEBHOOK_SECRET.to_owned()];
        sandbox.control().set_webhook(Some(url), secrets);
        Self {
            server,
            settings,
            sandbox,
            _folder: folder,
        }
    }

    fn app_base(&self) -> String {
        self.server.url()
    }

    /// Runs the doctor; its exit code and its checks.
    async fn doctor(
        &self,
        change: impl for<'a> FnOnce(&'a mut Command) -> &'a mut Command,
    ) -> (i32, Checks) {
        let settings = self.settings.clone().env("APP_BASE_URL", &self.app_base());
        let mut command = settings.command();
        let (public, metrics) = (self.server.address(), self.server.metrics());
        command.args(["doctor", "--json", "--listen", &public.to_string()]);
        command.args(["--metrics-listen", &metrics.to_string()]);
        change(&mut command);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().expect("the binary starts");
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let leaks = self.settings.leaks(&format!("{text}{errors}"));
        assert!(leaks.is_empty(), "printed: {leaks:?}");
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{errors}"));
        let checks = json["checks"].as_array().unwrap().clone();
        (output.status.code().unwrap(), Checks(checks))
    }
}

/// What was found.
struct Checks(Vec<Value>);

impl Checks {
    /// Status and text of the last line of this name.
    fn of(&self, name: &str) -> (String, String) {
        let found = self.0.iter().rfind(|check| check["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no check {name}: {:#?}", self.0));
        let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (word("status"), word("text"))
    }
    fn failed(&self) -> Vec<&str> {
        let failed = self.0.iter().filter(|check| check["status"] == "fail");
        failed.filter_map(|check| check["name"].as_str()).collect()
    }
}

async fn settled(world: &World) {
    for _ in 0..400 {
        if world.sandbox.control().unsent_deliveries() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("deliveries stay unsent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_what_is_broken_and_nothing_else() {
    let world = World::start().await;
    let api = world.sandbox.base_url().to_owned();
    let http = reqwest::Client::new();
    let key = STRIPE_KEY;
    let made = http
        .post(format!("{api}/v1/customers"))
        .bearer_auth(key)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 200);
    settled(&world).await;

    let (code, checks) = world.doctor(|command| command).await;
    assert_eq!((code, checks.failed()), (0, vec![]), "{:#?}", checks.0);
    for name in [
        "configuration",
        "store",
        "disk",
        "disk sync",
        "process",
        "store's mode",
        "listener",
        "metrics",
        "Stripe",
        "clock",
        "key's permissions",
        "webhook endpoint",
        "Connect endpoint",
        "events arrive",
        "public address",
    ] {
        // Empty catalogue, slow or full disk of a shared machine: worth a word, not an error.
        let may_warn = ["configuration", "disk", "disk sync"].contains(&name);
        let (status, text) = checks.of(name);
        assert!(
            status == "ok" || may_warn && status == "warn",
            "{name}: {status} {text}"
        );
    }
    assert!(checks.of("events arrive").1.contains("customer.created"));
    assert!(checks.of("public address").1.contains("ignored"));

    let proxy = tidying_proxy(world.server.address().to_string()).await;
    let (code, checks) = world
        .doctor(|command| command.env("APP_BASE_URL", format!("http://{proxy}")))
        .await;
    assert_eq!((code, checks.failed()), (1, vec!["public address"]));
    assert!(checks.of("public address").1.contains("changes the body"));
    let (status, text) = checks.of("webhook endpoint");
    assert!(
        status == "warn" && text.contains(&world.app_base()),
        "{status} {text}"
    );

    let (code, checks) = world
        .doctor(|command| command.env("STRIPE_WEBHOOK_SECRET", "whsec_another_0123456789abcdef"))
        .await;
    assert_eq!((code, checks.failed()), (1, vec!["public address"]));
    assert!(checks.of("public address").1.contains("secret"));

    let path = format!("{api}/v1/webhook_endpoints");
    let list: Value = http
        .get(&path)
        .bearer_auth(key)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let own = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["application"].is_null())
        .unwrap();
    let own = format!("{path}/{}", own["id"].as_str().unwrap());
    let form = [("enabled_events[]", "invoice.paid")];
    http.post(&own)
        .bearer_auth(key)
        .form(&form)
        .send()
        .await
        .unwrap();
    let (code, checks) = world.doctor(|command| command.arg("--no-event")).await;
    assert_eq!((code, checks.failed()), (1, vec!["webhook endpoint"]));
    assert!(checks.of("webhook endpoint").1.contains("charge.refunded"));
    assert_eq!(checks.of("public address").0, "skip");

    http.post(&own)
        .bearer_auth(key)
        .form(&[("disabled", "true")])
        .send()
        .await
        .unwrap();
    let (_, checks) = world.doctor(|command| command).await;
    assert!(checks.of("webhook endpoint").1.contains("disabled"));

    let faults = world.sandbox.control();
    let outage = Fault {
        count: None,
        per_thousand: Some(1_000),
        ..Fault::once(FaultKind::Unavailable, "GET /v1/")
    };
    assert!(faults.add_fault(outage));
    let (code, checks) = world.doctor(|command| command).await;
    assert_eq!((code, checks.failed()), (69, vec!["Stripe"]));
    assert_eq!(checks.of("key's permissions").0, "skip");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_process_the_doctor_says_what_it_could_not_look_at() {
    let mut world = World::start().await;
    world.server.kill();
    let (code, checks) = world.doctor(|command| command).await;
    assert_eq!((code, checks.failed()), (0, vec![]), "{:#?}", checks.0);
    assert_eq!(checks.of("process").0, "warn");
    for name in ["store's mode", "metrics", "events arrive", "public address"] {
        assert_eq!(checks.of(name).0, "skip", "{name}");
    }
    assert!(checks.of("store").1.contains("held by nobody"));
    // And a configuration that is wrong is the only thing looked at.
    let (code, checks) = world
        .doctor(|command| command.env_remove("STRIPE_API_KEY"))
        .await;
    assert_eq!((code, checks.failed()), (1, vec!["configuration"]));
    assert_eq!(json!(checks.of("everything else").0), "skip");
}
