//! Return addresses of requests: allowed ones, or a refusal that names the field.

use crate::http::problem::{Code, Problem};
use crate::http::return_urls::ReturnUrlRefused;
use crate::http::route::Call;

fn refusal(field: &str) -> impl Fn(ReturnUrlRefused) -> Problem + '_ {
    move |refused| Problem::new(Code::ReturnUrlNotAllowed, format!("`{field}` {refused}"))
}

/// An address the request names, if it names one. # Errors: 422.
pub(super) fn checked(call: &Call, field: &str) -> Result<Option<String>, Problem> {
    let urls = &call.edge.settings.billing.return_urls;
    let given = call.fields.text(field);
    given
        .map(|url| urls.checked(url))
        .transpose()
        .map_err(refusal(field))
}

/// Where a checkout leads to, paid and not. # Errors: 422.
pub(super) fn of_checkout(call: &Call) -> Result<(String, String), Problem> {
    let urls = &call.edge.settings.billing.return_urls;
    let (success, cancel) = (
        call.fields.text("successUrl"),
        call.fields.text("cancelUrl"),
    );
    Ok((
        urls.success(success).map_err(refusal("successUrl"))?,
        urls.cancel(cancel).map_err(refusal("cancelUrl"))?,
    ))
}

/// Where Stripe's form for merchants leads to, done and spent. # Errors: 422.
pub(super) fn of_onboarding(call: &Call) -> Result<(String, String), Problem> {
    let urls = &call.edge.settings.billing.return_urls;
    let (back, again) = (
        call.fields.text("returnUrl"),
        call.fields.text("refreshUrl"),
    );
    Ok((
        urls.onboarded(back).map_err(refusal("returnUrl"))?,
        urls.onboard_again(again).map_err(refusal("refreshUrl"))?,
    ))
}
