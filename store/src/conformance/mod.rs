//! What every store must do, whatever it is made of: run against each backend.
//!
//! A test gets a fresh store from its backend's maker and talks to the trait alone.

mod accept;
pub(crate) mod world;

/// Makes one test per sentence for a backend. `$make` is an expression giving
/// `(Arc<dyn Store>, guard)`; the guard lives as long as the test.
macro_rules! suite {
    ($make:expr; $($module:ident :: { $($name:ident),* $(,)? })*) => {$($(
        #[test]
        fn $name() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let (store, _guard) = $make;
                crate::conformance::$module::$name(store.as_ref()).await;
                store.close().await.expect("a clean close");
            });
        }
    )*)*};
}

macro_rules! store_suite {
    ($make:expr) => {
        crate::conformance::suite! { $make;
            accept::{
                an_event_is_accepted_once_and_found_again,
                the_same_event_in_one_call_is_one_event,
                ids_are_unique_per_account_only,
                another_body_under_the_same_id_is_seen_and_the_first_is_kept,
                ignored_and_dead_inputs_are_listed_and_never_pending,
                an_input_waits_for_any_of_its_references,
                a_known_reference_does_not_park,
                limits_are_refused_and_nothing_is_written,
            }
        }
    };
}

pub(crate) use store_suite;
pub(crate) use suite;

mod memory {
    use crate::mem::MemStore;
    crate::conformance::store_suite!((MemStore::new().expect("a store in memory"), ()));
}
