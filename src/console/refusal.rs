//! A refusal as a page: what happened, why, and what to do next.

use super::form::encoded;
use super::page::{self, Frame};
use super::signing;
use crate::http::answer::Answer;
use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::http::route::{Route, Verb};
use hyper::{Request, Uri, header};
use serde_json::{Value, json};

/// Where a request was going, and which page it came from.
pub(crate) struct Way {
    target: Uri,
    from: Option<String>,
}

impl Way {
    /// Of a request.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let from = request.headers().get(header::REFERER);
        Self {
            target: request.uri().clone(),
            from: from.and_then(|from| from.to_str().ok()).map(str::to_owned),
        }
    }
    /// The page of the console it came from, if it is one of ours.
    fn back(&self, edge: &Edge) -> Option<&str> {
        let base = edge.settings.app_base_url.trim_end_matches('/');
        let path = self.from.as_deref()?.strip_prefix(base)?;
        (signing::way_on(path) == path).then_some(path)
    }
}

/// What a problem is told as. A look without a session leads to the sign-in, and back afterwards.
pub(crate) fn refusal(
    edge: &Edge,
    route: &Route,
    way: &Way,
    problem: &Problem,
    request_id: &str,
) -> Answer {
    match problem.code {
        Code::Unauthenticated if route.verb == Verb::Get => {
            let target = way
                .target
                .path_and_query()
                .map_or("/console", |at| at.as_str());
            return page::see_other(&format!("/console/login?next={}", encoded(target)));
        }
        Code::TenantRequired => return page::see_other("/console/choose"),
        _ => {}
    }
    let errors: Vec<Value> = problem
        .errors
        .iter()
        .map(|error| json!({"field": error.field, "detail": error.detail}))
        .collect();
    let stripe = problem.stripe.as_ref();
    let holds = json!({
        "code": problem.code.as_str(), "detail": problem.detail, "errors": errors,
        "next": next(problem.code), "requestId": request_id,
        "stripeRequestId": stripe.and_then(|words| words.stripe_request_id.clone()),
        "back": way.back(edge), "signedOut": problem.code == Code::Unauthenticated,
    });
    let title = match problem.code {
        Code::InvalidRequest => "This has to be corrected",
        code => code.title(),
    };
    let frame = Frame::unsigned(title, edge);
    let made = page::render(problem.status(), "problem.html", &frame, holds);
    let mut answer = made.unwrap_or_else(|problem| problem.answer(request_id));
    if let Some(seconds) = problem.retry_after_seconds {
        answer.header("retry-after", &seconds.to_string());
    }
    answer
}

/// What to do next, in words.
const fn next(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => {
            "Nothing was done. Sign in again, then do it again: a form that was already taken counts once."
        }
        Code::CsrfRefused => {
            "Nothing was done. Open the console at its own address (APP_BASE_URL in the configuration), go back to the \
             page and send the form from there."
        }
        Code::InsufficientScope => {
            "Somebody with a higher role can do this; Members lists who that is. What concerns the whole installation is \
             the operator’s."
        }
        Code::AddressNotAllowed => {
            "Come from an address in BURSAR_ADMIN_ALLOW, or add this one there and restart."
        }
        Code::NotFound => {
            "Check the id. It may belong to another tenant, which looks the same from here."
        }
        Code::SecretShownOnce => {
            "The form was sent twice, and the first time worked: the secret was shown then and is kept nowhere. If you \
             do not have it, revoke it and make another."
        }
        Code::IdempotencyInProgress => {
            "The form was sent twice and the first one still runs. Go back and look."
        }
        Code::StateConflict | Code::SubscriptionExists | Code::InsufficientCredits => {
            "Nothing was changed. Go back and look at the present state: somebody may have been first."
        }
        Code::StripeDeclined | Code::StripeRefused | Code::StripeTaxNotReady => {
            "Stripe said no; nothing moved. Its own words are above."
        }
        Code::StripeUnavailable | Code::StripeCircuitOpen => {
            "Nothing was done. Bursar goes on by itself once Stripe answers; Circuits shows how that is."
        }
        Code::Overloaded | Code::StoreUnavailable | Code::RateLimited | Code::NotAppliedYet => {
            "Wait a moment and do it again: the same form counts once."
        }
        Code::Internal => "This is a defect. Look for the request’s id in the log.",
        _ => "Go back, correct it and send it again.",
    }
}
