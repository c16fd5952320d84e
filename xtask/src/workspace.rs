//! Where the workspace is, how its tools are called, and what the compiler built.
//!
//! `cargo run` leaves variables about xtask itself in the environment; [`clean`] takes them away
//! before a program starts that would mistake them for its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The folder of the workspace and the folder that builds go to.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

/// One file that cargo built and that can be run.
#[derive(Debug)]
pub(crate) struct Built {
    /// The package's folder, relative to the workspace.
    pub(crate) package: PathBuf,
    /// Name of the target: of the library, of the command or of the file below `tests/`.
    pub(crate) name: String,
    pub(crate) is_test: bool,
    pub(crate) file: PathBuf,
}

impl Workspace {
    /// Finds the workspace that xtask belongs to.
    pub(crate) fn find() -> Result<Self> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = own.parent().context("xtask is not inside a workspace")?.to_path_buf();
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
        }
        let command = cargo_in(&root, &["metadata", "--offline", "--no-deps", "--format-version", "1"]);
        let metadata: Metadata = json_of(command)?;
        Ok(Self { root, target: metadata.target_directory })
    }

    /// A cargo command that runs in the workspace.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        cargo_in(&self.root, arguments)
    }

    /// Builds with `arguments` and returns the files that can be run.
    pub(crate) fn build(&self, arguments: &[&str]) -> Result<Vec<Built>> {
        self.build_with(self.cargo(arguments))
    }

    /// Runs a cargo command that builds and returns the files that can be run.
    pub(crate) fn build_with(&self, mut command: Command) -> Result<Vec<Built>> {
        #[derive(Deserialize)]
        struct Message {
            manifest_path: Option<PathBuf>,
            target: Option<Target>,
            profile: Option<Profile>,
            executable: Option<PathBuf>,
        }
        #[derive(Deserialize)]
        struct Target {
            name: String,
        }
        #[derive(Deserialize)]
        struct Profile {
            test: bool,
        }
        command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        if !output.status.success() {
            bail!("{command:?} does not build: {}", output.status);
        }
        let mut built = Vec::new();
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
            let message: Message = serde_json::from_slice(line).context("a build message of cargo")?;
            let Message {
                manifest_path: Some(manifest),
                target: Some(target),
                profile,
                executable: Some(file),
            } = message
            else {
                continue;
            };
            let package = manifest.parent().unwrap_or(&manifest);
            let package = package.strip_prefix(&self.root).unwrap_or(package).to_path_buf();
            built.push(Built { package, name: target.name, is_test: profile.is_some_and(|p| p.test), file });
        }
        Ok(built)
    }

    /// The release build of the command, made now.
    pub(crate) fn release_build(&self) -> Result<PathBuf> {
        let built = self.build(&["build", "--release", "--locked", "--package", "bulkio-cli"])?;
        let command = built.into_iter().find(|file| file.name == "bulkio" && !file.is_test);
        Ok(command.context("the package bulkio-cli built no command named bulkio")?.file)
    }

    /// The command to bench: what BULKIO_BIN names, or else the release build.
    pub(crate) fn command_to_bench(&self) -> Result<PathBuf> {
        match std::env::var_os("BULKIO_BIN") {
            Some(file) => {
                std::path::absolute(&file).with_context(|| format!("BULKIO_BIN={}", file.display()))
            }
            None => self.release_build(),
        }
    }
}

/// Takes what `cargo run` said about xtask out of the environment of `command`.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    const ABOUT_XTASK: [&str; 5] =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || ABOUT_XTASK.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command` and reads its whole output as one JSON value.
pub(crate) fn json_of<T: for<'a> Deserialize<'a>>(mut command: Command) -> Result<T> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("the output of {command:?}"))
}

fn cargo_in(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    clean(&mut command).args(arguments).current_dir(root);
    command.env("CARGO_TERM_COLOR", "never").stdin(Stdio::null());
    command
}
