//! The feed: every notification there was, oldest first, for whoever asks.
//!
//! Invariants: a page says where the next one begins, also when it holds nothing; what is filtered away is passed over, at
//! most so many lines a page. Of an erased tenant the lines stay, without their bodies.

use super::Notifications;
use super::records::{ATTEMPTS, ATTEMPTS_KEPT, Attempt, BODIES, FEED, FeedEntry, number_key, read};
use bursar_domain::ids::TenantId;
use bursar_domain::notification::passes;
use bursar_store::error::StoreError;

/// Lines passed over by one page.
const LINES_MAX: usize = 2_000;
/// Lines of one read.
const PAGE: usize = 200;

/// Which lines.
#[derive(Clone, Debug, Default)]
pub struct FeedQuery {
    /// After this number.
    pub after: u64,
    /// Lines at most.
    pub limit: usize,
    /// One tenant's.
    pub tenant: Option<TenantId>,
    /// Types and groups; none: all.
    pub types: Vec<String>,
}

/// A page of the feed.
#[derive(Clone, Debug, Default)]
pub struct FeedPage {
    /// Lines with their bodies; none: erased.
    pub lines: Vec<(FeedEntry, Option<Vec<u8>>)>,
    /// The number the next page begins after.
    pub last: u64,
    /// There is more now.
    pub has_more: bool,
    /// Between `after` and the first line some were dropped for their age.
    pub has_gap: bool,
}

impl Notifications {
    /// A page. # Errors: the store's.
    pub async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, StoreError> {
        let mut page = FeedPage {
            last: query.after,
            ..FeedPage::default()
        };
        let mut passed = 0;
        loop {
            let cursor = (page.last > 0).then(|| number_key(page.last));
            let some = self.store.kept_all(FEED, cursor, PAGE).await?;
            for (key, bytes) in &some {
                if page.lines.len() >= query.limit || passed >= LINES_MAX {
                    page.has_more = true;
                    return Ok(page);
                }
                let number: u64 = key.parse().unwrap_or(page.last);
                page.has_gap |= passed == 0 && query.after > 0 && number > query.after + 1;
                (page.last, passed) = (number, passed + 1);
                let Some(entry) = read::<FeedEntry>(FEED, key, bytes) else {
                    continue;
                };
                let is_own = query.tenant.as_ref().is_none_or(|own| *own == entry.tenant);
                if is_own && passes(&query.types, &entry.kind) {
                    let body = self.store.kept(BODIES, number_key(number)).await?;
                    page.lines.push((entry, body));
                }
            }
            if some.len() < PAGE {
                return Ok(page);
            }
        }
    }

    /// The number behind a notification's id. # Errors: the store's.
    pub async fn feed_number(&self, id: &str) -> Result<Option<u64>, StoreError> {
        self.number_of(id).await
    }

    /// The latest attempts at an endpoint, newest first. # Errors: the store's.
    pub async fn attempts(&self, endpoint: &str) -> Result<Vec<Attempt>, StoreError> {
        let start = format!("{endpoint}/");
        let most = usize::try_from(ATTEMPTS_KEPT).unwrap_or(usize::MAX);
        let kept = self
            .store
            .kept_all(ATTEMPTS, Some(start.clone()), most)
            .await?;
        let own = kept.iter().filter(|(key, _)| key.starts_with(&start));
        let mut attempts: Vec<Attempt> = own
            .filter_map(|(key, bytes)| read(ATTEMPTS, key, bytes))
            .collect();
        attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.count));
        Ok(attempts)
    }
}
