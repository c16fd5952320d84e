//! The tests of the library and the command once more, as an ordinary user.
//!
//! Root never meets two limits that users meet: permissions, and locked memory (RLIMIT_MEMLOCK, often
//! 8 MiB for all processes of a user together). Here the built test binaries run as `nobody` with that
//! limit, the command's tests twice at once so that the two runs compete for it. The command under
//! test is the release build, while `cargo test` uses the development build: both are covered.
//!
//! The checkout may be below a folder that nobody may enter, so the binaries are copied out, and tests
//! take the command from BULKIO_BIN before CARGO_BIN_EXE_bulkio. Without root there is nobody to
//! become: then the same runs happen as the present user, under the same limit.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::libtest::Reader;
use super::skips::{self, SkipLog};
use super::tally::Step;
use super::{INSIDE, STEP_TIME};
use crate::workspace::{Workspace, clean};
use crate::{process, programs};

const MEMLOCK_KIB: u32 = 8 * 1024;
const LIBRARY: &str = "crates/bulkio";
const COMMAND: &str = "crates/bulkio-cli";

pub(crate) fn title() -> &'static str {
    if is_root() { "tests as nobody, 8 MiB of locked memory" } else { "tests with 8 MiB of locked memory" }
}

fn label() -> &'static str {
    if is_root() { " (as nobody)" } else { " (8 MiB locked)" }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One run of one test binary.
struct Job {
    title: String,
    binary: PathBuf,
    command_under_test: PathBuf,
    folder: PathBuf,
    owner: Option<Owner>,
    log: SkipLog,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Owner {
    user: u32,
    group: u32,
}

pub(crate) fn run(
    workspace: &Workspace,
    filter: Option<&str>,
    scratch: &Path,
    step: &mut Step,
) -> Result<()> {
    let tests = workspace.build(&["test", "--workspace", "--locked", "--no-run"])?;
    let command = copy_in(&workspace.release_build()?, scratch)?;
    let owner = if is_root() { Some(nobody()?) } else { None };

    let mut total = 0;
    for test in tests.iter().filter(|test| test.is_test) {
        let at_once = match &test.package {
            package if package == Path::new(LIBRARY) => 1,
            package if package == Path::new(COMMAND) => 2,
            _ => continue,
        };
        let binary = copy_in(&test.file, scratch)?;
        let mut jobs = Vec::new();
        for number in 1..=at_once {
            total += 1;
            let title = match at_once {
                1 => format!("{} {}", test.package.display(), test.name),
                _ => format!("{} {} ({number} of {at_once} at once)", test.package.display(), test.name),
            };
            let folder = scratch.join(format!("user-{total}"));
            std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            if let Some(owner) = owner {
                std::os::unix::fs::chown(&folder, Some(owner.user), Some(owner.group))
                    .with_context(|| format!("cannot give {} to nobody", folder.display()))?;
            }
            let log = SkipLog::new(scratch, &format!("skipped-{total}"))?;
            let (binary, command_under_test) = (binary.clone(), command.clone());
            jobs.push(Job { title, binary, command_under_test, folder, owner, log });
        }
        run_at_once(jobs, filter, step)?;
    }
    if total == 0 {
        bail!("{LIBRARY} and {COMMAND} have no tests");
    }
    Ok(())
}

fn run_at_once(jobs: Vec<Job>, filter: Option<&str>, step: &mut Step) -> Result<()> {
    let steps = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(|| job.run(filter))).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for outcome in steps {
        let Ok(outcome) = outcome else { bail!("a thread that ran tests panicked") };
        step.add(outcome?);
    }
    Ok(())
}

impl Job {
    /// Runs the binary, prints one line, and its whole output if something failed.
    fn run(&self, filter: Option<&str>) -> Result<Step> {
        let mut command = Command::new("sh");
        let script = format!("ulimit -l {MEMLOCK_KIB} || ulimit -l; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(&self.binary).args(filter);
        clean(&mut command).current_dir(&self.folder);
        command.env("HOME", &self.folder).env("TMPDIR", &self.folder).env("PATH", programs::search_path());
        command.env("BULKIO_BIN", &self.command_under_test).env(INSIDE, "1");
        command.env(skips::VARIABLE, self.log.path()).env_remove("XDG_RUNTIME_DIR");
        if let Some(owner) = self.owner {
            // Giving up root's user also gives up its further groups.
            command.uid(owner.user).gid(owner.group).env("USER", "nobody").env("LOGNAME", "nobody");
        }

        let mut reader = Reader::default();
        reader.open(&self.title);
        let mut lines = Vec::new();
        let ended = process::run(command, STEP_TIME, |line| {
            lines.push(line.to_owned());
            reader.line(line);
        })?;
        let mut step = Step::new(&self.title);
        reader.finish(&mut step, self.log.read()?, label());
        if !ended.success() && step.failed == 0 {
            step.fail(format!("{} ended with {ended}, though no test failed", self.title));
        }
        let mut report = String::new();
        if step.failed > 0 {
            report = lines.join("\n") + "\n";
        }
        let Step { title, passed, failed, skipped, .. } = &step;
        println!("{report}{title}: {passed} passed, {failed} failed, {skipped} skipped");
        Ok(step)
    }
}

fn copy_in(file: &Path, scratch: &Path) -> Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
    let copy = scratch.join(name);
    std::fs::copy(file, &copy)
        .with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
    Ok(copy)
}

fn nobody() -> Result<Owner> {
    let text = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    nobody_in(&text).context("/etc/passwd has no user `nobody` to run tests as")
}

/// passwd(5): name, password, user, group and so on, separated by colons.
fn nobody_in(passwd: &str) -> Option<Owner> {
    let line = passwd.lines().find(|line| line.starts_with("nobody:"))?;
    let mut fields = line.split(':').skip(2).map(str::parse);
    Some(Owner { user: fields.next()?.ok()?, group: fields.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_found_by_name() {
        let passwd = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65533:n:/nonexistent:/bin/false\n";
        assert_eq!(nobody_in(passwd), Some(Owner { user: 65534, group: 65533 }));
        assert_eq!(nobody_in("root:x:0:0:root:/:/bin/sh\n"), None);
    }
}
