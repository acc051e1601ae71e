//! A command that failed, as a refusal: Stripe's words beside ours.

use super::Command;
use crate::http::problem::{Code, Problem, StripeWords};

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
    let stripe_code = text("stripeCode");
    let words = StripeWords {
        stripe_code: stripe_code.clone(),
        decline_code: text("declineCode"),
        param: text("param"),
        stripe_request_id: command.0["stripeRequestId"].as_str().map(str::to_owned),
        command_id: command.text("id").to_owned(),
    };
    let said = command.text("message").to_owned();
    let is_tax = stripe_code
        .as_deref()
        .is_some_and(|code| TAX_CODES.contains(&code))
        || words
            .param
            .as_deref()
            .is_some_and(|param| param.starts_with("automatic_tax"));
    let (code, detail) = match error["code"].as_str().unwrap_or_default() {
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
