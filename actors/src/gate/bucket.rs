//! One account's allowance of requests: a token bucket that keeps shares back and learns from refusals.
//!
//! Invariants: whole numbers only; the bucket holds at most one second of the present rate; a full bucket serves every
//! lane, so nobody starves at the lowest rate.
//! Not here: which refusal is a limiter's word (`far_side`).
//! Source: Stripe's rate limits, 100 requests a second in live mode, 25 in a sandbox, per account.

use super::spacing::Spacing;
use bursar_domain::decision::Lane;
use std::time::Duration;

/// Units of one token: a rate in thousandths of a token a second, times microseconds.
const TOKEN: u64 = 1_000_000_000;
/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;
/// One request a second, in thousandths: what no refusal cuts further.
const RATE_MIN_MILLI: u64 = 1_000;
/// Steps from nothing to the full rate, one a second.
const CLIMB_STEPS: u64 = 20;

/// Percent of the bucket a lane leaves to those before it.
const fn kept_percent(lane: Lane) -> u64 {
    match lane {
        Lane::Stripe => 0,
        Lane::StripeRefund => 10,
        Lane::StripeRead => 30,
        _ => 60,
    }
}

/// The place of a lane's waits.
const fn place(lane: Lane) -> usize {
    match lane {
        Lane::Stripe => 0,
        Lane::StripeRefund => 1,
        Lane::StripeRead => 2,
        _ => 3,
    }
}

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    full_milli: u64,
    rate_milli: u64,
    units: u64,
    at_us: u64,
    climbs_us: u64,
    cut_us: Option<u64>,
    waits: [Spacing; 4],
}

fn micros(at: Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}

impl Bucket {
    /// A full bucket of so many requests a second.
    pub(super) fn new(per_second: u32, now: Duration) -> Self {
        let full_milli = u64::from(per_second.max(1)) * 1_000;
        Self {
            full_milli,
            rate_milli: full_milli,
            units: full_milli * SECOND_US,
            at_us: micros(now),
            climbs_us: 0,
            cut_us: None,
            waits: Default::default(),
        }
    }

    fn capacity(&self) -> u64 {
        self.rate_milli * SECOND_US
    }

    /// Units that must be there before this lane may take a token.
    fn needed(&self, lane: Lane) -> u64 {
        let kept = self.capacity() / 100 * kept_percent(lane);
        (kept + TOKEN).min(self.capacity())
    }

    fn flow_until(&mut self, at_us: u64) {
        let flowed = at_us
            .saturating_sub(self.at_us)
            .saturating_mul(self.rate_milli);
        self.units = self.units.saturating_add(flowed).min(self.capacity());
        self.at_us = self.at_us.max(at_us);
    }

    fn advance(&mut self, now: Duration) {
        let now_us = micros(now);
        while self.rate_milli < self.full_milli && self.climbs_us <= now_us {
            self.flow_until(self.climbs_us);
            let climbed = self.rate_milli + (self.full_milli / CLIMB_STEPS).max(1);
            self.rate_milli = climbed.min(self.full_milli);
            self.climbs_us = self.climbs_us.saturating_add(SECOND_US);
        }
        self.flow_until(now_us);
    }

    /// Whether a token is there for this lane; takes nothing.
    pub(super) fn has(&mut self, lane: Lane, now: Duration) -> bool {
        self.advance(now);
        self.units >= self.needed(lane)
    }

    /// Takes a token that is there.
    pub(super) fn take(&mut self) {
        self.units = self.units.saturating_sub(TOKEN);
    }

    /// How long one of this lane waits for a token; each gets a time of its own.
    pub(super) fn wait(&mut self, lane: Lane, now: Duration) -> Duration {
        self.advance(now);
        let missing = self.needed(lane).saturating_sub(self.units);
        let missing_us = missing.div_ceil(self.rate_milli);
        let step = Duration::from_micros(TOKEN.div_ceil(self.rate_milli));
        let earliest = now.saturating_add(Duration::from_micros(missing_us));
        self.waits[place(lane)].wait(now, earliest, step)
    }

    /// The account's limiter refused: half the rate, once a second.
    pub(super) fn limited(&mut self, now: Duration) {
        self.advance(now);
        let now_us = micros(now);
        self.climbs_us = now_us.saturating_add(SECOND_US);
        let is_again = self
            .cut_us
            .is_some_and(|at| now_us.saturating_sub(at) < SECOND_US);
        if is_again {
            return;
        }
        self.cut_us = Some(now_us);
        self.rate_milli = (self.rate_milli / 2).max(RATE_MIN_MILLI);
        self.units = self.units.min(self.capacity());
    }

    /// Whole tokens this lane may take now.
    pub(super) fn left(&mut self, lane: Lane, now: Duration) -> u64 {
        self.advance(now);
        if self.units < self.needed(lane) {
            return 0;
        }
        (self.units - self.needed(lane)) / TOKEN + 1
    }

    /// Nothing was taken lately and nothing was learned: forgetting it changes nothing.
    pub(super) fn is_idle(&mut self, now: Duration) -> bool {
        self.advance(now);
        self.rate_milli == self.full_milli && self.units == self.capacity()
    }

    #[cfg(test)]
    pub(super) fn rate_milli(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.rate_milli
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANES: [Lane; 4] = [
        Lane::Stripe,
        Lane::StripeRefund,
        Lane::StripeRead,
        Lane::StripeBackground,
    ];

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn drawn(bucket: &mut Bucket, lane: Lane, now: Duration) -> u64 {
        let mut taken = 0;
        while taken < 1_000 && bucket.has(lane, now) {
            bucket.take();
            taken += 1;
        }
        taken
    }

    #[test]
    fn each_lane_leaves_its_share_to_those_before_it() {
        for (lane, expected) in LANES.into_iter().zip([100, 90, 70, 40]) {
            let mut bucket = Bucket::new(100, ms(0));
            assert_eq!(bucket.left(lane, ms(0)), expected, "{lane:?}");
            assert_eq!(drawn(&mut bucket, lane, ms(0)), expected, "{lane:?}");
            assert_eq!(
                drawn(&mut bucket, Lane::Stripe, ms(0)),
                100 - expected,
                "{lane:?}"
            );
        }
    }

    #[test]
    fn tokens_come_back_at_the_rate_and_never_more_than_a_second_of_it() {
        let mut bucket = Bucket::new(25, ms(0));
        assert_eq!(drawn(&mut bucket, Lane::Stripe, ms(0)), 25);
        assert_eq!(drawn(&mut bucket, Lane::Stripe, ms(39)), 0);
        assert_eq!(drawn(&mut bucket, Lane::Stripe, ms(40)), 1);
        assert_eq!(drawn(&mut bucket, Lane::Stripe, ms(540)), 12);
        assert_eq!(drawn(&mut bucket, Lane::Stripe, ms(60_000)), 25);
    }

    #[test]
    fn refusals_halve_the_rate_once_a_second_and_it_climbs_back_in_twenty_steps() {
        let mut bucket = Bucket::new(100, ms(0));
        for _ in 0..10 {
            bucket.limited(ms(0));
        }
        assert_eq!(bucket.rate_milli(ms(0)), 50_000);
        assert_eq!(bucket.rate_milli(ms(999)), 50_000);
        assert_eq!(bucket.rate_milli(ms(1_000)), 55_000);
        assert_eq!(bucket.rate_milli(ms(9_999)), 95_000);
        assert_eq!(bucket.rate_milli(ms(10_000)), 100_000);
        for n in 0..60 {
            bucket.limited(ms(20_000 + n * 1_000));
        }
        // Each second it climbs a step before it is cut again: it settles near a step, far below the full rate.
        assert!(bucket.rate_milli(ms(79_500)) <= 5_000);
        for n in 0..200 {
            bucket.limited(ms(80_000 + n * 999));
        }
        assert!(bucket.rate_milli(ms(80_000 + 199 * 999)) >= 1_000);
    }

    #[test]
    fn at_the_lowest_rate_every_lane_still_gets_its_turn() {
        for lane in LANES {
            let mut bucket = Bucket::new(1, ms(0));
            assert!(bucket.has(lane, ms(0)), "{lane:?}");
            bucket.take();
            assert!(!bucket.has(lane, ms(900)), "{lane:?}");
            assert_eq!(bucket.wait(lane, ms(900)), ms(100), "{lane:?}");
            assert!(bucket.has(lane, ms(1_000)), "{lane:?}");
        }
    }

    #[test]
    fn those_who_wait_get_times_of_their_own() {
        let mut bucket = Bucket::new(25, ms(0));
        drawn(&mut bucket, Lane::Stripe, ms(0));
        let waits: Vec<_> = (0..4)
            .map(|_| bucket.wait(Lane::Stripe, ms(0)).as_millis())
            .collect();
        assert_eq!(waits, [40, 80, 120, 160]);
    }

    proptest! {
        /// Whatever is asked when: no second and a bit sees more than the bucket and what flows in.
        #[test]
        fn no_window_sees_more_than_the_burst_and_the_rate(
            asked in prop::collection::vec((0_u64..200, 0_usize..4, prop::bool::weighted(0.05)), 1..400),
            per_second in 1_u32..=100,
        ) {
            let mut bucket = Bucket::new(per_second, ms(0));
            let mut now = 0;
            let mut taken = Vec::new();
            for (step, lane, is_limited) in asked {
                now += step;
                if is_limited {
                    bucket.limited(ms(now));
                }
                if bucket.has(LANES[lane], ms(now)) {
                    bucket.take();
                    taken.push(now);
                }
                let rate = bucket.rate_milli(ms(now));
                prop_assert!((RATE_MIN_MILLI..=u64::from(per_second) * 1_000).contains(&rate));
                let wait = bucket.wait(LANES[lane], ms(now));
                prop_assert!(wait <= Duration::from_secs(62), "{wait:?}");
            }
            for (index, from) in taken.iter().enumerate() {
                let within = taken[index..].iter().filter(|at| **at < from + 1_000).count() as u64;
                prop_assert!(within <= 2 * u64::from(per_second), "{within} from {from}");
            }
        }
    }
}
