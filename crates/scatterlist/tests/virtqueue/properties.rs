//! The promises, for any requests, any size of queue and any order of events.

use proptest::prelude::*;
use scatterlist::desc::DescriptorMemory;
use scatterlist::desc::virtqueue::{
    AvailableView, Descriptor, Frame, QueueSize, Shape, TableView, UsedView, limits,
};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, BusAddr, Position};

use super::model::{Step, joined, no_descriptor_is_lost};
use super::pair::{INDIRECT, Pair, Shared, four, pair, seg};

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = || prop::collection::vec((any::<u32>(), 1_u16..), 0..6);
    let step = prop_oneof![
        4 => (side(), side(), any::<bool>())
            .prop_map(|(readable, writable, indirect)| Step::Add { readable, writable, indirect }),
        2 => Just(Step::Publish),
        4 => Just(Step::Fetch),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(index, share)| Step::GiveBack(index, share)),
        4 => Just(Step::Take),
        1 => (0_u32..40, any::<u32>(), 0_u16..40).prop_map(|(id, written, ahead)| Step::Lie { id, written, ahead }),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn what_the_device_walks_is_what_was_added_and_no_descriptor_is_lost(log in 0_u32..6, steps in steps()) {
        no_descriptor_is_lost(log, steps);
    }

    #[test]
    fn a_plan_made_for_the_limits_always_goes_in(
        log in 2_u32..8,
        descriptors in prop::option::of(3_u64..40),
        list in prop::collection::vec((any::<u32>(), 1_u64..=1 << 33), 1..60),
        barriers in any::<u64>(),
    ) {
        let Pair { mut queue, mut device } = pair(1 << log);
        let shape = descriptors.map_or(Shape::Direct, |descriptors| Shape::Indirect { descriptors });
        let limits = limits(queue.size(), shape, Frame { segments: 2, bytes: 17 }).unwrap();
        let list: Vec<_> = list.iter().enumerate().map(|(index, (addr, len))| {
            let segment = seg(u64::from(*addr) << 20, *len);
            if barriers >> (index % 64) & 1 == 1 { segment.with_barrier() } else { segment }
        }).collect();
        let mut collected = Vec::new();
        let (header, status) = (seg(0x10, 16), seg(0x20, 1));
        for (index, ready) in plan(&list[..], Position::Stream, &limits, Policy::SplitOrError).enumerate() {
            let ready = ready.unwrap();
            let data = ready.pieces();
            let head = match descriptors {
                None => queue.add([header.into()].into_iter().chain(data), [status]).unwrap(),
                Some(descriptors) => {
                    let at = INDIRECT + index as u64 * 0x1000;
                    let mut table = Shared::new(at, 2 * usize::try_from(descriptors).unwrap());
                    device.bus.0.push(table.clone());
                    queue.add_indirect(&mut table, [header.into()].into_iter().chain(data), [status]).unwrap()
                }
            };
            queue.publish();
            let (_, runs) = device.fetch().unwrap();
            prop_assert_eq!((runs[0].segment, runs[runs.len() - 1].segment), (header, status));
            collected.extend(runs[1..runs.len() - 1].iter().map(|run| run.segment));
            device.give_back(head.into(), 1);
            prop_assert_eq!(queue.take().unwrap().unwrap().head, head);
        }
        prop_assert_eq!(joined(&collected), joined(&list));
    }

    #[test]
    fn garbage_in_the_tables_is_walked_to_an_end(
        words in prop::collection::vec(any::<[u64; 2]>(), 16),
        small in any::<bool>(),
        head in 0_u16..20,
    ) {
        let Pair { queue, mut device } = pair(8);
        let indirect = Shared::new(INDIRECT, 16);
        device.bus.0.push(indirect.clone());
        for (index, [addr, rest]) in words.into_iter().enumerate() {
            let mut descriptor = Descriptor::from_words([addr, rest]);
            if small {
                // Garbage that looks nearly right goes deeper.
                descriptor.next %= 10;
                descriptor.len %= 160;
                descriptor.flags %= 8;
                if descriptor.has(Descriptor::INDIRECT) {
                    descriptor.addr = BusAddr::new(INDIRECT);
                }
            }
            let mut memory = if index < 8 { queue.rings().table.clone() } else { indirect.clone() };
            memory.fill(index % 8 * 2, descriptor.to_words().into_iter());
        }
        let walked: Vec<_> = device.rings.walk(&device.bus, head).take(20).collect();
        prop_assert!(walked.len() <= 9, "at most the queue size, and an error: {:?}", walked);
        prop_assert!(walked.iter().rev().skip(1).all(Result::is_ok));
    }

    #[test]
    fn garbage_in_the_used_ring_is_an_error_or_a_request_that_was_in_flight(
        garbage in prop::collection::vec(any::<u8>(), 72),
        nearly in any::<bool>(),
        index in 0_u16..4,
    ) {
        let Pair { mut queue, device } = pair(8);
        let (readable, writable) = four();
        let heads = [queue.add(readable, writable).unwrap(), queue.add(readable, writable).unwrap()];
        queue.publish();
        device.used.write(0, &garbage);
        if nearly {
            device.set_used_index(index);
            for place in 0..8 {
                device.used.write(4 + place * 8, &(u32::from(garbage[place]) % 9).to_le_bytes());
                device.used.write(8 + place * 8, &(u32::from(garbage[place + 8]) % 5).to_le_bytes());
            }
        }
        let mut taken = Vec::new();
        for _ in 0..4 {
            let (free, in_flight) = (queue.free(), queue.in_flight());
            match queue.take() {
                Ok(Some(used)) => {
                    prop_assert!(heads.contains(&used.head) && used.written_bytes <= 3);
                    prop_assert!(!taken.contains(&used.head));
                    taken.push(used.head);
                }
                Ok(None) | Err(_) => prop_assert_eq!((queue.free(), queue.in_flight()), (free, in_flight)),
            }
        }
        prop_assert_eq!(queue.free(), u16::try_from(taken.len() * 4).unwrap());
    }

    #[test]
    fn views_of_any_bytes_have_no_entry_past_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200), index in any::<u16>()) {
        let size = QueueSize::new(16).unwrap();
        let (table, available) = (TableView::new(&bytes), AvailableView::new(&bytes, size));
        let used = UsedView::new(&bytes, size);
        prop_assert_eq!(table.len() * 16 + table.rest_bytes(), bytes.len());
        prop_assert_eq!(table.get(usize::from(index)).is_some(), usize::from(index) < table.len());
        prop_assert_eq!(table.iter().count(), table.len());
        let place = usize::from(index % 16);
        prop_assert_eq!(available.head(index).is_some(), bytes.len() >= 6 + place * 2);
        prop_assert_eq!(used.element(index).is_some(), bytes.len() >= 12 + place * 8);
        prop_assert_eq!((used.flags(), used.index()), (available.flags().filter(|_| bytes.len() >= 4), available.index()));
        for descriptor in table.iter() {
            prop_assert_eq!(Descriptor::from_words(descriptor.to_words()), descriptor);
        }
    }
}
