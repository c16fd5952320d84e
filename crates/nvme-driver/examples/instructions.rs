//! What `cargo xtask bench nvme` counts: the driver's part of reads of 4 KiB, in batches of 16, apart from the controller.
//!
//! Run under callgrind with `--toggle-collect='*driver_part*'` it collects the two functions of that name and what they
//! call: submitting, ringing, polling. The fake controller acts in between. Prints how many operations there were.
#![expect(unsafe_code, reason = "leases memory that is never freed")]

use std::error::Error;

use nvme_driver::fake::{FakeController, HeapBus, Setup};
use nvme_driver::{Controller, DataFormat, Finished, IoQueue, Namespace, Options};
use scatterlist::map::{Direct, HeapMemory, Offset};
use scatterlist::{CpuAddr, Direction, Lease, Limits, Position, Request, ScatterList, Segment};

const BATCH: usize = 16;
const BATCHES: usize = 1000;
const LEN: usize = 4096;

type Device = &'static Direct<HeapMemory>;
type Fake = &'static FakeController<HeapBus>;
type Queue = IoQueue<Fake, Fake, Device, (), ()>;
type Read = Request<CpuAddr, (), ()>;

#[inline(never)]
fn driver_part_submit(queue: &mut Queue, namespace: &Namespace<Device>, requests: &mut Vec<Read>) {
    for request in requests.drain(..) {
        if let Err(failed) = queue.submit(namespace, request) {
            panic!("{failed}");
        }
    }
    queue.ring();
}

#[inline(never)]
fn driver_part_poll(queue: &mut Queue, requests: &mut Vec<Read>) {
    let polled = queue.poll(|done| {
        assert!(done.outcome.fault.is_none());
        if let Finished::Transfer(request) = done.finished {
            requests.push(request);
        }
    });
    assert_eq!(polled, Ok(BATCH));
}

fn requests() -> Result<Vec<Read>, Box<dyn Error>> {
    let memory: &'static mut [u8] = Vec::leak(vec![0; LEN * (BATCH + 1)]);
    let skip = memory.as_ptr().align_offset(LEN);
    let mut requests = Vec::new();
    for (index, page) in memory[skip..].chunks_exact_mut(LEN).take(BATCH).enumerate() {
        let segment = Segment::new(CpuAddr::from_ptr(page.as_mut_ptr()), u64::try_from(LEN)?)?;
        // SAFETY: the memory is never freed, and its only reference ends here.
        let lease = unsafe { Lease::from_raw(ScatterList::from(segment), ()) };
        let position = Position::At(u64::try_from(index * LEN)?);
        requests.push(Request::new(lease, Direction::FromDevice, position, ()));
    }
    Ok(requests)
}

fn main() -> Result<(), Box<dyn Error>> {
    let format = match std::env::args().nth(1).as_deref() {
        None | Some("prp") => DataFormat::Prp,
        Some("sgl") => DataFormat::Sgl,
        Some(other) => return Err(format!("format {other}: prp or sgl").into()),
    };
    let device: Device =
        Box::leak(Box::new(Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default())?));
    // SAFETY: the driver is the only one who tells the controller of memory, and it polls on this thread.
    let fake: Fake = Box::leak(Box::new(FakeController::new(unsafe { HeapBus::new() }, Setup::default())));
    let options = Options { format, ..Options::default() };
    // SAFETY: the heap is what both see, and nobody else drives it.
    let mut controller =
        unsafe { Controller::<Fake, Fake, Device, (), ()>::new(fake, fake, device, options) }?;
    let (namespaces, queues) = controller.parts_mut();
    let (namespace, queue) = (&namespaces[0], &mut queues[0]);
    let mut requests = requests()?;
    for _ in 0..BATCHES {
        driver_part_submit(queue, namespace, &mut requests);
        fake.run();
        driver_part_poll(queue, &mut requests);
    }
    assert_eq!(fake.complaints(), Vec::<String>::new());
    let doorbells = fake.doorbells();
    println!("operations {} doorbells {} {}", BATCH * BATCHES, doorbells.submission, doorbells.completion);
    Ok(())
}
