//! Sends what is queued: takes the next deliveries from the lines, makes each attempt in a task of its own.
//!
//! Invariants: an attempt reads everything anew (the endpoint, its secrets, the body), so what was changed or erased
//! meanwhile holds; its end is committed before the stream goes on.
//! Failure: the store away: the attempt counts for nothing and is made again.

use super::attempt::{Message, Sent};
use super::lines::{Job, Shown};
use super::records::{
    BODIES, Endpoint, FEED, FeedEntry, QUEUE, Queued, number_key, queue_key, queue_parts, read,
};
use super::{Notifications, catalogue, sign};
use crate::http::server::drained;
use bursar_domain::ids::Timestamp;
use bursar_domain::notification::says_slow;
use bursar_store::error::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often due deliveries are looked for when nobody says that there are any.
const TICK: Duration = Duration::from_millis(250);
/// How often what is too old is swept away, in ticks; and the gauges are set.
const SWEEP_TICKS: u64 = 4 * 3_600;
const GAUGE_TICKS: u64 = 20;
/// How long what is under way may take when the process stops.
const DRAIN: Duration = Duration::from_secs(2);
/// Wait after the store could not be read or written.
const TROUBLE_MS: i64 = 5_000;

/// What a delivery is made of.
pub(super) struct Parcel {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) entry: FeedEntry,
    pub(super) queued: Queued,
    pub(super) body: Vec<u8>,
}

/// What is found when a delivery's turn comes.
enum Found {
    Parcel(Box<Parcel>),
    /// The endpoint takes nothing now; it stays queued.
    Held,
    /// It is not queued any more.
    Nothing,
    /// There is nothing left to send.
    Lost(&'static str),
}

impl Notifications {
    /// Delivers until the process stops.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        let mut ticked: u64 = 0;
        loop {
            tokio::select! {
                biased;
                () = drained(&mut stop) => break,
                _ = ticks.tick() => {
                    ticked += 1;
                    self.publish(ticked);
                    if ticked % SWEEP_TICKS == 1 {
                        let own = Arc::clone(&self);
                        tasks.spawn(async move { own.sweep().await });
                    }
                }
                () = self.wake.notified() => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
            while let Some(job) = self.next() {
                let own = Arc::clone(&self);
                tasks.spawn(async move { own.deliver(job).await });
            }
        }
        let ending = async { while tasks.join_next().await.is_some() {} };
        // What does not end in time is sent again after the next start, under the same id.
        drop(tokio::time::timeout(DRAIN, ending).await);
    }

    fn publish(&self, ticked: u64) {
        if ticked % GAUGE_TICKS == 1 {
            let (enabled, disabled) = self.registry.counts();
            let pending = self.lines().pending;
            catalogue::standing(pending, enabled, disabled);
            catalogue::failing_since(self.registry.failing_since());
        }
    }

    fn next(&self) -> Option<Job> {
        let takes = |id: &str| {
            self.registry
                .get(id)
                .is_some_and(|one| one.disabled.is_none())
        };
        self.lines().next(self.clock.now(), takes)
    }

    /// One delivery, and what the stream goes on with.
    async fn deliver(&self, job: Job) {
        let (next, is_over, shown) = match self.attempt(&job).await {
            Ok(end) => end,
            Err(error) => {
                let retry_at = self.clock.now().plus_ms(TROUBLE_MS);
                tracing::warn!(endpoint.id = job.endpoint, %error, "a delivery could not be made or written down");
                (Some((job.number, retry_at)), false, Shown::Nothing)
            }
        };
        self.lines()
            .ended(&job, next, is_over, shown, self.clock.now());
        self.wake.notify_one();
    }

    async fn attempt(
        &self,
        job: &Job,
    ) -> Result<(Option<(u64, Timestamp)>, bool, Shown), StoreError> {
        let (due_at, shown, is_over) = match self.find(job).await? {
            Found::Parcel(parcel) => {
                let sent = self.send(&parcel).await?;
                let shown = shown_by(&sent);
                let due_at = self.conclude(job, *parcel, sent).await?;
                (due_at, shown, due_at.is_none())
            }
            Found::Held => (Some(self.clock.now()), Shown::Nothing, false),
            Found::Nothing => (None, Shown::Nothing, true),
            Found::Lost(why) => {
                self.give_up(job, why).await?;
                (None, Shown::Nothing, true)
            }
        };
        let next = match due_at {
            Some(due_at) => Some((job.number, due_at)),
            None => self.after(job).await?,
        };
        Ok((next, is_over, shown))
    }

    async fn find(&self, job: &Job) -> Result<Found, StoreError> {
        let Some(endpoint) = self.registry.get(&job.endpoint) else {
            return Ok(Found::Nothing);
        };
        if endpoint.disabled.is_some() {
            return Ok(Found::Held);
        }
        let (key, number) = (
            queue_key(&job.endpoint, &job.tenant, job.number),
            number_key(job.number),
        );
        let queued = self.store.kept(QUEUE, key.clone()).await?;
        let Some(mut queued) = queued.and_then(|bytes| read::<Queued>(QUEUE, &key, &bytes)) else {
            return Ok(Found::Nothing);
        };
        if queued.touched_at < endpoint.enabled_at {
            queued.attempts = 0;
        }
        let entry = self.store.kept(FEED, number.clone()).await?;
        let Some(entry) = entry.and_then(|bytes| read(FEED, &number, &bytes)) else {
            return Ok(Found::Lost("the feed does not hold it any more"));
        };
        let Some(body) = self.store.kept(BODIES, number).await? else {
            return Ok(Found::Lost("its personal data was erased"));
        };
        Ok(Found::Parcel(Box::new(Parcel {
            endpoint,
            entry,
            queued,
            body,
        })))
    }

    async fn send(&self, parcel: &Parcel) -> Result<Sent, StoreError> {
        let (endpoint, entry) = (&parcel.endpoint, &parcel.entry);
        self.post(endpoint, &entry.id, parcel.body.clone()).await
    }

    /// Signs and sends.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        id: &str,
        body: Vec<u8>,
    ) -> Result<Sent, StoreError> {
        let Some(secrets) = self.registry.secrets(&endpoint.id).await? else {
            let error = Some("not sent: the endpoint has no secret".to_owned());
            return Ok(Sent {
                error,
                ..Sent::default()
            });
        };
        let timestamp_seconds = self.clock.outside().seconds();
        let signature =
            sign::signature(&secrets.at(self.clock.now()), id, timestamp_seconds, &body);
        let message = Message {
            url: &endpoint.url,
            id,
            timestamp_seconds,
            signature,
            body,
        };
        Ok(self.sender.send(message).await)
    }

    /// The stream's next delivery.
    async fn after(&self, job: &Job) -> Result<Option<(u64, Timestamp)>, StoreError> {
        let key = queue_key(&job.endpoint, &job.tenant, job.number);
        let next = self.store.kept_all(QUEUE, Some(key), 1).await?;
        Ok(next.first().and_then(|(key, bytes)| {
            let (endpoint, tenant, number) = queue_parts(key)?;
            let is_same = endpoint == job.endpoint && tenant == job.tenant;
            let queued: Queued = read(QUEUE, key, bytes).filter(|_| is_same)?;
            Some((number, queued.due_at))
        }))
    }
}

fn shown_by(sent: &Sent) -> Shown {
    match sent.status {
        _ if sent.is_success() => Shown::Works,
        Some(status) if says_slow(status) => Shown::IsSlow(sent.retry_after_ms),
        _ => Shown::Fails,
    }
}
