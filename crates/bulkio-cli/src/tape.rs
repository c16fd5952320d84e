//! `bulkio tape`: what a drive is and where its tape stands, and movements.
//!
//! Each command is one call of the library. What it led to, the place on the tape, goes to standard output; so does the status, for people
//! or as one JSON object. A command that was refused changed nothing.

use std::io;
use std::path::Path;

use bulkio::device::tape::{Access, BlockMode, DirectRule, Status, Tape, TapeError, TapeOptions};
use serde::Serialize;

use crate::args::TapeCommand;
use crate::exit::Exit;
use crate::screen::{self, Screen};
use crate::size::human;

pub(crate) fn run(command: &TapeCommand, screen: &Screen) -> Exit {
    let text = match answer(command, screen) {
        Ok(text) => text,
        Err(error) => {
            screen.say(&format!("bulkio: {error}"));
            return if error.is_refusal() { Exit::Refused } else { Exit::Failed };
        }
    };
    match screen::print(&text) {
        Ok(()) => Exit::Done,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            screen.say(&format!("bulkio: cannot print: {error}"));
            Exit::Failed
        }
    }
}

fn answer(command: &TapeCommand, screen: &Screen) -> Result<String, TapeError> {
    let (device, access) = match command {
        TapeCommand::Load { device } => {
            Tape::load(device)?;
            return Ok(format!("{}: the tape is loaded", device.display()));
        }
        TapeCommand::Weof { device, .. } => (device, Access::Write),
        TapeCommand::Status { device, .. }
        | TapeCommand::Rewind { device }
        | TapeCommand::Eod { device }
        | TapeCommand::Offline { device }
        | TapeCommand::Setblk { device, .. }
        | TapeCommand::Fsf { device, .. }
        | TapeCommand::Bsf { device, .. }
        | TapeCommand::Fsr { device, .. }
        | TapeCommand::Bsr { device, .. } => (device, Access::Read),
    };
    let mut tape = Tape::open(device, &TapeOptions { access, ..TapeOptions::default() })?;
    for note in tape.notes() {
        screen.say(&format!("bulkio: {note}"));
    }
    match command {
        TapeCommand::Status { json, .. } => {
            let facts = Facts::of(&mut tape)?;
            return Ok(if *json { facts.json() } else { facts.table() });
        }
        TapeCommand::Rewind { .. } => tape.rewind()?,
        TapeCommand::Eod { .. } => tape.end_of_data()?,
        TapeCommand::Fsf { count, .. } => tape.forward_files(*count)?,
        TapeCommand::Bsf { count, .. } => tape.back_files(*count)?,
        TapeCommand::Fsr { count, .. } => tape.forward_records(*count)?,
        TapeCommand::Bsr { count, .. } => tape.back_records(*count)?,
        TapeCommand::Weof { count, .. } => tape.write_filemarks(*count, true)?,
        TapeCommand::Setblk { bytes, .. } => {
            tape.set_mode(BlockMode::of(*bytes))?;
            return Ok(format!("{}: {}", tape.path().display(), tape.mode()));
        }
        TapeCommand::Offline { .. } => {
            tape.offline()?;
            return Ok(format!("{}: the tape is out", tape.path().display()));
        }
        TapeCommand::Load { .. } => {}
    }
    Ok(format!("{}: {}", tape.path().display(), tape.position()))
}

/// What is known of a drive and its tape.
struct Facts<'a> {
    path: &'a Path,
    status: Status,
    limits: Option<bulkio::device::tape::BlockLimits>,
    rule: DirectRule,
    /// The drive's own count of blocks; many cannot tell.
    told: Option<u64>,
}

#[derive(Serialize)]
struct Json {
    path: String,
    /// Filemarks before the tape's place, and blocks since the last of them; null where the driver does not know.
    file: Option<u32>,
    block: Option<u32>,
    /// Blocks from the beginning of the tape, as the drive counts; null where it cannot tell.
    drive_block: Option<u64>,
    partition: u32,
    /// 0 in variable mode.
    block_bytes: u32,
    /// What the drive takes; null where it was not asked.
    block_bytes_min: Option<u32>,
    block_bytes_max: Option<u32>,
    density: u8,
    write_protected: bool,
    at_start: bool,
    at_end_of_data: bool,
    at_end_of_medium: bool,
    wants_cleaning: bool,
    corrected_errors: u16,
    direct: bool,
    direct_align: u64,
    direct_pages_max: u64,
}

impl<'a> Facts<'a> {
    fn of(tape: &'a mut Tape) -> Result<Self, TapeError> {
        let status = tape.status()?;
        let told = tape.tell().ok();
        Ok(Self { status, told, limits: tape.block_limits(), rule: tape.direct_rule(), path: tape.path() })
    }

    fn json(&self) -> String {
        let status = &self.status;
        let json = Json {
            path: self.path.display().to_string(),
            file: status.position.file,
            block: status.position.block,
            drive_block: self.told,
            partition: status.partition,
            block_bytes: status.mode.bytes(),
            block_bytes_min: self.limits.map(|limits| limits.len_min),
            block_bytes_max: self.limits.map(|limits| limits.len_max),
            density: status.density,
            write_protected: status.is_write_protected(),
            at_start: status.is_at_start(),
            at_end_of_data: status.is_at_end_of_data(),
            at_end_of_medium: status.is_at_end_of_medium(),
            wants_cleaning: status.wants_cleaning(),
            corrected_errors: status.corrected_errors,
            direct: self.rule.tried,
            direct_align: self.rule.addr_align,
            direct_pages_max: self.rule.pages_max,
        };
        // Plain strings and numbers always serialise.
        serde_json::to_string(&json).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    fn table(&self) -> String {
        let status = &self.status;
        let mut places = Vec::new();
        let mut place = |is_there: bool, name| places.extend(is_there.then_some(name));
        place(status.is_at_start(), "the beginning of the tape");
        place(status.is_at_end_of_data(), "the end of the data");
        place(status.is_at_end_of_medium(), "the end of the medium");
        let place = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
        let told = self.told.map_or_else(|| "not told by the drive".to_owned(), |block| block.to_string());
        let limits = self.limits.map_or_else(
            || "not known: asking the drive needs CAP_SYS_RAWIO".to_owned(),
            |limits| match limits.granularity {
                0 | 1 => limits.to_string(),
                steps => format!("{limits}, best in steps of {steps}"),
            },
        );
        let direct = if self.rule.tried {
            format!(
                "at addresses that are multiples of {}, up to {} pages a transfer ({})",
                self.rule.addr_align,
                self.rule.pages_max,
                human(self.rule.len_max())
            )
        } else {
            "switched off in the driver (try_direct_io=0)".to_owned()
        };
        let cleaning =
            if status.wants_cleaning() { "\ncleaning          asked for by the drive" } else { "" };
        format!(
            "{}: {}{place}\n\
             drive's count     {told}\n\
             block mode        {}\n\
             block lengths     {limits}\n\
             write-protected   {}\n\
             density code      {:#04x}\n\
             partition         {}\n\
             corrected errors  {} since they were asked for last\n\
             direct I/O        {direct}{cleaning}",
            self.path.display(),
            status.position,
            status.mode,
            if status.is_write_protected() { "yes" } else { "no" },
            status.density,
            status.partition,
            status.corrected_errors,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use bulkio::device::tape::{BlockLimits, Position};

    fn facts() -> Facts<'static> {
        Facts {
            path: Path::new("/dev/nst0"),
            status: Status {
                mode: BlockMode::of(65_536),
                density: 0x5a,
                position: Position::START,
                partition: 0,
                corrected_errors: 0,
                // At the beginning, write-protected, ready (include/uapi/linux/mtio.h).
                flags: 0x4500_0000,
            },
            limits: Some(BlockLimits { len_min: 4, len_max: 1 << 20, granularity: 1 }),
            rule: DirectRule { tried: true, addr_align: 512, pages_max: 256, page_len: 4096 },
            told: None,
        }
    }

    #[test]
    fn the_status_for_people() {
        let table = facts().table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "/dev/nst0: file 0, block 0 (the beginning of the tape)");
        assert_eq!(lines[2], "block mode        blocks of 65536 bytes");
        assert_eq!(lines[3], "block lengths     4 to 1048576 bytes");
        assert_eq!(lines[4], "write-protected   yes");
        assert!(lines[8].ends_with("up to 256 pages a transfer (1.0 MiB)"), "{table}");
    }

    #[test]
    fn the_status_for_programs() {
        let json: serde_json::Value = serde_json::from_str(&facts().json()).expect("an object");
        assert_eq!(
            (&json["file"], &json["block"], &json["block_bytes"]),
            (&0.into(), &0.into(), &65_536.into())
        );
        assert_eq!(json["write_protected"], true);
        assert!(json["drive_block"].is_null());
        let unknown = Facts {
            status: Status { position: Position::default(), ..facts().status },
            limits: None,
            ..facts()
        };
        let json: serde_json::Value = serde_json::from_str(&unknown.json()).expect("an object");
        assert!(json["file"].is_null() && json["block_bytes_max"].is_null());
    }
}
