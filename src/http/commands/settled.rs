//! What an order changed, as it is shown: the row once its aggregate has applied what Stripe answered.
//!
//! Invariants: `pending` is said until an event of Stripe's confirmed the order *and* the row shows it.
//! Failure: an aggregate that lags is waited for a moment; then the row is shown as it is, `pending`.

use super::{Command, find};
use crate::http::problem::Problem;
use crate::http::reads::row_json;
use crate::http::route::Call;
use bursar_domain::ids::{CommandId, Scope};
use bursar_domain::rows::RowKind;
use bursar_store::query::RowView;
use std::time::Duration;

/// How long the row is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A row of the store, by what it is found.
pub(super) struct Place {
    pub(super) kind: RowKind,
    pub(super) scope: Scope,
    pub(super) id: String,
}

/// The row as JSON text with `pending`; `None`: there is none yet.
/// # Errors: the store's.
pub(super) async fn shown(
    call: &Call,
    id: &CommandId,
    place: Place,
    is_fresh: impl Fn(&RowView) -> bool,
) -> Result<Option<String>, Problem> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut commits = call.edge.store.commits();
    let row = loop {
        commits.look();
        let store = &call.edge.store;
        let row = store
            .row(
                &call.reach(),
                place.kind,
                place.scope.clone(),
                place.id.clone(),
            )
            .await?;
        if row.as_ref().is_some_and(&is_fresh) {
            break row;
        }
        let more = tokio::time::timeout_at(deadline, commits.changed()).await;
        if !matches!(more, Ok(Ok(()))) {
            break row;
        }
    };
    let Some(row) = row else { return Ok(None) };
    let command = find(call, id).await?;
    let is_confirmed = command.as_ref().is_some_and(Command::is_confirmed);
    let pending = !(is_confirmed && is_fresh(&row));
    Ok(Some(with_pending(&row_json(&row), pending)))
}

fn with_pending(row: &str, pending: bool) -> String {
    let text = row.trim_end();
    let open = text.strip_suffix('}').unwrap_or(text);
    format!("{open},\"pending\":{pending}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_is_one_more_field() {
        let text = with_pending("{\"id\":\"pi_1\",\"x\":{}}", true);
        assert_eq!(text, "{\"id\":\"pi_1\",\"x\":{},\"pending\":true}");
    }
}
