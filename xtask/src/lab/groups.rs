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
    /// Its devices go by the clock and lose what comes too late, while they leave the processors idle most of the time: other guests use
    /// what it leaves.
    pub(super) by_the_clock: bool,
    pub(super) tests: &'static [Tests],
}

/// One run of a test binary of the package `bulkio`.
#[derive(Debug)]
pub(super) struct Tests {
    /// The target below `crates/bulkio/tests`.
    pub(super) target: &'static str,
    /// Arguments: which tests, and how many at a time.
    pub(super) arguments: &'static [&'static str],
    /// How long it may take: several times what it takes on busy processors, since this only ends what hangs.
    pub(super) limit: Duration,
}

const fn tests(target: &'static str, arguments: &'static [&'static str], minutes: u64) -> Tests {
    Tests { target, arguments, limit: Duration::from_secs(60 * minutes) }
}

const DMSETUP: Program = ("dmsetup", "dmsetup");

/// All groups, in the order in which they begin: those that take long first, so that at the end no processor is idle.
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "loop",
        about: "the library on ext4 and loop devices with blocks of 512 and 4096 bytes",
        images: &[],
        devices: &[],
        modules: &["loop"],
        setup: "",
        programs: &[],
        by_the_clock: false,
        tests: &[
            tests("probe", &[], 15),
            tests("guard", &[], 15),
            tests("engine", &[], 30),
            // Without the models, which take as long as all others together. One test at a time: a program that one starts
            // holds the descriptors of the others until it runs, here for so long that a disk is found in use.
            tests("direct", &["--test-threads=1", "--skip=model::"], 45),
        ],
    },
    Group {
        name: "matrix",
        about: "copies from every class to every other: two each of RAM disks, SCSI disks, NVMe disks, tapes",
        images: &[("nvme0", 16), ("nvme1", 16)],
        devices: &[
            "-drive",
            "file=FOLDER/nvme0,if=none,id=nvme0,format=raw,cache=unsafe",
            "-device",
            "nvme,serial=lab0,drive=nvme0,mdts=5",
            "-drive",
            "file=FOLDER/nvme1,if=none,id=nvme1,format=raw,cache=unsafe",
            "-device",
            "nvme,serial=lab1,drive=nvme1,mdts=5",
        ],
        modules: &[
            "sd_mod",
            "sg allow_dio=1",
            "scsi_debug add_host=2 per_host_store=1 dev_size_mb=8",
            "brd rd_nr=2 rd_size=8192",
            "nvme",
            "crc32c_generic",
            "iscsi_tcp",
            "st",
        ],
        setup: include_str!("../../../lab/tape.sh"),
        programs: &[("tgtd", "tgt"), ("iscsid", "open-iscsi")],
        by_the_clock: false,
        // One after the other: they count what the kernel does.
        tests: &[tests("lab", &["matrix::", "--test-threads=1"], 45)],
    },
    Group {
        name: "doors",
        about: "disks that are mounted, swapped to, in an array or mapped, tried through every node that they have",
        images: &[("nvme", 16)],
        devices: &[
            "-drive",
            "file=FOLDER/nvme,if=none,id=nvme,format=raw,cache=unsafe",
            "-device",
            "nvme,serial=DOOR7,drive=nvme",
        ],
        modules: &["sd_mod", "sg", "scsi_debug dev_size_mb=16", "nvme", "dm_mod", "raid1"],
        setup: "",
        programs: &[DMSETUP, ("mdadm", "mdadm"), ("addpart", "util-linux"), ("swapon", "mount")],
        by_the_clock: false,
        // One after the other: they use the same disks.
        tests: &[tests("lab", &["doors::", "--test-threads=1"], 30)],
    },
    Group {
        name: "cookbook",
        about: "the commands of COOKBOOK.md, ours and those they replace, on the devices that it names",
        images: &[("own", 1), ("backup", 16), ("stick", 16), ("nvme", 16)],
        devices: &[
            "-device",
            "virtio-scsi-pci,id=scsi",
            "-drive",
            "file=FOLDER/own,if=none,id=own,format=raw,cache=unsafe",
            "-device",
            "scsi-hd,bus=scsi.0,scsi-id=0,drive=own,serial=OWN5",
            "-drive",
            "file=FOLDER/backup,if=none,id=backup,format=raw,cache=unsafe",
            "-device",
            "scsi-hd,bus=scsi.0,scsi-id=1,drive=backup,serial=DISK6",
            "-drive",
            "file=FOLDER/stick,if=none,id=stick,format=raw,cache=unsafe",
            "-device",
            "scsi-hd,bus=scsi.0,scsi-id=2,drive=stick,serial=STICK7",
            "-drive",
            "file=FOLDER/nvme,if=none,id=nvme,format=raw,cache=unsafe",
            "-device",
            "nvme,serial=NVME8,drive=nvme",
        ],
        modules: &[
            "scsi_mod",
            "sd_mod",
            "sg",
            "nvme",
            "crc32c_generic",
            "iscsi_tcp",
            "st",
            "snd_aloop index=0 enable=1",
        ],
        setup: concat!(include_str!("../../../lab/cookbook.sh"), include_str!("../../../lab/tape.sh")),
        programs: &[
            ("tgtd", "tgt"),
            ("iscsid", "open-iscsi"),
            ("mt", "mt-st"),
            ("mbuffer", "mbuffer"),
            ("sg_dd", "sg3-utils"),
            ("ddrescue", "gddrescue"),
            ("cmp", "diffutils"),
            ("lsblk", "util-linux"),
            ("arecord", "alsa-utils"),
            ("aplay", "alsa-utils"),
            ("sox", "sox"),
        ],
        by_the_clock: false,
        // One after the other: the recipes use the same devices.
        tests: &[tests("lab", &["cookbook::", "--test-threads=1"], 30)],
    },
    Group {
        name: "scsi",
        about: "SCSI disks with ten bad sectors each: the block node, and commands through every door",
        images: &[],
        devices: &[],
        // opts=2: the sectors from 4660 on, ten of them, cannot be read. Four disks that share their memory, so that one can be
        // taken away.
        modules: &["sd_mod", "sg allow_dio=1", "scsi_debug dev_size_mb=16 num_tgts=4 opts=2"],
        setup: include_str!("../../../lab/scsi.sh"),
        programs: &[],
        by_the_clock: false,
        // Commands one after the other: they are counted, and faults are injected.
        tests: &[
            tests("lab", &["scsi::"], 15),
            tests("lab", &["scsi_copy::", "scsi_generic::", "--test-threads=1"], 30),
        ],
    },
    Group {
        name: "tape",
        about: "four tape drives, emulated by tgt: records, filemarks, copies, and everything that can be in the way",
        images: &[],
        devices: &[],
        // Without crc32c the login of the initiator fails.
        modules: &["crc32c_generic", "iscsi_tcp", "st", "sg"],
        setup: include_str!("../../../lab/tape.sh"),
        programs: &[("tgtd", "tgt"), ("iscsid", "open-iscsi"), ("mt", "mt-st")],
        by_the_clock: false,
        // One after the other: a drive has one user at a time.
        tests: &[tests("lab", &["tape::", "--test-threads=1"], 30)],
    },
    Group {
        name: "rescue",
        about: "disks that fail: bad sectors through every door, errors that come and go, a disk that goes away and comes back",
        images: &[],
        devices: &[],
        // As in the group scsi.
        modules: &["sd_mod", "sg", "scsi_debug dev_size_mb=16 num_tgts=4 opts=2", "dm_flakey"],
        setup: include_str!("../../../lab/scsi.sh"),
        programs: &[DMSETUP, ("ddrescue", "gddrescue")],
        by_the_clock: false,
        // One after the other: the disks share their memory.
        tests: &[tests("lab", &["rescue::", "--test-threads=1"], 30)],
    },
    Group {
        name: "nvme",
        about: "an NVMe disk with short transfers, by its block node and by passthrough",
        images: &[("nvme", 64), ("blocks", 16), ("metadata", 16), ("bad", 16)],
        devices: &[
            "-drive",
            "file=FOLDER/nvme,if=none,id=nvme,format=raw,cache=unsafe",
            "-drive",
            "file=FOLDER/blocks,if=none,id=blocks,format=raw,cache=unsafe",
            "-drive",
            "file=FOLDER/metadata,if=none,id=metadata,format=raw,cache=unsafe",
            // Reads of the sector 2048 fail.
            "-drive",
            "if=none,id=bad,format=raw,cache=unsafe,file.driver=blkdebug,file.image.driver=file,\
             file.image.filename=FOLDER/bad,file.inject-error.0.event=read_aio,file.inject-error.0.sector=2048,\
             file.inject-error.0.errno=5",
            "-device",
            "nvme,id=nvme,serial=lab,mdts=5",
            "-device",
            "nvme-ns,bus=nvme,nsid=1,drive=nvme",
            "-device",
            "nvme-ns,bus=nvme,nsid=2,drive=blocks,logical_block_size=4096,physical_block_size=4096",
            "-device",
            "nvme-ns,bus=nvme,nsid=3,drive=metadata,ms=8",
            "-device",
            "nvme-ns,bus=nvme,nsid=4,drive=bad",
        ],
        modules: &["nvme"],
        setup: "",
        programs: &[("fio", "fio")],
        by_the_clock: false,
        tests: &[
            // One after the other: they count commands.
            tests("lab", &["nvme::", "nvme_commands::", "--test-threads=1"], 30),
            tests("lab", &["nvme_fio::", "--nocapture"], 15),
            tests("lab", &["nvme_removed::"], 15),
        ],
    },
    Group {
        name: "dm",
        about: "block devices that are late or fail: dm-delay, dm-flakey",
        images: &[],
        devices: &[],
        modules: &["brd rd_nr=4 rd_size=16384", "dm_delay", "dm_flakey"],
        setup: "",
        programs: &[DMSETUP],
        by_the_clock: false,
        tests: &[tests("lab", &["dm::"], 15)],
    },
    Group {
        name: "audio",
        about: "sound: two loopback cards, where one side records what the other plays",
        images: &[],
        devices: &[],
        modules: &[
            "snd_aloop index=0,1 enable=1,1 id=Loopback,Second pcm_substreams=8,1",
            "loop",
            "brd rd_nr=1 rd_size=65536",
            "dm_mod",
        ],
        setup: "",
        programs: &[
            ("arecord", "alsa-utils"),
            ("aplay", "alsa-utils"),
            ("sox", "sox"),
            ("strace", "strace"),
            DMSETUP,
        ],
        by_the_clock: true,
        // One after the other: the sides of a loopback share its parameters, and under emulation two streams starve each other.
        tests: &[
            tests("lab", &["audio::", "audio_command::", "--test-threads=1", "--skip=audio::stalls::"], 45),
            tests("lab", &["audio::stalls::", "--test-threads=1", "--nocapture"], 15),
        ],
    },
    Group {
        name: "video",
        about: "video grabbers, emulated by vivid: one plane and many, memory of pages and contiguous memory",
        images: &[],
        devices: &[],
        // The second one allocates contiguous memory, which nobody else may pin, and takes no user pointers; the third has several planes;
        // the fourth is to be unplugged; the fifth has an output, teletext and metadata, too (Documentation/admin-guide/media/vivid.rst).
        modules: &[
            "brd rd_nr=1 rd_size=131072",
            "dm_mod",
            "loop",
            "vivid n_devs=5 allocators=0,1,0,0,0 multiplanar=1,1,2,1,1 node_types=0x1,0x1,0x1,0x1,0x20105",
        ],
        setup: "",
        programs: &[("v4l2-ctl", "v4l-utils"), ("strace", "strace"), DMSETUP],
        by_the_clock: true,
        // One after the other: a grabber streams for one user at a time.
        tests: &[
            tests(
                "lab",
                &[
                    "video::",
                    "video_copy::",
                    "video_command::",
                    "--test-threads=1",
                    "--skip=video_copy::peer::",
                ],
                45,
            ),
            tests("lab", &["video_copy::peer::", "--nocapture"], 15),
        ],
    },
];

/// Groups that measure: `cargo xtask bench` runs them, never the tests.
pub(super) const BENCHES: &[Group] = &[
    Group {
        name: "latency",
        about: "a copy between two devices that answer after 20 ms, beside fio",
        images: &[],
        devices: &[],
        modules: &["brd rd_nr=2 rd_size=262144", "dm_delay"],
        setup: "",
        programs: &[DMSETUP, ("fio", "fio")],
        by_the_clock: true,
        tests: &[tests("lab", &["latency::", "--nocapture"], 30)],
    },
    Group {
        name: "depth",
        about: "the depth that a copy finds between two devices that answer after 20 ms, beside fixed ones",
        images: &[],
        devices: &[],
        modules: &["dm_zero", "dm_delay"],
        setup: "",
        programs: &[DMSETUP],
        by_the_clock: true,
        tests: &[tests("lab", &["depth::", "--nocapture"], 45)],
    },
];

/// The groups with these names; all without names, but for those that measure.
pub(super) fn named(names: &[&str]) -> anyhow::Result<Vec<&'static Group>> {
    if names.is_empty() {
        return Ok(GROUPS.iter().collect());
    }
    let find = |name: &&str| {
        let all = || GROUPS.iter().map(|group| group.name).collect::<Vec<_>>().join(", ");
        let found = GROUPS.iter().chain(BENCHES).find(|group| group.name == *name);
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
        assert!(error.starts_with("there is no group `tapes`; there are loop, matrix"), "{error}");
    }

    #[test]
    fn names_are_distinct_and_make_folders() {
        let groups: Vec<_> = GROUPS.iter().chain(BENCHES).collect();
        for (at, group) in groups.iter().enumerate() {
            assert!(group.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            assert!(
                groups[..at].iter().all(|other| other.name != group.name),
                "{} is there twice",
                group.name
            );
            assert!(group.name != "shell" && !group.tests.is_empty());
        }
    }
}
