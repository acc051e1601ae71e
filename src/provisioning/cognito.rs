//! Amazon Cognito: users of a pool, made, let in, kept out and deleted by its API.
//!
//! Invariants: one request at a time per effect, signed by AWS's own crate; the answer's message is never kept, since it
//! may repeat the address; a user that exists is as good as one that was made.
//! Not here: what is done with it (`super`).
//! Failure: `Refused`, by the error's type.
//! Source: Amazon Cognito user pools API reference: `AdminCreateUser`, `AdminDisableUser`, `AdminEnableUser`,
//! `AdminDeleteUser`, "Common errors"; AWS JSON 1.1 protocol.

use super::{IdentityProvider, Made, Refused};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bursar_actors::clock::Clock;
use bursar_actors::ports::PortFuture;
use bursar_config::Cognito;
use bursar_domain::ids::TenantId;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

const TARGET: &str = "AWSCognitoIdentityProviderService";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const REQUEST_WITHIN: Duration = Duration::from_secs(20);
/// An answer is a user's attributes, or an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A user pool.
pub struct CognitoPool {
    http: reqwest::Client,
    config: Cognito,
    clock: Arc<dyn Clock>,
}

impl CognitoPool {
    /// A client of the configured pool. # Errors: the HTTP client cannot be built.
    pub fn new(config: Cognito, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            config,
            clock,
        })
    }

    async fn ask(&self, operation: &str, body: &Value) -> Result<Value, Refused> {
        let request = self.signed(operation, body.to_string().into_bytes())?;
        let answer = self.http.execute(request).await.map_err(|error| {
            let reason = if error.is_timeout() {
                "no answer in time"
            } else {
                "no connection"
            };
            Refused::Later {
                reason: format!("Cognito: {reason}"),
                after: None,
            }
        })?;
        let status = answer.status();
        let after = answer.headers().get("retry-after");
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        let value = read(answer).await?;
        if status.is_success() {
            return Ok(value);
        }
        // `Namespace#Type`, or the type alone.
        let kind = value["__type"].as_str().unwrap_or("");
        let kind = kind.rsplit('#').next().unwrap_or("");
        Err(refusal(
            status.as_u16(),
            kind,
            after.map(Duration::from_secs),
        ))
    }

    fn signed(&self, operation: &str, body: Vec<u8>) -> Result<reqwest::Request, Refused> {
        let unsigned = |what: String| Refused::Never {
            reason: format!("a request to Cognito could not be signed: {what}"),
        };
        let config = &self.config;
        let at_ms = u64::try_from(self.clock.outside().0).unwrap_or(0);
        let identity = Credentials::new(
            &config.access_key_id,
            config.secret_access_key.expose_secret(),
            config
                .session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
            None,
            "configuration",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&config.region)
            .name("cognito-idp")
            // Amazon's own clock counts here, not one that a test moves.
            .time(UNIX_EPOCH + Duration::from_millis(at_ms))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let url = format!("{}/", config.endpoint);
        let target = format!("{TARGET}.{operation}");
        let headers = [
            ("content-type", CONTENT_TYPE),
            ("x-amz-target", target.as_str()),
        ];
        let signable = SignableRequest::new(
            "POST",
            &url,
            headers.into_iter(),
            SignableBody::Bytes(&body),
        )
        .map_err(|error| unsigned(error.to_string()))?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|error| unsigned(error.to_string()))?
            .into_parts();
        let mut request = self.http.post(&url).body(body);
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        request.build().map_err(|error| unsigned(error.to_string()))
    }

    fn user(&self, account: &str) -> Value {
        json!({"UserPoolId": self.config.user_pool_id, "Username": account})
    }
}

async fn read(mut answer: reqwest::Response) -> Result<Value, Refused> {
    let broken = |_| Refused::Later {
        reason: "Cognito: the answer broke off".to_owned(),
        after: None,
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(Value::Null);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// What an error means, by its type.
fn refusal(status: u16, kind: &str, after: Option<Duration>) -> Refused {
    let reason = format!("Cognito answered {status} {kind}")
        .trim_end()
        .to_owned();
    match (kind, status) {
        ("UserNotFoundException", _) => Refused::Unknown,
        (
            "NotAuthorizedException"
            | "UnrecognizedClientException"
            | "AccessDeniedException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "ResourceNotFoundException",
            _,
        )
        | (_, 401 | 403) => Refused::Key { reason },
        ("TooManyRequestsException" | "LimitExceededException" | "ThrottlingException", _)
        | (_, 429 | 500..) => Refused::Later { reason, after },
        _ => Refused::Never { reason },
    }
}

impl IdentityProvider for CognitoPool {
    fn name(&self) -> &'static str {
        "cognito"
    }

    fn create<'a>(
        &'a self,
        tenant: &'a TenantId,
        address: &'a str,
    ) -> PortFuture<'a, Result<Made, Refused>> {
        Box::pin(async move {
            let mut attributes = vec![
                json!({"Name": "email", "Value": address}),
                // They just paid with it, and Cognito's invitation goes there.
                json!({"Name": "email_verified", "Value": "true"}),
            ];
            if let Some(name) = &self.config.tenant_attribute {
                attributes.push(json!({"Name": name, "Value": tenant.as_str()}));
            }
            let mut body = self.user(address);
            body["UserAttributes"] = attributes.into();
            body["DesiredDeliveryMediums"] = json!(["EMAIL"]);
            match self.ask("AdminCreateUser", &body).await {
                Ok(answer) => {
                    let name = answer["User"]["Username"].as_str().unwrap_or(address);
                    Ok(Made::New(name.to_owned()))
                }
                Err(Refused::Never { reason }) if reason.contains("UsernameExistsException") => {
                    Ok(Made::Known(address.to_owned()))
                }
                Err(refused) => Err(refused),
            }
        })
    }

    fn set_enabled<'a>(
        &'a self,
        account: &'a str,
        enabled: bool,
    ) -> PortFuture<'a, Result<(), Refused>> {
        let operation = if enabled {
            "AdminEnableUser"
        } else {
            "AdminDisableUser"
        };
        Box::pin(async move { self.ask(operation, &self.user(account)).await.map(drop) })
    }

    fn delete<'a>(&'a self, account: &'a str) -> PortFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            let user = self.user(account);
            self.ask("AdminDeleteUser", &user).await.map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_type() {
        let later = |status, kind| matches!(refusal(status, kind, None), Refused::Later { .. });
        let key = |status, kind| matches!(refusal(status, kind, None), Refused::Key { .. });
        assert!(later(400, "TooManyRequestsException") && later(500, "InternalErrorException"));
        assert!(later(503, "") && later(429, ""));
        assert!(
            key(400, "UnrecognizedClientException")
                && key(403, "")
                && key(400, "NotAuthorizedException")
        );
        assert_eq!(
            refusal(400, "UserNotFoundException", None),
            Refused::Unknown
        );
        let never = refusal(400, "InvalidParameterException", None);
        assert!(matches!(never, Refused::Never { .. }));
    }
}
