//! The cases: which machine, which disks, which scenario, and what must have happened. One file a theme.

mod faults;
mod merging;
mod streams;
mod transfers;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use kernel::memory::FRAME_LEN;

use super::judge::{self, Bounds, Content, Ran};
use super::qemu::{Board, Boot, Folder};

/// Bytes of each disk.
const DISK_LEN: u64 = 16 << 20;

/// Descriptors of a queue of a virtio device. Fewer than the driver would take, so that it must ask.
const VIRTIO_QUEUE: u64 = 64;

/// All cases.
pub(super) fn all() -> Vec<Case> {
    [transfers::all(), merging::all(), streams::all(), faults::all()].into_iter().flatten().collect()
}

/// How disks are attached.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Bus {
    /// virtio block over MMIO.
    Virtio,
    /// Namespaces of one NVMe controller.
    Nvme { mdts: u8, block_len: u64 },
}

impl Bus {
    /// What one command may be at most, by what QEMU is told and by nothing that the kernel says. `queue` is the queue that the kernel is
    /// told to use, `format` the format.
    fn bounds(&self, queue: Option<u64>, format: Option<&str>) -> Bounds {
        match self {
            // Of a chain of 2^32 bytes (Virtio 1.2, section 2.7.5.2) 17 are header and status; whole sectors. Two descriptors are theirs: QEMU says so of its own queue (`seg-max-adjust`).
            Self::Virtio => {
                let segments = queue.unwrap_or(VIRTIO_QUEUE).min(VIRTIO_QUEUE) - 2;
                Bounds { bytes: ((1 << 32) - 17) / 512 * 512, segments }
            }
            // A command has one list page: 512 PRPs of 8 bytes and the one in the command, or 256 descriptors of an SGL of 16 bytes.
            Self::Nvme { mdts, .. } => {
                let segments = if format == Some("prp") { 1 + FRAME_LEN / 8 } else { FRAME_LEN / 16 };
                Bounds { bytes: FRAME_LEN << mdts, segments }
            }
        }
    }

    /// What is there before any disk.
    fn devices(&self) -> [String; 2] {
        match self {
            Self::Virtio => ["-global".to_owned(), "virtio-mmio.force-legacy=false".to_owned()],
            Self::Nvme { mdts, .. } => {
                ["-device".to_owned(), format!("nvme,id=nvme,serial=kernel,mdts={mdts}")]
            }
        }
    }

    /// The device of a disk, counted from 0.
    fn disk(&self, number: usize) -> String {
        match self {
            // Else QEMU itself makes one request of several, which fail together.
            Self::Virtio => {
                format!("virtio-blk-device,drive=disk{number},request-merging=off,queue-size={VIRTIO_QUEUE}")
            }
            Self::Nvme { block_len, .. } => {
                let nsid = number + 1;
                format!(
                    "nvme-ns,drive=disk{number},bus=nvme,nsid={nsid},\
                     logical_block_size={block_len},physical_block_size={block_len}"
                )
            }
        }
    }
}

/// What is wrong with the first disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// Reads of the sector (512 bytes) with this number fail.
    BadSector(u64),
    /// It gives this many reads a second.
    Slow(u64),
}

/// The words of a drive.
fn drive(number: usize, file: &Path, fault: Option<Fault>) -> String {
    let (common, file) = (format!("if=none,id=disk{number},cache=unsafe"), file.display());
    match fault {
        None => format!("{common},format=raw,file={file}"),
        Some(Fault::Slow(reads)) => format!("{common},format=raw,file={file},throttling.iops-read={reads}"),
        Some(Fault::BadSector(sector)) => format!(
            "{common},driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={file},\
             file.inject-error.0.event=read_aio,file.inject-error.0.sector={sector},\
             file.inject-error.0.errno=5,file.inject-error.0.once=off,rerror=report"
        ),
    }
}

/// Judges a run.
type Judge = Box<dyn Fn(&Ran) -> Result<()> + Send + Sync>;

/// One boot.
pub(super) struct Case {
    pub(super) name: String,
    board: Board,
    memory_mib: u32,
    bus: Bus,
    /// Contents of the disks before the run.
    disks: Vec<Content>,
    fault: Option<Fault>,
    /// Further words for QEMU; `FOLDER/` stands for the folder of the case.
    devices: Vec<String>,
    words: String,
    judge: Judge,
}

impl Case {
    /// Two random disks on a bus, on the machine that has it.
    fn two_disks(name: String, bus: Bus, words: &str, judge: Judge) -> Self {
        let (board, kind) = match bus {
            Bus::Virtio => (Board::Microvm, "virtio"),
            Bus::Nvme { .. } => (Board::Q35, "nvme"),
        };
        let words = format!("disk={kind} {words}");
        let disks = vec![Content::Random(1), Content::Random(2)];
        Self { name, board, memory_mib: 256, bus, disks, fault: None, devices: Vec::new(), words, judge }
    }

    /// A case as it is, and once more with the checker around the device.
    fn and_checked(make: impl Fn() -> Self) -> [Self; 2] {
        let mut checked = make().and_judged(|ran| ran.facts.expect("findings", 0));
        checked.name += "-checked";
        checked.words += " checked=1";
        [make(), checked]
    }

    /// The case, judged by `first` before its own judge.
    fn and_judged(self, first: impl Fn(&Ran) -> Result<()> + Send + Sync + 'static) -> Self {
        let judge = self.judge;
        let both = move |ran: &Ran<'_>| first(ran).and_then(|()| judge(ran));
        Self { judge: Box::new(both), ..self }
    }

    /// The case with interrupts: whoever waits for a disk halts the CPU.
    fn interrupted(self) -> Self {
        let mut case = self.and_judged(judge::interrupted);
        case.name += "-interrupts";
        case.words += " interrupts=1";
        case
    }

    /// Runs it: the time it took, or what was wrong.
    pub(super) fn run(&self, kernel: &Path, scratch: &Path) -> Result<Duration> {
        let start = Instant::now();
        let folder = Folder::new(scratch, &self.name)?;
        let before: Vec<Vec<u8>> = self.disks.iter().map(|content| content.bytes(DISK_LEN)).collect();
        let file = |number: usize| format!("disk{number}");
        let mut devices = Vec::from(self.bus.devices());
        for (number, bytes) in before.iter().enumerate() {
            folder.write(&file(number), bytes)?;
            let fault = self.fault.filter(|_| number == 0);
            let drive = drive(number, &folder.file(&file(number)), fault);
            devices.extend(["-drive".to_owned(), drive, "-device".to_owned(), self.bus.disk(number)]);
        }
        let path = folder.file("").display().to_string();
        devices.extend(self.devices.iter().map(|word| word.replace("FOLDER/", &path)));
        let (board, memory_mib, words) = (self.board, self.memory_mib, self.words.clone());
        let facts = Boot { kernel, board, memory_mib, words, devices }.run()?;
        facts.expect("leaked", 0)?;
        let after = (0..before.len()).map(|number| folder.read(&file(number)));
        let after = after.collect::<Result<Vec<_>>>()?;
        // Every case reads it, and none writes it.
        let ran = Ran { facts, before, after, folder: &folder };
        ran.disk_is(0, &ran.before[0])?;
        (self.judge)(&ran)?;
        Ok(start.elapsed())
    }
}
