//! What every store must do, whatever it is made of: run against each backend.
//!
//! A test gets a fresh store from its backend's maker and talks to the trait alone.

mod accept;
mod apply;
mod auditor;
mod backup;
mod checkpoints;
mod crash;
mod disk;
mod explain;
mod figures;
mod random;
mod views;
mod work;
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
            apply::{
                an_apply_consumes_its_inputs_and_raises_the_version,
                an_apply_on_an_old_version_changes_nothing,
                an_input_is_consumed_once,
                an_input_of_another_aggregate_is_not_consumed,
                a_link_that_changed_since_it_was_read_makes_the_apply_stale,
                a_step_sees_the_links_of_the_step_before,
                a_link_frees_what_waited_for_it_in_the_same_commit,
                more_parked_inputs_than_one_commit_frees_are_all_freed,
                messages_arrive_in_the_same_commit_and_may_wait,
                a_message_does_not_wait_for_what_its_own_commit_links,
                an_unbalanced_movement_is_refused,
                a_decision_cannot_park,
                past_decisions_can_be_made_again,
                racing_applies_of_one_version_have_one_winner,
            }
            figures::{
                figures_count_what_is_there,
            }
            explain::{explain_finds_inputs_and_lines}
            views::{
                the_ledger_and_its_balances_move_together,
                rows_are_listed_newest_first_and_follow_their_tenant,
                rows_are_filtered_by_status_time_and_hidden,
                a_row_shows_personal_fields_until_they_are_erased,
                an_alias_answers_its_row,
                timelines_are_read_oldest_first_by_tenant_payment_and_id,
                pages_hold_everything_once,
                inputs_are_listed_newest_first_by_status_kind_tenant_and_time,
                a_page_is_empty_only_if_there_is_nothing,
                the_digest_ignores_the_order_of_commits,
            }
            work::{
                effects_happen_once_and_end_once,
                a_result_of_an_effect_is_an_input_of_its_aggregate,
                an_effect_put_off_is_due_later,
                an_effect_that_failed_is_revived_with_its_audit_line_and_no_other,
                the_outbox_lists_effects_newest_first,
                timers_fire_once_and_only_as_they_were_set,
                ready_names_exactly_the_aggregates_with_pending_input,
                a_buried_input_blocks_nobody_and_can_be_requeued,
                a_dismissed_input_is_set_aside_with_its_reason,
                kept_records_are_guarded_and_listed,
                records_of_a_person_are_sealed_compared_and_forgotten,
                the_audit_trail_is_read_newest_first,
                a_store_is_bound_to_one_mode,
                a_store_is_bound_to_one_account,
                an_erased_body_is_gone_and_its_input_is_not,
                a_snapshot_without_personal_fields_outlives_an_erasure,
                commits_raise_the_watched_number,
                a_closed_store_takes_nothing,
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

mod sled {
    use crate::open::{OpenOptions, open_sled};
    crate::conformance::store_suite!({
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = open_sled(dir.path(), OpenOptions::small()).expect("a store on disk");
        (store, dir)
    });
}

mod simulated {
    use crate::kv::MemKv;
    use crate::open::open_simulated;
    use crate::vfs::SimVfs;
    crate::conformance::store_suite!((
        open_simulated(&SimVfs::new(), MemKv::default()).expect("a store on a simulated disk"),
        ()
    ));
}

/// Checkpoints are written, and segments dropped, while the sentences are said.
mod short {
    use crate::kv::MemKv;
    use crate::open::open_simulated_with;
    use crate::vfs::SimVfs;
    crate::conformance::store_suite!({
        let mut options = crate::conformance::checkpoints::short();
        options.journal.segment_bytes = 1 << 20;
        let opened = open_simulated_with(&SimVfs::new(), MemKv::default(), &options);
        (opened.expect("a store on a simulated disk").0, ())
    });
}
