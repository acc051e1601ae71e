//! A register: what Stripe last said about one object, whatever the order of arrival.
//!
//! Keeps the *set* of distinct snapshots that share the newest time and answers with a function of
//! that set, so joining is commutative, associative and idempotent.
//!
//! Invariants: end states absorb whatever the time; a re-read counts at the answer's `Date` and
//! beats events of the same second; at most `SNAPSHOTS_MAX` snapshots. Arrival never matters.
//! Not here: one-off facts (first failure, sets of refunds): reducers keep them as minima and sets.
//! Source: reliability notes b.4; Stripe documentation, "Webhooks: event ordering".

use crate::erasure::{Forget, is_of};
use crate::ids::Timestamp;
use crate::stripe_wire::{Event, Leaves, WireObject, leaves};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::OnceLock;

/// Most snapshots of one second that are kept.
pub const SNAPSHOTS_MAX: usize = 16;

/// 2010-01-01: Stripe did not exist before.
const AT_MIN: Timestamp = Timestamp(1_262_304_000_000);
/// 2100-01-01: far enough for any test clock.
const AT_MAX: Timestamp = Timestamp(4_102_444_800_000);

/// Whether an event of Stripe can have this time.
fn is_possible(at: Timestamp) -> bool {
    (AT_MIN..AT_MAX).contains(&at)
}

/// Joins a one-off fact: keeps the earliest possible time; whether that changed it.
pub(crate) fn earliest(slot: &mut Option<Timestamp>, at: Timestamp) -> bool {
    if !is_possible(at) {
        return false;
    }
    let before = *slot;
    *slot = Some(before.map_or(at, |known| known.min(at)));
    *slot != before
}

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
    /// The origin of an event's object. A time no event of Stripe can have is no time: such a
    /// snapshot gives way to any other, and only rank tells it from its like.
    pub fn of(event: &Event) -> Self {
        Self {
            at: if is_possible(event.created) {
                event.created
            } else {
                Timestamp(0)
            },
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
    #[serde(skip)]
    told: Told,
}

/// What `snapshots` say, worked out once: which of them holds, and whether another may. Follows from
/// them, so it is neither stored nor compared.
#[derive(Clone, Debug, Default)]
struct Told(OnceLock<(usize, bool)>);

impl PartialEq for Told {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Told {}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self {
            at: Timestamp(i64::MIN),
            reread: false,
            is_final: false,
            snapshots: Vec::new(),
            told: Told::default(),
        }
    }
}

fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("snapshots are plain values with text keys")
}

/// The order in which snapshots are kept.
fn place_of<T: Serialize + Ranked>(one: &Snapshot<T>) -> std::cmp::Reverse<(u8, bool, Vec<u8>)> {
    std::cmp::Reverse((one.value.rank(), !one.birth, canonical(one)))
}

impl<T: WireObject + Ranked> Register<T> {
    /// Joins one snapshot.
    pub fn join(&mut self, value: T, origin: Origin) -> Joined {
        let is_final = value.is_final();
        let known = self.snapshots.iter().any(|kept| kept.value == value);
        let standing = (is_final, origin.at, origin.reread);
        let kept = (self.is_final, self.at, self.reread);
        crate::mutant!("M8", self.snapshots.clear());
        self.told = Told::default();
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
        self.snapshots.sort_by_cached_key(place_of);
        self.snapshots.truncate(SNAPSHOTS_MAX);
        if known { Joined::Same } else { Joined::Kept }
    }

    /// Takes the personal fields out of everything kept. Which of it holds is not changed by that:
    /// neither standing nor succession follows from them alone.
    pub(crate) fn forget(&mut self)
    where
        T: Forget,
    {
        self.told = Told::default();
        for one in &mut self.snapshots {
            one.value.forget();
            if let Some(previous) = &mut one.previous {
                previous.retain(|path, _| !is_of(T::PERSONAL, path));
            }
            one.previous = one.previous.take().filter(|leaves| !leaves.is_empty());
        }
        self.snapshots.sort_by_cached_key(place_of);
        self.snapshots.dedup();
    }

    /// What holds now; `None` when nothing was heard.
    pub fn value(&self) -> Option<&T> {
        match self.snapshots.as_slice() {
            [] => None,
            [one] => Some(&one.value),
            many => many.get(self.told(many).0).map(|one| &one.value),
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

    /// Whether an answer and an event of one second say different things: which of them is later, the time does not
    /// tell, so Stripe is worth asking once that second is over. To be asked before the snapshot joins.
    pub(crate) fn is_at_odds(&self, value: &T, origin: &Origin) -> bool {
        let same_second = !self.snapshots.is_empty() && self.at == origin.at;
        let is_new = !self.snapshots.iter().any(|kept| kept.value == *value);
        same_second && self.reread != origin.reread && is_new
    }

    /// When Stripe is asked about a tie. Between answers of one second, a second later: an answer of that second
    /// again would tell nothing.
    pub fn asked_at(&self, now: Timestamp) -> Timestamp {
        if self.reread { now.plus_ms(1_000) } else { now }
    }

    /// Whether only rank decided between different contents, or the time cannot be: worth asking
    /// Stripe.
    pub fn is_tied(&self) -> bool {
        if self.at == Timestamp(0) && !self.reread {
            return true;
        }
        match self.snapshots.as_slice() {
            [] | [_] => false,
            many => self.told(many).1,
        }
    }

    /// The place of the snapshot that holds, and whether one of another content may.
    fn told(&self, all: &[Snapshot<T>]) -> (usize, bool) {
        *self.told.0.get_or_init(|| {
            let latest = self.latest(all);
            let first = latest.first().copied().unwrap_or_default();
            let value = |n: &usize| all.get(*n).map(|one| &one.value);
            let is_tied = latest.iter().any(|n| value(n) != value(&first));
            (first, is_tied)
        })
    }

    /// The places of those that may be the last, best first: one if the changes tell, else by rank.
    ///
    /// Each snapshot is a step from what was before (its value with `previous_attributes` put back)
    /// to its value. Steps of one second make a path, so the last value is the one that is arrived
    /// at once more often than it is left, even when the path crosses itself.
    fn latest<'s>(&self, all: &'s [Snapshot<T>]) -> Vec<usize> {
        let born_only = all.iter().all(|one| one.birth);
        let steps: Vec<Step<'s, T>> = all
            .iter()
            .enumerate()
            .filter(|(_, one)| born_only || !one.birth)
            .map(|(place, one)| Step::of(place, one))
            .collect();
        let mut last: Vec<&Step<'s, T>> = Vec::new();
        for step in &steps {
            let is_counted = last.iter().any(|one| one.made.value == step.made.value);
            let arrived = steps.iter().filter(|one| one.made.value == step.made.value);
            let left = steps.iter().filter(|one| one.leaves(step));
            if !is_counted && arrived.count() > left.count() {
                last.push(step);
            }
        }
        if last.is_empty() {
            last = steps.iter().collect();
        }
        last.sort_by_cached_key(|step| {
            let value = &step.made.value;
            std::cmp::Reverse((value.rank(), canonical(value)))
        });
        last.into_iter().map(|step| step.place).collect()
    }
}

/// One snapshot as a step from a value to a value.
struct Step<'s, T> {
    place: usize,
    made: &'s Snapshot<T>,
    after: Leaves,
    before: Option<Leaves>,
}

impl<'s, T: WireObject> Step<'s, T> {
    fn of(place: usize, made: &'s Snapshot<T>) -> Self {
        let after = leaves(&made.value);
        let before = made.previous.as_ref().map(|previous| {
            let mut before = after.clone();
            before.extend(previous.clone());
            before
        });
        Self {
            place,
            made,
            after,
            before,
        }
    }
    /// Whether this step starts where `other` arrived. Fields only one side has are not compared:
    /// what was null before is left out of leaves.
    fn leaves(&self, other: &Self) -> bool {
        self.made.value != other.made.value
            && self.before.as_ref().is_some_and(|before| {
                let known = |path: &String| before.get(path);
                other
                    .after
                    .iter()
                    .all(|(path, text)| known(path).is_none_or(|was| was == text))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe_wire::{Subscription, SubscriptionItem};
    use proptest::prelude::*;

    fn seats(quantity: u64) -> Subscription {
        Subscription {
            id: Some("sub_1".to_owned()),
            status: Some("active".to_owned()),
            items: vec![SubscriptionItem {
                quantity: Some(quantity),
                ..SubscriptionItem::default()
            }],
            ..Subscription::default()
        }
    }

    fn step(from: u64, to: u64) -> (Subscription, Origin) {
        let was = Subscription {
            id: None,
            status: None,
            ..seats(from)
        };
        let origin = Origin {
            at: Timestamp(1_700_000_000_000),
            reread: false,
            birth: false,
            previous: Some(leaves(&was)),
        };
        (seats(to), origin)
    }

    fn last_of(steps: &[(u64, u64)]) -> (u64, bool) {
        let mut register = Register::default();
        for (from, to) in steps {
            let (value, origin) = step(*from, *to);
            register.join(value, origin);
        }
        let value = register.value().and_then(|one| one.items[0].quantity);
        (value.unwrap_or_default(), register.is_tied())
    }

    #[test]
    fn a_second_full_of_changes_ends_where_its_path_ends() {
        for (path, end) in [
            (vec![1, 2], 2),
            (vec![9, 5, 7, 2], 2),
            (vec![15, 6, 15, 21], 21),
            (vec![1, 2, 3, 2, 4, 2], 2),
        ] {
            let mut steps: Vec<(u64, u64)> = path.windows(2).map(|two| (two[0], two[1])).collect();
            for _ in 0..steps.len() {
                steps.rotate_left(1);
                assert_eq!(last_of(&steps), (end, false), "{path:?} as {steps:?}");
                let reversed: Vec<(u64, u64)> = steps.iter().rev().copied().collect();
                assert_eq!(last_of(&reversed), (end, false), "{path:?} as {reversed:?}");
            }
        }
    }

    #[test]
    fn an_answer_and_an_event_of_one_second_are_at_odds_when_they_differ() {
        let at = |seconds: i64, reread: bool| Origin {
            at: Timestamp(1_700_000_000_000 + seconds * 1_000),
            reread,
            birth: false,
            previous: None,
        };
        let mut register = Register::default();
        assert!(
            !register.is_at_odds(&seats(1), &at(0, true)),
            "nothing is known"
        );
        register.join(seats(1), at(0, false));
        for (quantity, seconds, reread, at_odds) in [
            (2, 0, true, true),
            (1, 0, true, false),
            (2, 0, false, false),
            (2, 1, true, false),
            (2, -1, true, false),
        ] {
            let said = register.is_at_odds(&seats(quantity), &at(seconds, reread));
            assert_eq!(
                said, at_odds,
                "{quantity} at {seconds}, an answer: {reread}"
            );
        }
        register.join(seats(1), at(0, true));
        assert!(register.is_at_odds(&seats(2), &at(0, false)));
        assert!(!register.is_at_odds(&seats(2), &at(0, true)));
    }

    #[test]
    fn a_circle_cannot_be_told_and_asks() {
        assert!(last_of(&[(1, 2), (2, 1)]).1);
    }

    fn origins() -> impl Strategy<Value = (u64, &'static str, Origin)> {
        let status = prop::sample::select(vec!["active", "past_due", "canceled", "trialing"]);
        (
            0_u64..3,
            status,
            0_i64..3,
            any::<bool>(),
            any::<bool>(),
            prop::option::of(0_u64..3),
        )
            .prop_map(|(to, status, at, reread, birth, from)| {
                let previous = from.map(|from| step(from, to).1.previous.unwrap_or_default());
                let origin = Origin {
                    at: Timestamp(1_700_000_000_000 + at * 1000),
                    reread,
                    birth,
                    previous,
                };
                (to, status, origin)
            })
    }

    proptest! {
        #[test]
        fn joining_is_order_free_and_idempotent(
            (words, order) in prop::collection::vec(origins(), 1..24).prop_flat_map(|words| {
                let numbers: Vec<usize> = (0..words.len()).chain(0..words.len()).collect();
                (Just(words), Just(numbers).prop_shuffle())
            })
        ) {
            let value = |n: usize| Subscription {
                status: Some(words[n].1.to_owned()),
                ..seats(words[n].0)
            };
            let mut told = Register::default();
            for (n, word) in words.iter().enumerate() {
                told.join(value(n), word.2.clone());
            }
            let mut shuffled = Register::default();
            for n in order {
                shuffled.join(value(n), words[n].2.clone());
            }
            prop_assert_eq!(told, shuffled);
        }
    }
}
