//! The performer of the lane: makes notifications durable, in the feed and in the queue of whoever hears them.
//!
//! A look at the lane announces all that is due, in the order it was decided, in one commit; the task of each effect then
//! finds its own announced. So the order of one tenant's notifications is kept though tasks run side by side.
//!
//! A notification tells the tenant's present state. What decided it tells the tenant by a message of the same commit, so the
//! performer waits until the tenant has heard: a receiver would else read of a renewal beside the licence of before.
//!
//! Invariants: nothing is sent from here; one commit holds a notification's place in the feed and in every queue; numbers
//! rise in the order of commits, so a cursor passes over nothing.
//! Failure: a tenant that does not get on (its inputs fail) is waited for half a minute, then told of as it is.

use super::body::compose;
use super::records::{
    BODIES, FAILED, FEED, Failed, FeedEntry, LAST, LAST_KEY, NUMBERS, QUEUE, Queued, failed_key,
    notification_id, number_key, put, queue_key, read, sealed,
};
use super::{Notifications, catalogue};
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectId, Lane};
use bursar_domain::effect::{Effect, Notify};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::notification::rank;
use bursar_domain::rows::RowKind;
use bursar_domain::tenant::subject;
use bursar_store::api::{Administer, DueEffect, Keep};
use bursar_store::error::StoreError;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Due effects looked at together: more of them when all of the first wait for their tenants.
const LOOKED_AT: [usize; 2] = [32, 512];
/// Notifications of one commit.
const TOLD_MAX: u64 = 32;
/// Records of one commit, before the last notification's own; the store takes 1,024.
const KEEPS_MAX: usize = 800;
/// How long a tenant that has not heard yet is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether it has, at first; it doubles.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(200);

/// Performs `Lane::Notify`.
pub struct Announcer(pub Arc<Notifications>);

impl Performer for Announcer {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(async move {
            let Some(own) = Announcement::of(&effect) else {
                let note = format!("{} is no notification of this version", effect.kind);
                return Outcome::Failed { note };
            };
            match self.0.announce(&own).await {
                Ok(()) => Outcome::Done {
                    note: format!("told as {}", own.id),
                    result: None,
                },
                Err(error) => Outcome::Retry {
                    after: Some(error.retry_after()),
                    error: error.to_string(),
                    counts: false,
                    of_one: false,
                    told: None,
                },
            }
        })
    }
}

/// A notification to make durable.
#[derive(Clone)]
struct Announcement {
    id: String,
    decided_at: Timestamp,
    notify: Notify,
}

impl Announcement {
    fn of(effect: &DueEffect) -> Option<Self> {
        match Effect::from_payload(effect.payload.as_deref()?) {
            Ok(Effect::Notify(notify)) => {
                let id = notification_id(&EffectId(effect.id.0.clone()));
                Some(Self {
                    id,
                    decided_at: effect.decided_at,
                    notify,
                })
            }
            _ => None,
        }
    }
}

/// Deliveries of a commit, to be told to the lines after it.
type Queue = Vec<(String, TenantId, u64)>;

/// A commit that announces.
#[derive(Default)]
struct AnnouncedPage {
    /// The last number it gives out.
    number: u64,
    write: Administer,
    queue: Queue,
    has_own: bool,
}

impl Notifications {
    async fn announce(&self, own: &Announcement) -> Result<(), StoreError> {
        let began = self.clock.uptime();
        let mut wait = LOOK_AGAIN;
        loop {
            let is_patient = self.clock.uptime().saturating_sub(began) < PATIENCE;
            if self.announce_due(own, is_patient).await? {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// Announces what is due and whose tenants have heard; answers whether `own` is announced now.
    async fn announce_due(&self, own: &Announcement, is_patient: bool) -> Result<bool, StoreError> {
        let mut last = self.feed_end.lock().await;
        if self.number_of(&own.id).await?.is_some() {
            return Ok(true);
        }
        let first = match *last {
            Some(number) => number,
            None => self.last_number().await?,
        };
        // Whatever comes of it, the next look reads where the feed ends.
        *last = None;
        for most in LOOKED_AT {
            let (all, is_all) = self.due(own, most).await?;
            let mut page = self.page(all, own, is_patient, first).await?;
            if page.number > first {
                page.write
                    .keeps
                    .push(put(LAST, LAST_KEY.to_owned(), &page.number));
                if !self.store.administer(page.write).await? {
                    return Ok(false);
                }
                *last = Some(page.number);
                catalogue::told(usize::try_from(page.number - first).unwrap_or(0));
                self.queued(&page.queue, self.clock.now());
                return Ok(page.has_own);
            }
            if is_all {
                break;
            }
        }
        *last = Some(first);
        Ok(false)
    }

    /// What is due, in the order it is told, and whether that is all of it.
    async fn due(
        &self,
        own: &Announcement,
        most: usize,
    ) -> Result<(Vec<Announcement>, bool), StoreError> {
        let due = self
            .store
            .due_effects(Lane::Notify, self.clock.now(), most)
            .await?;
        let mut all: Vec<Announcement> = due.iter().filter_map(Announcement::of).collect();
        if !all.iter().any(|one| one.id == own.id) {
            // More is due than is looked at together: nobody else announces it.
            all.push(own.clone());
        }
        all.sort_by_key(|one| (one.decided_at, rank(&one.notify.kind)));
        Ok((all, due.len() < most))
    }

    /// The commit that announces those whose tenants have heard.
    async fn page(
        &self,
        all: Vec<Announcement>,
        own: &Announcement,
        is_patient: bool,
        first: u64,
    ) -> Result<AnnouncedPage, StoreError> {
        let now = self.clock.now();
        let mut page = AnnouncedPage {
            number: first,
            ..AnnouncedPage::default()
        };
        let mut behind: BTreeSet<TenantId> = BTreeSet::new();
        for one in all {
            let tenant = &one.notify.tenant;
            let is_full = page.number - first >= TOLD_MAX || page.write.keeps.len() >= KEEPS_MAX;
            if is_full || self.number_of(&one.id).await?.is_some() {
                continue;
            }
            let is_waited_for = is_patient || *tenant != own.notify.tenant;
            if is_waited_for && (behind.contains(tenant) || !self.has_heard(tenant).await?) {
                behind.insert(tenant.clone());
                continue;
            }
            page.number += 1;
            page.has_own |= one.id == own.id;
            let number = page.number;
            self.add(&one, number, now, &mut page.write, &mut page.queue)
                .await?;
        }
        Ok(page)
    }

    fn queued(&self, queue: &Queue, now: Timestamp) {
        if queue.is_empty() {
            return;
        }
        let mut lines = self.lines();
        for (endpoint, tenant, number) in queue {
            lines.queue(endpoint, tenant.as_str(), *number, now);
        }
        drop(lines);
        self.wake.notify_one();
    }

    /// Adds one to the commit.
    async fn add(
        &self,
        one: &Announcement,
        number: u64,
        now: Timestamp,
        write: &mut Administer,
        queue: &mut Queue,
    ) -> Result<(), StoreError> {
        let (id, tenant, kind) = (&one.id, &one.notify.tenant, &one.notify.kind);
        let state = self.tenant_now(tenant).await?;
        let entry = FeedEntry {
            id: id.clone(),
            kind: kind.clone(),
            tenant: tenant.clone(),
            at: now,
        };
        let body = Keep {
            space: BODIES,
            key: number_key(number),
            value: Some(compose(&one.notify, state, now)),
            subject: Some(subject(tenant)),
        };
        write.must_be_absent.push((NUMBERS, id.clone()));
        write.keeps.extend([
            put(NUMBERS, id.clone(), &number),
            put(FEED, number_key(number), &entry),
            sealed(body, subject(tenant)),
        ]);
        for endpoint in self.registry.hearing(kind, tenant) {
            write.keeps.push(if endpoint.disabled.is_some() {
                let reason = "the endpoint was disabled".to_owned();
                put(
                    FAILED,
                    failed_key(&endpoint.id, number),
                    &Failed { at: now, reason },
                )
            } else {
                queue.push((endpoint.id.clone(), tenant.clone(), number));
                put(
                    QUEUE,
                    queue_key(&endpoint.id, tenant.as_str(), number),
                    &Queued::new(now),
                )
            });
        }
        Ok(())
    }

    /// The tenant as the API shows it, and its version.
    async fn tenant_now(&self, tenant: &TenantId) -> Result<Option<(Value, u64)>, StoreError> {
        let (kind, id) = (RowKind::Tenant, tenant.as_str().to_owned());
        let row = self.store.row(kind, Scope::PLATFORM, id).await?;
        Ok(row.and_then(|row| {
            let shown = crate::http::reads::row_json(&row);
            Some((serde_json::from_str(&shown).ok()?, row.version))
        }))
    }

    /// Whether the tenant has applied all it was told.
    async fn has_heard(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let pending = self
            .store
            .pending(AggregateKey::Tenant(tenant.clone()), 1)
            .await?;
        Ok(pending.is_empty())
    }

    /// The number of a notification in the feed.
    pub(super) async fn number_of(&self, id: &str) -> Result<Option<u64>, StoreError> {
        let bytes = self.store.kept(NUMBERS, id.to_owned()).await?;
        Ok(bytes.and_then(|bytes| read(NUMBERS, id, &bytes)))
    }

    /// The last number that was given out.
    pub(super) async fn last_number(&self) -> Result<u64, StoreError> {
        let bytes = self.store.kept(LAST, LAST_KEY.to_owned()).await?;
        Ok(bytes
            .and_then(|bytes| read(LAST, LAST_KEY, &bytes))
            .unwrap_or(0))
    }
}
