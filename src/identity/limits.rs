//! How often something may be tried: counted in the store, so that a restart forgets nothing.
//!
//! Of a log-in three things are counted. Address and account together: five in a minute, then a wait that doubles from
//! a minute to a quarter of an hour. The address alone: twenty in a minute, whatever it tries. The account alone, over
//! all addresses: thirty in ten minutes, then a wait likewise; who logged in from their address before passes it, so
//! that guessers all over the world keep the right person out neither for ever nor where they are known.
//!
//! Invariants: a try is counted before its password is looked at; records are named by an HMAC, so that they tell
//! neither account nor address, and are forgotten hourly once they count for nothing.

use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::http::server::Peer;
use crate::identity::addresses::AddressKey;
use crate::identity::records::{Commit, Read, read, spaces};
use bursar_domain::ids::Timestamp;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

const SECOND_MS: i64 = 1_000;
/// Waits no longer double once nothing was tried for this long.
const CALM_MS: i64 = 3_600 * SECOND_MS;
/// For how long an address somebody logged in from is remembered.
const KNOWN_DAYS: i64 = 90;
/// A commit that somebody else's came before is decided again; so many times nobody comes second.
const ROUNDS: usize = 8;

/// How much is too much.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    most: u32,
    window_ms: i64,
    wait_ms: i64,
    wait_ms_max: i64,
}

/// One account from one address.
pub const PAIR: Rule = Rule {
    most: 5,
    window_ms: 60 * SECOND_MS,
    wait_ms: 60 * SECOND_MS,
    wait_ms_max: 900 * SECOND_MS,
};
/// One address.
pub const ADDRESS: Rule = Rule {
    most: 20,
    window_ms: 60 * SECOND_MS,
    wait_ms: 60 * SECOND_MS,
    wait_ms_max: 60 * SECOND_MS,
};
/// One account, over all addresses.
pub const ACCOUNT: Rule = Rule {
    most: 30,
    window_ms: 600 * SECOND_MS,
    wait_ms: 60 * SECOND_MS,
    wait_ms_max: 900 * SECOND_MS,
};

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Tries since `since`.
    count: u32,
    /// When the window began.
    since: Timestamp,
    /// The last one counted.
    last: Timestamp,
    /// Nothing before.
    until: Timestamp,
    /// How often it was too much.
    waits: u32,
}

impl Tally {
    const fn begun(now: Timestamp) -> Self {
        Self {
            count: 0,
            since: now,
            last: now,
            until: Timestamp(0),
            waits: 0,
        }
    }
}

/// Counts one more try. # Errors: milliseconds until one may be made.
pub fn count(before: Option<Tally>, rule: Rule, now: Timestamp) -> Result<Tally, i64> {
    let mut tally = before.unwrap_or(Tally::begun(now));
    let wait_ms = tally.until.0 - now.0;
    // A wait longer than any we give is a clock that was set back.
    if (1..=rule.wait_ms_max).contains(&wait_ms) {
        return Err(wait_ms);
    }
    if now.0 - tally.since.0 >= rule.window_ms {
        (tally.count, tally.since) = (0, now);
    }
    if now.0 - tally.last.0 >= CALM_MS {
        tally.waits = 0;
    }
    tally.count += 1;
    tally.last = now;
    if tally.count >= rule.most {
        let doubled = rule.wait_ms.saturating_mul(1 << tally.waits.min(20));
        tally.until = now.plus_ms(doubled.min(rule.wait_ms_max));
        tally.waits = tally.waits.saturating_add(1);
        (tally.count, tally.since) = (0, now);
    }
    Ok(tally)
}

/// What a request is counted under.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address; `None`: it is not counted.
    address: Option<String>,
}

impl Place {
    /// Where a request comes from. Hosts of one IPv6 network of 64 bits are one.
    pub fn of(edge: &Edge, key: &AddressKey, peer: Peer) -> Self {
        let address = match peer {
            Peer::ControlSocket => None,
            Peer::Address(IpAddr::V6(address)) => Some(IpAddr::V6(
                (u128::from(address) & !u128::from(u64::MAX)).into(),
            )),
            Peer::Address(address) => Some(address),
        };
        let is_exempt =
            |address: &IpAddr| edge.settings.limits.loopback_is_exempt && address.is_loopback();
        let counted = address.filter(|address| !is_exempt(address));
        Self {
            address: counted.map(|address| key.name("peer", &address.to_string())),
        }
    }
}

/// One log-in that may be tried.
#[derive(Clone, Debug)]
pub struct Admitted {
    pair: String,
    known: String,
}

fn too_many(wait_ms: i64, detail: &str) -> Problem {
    metrics::counter!("bursar_http_rejections_total", "reason" => "rate_limited").increment(1);
    let seconds = u64::try_from(wait_ms).unwrap_or(0).div_ceil(1_000);
    Problem {
        retry_after_seconds: Some(seconds.max(1)),
        ..Problem::new(Code::RateLimited, detail)
    }
}

/// One counter to count up.
struct Counter {
    key: String,
    rule: Rule,
}

/// Counts a try under all of these, or under none. # Errors: 429; 503 if the store is away.
async fn count_all(store: &dyn Store, counters: &[Counter], now: Timestamp) -> Result<(), Problem> {
    for _ in 0..ROUNDS {
        let mut commit = Commit::default();
        for counter in counters {
            let (space, key) = (spaces::LIMIT, counter.key.as_str());
            let before: Option<Read<Tally>> = read(store, space, key).await?;
            let tally = count(before.as_ref().map(|b| b.value), counter.rule, now);
            let tally =
                tally.map_err(|wait| too_many(wait, "too many tries; wait and ask again"))?;
            commit = match before {
                Some(before) => commit.replace(space, key, &before.bytes, &tally, None)?,
                None => commit.create(space, key, &tally, None)?,
            };
        }
        if commit.run(store).await? {
            return Ok(());
        }
    }
    // So many try at once that this one never got its turn.
    Err(too_many(1, "too many tries at once; ask again"))
}

/// Counts a request of anybody's under its address. # Errors: 429; 503 if the store is away.
pub async fn admit(store: &dyn Store, place: &Place, now: Timestamp) -> Result<(), Problem> {
    let Some(address) = &place.address else {
        return Ok(());
    };
    let counter = Counter {
        key: format!("address/{address}"),
        rule: ADDRESS,
    };
    count_all(store, &[counter], now).await
}

/// Counts a log-in to an account (by the name of its address, whether there is one or not) before it is tried.
/// # Errors: 429; 503 if the store is away.
pub async fn admit_login(
    store: &dyn Store,
    place: &Place,
    account: &str,
    now: Timestamp,
) -> Result<Admitted, Problem> {
    let from = place.address.as_deref().unwrap_or("here");
    let admitted = Admitted {
        pair: format!("pair/{account}/{from}"),
        known: format!("{account}/{from}"),
    };
    let mut counters = vec![Counter {
        key: admitted.pair.clone(),
        rule: PAIR,
    }];
    if let Some(address) = &place.address {
        counters.push(Counter {
            key: format!("address/{address}"),
            rule: ADDRESS,
        });
    }
    let known: Option<Read<Timestamp>> = read(store, spaces::KNOWN, &admitted.known).await?;
    if known.is_none_or(|at| now.0 - at.value.0 >= KNOWN_DAYS * 24 * CALM_MS) {
        counters.push(Counter {
            key: format!("account/{account}"),
            rule: ACCOUNT,
        });
    }
    count_all(store, &counters, now).await?;
    Ok(admitted)
}

/// What a right password changes: the pair counts from nothing, and the address is known. # Errors: none to speak of.
pub fn succeeded(
    commit: Commit,
    admitted: &Admitted,
    now: Timestamp,
) -> Result<Commit, StoreError> {
    commit.remove(spaces::LIMIT, &admitted.pair, None).put(
        spaces::KNOWN,
        &admitted.known,
        &now,
        None,
    )
}

/// Makes an address known to an account that proved itself otherwise (by its mail). # Errors: none to speak of.
pub fn known(
    commit: Commit,
    place: &Place,
    account: &str,
    now: Timestamp,
) -> Result<Commit, StoreError> {
    let from = place.address.as_deref().unwrap_or("here");
    commit
        .remove(spaces::LIMIT, &format!("pair/{account}/{from}"), None)
        .put(spaces::KNOWN, &format!("{account}/{from}"), &now, None)
}

/// A commit that changes nothing anybody reads: what an unknown address costs where a known one costs a commit.
/// # Errors: none to speak of.
pub fn decoy(commit: Commit, account: &str, now: Timestamp) -> Result<Commit, StoreError> {
    let nothing = Tally::begun(now);
    commit.put(spaces::LIMIT, &format!("nobody/{account}"), &nothing, None)
}

/// Whether a counter counts for nothing any more.
pub fn is_over(bytes: &[u8], now: Timestamp) -> bool {
    let tally: Result<Tally, _> = serde_json::from_slice(bytes);
    tally.is_ok_and(|t| t.until <= now && now.0 - t.last.0 >= CALM_MS)
}

/// Whether an address is not known any more.
pub fn is_forgotten(bytes: &[u8], now: Timestamp) -> bool {
    let at: Result<Timestamp, _> = serde_json::from_slice(bytes);
    at.is_ok_and(|at| now.0 - at.0 >= KNOWN_DAYS * 24 * CALM_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_747_044_000);

    #[test]
    fn five_in_a_minute_then_waits_that_double_and_end() {
        let (mut now, mut tally, mut waits) = (NOW, None, Vec::new());
        let mut tries = 0;
        while waits.len() < 7 {
            match count(tally, PAIR, now) {
                Ok(next) => {
                    tally = Some(next);
                    tries += 1;
                }
                Err(wait) => {
                    waits.push(wait / SECOND_MS);
                    now = now.plus_ms(wait);
                }
            }
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(tries, 7 * 5);
        let calm = now.plus_ms(CALM_MS);
        let mut tally = count(tally, PAIR, calm).unwrap();
        for _ in 0..4 {
            tally = count(Some(tally), PAIR, calm).unwrap();
        }
        assert_eq!(count(Some(tally), PAIR, calm), Err(60 * SECOND_MS));
    }

    #[test]
    fn slow_tries_are_never_too_many() {
        let mut tally = None;
        for n in 0..1_000 {
            let now = NOW.plus_ms(n * 15 * SECOND_MS);
            tally = Some(count(tally, PAIR, now).unwrap());
        }
    }

    #[test]
    fn what_counts_for_nothing_is_forgotten() {
        let bytes = serde_json::to_vec(&Tally::begun(NOW)).unwrap();
        assert!(!is_over(&bytes, NOW.plus_ms(CALM_MS - 1)));
        assert!(is_over(&bytes, NOW.plus_ms(CALM_MS)));
    }
}
