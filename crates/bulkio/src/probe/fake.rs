//! A made-up host for tests: sysfs, procfs and `/dev` as folders of a temporary directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::host::Host;

/// A made-up host; its folders go when it is dropped.
pub(crate) struct FakeHost {
    pub(crate) host: Host,
    _root: TempDir,
}

impl FakeHost {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().expect("a temporary folder");
        let at = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            folder
        };
        let host = Host { sys: at("sys"), proc: at("proc"), dev: at("dev") };
        at("sys/dev/block");
        at("proc/self");
        Self { host, _root: root }
    }

    /// Adds a device in the folder `place` below `sys/devices`, such as `sda` or `sda/sda1`.
    pub(crate) fn device(&self, number: &str, place: &str, attributes: &[(&str, &str)]) -> &Self {
        let folder = self.host.sys.join("devices").join(place);
        fs::create_dir_all(&folder).expect("a device folder");
        symlink(&folder, self.host.sys.join("dev/block").join(number)).expect("a link to the device");
        self.attributes(place, &[("dev", number)]);
        self.attributes(place, attributes)
    }

    /// Adds a character device of a class.
    pub(crate) fn char_device(&self, number: &str, place: &str, class: &str) -> &Self {
        self.attributes(place, &[("dev", number)]);
        let (folder, classes) = (self.host.sys.join("devices").join(place), self.host.sys.join("class"));
        let links = self.host.sys.join("dev/char");
        for folder in [&links, &classes.join(class)] {
            fs::create_dir_all(folder).expect("a folder");
        }
        symlink(&folder, links.join(number)).expect("a link to the device");
        symlink(classes.join(class), folder.join("subsystem")).expect("a link to the class");
        self
    }

    /// Writes attribute files of a device.
    pub(crate) fn attributes(&self, place: &str, attributes: &[(&str, &str)]) -> &Self {
        for (name, text) in attributes {
            write(&self.host.sys.join("devices").join(place).join(name), text);
        }
        self
    }

    /// Says that `upper` is made of `lower`.
    pub(crate) fn stack(&self, upper: &str, lower: &str) -> &Self {
        let devices = self.host.sys.join("devices");
        for (from, kind, to) in [(upper, "slaves", lower), (lower, "holders", upper)] {
            let folder = devices.join(from).join(kind);
            fs::create_dir_all(&folder).expect("a folder of links");
            let name = Path::new(to).file_name().expect("a device name");
            symlink(devices.join(to), folder.join(name)).expect("a link between devices");
        }
        self
    }

    /// Writes a file of procfs.
    pub(crate) fn proc(&self, name: &str, text: &str) -> &Self {
        write(&self.host.proc.join(name), text);
        self
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("its folder");
    fs::write(path, format!("{text}\n")).expect("a file");
}
