//! Running a test of this program once more as a user without privileges.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const CHILD: &str = "BULKIO_TEST_PAGES_CHILD";

/// Says whether this process has no privileges.
pub(crate) fn is_nobody() -> bool {
    env::var_os(CHILD).is_some() || !rustix::process::geteuid().is_root()
}

/// Runs the test `name` as nobody, where it must pass, or says why that cannot be.
pub(crate) fn run(name: &str) -> Result<(), String> {
    // A copy, since the build folder may be closed to others.
    let folder = tempfile::Builder::new().prefix("bulkio-pages-").tempdir().unwrap();
    let copy = folder.path().join("pages");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    for path in [folder.path(), &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut child = Command::new(&copy);
    child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").current_dir("/").uid(65534).gid(65534);
    let output = child.output().map_err(|error| format!("cannot run as nobody: {error}"))?;
    eprint!("as nobody: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    Ok(())
}
