//! Promotion codes: Stripe takes the id, people know the word.

use super::live::read;
use crate::http::problem::{FieldCode, Problem};
use crate::http::route::Call;
use bursar_domain::ids::Scope;

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
