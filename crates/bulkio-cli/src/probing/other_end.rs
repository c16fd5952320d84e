//! The other end of a copy from a device with a clock: what its direct I/O demands, and what becomes of memory that a device filled.
//!
//! [`OtherEnd`] is asked of the library without writing anything: a file that is not there yet by an unnamed one in its folder.
//! [`Verdict`] follows from it, from where memory lies and from how long frames are; it is what a copy would report afterwards.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkio::device::{Device as _, DirectMode, Passthrough, device_of, takes_commands};
use bulkio::probe::{Kind, Probe, ProbeError, probe_fd, probe_path};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use scatterlist::{LimitId, Limits};
use serde::Serialize;

use super::kind;

/// What the other end demands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OtherEnd {
    path: PathBuf,
    kind: &'static str,
    /// Whether it is to be made yet.
    is_new: bool,
    /// What direct transfers must be multiples of, or why there are none.
    direct: Result<Rule, String>,
}

/// What a direct transfer must be multiples of, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    /// Addresses in memory.
    addr_align: u64,
    /// Positions and lengths.
    block_len: u64,
}

#[derive(Serialize)]
pub(super) struct JsonOtherEnd<'a> {
    path: String,
    kind: &'static str,
    is_new: bool,
    direct: bool,
    /// Why not; null where it is.
    direct_refused: Option<&'a str>,
    /// Null where it is not direct.
    addr_align: Option<u64>,
    block_bytes: Option<u64>,
}

/// Frames in the memory of a device, as they would be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frames {
    /// Bytes of each; `None` where they differ.
    pub(super) len: Option<u64>,
    /// What their place in memory can be chosen to be a multiple of, in bytes; `None` where each lies at the beginning of a page.
    pub(super) place_align: Option<u64>,
    /// What the lengths of planes are multiples of, where planes lie apart.
    pub(super) apart: Option<u64>,
    /// Whether the kernel lets other devices have the memory; `None` where that cannot be asked.
    pub(super) pinnable: Option<bool>,
}

/// What becomes of frames on their way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// No byte is copied.
    Direct,
    /// All but the bytes around the ends of frames, or of the ring, stay where they are.
    Edges(String),
    /// All are copied.
    Copied(String),
}

impl OtherEnd {
    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) fn ask(path: &Path) -> Result<Self, String> {
        let (probe, fd, is_new) = match probe_path(path) {
            Ok(probe) => (probe, None, false),
            Err(error @ ProbeError::NotFound { .. }) => {
                let folder = folder_of(path).ok_or_else(|| error.to_string())?;
                let fd = unnamed_file(folder).map_err(|errno| {
                    let why = io::Error::from(errno);
                    format!(
                        "{} is not there, and what a file in {} would be cannot be tried: {why}",
                        path.display(),
                        folder.display()
                    )
                })?;
                (probe_fd(fd.as_fd(), path).map_err(|error| error.to_string())?, Some(fd), true)
            }
            Err(error) => return Err(error.to_string()),
        };
        if matches!(probe.kind, Kind::Directory) {
            return Err(format!("{} is a directory; name a file in it", path.display()));
        }
        let direct = direct_rule(&probe, fd);
        Ok(Self { path: path.to_owned(), kind: kind(&probe.kind), is_new, direct })
    }

    /// Says what would become of frames that are written here one behind the other, from the beginning.
    pub(super) fn verdict(&self, frames: &Frames) -> Verdict {
        let rule = match &self.direct {
            Ok(rule) => *rule,
            Err(why) => return Verdict::Copied(format!("by the kernel, at {}: {why}", self.path.display())),
        };
        match frames.pinnable {
            Some(true) => {}
            Some(false) => {
                return Verdict::Copied(
                    "the kernel lets no other device have this memory (it cannot be pinned)".into(),
                );
            }
            None => return Verdict::Copied("it cannot be asked whether the kernel pins this memory".into()),
        }
        let Some(len) = frames.len else {
            return Verdict::Copied(format!(
                "frames differ in length, so they begin anywhere in blocks of {} bytes; --pad-frames begins each at one",
                rule.block_len
            ));
        };
        if let Some(step) = frames.apart
            && !step.is_multiple_of(rule.block_len)
        {
            return Verdict::Copied(format!(
                "the planes of a frame lie apart, each on its own pages, and are no whole blocks of {} bytes",
                rule.block_len
            ));
        }
        if len.is_multiple_of(rule.block_len) {
            return Verdict::Direct;
        }
        // Frames begin at multiples of this, counted in what addresses must be multiples of.
        let step = common_divisor(len, rule.addr_align);
        let lies_right = match frames.place_align {
            _ if step == rule.addr_align => true,
            Some(align) => step.is_multiple_of(align),
            None => false,
        };
        let of = format!("frames of {len} bytes are no whole blocks of {}", rule.block_len);
        if lies_right {
            return Verdict::Edges(format!("{of}; --pad-frames makes them so"));
        }
        let place = frames.place_align.map_or_else(
            || "frames lie at the beginning of pages".to_owned(),
            |align| format!("the device takes no place that is no multiple of {align}"),
        );
        let one_in = rule.addr_align.checked_div(step).unwrap_or(1);
        Verdict::Copied(format!(
            "all but one frame in {one_in}, since {of}: memory would have to lie at multiples of {step} to suit addresses in \
             steps of {}, and {place}; --pad-frames makes them whole",
            rule.addr_align
        ))
    }

    /// Says what would become of the bytes of a ring of this length, from or to the beginning.
    pub(super) fn ring_verdict(&self, ring_len: u64, pinned: Result<(), String>) -> Verdict {
        let rule = match &self.direct {
            Ok(rule) => *rule,
            Err(why) => return Verdict::Copied(format!("by the kernel, at {}: {why}", self.path.display())),
        };
        if let Err(why) = pinned {
            return Verdict::Copied(why);
        }
        if ring_len.is_multiple_of(rule.block_len) {
            return Verdict::Direct;
        }
        let of = format!("the ring of {ring_len} bytes is no whole blocks of {}", rule.block_len);
        if ring_len.is_multiple_of(rule.addr_align) {
            Verdict::Edges(of)
        } else {
            Verdict::Copied(format!("{of}, nor a multiple of {}, as addresses are", rule.addr_align))
        }
    }

    pub(super) fn json(&self) -> JsonOtherEnd<'_> {
        let rule = self.direct.as_ref().ok();
        JsonOtherEnd {
            path: self.path.display().to_string(),
            kind: self.kind,
            is_new: self.is_new,
            direct: rule.is_some(),
            direct_refused: self.direct.as_ref().err().map(String::as_str),
            addr_align: rule.map(|rule| rule.addr_align),
            block_bytes: rule.map(|rule| rule.block_len),
        }
    }
}

impl fmt::Display for OtherEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.path.display(), self.kind)?;
        if self.is_new {
            f.write_str(" (not there yet)")?;
        }
        match &self.direct {
            Ok(Rule { addr_align, block_len }) => {
                write!(
                    f,
                    ": direct I/O from addresses that are multiples of {addr_align}, in blocks of {block_len} bytes"
                )
            }
            Err(why) => write!(f, ": no direct I/O: {why}"),
        }
    }
}

impl Verdict {
    /// The stable name, as in JSON.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Edges(_) => "edges",
            Self::Copied(_) => "copied",
        }
    }

    /// Why it is no better.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Direct => None,
            Self::Edges(why) | Self::Copied(why) => Some(why),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("zero copy"),
            Self::Edges(why) => write!(f, "only edges are copied: {why}"),
            Self::Copied(why) => write!(f, "copied: {why}"),
        }
    }
}

/// The folder in which a file would be made; `None` where the copy would refuse to make one.
fn folder_of(path: &Path) -> Option<&Path> {
    // A missing node is a misspelt or unplugged device, not a file to be made.
    if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
        return None;
    }
    path.file_name()?;
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Some(Path::new(".")),
        folder => folder,
    }
}

/// Makes a file that no name leads to, and that is gone when it is closed.
fn unnamed_file(folder: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        CWD,
        folder,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )
}

/// What direct transfers must be multiples of, tried where that writes nothing.
fn direct_rule(probe: &Probe, fd: Option<OwnedFd>) -> Result<Rule, String> {
    if takes_commands(probe) {
        let device = Passthrough::open(probe).map_err(|error| error.to_string())?;
        return match device.routes().direct() {
            Ok(_) => Ok(Rule::of(device.limits())),
            Err(why) => Err(why.to_string()),
        };
    }
    match &probe.kind {
        Kind::File(_) | Kind::BlockDevice(_) => {}
        Kind::Tape(_) => return Err("a tape's driver decides for each transfer".to_owned()),
        _ => return Err("a stream is copied by the kernel".to_owned()),
    }
    let fd = match fd {
        Some(fd) => fd,
        None => {
            let opened =
                rustix::fs::openat(CWD, &probe.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            opened.map_err(|errno| format!("opening it to try fails: {}", io::Error::from(errno)))?
        }
    };
    let device = device_of(Arc::new(fd), probe.clone(), DirectMode::Auto, false, false);
    match device.routes().direct() {
        Ok(_) => Ok(Rule::of(device.limits())),
        Err(why) => Err(why.to_string()),
    }
}

impl Rule {
    fn of(limits: &Limits) -> Self {
        let value = |id| limits.get(id).value.max(1);
        let block_len = value(LimitId::PositionAlign).max(value(LimitId::TotalLenAlign));
        Self { addr_align: value(LimitId::AddrAlign), block_len }
    }
}

pub(super) fn common_divisor(mut one: u64, mut other: u64) -> u64 {
    while let Some(rest) = one.checked_rem(other) {
        (one, other) = (other, rest);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(direct: Result<(u64, u64), &str>) -> OtherEnd {
        let direct = direct.map(|(addr_align, block_len)| Rule { addr_align, block_len });
        OtherEnd { path: "to".into(), kind: "file", is_new: true, direct: direct.map_err(str::to_owned) }
    }

    const ON_PAGES: Frames =
        Frames { len: Some(614_400), place_align: None, apart: None, pinnable: Some(true) };

    #[test]
    fn frames_of_whole_blocks_are_not_copied() {
        for end in [to(Ok((512, 512))), to(Ok((4, 4096)))] {
            assert_eq!(end.verdict(&ON_PAGES), Verdict::Direct);
            assert_eq!(end.verdict(&Frames { place_align: Some(64), ..ON_PAGES }), Verdict::Direct);
        }
    }

    #[test]
    fn edges_are_copied_where_the_middle_suits_both() {
        // 460800 is 112.5 blocks of 4096, and a multiple of every alignment below.
        let frames = Frames { len: Some(460_800), ..ON_PAGES };
        let verdict = to(Ok((512, 4096))).verdict(&frames);
        assert!(
            matches!(&verdict, Verdict::Edges(why) if why.contains("460800") && why.contains("--pad-frames"))
        );
        assert!(verdict.to_string().starts_with("only edges are copied: "), "{verdict}");
        // The device can be told to begin where the block needs it.
        let placed = Frames { len: Some(1000), place_align: Some(8), ..ON_PAGES };
        assert_eq!(to(Ok((512, 512))).verdict(&placed).name(), "edges");
    }

    #[test]
    fn all_is_copied_where_no_place_suits_both() {
        let frames = Frames { len: Some(1000), ..ON_PAGES };
        for frames in [frames, Frames { place_align: Some(64), ..frames }] {
            let verdict = to(Ok((512, 512))).verdict(&frames);
            assert!(matches!(&verdict, Verdict::Copied(why) if why.contains("multiples of 8 ")), "{verdict}");
        }
        let copied = |end: OtherEnd, frames: Frames, says: &str| {
            let verdict = end.verdict(&frames);
            assert!(
                verdict.name() == "copied" && verdict.reason().is_some_and(|why| why.contains(says)),
                "{verdict}"
            );
        };
        copied(to(Ok((4, 512))), Frames { pinnable: Some(false), ..ON_PAGES }, "cannot be pinned");
        copied(to(Ok((4, 512))), Frames { pinnable: None, ..ON_PAGES }, "cannot be asked");
        copied(to(Ok((4, 512))), Frames { len: None, ..ON_PAGES }, "differ in length");
        copied(to(Err("a stream is copied by the kernel")), ON_PAGES, "a stream is copied by the kernel");
    }

    #[test]
    fn planes_that_lie_apart_are_whole_blocks_or_copied() {
        let apart = |step| to(Ok((512, 4096))).verdict(&Frames { apart: Some(step), ..ON_PAGES });
        assert_eq!(apart(8192), Verdict::Direct);
        assert!(matches!(apart(6144), Verdict::Copied(why) if why.contains("lie apart")));
    }

    #[test]
    fn rings_of_whole_blocks_are_not_copied() {
        let verdict = |ring_len, rule| to(rule).ring_verdict(ring_len, Ok(()));
        assert_eq!(verdict(65_536, Ok((512, 4096))), Verdict::Direct);
        assert_eq!(verdict(66_048, Ok((512, 4096))).name(), "edges");
        assert_eq!(verdict(66_052, Ok((512, 4096))).name(), "copied");
        assert_eq!(verdict(65_536, Err("a stream is copied by the kernel")).name(), "copied");
        let refused = to(Ok((512, 4096))).ring_verdict(65_536, Err("it cannot be pinned".to_owned()));
        assert_eq!(refused.to_string(), "copied: it cannot be pinned");
    }

    #[test]
    fn ends_are_asked_without_making_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        let (there, not) = (folder.path().join("there"), folder.path().join("not"));
        std::fs::write(&there, "some bytes").expect("a file");
        let there = OtherEnd::ask(&there).expect("an answer");
        assert!(!there.is_new && there.kind == "file");
        if let Ok(new) = OtherEnd::ask(&not) {
            assert!(new.is_new && new.kind == "file");
            assert_eq!(new.direct, there.direct, "a file that is to be made is like its neighbour");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
        let null = OtherEnd::ask(Path::new("/dev/null")).expect("an answer");
        assert_eq!(null.json().direct_refused, Some("a stream is copied by the kernel"));
        for (path, says) in [
            (folder.path(), "is a directory"),
            (&folder.path().join("none/to"), "is not there"),
            (Path::new("/dev/bulkio-cli-no-such-disk"), "No such file"),
        ] {
            let error = OtherEnd::ask(path).expect_err("no answer");
            assert!(error.contains(says), "{error}");
        }
    }
}
