//! Which orders about a dispute's evidence were given, so that it is submitted once.
//!
//! An order writes itself down before it is stored as a command, each under the next number, and a number is given
//! once: of two at the same moment one is refused. Stripe keeps only the last draft's mark, so an order is refused also
//! while an earlier one about the dispute is not over.
//!
//! Invariants: after an order to submit that succeeded, or whose end is not known, nothing more is ordered.
//! Failure: an order that was written down and never stored (the process died in between) counts for a minute.

use super::find;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_domain::ids::{CommandId, DisputeId, Scope, Timestamp};
use bursar_store::api::{Administer, Keep};
use serde::{Deserialize, Serialize};

/// Where the lines are kept.
const SPACE: &str = "dispute_evidence";
/// Orders about one dispute at most.
const LINES_MAX: usize = 100;
/// How long an order may be on its way from its line to its command, in ms.
const ON_ITS_WAY_MS: i64 = 60_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    command: CommandId,
    submits: bool,
    at: Timestamp,
}

/// Writes an order down. A repeat of the last one is there already.
/// # Errors: 409 if the evidence was submitted or an earlier order is not over; 422 beyond a hundred.
pub(super) async fn enter(
    call: &Call,
    scope: &Scope,
    dispute: &DisputeId,
    command: &CommandId,
    submits: bool,
) -> Result<(), Problem> {
    let place = format!("{}/{dispute}/", scope.as_str());
    let lines = read(call, &place).await?;
    if lines.last().is_some_and(|last| last.command == *command) {
        return Ok(());
    }
    for (index, line) in lines.iter().enumerate() {
        // Each was written when those before it were over; only submitted evidence stays in the way.
        if line.submits || index + 1 == lines.len() {
            check(call, line).await?;
        }
    }
    if lines.len() >= LINES_MAX {
        let detail = "there were a hundred orders about this dispute's evidence; go on in Stripe's dashboard";
        return Err(Problem::new(Code::Refused, detail));
    }
    let line = Line {
        command: command.clone(),
        submits,
        at: call.edge.now(),
    };
    let key = format!("{place}{:04}", lines.len());
    let write = Administer {
        must_be_absent: vec![(SPACE, key.clone())],
        keeps: vec![Keep {
            space: SPACE,
            key,
            value: serde_json::to_vec(&line).ok(),
            subject: None,
        }],
        ..Administer::default()
    };
    if call.edge.store.administer(write).await? {
        return Ok(());
    }
    Err(under_way())
}

async fn read(call: &Call, place: &str) -> Result<Vec<Line>, Problem> {
    let store = &call.edge.store;
    let kept = store.kept_all(SPACE, Some(place.to_owned()), LINES_MAX);
    let kept = kept.await?.into_iter();
    let lines = kept.take_while(|(key, _)| key.starts_with(place));
    lines
        .map(|(_, value)| {
            serde_json::from_slice(&value).map_err(|error| {
                tracing::error!(%error, "a kept order of evidence cannot be read");
                Problem::new(Code::Internal, "what was ordered before cannot be read")
            })
        })
        .collect()
}

/// # Errors: 409 if this earlier order stands in the way of another.
async fn check(call: &Call, line: &Line) -> Result<(), Problem> {
    let known = find(call, &line.command).await?;
    match known.as_ref().map(|command| command.text("status")) {
        Some("succeeded") if line.submits => Err(submitted()),
        Some("succeeded" | "failed") => Ok(()),
        Some(_) => Err(under_way()),
        None if call.edge.now() < line.at.plus_ms(ON_ITS_WAY_MS) => Err(under_way()),
        None => Ok(()),
    }
}

/// Evidence that went to the bank already.
pub(super) fn submitted() -> Problem {
    let detail = "the evidence was submitted, which is possible once";
    Problem::new(Code::StateConflict, detail)
}

fn under_way() -> Problem {
    let detail =
        "an earlier order about this dispute's evidence is not over; see `/api/v1/commands`";
    Problem::new(Code::StateConflict, detail)
}
