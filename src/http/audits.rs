//! The audit over HTTP: for `bursar verify` on a store that is being served.

use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::verify;
use serde_json::json;

/// `GET /api/v1/digest`.
pub fn digest(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let state_digest = call.whole_store()?.state_digest().await?;
        let (record, hash) = call.whole_store()?.chain_head().await?;
        Ok(Answer::json(
            &json!({"stateDigest": state_digest, "chainHead": format!("{record}:{hash}")}),
        ))
    })
}

/// `POST /api/v1/verify`.
pub fn verify(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let report = verify::verify(&**call.whole_store()?, &call.edge.settings.domain).await?;
        let shown = serde_json::to_value(&report).map_err(|error| {
            tracing::error!(%error, "a verification cannot be written");
            Problem::new(Code::Internal, "the report cannot be written")
        })?;
        Ok(Answer::json(&shown))
    })
}
