//! What the sandbox answers when it refuses: Stripe's error body and status.
//!
//! Invariants: every refusal names a type, and the code and parameter where Stripe names them.
//! Not here: which refusal fits (the handlers), faults asked for by tests (`faults`).
//! Failure: none; these are values.
//! Source of outside rules: Stripe API reference, "Errors".

use serde_json::{Value, json};

/// A refusal in Stripe's shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The `error` object.
    pub body: Value,
    /// Whether the idempotency table keeps it (not for failed parameter validation).
    pub saved: bool,
}

impl ApiError {
    fn with(status: u16, kind: &str, code: Option<&str>, message: &str, saved: bool) -> Self {
        let mut body = json!({"type": kind, "message": message});
        if let Some(code) = code {
            body["code"] = json!(code);
            body["doc_url"] = json!(format!(
                "https://stripe.com/docs/error-codes/{}",
                code.replace('_', "-")
            ));
        }
        Self {
            status,
            body,
            saved,
        }
    }

    /// 400 for parameters that failed validation; not kept by the idempotency table.
    pub(crate) fn invalid(param: &str, code: Option<&str>, message: &str) -> Self {
        let mut error = Self::with(400, "invalid_request_error", code, message, false);
        if !param.is_empty() {
            error.body["param"] = json!(param);
        }
        error
    }

    /// 400 for a request that is well-formed but not possible in the object's state.
    pub(crate) fn refused(code: Option<&str>, message: &str) -> Self {
        Self::with(400, "invalid_request_error", code, message, true)
    }

    /// 400 `parameter_missing`.
    pub(crate) fn missing(param: &str) -> Self {
        let message = format!("Missing required param: {param}.");
        Self::invalid(param, Some("parameter_missing"), &message)
    }

    /// 404 `resource_missing`.
    pub(crate) fn no_such(what: &str, id: &str, param: &str) -> Self {
        let message = format!("No such {}: '{id}'", what.replace('_', " "));
        let mut error = Self::with(
            404,
            "invalid_request_error",
            Some("resource_missing"),
            &message,
            true,
        );
        error.body["param"] = json!(param);
        error
    }

    /// 404 for a path that does not exist.
    pub(crate) fn unrecognized_url(method: &str, path: &str) -> Self {
        let message = format!(
            "Unrecognized request URL ({method}: {path}). If you are trying to list objects, \
             remove the trailing slash. This sandbox serves a subset of Stripe's API."
        );
        Self::with(404, "invalid_request_error", None, &message, false)
    }

    /// 402 for a declined payment.
    pub(crate) fn card(code: &str, decline_code: Option<&str>, message: &str) -> Self {
        let mut error = Self::with(402, "card_error", Some(code), message, true);
        if let Some(decline) = decline_code {
            error.body["decline_code"] = json!(decline);
        }
        error
    }

    /// 401 for a missing or unusable key.
    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::with(401, "invalid_request_error", None, message, false)
    }

    /// 403 for an account this key has no access to.
    pub(crate) fn account_invalid(account: &str) -> Self {
        let message = format!(
            "The provided key does not have access to account '{account}' (or that account does \
             not exist). Application access may have been revoked."
        );
        Self::with(
            403,
            "invalid_request_error",
            Some("account_invalid"),
            &message,
            false,
        )
    }

    /// Any other status and type.
    pub(crate) fn other(status: u16, kind: &str, code: Option<&str>, message: &str) -> Self {
        Self::with(status, kind, code, message, false)
    }

    /// Adds a field to the `error` object.
    #[must_use]
    pub(crate) fn and(mut self, field: &str, value: Value) -> Self {
        self.body[field] = value;
        self
    }

    /// The whole answer body.
    pub(crate) fn to_value(&self) -> Value {
        json!({"error": self.body})
    }
}
