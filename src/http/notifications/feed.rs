//! The pull feed: oldest first, a cursor, long polling.
//!
//! Invariants: every answer says where to go on, also when it holds nothing; a cursor is bound to the filters, a
//! notification's id goes with any.

use super::{tenant_of, types};
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::reads::{limit, wait_for};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::notifications::feed::{FeedPage, FeedQuery};
use crate::notifications::records::FeedEntry;
use serde_json::{Value, json};

/// `GET /api/v1/notifications`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let types = types(&call)?;
        let bound = format!("notifications|{}|{}", call.reach().text(), types.join(","));
        let tenant = tenant_of(&call);
        let query = FeedQuery {
            after: after(&call, &bound).await?,
            limit: limit(&call),
            tenant,
            types,
        };
        let read = || async { Ok(call.edge.notifications.feed(&query).await?) };
        let ready = |page: &FeedPage| !page.lines.is_empty() || page.has_more;
        let page = wait_for(&call, read, ready).await?;
        let next = call.edge.cursors.wrap(&bound, &page.last.to_be_bytes());
        Ok(Answer::json(&json!({
            "data": page.lines.iter().map(shown).collect::<Vec<_>>(),
            "hasMore": page.has_more, "nextCursor": next, "gap": page.has_gap,
        })))
    })
}

/// The number to go on after. # Errors: 400 for a foreign cursor, or an id that is not in the feed.
async fn after(call: &Call, bound: &str) -> Result<u64, Problem> {
    let Some(text) = call.fields.text("after") else {
        return Ok(0);
    };
    if text.starts_with("ntf_") {
        let number = call.edge.notifications.feed_number(text).await?;
        return number.ok_or_else(|| {
            Problem::new(
                Code::CursorInvalid,
                "the feed does not hold this notification",
            )
        });
    }
    let key = call.edge.cursors.unwrap(bound, text)?;
    Ok(key.try_into().map_or(0, u64::from_be_bytes))
}

fn shown((entry, body): &(FeedEntry, Option<Vec<u8>>)) -> Value {
    let body: Value = body
        .as_ref()
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    json!({"id": entry.id, "type": entry.kind, "timestamp": entry.at.rfc3339(), "tenantId": entry.tenant, "data": body["data"]})
}
