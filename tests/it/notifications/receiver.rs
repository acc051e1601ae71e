//! An application that receives: checks every signature, notes what came, answers as it is told.

use bursar::notifications::sign::signature;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request that came.
#[derive(Clone, Debug)]
pub(super) struct Came {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) tenant: String,
    pub(super) body: Value,
    pub(super) signatures: Vec<String>,
    pub(super) is_genuine: bool,
    pub(super) status: u16,
}

type Behaviour = Box<dyn FnMut(&Came) -> (u16, &'static str) + Send>;

struct State {
    secrets: Vec<String>,
    came: Vec<Came>,
    is_down: bool,
    hangs: bool,
    behaviour: Behaviour,
}

/// The application.
#[derive(Clone)]
pub(super) struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            secrets: Vec::new(),
            came: Vec::new(),
            is_down: false,
            hangs: false,
            behaviour: Box::new(|_| (200, "")),
        };
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
        };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { own.serve(stream).await });
            }
        });
        receiver
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
    /// Takes connections and drops them.
    pub(super) fn is_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }
    /// Takes requests and never answers.
    pub(super) fn hangs(&self) {
        self.state.lock().unwrap().hangs = true;
    }
    /// Answers by this: a status, and further header lines.
    pub(super) fn answers(&self, by: impl FnMut(&Came) -> (u16, &'static str) + Send + 'static) {
        self.state.lock().unwrap().behaviour = Box::new(by);
    }
    pub(super) fn knows(&self, secret: &str) {
        self.state.lock().unwrap().secrets.push(secret.to_owned());
    }
    pub(super) fn came(&self) -> Vec<Came> {
        self.state.lock().unwrap().came.clone()
    }
    /// What was answered 2xx: (id, tenant), in order of arrival.
    pub(super) fn taken(&self) -> Vec<Came> {
        let all = self.came();
        all.into_iter()
            .filter(|one| (200..300).contains(&one.status))
            .collect()
    }
    /// The ids of those, by tenant.
    pub(super) fn taken_by_tenant(&self) -> BTreeMap<String, Vec<String>> {
        let mut by_tenant: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in self.taken() {
            by_tenant.entry(one.tenant).or_default().push(one.id);
        }
        by_tenant
    }

    async fn serve(&self, mut stream: TcpStream) {
        if self.state.lock().unwrap().is_down {
            return;
        }
        let Some((head, body)) = request(&mut stream).await else {
            return;
        };
        let header = |name: &str| {
            let found = head.lines().find_map(|line| {
                let (known, value) = line.split_once(':')?;
                known
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            });
            found.unwrap_or_default()
        };
        if self.state.lock().unwrap().hangs {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let id = header("webhook-id");
        let timestamp = header("webhook-timestamp").parse().unwrap_or(0);
        let signatures: Vec<String> = header("webhook-signature")
            .split(' ')
            .map(str::to_owned)
            .collect();
        let answer = {
            let mut state = self.state.lock().unwrap();
            let is_genuine = state
                .secrets
                .iter()
                .any(|secret| signatures.contains(&signature(&[secret], &id, timestamp, &body)));
            let mut came = Came {
                id,
                kind: value["type"].as_str().unwrap_or_default().to_owned(),
                tenant: value["data"]["tenantId"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                body: value,
                signatures,
                is_genuine,
                status: 0,
            };
            let (status, headers) = (state.behaviour)(&came);
            came.status = status;
            state.came.push(came);
            format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: 4\r\nconnection: close\r\n\r\ndone"
            )
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            return Some((head, bytes.split_off(end + 4)));
        }
    }
}
