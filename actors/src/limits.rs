//! Every bound of the actors in one place, with its reason.

use crate::retry::{RetryPolicy, RetryShape};
use bursar_domain::decision::Lane;
use std::time::Duration;

/// Bounds and periods. All have defaults that fit a two-core machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Webhooks being accepted at once.
    pub intake_items_max: usize,
    /// Bytes of their bodies together.
    pub intake_bytes_max: usize,
    /// Of the items: at most this share, in percent, for one connected account.
    pub intake_account_percent: usize,
    /// How long an accept may take before its sender is told to come back.
    pub accept_wait: Duration,
    /// Entity actors alive.
    pub entities_live_max: usize,
    /// Entity actors at work at once.
    pub entities_busy_max: usize,
    /// Of these: for one group (a customer, a connected account).
    pub group_busy_max: usize,
    /// Aggregates remembered as woken; what is beyond is found by the sweep.
    pub woken_max: usize,
    /// Idle time after which an entity actor is drained.
    pub entity_idle: Duration,
    /// Inputs one turn of an entity takes, at most the store's own bound.
    pub batch_max: usize,
    /// Reloads after a lost race before the turn ends.
    pub stale_retries_max: u32,
    /// Failures of one aggregate within `failure_window` that set it aside for long.
    pub failures_max: usize,
    /// See `failures_max`.
    pub failure_window: Duration,
    /// Wait after a failure of an entity actor.
    pub cooling: RetryPolicy,
    /// Wait of an aggregate set aside.
    pub quarantine: RetryPolicy,
    /// Wait after the store refused an entity.
    pub trouble: RetryPolicy,
    /// Distinct aggregates failing within `systemic_window` that mean a common cause.
    pub systemic_keys_max: usize,
    /// See `systemic_keys_max`.
    pub systemic_window: Duration,
    /// How long nothing is pulled then.
    pub systemic_pause: Duration,
    /// Due timers turned into inputs by one commit.
    pub timers_batch_max: usize,
    /// How often due timers and cooled aggregates are looked for.
    pub tick: Duration,
    /// How often the store is swept for ready aggregates and due effects.
    pub sweep_every: Duration,
    /// Keys of one page of a sweep.
    pub sweep_page: usize,
    /// Pages of one sweep; the next one goes on from there.
    pub sweep_pages_max: usize,
    /// Effects of one lane in the making at once.
    pub lane_tasks_max: usize,
    /// The same for orders somebody waits for.
    pub order_tasks_max: usize,
    /// Longest attempt at an effect.
    pub attempt_max: Duration,
    /// Waits between attempts at an effect.
    pub effect_retry: RetryPolicy,
    /// The same for orders to Stripe; their performer says when they end.
    pub order_retry: RetryPolicy,
    /// The same for mail.
    pub mail_retry: RetryPolicy,
    /// Requests an account may be sent; `None`: what Stripe allows in this mode.
    pub stripe_requests_per_second: Option<u32>,
    /// How often core actors are asked for a sign of life.
    pub beat_every: Duration,
    /// Silence after which a core actor is killed and restarted.
    pub silence_max: Duration,
    /// How often the store proves that it can write.
    pub probe_every: Duration,
    /// Age of the last proof after which the store counts as failing.
    pub probe_age_max: Duration,
    /// How long no accepted webhook at all is worth a warning.
    pub intake_silence: Duration,
    /// How often events nobody brought are looked for; `None`: only when asked.
    pub reconcile_every: Option<Duration>,
    /// How soon after the start they are looked for first.
    pub reconcile_first: Duration,
    /// How often objects are compared.
    pub reconcile_objects_every: Duration,
    /// How far back the first look goes: as far as Stripe lists events.
    pub reconcile_window: Duration,
    /// How far looks overlap.
    pub reconcile_overlap: Duration,
    /// Pages of one run by itself; the next one goes on.
    pub reconcile_pages_max: usize,
    /// Pages of one run somebody asked for.
    pub reconcile_pages_asked_max: usize,
    /// Waits between tries at one page.
    pub reconcile_retry: RetryPolicy,
    /// Starts in a row that ended early before inputs are taken one by one.
    pub boot_suspicion: u32,
    /// Starts an input may be in hand at the crash before it is set aside.
    pub boot_strikes: u32,
    /// A start counts as good after this long.
    pub boot_settled: Duration,
}

fn policy(delay_ms: u64, delay_max_s: u64, attempts_max: u32) -> RetryPolicy {
    RetryPolicy::new(RetryShape {
        delay: Duration::from_millis(delay_ms),
        factor: 2,
        delay_max: Duration::from_secs(delay_max_s),
        attempts_max,
        jitter_percent: 20,
    })
    .expect("the built-in shapes are in range")
}

impl Limits {
    /// Effects of a lane in the making at once.
    pub const fn tasks_of(&self, lane: Lane) -> usize {
        match lane {
            Lane::Stripe => self.order_tasks_max,
            _ => self.lane_tasks_max,
        }
    }
    /// So many in the making that the end of one is no reason to look for more.
    pub const fn tasks_enough(&self, lane: Lane) -> usize {
        match lane {
            // What works on this machine alone gains nothing from a full house.
            Lane::Notify => self.tasks_of(lane) / 2,
            _ => self.tasks_of(lane) * 3 / 4,
        }
    }
    /// Waits between attempts at an effect of this lane.
    pub fn retry_of(&self, lane: Lane) -> &RetryPolicy {
        match lane {
            Lane::Stripe | Lane::StripeRefund => &self.order_retry,
            Lane::Mail => &self.mail_retry,
            _ => &self.effect_retry,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // As many as the committer's queue takes: beyond it, waiting helps nobody.
            intake_items_max: 1_024,
            intake_bytes_max: 64 << 20,
            intake_account_percent: 25,
            accept_wait: Duration::from_secs(2),
            // About 8 KB each.
            entities_live_max: 10_000,
            // Enough to fill a group commit, few enough to keep a burst fair.
            entities_busy_max: 256,
            group_busy_max: 32,
            woken_max: 100_000,
            entity_idle: Duration::from_secs(15),
            batch_max: bursar_store::api::APPLY_STEPS_MAX,
            stale_retries_max: 4,
            failures_max: 5,
            failure_window: Duration::from_secs(60),
            cooling: policy(1_000, 30, u32::MAX),
            quarantine: policy(60_000, 600, u32::MAX),
            trouble: policy(100, 5, u32::MAX),
            systemic_keys_max: 50,
            systemic_window: Duration::from_secs(10),
            systemic_pause: Duration::from_secs(5),
            timers_batch_max: 256,
            tick: Duration::from_millis(250),
            sweep_every: Duration::from_secs(5),
            sweep_page: 1_000,
            sweep_pages_max: 20,
            lane_tasks_max: 8,
            // At 300 ms an order this is what Stripe allows a live account.
            order_tasks_max: 32,
            attempt_max: Duration::from_secs(60),
            // 2 s doubling to 10 min: the 20 attempts of an effect span about two hours.
            effect_retry: policy(2_000, 600, 20),
            // Somebody waits, and Stripe forgets keys after a day: often, and never given up by count.
            order_retry: policy(500, 30, u32::MAX),
            // 2 s doubling to 30 min: 60 attempts span a day, so that a mail server may be away for one.
            mail_retry: policy(2_000, 1_800, 60),
            stripe_requests_per_second: None,
            beat_every: Duration::from_secs(1),
            silence_max: Duration::from_secs(30),
            probe_every: Duration::from_secs(10),
            probe_age_max: Duration::from_secs(30),
            intake_silence: Duration::from_secs(24 * 3_600),
            reconcile_every: None,
            reconcile_first: Duration::from_secs(60),
            reconcile_objects_every: Duration::from_secs(86_400),
            reconcile_window: Duration::from_secs(30 * 86_400),
            reconcile_overlap: Duration::from_secs(3_600),
            // 5,000 events in a quarter of an hour that nobody brought.
            reconcile_pages_max: 50,
            // 100,000 objects; a store is filled by asking again.
            reconcile_pages_asked_max: 1_000,
            reconcile_retry: policy(500, 5, 4),
            boot_suspicion: 3,
            boot_strikes: 3,
            boot_settled: Duration::from_secs(10),
        }
    }
}
