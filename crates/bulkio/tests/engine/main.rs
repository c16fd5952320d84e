//! One suite for every kind of engine: what goes in comes out, exactly counted, and the memory comes back.
//!
//! Files lie in the target folder, on a disk file system: tmpfs accepts any address under `O_DIRECT` and would hide
//! alignment faults. Pipes stand for streams and for operations that never end by themselves. `beneath`, `choice`, `fixed` and
//! `movable` hold what only some kinds can do, beside the suite.
#![expect(unsafe_code, reason = "leases mapped memory from raw addresses, sends signals, counts allocations")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod allocations;
mod beneath;
mod cancel;
mod choice;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod fixed;
mod movable;
mod streams;
mod support;
mod transfers;
mod waits;

/// Each test once for each kind of engine, under its name.
macro_rules! suite {
    ($($group:ident: $($name:ident)*;)*) => {
        suite!(of uring Uring $($group: $($name)*;)*);
        suite!(of aio Aio $($group: $($name)*;)*);
        suite!(of threads Threads $($group: $($name)*;)*);
    };
    (of $kind:ident $choice:ident $($group:ident: $($name:ident)*;)*) => {
        mod $kind {
            $(mod $group {
                use bulkio::engine::EngineChoice;
                $(#[test] fn $name() {
                    const NAME: &str = concat!(stringify!($kind), "::", stringify!($group), "::", stringify!($name));
                    if crate::support::works(NAME, EngineChoice::$choice) {
                        crate::$group::$name(EngineChoice::$choice);
                    }
                })*
            })*
        }
    };
}

suite! {
    transfers:
        buffered_round_trip_at_odd_offsets
        direct_round_trip_in_one_piece_and_in_many
        three_thousand_pieces_become_three_operations
        more_parts_than_the_engine_is_deep
        read_across_the_end_of_the_file_is_exact
        split_read_across_the_end_of_the_file_is_exact
        refused_transfers_give_the_request_back
        nonsense_is_refused
        flushes_complete
        random_requests_against_a_model
        a_request_past_two_gigabytes
        files_are_added_with_or_without_a_registration;
    streams:
        write_to_a_closed_pipe
        streams_keep_their_order
        stream_ends_where_the_writer_closes
        records_end_short
        nonblocking_pipe_is_waited_for
        both_ends_of_one_pipe
        many_empty_pipes_hold_nobody_up
        a_named_pipe_that_nobody_reads_can_be_given_up
        a_watch_ends_when_there_is_something;
    cancel:
        dropped_with_reads_in_flight
        leaked_past_the_drain_bound
        a_call_that_does_not_end_is_leaked
        cancelled_requests_come_back
        one_request_is_cancelled
        cancelled_before_it_began;
    waits:
        full_engine_gives_the_request_back
        one_at_a_time
        a_file_whose_reads_wait_in_the_call
        a_signal_ends_the_wait
        time_limits_hold
        idle_and_busy_are_said
        a_wake_ends_a_wait
        a_wake_ends_a_wait_for_a_disk
        no_wake_is_lost;
    commands:
        parts_are_commands
        a_fault_of_the_device_has_its_byte
        a_short_command_is_a_fault_or_the_answer
        many_commands_at_once
        what_no_worker_has_begun_is_taken_back
        dropped_with_a_command_held
        a_command_that_does_not_end_is_leaked
        flushes_are_commands
        what_is_no_command_is_refused
        no_result_is_slept_through;
    movable:
        submitted_here_and_waited_for_there
        the_thread_that_submitted_ends
        many_threads_take_turns
        wakes_reach_it_wherever_it_is;
    allocations:
        the_steady_state_allocates_nothing
        no_thread_is_left_behind;
}
