//! [`Node`]: an open PCM of the kernel, and the ioctls on it.
//!
//! Numbers and layouts are those of `abi`. A node is opened with `O_NONBLOCK`, since else the open waits until whoever has it closes it, and
//! for reading and writing, since a ring that is mapped for reading alone cannot be pinned with certainty. Each function makes one call; another
//! driver answers `ENOTTY`, since the numbers carry a letter and the size of their argument.
#![expect(unsafe_code, reason = "an ioctl's argument type is known to its author alone")]

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Opcode, Setter, Updater, ioctl};

use super::abi::{self, HwParams, Info, RawStatus, SwParams, SyncPtr};
use super::driver::{Driver, Op};
use super::error::{AudioError, Holder};
use super::name::{Direction, PcmName};
use crate::probe::host::{Host, read_line};

/// An open PCM.
#[derive(Debug)]
pub(super) struct Node {
    fd: Arc<OwnedFd>,
}

fn open_file(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

impl Node {
    /// Opens the node of a PCM for a direction; returns it with its path's answer to who it is.
    pub(super) fn open(
        host: &Host,
        name: &PcmName,
        direction: Direction,
        path: &Path,
    ) -> Result<(Self, Info), AudioError> {
        let card = name.card_on(host)?;
        // A wish for a subdevice is kept with the card's control node, for this thread, as long as that is open (Linux,
        // sound/core/control.c, snd_ctl_get_preferred_subdevice).
        let _wish = name.subdevice().map(|subdevice| prefer(host, card, subdevice)).transpose()?;
        let all = || subdevices(host, card, name.device(), direction);
        let missing = |wanted, count| AudioError::Subdevice { path: path.to_owned(), wanted, count };
        let fd = open_file(path).map_err(|errno| match (errno, name.subdevice()) {
            // The kernel says the same of a subdevice that is in use and of one that is not there.
            (Errno::BUSY | Errno::AGAIN, Some(wanted))
                if all().iter().all(|(number, _)| *number != wanted) =>
            {
                missing(wanted, u32::try_from(all().len()).unwrap_or(u32::MAX))
            }
            (Errno::BUSY | Errno::AGAIN, _) => {
                AudioError::Busy { path: path.to_owned(), holders: holders(host, card, name, direction) }
            }
            (errno, _) => AudioError::Open { path: path.to_owned(), errno },
        })?;
        let info = info(&fd).map_err(|errno| match errno {
            Errno::NOTTY => AudioError::NotAPcm { path: path.to_owned() },
            errno => AudioError::Call { path: path.to_owned(), call: "SNDRV_PCM_IOCTL_INFO", errno },
        })?;
        match name.subdevice() {
            Some(wanted) if wanted != info.subdevice => Err(missing(wanted, info.subdevices_count)),
            _ => Ok((Self { fd: Arc::new(fd) }, info)),
        }
    }

    fn update<const OPCODE: Opcode, T>(&self, value: &mut T) -> Result<(), Errno> {
        // SAFETY: the callers are below, each with an opcode of `abi` that was made from the size of the very type: a structure in which every
        // bit pattern is a value.
        let updater = unsafe { Updater::<OPCODE, T>::new(value) };
        // SAFETY: the kernel reads and writes the structure in place and nothing else of this process; the ring that it may make is not
        // mapped by it.
        unsafe { ioctl(self.fd.as_fd(), updater) }
    }

    fn call<const OPCODE: Opcode>(&self) -> Result<(), Errno> {
        // SAFETY: the callers are below, each with an opcode of `abi` that takes no argument.
        let call = unsafe { NoArg::<OPCODE>::new() };
        // SAFETY: what starts or stops here moves bytes between the device and its own ring, which nobody has a reference to (`ring`).
        unsafe { ioctl(self.fd.as_fd(), call) }
    }
}

/// Returns who a PCM is.
fn info(fd: &OwnedFd) -> Result<Info, Errno> {
    // SAFETY: the opcode is a getter of a struct snd_pcm_info, whose layout Info has; every bit pattern is a value of it.
    let getter = unsafe { Getter::<{ abi::INFO }, Info>::new() };
    // SAFETY: the getter owns the place that the kernel writes to, and the call has no other effect.
    unsafe { ioctl(fd.as_fd(), getter) }
}

/// Has the next open of this thread give one subdevice.
fn prefer(host: &Host, card: u32, subdevice: u32) -> Result<OwnedFd, AudioError> {
    let path = host.dev.join(format!("snd/controlC{card}"));
    let fd = open_file(&path).map_err(|errno| AudioError::Open { path: path.clone(), errno })?;
    let failed =
        |errno| AudioError::Call { path: path.clone(), call: "SNDRV_CTL_IOCTL_PCM_PREFER_SUBDEVICE", errno };
    let number = i32::try_from(subdevice).map_err(|_| failed(Errno::INVAL))?;
    // SAFETY: the opcode takes a pointer to an int, which the kernel only reads.
    let setter = unsafe { Setter::<{ abi::PREFER_SUBDEVICE }, i32>::new(number) };
    // SAFETY: the setter owns the argument for the length of the call, which has no effect on memory.
    unsafe { ioctl(fd.as_fd(), setter) }.map_err(failed)?;
    Ok(fd)
}

impl Driver for Node {
    fn refine(&mut self, params: &mut HwParams) -> Result<(), Errno> {
        self.update::<{ abi::HW_REFINE }, _>(params)
    }

    fn set_hw(&mut self, params: &mut HwParams) -> Result<(), Errno> {
        self.update::<{ abi::HW_PARAMS }, _>(params)
    }

    fn set_sw(&mut self, params: &mut SwParams) -> Result<(), Errno> {
        self.update::<{ abi::SW_PARAMS }, _>(params)
    }

    fn sync(&mut self, sync: &mut SyncPtr) -> Result<(), Errno> {
        self.update::<{ abi::SYNC_PTR }, _>(sync)
    }

    fn status(&mut self) -> Result<RawStatus, Errno> {
        // SAFETY: the opcode is a getter of a struct snd_pcm_status, whose layout RawStatus has; every bit pattern is a value of it.
        let getter = unsafe { Getter::<{ abi::STATUS }, RawStatus>::new() };
        // SAFETY: the getter owns the place that the kernel writes to, and the call has no other effect.
        unsafe { ioctl(self.fd.as_fd(), getter) }
    }

    fn control(&mut self, op: Op) -> Result<(), Errno> {
        match op {
            Op::Prepare => self.call::<{ abi::PREPARE }>(),
            Op::Start => self.call::<{ abi::START }>(),
            Op::Drop => self.call::<{ abi::DROP }>(),
            Op::Drain => self.call::<{ abi::DRAIN }>(),
        }
    }

    fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }
}

/// The numbers of the subdevices, with their folders in procfs.
fn subdevices(host: &Host, card: u32, device: u32, direction: Direction) -> Vec<(u32, PathBuf)> {
    let letter = if direction == Direction::Capture { 'c' } else { 'p' };
    let folder = host.proc.join(format!("asound/card{card}/pcm{device}{letter}"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix("sub")?.parse().ok()?;
        Some((number, entry.path()))
    };
    let mut found: Vec<_> = entries.filter_map(number).collect();
    found.sort();
    found
}

/// Who has a PCM open, by `owner_pid` of its subdevices (Linux, sound/core/pcm.c, snd_pcm_substream_proc_status_read).
fn holders(host: &Host, card: u32, name: &PcmName, direction: Direction) -> Vec<Holder> {
    let holder = |(subdevice, folder): (u32, PathBuf)| {
        let text = fs::read_to_string(folder.join("status")).ok()?;
        let pid = text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "owner_pid").then(|| value.trim().parse::<u32>().ok()).flatten()
        })?;
        let command = read_line(&host.proc.join(pid.to_string()).join("comm"));
        Some(Holder { pid, command, subdevice })
    };
    let wanted = |(subdevice, _): &(u32, PathBuf)| name.subdevice().is_none_or(|wanted| wanted == *subdevice);
    subdevices(host, card, name.device(), direction).into_iter().filter(wanted).filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::FakeHost;

    #[test]
    fn who_holds_a_pcm_is_read_from_procfs() {
        let fake = FakeHost::new();
        let status = "state: RUNNING\nowner_pid   : 77\ntrigger_time: 5.0\nhw_ptr      : 96";
        fake.proc("asound/card2/pcm1c/sub0/status", status).proc("asound/card2/pcm1c/sub1/status", "closed");
        fake.proc("asound/card2/pcm1c/sub10/status", "state: OPEN\nowner_pid   : 78")
            .proc("77/comm", "arecord");
        let found = |name: &str| holders(&fake.host, 2, &name.parse().unwrap(), Direction::Capture);
        let arecord = Holder { pid: 77, command: Some("arecord".into()), subdevice: 0 };
        assert_eq!(found("hw:2,1"), [arecord.clone(), Holder { pid: 78, command: None, subdevice: 10 }]);
        assert_eq!(found("hw:2,1,0"), [arecord]);
        let busy = AudioError::Busy { path: "/dev/snd/pcmC2D1c".into(), holders: found("hw:2,1") };
        assert_eq!(
            busy.to_string(),
            "/dev/snd/pcmC2D1c is in use by arecord (process 77, subdevice 0), process 78 (subdevice 10); wait until it is closed"
        );
    }

    #[test]
    fn other_drivers_do_not_know_the_calls() {
        let null = fs::File::open("/dev/null").unwrap();
        let fd = OwnedFd::from(null);
        assert_eq!(info(&fd).map(|info| info.card), Err(Errno::NOTTY));
        let mut node = Node { fd: Arc::new(fd) };
        assert_eq!(node.refine(&mut HwParams::any()), Err(Errno::NOTTY));
        assert_eq!(node.sync(&mut SyncPtr::default()), Err(Errno::NOTTY));
        assert_eq!(node.control(Op::Start), Err(Errno::NOTTY));
    }
}
