//! The guest's kernel: Debian's newest of the series [`SERIES`], fetched once a version and kept unpacked below the target directory.
//!
//! It is never installed. Where no newer one can be had, the newest that is kept does, and that is said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process;

/// The long-term series that the guest runs.
pub(super) const SERIES: &str = "6.12";

/// How long fetching may take.
const FETCH_TIME: Duration = Duration::from_secs(15 * 60);

/// A kernel that lies unpacked on the disk.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) version: String,
    folder: PathBuf,
}

impl Kernel {
    /// The image to boot.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// The folder with one folder of modules for each kernel.
    pub(super) fn modules_folder(&self) -> PathBuf {
        self.folder.join("lib/modules")
    }

    /// The folder of its modules.
    pub(super) fn tree(&self) -> PathBuf {
        self.modules_folder().join(&self.version)
    }

    /// Finds the newest kernel; fetches it to `cache` if it is not there.
    pub(super) fn newest(cache: &Path) -> Result<Self> {
        std::fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let mut offered = offered();
        if offered.is_none() && rustix::process::geteuid().is_root() {
            update();
            offered = self::offered();
        }
        let kept = kept(cache)?;
        let Some(offered) = offered else {
            let kept = kept.context(format!("apt knows no linux-image-{SERIES}.*, and none is kept"))?;
            println!("kernel {kept}: kept; apt offers none");
            return Ok(Self::at(cache, kept));
        };
        let version = offered.version();
        if cache.join(version).is_dir() {
            println!("kernel {version}: kept, {} MiB", mib(folder_bytes(&cache.join(version))));
            return Ok(Self::at(cache, version.to_owned()));
        }
        match (fetch(cache, &offered), kept) {
            (Ok(()), _) => Ok(Self::at(cache, version.to_owned())),
            (Err(error), Some(kept)) => {
                println!("kernel {kept}: kept; the newer {version} cannot be had: {error:#}");
                Ok(Self::at(cache, kept))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn at(cache: &Path, version: String) -> Self {
        Self { folder: cache.join(&version), version }
    }
}

/// A package that apt offers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Package {
    /// The numbers of the version, for the order; a signed image before one that is not.
    order: (Vec<u32>, bool),
    name: String,
}

impl Package {
    /// Reads a name such as `linux-image-6.12.117+deb12-amd64`; other flavours have more words.
    fn read(name: &str) -> Option<Self> {
        let version = name.strip_prefix("linux-image-")?;
        let (version, unsigned) = match version.strip_suffix("-unsigned") {
            Some(version) => (version, true),
            None => (version, false),
        };
        let (numbers, build) = version.strip_suffix("-amd64")?.split_once('+')?;
        if !numbers.starts_with(&format!("{SERIES}.")) || build.contains('-') {
            return None;
        }
        let numbers = numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { order: (numbers, !unsigned), name: name.to_owned() })
    }

    fn version(&self) -> &str {
        self.name.trim_start_matches("linux-image-").trim_end_matches("-unsigned")
    }
}

/// The newest package that apt offers, if it offers any.
fn offered() -> Option<Package> {
    let pattern = format!("^linux-image-{}\\.", SERIES.replace('.', "\\."));
    let output = Command::new("apt-cache").args(["search", "--names-only", &pattern]).output().ok()?;
    newest_in(&String::from_utf8_lossy(&output.stdout))
}

/// The newest in what `apt-cache search` prints.
fn newest_in(listing: &str) -> Option<Package> {
    listing.lines().filter_map(|line| Package::read(line.split_whitespace().next()?)).max()
}

/// The newest version in the cache.
fn kept(cache: &Path) -> Result<Option<String>> {
    let entries = std::fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let kept = names.filter_map(|name| Package::read(&format!("linux-image-{name}")));
    Ok(kept.max().map(|kept| kept.version().to_owned()))
}

fn update() {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "update"]);
    // Old lists may do; what is missing is said later.
    let _ = process::run_within(command, Some(FETCH_TIME), |line| println!("{line}"));
}

/// Fetches a package, unpacks it beside its place and moves it there when it is whole.
fn fetch(cache: &Path, package: &Package) -> Result<()> {
    let version = package.version();
    let folder =
        tempfile::tempdir_in(cache).with_context(|| format!("cannot write to {}", cache.display()))?;
    println!("kernel {version}: fetching {}", package.name);
    if let Err(error) = download(folder.path(), &package.name) {
        if !rustix::process::geteuid().is_root() {
            return Err(error);
        }
        // Lists that are too old name files that are gone.
        update();
        download(folder.path(), &package.name)?;
    }
    let archive = std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.path());
    let archive = archive.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "deb"));
    let archive = archive.with_context(|| format!("apt-get download left no file of {}", package.name))?;
    let archive_bytes = archive.metadata().map_or(0, |file| file.len());
    let unpacked = folder.path().join("unpacked");
    let mut unpack = Command::new("dpkg");
    unpack.arg("-x").arg(&archive).arg(&unpacked);
    run(unpack)?;
    let mut index = Command::new("depmod");
    index.arg("-b").arg(&unpacked).arg(version).env("PATH", crate::programs::search_path());
    run(index)?;
    let place = cache.join(version);
    std::fs::rename(&unpacked, &place).with_context(|| format!("cannot make {}", place.display()))?;
    println!(
        "kernel {version}: {} MiB fetched, {} MiB unpacked in {}",
        mib(archive_bytes),
        mib(folder_bytes(&place)),
        place.display()
    );
    Ok(())
}

fn download(folder: &Path, name: &str) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "download", name]).current_dir(folder).stdin(Stdio::null());
    run(command)
}

fn run(command: Command) -> Result<()> {
    let (name, mut lines) = (format!("{command:?}"), Vec::new());
    let ended = process::run_within(command, Some(FETCH_TIME), |line| lines.push(line.to_owned()))?;
    if !ended.success() {
        bail!("{name}: {ended}: {}", lines.join(" | "));
    }
    Ok(())
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_series_and_no_other_flavour() {
        let listing = "\
linux-image-6.1.0-44-amd64 - Linux 6.1 for 64-bit PCs (signed)
linux-image-6.12.9+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.117+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
linux-image-6.12.117+deb12-amd64-unsigned - Linux 6.12 for 64-bit PCs
linux-image-6.12.117+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.118+deb12-amd64-dbg - Debug symbols for linux-image-6.12.118+deb12-amd64
linux-image-6.12.120+deb12-rt-amd64 - Linux 6.12 for 64-bit PCs (signed), PREEMPT_RT
";
        let newest = newest_in(listing).unwrap();
        assert_eq!(
            (newest.name.as_str(), newest.version()),
            ("linux-image-6.12.117+deb12-amd64", "6.12.117+deb12-amd64")
        );
        assert_eq!(newest_in("linux-image-amd64 - Linux\n"), None);
        let unsigned = newest_in("linux-image-6.12.90+deb13-amd64-unsigned - Linux\n").unwrap();
        assert_eq!(unsigned.version(), "6.12.90+deb13-amd64");
    }
}
