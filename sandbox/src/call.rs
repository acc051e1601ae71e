//! One API call: key, account, parameters, idempotency, the operation, and faults around it.
//!
//! Invariants: nothing is executed without a test key, a known account and checked parameters; an
//! idempotency key is freed when the request ends without an answer worth keeping.
//! Not here: what operations do (`api`).
//! Failure: Stripe's error body; a connection closed without answer only where a fault asks for it.
//! Source of outside rules: Stripe API reference, "Authentication", "Errors", "Idempotent requests".

use crate::api;
use crate::error::ApiError;
use crate::expand;
use crate::faults::{Fault, FaultKind};
use crate::form;
use crate::idempotency::{Begin, KEY_CHARS_MAX, Kept};
use crate::server::{Answer, RequestLog, Shared, json_answer, raw_answer, set};
use crate::table;
use crate::world::{Cause, public};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Method, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// One request to the API.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Frees an idempotency key when the request ends without an answer worth keeping.
struct Claim<'a> {
    shared: &'a Shared,
    account: String,
    key: String,
}

/// What the idempotency table said.
enum Claimed<'a> {
    /// Go on, holding the key if there is one.
    Mine(Option<Claim<'a>>),
    /// Answer this again.
    Replay(Kept),
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shared.idempotency().abandon(&self.account, &self.key);
    }
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    fn subject(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is_form(&self) -> bool {
        self.method == Method::POST && !self.body.is_empty()
    }

    pub(crate) async fn serve(&self, shared: &Shared) -> Answer {
        let request_id = shared.world().ids.id("req", 14);
        let fault = shared.faults().strike(true, &self.subject());
        if let Some(fault) = &fault
            && let Some(answer) = self.refuse_before(shared, fault, &request_id).await
        {
            self.log(
                shared,
                &request_id,
                answer.as_ref().map_or(0, |a| a.status().as_u16()),
                false,
                Some(fault.kind),
            );
            return answer;
        }
        let kind = fault.as_ref().map(|f| f.kind);
        let (status, mut answer, replayed) =
            match self.execute(shared, &request_id, fault.as_ref()).await {
                Ok((kept, replayed)) => {
                    let mut response = raw_answer(
                        shared,
                        kept.status,
                        "application/json",
                        kept.body.into_bytes(),
                        &request_id,
                    );
                    if replayed {
                        set(response.headers_mut(), "idempotent-replayed", "true");
                        set(response.headers_mut(), "original-request", &kept.request_id);
                    }
                    (kept.status, response, replayed)
                }
                Err(error) => (
                    error.status,
                    json_answer(shared, error.status, &error.to_value(), &request_id),
                    false,
                ),
            };
        if let Some(key) = self.header("idempotency-key") {
            set(answer.headers_mut(), "idempotency-key", key);
        }
        if status == 409 {
            set(answer.headers_mut(), "stripe-should-retry", "true");
        }
        self.log(shared, &request_id, status, replayed, kind);
        damage_after(shared, answer, kind).await
    }

    fn log(
        &self,
        shared: &Shared,
        id: &str,
        status: u16,
        replayed: bool,
        fault: Option<FaultKind>,
    ) {
        shared.log_request(RequestLog {
            id: id.to_owned(),
            at_unix_ms: shared.clock.now_unix_ms(),
            method: self.method.to_string(),
            path: self.path.clone(),
            status,
            idempotency_key: self.header("idempotency-key").map(str::to_owned),
            account: self.header("stripe-account").map(str::to_owned),
            body_sha256: hex::encode(Sha256::digest(&self.body)),
            replayed,
            fault,
        });
    }

    /// Faults that strike before anything is executed.
    async fn refuse_before(
        &self,
        shared: &Shared,
        fault: &Fault,
        request_id: &str,
    ) -> Option<Answer> {
        let refuse = |status, kind: &str, code: Option<&str>, message: &str| {
            let error = ApiError::other(status, kind, code, message);
            let mut answer = json_answer(shared, status, &error.to_value(), request_id);
            if status == 429 || status == 503 {
                set(
                    answer.headers_mut(),
                    "retry-after",
                    &fault.seconds.unwrap_or(1).to_string(),
                );
            }
            if status == 429 {
                set(answer.headers_mut(), "stripe-should-retry", "true");
                set(
                    answer.headers_mut(),
                    "stripe-rate-limited-reason",
                    "global-rate",
                );
            }
            Some(Ok(answer))
        };
        let invalid = "invalid_request_error";
        match fault.kind {
            FaultKind::Unauthorized => refuse(
                401,
                invalid,
                None,
                "Invalid API Key provided (a fault of the sandbox).",
            ),
            FaultKind::Declined => refuse(
                402,
                "card_error",
                Some("card_declined"),
                "Your card was declined.",
            ),
            FaultKind::Conflict => refuse(
                409,
                invalid,
                Some("lock_timeout"),
                "This object cannot be accessed right now because another API request is accessing it.",
            ),
            FaultKind::RateLimited => refuse(
                429,
                invalid,
                Some("rate_limit"),
                "Request rate limit exceeded.",
            ),
            FaultKind::ServerError => refuse(500, "api_error", None, "An unknown error occurred."),
            FaultKind::Unavailable => {
                refuse(503, "api_error", None, "Stripe is temporarily unavailable.")
            }
            FaultKind::ResetBefore => Some(Err(std::io::Error::other(
                "reset before executing, as asked",
            ))),
            FaultKind::Redirect => {
                let mut answer = json_answer(shared, 302, &json!({}), request_id);
                set(answer.headers_mut(), "location", "/nowhere");
                Some(Ok(answer))
            }
            FaultKind::Huge => Some(Ok(json_answer(
                shared,
                200,
                &json!({"object": "list", "padding": "x".repeat(8 << 20)}),
                request_id,
            ))),
            _ => None,
        }
    }

    fn authorize(&self) -> Result<(), ApiError> {
        let Some(given) = self.header("authorization") else {
            return Err(ApiError::unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            ));
        };
        let key = match given.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().to_owned(),
            Some((scheme, basic)) if scheme.eq_ignore_ascii_case("basic") => basic_user(basic),
            _ => String::new(),
        };
        if key.starts_with("sk_live_") || key.starts_with("rk_live_") {
            return Err(ApiError::unauthorized(
                "A live key has no place in a sandbox: use one that starts with sk_test_. The key was not stored.",
            ));
        }
        let fits = (key.starts_with("sk_test_") || key.starts_with("rk_test_")) && key.len() >= 12;
        if fits {
            Ok(())
        } else {
            Err(ApiError::unauthorized(
                "Invalid API Key provided: the sandbox takes any key of at least 12 characters that starts with sk_test_ or rk_test_.",
            ))
        }
    }

    fn account(&self, shared: &Shared) -> Result<String, ApiError> {
        let world = shared.world();
        match self
            .header("stripe-account")
            .or_else(|| self.header("stripe-context"))
        {
            None => Ok(world.platform.clone()),
            Some(id) if id == world.platform || world.platform_account(id).is_some() => {
                Ok(id.to_owned())
            }
            Some(id) => Err(ApiError::account_invalid(id)),
        }
    }

    /// The query and the form as one tree, names and types unchecked.
    fn raw_parameters(&self) -> Result<Map<String, Value>, ApiError> {
        let kind = self.header("content-type").unwrap_or_default();
        if self.is_form() && kind.starts_with("application/json") {
            return Err(ApiError::invalid(
                "",
                None,
                "Invalid request: Stripe's v1 API takes form-encoded bodies, not JSON.",
            ));
        }
        let body: &[u8] = if self.is_form() { &self.body } else { b"" };
        form::tree(&[self.query.as_bytes(), body])
    }

    /// Takes the idempotency key for this request, or finds its kept answer.
    fn claim<'a>(
        &self,
        shared: &'a Shared,
        account: &str,
        key: Option<&str>,
        fingerprint: &str,
    ) -> Result<Claimed<'a>, ApiError> {
        let Some(key) = key else {
            return Ok(Claimed::Mine(None));
        };
        if key.len() > KEY_CHARS_MAX {
            return Err(ApiError::invalid(
                "",
                None,
                "Idempotency keys have at most 255 characters.",
            ));
        }
        let begun = shared
            .idempotency()
            .begin(account, key, fingerprint, shared.now())?;
        Ok(match begun {
            Begin::Replay(kept) => Claimed::Replay(kept),
            Begin::New => Claimed::Mine(Some(Claim {
                shared,
                account: account.to_owned(),
                key: key.to_owned(),
            })),
        })
    }

    /// Checks, executes (or replays) and keeps the answer.
    async fn execute(
        &self,
        shared: &Shared,
        request_id: &str,
        fault: Option<&Fault>,
    ) -> Result<(Kept, bool), ApiError> {
        self.authorize()?;
        let account = self.account(shared)?;
        let method = self.method.as_str();
        let Some((operation, ids)) = table::find(method, &self.path) else {
            return Err(ApiError::unrecognized_url(method, &self.path));
        };
        let ids = decoded(&ids);
        let raw = self.raw_parameters()?;
        let key = self
            .header("idempotency-key")
            .filter(|_| self.method == Method::POST);
        let fingerprint = format!("{method} {} {}", self.path, Value::Object(raw.clone()));
        let claim = match self.claim(shared, &account, key, &fingerprint)? {
            Claimed::Replay(kept) => return Ok((kept, true)),
            Claimed::Mine(claim) => claim,
        };
        let parameters = operation.check(&raw)?;
        if let Some(slow) = fault.filter(|f| f.kind == FaultKind::Slow) {
            // The key is held meanwhile: a second request under it meets 409.
            tokio::time::sleep(Duration::from_secs(u64::from(slow.seconds.unwrap_or(2)))).await;
        }
        let cause = Cause {
            id: Some(request_id.to_owned()),
            idempotency_key: key.map(str::to_owned),
        };
        let outcome = shared.act(|w| {
            w.cause = cause;
            let result = w.within(&account, |w| {
                let mut answer = public(&api::run(w, &operation.name, &ids, &parameters)?);
                expand::expand(w, &mut answer, &parameters["expand"])?;
                Ok::<Value, ApiError>(answer)
            });
            w.cause = Cause::default();
            result
        });
        let (status, body) = match &outcome {
            _ if fault.is_some_and(|f| f.kind == FaultKind::ServerErrorSaved) => {
                let error = ApiError::other(500, "api_error", None, "An unknown error occurred.");
                (500, error.to_value())
            }
            Ok(value) => (200, value.clone()),
            Err(error) if !error.saved => return Err(error.clone()),
            Err(error) => (error.status, error.to_value()),
        };
        let kept = Kept {
            status,
            body: format!("{body:#}"),
            request_id: request_id.to_owned(),
        };
        if let Some(claim) = &claim {
            shared
                .idempotency()
                .finish(&claim.account, &claim.key, kept.clone());
        }
        Ok((kept, false))
    }
}

fn decoded(ids: &[String]) -> Vec<String> {
    ids.iter()
        .map(|id| {
            percent_encoding::percent_decode_str(id)
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect()
}

/// Faults that strike after the request was executed.
async fn damage_after(
    shared: &Shared,
    answer: Response<Full<Bytes>>,
    fault: Option<FaultKind>,
) -> Answer {
    match fault {
        Some(FaultKind::HangAfterCommit) => {
            // Longer than any SDK waits; the client gives up first.
            tokio::time::sleep(Duration::from_secs(600)).await;
            Err(std::io::Error::other("hung after executing, as asked"))
        }
        Some(FaultKind::ResetAfterCommit) => {
            Err(std::io::Error::other("reset after executing, as asked"))
        }
        Some(FaultKind::Garbage) => Ok(raw_answer(
            shared,
            200,
            "application/json",
            b"{\"id\": \"cut o".to_vec(),
            "",
        )),
        _ => Ok(answer),
    }
}

fn basic_user(encoded: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split(':').next().unwrap_or_default().to_owned()
}
