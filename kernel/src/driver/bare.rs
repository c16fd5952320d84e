//! [`NoPool`]: the pool of a target whose requests need no descriptors of their own.
//!
//! A device whose ring outlives its requests, or that is told by registers alone, is prepared for like any other; its
//! format needs no object.

use core::convert::Infallible;

use scatterlist::BusAddr;
use scatterlist::desc::DescriptorMemory;
use scatterlist::map::{DescriptorPool, MapError, Resource};

/// A pool without objects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NoPool;

/// An object of [`NoPool`]: there is none.
#[derive(Debug)]
pub struct NoObject(Infallible);

impl DescriptorPool for NoPool {
    type Object = NoObject;

    fn object_words(&self) -> usize {
        0
    }

    fn fetch(&self) -> Result<NoObject, MapError> {
        Err(MapError::Shortage { what: Resource::PoolObjects, need: 1, have: 0 })
    }
}

impl DescriptorMemory for NoObject {
    fn bus_addr(&self) -> BusAddr {
        match self.0 {}
    }

    fn len_words(&self) -> usize {
        match self.0 {}
    }

    fn put(&mut self, _index: usize, _word: u64) -> bool {
        match self.0 {}
    }
}
