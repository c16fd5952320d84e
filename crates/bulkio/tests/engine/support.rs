//! What the engine's tests share: memory at chosen alignments, files on a disk, pipes, short forms.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::NonNull;
use std::sync::Arc;

use bulkio::engine::{Completion, Engine, EngineChoice, EngineOptions, FileId, FixedRegion};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::pipe::{PipeFlags, pipe_with};
use scatterlist::{
    Addr, CpuAddr, Direction, Lease, LimitId, Limits, Outcome, Position, Request, ScatterList, Segment,
    Status,
};

/// Page-aligned memory.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    pub(crate) len: usize,
}

// SAFETY: plain owned memory, reached through raw pointers only.
unsafe impl Send for Mapping {}
// SAFETY: as above; the tests look at it only when nothing is in flight.
unsafe impl Sync for Mapping {}

pub(crate) type TestRequest = Request<CpuAddr, Arc<Mapping>, ()>;
pub(crate) type TestEngine = Engine<Arc<Mapping>, ()>;

impl Mapping {
    pub(crate) fn new(len: usize) -> Arc<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE) };
        Arc::new(Self { start: NonNull::new(start.unwrap().cast()).unwrap(), len })
    }

    pub(crate) fn addr(&self, at: usize) -> CpuAddr {
        CpuAddr::from_ptr(self.start.as_ptr()).checked_add(at as u64).unwrap()
    }

    pub(crate) fn fill(&self, pattern: impl Fn(usize) -> u8) {
        let bytes: Vec<u8> = (0..self.len).map(pattern).collect();
        // SAFETY: as long as the mapping, and nothing is in flight on it.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), self.len) };
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        // SAFETY: the mapping is initialised by the kernel, and nothing is in flight on it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }.to_vec()
    }

    /// A request for pieces `(offset, length)` of the mapping.
    pub(crate) fn request(
        self: &Arc<Self>,
        pieces: &[(usize, usize)],
        direction: Direction,
        position: Position,
    ) -> TestRequest {
        let segments = pieces.iter().map(|&(at, len)| {
            assert!(at + len <= self.len);
            Segment::new(self.addr(at), len as u64).unwrap()
        });
        let list = ScatterList::from_segments(segments).unwrap();
        // SAFETY: the owner keeps the mapping, and the tests look at it only when nothing is in flight.
        let lease = unsafe { Lease::from_raw(list, Arc::clone(self)) };
        Request::new(lease, direction, position, ())
    }

    /// The whole mapping as a region to register.
    pub(crate) fn region(self: &Arc<Self>) -> FixedRegion {
        // SAFETY: the mapping lasts as long as its owner.
        unsafe { FixedRegion::new(self.addr(0), self.len as u64, Arc::clone(self) as _) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whose last owner is gone.
        unsafe { munmap(self.start.as_ptr().cast(), self.len) }.unwrap();
    }
}

pub(crate) fn engine(kind: EngineChoice, depth: u32) -> TestEngine {
    Engine::new(EngineOptions { kind, depth, log: true, ..EngineOptions::default() }).unwrap()
}

/// Runs the test `name` once more in a process of its own, which `mark` in its environment tells apart, and says
/// so. Says `false` in that process: what changes a process for good goes there.
pub(crate) fn ran_in_child(name: &str, mark: &str) -> bool {
    ran_in_child_with(name, mark, &[])
}

/// The same, with more in its environment.
pub(crate) fn ran_in_child_with(name: &str, mark: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os(mark).is_some() {
        return false;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture"]).env(mark, "1");
    let child = child.envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    eprint!("{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the child ran another test, or none: {said}");
    true
}

/// Runs a test of the suite once more in a process of its own, where no other engine is, and says so. Says `false`
/// in that process.
pub(crate) fn alone(test: &str, kind: EngineChoice) -> bool {
    let group = match kind {
        EngineChoice::Uring => "uring",
        EngineChoice::Aio => "aio",
        _ => "threads",
    };
    ran_in_child(&format!("{group}::{test}"), "BULKIO_TEST_ALONE_CHILD")
}

/// Forbids system calls in this process for good, as container run times do; says whether that could be done.
pub(crate) fn forbid(calls: &[libc::c_long]) -> bool {
    // The number of the call is the first word of the filter's data (seccomp(2)).
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, 0, 1));
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
        filter.push(step(libc::BPF_RET | libc::BPF_K, refuse, 0, 0));
    }
    filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no memory.
    let closed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its filter are valid for the call. Threads that this one starts have it too.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    closed == 0 && set == 0
}

/// A file on a disk file system whose name is gone already.
pub(crate) fn file(flags: libc::c_int, content: &[u8]) -> Arc<OwnedFd> {
    let folder = crate::common::storage_dir().unwrap();
    let mut named = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
    named.write_all(content).unwrap();
    named.as_file().sync_all().unwrap();
    let write = flags & libc::O_ACCMODE != libc::O_RDONLY;
    let flags = flags & !libc::O_ACCMODE;
    let file = OpenOptions::new().read(true).write(write).custom_flags(flags).open(named.path()).unwrap();
    Arc::new(file.into())
}

/// Reads a file without `O_DIRECT`, through the name that the kernel keeps for its descriptor.
pub(crate) fn content(fd: &OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn pipe() -> (Arc<OwnedFd>, Arc<OwnedFd>) {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (Arc::new(read), Arc::new(write))
}

/// What a file under `O_DIRECT` takes.
pub(crate) fn direct() -> Limits {
    Limits::builder()
        .hard(LimitId::PositionAlign, 512)
        .hard(LimitId::AddrAlign, 512)
        .hard(LimitId::PieceLenAlign, 512)
        .hard(LimitId::PiecesMax, 1024)
        .build()
        .unwrap()
}

/// Waits for whatever is over next, through signals. (The kernel ends a wait also for work of its own, such as taking an earlier ring down.)
pub(crate) fn over<O: 'static, C>(engine: &mut Engine<O, C>) -> Completion<O, C> {
    loop {
        if let Some(completion) = engine.wait().expect("the engine goes on") {
            return completion;
        }
    }
}

/// Waits for a transfer, through signals.
pub(crate) fn next(engine: &mut TestEngine) -> (TestRequest, Outcome) {
    match over(engine) {
        Completion::Transfer { request, outcome, .. } => (request, outcome),
        other => panic!("not a transfer: {:?}", other.token()),
    }
}

/// Submits a request to an idle engine and waits for it.
pub(crate) fn run(engine: &mut TestEngine, file: FileId, request: TestRequest, limits: &Limits) -> Outcome {
    let asked = request.len_bytes();
    engine.submit(file, request, limits).unwrap();
    let (request, outcome) = next(engine);
    assert_eq!((request.len_bytes(), outcome.asked), (asked, asked));
    outcome
}

pub(crate) fn pattern(at: usize) -> u8 {
    ((at * 7 + at / 251) & 0xff) as u8
}

pub(crate) fn errno(number: i32) -> Status {
    Status::Errno(number.unsigned_abs())
}

/// A small generator of numbers, so that a failing run can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Says whether an engine works here. One that does not is a test that is skipped by name.
pub(crate) fn works(test: &str, kind: EngineChoice) -> bool {
    let made = TestEngine::new(EngineOptions { kind, ..EngineOptions::default() });
    if let Err(error) = &made {
        crate::common::skip(test, &error.to_string());
    }
    made.is_ok()
}
