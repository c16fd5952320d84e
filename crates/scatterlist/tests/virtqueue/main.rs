//! A driver and a device that share a split virtqueue, over memory that both see at the same time.
//!
//! The device of these tests reads the bytes by the walker alone, and writes the used ring by hand. Here the
//! published scenarios and what a hostile device or driver may try; in `properties` the promises: what the walker
//! collects is what went in, no descriptor is lost or used twice, and garbage is an error that changes nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod model;
mod pair;
mod properties;

use std::cell::RefCell;
use std::rc::Rc;

use pair::{AVAILABLE, INDIRECT, Pair, Shared, TABLE, USED, four, pair, row, runs, seg, table};
use scatterlist::desc::virtqueue::{
    AddError, AvailableView, Descriptor, DeviceRings, Frame, QueueError, QueueSize, RingError, RingMemory,
    Rings, Run, Shape, Side, Slot, SplitQueue, Used, UsedElement, UsedError, UsedView, WalkError, limits,
};
use scatterlist::desc::{DescriptorMemory, Unreadable};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, BusAddr, LimitId, Limits, LimitsError, Position, Segment};

#[test]
fn virtio_01_direct_chain() {
    let Pair { mut queue, mut device } = pair(4);
    let (readable, writable) = four();
    let head = queue.add(readable, writable).unwrap();
    assert_eq!(queue.free(), 0, "free_after");
    let table = table(&queue.rings().table);
    let mut chain = Vec::new();
    let mut at = Some(head);
    while let Some(index) = at {
        let descriptor = table[usize::from(index)];
        chain.push((descriptor.len, descriptor.flags));
        at = descriptor.next();
    }
    let (next, write) = (Descriptor::NEXT, Descriptor::WRITE);
    assert_eq!(chain, [(2, next), (1, next), (2, next | write), (1, write)]);
    assert_eq!(device.fetch(), None, "not published");
    assert_eq!(queue.publish(), 1);
    assert_eq!(device.fetch(), Some((head, runs(&readable, &writable))));
}

#[test]
fn virtio_02_indirect() {
    let Pair { mut queue, mut device } = pair(4);
    let (readable, writable) = four();
    let mut indirect = Shared::new(INDIRECT, 8);
    device.bus.0.push(indirect.clone());
    let head = queue.add_indirect(&mut indirect, readable, writable).unwrap();
    assert_eq!(
        queue.room(Shape::Indirect { descriptors: 4 }),
        4,
        "free_after_reported: segments that still go in"
    );
    assert_eq!(queue.free(), 3, "one descriptor is taken");
    let first = table(&queue.rings().table)[usize::from(head)];
    assert_eq!((first.len, first.flags, first.addr), (64, Descriptor::INDIRECT, BusAddr::new(INDIRECT)));
    let (next, write) = (Descriptor::NEXT, Descriptor::WRITE);
    let rows: Vec<_> = table(&indirect).iter().map(row).collect();
    assert_eq!(rows, [(2, next, Some(1)), (1, next, Some(2)), (2, next | write, Some(3)), (1, write, None)]);
    assert_eq!(queue.publish(), 1);
    assert_eq!(device.fetch(), Some((head, runs(&readable, &writable))));
}

#[test]
fn virtio_03_no_buffers() {
    let Pair { mut queue, .. } = pair(4);
    let none: [Segment<BusAddr>; 0] = [];
    assert_eq!(queue.add(none, none), Err(AddError::Empty));
    assert_eq!(queue.add_indirect(&mut Shared::new(INDIRECT, 8), none, none), Err(AddError::Empty));
    assert_eq!((queue.free(), queue.added(), queue.publish()), (4, 0, 0));
}

#[test]
fn virtio_04_five_buffers_in_a_queue_of_four() {
    let Pair { mut queue, .. } = pair(4);
    let five: Vec<_> = (0..5).map(|page| seg(page << 12, 16)).collect();
    let refused = queue.add(five[..2].to_vec(), five[2..].to_vec());
    assert_eq!(refused, Err(AddError::QueueFull { need: 5, free: 4 }));
    assert_eq!((queue.free(), queue.added()), (4, 0));
    assert_eq!(queue.add(five[..4].to_vec(), [] as [Segment<BusAddr>; 0]), Ok(0), "nothing was lost");
}

#[test]
fn a_queue_is_built_only_from_what_it_needs() {
    for size in [0, 3, 6, 32767, 65535] {
        assert_eq!(QueueSize::new(size), Err(QueueError::Size { size, max: 32768 }));
    }
    let size = QueueSize::new(8).unwrap();
    // Section 2.7: 16 bytes an entry, 6 + 2 an entry, 6 + 8 an entry.
    assert_eq!((size.table_words(), size.available_words(), size.used_words()), (16, 3, 9));
    let one = QueueSize::new(1).unwrap();
    assert_eq!((one.table_words(), one.available_words(), one.used_words()), (2, 1, 2));
    // The event field after two entries starts a word of its own.
    assert_eq!(QueueSize::new(2).unwrap().available_words(), 2);
    let rings = |table_addr, used_words| Rings {
        table: Shared::new(table_addr, 16),
        available: Shared::new(AVAILABLE, 3),
        used: Shared::new(USED, used_words),
    };
    let refused =
        |rings, slots: usize| SplitQueue::new(size, rings, vec![Slot::default(); slots]).unwrap_err();
    assert_eq!(refused(rings(TABLE, 9), 7), QueueError::Slots { slots: 7, need: 8 });
    assert_eq!(refused(rings(TABLE, 8), 8), QueueError::Memory { part: "used ring", words: 8, need: 9 });
    let part = "descriptor table";
    let error = refused(rings(TABLE + 8, 9), 8);
    assert_eq!(error, QueueError::Misaligned { part, addr: BusAddr::new(TABLE + 8), align: 16 });
    assert_eq!(error.to_string(), "the descriptor table at bus address 0x100008 must be aligned to 16 bytes");
}

#[test]
fn what_no_descriptor_holds_is_refused_and_changes_nothing() {
    let Pair { mut queue, .. } = pair(4);
    let none: [Segment<BusAddr>; 0] = [];
    let len = 1 << 32;
    let refused = queue.add([seg(0, 1), seg(0x1000, len)], none);
    assert_eq!(refused, Err(AddError::SegmentTooLong { index: 1, len, max: len - 1 }));
    let refused = queue.add([seg(0, len - 1)], [seg(0, 2)]);
    assert_eq!(refused, Err(AddError::ChainBytes { bytes: len + 1, max: len }));
    let five = [seg(0, 1); 5];
    let refused = queue.add_indirect(&mut Shared::new(INDIRECT, 10), five, none);
    assert_eq!(refused, Err(AddError::ChainTooLong { need: 5, max: 4 }));
    let refused = queue.add_indirect(&mut Shared::new(INDIRECT, 7), [seg(0, 1); 4], none);
    assert_eq!(refused, Err(AddError::TableFull { need: 4, room: 3 }));
    assert_eq!((queue.free(), queue.added()), (4, 0));
    queue.add([seg(0, 1); 4], none).unwrap();
    let refused = queue.add_indirect(&mut Shared::new(INDIRECT, 8), none, [seg(0, 1)]);
    assert_eq!(refused, Err(AddError::QueueFull { need: 1, free: 0 }));
    assert_eq!(queue.room(Shape::Indirect { descriptors: 4 }), 0);
}

#[test]
fn a_piece_without_an_address_is_refused() {
    let Pair { mut queue, .. } = pair(4);
    let list = [seg(0x1000, 512), seg(0x1_0000, 512)];
    let low = Limits::builder().hard(LimitId::AddrMax, 0xFFFF).build().unwrap();
    let ready = plan(&list[..], Position::Stream, &low, Policy::WholeOrBounce).next().unwrap().unwrap();
    let refused = queue.add(ready.pieces(), [seg(0, 1)]).unwrap_err();
    assert!(matches!(refused, AddError::Bounced { index: 1, len: 512, .. }), "{refused}");
    assert_eq!(queue.free(), 4);
}

#[test]
fn a_ready_request_goes_in_between_header_and_status() {
    let Pair { mut queue, mut device } = pair(8);
    let frame = Frame { segments: 2, bytes: 17 };
    let limits = limits(queue.size(), Shape::Direct, frame).unwrap();
    let list: Vec<_> = (0..9).map(|page| seg(page * 0x2000, 4096)).collect();
    let (header, status) = (seg(0x10_0000, 16), seg(0x10_0010, 1));
    let mut lens = Vec::new();
    for ready in plan(&list[..], Position::At(0), &limits, Policy::SplitOrError) {
        let ready = ready.unwrap();
        let data = ready.pieces().chain([status.into()]);
        let head = queue.add([header], data).unwrap();
        queue.publish();
        let (fetched, runs) = device.fetch().unwrap();
        assert_eq!((fetched, runs.len()), (head, ready.pieces().count() + 2));
        assert_eq!(runs[0], Run { segment: header, side: Side::Readable });
        assert!(runs[1..].iter().all(|run| run.side == Side::Writable));
        let written = u32::try_from(ready.len_bytes()).unwrap() + 1;
        device.give_back(head.into(), written);
        assert_eq!(queue.take(), Ok(Some(Used { head, written_bytes: written })));
        lens.push(ready.len_bytes());
    }
    assert_eq!(lens, [6 * 4096, 3 * 4096]);
}

#[test]
fn limits_leave_room_for_the_frame() {
    let size = QueueSize::new(128).unwrap();
    let frame = Frame { segments: 2, bytes: 17 };
    let get = |shape, id| limits(size, shape, frame).unwrap().hard_value(id);
    assert_eq!(get(Shape::Direct, LimitId::SegmentsMax), 126);
    assert_eq!(get(Shape::Direct, LimitId::PiecesMax), 126);
    assert_eq!(get(Shape::Indirect { descriptors: 66 }, LimitId::SegmentsMax), 64);
    // Not even an indirect chain is longer than the queue (section 2.7.5.3.1).
    assert_eq!(get(Shape::Indirect { descriptors: 256 }, LimitId::SegmentsMax), 126);
    assert_eq!(get(Shape::Direct, LimitId::SegmentLenMax), (1 << 32) - 1);
    assert_eq!(get(Shape::Direct, LimitId::TransferLenMax), (1 << 32) - 17);
    let none = limits(QueueSize::new(2).unwrap(), Shape::Direct, frame);
    assert_eq!(none, Err(LimitsError::Zero { limit: LimitId::SegmentsMax }));
}

/// One request of two readable and two writable segments is in flight, another was added.
fn one_in_flight() -> (Pair, u16, u16) {
    let mut pair = pair(8);
    let (readable, writable) = four();
    let head = pair.queue.add(readable, writable).unwrap();
    pair.queue.publish();
    let added = pair.queue.add(readable, writable).unwrap();
    (pair, head, added)
}

#[test]
fn a_device_that_returns_garbage_is_told_so_and_nothing_changes() {
    type Case = (u32, u32, UsedError);
    let (_, head, added) = one_in_flight();
    let cases: [Case; 5] = [
        (8, 0, UsedError::IdOutOfRange { index: 0, id: 8, size: 8 }),
        (0x1_0000, 0, UsedError::IdOutOfRange { index: 0, id: 0x1_0000, size: 8 }),
        // The second descriptor of the chain heads nothing.
        (1, 0, UsedError::NotInFlight { index: 0, id: 1 }),
        // The device cannot know of this one.
        (added.into(), 0, UsedError::NotInFlight { index: 0, id: added }),
        (head.into(), 4, UsedError::TooMuchWritten { index: 0, id: head, written: 4, writable: 3 }),
    ];
    for (id, written, error) in cases {
        let (Pair { mut queue, mut device }, ..) = one_in_flight();
        device.give_back(id, written);
        assert_eq!(queue.take(), Err(error));
        assert_eq!(queue.take(), Err(error), "it stays so");
        assert_eq!((queue.free(), queue.in_flight(), queue.added()), (0, 1, 1));
        assert_eq!(queue.heads().collect::<Vec<_>>(), [0, 4]);
        // Should it come to its senses, all goes on.
        device.used_index = 0;
        device.give_back(head.into(), 3);
        assert_eq!(queue.take(), Ok(Some(Used { head, written_bytes: 3 })));
        assert_eq!(queue.take(), Ok(None));
        assert_eq!(queue.free(), 4);
    }
}

#[test]
fn an_index_that_jumps_is_refused() {
    let (Pair { mut queue, device }, head, _) = one_in_flight();
    for index in [2, 3, 8, 0x7FFF, 0xFFFF] {
        device.set_used_index(index);
        assert_eq!(queue.take(), Err(UsedError::IndexJump { index, taken: 0, in_flight: 1 }));
    }
    device.set_used_index(0);
    assert_eq!((queue.take(), queue.in_flight()), (Ok(None), 1));
    assert_eq!(head, 0);
}

#[test]
fn a_request_given_back_twice_is_refused() {
    let (Pair { mut queue, mut device }, head, _) = one_in_flight();
    queue.publish();
    device.give_back(head.into(), 3);
    device.give_back(head.into(), 3);
    assert_eq!(queue.take(), Ok(Some(Used { head, written_bytes: 3 })));
    assert_eq!(queue.take(), Err(UsedError::NotInFlight { index: 1, id: head }));
    assert_eq!((queue.free(), queue.in_flight()), (4, 1));
}

#[test]
fn the_free_list_does_not_pass_through_the_device() {
    let Pair { mut queue, mut device } = pair(8);
    let (readable, writable) = four();
    for _ in 0..100 {
        let head = queue.add(readable, writable).unwrap();
        queue.publish();
        assert_eq!(device.fetch(), Some((head, runs(&readable, &writable))));
        // A device that can write the table and the available ring scribbles over both.
        for memory in &device.bus.0[..2] {
            memory.bytes.borrow_mut().fill(0xFF);
        }
        device.give_back(head.into(), 3);
        assert_eq!(queue.take().unwrap().unwrap().head, head);
        assert_eq!(queue.free(), 8);
    }
}

#[test]
fn indexes_wrap_and_a_queue_of_one_works() {
    let Pair { mut queue, mut device } = pair(1);
    for round in 0..70_000_u64 {
        let segment = seg(round << 4, 8);
        let head = queue.add([] as [Segment<BusAddr>; 0], [segment]).unwrap();
        assert_eq!(queue.publish(), 1);
        assert_eq!(device.fetch(), Some((head, runs(&[], &[segment]))));
        device.give_back(head.into(), 8);
        assert_eq!(queue.take(), Ok(Some(Used { head, written_bytes: 8 })));
    }
    let bytes = device.used.bytes.borrow();
    let view = UsedView::new(&bytes, queue.size());
    assert_eq!(view.index(), Some(u16::try_from(70_000 % 65_536).unwrap()));
    assert_eq!(view.element(7), Some(UsedElement { id: 0, written_bytes: 8 }));
}

#[test]
fn the_largest_queue_takes_one_chain_of_all_descriptors() {
    let Pair { mut queue, mut device } = pair(32768);
    let list: Vec<_> = (0..32768).map(|page| seg(page * 8192, 4096)).collect();
    let head = queue.add(list.iter().copied(), [] as [Segment<BusAddr>; 0]).unwrap();
    queue.publish();
    assert_eq!((queue.free(), device.fetch()), (0, Some((head, runs(&list, &[])))));
    device.give_back(head.into(), 0);
    queue.take().unwrap().unwrap();
    assert_eq!(queue.free(), 32768);
}

/// Memory that says what was done to it, in which order.
#[derive(Debug)]
struct Logged {
    memory: Shared,
    part: &'static str,
    log: Rc<RefCell<Vec<&'static str>>>,
}

impl DescriptorMemory for Logged {
    fn bus_addr(&self) -> BusAddr {
        self.memory.bus_addr()
    }

    fn len_words(&self) -> usize {
        self.memory.len_words()
    }

    fn put(&mut self, index: usize, word: u64) -> bool {
        self.log.borrow_mut().push(self.part);
        self.memory.put(index, word)
    }
}

impl RingMemory for Logged {
    fn get(&self, index: usize) -> Option<u64> {
        self.log.borrow_mut().push("load");
        self.memory.get(index)
    }

    fn write_barrier(&self) {
        self.log.borrow_mut().push("write barrier");
    }

    fn read_barrier(&self) {
        self.log.borrow_mut().push("read barrier");
    }

    fn full_barrier(&self) {
        self.log.borrow_mut().push("full barrier");
    }
}

#[test]
fn a_barrier_stands_before_the_index_and_before_what_it_counts() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let logged = |part, addr, words| Logged { memory: Shared::new(addr, words), part, log: Rc::clone(&log) };
    let size = QueueSize::new(4).unwrap();
    let rings = Rings {
        table: logged("table", TABLE, 8),
        available: logged("available", AVAILABLE, 2),
        used: logged("used", USED, 5),
    };
    let used = rings.used.memory.clone();
    let mut queue = SplitQueue::new(size, rings, [Slot::default(); 4]).unwrap();
    log.take();
    let head = queue.add([seg(0x1000, 4)], [] as [Segment<BusAddr>; 0]).unwrap();
    assert_eq!(log.take(), ["table", "table", "available"]);
    queue.publish();
    assert_eq!(log.take(), ["write barrier", "available"]);
    assert!(queue.notify_wanted());
    assert_eq!(log.take(), ["full barrier", "load"]);
    used.write(0, &[0, 0, 1, 0]);
    assert_eq!(queue.take().unwrap().unwrap().head, head);
    assert_eq!(log.take(), ["load", "read barrier", "load", "load"]);
}

#[test]
fn hints_on_notification_go_both_ways() {
    let Pair { mut queue, device } = pair(4);
    let available = queue.rings().available.clone();
    let flags = || AvailableView::new(&available.bytes.borrow(), device.rings.size).flags();
    assert!(queue.notify_wanted());
    device.used.write(0, &[1, 0]);
    assert!(!queue.notify_wanted());
    queue.want_interrupts(false);
    queue.add([seg(0, 1)], [] as [Segment<BusAddr>; 0]).unwrap();
    queue.publish();
    assert_eq!(flags(), Some(1));
    queue.want_interrupts(true);
    assert_eq!(flags(), Some(0));
    let bytes = available.bytes.borrow();
    let view = AvailableView::new(&bytes, device.rings.size);
    assert_eq!((view.index(), view.head(0), view.head(4)), (Some(1), Some(0), Some(0)));
    assert_eq!(AvailableView::new(&bytes[..3], device.rings.size).index(), None);
}

/// Walks a table of hand-made descriptors, in a queue of 4 with an indirect table of 4.
fn walk_made(direct: &[Descriptor], indirect: &[Descriptor], head: u16) -> Result<Vec<Run>, WalkError> {
    let Pair { queue, mut device } = pair(4);
    let tables = [(queue.rings().table.clone(), direct), (Shared::new(INDIRECT, 8), indirect)];
    for (memory, descriptors) in tables {
        let mut writer = memory.clone();
        for (index, descriptor) in descriptors.iter().enumerate() {
            writer.fill(index * 2, descriptor.to_words().into_iter());
        }
        device.bus.0.push(memory);
    }
    let runs: Vec<_> = device.rings.walk(&device.bus, head).take(100).collect();
    assert!(runs.len() < 100 && runs.iter().rev().skip(1).all(Result::is_ok), "ends at the first error");
    runs.into_iter().collect()
}

fn made(addr: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { addr: BusAddr::new(addr), len, flags, next }
}

#[test]
fn a_chain_that_cannot_be_is_an_error_with_numbers() {
    let (next, write, indirect) = (Descriptor::NEXT, Descriptor::WRITE, Descriptor::INDIRECT);
    let refused = |direct: &[Descriptor], table: &[Descriptor]| walk_made(direct, table, 0).unwrap_err();
    let to_table = |len| made(INDIRECT, len, indirect, 0);

    let looped = refused(&[made(0, 1, next, 1), made(0, 1, next, 0)], &[]);
    assert_eq!(looped, WalkError::TooLong { head: 0, max: 4 });
    assert_eq!(looped.to_string(), "the chain from 0 goes on after 4 descriptors: it loops or is too long");
    assert_eq!(refused(&[made(0, 1, next, 0)], &[]), WalkError::TooLong { head: 0, max: 4 });
    assert_eq!(walk_made(&[], &[], 4), Err(WalkError::OutOfRange { index: 4, entries: 4 }));
    assert_eq!(refused(&[made(0, 1, next, 4)], &[]), WalkError::OutOfRange { index: 4, entries: 4 });
    assert_eq!(
        refused(&[made(0, 1, next | write, 1), made(0, 1, 0, 0)], &[]),
        WalkError::ReadAfterWrite { index: 1 }
    );
    let empty = refused(&[made(0x1000, 0, 0, 0)], &[]);
    assert_eq!(empty.to_string(), "descriptor 0: segment at 0x1000 has length 0");
    let wraps = refused(&[made(u64::MAX, 2, 0, 0)], &[]);
    assert!(matches!(wraps, WalkError::Segment { index: 0, .. }), "{wraps}");
    let most = u32::MAX;
    assert_eq!(
        refused(&[made(0, most, next, 1), made(0, 2, 0, 0)], &[]),
        WalkError::TooManyBytes { head: 0, bytes: (1 << 32) + 1, max: 1 << 32 }
    );

    let goes_on = refused(&[made(INDIRECT, 16, indirect | next, 3)], &[]);
    assert_eq!(goes_on, WalkError::IndirectGoesOn { index: 0, next: 3 });
    for len in [0, 15, 17, 63] {
        assert_eq!(refused(&[to_table(len)], &[]), WalkError::IndirectLen { index: 0, len });
    }
    for inner in [[to_table(16), to_table(16)], [made(0, 1, next, 1), to_table(16)]] {
        let index = u16::from(!inner[0].has(indirect));
        assert_eq!(refused(&[to_table(32)], &inner), WalkError::IndirectInIndirect { index });
    }
    let past = refused(&[to_table(32)], &[made(0, 1, next, 2)]);
    assert_eq!(past, WalkError::OutOfRange { index: 2, entries: 2 });
    let looped = refused(&[to_table(64)], &[made(0, 1, next, 0)]);
    assert_eq!(looped, WalkError::TooLong { head: 0, max: 4 });
    let addr = BusAddr::new(0xBAD0);
    let unreadable = refused(&[made(0xBAD0, 16, indirect, 0)], &[]);
    assert_eq!(unreadable, WalkError::Unreadable(Unreadable { addr }));
    let table = BusAddr::new(u64::MAX);
    let wraps = refused(&[made(u64::MAX, 32, indirect, 0)], &[]);
    assert!(matches!(wraps, WalkError::Unreadable(_)), "{wraps}");
    assert_eq!(wraps, WalkError::Unreadable(Unreadable { addr: table }));
}

#[test]
fn a_chain_may_end_in_an_indirect_table() {
    let (next, write, indirect) = (Descriptor::NEXT, Descriptor::WRITE, Descriptor::INDIRECT);
    // The write flag of the descriptor that holds the table means nothing (section 2.7.5.3.2).
    let direct = [made(0x1000, 1, next, 2), made(0, 0, 0, 0), made(INDIRECT, 64, indirect | write, 9)];
    let table = [made(0x2000, 2, next, 3), made(0, 0, 0, 0), made(0, 0, 0, 0), made(0x3000, 3, write, 0)];
    let expect = runs(&[seg(0x1000, 1), seg(0x2000, 2)], &[seg(0x3000, 3)]);
    assert_eq!(walk_made(&direct, &table, 0), Ok(expect));
}

#[test]
fn an_available_index_that_jumps_is_refused_by_the_device() {
    let Pair { queue, device } = pair(4);
    queue.rings().available.write(2, &5_u16.to_le_bytes());
    let refused = device.rings.waiting(&device.bus, 0);
    assert_eq!(refused, Err(RingError::IndexJump { index: 5, seen: 0, size: 4 }));
    assert_eq!(device.rings.waiting(&device.bus, 1), Ok(4));
    let far = DeviceRings { available: BusAddr::new(u64::MAX), ..device.rings };
    assert!(matches!(far.head(&device.bus, 0), Err(RingError::Wraps { .. })));
}
