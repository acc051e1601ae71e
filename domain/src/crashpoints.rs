//! Named steps at which a process may end: the same names in the code, the simulation and the kill loop.
//!
//! With the feature `crashpoints`, and only then, `step!("KW6")` tells that this point was passed. A thread that
//! [`listen`]s decides itself what that means (`tests/sim` takes the power away); otherwise `BURSAR_CRASH_AT=KW6:17`
//! in the environment aborts the process at the 17th pass.
//!
//! Invariants: without the feature a `step!` is nothing, so no build that is shipped holds one; a name that is not in
//! [`ALL`] panics instead of being silently never reached.
//! Not here: what must hold after an end at each point (the checks of `tests/sim` and `tests/crash`).

/// `step!("KW6")`: this point is passed. Nothing without the feature `crashpoints`.
#[cfg(not(feature = "crashpoints"))]
#[macro_export]
macro_rules! step {
    ($point:literal) => {};
}

/// `step!("KW6")`: this point is passed. Nothing without the feature `crashpoints`.
#[cfg(feature = "crashpoints")]
#[macro_export]
macro_rules! step {
    ($point:literal) => {
        $crate::crashpoints::pass($point)
    };
}

#[cfg(feature = "crashpoints")]
pub use passing::{ALL, Point, draw_from, drawn, is_next, listen, pass};

#[cfg(feature = "crashpoints")]
mod passing {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A point and what has just happened there.
    #[derive(Clone, Copy, Debug)]
    pub struct Point {
        /// Its name in the code.
        pub name: &'static str,
        /// What the process has just done.
        pub after: &'static str,
    }

    const fn point(name: &'static str, after: &'static str) -> Point {
        Point { name, after }
    }

    /// Every point there is.
    pub const ALL: [Point; 27] = [
        point("KW0", "a connection was accepted"),
        point("KW1", "a part of a body was read"),
        point("KW2", "a delivery's signature was found right"),
        point("KW3", "its address was read from it"),
        point("KW4", "accepted inputs were written, not synced"),
        point("KW5", "accepted inputs were synced, nobody was told"),
        point("KW6", "a delivery was answered, its aggregate is woken"),
        point("KW7", "a decision was made, nothing of it is written"),
        point("KW8", "a decision was written, not synced"),
        point("KW9", "a decision was synced and its rows filed"),
        point("KW10", "a due effect was taken in hand, nothing was sent"),
        point("KW11", "Stripe has executed a read, its answer is not read"),
        point("KW12", "an effect was performed, its end is not recorded"),
        point("KW13", "an effect's end was recorded, not applied"),
        point("KW14", "an effect's end was applied"),
        point("KW15", "a checkpoint or an old segment is half done"),
        point("KC0", "an order was authenticated and checked"),
        point("KC1", "an order was stored"),
        point(
            "KC2",
            "Stripe has executed an order, its answer is not read",
        ),
        point("KC3", "Stripe's answer to an order was read"),
        point(
            "KC4",
            "the end of an order is known, its answer is not kept",
        ),
        point("KC5", "half of an answer was written"),
        point("KS1", "a record was folded at the start"),
        point("KS2", "rows of a checkpoint were restored at the start"),
        point("KS3", "a stage of the drain ended"),
        point("KS5", "a file of a backup was copied"),
        point("KS6", "the webhook secrets were replaced"),
    ];

    type Listener = Rc<dyn Fn(&'static str)>;

    thread_local! {
        static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
        static DRAWS: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on this thread draws what would be random from this seed, so that a run can be repeated; `None`: from
    /// the system again.
    pub fn draw_from(seed: Option<u64>) {
        DRAWS.set(seed);
    }

    /// Fills from that seed (splitmix64); `false`: nobody asked for it.
    pub fn drawn(bytes: &mut [u8]) -> bool {
        let Some(mut state) = DRAWS.get() else {
            return false;
        };
        for byte in bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed >> 56) as u8;
        }
        DRAWS.set(Some(state));
        true
    }

    /// Tells this thread's passes to `listener` from now on; `None`: to the environment's wish again.
    pub fn listen(listener: Option<Listener>) {
        LISTENER.set(listener);
    }

    /// This point is passed. # Panics: there is no such point.
    pub fn pass(name: &'static str) {
        assert!(is_known(name), "{name} is not in ALL");
        let listener = LISTENER.with_borrow(Clone::clone);
        match (listener, &*WISH) {
            (Some(listener), _) => listener(name),
            (None, Some(wish)) if wish.name == name => wish.pass(),
            _ => {}
        }
    }

    /// Whether the environment wishes an end at this point's next pass: for those that must prepare it.
    pub fn is_next(name: &str) -> bool {
        let wish = WISH.as_ref().filter(|wish| wish.name == name);
        wish.is_some_and(|wish| wish.passes.load(Ordering::Relaxed) + 1 == wish.at)
    }

    fn is_known(name: &str) -> bool {
        ALL.iter().any(|point| point.name == name)
    }

    /// What `BURSAR_CRASH_AT` asks for.
    struct Wish {
        name: String,
        at: u64,
        passes: AtomicU64,
    }

    static WISH: LazyLock<Option<Wish>> = LazyLock::new(|| {
        let text = std::env::var("BURSAR_CRASH_AT").ok()?;
        let (name, at) = text.split_once(':').unwrap_or((&text, "1"));
        assert!(is_known(name), "BURSAR_CRASH_AT: there is no point {name}");
        Some(Wish {
            name: name.to_owned(),
            at: at.parse().expect("BURSAR_CRASH_AT is POINT:PASS"),
            passes: AtomicU64::new(0),
        })
    });

    impl Wish {
        fn pass(&self) {
            let passes = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
            if passes == self.at {
                eprintln!("ends at {}, pass {passes}", self.name);
                std::process::abort();
            }
        }
    }
}
