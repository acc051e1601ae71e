//! Checks the `Stripe-Signature` header of a delivery against the endpoint secrets.
//!
//! Invariants: the MAC is computed over the raw bytes as they came, before anything reads them;
//! every `v1` is compared with every secret, in constant time; schemes other than `v1` are skipped
//! (a downgrade would be accepted otherwise); a header is read strictly and in bounds, so that two
//! readers can never disagree about which timestamp was signed.
//! Failure: a [`Refusal`]; whether the header could be read (400) or did not fit (401).
//! Source: Stripe documentation, "Receive Stripe events in your webhook endpoint", "Verify
//! manually" and "Preventing replay attacks"; the edges on which Stripe's own libraries disagree
//! are refused (`tests/corpus/stripe/webhook-signature-vectors.json`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;

/// Stripe's documented default tolerance, applied both ways: no library of theirs bounds the
/// future, but a clock that far off is as good as a replay.
pub const TOLERANCE_SECONDS: i64 = 300;
/// More items than a header of 8 secrets and every scheme would ever hold.
const ITEMS_MAX: usize = 16;
/// Sixteen `v1` items take 1.2 KiB.
const HEADER_BYTES_MAX: usize = 4_096;
/// Hex digits of SHA-256.
const V1_DIGITS: usize = 64;

/// Why a delivery is not accepted as Stripe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no header.
    Missing,
    /// The header cannot be read; why.
    Malformed(&'static str),
    /// No `v1` fits any secret.
    NoMatch,
    /// Genuine, but signed longer ago than the tolerance.
    Stale,
    /// Genuine, but signed further ahead than the tolerance.
    Ahead,
}

impl Refusal {
    /// The sender could not know better (401), as opposed to not speaking the protocol (400).
    pub const fn is_unauthenticated(self) -> bool {
        matches!(self, Self::NoMatch | Self::Stale | Self::Ahead)
    }
    /// The word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::NoMatch => "no_match",
            Self::Stale => "stale",
            Self::Ahead => "clock",
        }
    }
}

/// A genuine delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genuine {
    /// Position of the secret that matched, from 1: an old one that never matches may be retired.
    pub secret_position: usize,
    /// When this attempt was signed, Unix seconds.
    pub signed_at: i64,
}

/// The endpoint secrets, each prepared once as a keyed MAC.
pub struct SecretSet {
    keys: Vec<Hmac<Sha256>>,
}

impl fmt::Debug for SecretSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSet({} secrets)", self.keys.len())
    }
}

impl SecretSet {
    /// Prepares secrets. The key is the whole text, `whsec_` included, without surrounding blanks.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = secrets
            .into_iter()
            .map(|secret| keyed(secret.trim()))
            .collect();
        Self { keys }
    }
    /// Checks `header` over `body` at `now_seconds`.
    /// # Errors: see [`Refusal`].
    pub fn verify(
        &self,
        header: Option<&[u8]>,
        body: &[u8],
        now_seconds: i64,
    ) -> Result<Genuine, Refusal> {
        let parsed = parse(header.ok_or(Refusal::Missing)?)?;
        let index = self.matching(&parsed, body).ok_or(Refusal::NoMatch)?;
        let age = now_seconds.saturating_sub(parsed.signed_at);
        if age > TOLERANCE_SECONDS {
            return Err(Refusal::Stale);
        }
        if age < -TOLERANCE_SECONDS {
            return Err(Refusal::Ahead);
        }
        Ok(Genuine {
            secret_position: index + 1,
            signed_at: parsed.signed_at,
        })
    }
    fn matching(&self, parsed: &Parsed<'_>, body: &[u8]) -> Option<usize> {
        self.keys.iter().position(|key| {
            let mut mac = key.clone();
            mac.update(parsed.timestamp.as_bytes());
            mac.update(b".");
            mac.update(body);
            let computed = mac.finalize().into_bytes();
            parsed.candidates[..parsed.candidate_count]
                .iter()
                .any(|candidate| bool::from(computed.as_slice().ct_eq(candidate)))
        })
    }
}

fn keyed(secret: &str) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length")
}

/// The header of a delivery, as Stripe would write it now. For tests, the sandbox and `trigger`.
pub fn sign(secret: &str, body: &[u8], signed_at: i64) -> String {
    let mut mac = keyed(secret.trim());
    mac.update(signed_at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!(
        "t={signed_at},v1={}",
        hex::encode(mac.finalize().into_bytes())
    )
}

struct Parsed<'a> {
    /// The digits as they were signed.
    timestamp: &'a str,
    signed_at: i64,
    candidates: [[u8; 32]; ITEMS_MAX],
    candidate_count: usize,
}

fn parse(header: &[u8]) -> Result<Parsed<'_>, Refusal> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(Refusal::Malformed("the header is longer than 4 KiB"));
    }
    let text = std::str::from_utf8(header)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or(Refusal::Malformed("the header is not ASCII"))?;
    let mut timestamp = None;
    let mut candidates = [[0_u8; 32]; ITEMS_MAX];
    let mut candidate_count = 0;
    for (index, item) in text.split(',').enumerate() {
        if index == ITEMS_MAX {
            return Err(Refusal::Malformed("the header has more than 16 items"));
        }
        let (scheme, value) = item
            .split_once('=')
            .ok_or(Refusal::Malformed("an item of the header is not key=value"))?;
        match scheme {
            "t" if timestamp.is_some() => {
                return Err(Refusal::Malformed("the header has two timestamps"));
            }
            "t" => timestamp = Some(value),
            "v1" if value.len() == V1_DIGITS
                && hex::decode_to_slice(value, &mut candidates[candidate_count]).is_ok() =>
            {
                candidate_count += 1;
            }
            _ => {}
        }
    }
    let timestamp = timestamp.ok_or(Refusal::Malformed("the header has no timestamp t"))?;
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
    let signed_at = timestamp
        .parse::<i64>()
        .ok()
        .filter(|_| digits)
        .ok_or(Refusal::Malformed("the timestamp t is not Unix seconds"))?;
    if candidate_count == 0 {
        return Err(Refusal::Malformed("the header has no v1 of 64 hex digits"));
    }
    Ok(Parsed {
        timestamp,
        signed_at,
        candidates,
        candidate_count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn corpus() -> Value {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/corpus/stripe/webhook-signature-vectors.json"
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
    fn text<'a>(value: &'a Value, field: &str) -> &'a str {
        value[field].as_str().unwrap()
    }

    #[test]
    fn every_vector_and_header_case_gets_the_recommended_verdict() {
        let corpus = corpus();
        let mut unexpected = Vec::new();
        let vectors = corpus["vectors"].as_array().unwrap();
        for vector in vectors {
            let body = vector["payload_hex"].as_str().map_or_else(
                || text(vector, "payload_utf8").as_bytes().to_vec(),
                |digits| hex::decode(digits).unwrap(),
            );
            // The set trims what is configured, so the one vector about an untrimmed secret must
            // fail here and fit the raw key below.
            let secret = text(vector, "secret");
            let header = text(vector, "header").as_bytes();
            let now = vector["timestamp"].as_i64().unwrap();
            let verdict = SecretSet::new([secret]).verify(Some(header), &body, now);
            let raw = SecretSet {
                keys: vec![keyed(secret)],
            };
            let raw_verdict = raw.verify(Some(header), &body, now);
            if verdict.is_ok() != (secret.trim() == secret) || raw_verdict.is_err() {
                unexpected.push(format!("vector {}: {verdict:?}", text(vector, "name")));
            }
        }
        let cases = corpus["header_cases"].as_array().unwrap();
        for case in cases {
            let verdict = SecretSet::new([text(case, "secret")]).verify(
                Some(text(case, "header").as_bytes()),
                text(case, "payload").as_bytes(),
                case["now"].as_i64().unwrap(),
            );
            let fits = match text(case, "recommended") {
                "accept" => verdict.is_ok(),
                "reject" => verdict.is_err(),
                other => other == "either",
            };
            if !fits {
                unexpected.push(format!("case {}: {verdict:?}", text(case, "name")));
            }
        }
        println!(
            "header_cases={} vectors={} unexpected={}",
            cases.len(),
            vectors.len(),
            unexpected.len()
        );
        assert_eq!((cases.len(), vectors.len()), (34, 13));
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }

    #[test]
    fn any_altered_byte_of_the_body_is_refused() {
        let secrets = SecretSet::new(["whsec_a"]);
        let body = br#"{"id":"evt_1","object":"event"}"#;
        let header = sign("whsec_a", body, 1_000);
        assert!(secrets.verify(Some(header.as_bytes()), body, 1_000).is_ok());
        for position in 0..body.len() {
            for bit in 0..8 {
                let mut altered = body.to_vec();
                altered[position] ^= 1 << bit;
                assert_eq!(
                    secrets.verify(Some(header.as_bytes()), &altered, 1_000),
                    Err(Refusal::NoMatch),
                    "byte {position} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn every_v1_is_tried_against_every_secret() {
        let secrets = SecretSet::new(["whsec_old", "whsec_new"]);
        let body = b"{}";
        let bad = "0".repeat(64);
        for (secret, position) in [("whsec_old", 1), ("whsec_new", 2)] {
            let signed = sign(secret, body, 5);
            let good = signed.split_once("v1=").unwrap().1;
            for header in [
                format!("t=5,v1={bad},v1={good}"),
                format!("v1={good},t=5,v0={bad},v1={bad}"),
            ] {
                let genuine = secrets.verify(Some(header.as_bytes()), body, 5).unwrap();
                assert_eq!(genuine.secret_position, position);
            }
        }
        let other = sign("whsec_retired", body, 5);
        assert_eq!(
            secrets.verify(Some(other.as_bytes()), body, 5),
            Err(Refusal::NoMatch)
        );
    }

    #[test]
    fn unreadable_headers_are_told_from_forged_ones() {
        let secrets = SecretSet::new(["whsec_a"]);
        let signed = sign("whsec_a", b"{}", 1_000);
        let good = signed.split_once("v1=").unwrap().1;
        let far_too_many = vec![format!("v1={good}"); 2_000].join(",");
        for header in [
            String::new(),
            "t=1000".into(),
            format!("v1={good}"),
            format!("t=1000,v0={good}"),
            format!("t=-5,v1={good}"),
            format!("t=12345678901234567890,v1={good}"),
            format!("t=0x3e8,v1={good}"),
            format!("t=1000.0,v1={good}"),
            format!("t=+1000,v1={good}"),
            format!("t=1000,{far_too_many}"),
            format!("t=1000,v1={good}{}", ",v1=a".repeat(15)),
        ] {
            let refusal = secrets
                .verify(Some(header.as_bytes()), b"{}", 1_000)
                .unwrap_err();
            assert!(!refusal.is_unauthenticated(), "{header:.60}: {refusal:?}");
        }
        for (now, expected) in [(1_301, Refusal::Stale), (699, Refusal::Ahead)] {
            let refusal = secrets.verify(Some(signed.as_bytes()), b"{}", now);
            assert_eq!(refusal, Err(expected));
        }
        for now in [1_300, 700] {
            assert!(secrets.verify(Some(signed.as_bytes()), b"{}", now).is_ok());
        }
    }
}
