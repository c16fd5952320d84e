//! `cargo xtask bench sparse`: what the holes of a file cost a copy.
//!
//! An image of 10 GiB with a mebibyte of data in every hundredth or so, and a dense file of as much data. Every round copies the dense file, the
//! image, and the image with `cp` and a `sync` of what it wrote, in an order that moves on by one from round to round, with cold caches and an absent
//! destination. Ratios are taken inside a round.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use super::cache::chill;
use super::copy::{check_folder, ensure_same};
use super::data;
use super::measure::measure;
use super::report::{Report, Table};
use super::stats::{median, range};
use crate::args::options;
use crate::scratch;
use crate::workspace::Workspace;

const MIB: u64 = 1 << 20;

/// The image, and its data: so many pieces, evenly spread.
const IMAGE_BYTES: u64 = 10 << 30;
const PIECES: u64 = 100;
const PIECE_BYTES: u64 = MIB;

/// What a copy of the image must not take longer by than one of the data alone.
const CEILING: f64 = 1.5;

/// What is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Dense,
    Image,
    Cp,
}

const ALL: [What; 3] = [What::Dense, What::Image, What::Cp];

struct Setting {
    command: PathBuf,
    dense: PathBuf,
    image: PathBuf,
    destination: PathBuf,
}

pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let (mut rounds, mut folder) = (7_usize, workspace.target.join("bench"));
    for (name, value) in options(words, &["--rounds", "--dir"])? {
        match name {
            "--rounds" => rounds = value.parse().with_context(|| format!("--rounds {value}"))?,
            _ => folder = PathBuf::from(value),
        }
    }
    ensure!(rounds > 0, "--rounds must be more than 0");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    check_folder(&folder, PIECES * PIECE_BYTES)?;
    let scratch = scratch::in_folder(&folder)?;
    let file = |name| scratch.path().join(name);
    let setting = Setting {
        command: workspace.command_to_bench()?,
        dense: file("dense"),
        image: file("image"),
        destination: file("destination"),
    };
    println!(
        "{rounds} rounds of {} MiB, dense and in {} MiB, in {}",
        PIECES * PIECE_BYTES / MIB,
        IMAGE_BYTES / MIB,
        folder.display()
    );
    data::write_random(&setting.dense, PIECES * PIECE_BYTES)?;
    spread(&setting.dense, &setting.image)?;

    let mut seconds = ALL.map(|_| Vec::new());
    for round in 0..rounds {
        let mut line = format!("round {}:", round + 1);
        for turn in 0..ALL.len() {
            let place = (round + turn) % ALL.len();
            let (Some(what), Some(series)) = (ALL.get(place).copied(), seconds.get_mut(place)) else {
                continue;
            };
            let wall = setting.copy(what)?;
            line += &format!("  {} {wall:.3} s", what.name());
            series.push(wall);
            if round == 0 && what == What::Image {
                ensure_same(&setting.image, &setting.destination)?;
            }
        }
        println!("{line}");
    }
    let report = report(&seconds);
    let json = workspace.target.join("bench/sparse.json");
    report.write(&json)?;
    print!("\n{}\n{report}", table(&seconds));
    println!("written to {}", json.display());
    Ok(ExitCode::SUCCESS)
}

/// Spreads the bytes of a file over an image full of holes.
fn spread(dense: &Path, image: &Path) -> Result<()> {
    let what = || format!("cannot make {}", image.display());
    let bytes = std::fs::read(dense).with_context(what)?;
    let out = File::create(image).with_context(what)?;
    out.set_len(IMAGE_BYTES).with_context(what)?;
    for (piece, number) in bytes.chunks(PIECE_BYTES as usize).zip(0..) {
        out.write_all_at(piece, IMAGE_BYTES / PIECES * number / MIB * MIB).with_context(what)?;
    }
    out.sync_all().with_context(what)
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Image => "image",
            Self::Cp => "image, cp",
        }
    }
}

impl Setting {
    /// Copies, and returns the seconds until the copy is on the disk.
    fn copy(&self, what: What) -> Result<f64> {
        if self.destination.exists() {
            std::fs::remove_file(&self.destination)
                .with_context(|| format!("cannot remove {}", self.destination.display()))?;
        }
        let source = if what == What::Dense { &self.dense } else { &self.image };
        chill(source)?;
        let command = if what == What::Cp {
            // By coreutils' own choice it would be told to share blocks, where the file system can.
            let mut shell = Command::new("sh");
            shell.args(["-c", "cp --reflink=never \"$1\" \"$2\" && sync \"$2\"", "sh"]);
            shell.arg(source).arg(&self.destination);
            shell
        } else {
            let mut command = Command::new(&self.command);
            command.arg("copy").arg(source).arg(&self.destination).arg("--quiet");
            command
        };
        let cost = measure(command).context(what.name())?;
        let made = self.destination.metadata().context("nothing was written")?;
        let most = PIECES * PIECE_BYTES + MIB;
        let space = made.blocks() * 512;
        ensure!(space <= most, "{}: the copy takes {space} bytes of the disk, {most} at most", what.name());
        Ok(cost.wall_seconds)
    }
}

fn report(seconds: &[Vec<f64>; ALL.len()]) -> Report {
    let [dense, image, cp] = seconds;
    let mut report = Report::default();
    let beside_dense = report.beside("copy wall seconds, sparse image", "s", image, "its data alone", dense);
    let beside_cp = report.beside("copy wall seconds, sparse image beside cp", "s", image, "cp and sync", cp);
    report.gate(
        Some(beside_dense <= CEILING),
        format!("the image at most {CEILING} times as long as its data alone: {beside_dense:.3}"),
    );
    report.gate(None, format!("beside cp and sync: {beside_cp:.3}"));
    report
}

fn table(seconds: &[Vec<f64>; ALL.len()]) -> Table {
    let mut table = Table::new(&["", "wall s", "(lowest - highest)"]);
    for (what, series) in ALL.iter().zip(seconds) {
        let (low, high) = range(series);
        table.row(vec![
            what.name().to_owned(),
            format!("{:.3}", median(series)),
            format!("({low:.3} - {high:.3})"),
        ]);
    }
    table
}
