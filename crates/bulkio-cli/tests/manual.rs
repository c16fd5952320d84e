//! Manual pages and completions, as those who read them take them: man, bash.

mod common;
mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::skip;
use support::bulkio;

fn print(args: &[&str]) -> String {
    let output = bulkio().args(args).output().expect("the command starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn bash_takes_the_completions() {
    let script = print(&["completions", "bash"]);
    assert!(script.contains("--expect-serial") && script.contains("completions"), "every flag is in it");
    let checked = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut bash) = checked else { return skip("bash_takes_the_completions", "bash is not installed") };
    bash.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it is read");
    let output = bash.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    for shell in ["zsh", "fish"] {
        assert!(print(&["completions", shell]).contains("expect-serial"), "{shell}");
    }
}

#[test]
fn man_takes_every_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().to_str().expect("text");
    assert_eq!(print(&["man", name]), "");
    let mut pages: Vec<_> =
        fs::read_dir(folder.path()).expect("pages").flatten().map(|page| page.path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().filter_map(|page| page.file_name()?.to_str()).collect();
    for expected in ["bulkio.1", "bulkio-copy.1", "bulkio-probe.1", "bulkio-tape.1"] {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert_eq!(
        fs::read_to_string(&pages[names.iter().position(|name| *name == "bulkio.1").expect("it is there")])
            .expect("text"),
        print(&["man"])
    );
    let copy = fs::read_to_string(folder.path().join("bulkio-copy.1")).expect("text");
    assert!(copy.contains("EXIT STATUS") && copy.contains("expect\\-size"), "{copy}");
    let checkers: [(&str, &[&str]); 2] =
        [("groff", &["-man", "-Tutf8", "-ww", "-z"]), ("mandoc", &["-T", "lint", "-W", "error"])];
    for (program, flags) in checkers {
        for page in &pages {
            match Command::new(program).args(flags).arg(page).output() {
                Ok(output) => {
                    assert!(output.status.success() && output.stderr.is_empty(), "{page:?}: {output:?}");
                }
                Err(error) => {
                    skip(&format!("man_takes_every_page ({program})"), &error.to_string());
                    break;
                }
            }
        }
    }
}

#[test]
fn a_folder_that_is_missing_is_told() {
    let output = bulkio().args(["man", "/nowhere"]).output().expect("the command starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/nowhere/bulkio.1 cannot be written"),
        "{output:?}"
    );
}
