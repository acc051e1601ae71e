//! A sandbox on a frozen clock, a small HTTP client for it, and a receiver of webhooks.

use bursar_sandbox::{Control, Sandbox, SandboxConfig, SharedClock, start};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// 2025-05-12T10:00:00Z.
pub(crate) const T0: i64 = 1_747_044_000;

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }
}

/// A sandbox under test.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) control: Control,
    http: Client<HttpConnector, Full<Bytes>>,
}

pub(crate) async fn world() -> World {
    world_with(|_| {}).await
}

pub(crate) async fn world_with(adjust: impl FnOnce(&mut SandboxConfig)) -> World {
    let mut config = SandboxConfig {
        clock: Arc::new(SharedClock::frozen_at_ms(T0 * 1000)),
        seed_plans: bursar_sandbox::SeedPlan::demo(),
        ..SandboxConfig::default()
    };
    adjust(&mut config);
    let sandbox = start(config).await.expect("a free port on loopback");
    let control = sandbox.control();
    World {
        sandbox,
        control,
        http: Client::builder(TokioExecutor::new()).build_http(),
    }
}

impl World {
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.sandbox.addr()));
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", "Bearer sk_test_0123456789");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let response = self
            .http
            .request(request)
            .await
            .map_err(|e| e.to_string())?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|e| e.to_string())?
            .to_bytes();
        Ok(Answer {
            status,
            headers,
            bytes,
        })
    }

    /// A POST that must succeed.
    pub(crate) async fn post(&self, path: &str, form: &str) -> Value {
        let answer = self.send("POST", path, &[], form).await.unwrap();
        assert_eq!(answer.status, 200, "{path} {form}: {}", answer.json());
        answer.json()
    }

    /// A GET that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer.json()
    }

    /// A POST that must be refused: status and error.
    pub(crate) async fn refused(&self, path: &str, form: &str) -> (u16, Value) {
        let answer = self.send("POST", path, &[], form).await.unwrap();
        assert!(answer.status >= 400, "{path} {form} was not refused");
        (answer.status, answer.json()["error"].clone())
    }

    pub(crate) fn price(&self, key: &str) -> String {
        let plan = self.sandbox.seeded().iter().find(|s| s.lookup_key == key);
        plan.expect("a plan of the demo").price_id.clone()
    }

    /// A customer with a card, and a subscription to a plan.
    pub(crate) async fn subscriber(&self, plan: &str, card: &str) -> (String, Value) {
        let form = format!(
            "email=ada@example.com&payment_method={card}&invoice_settings[default_payment_method]={card}"
        );
        let customer = self.post("/v1/customers", &form).await;
        let id = customer["id"].as_str().unwrap().to_owned();
        let form = format!("customer={id}&items[0][price]={}", self.price(plan));
        let sub = self.post("/v1/subscriptions", &form).await;
        (id, sub)
    }

    /// Types of all events so far, oldest first.
    pub(crate) fn event_types(&self) -> Vec<String> {
        self.control
            .events()
            .iter()
            .map(|e| e["type"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// What a receiver got: header and body.
pub(crate) type Received = (String, Bytes);

/// A webhook endpoint that answers from a script, 200 when it is used up.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) got: Arc<Mutex<Vec<Received>>>,
    pub(crate) script: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(
                        move |request: Request<hyper::body::Incoming>| {
                            let this = this.clone();
                            async move {
                                let header = request
                                    .headers()
                                    .get("stripe-signature")
                                    .map(|v| v.to_str().unwrap().to_owned());
                                let body = request.into_body().collect().await.unwrap().to_bytes();
                                this.got
                                    .lock()
                                    .unwrap()
                                    .push((header.unwrap_or_default(), body));
                                let status = this.script.lock().unwrap().pop_front().unwrap_or(200);
                                hyper::Response::builder()
                                    .status(status)
                                    .body(Full::new(Bytes::from("noted")))
                            }
                        },
                    );
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        url
    }

    pub(crate) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.got
            .lock()
            .unwrap()
            .iter()
            .map(|(_, body)| serde_json::from_slice(body).unwrap())
            .collect()
    }

    /// Waits until so many deliveries came.
    pub(crate) async fn wait_for(&self, count: usize) {
        for _ in 0..1_000 {
            if self.count() >= count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("only {} of {count} deliveries came", self.count());
    }
}
