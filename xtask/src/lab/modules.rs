//! Which modules of a kernel to load, and in which order, as `modules.dep` and `modules.builtin` say (depmod(8), modules.dep(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The modules of one kernel.
#[derive(Debug)]
pub(super) struct Modules {
    /// By name: the file, and the files that it needs, those of the deepest level last.
    files: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads the lists in `tree`, the folder `lib/modules/VERSION`.
    pub(super) fn of(tree: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = tree.join(name);
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        Self::parse(&read("modules.dep")?, &read("modules.builtin")?)
    }

    fn parse(dependencies: &str, builtin: &str) -> Result<Self> {
        let mut files = BTreeMap::new();
        for line in dependencies.lines() {
            let (file, needs) = line
                .split_once(':')
                .with_context(|| format!("no colon in the line `{line}` of modules.dep"))?;
            let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
            files.insert(name(file), (file.to_owned(), needs));
        }
        Ok(Self { files, builtin: builtin.lines().map(name).collect() })
    }

    /// The files to load for the modules `wanted`, relative to the tree, each behind all that it needs. What is built into the kernel needs none.
    pub(super) fn in_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order: Vec<PathBuf> = Vec::new();
        for &wanted in wanted {
            let wanted = name(wanted);
            if self.builtin.contains(&wanted) {
                continue;
            }
            let (file, needs) =
                self.files.get(&wanted).with_context(|| format!("this kernel has no module `{wanted}`"))?;
            for file in needs.iter().rev().chain([file]).map(PathBuf::from) {
                if !order.contains(&file) {
                    order.push(file);
                }
            }
        }
        Ok(order)
    }
}

/// The name of the module in a file: a dash is an underscore, and what the file is packed with does not count.
pub(super) fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/drivers/md/dm-delay.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-mod.ko:
";

    fn order(wanted: &[&str]) -> Vec<String> {
        let modules = Modules::parse(DEPENDENCIES, "kernel/drivers/virtio/virtio-pci.ko\n").unwrap();
        let order = modules.in_order(wanted).unwrap();
        order.iter().map(|file| name(file.to_str().unwrap())).collect()
    }

    #[test]
    fn what_a_module_needs_comes_first_and_once() {
        assert_eq!(order(&["9pnet_virtio", "9p"]), ["9pnet", "9pnet_virtio", "netfs", "9p"]);
        assert_eq!(order(&["9p", "9pnet_virtio"]), ["netfs", "9pnet", "9p", "9pnet_virtio"]);
    }

    #[test]
    fn dashes_are_underscores_and_what_is_built_in_is_there() {
        assert_eq!(order(&["dm_delay", "virtio_pci"]), ["dm_mod", "dm_delay"]);
        assert_eq!(order(&["dm-delay"]), ["dm_mod", "dm_delay"]);
    }

    #[test]
    fn an_unknown_module_is_named() {
        let modules = Modules::parse(DEPENDENCIES, "").unwrap();
        let error = modules.in_order(&["vivid"]).unwrap_err().to_string();
        assert_eq!(error, "this kernel has no module `vivid`");
        assert!(Modules::parse("kernel/a.ko kernel/b.ko\n", "").is_err());
    }
}
