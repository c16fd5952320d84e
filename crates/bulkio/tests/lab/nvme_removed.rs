//! An NVMe disk that is pulled out under its commands, and comes back. A run of its own: whoever looks for the disk meanwhile does not find it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkio::device::nvme::CommandStatus;
use scatterlist::Direction::FromDevice;
use scatterlist::Position::At;
use scatterlist::Status;

use crate::faulty::Quarantine;
use crate::nvme_commands::{PLAIN, add_to, block_node, carriers, open, run};
use crate::or_skip;
use crate::support::{in_lab, next, sysfs, wait_until};

const PAGE: usize = 4096;

/// The disk goes while commands are with it, as one that is pulled out. What it has ends, with an error that says so, and the engine goes on.
#[test]
fn a_disk_that_goes_away_ends_its_commands() {
    const NAME: &str = "nvme_removed::a_disk_that_goes_away_ends_its_commands";
    or_skip!(NAME, in_lab("nvme"));
    for (mut engine, carrier) in carriers() {
        let opened = open(PLAIN, false);
        let id = add_to(&mut engine, &opened, carrier);
        let quarantine = Quarantine::default();
        let memory = quarantine.take(32 * PAGE);
        let device = sysfs(&block_node()).join("device/device");
        let device = std::fs::canonicalize(device).unwrap();
        let removes = std::thread::spawn(move || std::fs::write(device.join("remove"), "1").unwrap());
        let mut faults = Vec::new();
        // Reads until the disk is gone for all that is in flight.
        let deadline = Instant::now() + Duration::from_secs(120);
        while faults.len() < 16 {
            assert!(Instant::now() < deadline, "{carrier}: the disk is still there");
            while engine.room() > 0 && faults.is_empty() {
                let request = memory.request(&[(0, 32 * PAGE)], FromDevice, At(0));
                engine.submit(id, request, opened.limits()).unwrap();
            }
            if engine.in_flight() == 0 {
                break;
            }
            if let Some(fault) = next(&mut engine).1.fault {
                faults.push(fault.status);
            }
        }
        removes.join().unwrap();
        assert!(!faults.is_empty());
        let is_gone = |status: &Status| match *status {
            // The driver gave it up; the queue is dying; the node leads nowhere.
            Status::Errno(errno) => {
                [libc::EINTR, libc::EIO, libc::ENODEV, libc::ENXIO].contains(&errno.cast_signed())
            }
            status => CommandStatus::from_status(status).unwrap().is_path_error(),
        };
        assert!(faults.iter().all(is_gone), "{carrier}: {faults:?}");
        assert_eq!((engine.in_flight(), Arc::strong_count(&memory)), (0, 1), "{carrier}");
        // And the next one, too.
        let outcome = run(&mut engine, id, memory.request(&[(0, PAGE)], FromDevice, At(0)), opened.limits());
        assert!(is_gone(&outcome.fault.unwrap().status), "{carrier}: {outcome:?}");
        drop((engine, opened, memory));
        quarantine.check();
        // A ring lets go of its files some time after it is closed, and until then the driver takes the same namespaces for
        // doubles of those that it holds.
        wait_until("nobody holds the old disk", || {
            std::fs::read_dir("/sys/class/nvme-subsystem").unwrap().next().is_none()
        });
        std::fs::write("/sys/bus/pci/rescan", "1").unwrap();
        assert_eq!(open(PLAIN, false).len_bytes(), 64 << 20);
    }
}
