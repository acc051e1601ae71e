//! What nobody waits for: finishing sign-ups that were interrupted, and forgetting what counts for nothing.
//!
//! Runs at the start and hourly, a page of records at a time, so that it never stands in anybody's way. Forgotten are
//! ended sessions, counters of log-ins and of mails, addresses nobody logged in from for 90 days, used and ended proofs, and, after
//! a week, sign-ups that were never confirmed: their address is free again, and nothing of it can be read.
//! Failure: what cannot be done now is done in an hour; each record by itself, so that one stands in no other's way.

use crate::http::edge::Edge;
use crate::http::people::signup;
use crate::http::problem::Problem;
use crate::identity::accounts::{self, Account};
use crate::identity::proofs::{self, Proof, Purpose};
use crate::identity::records::{Actor, Commit, Read, spaces};
use crate::identity::sessions::{self, Session};
use crate::identity::{UserId, limits, operators};
use bursar_domain::ids::Timestamp;
use bursar_store::error::StoreError;
use std::sync::Weak;
use std::time::Duration;

const PAGE: usize = 100;
const HOUR_MS: i64 = 3_600_000;
/// After how long a sign-up that was never confirmed is forgotten.
const UNVERIFIED_DAYS: i64 = 7;

/// Sweeps at once and then every hour, until the edge is gone.
pub async fn sweep_hourly(edge: Weak<Edge>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(3_600));
    loop {
        ticks.tick().await;
        let Some(edge) = edge.upgrade() else {
            return;
        };
        if let Err(problem) = sweep(&edge).await {
            let reason = problem.detail;
            tracing::warn!(reason, "people's records could not be swept; later");
        }
    }
}

/// Sweeps once. # Errors: the store's.
pub async fn sweep(edge: &Edge) -> Result<(), Problem> {
    finish_signups(edge).await?;
    let now = edge.now();
    forget(edge, spaces::LIMIT, |bytes| limits::is_over(bytes, now)).await?;
    forget(edge, spaces::KNOWN, |bytes| {
        limits::is_forgotten(bytes, now)
    })
    .await?;
    forget(edge, spaces::PROOF, |bytes| is_spent(bytes, now)).await?;
    let mails = crate::mail::limits::SPACE;
    forget(edge, mails, |bytes| {
        crate::mail::limits::is_over(bytes, now)
    })
    .await?;
    end_sessions(edge, now).await?;
    forget(edge, spaces::OPERATOR_SESSION, |bytes| {
        operators::is_over(bytes, now)
    })
    .await?;
    forget_unverified(edge, now).await
}

async fn finish_signups(edge: &Edge) -> Result<(), Problem> {
    let mut cursor = None;
    loop {
        let page = edge
            .store
            .kept_all(spaces::UNFINISHED, cursor.take(), PAGE)
            .await?;
        for (key, _) in &page {
            let Some(user) = UserId::parse(key) else {
                continue;
            };
            match signup::finish(edge, &user, "").await {
                Ok(_) => tracing::info!(user.id = key, "finished a sign-up that was interrupted"),
                Err(problem) => {
                    let reason = problem.detail;
                    tracing::warn!(
                        user.id = key,
                        reason,
                        "a sign-up could not be finished; later"
                    );
                }
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => cursor = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

/// Removes the records of a space that are over, each only if it is still as it was read.
async fn forget(
    edge: &Edge,
    space: &'static str,
    is_over: impl Fn(&[u8]) -> bool,
) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let page = edge.store.kept_all(space, cursor.take(), PAGE).await?;
        let mut commit = Commit::default();
        for (key, bytes) in page.iter().filter(|(_, bytes)| is_over(bytes)) {
            commit = commit.guard(space, key, bytes).remove(space, key, None);
        }
        // If one changed meanwhile, the page is left for the next hour.
        commit.run(edge.store.as_ref()).await?;
        match page.last() {
            Some((last, _)) if page.len() == PAGE => cursor = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

/// Whether a proof is good for nothing any more and counts no mail of the last hour.
fn is_spent(bytes: &[u8], now: Timestamp) -> bool {
    let proof: Result<Proof, _> = serde_json::from_slice(bytes);
    proof.is_ok_and(|proof| {
        let is_over = proof.used_at.is_some() || proof.ends_at <= now;
        is_over && proof.sent.iter().all(|at| now.0 - at.0 >= HOUR_MS)
    })
}

async fn end_sessions(edge: &Edge, now: Timestamp) -> Result<(), StoreError> {
    let store = edge.store.as_ref();
    let mut cursor = None;
    loop {
        let page = store.kept_all(spaces::SESSION, cursor.take(), PAGE).await?;
        for (id, bytes) in &page {
            let Ok(session) = serde_json::from_slice::<Session>(bytes) else {
                continue;
            };
            let account = accounts::find(store, &session.user).await?;
            let holds = account.is_some_and(|a| session.holds(a.value.session_version, now));
            if !holds {
                let guarded = Commit::default().guard(spaces::SESSION, id, bytes);
                sessions::end(guarded, &session.user, id).run(store).await?;
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => cursor = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

async fn forget_unverified(edge: &Edge, now: Timestamp) -> Result<(), Problem> {
    let store = edge.store.as_ref();
    let mut cursor = None;
    loop {
        let page = store.kept_all(spaces::ACCOUNT, cursor.take(), PAGE).await?;
        for (key, bytes) in &page {
            let account: Result<Account, _> = serde_json::from_slice(bytes);
            let (Some(user), Ok(value)) = (UserId::parse(key), account) else {
                continue;
            };
            let days = (now.0 - value.created_at.0) / (24 * HOUR_MS);
            if value.verified_at.is_some() || days < UNVERIFIED_DAYS {
                continue;
            }
            let waits = proofs::find(store, &user, Purpose::Verification).await?;
            if waits.is_some_and(|proof| now < proof.value.ends_at) {
                continue;
            }
            let account = Read {
                value,
                bytes: bytes.clone(),
            };
            accounts::forget(edge, &user, &account, &Actor::system(), "never confirmed").await?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => cursor = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}
