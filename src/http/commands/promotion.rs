//! Promotion codes: Stripe takes the id, people know the word.

use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use bursar_actors::ports::ReadError;
use bursar_domain::ids::Scope;
use serde_json::Value;

/// The promotion code a request names, as Stripe's id.
/// # Errors: 400 for a word no active code has; 502 or 503 when Stripe cannot be asked.
pub(super) async fn code(call: &Call) -> Result<Option<String>, Problem> {
    let Some(word) = call.fields.text("promotionCode") else {
        return Ok(None);
    };
    if word.starts_with("promo_") {
        return Ok(Some(word.to_owned()));
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("active", "true")
        .append_pair("limit", "1")
        .append_pair("code", word)
        .finish();
    let found = read(
        call,
        Scope::PLATFORM,
        format!("/v1/promotion_codes?{query}"),
    )
    .await?;
    let id = found["data"][0]["id"].as_str();
    id.map(|id| Some(id.to_owned())).ok_or_else(|| {
        let detail = "no active promotion code has this word";
        Problem::field("promotionCode", FieldCode::Malformed, detail)
    })
}

/// One object or list, read now. # Errors: 404, 502, 503.
pub(super) async fn read(call: &Call, scope: Scope, path: String) -> Result<Value, Problem> {
    let answer = call.edge.stripe.get(scope, path).await.map_err(|error| {
        tracing::warn!(%error, "Stripe could not be read for a request");
        match error {
            ReadError::Refused { retry_after, .. } => Problem {
                retry_after_seconds: Some(retry_after.as_secs().max(1)),
                ..Problem::new(
                    Code::StripeCircuitOpen,
                    "calls to Stripe are held back; ask again",
                )
            },
            _ => Problem::new(
                Code::StripeUnavailable,
                "Stripe could not be asked; nothing happened",
            ),
        }
    })?;
    if answer.status == 404 {
        return Err(Problem::not_found());
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        tracing::error!(%error, "an answer of Stripe cannot be read");
        Problem::new(Code::StripeUnavailable, "Stripe's answer could not be read")
    })
}
