//! What a caller is told when something is refused: RFC 9457 problem details with a code of ours.
//!
//! Invariants: the list of codes is closed and exported to the OpenAPI document; a problem never
//! holds a stack trace, a path of this machine, a secret or another tenant's data.
//! Source: RFC 9457; contract §3.

use crate::http::answer::Answer;
use bursar_store::error::{ErrorClass, StoreError};
use hyper::StatusCode;
use serde_json::{Value, json};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// A stable reason. Programs branch on it; words beside it may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, as listed in the OpenAPI document.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The code as it is answered.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            /// Its HTTP status.
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }
            /// Its title: the same words for every occurrence.
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
        }
    };
}

codes! {
    /// Something about the fields; `errors` says what.
    InvalidRequest = "invalid_request", 400, "The request cannot be read";
    /// Which of several tenants is meant?
    TenantRequired = "tenant_required", 400, "Say for which tenant";
    /// A cursor that was altered, or belongs to another query.
    CursorInvalid = "cursor_invalid", 400, "The cursor does not belong to this query";
    /// `Idempotency-Key` outside 1..255 printable ASCII, or given twice.
    IdempotencyKeyInvalid = "idempotency_key_invalid", 400, "The idempotency key is malformed";
    /// No `Stripe-Signature`.
    SignatureMissing = "signature_missing", 400, "The Stripe-Signature header is missing";
    /// It cannot be read.
    SignatureMalformed = "signature_malformed", 400, "The Stripe-Signature header cannot be read";
    /// It fits no secret.
    SignatureMismatch = "signature_mismatch", 401, "The signature fits no configured secret";
    /// It fits, but its time does not.
    SignatureExpired = "signature_expired", 401, "The signature's time is outside the tolerance";
    /// No credential, or one that is not valid (any more).
    Unauthenticated = "unauthenticated", 401, "A valid credential is needed";
    /// A key of Stripe's was sent to us.
    StripeKeyPresented = "stripe_key_presented", 401, "This looks like a key of Stripe";
    /// The credential may not do this.
    InsufficientScope = "insufficient_scope", 403, "The credential does not allow this";
    /// A change by cookie that no page of ours sent.
    CsrfRefused = "csrf_refused", 403, "The change did not come from a page of this service";
    /// The operator's key may not be used from this address.
    AddressNotAllowed = "address_not_allowed", 403, "The operator's key is not accepted from here";
    /// The password is right, and the address is not proved yet.
    EmailUnverified = "email_unverified", 403, "The address is not verified yet";
    /// Nobody signs up here, or only who was invited.
    SignupClosed = "signup_closed", 403, "Signing up is closed";
    /// Absent or foreign.
    NotFound = "not_found", 404, "There is nothing here";
    /// No plan has a feature of this name.
    UnknownFeature = "unknown_feature", 404, "No plan has a feature of this name";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not supported here";
    /// The body came too slowly.
    RequestTimeout = "request_timeout", 408, "The body did not arrive in time";
    /// A tenant of this id exists and differs.
    TenantExists = "tenant_exists", 409, "A tenant of this id exists already";
    /// The tenant still has a live subscription.
    SubscriptionExists = "subscription_exists", 409, "A subscription still lives";
    /// The balance is too low.
    InsufficientCredits = "insufficient_credits", 409, "There are not enough credits";
    /// The reference belongs to a debit of another amount.
    DebitReferenceReused = "debit_reference_reused", 409, "The reference was used for another debit";
    /// Another request was made under this key.
    IdempotencyKeyReused = "idempotency_key_reused", 409, "The key was used for another request";
    /// The first request under this key still runs.
    IdempotencyInProgress = "idempotency_in_progress", 409, "The first request still runs";
    /// The answer held a secret, which is shown once.
    SecretShownOnce = "secret_shown_once", 409, "The secret was shown once and is not kept";
    /// The thing is not in a state that allows this.
    StateConflict = "state_conflict", 409, "The present state does not allow this";
    /// A comparison with Stripe is under way.
    ReconcileRunning = "reconcile_running", 409, "A reconciliation is running";
    /// An import fills an empty store only.
    StoreNotEmpty = "store_not_empty", 409, "The store is not empty";
    /// `If-Match` does not hold.
    PreconditionFailed = "precondition_failed", 412, "The precondition does not hold";
    /// Larger than this route takes.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// Not JSON, or encoded.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body's type is not supported";
    /// The bank or Stripe declined the payment.
    StripeDeclined = "stripe_declined", 402, "The payment was declined";
    /// Stripe refused the order.
    StripeRefused = "stripe_refused", 422, "Stripe refused the order";
    /// Stripe cannot compute tax for this customer or account yet.
    StripeTaxNotReady = "stripe_tax_not_ready", 422, "Tax cannot be computed yet";
    /// No plan of this id is for sale.
    UnknownPlan = "unknown_plan", 422, "No plan of this id is for sale";
    /// The tenant has no customer at Stripe.
    NoCustomer = "no_customer", 422, "The tenant has no customer at Stripe yet";
    /// An address outside the allowed origins.
    ReturnUrlNotAllowed = "return_url_not_allowed", 422, "The address is not an allowed return address";
    /// A field holds the number of a card.
    CardNumberRefused = "card_number_refused", 422, "Card numbers are never taken";
    /// Stripe failed, and nothing happened.
    StripeUnavailable = "stripe_unavailable", 502, "Stripe did not answer";
    /// Calls to Stripe are held back for a while.
    StripeCircuitOpen = "stripe_circuit_open", 503, "Calls to Stripe are held back";
    /// Well-formed, but refused.
    Refused = "refused", 422, "The request is refused";
    /// Too many requests.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// A defect of ours.
    Internal = "internal", 500, "Something went wrong here";
    /// Too much at once.
    Overloaded = "overloaded", 503, "The service is busy";
    /// The store cannot be written or read.
    StoreUnavailable = "store_unavailable", 503, "The store is not available";
    /// The change is durable but not applied yet.
    NotAppliedYet = "not_applied_yet", 503, "The change is stored and not applied yet";
}

/// What is wrong with one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldCode {
    Unknown,
    Required,
    WrongType,
    OutOfRange,
    Malformed,
    Conflicting,
    Duplicate,
}

impl FieldCode {
    /// All of them, as listed in the OpenAPI document.
    pub const ALL: &'static [Self] = &[
        Self::Unknown,
        Self::Required,
        Self::WrongType,
        Self::OutOfRange,
        Self::Malformed,
        Self::Conflicting,
        Self::Duplicate,
    ];
    /// The word that is answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Required => "required",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::Malformed => "malformed",
            Self::Conflicting => "conflicting",
            Self::Duplicate => "duplicate",
        }
    }
}

/// One field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name as the caller wrote it.
    pub field: String,
    /// What is wrong.
    pub code: FieldCode,
    /// In words.
    pub detail: String,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: about this occurrence.
    pub detail: String,
    /// Fields, all at once.
    pub errors: Vec<FieldError>,
    /// Seconds to wait, for 429 and 503.
    pub retry_after_seconds: Option<u64>,
    /// `Allow`, for 405.
    pub allow: Option<String>,
    /// The connection cannot be used any further (its body was not read).
    pub close: bool,
    /// It will not be answered otherwise: a repeat under the same idempotency key gets these bytes.
    pub is_definite: bool,
    /// What Stripe said, if it was Stripe.
    pub stripe: Option<Box<StripeWords>>,
}

/// Stripe's own words on a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeWords {
    /// Its `code`, else its `type`.
    pub stripe_code: Option<String>,
    /// Why the bank declined.
    pub decline_code: Option<String>,
    /// The parameter it is about, in Stripe's names.
    pub param: Option<String>,
    /// `req_…`, for its support.
    pub stripe_request_id: Option<String>,
    /// The command that was refused; empty if it was none.
    pub command_id: String,
}

impl Problem {
    /// A refusal with words about this occurrence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry = matches!(code.status(), 429 | 503).then_some(1);
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: retry,
            allow: None,
            close: false,
            is_definite: false,
            stripe: None,
        }
    }
    /// Absent or foreign: one text for both.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "nothing was found under this path")
    }
    /// Field errors, all at once.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = errors
            .iter()
            .map(|error| error.detail.as_str())
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            errors,
            ..Self::new(Code::InvalidRequest, detail)
        }
    }
    /// One field error.
    pub fn field(field: &str, code: FieldCode, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            field: field.to_owned(),
            code,
            detail: detail.into(),
        }])
    }
    /// The same refusal, after which the connection closes.
    pub fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).expect("codes carry valid statuses")
    }
    /// The answer: problem+json with the request's id and an anchor in `/docs`.
    pub fn answer(&self, request_id: &str) -> Answer {
        let errors: Vec<Value> = self
            .errors
            .iter()
            .map(|e| json!({"field": e.field, "code": e.code.as_str(), "detail": e.detail}))
            .collect();
        let code = self.code.as_str();
        let doc_url = format!("/docs#error-{code}");
        let mut body = json!({
            "type": doc_url, "title": self.code.title(), "status": self.code.status(),
            "detail": self.detail, "code": code, "requestId": request_id, "docUrl": doc_url,
        });
        if !errors.is_empty() {
            body["errors"] = Value::Array(errors);
        }
        if let Some(words) = &self.stripe {
            let known = [
                ("stripeCode", &words.stripe_code),
                ("declineCode", &words.decline_code),
                ("param", &words.param),
                ("stripeRequestId", &words.stripe_request_id),
            ];
            for (name, text) in known {
                if let Some(text) = text {
                    body[name] = json!(text);
                }
            }
            if !words.command_id.is_empty() {
                body["commandId"] = json!(words.command_id);
            }
        }
        let mut answer = Answer::of(self.status(), "application/problem+json", body.to_string());
        if let Some(seconds) = self.retry_after_seconds {
            answer.header("retry-after", &seconds.to_string());
        }
        if let Some(allow) = &self.allow {
            answer.header("allow", allow);
        }
        if self.close {
            answer.header("connection", "close");
        }
        if self.code.status() == 401 && !self.code.as_str().starts_with("signature") {
            answer.header("www-authenticate", "Bearer realm=\"bursar\"");
        }
        answer
    }
}

impl From<StoreError> for Problem {
    /// The caller learns that the store is away and when to come back, not what is wrong with it.
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Busy => Code::Overloaded,
            StoreError::Invalid(reason) => {
                tracing::error!(reason, "the store refused a question of ours");
                Code::Internal
            }
            _ => Code::StoreUnavailable,
        };
        if error.class() == ErrorClass::Fatal {
            tracing::error!(%error, "the store failed a request");
        }
        Self {
            retry_after_seconds: (code.status() == 503).then(|| error.retry_after().as_secs()),
            ..Self::new(code, "the store did not take the request; nothing changed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_words_with_error_statuses() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} twice");
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }
}
