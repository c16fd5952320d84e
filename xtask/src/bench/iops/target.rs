//! The device that is measured: a zram device that is ours alone, or else a loop device over a file of ours.
//!
//! A *keeper*, a process of its own outside the terminal's process group, makes the device, says its name and
//! takes it away when its input ends. So the device goes also after a Ctrl-C, a panic or a kill of the
//! bench: whatever ends it closes the pipe. No device that was there before is touched (rule `no-guessing-on-media`):
//! zram gives a new number, losetup a free loop device.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::data;
use crate::scratch;

const HOT_ADD: &str = "/sys/class/zram-control/hot_add";
const HOT_REMOVE: &str = "/sys/class/zram-control/hot_remove";

/// How often a device that is still busy is taken away again, and the time between: a minute in all.
const REMOVE_TRIES_MAX: u32 = 600;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

/// What kind of device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::bench) enum Kind {
    /// zram that was never written: reads find no data and give zeros.
    ZramEmpty,
    /// zram full of data that cannot be compressed.
    ZramFull,
    /// Two ends of a copy: the same, and one that is written; long enough that a copy takes two seconds.
    ZramSource,
    ZramSink,
    /// A loop device over a file full of such data.
    Loop,
}

impl Kind {
    /// The target of reads: zram where the kernel lets us add a device, or what the word demands.
    pub(super) fn of_reads(word: Option<&str>) -> Result<Self> {
        match word {
            None if Path::new(HOT_ADD).exists() => Ok(Self::ZramEmpty),
            Some("zram") => Ok(Self::ZramEmpty),
            None | Some("loop") => Ok(Self::Loop),
            Some(other) => bail!("`{other}` is no kind of device: there are zram and loop"),
        }
    }

    /// The target of writes beside this one of reads.
    pub(super) fn of_writes(self) -> Self {
        if self == Self::ZramEmpty { Self::ZramFull } else { self }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::ZramEmpty => "zram-empty",
            Self::ZramFull => "zram-full",
            Self::ZramSource => "zram-source",
            Self::ZramSink => "zram-sink",
            Self::Loop => "loop",
        }
    }

    /// Bytes of the device. An empty one takes next to no memory, a full one all of its size.
    pub(in crate::bench) const fn bytes(self) -> u64 {
        match self {
            Self::ZramEmpty => 8 << 30,
            Self::ZramFull | Self::Loop => 1 << 30,
            Self::ZramSource | Self::ZramSink => 3 << 30,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ZramEmpty => "zram, never written",
            Self::ZramFull | Self::ZramSource => "zram, full of data that cannot be compressed",
            Self::ZramSink => "zram, to be written",
            Self::Loop => "loop device over a file",
        }
    }
}

/// A device, as long as this lives.
#[derive(Debug)]
pub(in crate::bench) struct Target {
    pub(in crate::bench) device: PathBuf,
    pub(super) kind: Kind,
    keeper: Child,
}

impl Target {
    /// Makes a device; the file of a loop device lies in `folder` where there is no better place.
    pub(in crate::bench) fn make(kind: Kind, folder: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(own);
        command.args(["bench", "iops-keep", kind.word()]).arg(folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut line = String::new();
        let printed = keeper.stdout.take().context("the keeper has no output")?;
        let read = BufReader::new(printed).read_line(&mut line).context("cannot read from the keeper");
        let target = Self { device: PathBuf::from(line.trim_end()), kind, keeper };
        read?;
        ensure!(line.ends_with('\n'), "there is no device to measure: see the line above");
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        match self.keeper.wait() {
            Ok(status) if status.success() => {}
            other => eprintln!("{} may still be there: {other:?}", self.device.display()),
        }
    }
}

/// The keeper: `bench iops-keep KIND FOLDER`.
pub(crate) fn keep(kind: &str, folder: &str) -> Result<ExitCode> {
    let kinds = [Kind::ZramEmpty, Kind::ZramFull, Kind::ZramSource, Kind::ZramSink, Kind::Loop];
    let kind = kinds.into_iter().find(|known| known.word() == kind).context("no such kind of device")?;
    let device = if kind == Kind::Loop { Device::attach(Path::new(folder))? } else { Device::add()? };
    let held = hold(kind, &device);
    // Whatever happened meanwhile, the device goes.
    device.remove().and(held)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the device ready, says so, and waits for the end of the input.
fn hold(kind: Kind, device: &Device) -> Result<()> {
    if let Device::Zram { number, node } = device {
        let size = format!("/sys/block/zram{number}/disksize");
        std::fs::write(&size, kind.bytes().to_string()).with_context(|| format!("cannot write {size}"))?;
        if matches!(kind, Kind::ZramFull | Kind::ZramSource) {
            data::write_random(node, kind.bytes())?;
        }
    }
    // Not `println`, which panics where nobody reads any more: the device would stay.
    let mut output = std::io::stdout();
    writeln!(output, "{}", device.node().display())
        .and_then(|()| output.flush())
        .context("nobody listens")?;
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).context("cannot wait for the end of the input")?;
    Ok(())
}

/// A device that this process made.
enum Device {
    Zram { number: u32, node: PathBuf },
    Loop { node: PathBuf },
}

impl Device {
    /// Adds a zram device.
    fn add() -> Result<Self> {
        // Reading the file adds the device.
        let mut number = String::new();
        let read = File::open(HOT_ADD).and_then(|mut file| file.read_to_string(&mut number));
        read.with_context(|| format!("cannot read {HOT_ADD} (it needs root)"))?;
        let number = number.trim().parse().with_context(|| format!("{HOT_ADD} says {number:?}"))?;
        Ok(Self::Zram { number, node: PathBuf::from(format!("/dev/zram{number}")) })
    }

    /// Attaches a free loop device to a new file of random data, which has no name any more then.
    fn attach(folder: &Path) -> Result<Self> {
        let scratch = scratch::on_disk(folder)?;
        let file = scratch.path().join("device");
        data::write_random(&file, Kind::Loop.bytes())?;
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--direct-io=on"]).arg(&file);
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self::Loop { node: PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()) })
    }

    fn node(&self) -> &Path {
        match self {
            Self::Zram { node, .. } | Self::Loop { node } => node,
        }
    }

    /// Takes the device away; while somebody has it open, waits and tries again.
    fn remove(&self) -> Result<()> {
        let mut tries = 0;
        loop {
            let removed = match self {
                Self::Zram { number, .. } => {
                    std::fs::write(HOT_REMOVE, number.to_string()).context(HOT_REMOVE)
                }
                Self::Loop { node } => detach(node),
            };
            tries += 1;
            match removed {
                Err(_) if tries < REMOVE_TRIES_MAX => std::thread::sleep(REMOVE_PAUSE),
                other => return other.with_context(|| format!("cannot remove {}", self.node().display())),
            }
        }
    }
}

fn detach(node: &Path) -> Result<()> {
    let output = Command::new("losetup").arg("--detach").arg(node).output().context("cannot run losetup")?;
    ensure!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
