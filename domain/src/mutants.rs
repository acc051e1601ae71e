//! Seeded bugs that stay for ever: wrong branches in the real code that the checks must catch.
//!
//! A suite that never saw the bug it is there for proves little. With the feature `mutants`, and only
//! then, each line that says `mutant!` can be made to do the wrong thing, one bug at a time, chosen by
//! [`select`] or by the environment's `SEEDED_BUG` (any suite, any binary built with the feature).
//! `tests/mutants` holds one check per bug that passes without it and must fail with it.
//!
//! Invariants: without the feature a `mutant!` is its right branch and nothing else, so no build that is
//! shipped holds a switch; an id that is not in `ALL` panics instead of being silently off.
//! Not here: the checks. How to add one: CONTRIBUTING.md, "Seeded bugs".

/// `mutant!(id, wrong, right)`: the right expression; with the bug of that id selected, the wrong one.
/// `mutant!(id, wrong)`: nothing; with the bug selected, this statement as well.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($id:literal, $wrong:expr, $right:expr) => {
        $right
    };
    ($id:literal, $wrong:expr) => {};
}

/// `mutant!(id, wrong, right)`: the right expression; with the bug of that id selected, the wrong one.
/// `mutant!(id, wrong)`: nothing; with the bug selected, this statement as well.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($id:literal, $wrong:expr, $right:expr) => {
        if $crate::mutants::is_on($id) {
            $wrong
        } else {
            $right
        }
    };
    ($id:literal, $wrong:expr) => {
        if $crate::mutants::is_on($id) {
            $wrong;
        }
    };
}

#[cfg(feature = "mutants")]
pub use switch::{ALL, Mutant, is_on, select, vanish};
#[cfg(feature = "mutants")]
pub(crate) use switch::{choke_on, name_after_object};

#[cfg(feature = "mutants")]
mod switch {
    use crate::decision::{Decision, Disposition};
    use crate::ids::EventId;
    use crate::input::InputSource;
    use crate::route::Routed;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A seeded bug.
    #[derive(Clone, Copy, Debug)]
    pub struct Mutant {
        /// Its name in the code.
        pub id: &'static str,
        /// What is wrong with it on.
        pub bug: &'static str,
    }

    const fn mutant(id: &'static str, bug: &'static str) -> Mutant {
        Mutant { id, bug }
    }

    /// Every seeded bug there is.
    pub const ALL: [Mutant; 19] = [
        mutant("M1", "a delivery is answered before it is in the journal"),
        mutant("M2", "the journal is written and never synced"),
        mutant("M3", "ledger and outbox of one decision are two groups"),
        mutant("M4", "each attempt of an order has a key of its own"),
        mutant("M5", "each start of the process has keys of its own"),
        mutant("M6", "nothing is looked for after a restart"),
        mutant("M7", "events are told apart by their object's id"),
        mutant("M7b", "events are told apart without their account"),
        mutant("M8", "the snapshot that arrives last wins"),
        mutant("M9", "a decision over a state that has passed is taken"),
        mutant("M10", "an input whose reducer panicked vanishes as applied"),
        mutant(
            "M11",
            "an order nobody can know of is sent under a new key at once",
        ),
        mutant("M12", "a key works in whatever tenant the request names"),
        mutant(
            "M13",
            "a payment of a multiple of 13 minor units panics its reducer",
        ),
        mutant(
            "M14",
            "a repeat under an idempotency key is an order of its own",
        ),
        mutant("M15", "records are synced before the keys that open them"),
        mutant("M16", "a checkpoint gets its name before it is synced"),
        mutant("M17", "a commit that arrives wakes no committer"),
        mutant(
            "M18",
            "a repeat is looked for among what is filed, not in the open group",
        ),
    ];

    /// 0: none, else the place in `ALL` plus one.
    static SELECTED: LazyLock<AtomicUsize> = LazyLock::new(|| {
        let id = std::env::var("SEEDED_BUG").ok();
        AtomicUsize::new(id.map_or(0, |id| place(&id)))
    });

    fn place(id: &str) -> usize {
        let found = ALL.iter().position(|mutant| mutant.id == id);
        found.expect("a seeded bug is listed in ALL") + 1
    }

    /// Switches one bug on in the whole process, or all off. # Panics: no such bug.
    pub fn select(id: Option<&str>) {
        SELECTED.store(id.map_or(0, place), Ordering::SeqCst);
    }

    /// Whether this bug is on. # Panics: no such bug.
    pub fn is_on(id: &str) -> bool {
        SELECTED.load(Ordering::SeqCst) == place(id)
    }

    /// M10: a decision that panicked decides nothing.
    /// # Errors: never.
    pub fn vanish(_panic: String) -> Result<Decision, String> {
        Ok(Decision::nothing(Disposition::Applied, ""))
    }

    /// M13: a reducer that does not survive some amounts. # Panics: on those.
    pub(crate) fn choke_on(minor: i64) {
        assert!(
            minor == 0 || minor % 13 != 0,
            "no share of {minor} is whole"
        );
    }

    /// M7: the event goes by the id of its object.
    pub(crate) fn name_after_object(routed: &mut Routed) {
        let object = routed
            .objects
            .first()
            .and_then(|id| EventId::parse(id).ok());
        if let (InputSource::Event(_, id), Some(object)) = (&mut routed.source, object) {
            *id = object;
        }
    }
}
