//! Calendar arithmetic of billing periods and shares of them.
//!
//! Invariants: months are counted from the anchor, so a 31st never drifts; shares are exact integers
//! rounded half away from zero.
//! Not here: who is billed.
//! Failure: times outside the calendar saturate to the start.
//! Source of outside rules: Stripe documentation, "Billing cycle", "Prorations".

use jiff::{Span, Timestamp, tz::TimeZone};

/// The end of the period that starts at `start`, for a cycle anchored at `anchor`.
pub(crate) fn next(anchor: i64, start: i64, interval: &str, count: i64) -> i64 {
    match interval {
        "day" => start + count * 86_400,
        "week" => start + count * 7 * 86_400,
        _ => {
            let months = if interval == "year" {
                count * 12
            } else {
                count
            };
            (1..=2_400)
                .map(|n| add_months(anchor, n * months))
                .find(|end| *end > start)
                .unwrap_or(start + 86_400)
        }
    }
}

fn add_months(from: i64, months: i64) -> i64 {
    let added = || -> Result<i64, jiff::Error> {
        let zoned = Timestamp::from_second(from)?.to_zoned(TimeZone::UTC);
        Ok(zoned
            .checked_add(Span::new().try_months(months)?)?
            .timestamp()
            .as_second())
    };
    added().unwrap_or(from)
}

/// `amount × part ÷ whole`, rounded half away from zero.
pub(crate) fn share(amount: i64, part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    let product = i128::from(amount) * i128::from(part.clamp(0, whole));
    let half = i128::from(whole) / 2;
    let rounded = if product >= 0 {
        (product + half) / i128::from(whole)
    } else {
        (product - half) / i128::from(whole)
    };
    i64::try_from(rounded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_anchored_on_the_31st_comes_back_to_the_31st() {
        let day = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        let anchor = day("2025-01-31T10:00:00Z");
        let feb = next(anchor, anchor, "month", 1);
        assert_eq!(feb, day("2025-02-28T10:00:00Z"));
        assert_eq!(next(anchor, feb, "month", 1), day("2025-03-31T10:00:00Z"));
        assert_eq!(next(anchor, anchor, "year", 1), day("2026-01-31T10:00:00Z"));
        assert_eq!(next(anchor, anchor, "week", 2), anchor + 14 * 86_400);
    }

    #[test]
    fn shares_round_half_away_from_zero() {
        assert_eq!(share(2000, 1, 3), 667);
        assert_eq!(share(-2000, 1, 3), -667);
        assert_eq!(share(1, 1, 2), 1);
        assert_eq!(share(900, 5, 0), 0);
    }
}
