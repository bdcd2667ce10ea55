//! The cases, each listed once, and what stamps them for a place that a store can be in.

/// Stamps lists of cases for one place that a store can be in.
macro_rules! stamp {
    ($backend:ident $place:tt : $($list:ident)*) => {
        mod $backend {
            $(mod $list { $list! { case $place } })*
        }
    };
}

/// Stamps one list's cases as tests.
macro_rules! case {
    ($place:tt $($module:ident { $($case:ident)* })*) => {
        $(mod $module {
            #[cfg(all(target_family = "wasm", target_os = "unknown"))]
            use wasm_bindgen_test::wasm_bindgen_test as test;

            $(case! { @ $module $case $place })*
        })*
    };
    // A place that is there at once.
    (@ $module:ident $case:ident ( $place:expr )) => {
        #[test]
        fn $case() {
            magnetar::block_on(crate::suite::$module::$case(crate::fixture::Fixture::new($place)));
        }
    };
    // A place that a browser takes its time to make.
    (@ $module:ident $case:ident { $place:expr }) => {
        #[test]
        async fn $case() {
            let place = $place.await;
            magnetar::block_on(crate::suite::$module::$case(crate::fixture::Fixture::new(place)));
        }
    };
}

/// What every store does.
macro_rules! always {
    ($then:ident $place:tt) => {
        $then! { $place
            claiming {
                the_higher_priority_is_claimed_first_then_the_lower_id
                one_by_one_gives_the_order_of_a_batch
                a_claim_shows_all_of_the_chunk
                a_blocked_chunk_is_never_claimed
                a_delayed_chunk_is_claimed_when_due_and_not_before
                a_delayed_chunk_takes_its_place_among_the_others_when_due
                any_job_means_the_lowest_that_has_something_ready
                a_claim_of_any_job_finds_what_falls_due_in_that_moment
                a_claim_of_any_job_finds_what_lapses_in_that_moment
                a_batch_takes_what_there_is_and_no_more_than_asked_for
                the_lease_is_the_requests_or_else_the_jobs
                every_fence_is_higher_than_all_before_it
                a_chunk_is_held_by_one_claim_only
                a_job_that_does_not_exist_is_an_error_and_not_nothing_to_do
            }
            leases {
                a_lease_that_is_over_puts_the_chunk_back_and_counts_a_loss
                a_heartbeat_starts_the_lease_anew
                a_heartbeat_reopens_a_lapsed_claim_that_nobody_took
                a_lapsed_claim_that_nobody_took_can_still_be_completed
                a_lapsed_claim_that_nobody_took_can_still_fail
                the_first_loss_is_free_and_the_second_is_delayed
                too_many_losses_fail_the_chunk_and_say_so
                no_limit_of_losses_means_none
                a_release_costs_nothing_and_comes_back_at_once
                resume_pending_puts_back_what_lapsed_and_lists_what_is_pending_by_id
                what_is_held_is_found_held_after_reopening
                a_clock_that_jumped_ahead_and_back_delays_nobody
                however_much_a_clock_that_went_back_ends_is_put_back_by_resume_pending
                what_lapses_in_the_commit_of_a_release_is_not_counted_as_released
                a_clock_that_went_back_a_little_ends_no_lease
                a_clock_at_either_end_of_time_breaks_nothing
            }
            fencing {
                r01_a_stale_fence_completes_nothing
                r02_a_completion_after_expiry_counts_only_where_nobody_took_over
                r03_a_second_completion_is_the_same_or_a_conflict
                r04_nothing_fenced_is_taken_after_the_chunk_is_done
                r04_nothing_fenced_is_taken_after_a_cancellation
                r04_nothing_fenced_is_taken_after_a_failure_for_good
                r04_nothing_fenced_is_taken_once_the_chunk_started_over
                r05_a_fence_of_another_chunk_or_job_is_none
                r05_a_fence_from_the_future_is_none
                r06_a_stale_heartbeat_extends_nothing
                r07_a_stale_failure_burns_no_attempt
                r07_the_same_failure_twice_burns_one_attempt
                r08_no_claim_gets_a_chunk_whose_dependencies_are_not_met
                r09_no_claim_gets_a_chunk_whose_attempts_are_used_up
                r10_ids_out_of_range_are_refused
                r11_no_dependency_closes_a_circle_or_names_nobody_or_comes_too_late
                r12_a_chunk_id_that_comes_twice_refuses_the_whole_import
                r13_a_lease_out_of_range_is_refused
                r14_a_claim_from_before_the_job_was_deleted_is_none
                r16_the_same_chunk_with_other_content_is_a_conflict_once_it_is_under_way
                a_stale_update_in_a_batch_changes_nothing_and_its_companions_go_on
            }
            finishing {
                a_result_is_kept_and_outlives_the_handle
                another_checksum_is_refused_and_the_claim_stays
                the_expected_checksum_is_never_overwritten
                no_observed_checksum_is_as_good_as_the_expected_one
                a_failure_waits_out_its_backoff_which_doubles_up_to_its_cap
                failures_of_one_moment_do_not_come_back_in_one_moment
                the_last_attempt_fails_the_chunk
                an_error_that_is_permanent_fails_the_chunk_whatever_attempts_it_has_left
                an_error_may_say_when_the_next_attempt_begins
                a_claim_is_given_back_for_later_at_no_cost
                no_limit_of_attempts_means_none
                what_a_failure_said_stays_until_the_chunk_is_done
                complete_and_claim_does_both_or_nothing
                a_batch_answers_each_update_by_itself_in_order
                a_batch_of_another_jobs_claims_is_refused_as_a_whole
                a_completion_frees_its_dependents_in_the_same_commit
                a_retried_chunk_starts_with_all_its_attempts
            }
            marking {
                every_status_is_marked_as_the_table_says
                marking_done_ends_the_claim_of_whoever_holds_the_chunk
                marking_done_keeps_to_the_expected_checksum
                marking_done_frees_the_dependents
                a_chunk_marked_failed_stays_so_until_it_is_retried
                marking_pending_ends_a_claim_and_a_delay
                marking_what_does_not_exist_is_an_error
            }
            bulk {
                retry_of_all_brings_back_what_failed_and_only_that
                retry_of_some_takes_failed_and_cancelled_ones
                reset_of_all_takes_back_what_is_done_and_only_that
                cancel_of_all_takes_whatever_is_not_done
                one_chunk_that_is_refused_leaves_all_as_they_are
                a_chunk_named_twice_counts_once_and_no_chunk_at_all_is_nothing_to_do
                a_cancelled_holder_is_superseded
                a_reset_blocks_what_depends_on_it_again
                a_reset_through_takes_back_what_was_done_on_top
                a_reset_ends_the_claim_of_a_dependent_and_blocks_it
                a_reset_ends_the_lapsed_claim_of_a_dependent
                a_reset_of_a_whole_chain_by_name_counts_each_once
            }
            dependencies {
                by_default_a_chunk_waits_for_what_failed_and_the_job_shows_as_stalled
                a_cancel_policy_cascades_over_all_levels_and_keeps_the_cause
                a_retry_brings_back_all_that_the_failure_had_cancelled
                what_two_failures_cancel_comes_back_when_both_are_retried
                what_a_cascade_reaches_counts_in_whatever_order_chunks_are_named
                marking_the_cause_done_brings_its_dependents_back_too
                what_was_cancelled_by_itself_does_not_come_back_with_its_dependency
                a_dependency_whose_failure_is_ignored_counts_once_however_often_it_fails
                a_cancelled_dependency_counts_like_a_failed_one
                a_chunks_policy_goes_before_its_jobs
                an_ignored_failure_stays_ignored_until_a_reset
                attempts_used_up_and_losses_cascade_like_a_mark
                a_cascade_leaves_alone_what_is_done_or_under_way
                a_dependency_can_be_added_while_a_chunk_waits
                a_dependency_that_exists_is_unchanged_whatever_the_status
                a_dependency_added_on_what_is_done_is_met
                a_dependency_added_on_what_failed_follows_the_policy
                a_dependency_added_to_a_lapsed_claim_ends_it
                a_dependency_added_by_an_import_ends_a_lapsed_claim
                a_dependency_on_what_is_under_way_waits
                a_longer_circle_is_named_and_refused_as_a_whole
                a_circle_among_very_many_is_found
                a_diamond_is_no_circle
                two_that_very_many_wait_for_free_them_in_one_commit
                a_blocked_and_delayed_chunk_waits_for_both
                a_delay_that_ended_while_a_chunk_was_blocked_is_over_with_the_block
            }
            importing {
                an_import_brings_back_what_the_failure_of_a_former_dependency_had_cancelled
                the_same_import_twice_changes_nothing
                the_same_import_over_work_in_progress_changes_nothing
                a_manifest_is_imported_with_its_job
                a_job_without_chunks_exists
                changed_scheduling_is_taken_over_while_a_chunk_is_not_under_way_or_done
                a_changed_priority_changes_the_order_of_claims
                changed_content_starts_a_chunk_over_that_is_not_under_way_or_done
                a_changed_payload_is_changed_content_and_its_spelling_is_too
                changed_content_under_way_or_done_refuses_the_whole_import_and_lists_the_chunks
                changed_content_can_be_left_out_where_it_conflicts
                changed_content_can_take_back_what_is_under_way_or_done
                a_chunk_that_is_for_later_waits_for_its_moment
                a_chunk_that_was_cancelled_or_failed_before_its_moment_still_waits_for_it
                a_manifest_moves_a_chunk_that_nobody_has_had
                chunks_that_are_missing_are_kept_by_default
                chunks_that_are_missing_can_be_cancelled
                chunks_that_are_missing_can_be_deleted
                a_missing_chunk_that_another_depends_on_is_not_deleted
                of_very_many_dependents_the_last_one_keeps_a_missing_chunk_too
                dependencies_are_replaced_by_those_of_the_new_manifest
                a_changed_policy_counts_at_once
                a_changed_policy_of_the_job_is_told_of_every_failure_however_many
                each_setting_of_a_chunk_that_changes_is_taken_over
                a_failure_that_was_ignored_stays_so_under_a_changed_priority
                a_failure_that_was_ignored_stays_so_under_another_policy_of_the_job
                dependencies_may_name_what_the_job_has_already
                an_unknown_dependency_refuses_the_whole_import
                a_circle_refuses_the_whole_import_and_is_named
                a_chunk_that_depends_on_itself_is_refused
                an_import_over_a_failed_dependency_follows_the_policy
                what_a_manifest_leaves_open_of_the_job_stays
                an_error_in_the_stream_refuses_the_whole_import
                new_job_gives_ids_that_were_never_used
                new_job_says_when_the_ids_are_used_up
                a_deleted_job_is_gone_and_its_fences_are_never_used_again
            }
            looking {
                jobs_are_listed_page_by_page
                chunks_are_listed_by_status_in_the_order_of_their_ids
                pages_of_many_priorities_list_chunks_in_the_order_of_their_ids
                a_long_list_has_each_chunk_once_with_what_is_its_own
                what_does_not_exist_is_an_error_or_none
                the_counts_equal_a_recount_after_every_step_of_a_random_walk
                stats_say_how_far_a_job_is
                topo_order_puts_each_chunk_behind_what_it_depends_on
                the_graph_is_drawn_with_each_chunks_status
                the_feed_lists_the_newest_state_of_each_thing_in_the_order_of_change
                the_feed_in_small_pages_is_the_feed_in_one
                the_feed_tells_of_what_was_deleted
                a_heartbeat_is_not_told_to_the_feed
                a_changed_dependency_is_told_to_the_feed
                what_a_chunk_waits_for_is_told_to_the_feed
                a_job_is_told_to_the_feed_before_its_chunks
                a_revision_that_the_store_has_not_come_to_is_refused_by_the_feed
                a_watch_tells_of_changes_once_and_many_as_one
            }
            limits {
                ids_out_of_range_are_refused_by_every_call
                the_highest_ids_work_like_any_other
                texts_are_taken_up_to_their_limits
                texts_past_their_limits_are_refused
                error_texts_are_cut_between_characters
                leases_and_backoffs_are_taken_up_to_their_limits
                counts_of_claims_and_pages_are_taken_up_to_their_limits
                a_claim_takes_no_more_than_can_be_handed_over
                batches_are_taken_up_to_their_limits
                dependencies_are_taken_up_to_their_limit
                what_a_job_leaves_open_has_the_documented_defaults
            }
            lifetime {
                a_closed_store_refuses_every_call
                what_was_acknowledged_is_there_after_reopening
                a_store_says_where_it_is_and_who_asks
                a_claim_that_nobody_waits_for_strands_nothing
                a_completion_that_nobody_waits_for_is_whole_or_not_at_all
                an_import_that_nobody_waits_for_leaves_the_job_free
                a_handle_outlives_its_reopening
            }
            payloads {
                a_long_payload_outlives_all_that_happens_to_its_chunk
                an_import_tells_a_long_payload_from_another
                the_feed_tells_of_a_long_payload_where_it_is_the_newest
                named_chunks_with_long_outputs_are_reset_together_or_not_at_all
                the_largest_payloads_are_claimed_as_far_as_one_claim_may_take_them
            }
            slices {
                a_completion_frees_thousands_in_slices
                a_cascade_cancels_and_revives_thousands
                a_reset_that_comes_before_the_slices_are_done_wins
                a_reset_holds_before_its_slices_are_done
                a_job_is_not_stalled_while_dependents_are_to_be_told
                what_many_failures_cancelled_comes_back_with_the_last_of_them
                what_many_ends_tell_is_told_to_the_end
                what_was_to_be_told_ends_with_the_dependencies
                all_that_still_wait_are_told_where_others_were_cut_loose_in_the_same_commit
                a_reset_through_takes_back_thousands
                what_is_left_of_a_reset_through_is_not_forgotten_when_the_chunk_is_done_again
                what_is_left_of_a_reset_through_outlasts_all_that_comes_after_it
                what_is_left_of_a_reset_through_comes_before_a_failure
                a_chunk_that_hears_of_a_reset_through_out_of_turn_passes_it_on
                a_reset_is_told_to_all_though_other_news_come_before_it_was
                what_a_failure_cancels_is_cancelled_though_a_reset_was_not_told_to_all
                a_claim_from_before_a_reset_is_void_though_the_chunk_is_done_again
                what_was_cancelled_comes_back_though_other_news_come_before_it_was_told
                what_is_left_of_a_reset_through_outlasts_another_policy
                a_job_with_slices_left_can_be_deleted
            }
        }
    };
}

/// What is too much for one transaction, in a list of its own because each takes seconds: for one place of each kind.
macro_rules! bulky {
    ($then:ident $place:tt) => {
        $then! { $place
            large {
                a_large_new_job_is_invisible_until_it_is_whole
                a_large_import_has_chunks_for_later_too
                a_large_import_that_fails_leaves_nothing_behind
                whoever_has_imported_is_needed_no_more_once_it_closes
                a_circle_across_slices_is_found_before_anything_shows
                what_is_unchanged_of_a_large_import_is_free
                too_many_changes_of_an_existing_job_are_refused_unless_slices_are_asked_for
                one_step_takes_as_many_bytes_as_the_limit_says_and_slices_take_more
                one_step_takes_as_many_dependencies_as_the_limit_says_and_slices_take_more
                one_transaction_takes_as_many_rows_as_the_limit_says
                other_operations_run_between_the_slices
                a_large_job_is_listed_page_by_page_and_deleted_whole
            }
        }
    };
}

/// What a store does that outlives its handle.
macro_rules! kept {
    ($then:ident $place:tt) => {
        $then! { $place
            leases {
                what_a_client_held_before_it_opened_again_survives_a_reopen_of_the_handle
                what_a_living_owner_holds_is_left_alone_by_another
                what_a_dead_owner_held_comes_back_when_a_claim_finds_too_little
                a_claim_of_any_job_finds_what_a_dead_owner_held
                of_what_the_dead_held_one_commit_puts_back_a_thousand_and_the_next_goes_on_at_once
                the_dead_are_looked_for_once_a_second_at_most
                resume_pending_puts_back_what_the_dead_held
                what_the_dead_held_is_back_when_the_store_opens
                a_client_that_ended_is_known_dead_by_the_store_itself
                release_all_gives_back_what_this_client_holds_and_nothing_else
            }
            fencing {
                r15_another_client_cannot_end_a_claim_that_it_does_not_know
            }
            lifetime {
                closing_gives_back_what_is_held
            }
            slices {
                a_completion_is_told_to_the_end_after_a_crash
                a_reset_is_told_to_all_after_a_crash_though_the_chunk_was_cancelled
            }
            rounds {
                after_any_rounds_dependents_stand_as_the_chunk_and_their_policies_say
            }
        }
    };
}

/// What a store does for callers on several threads.
#[cfg(not(target_family = "wasm"))]
macro_rules! threaded {
    ($then:ident $place:tt) => {
        $then! { $place
            together {
                a_refused_companion_leaves_the_others_whole
                callers_of_one_moment_share_one_commit
                no_two_callers_of_one_moment_get_the_same_chunk
                a_claim_sees_what_a_completion_before_it_in_the_group_freed
                a_claim_has_the_long_payload_of_a_chunk_that_was_given_back_in_its_group
                a_claim_of_any_job_sees_an_import_before_it_in_the_group
                a_job_imported_and_deleted_in_one_group_leaves_nothing
                a_job_deleted_and_imported_in_one_group_has_what_the_import_brought
                a_job_imported_while_an_older_one_is_being_deleted_stays
                two_imports_of_one_group_close_no_circle
                what_a_chunk_passes_on_twice_in_one_round_is_told_both_times
                what_is_left_to_tell_is_what_it_came_to_be_by_the_others_of_its_commit
                a_failure_that_another_policy_ended_is_told_no_more
                a_dependency_taken_away_in_the_group_closes_no_circle
                dependencies_added_in_one_group_close_no_circle
                a_chunk_added_before_in_the_group_is_missing_from_the_next_manifest
                a_chunk_deleted_and_added_in_one_group_begins_anew
                a_retry_of_all_sees_what_failed_before_it_in_the_group
                one_claim_is_ended_once_whoever_comes_first
                a_claim_given_up_while_its_commit_runs_is_released
                what_goes_in_slices_is_done_whole_though_its_caller_has_gone
                an_import_that_fails_is_taken_back_though_its_caller_goes_meanwhile
                many_threads_work_a_job_off_and_no_chunk_is_done_twice
            }
        }
    };
}
