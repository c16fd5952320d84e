//! The text of a map: GNU ddrescue's mapfile, read and written.
//!
//! Source: the manual of GNU ddrescue 1.27, chapter "Mapfile structure". Comments from `#` on; the first other line says where the work
//! stands; every further one is an area: its first byte, its bytes and its status. Numbers are written in hexadecimal and read as in C++.

use std::fmt::Write as _;

use super::{AREAS_MAX, AreaStatus, RecoveryMap, RescuePhase};

/// A text that is no map.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapTextError {
    /// A line is not of the form that it must be.
    #[error("line {line} of the map is `{text}`, and must be {wanted}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// The line, cut where it is long.
        text: String,
        /// What stands there in a map.
        wanted: &'static str,
    },
    /// An area does not begin where the one before ends.
    #[error(
        "line {line} of the map begins at byte {found}, and the line before ends at {wanted}: areas follow each other without a gap"
    )]
    Order {
        /// Which line, from 1.
        line: usize,
        /// Where it begins.
        found: u64,
        /// Where it must begin.
        wanted: u64,
    },
    /// The map has no areas.
    #[error("the map has no areas")]
    Empty,
    /// The map has too many areas.
    #[error("the map has more than {max} areas")]
    Areas {
        /// Most areas that are read.
        max: usize,
    },
}

/// Longest line that an error shows, in characters.
const SHOWN_MAX: usize = 60;

impl RecoveryMap {
    /// Returns the text; `command` is what the header says the map is from, for who reads it.
    #[must_use]
    pub fn to_text(&self, command: &str) -> String {
        let command: String = command.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (phase, pass, position) = self.stands();
        let mut text = format!(
            "# Mapfile. Created by bulkio version {}\n# Command line: {command}\n# {phase}\n\
             # current_pos  current_status  current_pass\n0x{position:08X}     {}               {pass}\n\
             #      pos        size  status\n",
            env!("CARGO_PKG_VERSION"),
            phase.character(),
        );
        for (area, status) in self.areas() {
            let bytes = area.end.saturating_sub(area.start);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "0x{:08X}  0x{bytes:08X}  {}", area.start, status.character());
        }
        text
    }

    /// Reads a text. A map that starts behind byte 0 is filled up with what is not tried.
    ///
    /// # Errors
    /// [`MapTextError`]: the line, and what must stand there.
    pub fn from_text(text: &str) -> Result<Self, MapTextError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line));
        let mut lines =
            lines.map(|(number, line)| (number, without_comment(line))).filter(|(_, line)| !line.is_empty());
        let (number, line) = lines.next().ok_or(MapTextError::Empty)?;
        let (position, phase, pass) = status_line(line)
            .ok_or_else(|| wrong(number, line, "a position, one of ?*/-FG+ and the number of a pass"))?;
        let mut map: Option<Self> = None;
        for (number, line) in lines {
            let (start, bytes, status) = area_line(line)
                .ok_or_else(|| wrong(number, line, "a position, a number of bytes and one of ?*/-+"))?;
            let end = start
                .checked_add(bytes)
                .ok_or_else(|| wrong(number, line, "an area that ends within 64 bits"))?;
            let map = map.get_or_insert_with(|| Self::new(start));
            if map.len_bytes() != start {
                return Err(MapTextError::Order { line: number, found: start, wanted: map.len_bytes() });
            }
            if map.len_areas() >= AREAS_MAX {
                return Err(MapTextError::Areas { max: AREAS_MAX });
            }
            map.grow(end);
            map.set(start..end, status);
        }
        let mut map = map.filter(|map| map.len_bytes() > 0).ok_or(MapTextError::Empty)?;
        map.stand(phase, pass, position);
        Ok(map)
    }
}

fn wrong(line: usize, text: &str, wanted: &'static str) -> MapTextError {
    MapTextError::Line { line, text: text.chars().take(SHOWN_MAX).collect(), wanted }
}

/// Cuts a comment, which starts a line or follows a blank.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    let comment = line.char_indices().find(|(_, character)| {
        let starts = *character == '#' && before.is_whitespace();
        before = *character;
        starts
    });
    comment.and_then(|(at, _)| line.get(..at)).unwrap_or(line).trim()
}

/// The position, the phase and the pass.
fn status_line(line: &str) -> Option<(u64, RescuePhase, u32)> {
    let mut words = line.split_whitespace();
    let position = number(words.next()?)?;
    let phase = match words.next()? {
        // Filling and generating are work of other modes; what is not tried is copied first in any case.
        "?" | "F" | "G" => RescuePhase::Copying,
        "*" => RescuePhase::Trimming,
        "/" => RescuePhase::Scraping,
        "-" => RescuePhase::Retrying,
        "+" => RescuePhase::Finished,
        _ => return None,
    };
    // Older maps have no pass.
    let pass = match words.next() {
        Some(word) => word.parse().ok().filter(|pass| *pass > 0)?,
        None => 1,
    };
    words.next().is_none().then_some((position, phase, pass))
}

fn area_line(line: &str) -> Option<(u64, u64, AreaStatus)> {
    let mut words = line.split_whitespace();
    let (start, bytes) = (number(words.next()?)?, number(words.next()?)?);
    let mut status = words.next()?.chars();
    let area = (start, bytes, AreaStatus::of_character(status.next()?)?);
    let is_whole = bytes > 0 && status.next().is_none() && words.next().is_none();
    is_whole.then_some(area)
}

/// An integer constant as in C++: decimal, hexadecimal behind `0x`, octal behind `0`.
fn number(word: &str) -> Option<u64> {
    let digits = |digits: &str, radix| {
        // A sign would be taken otherwise.
        let plain = digits.starts_with(|first: char| first.is_digit(radix));
        plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
    };
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hexadecimal) => digits(hexadecimal, 16),
        None if word.len() > 1 && word.starts_with('0') => digits(word, 8),
        None => digits(word, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_all_that_is_allowed_is_read() {
        let text = "# a comment\n\n0x00120000     ?               2  # behind\n#\n0x00000000  0x00117000  +\n\
                    1142784  512  -\n04270000+ 1 +\n";
        let wrong = RecoveryMap::from_text(text).expect_err("a plus behind a number");
        assert!(wrong.to_string().starts_with("line 7 of the map is `04270000+ 1 +`"), "{wrong}");
        let text = "0x1000 - 3\n0x200 0x200 *\n02000 1024 /\r\n2048 0x10 ?\n2064 16 + # the rest\n";
        let map = RecoveryMap::from_text(text).expect("a map");
        let areas: Vec<_> = map.areas().collect();
        assert_eq!(
            areas,
            [
                (0..512, AreaStatus::Untried),
                (512..1024, AreaStatus::Untrimmed),
                (1024..2048, AreaStatus::Unscraped),
                (2048..2064, AreaStatus::Untried),
                (2064..2080, AreaStatus::Good),
            ]
        );
        assert_eq!(map.stands(), (RescuePhase::Retrying, 3, 4096));
    }

    #[test]
    fn what_is_no_map_is_refused_by_line() {
        let cases = [
            ("", "the map has no areas"),
            ("# nothing\n", "the map has no areas"),
            ("0 + 1\n", "the map has no areas"),
            (
                "hello\n",
                "line 1 of the map is `hello`, and must be a position, one of ?*/-FG+ and the number of a pass",
            ),
            ("0 + 0\n0 1 +\n", "line 1 of the map is `0 + 0`"),
            (
                "0 + 1\n0 512 +\n1024 512 +\n",
                "line 3 of the map begins at byte 1024, and the line before ends at 512",
            ),
            (
                "0 + 1\n0 512 +\n256 512 +\n",
                "line 3 of the map begins at byte 256, and the line before ends at 512",
            ),
            ("0 + 1\n0 0 +\n", "line 2 of the map is `0 0 +`"),
            ("0 + 1\n0 -5 +\n", "line 2"),
            ("0 + 1\n1 0xFFFFFFFFFFFFFFFF +\n", "must be an area that ends within 64 bits"),
            ("0 + 1\n0 08 +\n", "line 2"),
            ("0 + 1\n0 512 x\n", "line 2"),
        ];
        for (text, message) in cases {
            let error = RecoveryMap::from_text(text).expect_err(text).to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_text_is_the_one_that_others_write() {
        let mut map = RecoveryMap::new(16 << 20);
        map.set(0..16 << 20, AreaStatus::Good);
        map.set(0x0024_6800..0x0024_7C00, AreaStatus::Bad);
        map.stand(RescuePhase::Finished, 1, 0x0024_7A00);
        let text = map.to_text("bulkio copy\nx");
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "# Command line: bulkio copy x",
                "# finished",
                "# current_pos  current_status  current_pass",
                "0x00247A00     +               1",
                "#      pos        size  status",
                "0x00000000  0x00246800  +",
                "0x00246800  0x00001400  -",
                "0x00247C00  0x00DB8400  +",
            ]
        );
    }
}
