//! A controller is brought up, whatever it is like, or refused for a reason that says what is wrong; and afterwards nothing is
//! left of it.

mod machine;

use machine::{found, on};
use nvme_driver::fake::{Condition, FakeNamespace, Setup};
use nvme_driver::{DataFormat, Format, InitError, NamespaceError, Options, ReadyError};
use scatterlist::map::checked::Finding;
use scatterlist::{CacheCoherence, Direction, LimitId, Source};

#[test]
fn a_controller_says_who_it_is_and_leaves_nothing_behind() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        let information = controller.information();
        assert_eq!((&*information.serial, &*information.firmware), ("SERIAL 0001", "1.0"));
        assert_eq!(information.model, "A controller in software");
        assert_eq!(controller.version(), (2, 0, 0));
        assert_eq!(controller.queues_mut().len(), 1);
        let [space] = controller.namespaces() else { panic!("one namespace") };
        assert_eq!((space.id(), space.block_len(), space.capacity_bytes()), (1, 512, 8 << 20));
        let limit = space.target().limits().get(LimitId::PositionAlign);
        assert_eq!((limit.value, limit.source), (512, Source::Identify));
        // One page of list: 513 entries.
        let options = Options { format: DataFormat::Prp, ..Options::default() };
        drop(controller);
        let controller = machine.bring_up(options).unwrap();
        assert_eq!(controller.target().limits().get(LimitId::SegmentsMax).value, 513);
        assert!(matches!(controller.format(), Format::Prp(_)));
    });
}

#[test]
fn a_controller_is_shut_down_in_order() {
    on(Setup::default(), |machine| {
        let controller = machine.bring_up(Options::default()).unwrap();
        assert!(!machine.fake.was_shut_down());
        controller.shut_down().unwrap();
        assert!(machine.fake.was_shut_down());
    });
}

#[test]
fn what_the_controller_has_less_of_is_taken() {
    let setup = Setup { mqes: 7, queues_max: 2, maxcmd: 5, dstrd: 3, ..Setup::default() };
    on(setup, |machine| {
        let options = Options { queues: 4, queue_entries: 1024, ..Options::default() };
        let mut controller = machine.bring_up(options).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let commands: Vec<_> = queues.iter().map(|queue| (queue.id(), queue.commands_max())).collect();
        assert_eq!(commands, [(1, 5), (2, 5)]);
        for queue in queues {
            let request = machine.request(Direction::ToDevice, 0, 3, 7, 1);
            machine.transfer(queue, &spaces[0], request);
        }
        assert_eq!(machine.fake.contents(1)[..3 * 4096], [7; 3 * 4096]);
    });
}

#[test]
fn pages_of_64_kib_rule_the_limits() {
    let setup = Setup { mpsmin: 4, mpsmax: 6, mdts: 1, ..Setup::default() };
    on(setup, |machine| {
        let options = Options { format: DataFormat::Prp, queue_entries: 4, ..Options::default() };
        let controller = machine.bring_up(options).unwrap();
        let limits = controller.target().limits();
        assert_eq!(limits.get(LimitId::GapBoundary).value, 64 << 10);
        // MDTS counts smallest pages.
        assert_eq!(limits.get(LimitId::TransferLenMax).value, 128 << 10);
    });
}

#[test]
fn namespaces_are_found_wherever_they_are() {
    let mut namespaces: Vec<_> = (1..=1500).map(|id| FakeNamespace::new(id * 7, 9, 8)).collect();
    namespaces.push(FakeNamespace::new(0xffff_fff0, 12, 64));
    let setup = Setup { namespaces, ..Setup::default() };
    on(setup, |machine| {
        let controller = machine.bring_up(Options { namespaces_max: 10_000, ..Options::default() }).unwrap();
        assert_eq!(controller.namespaces().len(), 1501);
        let last = controller.namespaces().last().unwrap();
        assert_eq!((last.id(), last.block_len()), (0xffff_fff0, 4096));
        drop(controller);
        let controller = machine.bring_up(Options { namespaces_max: 1030, ..Options::default() }).unwrap();
        assert_eq!(controller.namespaces().len(), 1030);
    });
}

#[test]
fn a_namespace_that_cannot_be_used_is_named_and_others_can() {
    let metadata = FakeNamespace { metadata_len: 8, ..FakeNamespace::new(2, 9, 100) };
    let huge = FakeNamespace::new(4, 12, u64::MAX / 1000);
    let odd = FakeNamespace::new(5, 5, 100);
    let other = FakeNamespace { format: 3, ..FakeNamespace::new(9, 12, 100) };
    let namespaces = vec![FakeNamespace::new(1, 9, 100), metadata, huge, odd, other];
    on(Setup { namespaces, ..Setup::default() }, |machine| {
        let controller = machine.bring_up(Options::default()).unwrap();
        let usable: Vec<_> =
            controller.namespaces().iter().map(|space| (space.id(), space.block_len())).collect();
        assert_eq!(usable, [(1, 512), (9, 4096)]);
        let [first, second, third] = controller.refused() else { panic!("{:?}", controller.refused()) };
        assert_eq!(*first, NamespaceError::Metadata { namespace: 2, metadata_len: 8 });
        assert_eq!(
            first.to_string(),
            "namespace 2 has 8 bytes of metadata with each block; the driver transfers none"
        );
        assert!(matches!(second, NamespaceError::Capacity { namespace: 4, .. }));
        assert!(matches!(third, NamespaceError::BlockLen { namespace: 5, log2: 5, .. }));
    });
}

#[test]
fn an_optimal_boundary_is_a_limit() {
    let namespaces = vec![FakeNamespace { noiob: 32, ..FakeNamespace::new(1, 9, 4096) }];
    on(Setup { namespaces, ..Setup::default() }, |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let request = machine.request(Direction::ToDevice, 8192, 10, 3, 1);
        let parts: Vec<u64> = machine::cut(&spaces[0], request).iter().map(|part| part.len_bytes()).collect();
        assert_eq!(parts, [8192, 16384, 16384]);
        let request = machine.request(Direction::ToDevice, 8192, 10, 3, 1);
        machine.transfer(&mut queues[0], &spaces[0], request);
        assert_eq!(machine.fake.commands(), 3);
    });
}

#[test]
fn the_format_is_what_the_controller_has_or_what_was_demanded() {
    for (sgls, format, expected) in [
        (0b01, DataFormat::Auto, Some(true)),
        (0b10, DataFormat::Auto, Some(true)),
        (0b00, DataFormat::Auto, Some(false)),
        (0b01, DataFormat::Prp, Some(false)),
        (0b00, DataFormat::Sgl, None),
    ] {
        on(Setup { sgls, ..Setup::default() }, |machine| {
            let up = machine.bring_up(Options { format, ..Options::default() });
            match (up, expected) {
                (Ok(up), Some(sgl)) => assert_eq!(matches!(up.format(), Format::Sgl(_)), sgl),
                (Err(InitError::NoSgl { sgls: 0 }), None) => {}
                (up, _) => panic!("{up:?}"),
            }
        });
    }
}

#[test]
fn a_controller_that_does_not_start_is_waited_for_as_long_as_it_asks_and_its_queue_is_leaked() {
    for (to, crwmt, units) in [(2, None, 2), (0, None, 1), (2, Some(10), 10), (10, Some(2), 10)] {
        let setup = Setup { to, crwmt, ..Setup::default() };
        let found = found(setup, CacheCoherence::Coherent, |machine| {
            machine.fake.set_condition(Some(Condition::NeverReady));
            let error = machine.bring_up(Options::default()).unwrap_err();
            let expected = ReadyError::Timeout { ready: true, timeout_ns: units * 500_000_000 };
            assert!(matches!(error, InitError::Ready(error) if error == expected), "{error}");
            machine.fake.set_condition(None);
            machine.bring_up(Options::default()).unwrap();
        });
        // Who is disabled before he is ready may do anything: the three parts of the admin queue stay taken.
        let dropped = |finding: &&Finding| matches!(finding, Finding::DroppedInFlight { .. });
        assert_eq!(found.findings.iter().filter(dropped).count(), 3, "{:#?}", found.findings);
        assert_eq!((found.findings.len(), found.leased, found.complaints.len()), (3, 0, 0));
    }
}

#[test]
fn a_controller_that_fails_or_is_gone_is_refused() {
    on(Setup::default(), |machine| {
        machine.fake.set_condition(Some(Condition::Fatal));
        let error = machine.bring_up(Options::default()).unwrap_err();
        assert!(matches!(error, InitError::Ready(ReadyError::Fatal)), "{error}");
        machine.fake.set_condition(Some(Condition::Gone));
        let error = machine.bring_up(Options::default()).unwrap_err();
        assert!(matches!(error, InitError::Gone), "{error}");
    });
    for (setup, text) in [
        (Setup { css: 0x80, ..Setup::default() }, "the controller has no NVM command set (CAP.CSS is 0x80)"),
        (
            Setup { mpsmin: 5, mpsmax: 4, ..Setup::default() },
            "memory pages from 2^(12 + 5) to 2^(12 + 4) bytes cannot be (CAP.MPSMIN, CAP.MPSMAX)",
        ),
        (
            Setup { mqes: 0, ..Setup::default() },
            "queues have at most 0 + 1 entries (CAP.MQES), two are needed",
        ),
        (
            Setup { entry_sizes: (0x77, 0x44), ..Setup::default() },
            "queue entries must be of 2^7 and 2^4 bytes (SQES, CQES), the driver has 2^6 and 2^4",
        ),
    ] {
        on(setup, |machine| {
            assert_eq!(machine.bring_up(Options::default()).unwrap_err().to_string(), text);
        });
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    on(Setup::default(), |machine| {
        for options in [
            Options { queues: 0, ..Options::default() },
            Options { queue_entries: 1, ..Options::default() },
            Options { queue_entries: 1025, ..Options::default() },
        ] {
            let error = machine.bring_up(options).unwrap_err();
            assert!(matches!(error, InitError::Option { .. }), "{error}");
        }
    });
}
