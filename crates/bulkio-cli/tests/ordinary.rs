//! Ordinary users, two copies at once.
//!
//! A user's processes share one limit of locked memory, usually 8 MiB, and one copy's pool is larger. So registration
//! must shrink or be left out, the report must say so, and the copies must be the same as ever. As root everything
//! runs a second time as a user without any rights; an ordinary user is one already.

mod common;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use common::{Data, binary, difference, is_root, json, number, said, work_dir};
use serde_json::Value;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const MEMLOCK_KIB: u64 = 8 * 1024;

/// A user without rights: `nobody` on most systems, but it need not have a name.
const NOBODY: u32 = 65_534;

/// Who copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum User {
    /// Whoever runs the tests.
    Present,
    /// Somebody else, without rights.
    Nobody,
}

impl User {
    /// Says whether the limit of locked memory counts for this user; for root it does not.
    fn is_ordinary(self) -> bool {
        self == Self::Nobody || !is_root()
    }

    /// Starts a command line that goes on as this user.
    fn command(self, program: impl AsRef<Path>) -> Command {
        match self {
            Self::Present => Command::new(program.as_ref()),
            Self::Nobody => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
                command.arg("--clear-groups").arg(program.as_ref());
                command
            }
        }
    }
}

/// A folder that a user may use, with the command in it where the user can reach no other.
struct Desk {
    user: User,
    binary: PathBuf,
    folder: TempDir,
}

impl Desk {
    fn new(user: User) -> Result<Self, String> {
        if user == User::Present {
            return Ok(Self { user, binary: binary(), folder: work_dir()? });
        }
        if !is_root() {
            return Err("only root can become somebody else; this user is an ordinary one".to_owned());
        }
        let mut reasons = Vec::new();
        for folder in [work_dir(), TempDir::new_in("/var/tmp").map_err(|error| error.to_string())] {
            match folder.and_then(Self::for_nobody) {
                Ok(desk) => return Ok(desk),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join(", "))
    }

    fn for_nobody(folder: TempDir) -> Result<Self, String> {
        let user = User::Nobody;
        let command = folder.path().join("bulkio");
        let made = fs::copy(binary(), &command)
            .and_then(|_| fs::set_permissions(&command, Permissions::from_mode(0o755)))
            .and_then(|()| chown(folder.path(), Some(NOBODY), Some(NOBODY)));
        made.map_err(|error| error.to_string())?;
        // Folders above it may be closed.
        let output =
            user.command(&command).arg("--version").output().map_err(|error| format!("setpriv: {error}"))?;
        if output.status.success() {
            return Ok(Self { user, binary: command, folder });
        }
        Err(format!("another user cannot run {}: {}", command.display(), said(&output)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stores data in a file that belongs to the user.
    fn store(&self, name: &str, data: Data, len: u64) -> PathBuf {
        let path = self.path(name);
        data.store(&path, len);
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if self.user == User::Nobody {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
        }
    }

    /// Returns a `bulkio copy` of this user that may lock so much memory.
    fn copy(&self, memlock_kib: u64) -> Command {
        // Where less is allowed already, it stays so.
        let script = format!(
            "ulimit -l {memlock_kib} 2>/dev/null || test \"$(ulimit -l)\" -le {memlock_kib} || exit 99; exec \"$0\" \"$@\""
        );
        let mut command = self.user.command("sh");
        command.args(["-c", &script]).arg(&self.binary).arg("copy").env_remove("BULKIO_ENGINE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Reads the report of a copy that must have succeeded, and returns it with the bytes it has registered.
#[track_caller]
fn report(user: User, output: &Output, bytes: u64) -> (Value, u64) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    assert!(output.stderr.is_empty(), "{}", said(output));
    let report = json(&output.stdout);
    assert_eq!(number(&report, "bytes"), bytes, "{report}");
    assert_eq!(number(&report, "durable_bytes"), bytes, "{report}");
    let (registered, pool) = (number(&report, "registered_bytes"), number(&report, "pool_bytes"));
    assert!(registered <= pool, "{report}");
    if user.is_ordinary() {
        assert!(pool > MEMLOCK_KIB * 1024, "the pool does not try the limit: {report}");
        assert!(registered <= MEMLOCK_KIB * 1024, "{report}");
    }
    (report, registered)
}

fn finish(child: Child) -> Output {
    child.wait_with_output().expect("bulkio ends")
}

fn two_copies_of_files(test_name: &str, user: User) {
    const LEN: u64 = 96 * MIB + 5;
    let desk = or_skip!(test_name, Desk::new(user));
    let copies = [(Data(10), "from-1", "to-1"), (Data(11), "from-2", "to-2")];
    for (data, from, _) in copies {
        desk.store(from, data, LEN);
    }
    let started = copies.map(|(_, from, to)| {
        let mut command = desk.copy(MEMLOCK_KIB);
        command.arg("--json").arg(desk.path(from)).arg(desk.path(to)).spawn().expect("it starts")
    });
    for (child, (data, _, to)) in started.into_iter().zip(copies) {
        let (report, _) = report(user, &finish(child), LEN);
        for side in ["source", "destination"] {
            assert!(number(&report, &format!("{side}/bounced_bytes")) < 2 * 4096, "{report}");
        }
        assert_eq!(data.differs(&desk.path(to), LEN), None);
    }
}

#[test]
fn two_copies_of_files_as_the_present_user() {
    two_copies_of_files("two_copies_of_files_as_the_present_user", User::Present);
}

#[test]
fn two_copies_of_files_as_nobody() {
    two_copies_of_files("two_copies_of_files_as_nobody", User::Nobody);
}

/// Feeds a pipe with the data from `start` on. A copy that has ended is seen by its output.
fn feed(pipe: &mut ChildStdin, data: Data, start: u64, end: u64) {
    let mut piece = vec![0; MIB as usize];
    let mut at = start;
    while at < end {
        let len = usize::try_from(end - at).map_or(piece.len(), |left| left.min(piece.len()));
        data.fill(at, &mut piece[..len]);
        if pipe.write_all(&piece[..len]).is_err() {
            return;
        }
        at += len as u64;
    }
}

/// The second copy starts when the first one has its pool, and neither ends before both have.
fn two_copies_with_their_pools_at_once(test_name: &str, user: User) {
    const LEN: u64 = 40 * MIB + 4097;
    let desk = or_skip!(test_name, Desk::new(user));
    let mut running = [(Data(12), "to-1"), (Data(13), "to-2")].map(|(data, to)| {
        let mut command = desk.copy(MEMLOCK_KIB);
        command.args(["--json", "-"]).arg(desk.path(to)).stdin(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        // No pipe holds so much: when it is written, the copy reads, and has registered what it will.
        feed(&mut pipe, data, 0, 4 * MIB);
        (data, to, child, Some(pipe))
    });
    for (data, _, _, pipe) in &mut running {
        let mut pipe = pipe.take().expect("still open");
        feed(&mut pipe, *data, 4 * MIB, LEN);
    }
    let mut registered_bytes = 0;
    for (data, to, child, _) in running {
        let (_, registered) = report(user, &finish(child), LEN);
        registered_bytes += registered;
        assert_eq!(data.differs(&desk.path(to), LEN), None);
    }
    if user.is_ordinary() {
        assert!(registered_bytes <= MEMLOCK_KIB * 1024, "{registered_bytes} bytes are registered at once");
    }
}

#[test]
fn two_copies_with_their_pools_at_once_as_the_present_user() {
    let test_name = "two_copies_with_their_pools_at_once_as_the_present_user";
    two_copies_with_their_pools_at_once(test_name, User::Present);
}

#[test]
fn two_copies_with_their_pools_at_once_as_nobody() {
    two_copies_with_their_pools_at_once("two_copies_with_their_pools_at_once_as_nobody", User::Nobody);
}

/// Returns an ordinary user: the present one, or nobody where the present one is root.
fn ordinary_user() -> User {
    if is_root() { User::Nobody } else { User::Present }
}

#[test]
fn without_locked_memory_nothing_is_registered_and_people_are_told() {
    const LEN: u64 = 20 * MIB;
    let test_name = "without_locked_memory_nothing_is_registered_and_people_are_told";
    let desk = or_skip!(test_name, Desk::new(ordinary_user()));
    let (from, to) = (desk.store("from", Data(14), LEN), desk.path("to"));
    let output = desk.copy(0).arg(&from).arg(&to).output().expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("pages, not registered"), "{text}");
    assert_eq!(Data(14).differs(&to, LEN), None);
    let output = desk.copy(0).arg("--json").arg(&from).arg(&to).output().expect("it starts");
    assert_eq!(report(desk.user, &output, LEN).1, 0);
}

#[test]
fn a_destination_that_may_not_be_read_keeps_what_lies_beside_the_range() {
    const LEN: usize = 300_000;
    const SEEK: usize = 5003;
    let test_name = "a_destination_that_may_not_be_read_keeps_what_lies_beside_the_range";
    let desk = or_skip!(test_name, Desk::new(ordinary_user()));
    let (from, to) = (desk.store("from", Data(15), LEN as u64), desk.store("to", Data(16), MIB));
    fs::set_permissions(&to, Permissions::from_mode(0o200)).expect("mode set");
    let seek = SEEK.to_string();
    let mut command = desk.copy(MEMLOCK_KIB);
    command.args(["--json", "--no-truncate", "--seek", &seek]).arg(&from).arg(&to);
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    let report = json(&output.stdout);
    assert_eq!(number(&report, "bytes"), LEN as u64);
    let moved = ["direct_bytes", "bounced_bytes"].map(|kind| number(&report, &format!("destination/{kind}")));
    assert_eq!(moved[0] + moved[1], LEN as u64, "{report}");
    // Both ends are ragged, and nobody here can read, change and write back.
    let reason = report["destination"]["bounces"][0]["reason"].as_str().expect("a reason");
    assert!(moved[0] > 0 && reason.contains("may not be read"), "{report}");

    fs::set_permissions(&to, Permissions::from_mode(0o600)).expect("mode set");
    let mut expected = Data(16).bytes(MIB as usize);
    expected[SEEK..SEEK + LEN].copy_from_slice(&Data(15).bytes(LEN));
    assert_eq!(difference(&fs::read(&to).expect("it is read"), &expected, 0), None);
}
