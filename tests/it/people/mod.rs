//! People, from the sign-up to the last session: over real sockets, with every mail caught.

mod life;
mod limits;
mod members;
mod stop;

use crate::app::{App, Reply};
use bursar::http::limits::Limits;
use bursar::http::server::Peer;
use bursar::identity::records::Commit;
use bursar::identity::sessions::{self, Kind};
use bursar::identity::{UserId, accounts, members as places};
use bursar_actors::outbound::Performers;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_config::Signup;
use bursar_domain::decision::Lane;
use bursar_domain::effect::{Effect, Mail};
use bursar_domain::identity::Role;
use bursar_domain::ids::TenantId;
use bursar_store::MemStore;
use bursar_store::api::{DueEffect, Store};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PASSWORD: &str = "correct horse battery";

/// Takes every mail there is.
#[derive(Default)]
struct Mailbox(Mutex<Vec<Mail>>);

impl Performer for Mailbox {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        let payload = effect.payload.unwrap();
        if let Effect::Mail(mail) = Effect::from_payload(&payload).unwrap() {
            self.0.lock().unwrap().push(mail);
        }
        let done = Outcome::Done {
            note: String::new(),
            result: None,
        };
        Box::pin(std::future::ready(done))
    }
}

/// A service with its mailbox.
struct Town {
    app: App,
    mailbox: Arc<Mailbox>,
}

impl Deref for Town {
    type Target = App;
    fn deref(&self) -> &App {
        &self.app
    }
}

impl Town {
    async fn start() -> Self {
        Self::over(MemStore::new().unwrap(), Signup::Open).await
    }
    async fn over(store: Arc<dyn Store>, signup: Signup) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let mail: Arc<dyn Performer> = Arc::clone(&mailbox) as _;
        let performers = Performers::from([(Lane::Mail, mail)]);
        let app = App::stand(store, Limits::default(), performers, signup).await;
        Self { app, mailbox }
    }
    /// The mails to an address, once there are so many.
    async fn mails(&self, to: &str, count: usize) -> Vec<Mail> {
        for _ in 0..2_000 {
            let found: Vec<Mail> = {
                let mails = self.mailbox.0.lock().unwrap();
                mails
                    .iter()
                    .filter(|m| m.to.as_deref() == Some(to))
                    .cloned()
                    .collect()
            };
            if found.len() >= count {
                assert_eq!(found.len(), count, "{found:?}");
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "no {count} mails to {to}: {:?}",
            self.mailbox.0.lock().unwrap()
        );
    }
    async fn post(&self, path: &str, body: Value) -> Reply {
        let json = [("Content-Type", "application/json")];
        let line = format!("POST {path}");
        self.send(&line, &json, body.to_string().as_bytes()).await
    }
    /// The same from another address.
    async fn post_from(&self, address: &str, path: &str, body: Value) -> Reply {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let server = self.server.clone();
        let peer = Peer::Address(address.parse().unwrap());
        tokio::spawn(async move { server.serve_connection(far, peer).await });
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        near.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        Reply::parse(&answer)
    }
    /// As a page of ours sends it.
    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let line = format!("POST {path}");
        self.send(&line, &headers, body.finish().as_bytes()).await
    }
    async fn sign_up(&self, email: &str) -> Mail {
        let body = json!({"email": email, "password": PASSWORD, "tenantName": "Acme"});
        let reply = self.post("/api/v1/signup", body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        self.mails(email, 1).await.remove(0)
    }
    /// A person whose address is verified, with their tenant.
    async fn settled(&self, email: &str) -> TenantId {
        let mail = self.sign_up(email).await;
        let body = json!({"token": token_of(&mail)});
        let reply = self.post("/verify-email", body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        TenantId::parse(reply.json()["tenantId"].as_str().unwrap()).unwrap()
    }
    async fn log_in(&self, email: &str, password: &str) -> Reply {
        let body = json!({"email": email, "password": password});
        self.post("/api/v1/login", body).await
    }
    async fn tokens(&self, email: &str) -> (String, String) {
        let reply = self.log_in(email, PASSWORD).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        tokens_of(&reply)
    }
    async fn refresh(&self, token: &str) -> Reply {
        let body = json!({"refreshToken": token});
        self.post("/api/v1/refresh", body).await
    }
    /// A member of a tenant, signed in, without the cost of a password.
    async fn member(&self, tenant: &TenantId, role: Role) -> (UserId, String) {
        let (store, now) = (&*self.store, self.clock_now());
        let user = UserId::new();
        let account = accounts::Account {
            email: format!("{user}@example.com"),
            name: String::new(),
            password: None,
            verified_at: Some(now),
            created_at: now,
            default_tenant: None,
            session_version: 0,
            pending_tenant: None,
        };
        let key = self.edge.identity.address_key(store).await.unwrap();
        let name = key.of_address(&account.email);
        let owner = bursar::identity::addresses::Owner { user: user.clone() };
        use bursar::identity::records::spaces;
        let commit = Commit::default()
            .create(
                spaces::ACCOUNT,
                user.as_str(),
                &account,
                Some(user.subject()),
            )
            .unwrap()
            .create(spaces::ADDRESS, &name, &owner, None)
            .unwrap();
        let commit = places::join(commit, tenant, &user, role, now).unwrap();
        let keys = &self.edge.identity.keys;
        let (commit, begun) = sessions::begin(commit, keys, Kind::Tokens, &user, 0, now).unwrap();
        assert!(commit.run(store).await.unwrap());
        let token = keys.issue(&user, &begun.id, now).unwrap();
        (user, token.expose_secret().to_owned())
    }
    async fn tenant(&self, id: &str) -> TenantId {
        let body = json!({"tenantId": id, "name": id}).to_string();
        let reply = self.operator("POST /api/v1/tenants", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        TenantId::parse(id).unwrap()
    }
    fn clock_now(&self) -> bursar_domain::ids::Timestamp {
        self.edge.now()
    }
    async fn audited(&self, action: &str) -> usize {
        let lines = self
            .operator("GET /api/v1/audit?limit=100", "")
            .await
            .json();
        let lines = lines["data"].as_array().unwrap().clone();
        lines.iter().filter(|line| line["action"] == action).count()
    }
}

fn token_of(mail: &Mail) -> String {
    mail.params["link"]
        .split_once("token=")
        .unwrap()
        .1
        .to_owned()
}

fn tokens_of(reply: &Reply) -> (String, String) {
    let json = reply.json();
    assert_eq!(json["accessToken"], json["access_token"]);
    assert_eq!(json["refreshToken"], json["refresh_token"]);
    assert_eq!(
        (&json["tokenType"], &json["expiresIn"]),
        (&"Bearer".into(), &600.into())
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (text("accessToken"), text("refreshToken"))
}
