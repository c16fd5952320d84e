//! System calls that a filter forbids, as container run times do: the next engine does the same work, and the report says which and
//! why. The environment goes before the probe.

use std::process::Command;

use bulkio::direct::{Driver, File, Io, IoError, IoOptions};
use bulkio::engine::{ChosenBy, EngineError, EngineKind, EngineReport};

use crate::common::storage_dir;
use crate::faulty::{Child, Family, refuse};
use crate::or_skip;
use crate::support::{block_on, content, other};

/// Writes and reads by every front, with requests of every shape.
fn works(options: &IoOptions) -> Result<EngineReport, String> {
    let folder = storage_dir()?;
    let path = folder.path().join("file");
    let io = Io::new(options.clone()).unwrap();
    let file = File::options().read(true).write(true).create(true).io(&io).open(&path).unwrap();
    let mut whole = content(300_000);
    assert_eq!(file.write(&whole, 0).unwrap().bytes, 300_000);
    assert_eq!(file.write(&other(5000), 777).unwrap().bytes, 5000);
    whole[777..5777].copy_from_slice(&other(5000));
    let mut back = vec![0; 300_001];
    assert_eq!(file.read(&mut back, 0).unwrap().bytes, 300_000);
    assert!(back[..300_000] == whole);

    let (mut one, mut two) = (vec![0; 70_001], vec![0; 4096]);
    io.scope(|scope| {
        let _ = scope.read(&file, &mut one, 3);
        let _ = scope.read(&file, &mut two, 8192);
    })
    .unwrap();
    assert!(one == whole[3..70_004] && two == whole[8192..12_288]);

    let driver = Driver::new(options.clone()).unwrap();
    assert_eq!(driver.engine().kind, io.engine().kind);
    assert_eq!(driver.engine().refused, io.engine().refused);
    let file = driver.file(file).unwrap();
    block_on(async {
        let (moved, sent) = file.write(other(70_001), 100_003).await;
        assert_eq!(moved.unwrap().bytes, 70_001);
        file.sync_data().await.unwrap();
        let (moved, got) = file.read(vec![0; 70_001], 100_003).await;
        assert_eq!(moved.unwrap().bytes, 70_001);
        assert!(got == sent);
    });
    whole[100_003..170_004].copy_from_slice(&other(70_001));
    assert!(std::fs::read(&path).unwrap() == whole);
    Ok(io.engine().clone())
}

/// Nothing demanded; every operation is the engine's, and once more as everybody does it.
fn both() -> [IoOptions; 2] {
    let mut engine = IoOptions::default();
    engine.plain_calls = false;
    [engine, IoOptions::default()]
}

fn reason(report: &EngineReport, kind: EngineKind) -> &str {
    let found = report.refused.iter().find(|refused| refused.kind == kind);
    &found.expect("what was refused is in the report").reason
}

fn assert_uring_refused(report: &EngineReport) {
    let reason = reason(report, EngineKind::Uring);
    assert!(reason.contains("io_uring_setup failed: Operation not permitted"), "{reason}");
    assert!(reason.contains("allow io_uring_setup, io_uring_enter and io_uring_register"), "{reason}");
}

#[test]
fn without_io_uring_native_aio_does_everything() {
    const NAME: &str = "refused::without_io_uring_native_aio_does_everything";
    if Child::passes(NAME) {
        return;
    }
    or_skip!(NAME, refuse(&[Family::Uring]));
    for options in both() {
        let report = or_skip!(NAME, works(&options));
        assert_eq!((report.kind, report.chosen_by), (EngineKind::Aio, ChosenBy::Probe));
        assert_uring_refused(&report);
    }
    // And who asks for nothing gets it.
    assert_eq!(Io::process().unwrap().engine().kind, EngineKind::Aio);
    let mut demanded = IoOptions::default();
    demanded.engine = bulkio::engine::EngineChoice::Uring;
    let error = Io::new(demanded.clone()).unwrap_err();
    assert!(
        matches!(&error, IoError::Engine(EngineError::Unavailable { kind: EngineKind::Uring, .. })),
        "{error}"
    );
    assert!(matches!(Driver::new(demanded), Err(IoError::Engine(EngineError::Unavailable { .. }))));
}

#[test]
fn without_both_threads_do_everything() {
    const NAME: &str = "refused::without_both_threads_do_everything";
    if Child::passes(NAME) {
        return;
    }
    or_skip!(NAME, refuse(&[Family::Uring, Family::Aio]));
    for options in both() {
        let report = or_skip!(NAME, works(&options));
        assert_eq!((report.kind, report.chosen_by), (EngineKind::Threads, ChosenBy::Probe));
        assert_uring_refused(&report);
        let aio = reason(&report, EngineKind::Aio);
        assert!(aio.contains("io_setup"), "{aio}");
    }
}

const CHILD: &str = "BULKIO_TEST_ENVIRONMENT_CHILD";

#[test]
fn the_environment_chooses_the_engine() {
    const NAME: &str = "refused::the_environment_chooses_the_engine";
    if std::env::var_os(CHILD).is_none() {
        for value in ["io_uring", "aio", "threads", "auto", "steam"] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args([NAME, "--exact", "--nocapture"]).env(CHILD, "1").env("BULKIO_ENGINE", value);
            let output = child.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            eprint!("{text}");
            assert!(output.status.success(), "BULKIO_ENGINE={value}: {text}");
        }
        return;
    }
    let value = std::env::var("BULKIO_ENGINE").unwrap();
    let [_, options] = both();
    match (value.as_str(), Io::new(options.clone())) {
        ("steam", made) => {
            let text = made.unwrap_err().to_string();
            assert!(text.contains("BULKIO_ENGINE") && text.contains("steam"), "{text}");
        }
        ("auto", made) => assert_eq!(made.unwrap().engine().chosen_by, ChosenBy::Probe),
        // One that does not work here is an error that names it, and no other takes its place.
        (_, Err(error)) => {
            assert!(matches!(error, IoError::Engine(EngineError::Unavailable { .. })), "{error}");
            crate::common::skip(NAME, &error.to_string());
        }
        (_, Ok(io)) => {
            assert_eq!((io.engine().kind.name(), io.engine().chosen_by), (&*value, ChosenBy::Environment));
            // Whoever demands an engine wants it for every operation.
            assert!(!io.makes_plain_calls());
            let report = or_skip!(NAME, works(&options));
            assert_eq!(report.kind.name(), value);
        }
    }
}
