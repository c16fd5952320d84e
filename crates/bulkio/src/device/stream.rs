//! Streams: pipes, terminals and character devices without positions.

use std::path::Path;

use super::{Class, Device, Routes};
use crate::probe::Probe;

/// A stream: read and written from where it stands.
#[derive(Debug)]
pub struct Stream {
    routes: Routes,
    probe: Probe,
    class: Class,
}

impl Stream {
    pub(super) const fn new(routes: Routes, probe: Probe, class: Class) -> Self {
        Self { routes, probe, class }
    }
}

impl Device for Stream {
    fn class(&self) -> Class {
        self.class
    }

    fn path(&self) -> &Path {
        &self.probe.path
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn len_bytes(&self) -> Option<u64> {
        None
    }
}
