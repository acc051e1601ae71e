//! A command that failed, as a refusal: Stripe's words beside ours.

use super::Command;
use crate::http::problem::{Code, Problem, StripeWords};
use serde_json::Value;

/// Stripe's codes that mean tax cannot be computed yet, and which switch turns it off.
const TAX_CODES: [&str; 3] = [
    "customer_tax_location_invalid",
    "tax_not_ready",
    "stripe_tax_inactive",
];

/// Why a command failed. Only what Stripe said is final for an idempotency key.
pub(super) fn problem(command: &Command) -> Problem {
    let error = &command.0["error"];
    let text = |name: &str| error[name].as_str().map(str::to_owned);
    let words = StripeWords {
        stripe_code: text("stripeCode"),
        decline_code: text("declineCode"),
        param: text("param"),
        stripe_request_id: command.0["stripeRequestId"].as_str().map(str::to_owned),
        command_id: command.text("id").to_owned(),
    };
    let code = error["code"].as_str().unwrap_or_default();
    said(code, words, command.text("message").to_owned())
}

/// Stripe's `error` of a call that is no command.
pub(super) fn refusal(error: &Value, status: u16, request_id: &str) -> Problem {
    let text = |name: &str| error[name].as_str().map(str::to_owned);
    let words = StripeWords {
        stripe_code: text("code").or_else(|| text("type")),
        decline_code: text("decline_code"),
        param: text("param"),
        stripe_request_id: Some(request_id.to_owned()).filter(|id| !id.is_empty()),
        command_id: String::new(),
    };
    let code = if status == 402 { "declined" } else { "refused" };
    let message = text("message").unwrap_or_default();
    said(code, words, message)
}

fn said(code: &str, words: StripeWords, said: String) -> Problem {
    let is_tax = words
        .stripe_code
        .as_deref()
        .is_some_and(|code| TAX_CODES.contains(&code))
        || words
            .param
            .as_deref()
            .is_some_and(|param| param.starts_with("automatic_tax"));
    let (code, detail) = match code {
        "declined" => (Code::StripeDeclined, said),
        "refused" if is_tax => (
            Code::StripeTaxNotReady,
            format!("{said} (CHECKOUT_AUTOMATIC_TAX=false turns automatic tax off)"),
        ),
        "refused" => (Code::StripeRefused, said),
        "stripe_key_refused" => (
            Code::StripeUnavailable,
            "Stripe does not accept the key of this installation; nothing happened".to_owned(),
        ),
        _ => (
            Code::StripeUnavailable,
            "Stripe could not be reached; nothing happened, ask again".to_owned(),
        ),
    };
    let detail = if detail.is_empty() {
        "Stripe refused it".to_owned()
    } else {
        detail
    };
    Problem {
        is_definite: matches!(code.status(), 402 | 422),
        stripe: Some(Box::new(words)),
        ..Problem::new(code, detail)
    }
}
