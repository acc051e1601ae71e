//! Deliveries made again because somebody asks: one, or those that were given up.
//!
//! Invariants: what is asked again keeps its number, so it goes before later ones of its tenant; nothing is queued for an
//! endpoint that never heard of it.

use super::Notifications;
use super::records::{
    Endpoint, FAILED, FEED, Failed, FeedEntry, QUEUE, Queued, failed_key, gone, number_key, put,
    queue_key, read,
};
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::notification::passes;
use bursar_store::api::{Administer, AuditEntry};
use bursar_store::error::StoreError;

/// Deliveries asked again by one order.
pub const RETRIED_MAX: usize = 1_000;
/// Records of one read.
const PAGE: usize = 200;
/// Deliveries queued by one commit.
const COMMIT: usize = 100;

/// Which of those that were given up.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Types and groups; none: all.
    pub types: Vec<String>,
    /// One tenant's.
    pub tenant: Option<TenantId>,
    /// Told from then on.
    pub after: Option<Timestamp>,
    /// Told before then.
    pub before: Option<Timestamp>,
}

/// What became of an order to try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// How many are queued again.
    pub retried: usize,
    /// There are more.
    pub has_more: bool,
}

impl Notifications {
    /// Queues one again, or makes it due; `None`: the endpoint does not know it. # Errors: the store's.
    pub async fn retry_one(
        &self,
        endpoint: &Endpoint,
        notification: &str,
        audit: AuditEntry,
    ) -> Result<Option<FeedEntry>, StoreError> {
        let Some(number) = self.number_of(notification).await? else {
            return Ok(None);
        };
        let entry = self.entry(number).await?;
        let Some(entry) = entry.filter(|entry| endpoint.hears(&entry.kind, &entry.tenant)) else {
            return Ok(None);
        };
        self.queue_again(endpoint, &[(number, entry.tenant.clone())], vec![audit])
            .await?;
        Ok(Some(entry))
    }

    /// Queues again what was given up. # Errors: the store's.
    pub async fn retry_given_up(
        &self,
        endpoint: &Endpoint,
        given: &Given,
        audit: AuditEntry,
    ) -> Result<Retried, StoreError> {
        let mut found = Vec::new();
        let mut cursor = format!("{}/", endpoint.id);
        let mut has_more = false;
        'all: loop {
            let page = self
                .store
                .kept_all(FAILED, Some(cursor.clone()), PAGE)
                .await?;
            for (key, bytes) in &page {
                let Some((of, number)) = key.split_once('/') else {
                    continue;
                };
                if of != endpoint.id {
                    break 'all;
                }
                let number: u64 = number.parse().unwrap_or(0);
                let known = read::<Failed>(FAILED, key, bytes).is_some();
                let Some(entry) = self.entry(number).await?.filter(|_| known) else {
                    continue;
                };
                if !given.fits(&entry) {
                    continue;
                }
                if found.len() >= RETRIED_MAX {
                    has_more = true;
                    break 'all;
                }
                found.push((number, entry.tenant));
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => cursor.clone_from(key),
                _ => break,
            }
        }
        let mut audit = vec![audit];
        for some in found.chunks(COMMIT) {
            self.queue_again(endpoint, some, std::mem::take(&mut audit))
                .await?;
        }
        Ok(Retried {
            retried: found.len(),
            has_more,
        })
    }

    async fn queue_again(
        &self,
        endpoint: &Endpoint,
        some: &[(u64, TenantId)],
        audit: Vec<AuditEntry>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut write = Administer {
            audit,
            ..Administer::default()
        };
        let mut fresh = Vec::new();
        for (number, tenant) in some {
            let key = queue_key(&endpoint.id, tenant.as_str(), *number);
            fresh.push(self.store.kept(QUEUE, key.clone()).await?.is_none());
            write.keeps.push(put(QUEUE, key, &Queued::new(now)));
            write
                .keeps
                .push(gone(FAILED, failed_key(&endpoint.id, *number)));
        }
        self.store.administer(write).await?;
        let mut lines = self.lines();
        for ((number, tenant), is_fresh) in some.iter().zip(fresh) {
            if is_fresh {
                lines.queue(&endpoint.id, tenant.as_str(), *number, now);
            } else {
                lines.requeue(&endpoint.id, tenant.as_str(), *number, now);
            }
        }
        drop(lines);
        self.wake.notify_one();
        Ok(())
    }

    /// A line of the feed. # Errors: the store's.
    pub(super) async fn entry(&self, number: u64) -> Result<Option<FeedEntry>, StoreError> {
        let key = number_key(number);
        let bytes = self.store.kept(FEED, key.clone()).await?;
        Ok(bytes.and_then(|bytes| read(FEED, &key, &bytes)))
    }

    /// Everything that waits for an endpoint is due now: it was enabled again.
    pub fn hurry(&self, endpoint: &str) {
        self.lines().hurry(endpoint, self.clock.now());
        self.wake.notify_one();
    }
}

impl Given {
    fn fits(&self, entry: &FeedEntry) -> bool {
        passes(&self.types, &entry.kind)
            && self.tenant.as_ref().is_none_or(|own| *own == entry.tenant)
            && self.after.is_none_or(|after| entry.at >= after)
            && self.before.is_none_or(|before| entry.at < before)
    }
}
