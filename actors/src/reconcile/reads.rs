//! Pages of Stripe's lists, with patience.
//!
//! Invariants: a few tries per page with growing waits; a rate limit is waited out as long as Stripe
//! says, up to a bound; at most so many pages in one run.
//! Failure: [`Stop`] says whether the account or the whole of Stripe is out of reach.

use crate::ports::{ReadAnswer, ReadError, StripeRead};
use crate::retry::RetryPolicy;
use bursar_domain::ids::Scope;
use bursar_domain::listing::{Page, read_page};
use bursar_store::error::StoreError;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait Stripe may ask for before a run gives up.
const RATE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Why a walk ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The run's bound of pages is reached; the next run goes on.
    Bound,
    /// This account cannot be read; others may.
    Account(String),
    /// Stripe does not answer.
    Stripe(String),
    /// The store does not take it.
    Store(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// A page and when Stripe answered it.
pub(super) struct Dated {
    pub(super) page: Page,
    pub(super) date: i64,
}

pub(super) enum Turned {
    Page(Dated),
    /// The object to go on after is not known to Stripe (any more): begin the list again.
    Lost,
}

pub(super) struct Reads {
    pub(super) stripe: Arc<dyn StripeRead>,
    pub(super) retry: RetryPolicy,
    pub(super) pages_left: usize,
}

impl Reads {
    /// One page of a list: `path` with its fixed query, from `from` on, after `after`.
    pub(super) async fn page(
        &mut self,
        scope: &Scope,
        path: &str,
        from: Option<i64>,
        after: Option<&str>,
    ) -> Result<Turned, Stop> {
        if self.pages_left == 0 {
            return Err(Stop::Bound);
        }
        self.pages_left -= 1;
        let mut path = path.to_owned();
        if let Some(from) = from {
            path.push_str(&format!("&created%5Bgte%5D={from}"));
        }
        if let Some(after) = after {
            // Ids hold letters, digits, `_` and `-`; anything else came from elsewhere.
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if !after.chars().all(plain) {
                return Ok(Turned::Lost);
            }
            path.push_str(&format!("&starting_after={after}"));
        }
        let answer = self.ask(scope, &path, after.is_some()).await?;
        if answer.status != 200 {
            if after.is_some() {
                return Ok(Turned::Lost);
            }
            let text = format!("Stripe answered {} to a list", answer.status);
            return Err(Stop::Stripe(text));
        }
        let page = read_page(&answer.body).map_err(Stop::Stripe)?;
        Ok(Turned::Page(Dated {
            page,
            date: answer.date_unix,
        }))
    }

    async fn ask(&self, scope: &Scope, path: &str, is_cursor: bool) -> Result<ReadAnswer, Stop> {
        let mut attempts = 0;
        loop {
            let error = match self.stripe.get(scope.clone(), path.to_owned()).await {
                Ok(answer) => return Ok(answer),
                // What the cursor names is gone: the caller begins the list again.
                Err(ReadError::Unexpected { status: 400, .. }) if is_cursor => {
                    return Ok(ReadAnswer {
                        status: 400,
                        date_unix: 0,
                        body: Vec::new(),
                        request_id: String::new(),
                    });
                }
                Err(error) => error,
            };
            attempts += 1;
            let wait = match &error {
                ReadError::Auth(_) if scope.0.is_some() => {
                    return Err(Stop::Account(error.to_string()));
                }
                ReadError::Auth(_) | ReadError::Unexpected { .. } => None,
                ReadError::RateLimited {
                    retry_after: Some(after),
                } if *after > RATE_WAIT_MAX => None,
                ReadError::RateLimited {
                    retry_after: Some(after),
                } => self
                    .retry
                    .delay(attempts, path)
                    .map(|wait| wait.max(*after)),
                // Ours to wait for: nothing was asked, and nobody else hurries.
                ReadError::Refused {
                    circuit: None,
                    retry_after,
                } => {
                    attempts -= 1;
                    Some(*retry_after)
                }
                ReadError::Refused { retry_after, .. } => self
                    .retry
                    .delay(attempts, path)
                    .map(|wait| wait.max(*retry_after)),
                ReadError::RateLimited { retry_after: None }
                | ReadError::Timeout
                | ReadError::Network(_)
                | ReadError::Server(_) => self.retry.delay(attempts, path),
            };
            let Some(wait) = wait else {
                return Err(Stop::Stripe(error.to_string()));
            };
            tracing::debug!(%error, wait_ms = wait.as_millis(), "a list is asked for again");
            tokio::time::sleep(wait).await;
        }
    }
}
