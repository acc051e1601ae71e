//! What is too old goes: the feed past 30 days or 100,000 lines, and what hangs on it.
//!
//! Invariants: oldest first, in small commits, so many a run at most; what is queued or given up of a line that went is
//! dropped when it is met.

use super::Notifications;
use super::records::{
    BODIES, FAILED, FEED, FeedEntry, NUMBERS, QUEUE, gone, number_key, queue_parts, read, sealed,
};
use bursar_domain::tenant::subject;
use bursar_store::api::{Administer, Keep};
use bursar_store::error::StoreError;

/// Age of the oldest line.
const AGE_MS_MAX: i64 = 30 * 86_400_000;
/// Lines of the feed.
const LINES_MAX: u64 = 100_000;
/// Records of one read and commit.
const PAGE: usize = 200;
/// Pages of one run.
const PAGES_MAX: usize = 500;

impl Notifications {
    /// One run.
    pub(super) async fn sweep(&self) {
        let swept = async {
            self.sweep_feed(LINES_MAX).await?;
            self.sweep_by_endpoint(QUEUE).await?;
            self.sweep_by_endpoint(FAILED).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "old notifications could not be swept away");
        }
    }

    async fn sweep_feed(&self, lines_max: u64) -> Result<(), StoreError> {
        let now = self.clock.now();
        let keep_from = self.last_number().await?.saturating_sub(lines_max);
        for _ in 0..PAGES_MAX {
            let page = self.store.kept_all(FEED, None, PAGE).await?;
            let mut keeps: Vec<Keep> = Vec::new();
            for (key, bytes) in &page {
                let number: u64 = key.parse().unwrap_or(0);
                let Some(entry) = read::<FeedEntry>(FEED, key, bytes) else {
                    continue;
                };
                if number > keep_from && now.0.saturating_sub(entry.at.0) <= AGE_MS_MAX {
                    break;
                }
                let body = gone(BODIES, number_key(number));
                keeps.extend([
                    gone(FEED, key.clone()),
                    gone(NUMBERS, entry.id.clone()),
                    sealed(body, subject(&entry.tenant)),
                ]);
            }
            let is_last = keeps.len() < 3 * PAGE;
            self.remove(keeps).await?;
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Drops what belongs to endpoints that are no more, or was given up and is out of the feed.
    async fn sweep_by_endpoint(&self, space: &'static str) -> Result<(), StoreError> {
        let oldest = self.store.kept_all(FEED, None, 1).await?;
        let oldest: u64 = oldest
            .first()
            .and_then(|(key, _)| key.parse().ok())
            .unwrap_or(0);
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page = self.store.kept_all(space, cursor, PAGE).await?;
            let mut keeps = Vec::new();
            for (key, _) in &page {
                let endpoint = key.split('/').next().unwrap_or_default();
                let number = match queue_parts(key) {
                    Some(_) => u64::MAX,
                    None => key
                        .rsplit('/')
                        .next()
                        .and_then(|part| part.parse().ok())
                        .unwrap_or(0),
                };
                if self.registry.get(endpoint).is_none() || number < oldest {
                    keeps.push(gone(space, key.clone()));
                }
            }
            cursor = page.last().map(|(key, _)| key.clone());
            self.remove(keeps).await?;
            if page.len() < PAGE {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Forgets what waits for an endpoint that was removed. # Errors: the store's.
    pub async fn forget(&self, endpoint: &str) -> Result<(), StoreError> {
        self.lines().forget(endpoint);
        for space in [QUEUE, FAILED] {
            let start = format!("{endpoint}/");
            for _ in 0..PAGES_MAX {
                let page = self
                    .store
                    .kept_all(space, Some(start.clone()), PAGE)
                    .await?;
                let own = page.iter().filter(|(key, _)| key.starts_with(&start));
                let keeps: Vec<Keep> = own.map(|(key, _)| gone(space, key.clone())).collect();
                let removed = keeps.len();
                self.remove(keeps).await?;
                if space == QUEUE {
                    self.lines().dropped(removed);
                }
                if removed < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn remove(&self, keeps: Vec<Keep>) -> Result<(), StoreError> {
        if keeps.is_empty() {
            return Ok(());
        }
        let write = Administer {
            keeps,
            ..Administer::default()
        };
        self.store.administer(write).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::FeedQuery;
    use super::super::records::{LAST, LAST_KEY, put};
    use super::*;
    use bursar_actors::clock::{Clock, SystemClock};
    use bursar_domain::ids::TenantId;
    use bursar_store::MemStore;
    use std::sync::Arc;

    /// A feed of so many lines of one tenant, all from now.
    async fn feed_of(lines: u64) -> Arc<Notifications> {
        let store = MemStore::new().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let outbound = bursar_config::Outbound {
            endpoint: None,
            allow_private: false,
        };
        let opened = Notifications::open(Arc::clone(&store), Arc::clone(&clock), &outbound);
        let notifications = opened.await.unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let mut keeps = vec![put(LAST, LAST_KEY.to_owned(), &lines)];
        for number in 1..=lines {
            let entry = FeedEntry {
                id: format!("ntf_{number}"),
                kind: "tenant.created".to_owned(),
                tenant: tenant.clone(),
                at: clock.now(),
            };
            keeps.push(put(FEED, number_key(number), &entry));
            keeps.push(put(NUMBERS, entry.id.clone(), &number));
            let body = put(BODIES, number_key(number), &"{}");
            keeps.push(sealed(body, subject(&tenant)));
        }
        for part in keeps.chunks(1_000) {
            notifications.remove(part.to_vec()).await.unwrap();
        }
        notifications
    }

    #[tokio::test]
    async fn of_a_feed_beyond_its_bound_the_oldest_go_with_all_that_hangs_on_them() {
        // Several commits of a page each.
        let (lines, most) = (1_000_u64, 300_u64);
        let notifications = feed_of(lines).await;
        notifications.sweep_feed(most).await.unwrap();
        for space in [FEED, BODIES, NUMBERS] {
            let left = notifications.store.kept_all(space, None, 2_000).await;
            let left = left.unwrap();
            assert_eq!(left.len() as u64, most, "{space}");
        }
        let query = |after| FeedQuery {
            after,
            limit: 1,
            ..FeedQuery::default()
        };
        let page = notifications.feed(&query(5)).await.unwrap();
        assert_eq!(page.last, lines - most + 1, "the oldest that is left");
        assert!(page.has_gap, "whoever stood before it is told");
        let page = notifications.feed(&query(lines - most)).await.unwrap();
        assert!(!page.has_gap);
        assert_eq!(notifications.feed_number("ntf_1").await.unwrap(), None);
        // Within its bound nothing goes, and the bound that ships is the documented one.
        notifications.sweep_feed(LINES_MAX).await.unwrap();
        let left = notifications
            .store
            .kept_all(FEED, None, 2_000)
            .await
            .unwrap();
        assert_eq!((left.len() as u64, LINES_MAX), (most, 100_000));
        println!("feed lines={lines} bound={most} left={}", left.len());
    }
}
