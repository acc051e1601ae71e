//! `GET /api/v1/commands[/{id}]`: what became of orders.

use super::Command;
use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::Problem;
use crate::http::reads::{listed, wait_for};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::rows::RowKind;
use bursar_store::query::RowView;
use serde_json::Value;

/// A command as it is shown: where a payer was sent is for the caller alone, once.
fn shown(row: &RowView) -> String {
    let mut value: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    if let Some(object) = value.as_object_mut() {
        object.remove("url");
        object.remove("expiresAt");
    }
    value.to_string()
}

/// `GET /api/v1/commands`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move { listed(&call, RowKind::Command, shown).await })
}

/// `GET /api/v1/commands/{id}`; with `waitSeconds` it waits for the end, or until Stripe's event has told of it.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (id, reach) = (call.path("id").to_owned(), call.reach());
        let read = || visible_row(&call.edge, RowKind::Command, &id, Some(""), &reach);
        let until_confirmed = call.fields.boolean("confirmed").unwrap_or(false);
        let is_over = |row: &RowView| match row.status.as_str() {
            // Then all it changed is applied.
            "succeeded" => !until_confirmed || Command::of(row).is_confirmed(),
            status => status == "failed",
        };
        let row = wait_for(&call, read, is_over).await?;
        Ok(Answer::json_text(shown(&row)))
    })
}
