//! Everything that a controller can do wrong: it is an error or a failed request, never a panic, nothing completes twice, and
//! every command comes back in the end.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod machine;

use machine::{Driver, Found, Machine, found, on};
use nvme_driver::fake::{Aborts, Condition, Fault, Setup};
use nvme_driver::{DeviceStatus, InitError, Meaning, Options, PollError, ReadyError, Recovery};
use scatterlist::map::checked::Finding;
use scatterlist::{Addr as _, BusAddr, CacheCoherence, Direction, Outcome, Status};

const SECOND: u64 = 1_000_000_000;

fn options() -> Options {
    Options {
        command_timeout_ns: 3 * SECOND,
        abort_timeout_ns: SECOND,
        admin_timeout_ns: 2 * SECOND,
        ..Options::default()
    }
}

/// Submits reads `1..=count`, each of a page, and rings.
fn submit(machine: &Machine<'_, '_>, controller: &mut Driver<'_, '_>, count: u64) {
    let (spaces, queues) = controller.parts_mut();
    for name in 1..=count {
        let request = machine.request(Direction::FromDevice, name * 4096, 1, 0, name);
        queues[0].submit(&spaces[0], request).unwrap();
    }
    queues[0].ring();
}

fn cancelled(bytes: u64) -> Outcome {
    let fault = Some(scatterlist::Fault { at: 0, status: Status::Cancelled });
    Outcome { asked: bytes, done: 0, fault }
}

/// Reads and writes still work.
fn works<'g, 'm>(machine: &Machine<'g, 'm>, controller: &mut Driver<'g, 'm>) {
    let (spaces, queues) = controller.parts_mut();
    let request = machine.request(Direction::ToDevice, 65536, 3, 0x5a, 99);
    machine.transfer(&mut queues[0], &spaces[0], request);
    assert_eq!(machine.log.take(), [(99, Outcome::whole(3 * 4096))]);
    assert!(machine.fake.contents(1)[65536..65536 + 3 * 4096].iter().all(|byte| *byte == 0x5a));
}

#[test]
fn a_failed_command_carries_the_device_status() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        // Unrecovered read error, do not retry, with a retry delay that is left out.
        machine.fake.fail_block(1, 17, 0x4000 | 0x1800 | 0x281);
        submit(machine, &mut controller, 3);
        let queue = &mut controller.queues_mut()[0];
        machine.fake.run();
        let mut seen = Vec::new();
        queue
            .poll(|done| {
                seen.push(done.device_status());
                done.complete();
            })
            .unwrap();
        let status = seen[1].unwrap();
        assert_eq!((seen[0], seen[2]), (None, None));
        assert_eq!((status.code_type(), status.code(), status.is_final()), (2, 0x81, true));
        assert_eq!(status.meaning(), Meaning::UnrecoveredRead);
        assert_eq!(status.to_string(), "unrecovered read error (NVMe status 0x4281, final)");
        let told = machine.log.take();
        let fault = told[1].1.fault.unwrap();
        assert_eq!((told[1].1.done, fault.status), (0, Status::Device(0x4281)));
        assert_eq!(DeviceStatus::from_status(fault.status), Some(status));
        works(machine, &mut controller);
    });
}

#[test]
fn an_overdue_command_is_aborted() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        machine.fake.fault_nth(2, Fault::Stall);
        submit(machine, &mut controller, 3);
        machine.fake.run();
        // Not overdue yet: what is done comes back.
        let recovery = controller.check_timeouts(|done| drop(done.complete())).unwrap();
        assert_eq!(recovery, Recovery { came_back: 2, ..Recovery::default() });
        machine.fake.pass(4 * SECOND);
        let recovery = controller.check_timeouts(|done| drop(done.complete())).unwrap();
        assert_eq!(recovery, Recovery { came_back: 1, overdue: 1, aborted: 1, ..Recovery::default() });
        let told = machine.log.take();
        assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [1, 3, 2]);
        // 00h/07h: command abort requested.
        assert_eq!(told[2].1.fault.unwrap().status, Status::Device(7));
        works(machine, &mut controller);
    });
}

#[test]
fn where_aborts_do_not_help_the_controller_is_reset() {
    for (fault, aborts) in [
        (Fault::Stall, Aborts::Refuse),
        (Fault::Stall, Aborts::Stall),
        (Fault::Lose, Aborts::Accept),
        (Fault::WrongPhase, Aborts::Accept),
    ] {
        on(Setup { dstrd: 1, ..Setup::default() }, |machine| {
            let mut controller = machine.bring_up(Options { queues: 2, ..options() }).unwrap();
            machine.fake.set_aborts(aborts);
            // The last one: behind an entry with the wrong phase nothing is seen.
            machine.fake.fault_nth(3, fault);
            submit(machine, &mut controller, 3);
            machine.fake.run();
            // And one of another queue, which no abort brings back.
            machine.fake.fault_next(Fault::Lose);
            {
                let (spaces, queues) = controller.parts_mut();
                let flush = machine.control(0, 10);
                queues[1].submit_flush(&spaces[0], flush).unwrap();
                queues[1].ring();
            }
            machine.fake.run();
            machine.fake.pass(4 * SECOND);
            let recovery = controller.check_timeouts(|done| drop(done.complete())).unwrap();
            assert!(recovery.reset, "{fault:?} {aborts:?} {recovery:?}");
            assert_eq!((recovery.came_back, recovery.overdue, recovery.cancelled), (2, 2, 2));
            let told = machine.log.take();
            assert_eq!(told[2..], [(3, cancelled(4096)), (10, cancelled(0))]);
            works(machine, &mut controller);
        });
    }
}

#[test]
fn a_reset_cancels_what_is_in_flight_and_io_goes_on() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        for round in 0..5 {
            submit(machine, &mut controller, 7 + round);
            if round % 2 == 0 {
                machine.fake.run();
            }
            let count = controller.reset(|done| drop(done.complete())).unwrap();
            let told = machine.log.take();
            assert_eq!((count, told.len()), (usize::try_from(7 + round).unwrap(), count));
            assert!(told.iter().all(|(_, outcome)| *outcome == cancelled(4096)));
            works(machine, &mut controller);
        }
    });
}

#[test]
fn a_fatal_status_ends_in_a_reset() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        submit(machine, &mut controller, 2);
        machine.fake.set_condition(Some(Condition::Fatal));
        // Still fatal after it was enabled again.
        let error = controller.check_timeouts(|done| drop(done.complete())).unwrap_err();
        assert!(matches!(error, InitError::Ready(ReadyError::Fatal)), "{error}");
        assert_eq!(machine.log.take(), [(1, cancelled(4096)), (2, cancelled(4096))]);
        assert!(!controller.is_dead());
        {
            let (spaces, queues) = controller.parts_mut();
            let request = machine.request(Direction::FromDevice, 0, 1, 0, 3);
            let failed = queues[0].submit(&spaces[0], request).unwrap_err();
            assert_eq!(failed.to_string(), "the controller is stopped");
            queues[0].ring();
            assert_eq!(queues[0].poll(drop), Err(PollError::Stopped { queue: 1 }));
        }
        // Well again, a later reset helps.
        machine.fake.set_condition(None);
        machine.log.take();
        controller.reset(drop).unwrap();
        works(machine, &mut controller);
    });
}

/// Runs `work` with a controller that is left with two commands, and returns what was found.
fn dying(condition: Condition) -> Found {
    found(Setup::default(), CacheCoherence::Coherent, |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        submit(machine, &mut controller, 2);
        {
            let (spaces, queues) = controller.parts_mut();
            let range = 0..512;
            queues[0]
                .submit_deallocate(&spaces[0], std::slice::from_ref(&range), machine.control(512, 5))
                .unwrap();
        }
        machine.fake.set_condition(Some(condition));
        machine.fake.pass(4 * SECOND);
        let error = controller.reset(drop).unwrap_err();
        match condition {
            Condition::Gone => assert!(matches!(error, InitError::Ready(ReadyError::Gone)), "{error}"),
            _ => assert!(
                matches!(error, InitError::Ready(ReadyError::Timeout { ready: false, .. })),
                "{error}"
            ),
        }
        assert!(controller.is_dead());
        // The completions were told all the same.
        let mut told = machine.log.take();
        told.sort_by_key(|(name, _)| *name);
        assert_eq!(told, [(1, cancelled(4096)), (2, cancelled(4096)), (5, cancelled(512))]);
        // It goes on: what it writes goes to memory that is still its own.
        machine.fake.run();
        assert!(controller.reset(drop).is_err());
        let (spaces, queues) = controller.parts_mut();
        let request = machine.request(Direction::FromDevice, 0, 1, 0, 3);
        let failed = queues[0].submit(&spaces[0], request).unwrap_err();
        assert!(!failed.error.is_backpressure());
    })
}

#[test]
fn what_a_controller_holds_that_does_not_stop_is_leaked_and_said() {
    for condition in [Condition::NeverStops, Condition::Gone] {
        let found = dying(condition);
        assert_eq!(found.complaints, Vec::<String>::new());
        let dropped =
            found.findings.iter().filter(|finding| matches!(finding, Finding::DroppedInFlight { .. }));
        // Two requests, the admin queue of three parts, an I/O queue of two.
        assert_eq!(dropped.count(), 7, "{:#?}", found.findings);
        let other =
            |finding: &&Finding| !matches!(finding, Finding::DroppedInFlight { .. } | Finding::Leaked { .. });
        assert_eq!(found.findings.iter().find(other), None);
        assert_eq!(found.leased, 2 * 4096);
        assert!(found.coherent > 0 && found.bus.is_empty(), "{found:#?}");
    }
}

#[test]
fn a_controller_dropped_with_commands_in_flight_cancels_them() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        submit(machine, &mut controller, 3);
        drop(controller);
        assert_eq!(machine.log.take(), [1, 2, 3].map(|name| (name, cancelled(4096))));
    });
}

/// A fault, and what a poll makes of it.
type Wrong = (Fault, fn(PollError) -> bool);

#[test]
fn a_lying_completion_is_an_error_and_nothing_completes_twice() {
    let wrong: [Wrong; 5] = [
        (Fault::WrongCommand(0x3ff), |error| {
            matches!(error, PollError::UnknownCommand { command: 0x3ff, .. })
        }),
        (Fault::WrongCommand(60), |error| matches!(error, PollError::UnknownCommand { command: 60, .. })),
        (Fault::Twice, |error| matches!(error, PollError::UnknownCommand { .. })),
        (Fault::WrongQueue(7), |error| matches!(error, PollError::WrongQueue { queue: 1, said: 7 })),
        (Fault::WrongHead(50), |error| matches!(error, PollError::WrongHead { said: 50, .. })),
    ];
    for (fault, is_expected) in wrong {
        on(Setup::default(), |machine| {
            let mut controller = machine.bring_up(options()).unwrap();
            machine.fake.fault_nth(2, fault);
            submit(machine, &mut controller, 4);
            machine.fake.run();
            let queue = &mut controller.queues_mut()[0];
            let mut errors = Vec::new();
            for _ in 0..3 {
                errors.extend(queue.poll(|done| drop(done.complete())).err());
            }
            let [error] = errors[..] else { panic!("{fault:?}: {errors:?}") };
            assert!(is_expected(error), "{fault:?}: {error}");
            let told: Vec<u64> = machine.log.take().iter().map(|(name, _)| *name).collect();
            let lost = if fault == Fault::Twice { vec![1, 2, 3, 4] } else { vec![1, 3, 4] };
            assert_eq!(told, lost, "{fault:?}");
            // What is left is in flight until it is overdue.
            assert_eq!(queue.in_flight(), 4 - lost.len());
            machine.fake.pass(4 * SECOND);
            let recovery = controller.check_timeouts(|done| drop(done.complete())).unwrap();
            assert_eq!(recovery.reset, fault != Fault::Twice);
            machine.log.take();
            works(machine, &mut controller);
        });
    }
}

#[test]
fn a_late_completion_of_a_slot_that_is_used_again_completes_nothing() {
    on(Setup { mqes: 1, ..Setup::default() }, |machine| {
        // One command at a time: its slot is used again at once.
        let mut controller = machine.bring_up(options()).unwrap();
        machine.fake.fault_nth(2, Fault::WrongCommand(0));
        submit(machine, &mut controller, 1);
        machine.fake.run();
        controller.queues_mut()[0].poll(|done| drop(done.complete())).unwrap();
        submit(machine, &mut controller, 1);
        machine.fake.run();
        let error = controller.queues_mut()[0].poll(|done| drop(done.complete())).unwrap_err();
        assert_eq!(error, PollError::UnknownCommand { queue: 1, command: 0 });
        assert_eq!(error.to_string(), "queue 1: a completion for command 0x0000, which is not in flight");
    });
}

#[test]
fn a_command_that_is_completed_before_it_was_rung_is_rung_first() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        submit(machine, &mut controller, 1);
        machine.fake.run();
        controller.queues_mut()[0].poll(|done| drop(done.complete())).unwrap();
        // Slot 0 is used again, of generation 1: what the next completion names before the controller was told of it.
        machine.fake.fault_next(Fault::WrongCommand(1 << 10));
        let (spaces, queues) = controller.parts_mut();
        let queue = &mut queues[0];
        queue.submit(&spaces[0], machine.request(Direction::ToDevice, 0, 1, 0, 7)).unwrap();
        queue.submit(&spaces[0], machine.request(Direction::ToDevice, 4096, 1, 0, 8)).unwrap();
        let before = machine.fake.doorbells().submission;
        assert_eq!(queue.poll(|done| drop(done.complete())), Ok(0));
        assert_eq!(machine.fake.doorbells().submission, before + 1);
        // It was told, so the bell that comes now says nothing new.
        queue.ring();
        assert_eq!(machine.fake.doorbells().submission, before + 1);
        machine.fake.run();
        assert_eq!(queue.poll(|done| drop(done.complete())), Ok(2));
    });
}

#[test]
fn a_device_that_writes_where_nothing_is_mapped_is_found() {
    let found = found(Setup::default(), CacheCoherence::Coherent, |machine| {
        let mut controller = machine.bring_up(options()).unwrap();
        machine.fake.fault_next(Fault::Rogue(BusAddr::new((1 << 33) + machine::FRAMES + (1 << 20))));
        submit(machine, &mut controller, 1);
        machine.drive(&mut controller.queues_mut()[0]);
    });
    let [Finding::DeviceUnmapped { len: 8, writes: true, .. }] = found.findings[..] else {
        panic!("{:#?}", found.findings)
    };
    assert_eq!((found.bus.len(), found.leased, found.coherent), (1, 0, 0));
}
