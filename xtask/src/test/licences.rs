//! What the dependencies are: their licences, crates that bring C with them, their sources, advisories.
//!
//! cargo-deny does it where it is installed. Elsewhere the same is read from `cargo metadata`, with the
//! lists of deny.toml, over every normal and build dependency. Both work without the network;
//! advisories need a database that has to be fetched, so they are skipped without one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::tally::Step;
use super::{STEP_TIME, spdx};
use crate::workspace::{Workspace, json_of};
use crate::{process, toolchain};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

impl Dependency {
    /// Says whether it is for more than tests.
    fn is_used(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}

/// `kind` is absent for a normal dependency, else `build` or `dev`.
#[derive(Debug, Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

pub(crate) fn check(workspace: &Workspace, step: &mut Step) -> Result<()> {
    let cargo_deny = workspace.cargo(&["deny", "--version"]).output().is_ok_and(|o| o.status.success());
    if cargo_deny {
        for what in ["licenses", "bans", "sources"] {
            let ended = process::run_loud(workspace.cargo(&["deny", "--offline", "check", what]), STEP_TIME)?;
            step.check(&format!("cargo deny check {what}: {ended}"), ended.success());
        }
    } else {
        println!("cargo-deny is not installed; the same lists are checked here");
        check_here(workspace, step)?;
    }
    advisories(workspace, cargo_deny, step)
}

fn check_here(workspace: &Workspace, step: &mut Step) -> Result<()> {
    let file = workspace.root.join("deny.toml");
    let rules = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (allowed, banned) = (list(&rules, "allow")?, list(&rules, "deny")?);
    let banned: Vec<Ban> = banned.iter().map(|entry| Ban::read(entry)).collect::<Result<_>>()?;

    let host = toolchain::host()?;
    // On a new machine nothing is downloaded yet. Without the network this fails, and everything may still be there.
    process::run_loud(workspace.cargo(&["fetch", "--locked", "--target", &host]), STEP_TIME)?;
    let arguments =
        ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &host];
    let metadata: Metadata = json_of(workspace.cargo(&arguments))?;
    let used = used_packages(&metadata);
    println!("{} packages in the normal and build dependencies", used.len());

    report(step, "licences", unlicensed(&used, &allowed));
    report(step, "no C library at build time", banned_among(&metadata, &used, &banned));
    report(step, "sources", foreign(&used));
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &used {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("warning: {name} is there in {} versions: {}", versions.len(), versions.join(", "));
    }
    Ok(())
}

fn report(step: &mut Step, check: &str, faults: Vec<String>) {
    for fault in &faults {
        println!("{check}: {fault}");
    }
    println!("{check}: {}", if faults.is_empty() { "ok" } else { "FAILED" });
    step.check(&format!("{check}: {}", faults.join("; ")), faults.is_empty());
}

/// Every package that a member reaches over dependencies which are not for tests alone.
fn used_packages(metadata: &Metadata) -> Vec<&Package> {
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let mut open: Vec<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).map_or(&[][..], |node| &node.deps);
        open.extend(dependencies.iter().filter(|d| d.is_used()).map(|d| d.pkg.as_str()));
    }
    metadata.packages.iter().filter(|package| seen.contains(package.id.as_str())).collect()
}

fn unlicensed(used: &[&Package], allowed: &[String]) -> Vec<String> {
    let fault = |package: &&Package| {
        let Package { name, version, license, .. } = package;
        let Some(licence) = license else { return Some(format!("{name} {version} names no licence")) };
        match spdx::satisfied(licence, allowed) {
            Some(true) => None,
            Some(false) => {
                Some(format!("{name} {version} is under {licence}, which deny.toml does not allow"))
            }
            None => Some(format!("{name} {version} has a licence that cannot be read: {licence}")),
        }
    };
    used.iter().filter_map(fault).collect()
}

/// A crate that must not be there, but for those that depend on it with a reason.
#[derive(Debug, PartialEq, Eq)]
struct Ban {
    name: String,
    wrappers: Vec<String>,
}

impl Ban {
    /// Reads an entry of the list: a name, or `{ crate = "name", wrappers = ["other"] }`.
    fn read(entry: &str) -> Result<Self> {
        if !entry.starts_with('{') {
            return Ok(Self { name: entry.to_owned(), wrappers: Vec::new() });
        }
        let mut names = entry.split('"').skip(1).step_by(2).map(str::to_owned);
        let form =
            entry.starts_with("{ crate = ") && entry.contains(", wrappers = [") && entry.ends_with("] }");
        match names.next() {
            Some(name) if form => Ok(Self { name, wrappers: names.collect() }),
            _ => bail!("deny.toml bans {entry}, which cannot be read"),
        }
    }
}

fn banned_among(metadata: &Metadata, used: &[&Package], banned: &[Ban]) -> Vec<String> {
    let fault = |package: &&Package| {
        let ban = banned.iter().find(|ban| ban.name == package.name)?;
        let by = dependents(metadata, used, &package.id);
        let excused =
            !by.is_empty() && by.iter().all(|name| ban.wrappers.iter().any(|wrapper| wrapper == name));
        (!excused).then(|| format!("{} {} is banned by deny.toml", package.name, package.version))
    };
    used.iter().filter_map(fault).collect()
}

/// The packages of these that depend on one, for more than their tests.
fn dependents<'a>(metadata: &Metadata, used: &[&'a Package], id: &str) -> Vec<&'a str> {
    let depends = |package: &&&Package| {
        let nodes = metadata.resolve.nodes.iter().filter(|node| node.id == package.id);
        nodes.flat_map(|node| &node.deps).any(|d| d.pkg == id && d.is_used())
    };
    used.iter().filter(depends).map(|package| package.name.as_str()).collect()
}

fn foreign(used: &[&Package]) -> Vec<String> {
    let fault = |package: &&Package| {
        let source = package.source.as_deref()?;
        (source != CRATES_IO).then(|| format!("{} {} comes from {source}", package.name, package.version))
    };
    used.iter().filter_map(fault).collect()
}

/// The strings of the array `name` in deny.toml, which stand one a line.
fn list(rules: &str, name: &str) -> Result<Vec<String>> {
    let start = format!("{name} = [");
    let lines = rules.lines().skip_while(|line| line.trim() != start).skip(1);
    let entries = lines.take_while(|line| line.trim() != "]").map(str::trim);
    let entries: Vec<String> = entries
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.trim_end_matches(',').trim_matches('"').to_owned())
        .collect();
    if entries.is_empty() {
        bail!("deny.toml has no list `{name}` with one entry a line");
    }
    Ok(entries)
}

fn advisories(workspace: &Workspace, cargo_deny: bool, step: &mut Step) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(Into::into);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let database = home.is_some_and(|home| Path::new(&home).join("advisory-dbs").is_dir());
    if !cargo_deny || !database {
        let missing = if cargo_deny { "its database is not there" } else { "cargo-deny is not installed" };
        let reason = format!("{missing}, and fetching needs the network");
        println!("advisories: skipped, {reason}");
        step.skip("advisories", reason);
        return Ok(());
    }
    let ended = process::run_loud(workspace.cargo(&["deny", "--offline", "check", "advisories"]), STEP_TIME)?;
    step.check(&format!("cargo deny check advisories: {ended}"), ended.success());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, licence: Option<&str>, source: Option<&str>) -> Package {
        Package {
            id: name.into(),
            name: name.into(),
            version: "1.0.0".into(),
            license: licence.map(Into::into),
            source: source.map(Into::into),
        }
    }

    #[test]
    fn lists_of_the_rules_file() {
        let rules = "[licenses]\nallow = [\n    \"MIT\",\n    # why\n    \"Zlib\",\n]\n[bans]\ndeny = [\n  \"cc\"\n]\n";
        assert_eq!(list(rules, "allow").unwrap(), ["MIT", "Zlib"]);
        assert_eq!(list(rules, "deny").unwrap(), ["cc"]);
        assert!(list(rules, "skip").is_err());
    }

    #[test]
    fn the_real_rules_file_can_be_read() {
        let rules = include_str!("../../../deny.toml");
        assert!(list(rules, "allow").unwrap().contains(&"MIT".to_owned()));
        let bans: Vec<Ban> =
            list(rules, "deny").unwrap().iter().map(|entry| Ban::read(entry).unwrap()).collect();
        assert!(bans.contains(&Ban { name: "cc".into(), wrappers: vec!["blake3".into()] }), "{bans:?}");
        assert!(bans.contains(&Ban { name: "cmake".into(), wrappers: vec![] }), "{bans:?}");
        assert!(Ban::read("{ crate = \"cc\" }").is_err());
    }

    #[test]
    fn each_fault_is_found() {
        let good = package("good", Some("MIT OR GPL-3.0"), Some(CRATES_IO));
        let bad = package("cc", Some("GPL-3.0"), Some("git+https://example.org/cc"));
        let none = package("none", None, None);
        let used = [&good, &bad, &none];
        assert_eq!(unlicensed(&used, &["MIT".into()]).len(), 2);
        let ban = |wrappers: &[&str]| Ban {
            name: "cc".into(),
            wrappers: wrappers.iter().map(|&name| name.into()).collect(),
        };
        let needs = |by: &str| Metadata {
            packages: Vec::new(),
            workspace_members: Vec::new(),
            resolve: Resolve {
                nodes: vec![Node {
                    id: by.into(),
                    deps: vec![Dependency {
                        pkg: "cc".into(),
                        dep_kinds: vec![DependencyKind { kind: None }],
                    }],
                }],
            },
        };
        let banned = ["cc 1.0.0 is banned by deny.toml"];
        assert_eq!(banned_among(&needs("good"), &used, &[ban(&[])]), banned);
        assert_eq!(banned_among(&needs("good"), &used, &[ban(&["none"])]), banned);
        assert_eq!(banned_among(&needs("somebody else"), &used, &[ban(&["good"])]), banned);
        assert!(banned_among(&needs("good"), &used, &[ban(&["good"])]).is_empty());
        assert_eq!(foreign(&used), ["cc 1.0.0 comes from git+https://example.org/cc"]);
    }

    #[test]
    fn test_dependencies_do_not_count() {
        let dependency = |pkg: &str, kind: Option<&str>| Dependency {
            pkg: pkg.into(),
            dep_kinds: vec![DependencyKind { kind: kind.map(Into::into) }],
        };
        let names = ["us", "normal", "build", "dev"];
        let deps = vec![
            dependency("normal", None),
            dependency("build", Some("build")),
            dependency("dev", Some("dev")),
        ];
        let metadata = Metadata {
            packages: names.map(|name| package(name, Some("MIT"), None)).into(),
            workspace_members: vec!["us".into()],
            resolve: Resolve { nodes: vec![Node { id: "us".into(), deps }] },
        };
        let used: Vec<&str> = used_packages(&metadata).iter().map(|p| p.name.as_str()).collect();
        assert_eq!(used, ["us", "normal", "build"]);
    }
}
