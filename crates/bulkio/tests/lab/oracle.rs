//! The kernel as a witness: how often it called functions of its own (`Documentation/trace/ftrace.rst`).
//!
//! An [`Oracle`] is a tracer of its own, so several tests and a person's tracer do not meet. It counts the calls of every process, so tests that
//! ask it run one at a time.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A tracer of its own while it lives.
#[derive(Debug)]
struct Instance {
    folder: PathBuf,
    /// The file that switches it on and off, and the word for off.
    off: (&'static str, &'static str),
}

impl Instance {
    fn new(name: &str, off: (&'static str, &'static str)) -> Self {
        let folder = PathBuf::from("/sys/kernel/tracing/instances").join(name);
        fs::create_dir(&folder).expect("the lab has tracefs");
        let instance = Self { folder, off };
        instance.write("buffer_size_kb", "4096");
        instance
    }

    /// Returns what was recorded.
    fn trace(&self) -> String {
        let trace = fs::read_to_string(self.folder.join("trace")).unwrap();
        let lost = trace.lines().find(|line| line.contains("LOST"));
        assert_eq!(lost, None, "the trace has no room");
        trace
    }

    /// Forgets what was recorded.
    fn clear(&self) {
        self.write("trace", "");
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap_or_else(|error| panic!("{file} = {text:?}: {error}"));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let (file, word) = self.off;
        let stopped = fs::write(self.folder.join(file), word);
        if let Err(error) = stopped.and_then(|()| fs::remove_dir(&self.folder)) {
            eprintln!("cleanup failed: {}: {error}", self.folder.display());
        }
    }
}

/// Counts calls of kernel functions while it lives.
#[derive(Debug)]
pub(crate) struct Oracle(Instance);

impl Oracle {
    /// Begins to count the calls of these functions.
    pub(crate) fn watch(functions: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bulkio-{}-{number}", std::process::id());
        let instance = Instance::new(&name, ("current_tracer", "nop"));
        // One that the kernel does not know, or has inlined, is an error here.
        instance.write("set_ftrace_filter", &functions.join("\n"));
        instance.write("current_tracer", "function");
        Self(instance)
    }

    /// Returns how often a function was called since the last [`reset`](Self::reset).
    pub(crate) fn hits(&self, function: &str) -> u64 {
        // A line is "task-pid [cpu] flags time: function <-caller", a module's function without its module.
        let called = format!(": {function} <-");
        let trace = self.0.trace();
        trace.lines().filter(|line| !line.starts_with('#') && line.contains(&called)).count() as u64
    }

    /// Begins at 0 again.
    pub(crate) fn reset(&self) {
        self.0.clear();
    }
}

/// The probes of [`MappedMemory`] while they are there. They can be removed when no tracer has them on.
#[derive(Debug)]
struct Probes;

impl Probes {
    const EVENTS: &str = "/sys/kernel/tracing/kprobe_events";
}

impl Drop for Probes {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::EVENTS, "\n") {
            eprintln!("cleanup failed: {}: {error}", Self::EVENTS);
        }
    }
}

/// The memory of commands that the kernel mapped, by length, while it lives: probes on the functions that do
/// (`Documentation/trace/kprobetrace.rst`).
#[derive(Debug)]
pub(crate) struct MappedMemory {
    instance: Instance,
    // Dropped behind the tracer.
    _probes: Probes,
}

impl MappedMemory {
    /// Begins to note what is mapped. One at a time: the probes have one name.
    ///
    /// A command's data pass through `blk_rq_map_user_iov`, and on to `bio_map_user_iov` where pages of a caller are mapped. Registered
    /// memory is an iterator of type 2 (`ITER_BVEC`), and used as it is. The iterator is the fourth argument of the one and the second of the
    /// other; its `count` lies 24 bytes in (include/linux/uio.h and block/blk-map.c, Linux 6.12).
    pub(crate) fn watch() -> Self {
        let probes = "p:bulkio/mapped bio_map_user_iov kind=\\9:u8 bytes=+24(%si):u64\n\
                      p:bulkio/command blk_rq_map_user_iov kind=+0(%cx):u8 bytes=+24(%cx):u64\n";
        fs::write(Probes::EVENTS, probes).expect("the lab has probes");
        let memory =
            Self { instance: Instance::new("bulkio-mapped", ("events/bulkio/enable", "0")), _probes: Probes };
        memory.instance.write("events/bulkio/enable", "1");
        memory
    }

    /// Returns the lengths since it was asked last, of those that are whole sectors.
    pub(crate) fn take(&self) -> Vec<u64> {
        let trace = self.instance.trace();
        self.instance.clear();
        let lens = trace.lines().filter_map(|line| {
            let (_, rest) = line.split_once(" kind=")?;
            let (kind, bytes) = rest.split_once(" bytes=")?;
            // Of the commands, those with registered memory: the others are seen when they are mapped.
            matches!(kind, "9" | "2").then(|| bytes.trim().parse::<u64>().unwrap())
        });
        lens.filter(|len| *len > 0 && len.is_multiple_of(512)).collect()
    }
}
