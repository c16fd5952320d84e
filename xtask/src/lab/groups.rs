//! The test groups: which devices the guest has, and which tests run on them. A new one is one entry here.
//!
//! An entry names QEMU's words for devices, modules with their parameters, a shell script that makes in the guest what modules alone do not,
//! and test binaries of the library. Each group is one boot of its own.

use std::time::Duration;

use crate::programs::Program;

/// One boot: devices, and tests that need them.
#[derive(Debug)]
pub(super) struct Group {
    /// Its name, which set-up and tests see as `BULKIO_LAB`.
    pub(super) name: &'static str,
    /// What it is about, for `--help`.
    pub(super) about: &'static str,
    /// Empty disks, as names and MiB: files of the folder that `FOLDER/` stands for in `devices`.
    pub(super) images: &'static [(&'static str, u64)],
    /// Words for QEMU.
    pub(super) devices: &'static [&'static str],
    /// Modules for modprobe, each with its parameters.
    pub(super) modules: &'static [&'static str],
    /// A script for `sh -eu`. Daemons that it leaves running must not keep its output open.
    pub(super) setup: &'static str,
    /// Programs that set-up and tests call, beside those of every test.
    pub(super) programs: &'static [Program],
    pub(super) tests: &'static [Tests],
}

/// One run of a test binary of the package `bulkio`.
#[derive(Debug)]
pub(super) struct Tests {
    /// The target below `crates/bulkio/tests`.
    pub(super) target: &'static str,
    /// Arguments: which tests, and how many at a time.
    pub(super) arguments: &'static [&'static str],
    /// How long it may take.
    pub(super) limit: Duration,
}

const fn tests(target: &'static str, arguments: &'static [&'static str], minutes: u64) -> Tests {
    Tests { target, arguments, limit: Duration::from_secs(60 * minutes) }
}

const DMSETUP: Program = ("dmsetup", "dmsetup");

/// All groups, in the order in which they run.
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "loop",
        about: "the library on ext4 and loop devices with blocks of 512 and 4096 bytes",
        images: &[],
        devices: &[],
        modules: &["loop"],
        setup: "",
        programs: &[],
        tests: &[
            tests("probe", &[], 5),
            tests("guard", &[], 5),
            tests("engine", &[], 10),
            // Without the models, which take as long as all others together. One test at a time: a program that one starts
            // holds the descriptors of the others until it runs, here for so long that a disk is found in use.
            tests("direct", &["--test-threads=1", "--skip=model::"], 15),
        ],
    },
    Group {
        name: "dm",
        about: "block devices that are late or fail: dm-delay, dm-flakey",
        images: &[],
        devices: &[],
        modules: &["brd rd_nr=2 rd_size=16384", "dm_delay", "dm_flakey"],
        setup: "",
        programs: &[DMSETUP],
        tests: &[tests("lab", &["dm::"], 5)],
    },
    Group {
        name: "nvme",
        about: "the block node of an NVMe disk with short transfers",
        images: &[("nvme", 64)],
        devices: &[
            "-drive",
            "file=FOLDER/nvme,if=none,id=nvme,format=raw,cache=unsafe",
            "-device",
            "nvme,serial=lab,drive=nvme,mdts=5",
        ],
        modules: &["nvme"],
        setup: "",
        programs: &[],
        // One after the other: they count commands.
        tests: &[tests("lab", &["nvme::", "--test-threads=1"], 5)],
    },
    Group {
        name: "scsi",
        about: "the block node of a SCSI disk with ten bad sectors",
        images: &[],
        devices: &[],
        // opts=2: the sectors from 4660 on, ten of them, cannot be read.
        modules: &["sd_mod", "scsi_debug dev_size_mb=16 opts=2"],
        setup: "",
        programs: &[],
        tests: &[tests("lab", &["scsi::"], 5)],
    },
    Group {
        name: "classes",
        about: "the classes that have no tests of their own yet are there: tape, video, sound",
        images: &[],
        devices: &[],
        // Without crc32c the login of the tape's initiator fails.
        modules: &["crc32c_generic", "iscsi_tcp", "st", "sg allow_dio=1", "vivid n_devs=1", "snd_aloop"],
        setup: include_str!("../../../lab/tape.sh"),
        programs: &[("tgtd", "tgt"), ("iscsid", "open-iscsi"), ("mt", "mt-st")],
        tests: &[tests("lab", &["classes::"], 5)],
    },
];

/// The groups with these names; all without names.
pub(super) fn named(names: &[&str]) -> anyhow::Result<Vec<&'static Group>> {
    if names.is_empty() {
        return Ok(GROUPS.iter().collect());
    }
    let find = |name: &&str| {
        let all = || GROUPS.iter().map(|group| group.name).collect::<Vec<_>>().join(", ");
        let found = GROUPS.iter().find(|group| group.name == *name);
        found.ok_or_else(|| anyhow::anyhow!("there is no group `{name}`; there are {}", all()))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        let names = |groups: Vec<&Group>| groups.iter().map(|group| group.name).collect::<Vec<_>>();
        assert_eq!(names(named(&["scsi", "dm"]).unwrap()), ["scsi", "dm"]);
        assert_eq!(named(&[]).unwrap().len(), GROUPS.len());
        let error = named(&["tapes"]).unwrap_err().to_string();
        assert!(error.starts_with("there is no group `tapes`; there are loop, dm"), "{error}");
    }

    #[test]
    fn names_are_distinct_and_make_folders() {
        for (at, group) in GROUPS.iter().enumerate() {
            assert!(group.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            assert!(
                GROUPS[..at].iter().all(|other| other.name != group.name),
                "{} is there twice",
                group.name
            );
            assert!(group.name != "shell" && !group.tests.is_empty());
        }
    }
}
