//! System calls of passthrough beside those of fio's `io_uring_cmd`, counted by the kernel. Under emulation times mean nothing, counts do.

use std::process::Command;
use std::sync::Arc;

use bulkio::engine::{Completion, Engine, EngineChoice, EngineOptions, FixedRegion};
use bulkio::pages::{PagePool, PoolOptions};
use scatterlist::Direction::FromDevice;
use scatterlist::Position::At;
use scatterlist::{Outcome, Request};

use crate::nvme_commands::{PLAIN, generic, open};
use crate::or_skip;
use crate::oracle::Oracle;
use crate::support::in_lab;

const READS: u64 = 2048;
const DEPTH: u32 = 16;
const LEN: usize = 4096;

const ENTER: &str = "__x64_sys_io_uring_enter";
const WITH_DATA: &str = "nvme_map_user_request";

/// Reads at scattered positions, always as many in flight as the depth.
fn ours() {
    let namespace = open(PLAIN, false);
    let pool = Arc::new(PagePool::new(PoolOptions::uniform(LEN, DEPTH as usize)).unwrap());
    let options = EngineOptions {
        kind: EngineChoice::Uring,
        depth: DEPTH,
        commands: true,
        fixed: vec![FixedRegion::from_pool(Arc::clone(&pool))],
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(options).unwrap();
    let id = namespace.add_to(&mut engine).unwrap();
    let blocks = namespace.len_bytes() / LEN as u64;
    let (mut submitted, mut done) = (0, 0);
    while done < READS {
        while submitted < READS
            && engine.room() > 0
            && let Some(slot) = pool.take()
        {
            let position = At(submitted * 7919 % blocks * LEN as u64);
            let lease = slot.into_lease(0, LEN as u64).unwrap();
            engine.submit(id, Request::new(lease, FromDevice, position, ()), namespace.limits()).unwrap();
            submitted += 1;
        }
        if let Some(Completion::Transfer { request, outcome, .. }) = engine.wait().unwrap() {
            assert_eq!(outcome, Outcome::whole(LEN as u64));
            drop(request);
            done += 1;
        }
    }
    assert_eq!(engine.stats().operations_fixed, READS);
}

fn fio(words: &[&str]) {
    let mut command = Command::new("fio");
    command.args(["--name=reads", "--ioengine=io_uring_cmd", "--cmd_type=nvme", "--rw=randread", "--thread"]);
    command.args(["--fixedbufs", "--registerfiles", "--norandommap", "--output=/dev/null", "--randrepeat=1"]);
    command.arg(format!("--filename={}", generic(PLAIN).display()));
    command.args([format!("--bs={LEN}"), format!("--iodepth={DEPTH}"), format!("--number_ios={READS}")]);
    let output = command.args(words).output().expect("fio is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn as_few_system_calls_as_fio() {
    const NAME: &str = "nvme_fio::as_few_system_calls_as_fio";
    or_skip!(NAME, in_lab("nvme"));
    let oracle = Oracle::watch(&[ENTER, WITH_DATA]);
    let count = |run: &dyn Fn()| {
        oracle.reset();
        run();
        (oracle.hits(ENTER), oracle.hits(WITH_DATA))
    };
    let ours = count(&ours);
    let plain = count(&|| fio(&[]));
    // Its best: what is submitted is gathered, and what has ended is taken at once.
    let gathered = count(&|| {
        fio(&["--iodepth_batch=4", "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max=16"])
    });
    for (who, (calls, commands)) in [("bulkio", ours), ("fio", plain), ("fio in batches of 4", gathered)] {
        eprintln!("{who}: {calls} calls of io_uring_enter for {commands} reads at depth {DEPTH}");
        assert!(commands >= READS, "{who}: {commands}");
    }
    // How many have ended when somebody looks varies from run to run.
    assert!(ours.0 <= plain.0 && ours.0 * 10 <= gathered.0 * 11, "{ours:?} {plain:?} {gathered:?}");
}
