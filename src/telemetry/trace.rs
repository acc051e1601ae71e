//! Trace context: taken from who asks, given on to whom we ask.
//!
//! A caller's `traceparent` names the trace its request is part of; without one the request begins a trace. The lines a
//! request writes carry it. What leaves later, from a durable effect, belongs to no request any more: its trace is named
//! after its own lasting id (idempotency key, notification), so that all attempts are one trace and the same bytes.
//!
//! Invariants: a trace id is 32 hex digits and nothing else, so a caller can write nothing into our lines with it; ids
//! of a trace say nothing about what it is for.
//! Source: W3C Trace Context, level 1, section 3.2.

use super::log::SENDS_TRACES;
use sha2::{Digest, Sha256};
use std::fmt;

tokio::task_local! {
    static PRESENT: Trace;
}

/// One step of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    /// Ours: whom we ask names it as what asked.
    step: [u8; 8],
    /// The step of whoever asked us.
    parent: Option<[u8; 8]>,
    flags: u8,
}

/// Its `Display` and `Debug` are the trace's id.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.id))
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Trace {
    /// The trace of a request with this `traceparent`; a new one if it has none that can be read.
    pub fn of_request(traceparent: Option<&str>) -> Self {
        let step = random_step();
        match traceparent.and_then(parse) {
            Some((id, parent, flags)) => Self {
                id,
                step,
                parent: Some(parent),
                flags,
            },
            None => Self {
                id: *uuid::Uuid::now_v7().as_bytes(),
                step,
                parent: None,
                // Who begins a trace says whether it is kept.
                flags: u8::from(SENDS_TRACES),
            },
        }
    }

    /// The trace of something durable, by its lasting id: the same for every attempt.
    pub fn of(lasting_id: &str) -> Self {
        let digest = Sha256::digest(lasting_id.as_bytes());
        let (mut id, mut step) = ([0; 16], [0; 8]);
        id.copy_from_slice(&digest[..16]);
        step.copy_from_slice(&digest[16..24]);
        Self {
            id,
            step,
            parent: None,
            flags: 0,
        }
    }

    /// The trace of the request this task answers.
    pub fn present() -> Option<Self> {
        PRESENT.try_with(|present| *present).ok()
    }

    /// Trace and step, for whoever keeps traces.
    #[cfg(feature = "otel")]
    pub(super) const fn ids(&self) -> ([u8; 16], [u8; 8]) {
        (self.id, self.step)
    }

    /// The step of whoever asked us, with the trace's flags; none where the trace began here.
    #[cfg(feature = "otel")]
    pub(super) fn asked_by(&self) -> Option<([u8; 8], u8)> {
        self.parent.map(|parent| (parent, self.flags))
    }

    /// Runs `work` as part of this trace.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        PRESENT.scope(self, work).await
    }

    /// The header for whom we ask.
    pub fn header(&self) -> String {
        let (step, flags) = (u64::from_be_bytes(self.step), self.flags);
        format!("00-{self}-{step:016x}-{flags:02x}")
    }
}

fn random_step() -> [u8; 8] {
    let uuid = uuid::Uuid::now_v7();
    let mut step = [0; 8];
    // Its last 62 bits are random.
    step.copy_from_slice(&uuid.as_bytes()[8..]);
    step
}

/// The trace id, the step and the flags of a header.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = text.trim().split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let fits = is_hex(version, 2) && is_hex(id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    // Later versions may append parts; the first has four.
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    if !fits || !is_known {
        return None;
    }
    let id = u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)?;
    let step = u64::from_str_radix(parent, 16)
        .ok()
        .filter(|step| *step != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((id.to_be_bytes(), step.to_be_bytes(), flags & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_request_goes_on_with_its_callers_trace_and_no_other_text() {
        let given = format!("00-{ID}-00f067aa0ba902b7-01");
        let trace = Trace::of_request(Some(&given));
        assert_eq!(trace.to_string(), ID);
        let header = trace.header();
        assert!(header.starts_with(&format!("00-{ID}-")) && header.ends_with("-01"));
        assert_ne!(header, given, "a step of its own");
        let upper = ID.to_uppercase();
        for wrong in [
            String::new(),
            "4bf9".to_owned(),
            format!("00-{upper}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("00-{ID}\n-00f067aa0ba902b7-01"),
        ] {
            let begun = Trace::of_request(Some(&wrong)).to_string();
            assert!(begun != ID && begun.len() == 32, "{wrong}");
        }
        let later = format!("01-{ID}-00f067aa0ba902b7-01-more");
        assert_eq!(Trace::of_request(Some(&later)).to_string(), ID);
    }

    #[test]
    fn all_attempts_at_one_thing_are_one_trace_and_the_same_bytes() {
        assert_eq!(Trace::of("ntf_1").header(), Trace::of("ntf_1").header());
        assert_ne!(
            Trace::of("ntf_1").to_string(),
            Trace::of("ntf_2").to_string()
        );
    }

    #[tokio::test]
    async fn what_a_request_asks_for_is_part_of_its_trace() {
        assert_eq!(Trace::present(), None);
        let trace = Trace::of_request(None);
        let asked = trace.scope(async { Trace::present() }).await.unwrap();
        assert_eq!(asked.to_string(), trace.to_string());
        assert_eq!(
            asked.header(),
            trace.header(),
            "whom it asks hears of the request's own step, which is the span that is sent"
        );
    }
}
