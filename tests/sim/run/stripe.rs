//! Stripe and mail as the simulated process reaches them: the sandbox as a function, behind faults of the seed's.
//!
//! Invariants: whoever is dead gets no answer; a request that was executed is executed whatever becomes of its answer.
//! Not here: HTTP between us and Stripe (`tests/it/calls`).

use super::world::{Ordered, Posted, World, locked};
use bursar::mail::letter::Letter;
use bursar::mail::transport::{SendError, Transport};
use bursar::stripe::form;
use bursar_actors::clock::Clock;
use bursar_actors::ports::{
    CallAnswer, CallEnd, NO_ANSWER_IN_TIME, PortFuture, ReadAnswer, ReadError, StripeRead,
    StripeWrite,
};
use bursar_domain::ids::Scope;
use bursar_domain::step;
use bursar_domain::stripe_call::{Method, StripeCall};
use bursar_sandbox::PortableAnswer;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Fine,
    /// Nothing of it leaves.
    NotSent,
    /// 503, nothing executed.
    Unavailable,
    /// 429, nothing executed.
    Limited,
    /// Executed, the connection breaks.
    AnswerLost,
    /// Executed, no answer in time.
    Silence,
    /// Executed, and the key answers 500 from now on.
    KeptError,
}

pub(crate) struct SimStripe(pub(crate) Arc<World>);

impl SimStripe {
    /// Rolls a request's luck and lets its time pass.
    async fn luck(&self, purpose: &'static str) -> Luck {
        let world = &self.0;
        world.alive().await;
        let (roll, delay) = world
            .dice
            .with(purpose, |dice| (dice.below(100), dice.within(10, 900)));
        tokio::time::sleep(Duration::from_millis(delay)).await;
        world.alive().await;
        if world.is_calm() {
            return Luck::Fine;
        }
        if world.time.ms() < world.away_until.load(Ordering::SeqCst) {
            return Luck::NotSent;
        }
        match roll {
            0..4 => Luck::NotSent,
            4..8 => Luck::Unavailable,
            8..11 => Luck::Limited,
            11..19 => Luck::AnswerLost,
            19..23 => Luck::Silence,
            23..27 if purpose == "orders" => Luck::KeptError,
            _ => Luck::Fine,
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        scope: &Scope,
        key: Option<&str>,
        form: String,
    ) -> PortableAnswer {
        let mut headers = Vec::new();
        if let Some(account) = &scope.0 {
            headers.push(("stripe-account", account.as_str()));
        }
        if let Some(key) = key {
            headers.push(("idempotency-key", key));
        }
        let answer = self.0.stripe.call(method, path, &headers, form).await;
        answer.expect("the sandbox has no faults of its own here")
    }

    fn now_seconds(&self) -> i64 {
        self.0.time.now().seconds()
    }

    async fn read(&self, scope: Scope, path: String) -> Result<ReadAnswer, ReadError> {
        let luck = self.luck("reads").await;
        self.0.trace(&format!("GET {path} {luck:?}"));
        match luck {
            Luck::NotSent => return Err(ReadError::Network("away".to_owned())),
            Luck::Unavailable => return Err(ReadError::Server(503)),
            Luck::Limited => {
                return Err(ReadError::RateLimited {
                    retry_after: Some(Duration::from_secs(1)),
                });
            }
            Luck::AnswerLost | Luck::Silence | Luck::KeptError | Luck::Fine => {}
        }
        let answer = self.call("GET", &path, &scope, None, String::new()).await;
        step!("KW11");
        self.0.alive().await;
        match luck {
            Luck::AnswerLost => return Err(ReadError::Network("broke".to_owned())),
            Luck::Silence => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                return Err(ReadError::Timeout);
            }
            _ => {}
        }
        match answer.status {
            200 | 404 => Ok(ReadAnswer {
                status: answer.status,
                date_unix: self.now_seconds(),
                request_id: answer.request_id,
                body: answer.body.to_vec(),
            }),
            status => Err(ReadError::Unexpected {
                status,
                detail: String::new(),
            }),
        }
    }

    async fn order(&self, call: StripeCall, key: String, within: Duration) -> CallEnd {
        let luck = self.luck("orders").await;
        let form = form::encode(&call.params);
        let bytes = format!("{} {form}", call.path);
        self.0.trace(&format!("POST {} {key} {luck:?}", call.path));
        let unknown = |reason: &str| CallEnd::Unknown {
            reason: reason.to_owned(),
            should_retry: None,
            is_replayed: false,
            retry_after: None,
        };
        match luck {
            Luck::NotSent => {
                return CallEnd::NotSent {
                    reason: "away".to_owned(),
                };
            }
            Luck::Unavailable => return unknown("503"),
            Luck::Limited => {
                return CallEnd::RateLimited {
                    retry_after: Some(Duration::from_secs(1)),
                    reason: Some("global-rate".to_owned()),
                };
            }
            Luck::AnswerLost | Luck::Silence | Luck::KeptError | Luck::Fine => {}
        }
        let command = call
            .params
            .iter()
            .find(|(name, _)| name == "metadata[command_id]");
        locked(&self.0.ordered).push(Ordered {
            key: key.clone(),
            bytes,
            command: command.map(|(_, value)| value.clone()).unwrap_or_default(),
        });
        let answer = match call.method {
            Method::Post => {
                self.call("POST", &call.path, &call.scope, Some(&key), form)
                    .await
            }
            Method::Delete => {
                let path = format!("{}?{form}", call.path);
                self.call("DELETE", &path, &call.scope, Some(&key), String::new())
                    .await
            }
        };
        step!("KC2");
        self.0.alive().await;
        match luck {
            Luck::AnswerLost => return unknown("the connection broke before an answer"),
            Luck::Silence => {
                tokio::time::sleep(within).await;
                return unknown(NO_ANSWER_IN_TIME);
            }
            // What was refused was not executed; its key may well be followed by another.
            Luck::KeptError if answer.status == 200 => {
                return CallEnd::Unknown {
                    reason: "the server answered 500".to_owned(),
                    should_retry: Some(false),
                    is_replayed: false,
                    retry_after: None,
                };
            }
            _ => {}
        }
        self.end(answer)
    }

    fn end(&self, answer: PortableAnswer) -> CallEnd {
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            _ if value["error"]["type"] == "idempotency_error" && answer.status == 400 => {
                self.0.wrong("one key was sent with two sets of parameters");
                CallEnd::KeyReused {
                    request_id: answer.request_id,
                }
            }
            409 => CallEnd::InProgress { retry_after: None },
            200..=299 | 400..=499 => CallEnd::Answer(CallAnswer {
                status: answer.status,
                date_unix: self.now_seconds(),
                request_id: answer.request_id,
                is_replayed: answer.is_replayed,
                body: answer.body.to_vec(),
            }),
            status => CallEnd::Unknown {
                reason: format!("the server answered {status}"),
                should_retry: None,
                is_replayed: answer.is_replayed,
                retry_after: None,
            },
        }
    }
}

impl StripeRead for SimStripe {
    fn get(&self, scope: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        Box::pin(self.read(scope, path))
    }
}

impl StripeWrite for SimStripe {
    fn send(&self, call: StripeCall, key: String, within: Duration) -> PortFuture<'_, CallEnd> {
        Box::pin(self.order(call, key, within))
    }
}

/// The mail server.
pub(crate) struct SimMail(pub(crate) Arc<World>);

impl Transport for SimMail {
    fn name(&self) -> &'static str {
        "sim"
    }
    fn send<'a>(&'a self, letter: &'a Letter) -> PortFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let world = &self.0;
            world.alive().await;
            let luck = world.dice.with("mails", |dice| dice.below(100));
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.alive().await;
            world.trace(&format!("mail {} {luck}", letter.template));
            if luck < 10 && !world.is_calm() {
                return Err(SendError::Unreachable {
                    why: "away".to_owned(),
                    after: None,
                });
            }
            locked(&world.letters).push(Posted {
                to: letter.to.as_str().to_owned(),
                message_id: letter.message_id.clone(),
            });
            Ok(())
        })
    }
}
