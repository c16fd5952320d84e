//! The descriptor pool behind a lock that loom sees: no two threads hold one object, and the bound holds.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};

use loom::thread;
use scatterlist::desc::DescriptorMemory as _;
use scatterlist::map::{Direct, DmaPool, HeapMemory, Offset, PoolLayout};
use scatterlist::{Addr as _, Limits};

use super::raw_mutex::Modelled;

type Device = &'static Direct<HeapMemory>;
type Pool = DmaPool<Device, Modelled>;

/// One for all runs: it shares nothing that loom knows.
static DEVICE: LazyLock<Direct<HeapMemory>> =
    LazyLock::new(|| Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap());

fn pool(slab_len: u64, objects_max: u64) -> Pool {
    Pool::with_lock(&DEVICE, PoolLayout { len: 64, align: 64, boundary: 0, slab_len, objects_max }).unwrap()
}

/// The objects that are out, as their holders see it. Looking at it orders nothing for loom.
#[derive(Clone, Debug, Default)]
struct Out(Arc<Mutex<BTreeSet<u64>>>);

impl Out {
    /// Fetches an object, holds it while others may run, and gives it back.
    fn hold_one(&self, pool: &Pool) {
        let Ok(object) = pool.fetch() else { return };
        let address = object.bus_addr().raw();
        assert!(self.0.lock().unwrap().insert(address), "two threads hold {address:#x}");
        thread::yield_now();
        self.0.lock().unwrap().remove(&address);
        drop(object);
    }
}

#[test]
fn no_two_threads_hold_one_object() {
    loom::model(|| {
        let (pool, out) = (pool(64, 2), Out::default());
        let other = thread::spawn({
            let (pool, out) = (pool.clone(), out.clone());
            move || {
                out.hold_one(&pool);
                out.hold_one(&pool);
            }
        });
        out.hold_one(&pool);
        other.join().unwrap();
        assert_eq!(pool.objects_out(), 0);
    });
}

#[test]
fn as_many_threads_as_objects_are_never_refused() {
    loom::model(|| {
        // Both objects come with one slab: who finds none free waits for it.
        let pool = pool(128, 2);
        let other = thread::spawn({
            let pool = pool.clone();
            move || pool.fetch().map(drop)
        });
        let mine = pool.fetch().map(drop);
        assert!(mine.is_ok() && other.join().unwrap().is_ok());
        assert_eq!(pool.objects_out(), 0);
    });
}
