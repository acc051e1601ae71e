//! A register: what Stripe last said about one object, whatever the order of arrival.
//!
//! Keeps the *set* of distinct snapshots that share the newest time and answers with a function of
//! that set, so joining is commutative, associative and idempotent.
//!
//! Invariants: end states absorb whatever the time; a re-read counts at the answer's `Date` and
//! beats events of the same second; at most `SNAPSHOTS_MAX` snapshots. Arrival never matters.
//! Not here: one-off facts (first failure, sets of refunds): reducers keep them as minima and sets.
//! Source: reliability notes b.4; Stripe documentation, "Webhooks: event ordering".

use crate::ids::Timestamp;
use crate::stripe_wire::{Event, Leaves, WireObject, leaves};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Most snapshots of one second that are kept.
pub const SNAPSHOTS_MAX: usize = 16;

/// How snapshots of an object compare when time does not tell.
pub trait Ranked {
    /// Whether the object never leaves this state.
    fn is_final(&self) -> bool;
    /// Later states of the object's life rank higher.
    fn rank(&self) -> u8;
}

/// Where a snapshot comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The event's `created`, or the answer's `Date`.
    pub at: Timestamp,
    /// Whether Stripe's API said it, and not an event.
    pub reread: bool,
    /// Whether the event is the object's own `*.created`.
    pub birth: bool,
    /// `previous_attributes`.
    pub previous: Option<Leaves>,
}

impl Origin {
    /// The origin of an event's object.
    pub fn of(event: &Event) -> Self {
        Self {
            at: event.created,
            reread: false,
            birth: event.kind.ends_with(".created"),
            previous: event.previous.clone().filter(|leaves| !leaves.is_empty()),
        }
    }
    /// The origin of a re-read answered at this time.
    pub const fn reread(at: Timestamp) -> Self {
        Self {
            at,
            reread: true,
            birth: false,
            previous: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Snapshot<T> {
    value: T,
    #[serde(default)]
    birth: bool,
    #[serde(default)]
    previous: Option<Leaves>,
}

/// What joining a snapshot did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is part of what is now kept.
    Kept,
    /// The same content was there already.
    Same,
    /// Something newer (or final) is kept instead.
    Older,
}

/// The register of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
pub struct Register<T> {
    at: Timestamp,
    reread: bool,
    is_final: bool,
    snapshots: Vec<Snapshot<T>>,
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self {
            at: Timestamp(i64::MIN),
            reread: false,
            is_final: false,
            snapshots: Vec::new(),
        }
    }
}

fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("snapshots are plain values with text keys")
}

impl<T: WireObject + Ranked> Register<T> {
    /// Joins one snapshot.
    pub fn join(&mut self, value: T, origin: Origin) -> Joined {
        let is_final = value.is_final();
        let known = self.snapshots.iter().any(|kept| kept.value == value);
        let standing = (is_final, origin.at, origin.reread);
        let kept = (self.is_final, self.at, self.reread);
        crate::mutant!("M8", self.snapshots.clear());
        if standing < kept && !self.snapshots.is_empty() {
            return if known { Joined::Same } else { Joined::Older };
        }
        let snapshot = Snapshot {
            value,
            birth: origin.birth,
            previous: origin.previous,
        };
        if standing > kept || self.snapshots.is_empty() {
            (self.is_final, self.at, self.reread) = standing;
            self.snapshots = vec![snapshot];
            return if known { Joined::Same } else { Joined::Kept };
        }
        if self.snapshots.contains(&snapshot) {
            return Joined::Same;
        }
        self.snapshots.push(snapshot);
        // Kept in one order and cut at one end, so that the set is a function of its members.
        self.snapshots.sort_by_cached_key(|one| {
            std::cmp::Reverse((one.value.rank(), !one.birth, canonical(one)))
        });
        self.snapshots.truncate(SNAPSHOTS_MAX);
        if known { Joined::Same } else { Joined::Kept }
    }

    /// What holds now; `None` when nothing was heard.
    pub fn value(&self) -> Option<&T> {
        match self.snapshots.as_slice() {
            [] => None,
            [one] => Some(&one.value),
            many => self.latest(many).first().map(|one| &one.value),
        }
    }

    /// The time of what holds now.
    pub fn at(&self) -> Option<Timestamp> {
        (!self.snapshots.is_empty()).then_some(self.at)
    }

    /// Whether Stripe's API said what holds now.
    pub fn is_reread(&self) -> bool {
        self.reread
    }

    /// Whether only rank decided between different contents: worth asking Stripe.
    pub fn is_tied(&self) -> bool {
        let latest = match self.snapshots.as_slice() {
            [] | [_] => return false,
            many => self.latest(many),
        };
        latest
            .iter()
            .any(|one| Some(&one.value) != latest.first().map(|first| &first.value))
    }

    /// The snapshots no other one follows, best first.
    fn latest<'s>(&self, all: &'s [Snapshot<T>]) -> Vec<&'s Snapshot<T>> {
        let born_only = all.iter().all(|one| one.birth);
        let candidates: Vec<&Snapshot<T>> =
            all.iter().filter(|one| born_only || !one.birth).collect();
        let seen: Vec<Leaves> = candidates.iter().map(|one| leaves(&one.value)).collect();
        let follows = |later: usize, earlier: usize| {
            candidates[later].previous.as_ref().is_some_and(|previous| {
                let before = &seen[earlier];
                previous
                    .iter()
                    .all(|(path, text)| before.get(path) == Some(text))
                    && previous
                        .iter()
                        .any(|(path, text)| seen[later].get(path) != Some(text))
            })
        };
        let mut last: Vec<&Snapshot<T>> = (0..candidates.len())
            .filter(|&n| {
                !(0..candidates.len())
                    .any(|other| other != n && follows(other, n) && !follows(n, other))
            })
            .map(|n| candidates[n])
            .collect();
        if last.is_empty() {
            last = candidates;
        }
        last.sort_by_cached_key(|one| std::cmp::Reverse((one.value.rank(), canonical(&one.value))));
        last
    }
}
