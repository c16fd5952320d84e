//! The way of lines from the guest to the host: a virtio-serial port, found by its name.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result};

use crate::lab::wire::{Message, PORT};

/// The port.
#[derive(Debug)]
pub(super) struct Port(Mutex<File>);

impl Port {
    /// Opens it.
    pub(super) fn open() -> Result<Self> {
        let folder = Path::new("/sys/class/virtio-ports");
        let ports = std::fs::read_dir(folder).context("the guest has no virtio-serial port")?;
        for port in ports.flatten() {
            let name = std::fs::read_to_string(port.path().join("name")).unwrap_or_default();
            if name.trim() == PORT {
                let node = Path::new("/dev").join(port.file_name());
                let file = File::options().write(true).open(&node);
                let file = file.with_context(|| format!("cannot open {}", node.display()))?;
                return Ok(Self(Mutex::new(file)));
            }
        }
        anyhow::bail!("the guest has no port {PORT}")
    }

    /// Sends a message.
    pub(super) fn say(&self, message: Message) {
        self.line(&message.to_string());
    }

    /// Sends a line.
    pub(super) fn line(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // In one write: what cannot be said to the host can be said to nobody.
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            eprintln!("lab-guest: the report does not take `{line}`: {error}");
        }
    }
}
