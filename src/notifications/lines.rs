//! Which delivery is next: a line per endpoint, in it a stream per tenant, of which one delivery is under way at most.
//!
//! Invariants: within a stream deliveries go in order of their numbers, and the next begins when the one before is over; an
//! endpoint has few places, one while it fails, none while it is paused, so that a slow one holds up nobody but itself; only
//! the head of each stream is in memory.
//! Not here: what is delivered and how it ended (`deliver`). Pure but for `read`.

use super::records::{ATTEMPTS, Attempt, QUEUE, Queued, queue_parts, read};
use bursar_domain::ids::Timestamp;
use bursar_domain::notification::pause_ms;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use std::collections::{BTreeMap, BTreeSet};

/// Deliveries under way at all endpoints together.
const PLACES: usize = 64;
/// Deliveries under way at one endpoint, each for another tenant.
const PLACES_OF_ONE: usize = 4;
/// Failures in a row after which an endpoint has one place.
const FAILURES_TO_NARROW: u32 = 3;
/// Records of one read.
const PAGE: usize = 1_000;

/// A delivery to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) endpoint: String,
    pub(super) tenant: String,
    pub(super) number: u64,
}

/// What an attempt showed of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It takes.
    Works,
    /// It does not.
    Fails,
    /// It asks for less, and for a pause of so many ms if it says.
    IsSlow(Option<i64>),
    /// Nothing.
    Nothing,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_endpoint: BTreeMap<String, Line>,
    in_flight: usize,
    /// After whom the search goes on, so that none is always last.
    last_served: String,
    /// Deliveries that wait, queued ones and those under way.
    pub(super) pending: u64,
}

#[derive(Debug, Default)]
struct Line {
    streams: BTreeMap<String, Stream>,
    /// Streams nothing is under way of, by the time their head is due.
    waiting: BTreeSet<(Timestamp, String)>,
    in_flight: usize,
    paused_until: Timestamp,
    slow_in_a_row: u32,
    failures_in_a_row: u32,
    /// Attempts so far.
    attempts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    head: u64,
    due_at: Timestamp,
    is_under_way: bool,
    /// The least number queued while one was under way.
    came: Option<u64>,
}

impl Lines {
    /// What the store holds. # Errors: the store's.
    pub(super) async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut lines = Self::default();
        let mut cursor = None;
        loop {
            let page = store.kept_all(QUEUE, cursor, PAGE).await?;
            for (key, bytes) in &page {
                let queued: Option<Queued> = read(QUEUE, key, bytes);
                if let (Some((endpoint, tenant, number)), Some(queued)) = (queue_parts(key), queued)
                {
                    lines.queue(endpoint, tenant, number, queued.due_at);
                }
            }
            cursor = page.last().map(|(key, _)| key.clone());
            if page.len() < PAGE {
                break;
            }
        }
        let mut cursor = None;
        loop {
            let page = store.kept_all(ATTEMPTS, cursor, PAGE).await?;
            for (key, bytes) in &page {
                let attempt: Option<Attempt> = read(ATTEMPTS, key, bytes);
                if let (Some((endpoint, _)), Some(attempt)) = (key.split_once('/'), attempt) {
                    let line = lines.by_endpoint.entry(endpoint.to_owned()).or_default();
                    line.attempts = line.attempts.max(attempt.count + 1);
                }
            }
            cursor = page.last().map(|(key, _)| key.clone());
            if page.len() < PAGE {
                return Ok(lines);
            }
        }
    }

    /// Something was queued.
    pub(super) fn queue(&mut self, endpoint: &str, tenant: &str, number: u64, due_at: Timestamp) {
        self.pending += 1;
        self.requeue(endpoint, tenant, number, due_at);
    }

    /// Something that is queued already is due at another time.
    pub(super) fn requeue(&mut self, endpoint: &str, tenant: &str, number: u64, due_at: Timestamp) {
        let line = self.by_endpoint.entry(endpoint.to_owned()).or_default();
        match line.streams.get_mut(tenant) {
            Some(stream) if stream.is_under_way => {
                stream.came = Some(stream.came.map_or(number, |came| came.min(number)));
            }
            // It comes after the head, which is read on to it.
            Some(stream) if stream.head < number => {}
            found => {
                if let Some(stream) = found {
                    line.waiting.remove(&(stream.due_at, tenant.to_owned()));
                }
                line.waiting.insert((due_at, tenant.to_owned()));
                let stream = Stream {
                    head: number,
                    due_at,
                    is_under_way: false,
                    came: None,
                };
                line.streams.insert(tenant.to_owned(), stream);
            }
        }
    }

    /// The next delivery to make now, which is under way from here on.
    pub(super) fn next(&mut self, now: Timestamp, takes: impl Fn(&str) -> bool) -> Option<Job> {
        if self.in_flight >= PLACES {
            return None;
        }
        let from = self.last_served.clone();
        let after = self.by_endpoint.range::<String, _>((
            std::ops::Bound::Excluded(from.clone()),
            std::ops::Bound::Unbounded,
        ));
        let before = self.by_endpoint.range::<String, _>(..=from);
        let (endpoint, tenant) = after.chain(before).find_map(|(endpoint, line)| {
            let tenant = line.ready(now)?;
            takes(endpoint).then(|| (endpoint.clone(), tenant.to_owned()))
        })?;
        let line = self.by_endpoint.get_mut(&endpoint)?;
        let stream = line.streams.get_mut(&tenant)?;
        line.waiting.remove(&(stream.due_at, tenant.clone()));
        stream.is_under_way = true;
        line.in_flight += 1;
        self.in_flight += 1;
        self.last_served.clone_from(&endpoint);
        Some(Job {
            endpoint,
            tenant,
            number: stream.head,
        })
    }

    /// A delivery under way ended: the stream goes on with `next`, if there is one.
    pub(super) fn ended(
        &mut self,
        job: &Job,
        next: Option<(u64, Timestamp)>,
        is_over: bool,
        shown: Shown,
        now: Timestamp,
    ) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if is_over {
            self.pending = self.pending.saturating_sub(1);
        }
        let Some(line) = self.by_endpoint.get_mut(&job.endpoint) else {
            return;
        };
        line.in_flight = line.in_flight.saturating_sub(1);
        let came = line
            .streams
            .remove(&job.tenant)
            .and_then(|stream| stream.came);
        let came = came.map(|number| (number, now));
        let next = match (next, came) {
            (Some(next), Some(came)) if came.0 <= next.0 => Some(came),
            (next, came) => next.or(came),
        };
        if let Some((head, due_at)) = next {
            let stream = Stream {
                head,
                due_at,
                is_under_way: false,
                came: None,
            };
            line.streams.insert(job.tenant.clone(), stream);
            line.waiting.insert((due_at, job.tenant.clone()));
        }
        line.hear(shown, now);
    }

    /// Counts an attempt at an endpoint; answers its number.
    pub(super) fn count(&mut self, endpoint: &str) -> u64 {
        let line = self.by_endpoint.entry(endpoint.to_owned()).or_default();
        line.attempts += 1;
        line.attempts - 1
    }

    /// Everything that waits for the endpoint is due.
    pub(super) fn hurry(&mut self, endpoint: &str, now: Timestamp) {
        if let Some(line) = self.by_endpoint.get_mut(endpoint) {
            line.paused_until = now;
            line.hurry(now);
        }
    }

    /// So many that were queued are no more.
    pub(super) fn dropped(&mut self, count: usize) {
        self.pending = self.pending.saturating_sub(count as u64);
    }

    /// An endpoint is no more. What was under way there ends by itself.
    pub(super) fn forget(&mut self, endpoint: &str) {
        self.by_endpoint.remove(endpoint);
    }
}

impl Line {
    /// The tenant whose head is due, if there is a place.
    fn ready(&self, now: Timestamp) -> Option<&str> {
        let places = if self.failures_in_a_row >= FAILURES_TO_NARROW || self.slow_in_a_row > 0 {
            1
        } else {
            PLACES_OF_ONE
        };
        if self.in_flight >= places || self.paused_until > now {
            return None;
        }
        let (due_at, tenant) = self.waiting.first()?;
        (*due_at <= now).then_some(tenant.as_str())
    }

    fn hear(&mut self, shown: Shown, now: Timestamp) {
        match shown {
            Shown::Works => {
                // It is back: what waits for its next attempt waits no longer.
                if self.failures_in_a_row >= FAILURES_TO_NARROW {
                    self.hurry(now);
                }
                (self.failures_in_a_row, self.slow_in_a_row) = (0, 0);
            }
            Shown::Fails => self.failures_in_a_row = self.failures_in_a_row.saturating_add(1),
            Shown::IsSlow(asked_ms) => {
                self.slow_in_a_row = self.slow_in_a_row.saturating_add(1);
                self.paused_until = now.plus_ms(pause_ms(self.slow_in_a_row, asked_ms));
            }
            Shown::Nothing => {}
        }
    }

    fn hurry(&mut self, now: Timestamp) {
        let late: Vec<_> = self
            .waiting
            .iter()
            .filter(|(due_at, _)| *due_at > now)
            .cloned()
            .collect();
        for (due_at, tenant) in late {
            self.waiting.remove(&(due_at, tenant.clone()));
            if let Some(stream) = self.streams.get_mut(&tenant) {
                stream.due_at = now;
            }
            self.waiting.insert((now, tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn all(lines: &mut Lines, now: Timestamp) -> Vec<(String, u64)> {
        let mut jobs = Vec::new();
        while let Some(job) = lines.next(now, |_| true) {
            jobs.push((format!("{}/{}", job.endpoint, job.tenant), job.number));
        }
        jobs
    }

    fn job(endpoint: &str, tenant: &str, number: u64) -> Job {
        Job {
            endpoint: endpoint.into(),
            tenant: tenant.into(),
            number,
        }
    }

    #[test]
    fn of_one_tenant_one_is_under_way_and_the_next_begins_when_it_is_over() {
        let mut lines = Lines::default();
        for number in [1, 2, 5] {
            lines.queue("ne_a", "acme", number, NOW);
        }
        assert_eq!(all(&mut lines, NOW), [("ne_a/acme".into(), 1)]);
        lines.ended(
            &job("ne_a", "acme", 1),
            Some((2, NOW)),
            true,
            Shown::Works,
            NOW,
        );
        assert_eq!(all(&mut lines, NOW), [("ne_a/acme".into(), 2)]);
        assert_eq!(lines.pending, 2);
    }

    #[test]
    fn what_comes_while_one_is_under_way_is_not_lost() {
        let mut lines = Lines::default();
        lines.queue("ne_a", "acme", 3, NOW);
        assert_eq!(all(&mut lines, NOW).len(), 1);
        lines.queue("ne_a", "acme", 4, NOW);
        lines.queue("ne_a", "acme", 5, NOW);
        // Its end read the store before they were committed.
        lines.ended(&job("ne_a", "acme", 3), None, true, Shown::Works, NOW);
        assert_eq!(all(&mut lines, NOW), [("ne_a/acme".into(), 4)]);
        // An older one that somebody wants again goes before.
        lines.queue("ne_a", "acme", 2, NOW);
        lines.ended(
            &job("ne_a", "acme", 4),
            Some((5, NOW)),
            true,
            Shown::Works,
            NOW,
        );
        assert_eq!(all(&mut lines, NOW), [("ne_a/acme".into(), 2)]);
    }

    #[test]
    fn an_endpoint_has_four_places_one_while_it_fails_and_none_while_it_is_paused() {
        let mut lines = Lines::default();
        for tenant in ["a", "b", "c", "d", "e", "f"] {
            lines.queue("ne_a", tenant, 1, NOW);
        }
        lines.queue("ne_b", "a", 1, NOW);
        assert_eq!(all(&mut lines, NOW).len(), 5);
        let later = NOW.plus_ms(60_000);
        for tenant in ["a", "b", "c"] {
            lines.ended(
                &job("ne_a", tenant, 1),
                Some((1, later)),
                false,
                Shown::Fails,
                NOW,
            );
        }
        // One is still under way, and it is enough.
        assert_eq!(all(&mut lines, NOW), []);
        lines.ended(&job("ne_a", "d", 1), None, true, Shown::Works, NOW);
        // It is back: those that would have waited a minute go too.
        assert_eq!(all(&mut lines, NOW).len(), 4);
        lines.ended(
            &job("ne_a", "e", 1),
            None,
            true,
            Shown::IsSlow(Some(30_000)),
            NOW,
        );
        assert_eq!(all(&mut lines, NOW.plus_ms(29_999)), []);
    }

    #[test]
    fn a_hundred_dead_endpoints_do_not_keep_a_live_one_waiting() {
        let mut lines = Lines::default();
        for number in 0..100 {
            for tenant in 0..10 {
                lines.queue(&format!("ne_{number:03}"), &format!("t{tenant}"), 1, NOW);
            }
        }
        let begun = all(&mut lines, NOW);
        assert_eq!(begun.len(), PLACES);
        // One after the other gets its turn before any gets a second place.
        let first: BTreeSet<&str> = begun.iter().map(|(at, _)| &at[..6]).collect();
        assert_eq!(first.len(), PLACES);
    }
}
