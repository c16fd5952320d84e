//! Runs groups on this machine: builds their tests, boots, boots once more where the machine was to blame, keeps the logs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::groups::Group;
use super::initramfs;
use super::kernel_image::Kernel;
use super::machine::{Broken, Machine};
use super::report::Report;
use super::wire::{Plan, PlannedTests};
use crate::test::Step;
use crate::workspace::{Built, Workspace};

/// How long the guest has for devices and disk, beside the time of its tests.
const SETUP_TIME: Duration = Duration::from_secs(600);

/// How often a machine is booted that breaks. Code that a kernel patches while another processor runs it is what emulation does not
/// always see in time (seen: `int3` of a static key, 3 s after the start), the less so on busy processors.
const BOOTS_MAX: u32 = 4;

const LIBRARY: &str = "bulkio";

const COMMAND: &str = "bulkio";

/// Emulation makes everything ten times slower, and this three times faster. What the library depends on is built as for any other
/// run; assertions and checks of overflow stay on.
const OPTIMISED: &str = "profile.dev.package.bulkio.opt-level=1";

/// The lab of one target directory. Nobody else uses it meanwhile.
#[derive(Debug)]
pub(super) struct Lab<'a> {
    workspace: &'a Workspace,
    /// Kernels, logs and what a boot takes.
    folder: PathBuf,
    kernel: Kernel,
    /// Our own program, as it was when the run began.
    xtask: PathBuf,
    _lock: File,
}

impl<'a> Lab<'a> {
    /// Makes the folder and sees that there is a kernel in it.
    pub(super) fn open(workspace: &'a Workspace) -> Result<Self> {
        let folder = workspace.target.join("lab");
        if folder.to_string_lossy().contains([',', ' ', '\n']) {
            bail!("QEMU cannot have files below {}: no comma, no blank", folder.display());
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("cannot make the lock of the lab")?;
        if lock.try_lock().is_err() {
            println!("another run uses the lab in {}; waiting for it", folder.display());
            lock.lock().context("cannot wait for the lab")?;
        }
        let kernel = Kernel::newest(&folder.join("kernels"))?;
        // A copy: another build may replace it while the guest runs it.
        let xtask = folder.join("xtask");
        let own = std::env::current_exe().context("cannot find our own program")?;
        copy(&own, &xtask)?;
        Ok(Self { workspace, folder, kernel, xtask, _lock: lock })
    }

    /// Builds the tests of `groups`, and the command.
    pub(super) fn build(&self, groups: &[&Group]) -> Result<Vec<Built>> {
        let mut targets: Vec<_> =
            groups.iter().flat_map(|group| group.tests).map(|tests| tests.target).collect();
        targets.sort_unstable();
        targets.dedup();
        // Of the whole workspace, so that what they depend on has the features, and is the build, of `cargo test`.
        let mut arguments = vec!["build", "--workspace", "--locked", "--config", OPTIMISED, "--bin", COMMAND];
        arguments.extend(targets.iter().flat_map(|target| ["--test", target]));
        self.workspace.build(&arguments)
    }

    /// Runs one group: its counts.
    pub(super) fn run(&self, group: &Group, built: &[Built]) -> Result<Step> {
        let folder = self.empty_folder(group.name)?;
        let mut tests = Vec::new();
        for wanted in group.tests {
            let is_it = |file: &&Built| file.is_test && file.name == wanted.target;
            let file = built.iter().find(is_it);
            let file = file.with_context(|| format!("{LIBRARY} has no test `{}`", wanted.target))?;
            let binary = folder.join(wanted.target);
            copy(&file.file, &binary)?;
            tests.push(PlannedTests {
                title: format!("{LIBRARY} {}", wanted.target),
                binary,
                arguments: wanted.arguments.iter().map(|&word| word.to_owned()).collect(),
                limit_s: wanted.limit.as_secs(),
            });
        }
        copy_command(built, &folder)?;
        let test_time = SETUP_TIME + group.tests.iter().map(|tests| tests.limit).sum::<Duration>();
        let machine = self.machine(&folder, Some(group), tests, None)?;
        let log = folder.join("output.log");
        let (mut report, mut broken) = boot(&machine, group, &log, test_time)?;
        for number in 1..BOOTS_MAX {
            let worth = |broken: &&Broken| broken.is_worth_another_boot();
            let Some(why) = broken.as_ref().filter(worth) else { break };
            println!("{}: {why}; booting once more", group.name);
            let kept = folder.join(format!("console-of-boot-{number}.log"));
            std::fs::rename(machine.console(), kept).context("cannot keep the console's log")?;
            (report, broken) = boot(&machine, group, &log, test_time)?;
        }
        if let Some(broken) = broken {
            report.fault(&broken.to_string());
        }
        let step = report.finish();
        if step.failed > 0 {
            println!("logs of {}: {} and {}", group.name, log.display(), machine.console().display());
        }
        Ok(step)
    }

    /// Boots with a prompt on the terminal.
    pub(super) fn shell(&self, group: Option<&Group>) -> Result<()> {
        let folder = self.empty_folder("shell")?;
        copy_command(&self.build(&[])?, &folder)?;
        println!("the command is {}", folder.join(COMMAND).display());
        let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok();
        let size = size.filter(|size| size.ws_row > 0).map_or((24, 80), |size| (size.ws_row, size.ws_col));
        println!("booting; `poweroff` or the end of the shell ends it, ctrl-a x ends it at once");
        self.machine(&folder, group, Vec::new(), Some(size))?.run_on_terminal()
    }

    fn machine<'m>(
        &'m self,
        folder: &'m Path,
        group: Option<&'m Group>,
        tests: Vec<PlannedTests>,
        prompt: Option<(u16, u16)>,
    ) -> Result<Machine<'m>> {
        let plan = Plan {
            group: group.map_or_else(String::new, |group| group.name.to_owned()),
            modules_folder: self.kernel.modules_folder(),
            modules: group
                .map(|group| group.modules.iter().map(|&module| module.to_owned()).collect())
                .unwrap_or_default(),
            // Where tests of the library put files on a disk.
            disk_at: vec![self.workspace.target.join("tmp"), PathBuf::from("/var/tmp")],
            setup: group.map_or_else(String::new, |group| group.setup.to_owned()),
            command: folder.join(COMMAND),
            tests,
            prompt,
        };
        let plan_file = folder.join("plan.json");
        write(&plan_file, &serde_json::to_vec_pretty(&plan).context("the plan")?)?;
        let initramfs = folder.join("initramfs");
        write(&initramfs, &initramfs::pack(&self.kernel, &self.xtask, &plan_file)?)?;
        let (images, devices) = group.map_or((&[][..], &[][..]), |group| (group.images, group.devices));
        let nice = group.is_some_and(|group| !group.by_the_clock);
        Ok(Machine { kernel: &self.kernel, initramfs, folder, images, devices, nice })
    }

    /// The folder of a group, without what an earlier run left.
    fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join("groups").join(name);
        if folder.is_dir() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

fn boot(
    machine: &Machine<'_>,
    group: &Group,
    log: &Path,
    test_time: Duration,
) -> Result<(Report, Option<Broken>)> {
    let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    let mut report = Report::new(group.name, Some(file));
    let broken = machine.run(test_time, &mut report)?;
    Ok((report, broken))
}

/// Puts the command where the guest looks for it.
fn copy_command(built: &[Built], folder: &Path) -> Result<()> {
    let is_command = |file: &&Built| !file.is_test && file.name == COMMAND;
    let command = built.iter().find(is_command).context("the command was not built")?;
    copy(&command.file, &folder.join(COMMAND))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A program that still runs cannot be written to, and the new file is another one.
    let _ = std::fs::remove_file(to);
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
