//! [`MapEnds`]: the comment by which a map of ours says which ends it is of, since an area says nothing of them.
//!
//! Other programs go past it, and leave it out when they write the map: then nothing is known.

use std::fmt::{self, Write as _};

/// What the comment begins with.
const MARK: &str = "# bulkio:";

/// Most serial numbers of a disk that are kept.
const SERIALS_MAX: usize = 8;

/// Most characters of a serial number that are kept.
const SERIAL_LEN_MAX: usize = 256;

/// One end of a copy, as far as it can be told from another whatever its name is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::copy) enum MapEnd {
    /// A file, which may be moved and copied.
    File,
    /// A disk, or a part of one.
    Disk {
        /// Its bytes; 0 where nobody knows.
        bytes: u64,
        /// Where it starts on its disk, for a partition.
        start: u64,
        /// What the disk is called, in the characters of [`plain`]; empty where it is not called anything.
        serials: Vec<String>,
    },
}

impl MapEnd {
    pub(in crate::copy) fn disk(bytes: u64, start: u64, serials: &[String]) -> Self {
        let serials = serials.iter().map(|serial| plain(serial)).filter(|serial| !serial.is_empty());
        Self::Disk { bytes, start, serials: serials.take(SERIALS_MAX).collect() }
    }

    /// Says whether this end may be `other` now. What one of them does not know tells nothing.
    fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File, Self::File) => true,
            (
                Self::Disk { bytes, start, serials },
                Self::Disk { bytes: others_bytes, start: others_start, serials: others_serials },
            ) => {
                let is_unnamed = serials.is_empty() || others_serials.is_empty();
                let is_named = serials.iter().any(|serial| others_serials.contains(serial));
                // What is known by name may have grown.
                let is_as_long = bytes == others_bytes
                    || *bytes == 0
                    || *others_bytes == 0
                    || (is_named && bytes < others_bytes);
                is_as_long && start == others_start && (is_unnamed || is_named)
            }
            _ => false,
        }
    }

    fn to_word(&self) -> String {
        match self {
            Self::File => "file".to_owned(),
            Self::Disk { bytes, start, serials } => {
                let mut word = format!("disk,{bytes},{start}");
                for serial in serials {
                    // Writing to a string cannot fail.
                    let _ = write!(word, ",{serial}");
                }
                word
            }
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        let mut parts = word.split(',');
        match parts.next()? {
            "file" => parts.next().is_none().then_some(Self::File),
            "disk" => {
                let (bytes, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                let serials: Vec<String> = parts.map(str::to_owned).collect();
                Some(Self::disk(bytes, start, &serials))
            }
            _ => None,
        }
    }
}

impl fmt::Display for MapEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Disk { bytes, start, serials } = self else { return f.write_str("a file") };
        write!(f, "a disk of {bytes} bytes")?;
        if *start > 0 {
            write!(f, " at byte {start} of another")?;
        }
        if serials.is_empty() { Ok(()) } else { write!(f, " with the serial {}", serials.join(", ")) }
    }
}

/// A serial number without what would end the word or the line that it stands in.
fn plain(serial: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-._:".contains(*c);
    let plain = serial.trim().chars().map(|c| if is_plain(&c) { c } else { '_' });
    plain.take(SERIAL_LEN_MAX).collect()
}

/// The ends of a copy, and where the range lies in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::copy) struct MapEnds {
    pub(in crate::copy) skip: u64,
    pub(in crate::copy) seek: u64,
    pub(in crate::copy) source: MapEnd,
    pub(in crate::copy) destination: MapEnd,
}

impl MapEnds {
    /// What is different in a copy that goes on, as both would say it; `None` where nothing speaks against it. Where nothing `is_copied`, the destination
    /// and the place in it do not matter.
    pub(in crate::copy) fn differs(&self, now: &Self, is_copied: bool) -> Option<(String, String)> {
        let from = |ends: &Self| format!("from {}", ends.source);
        let to = |ends: &Self| format!("to {}", ends.destination);
        let at = |ends: &Self| format!("with --skip {} and --seek {}", ends.skip, ends.seek);
        // Another part of the same source is right, if every byte of it keeps its place.
        let place = |ends: &Self| i128::from(ends.seek).saturating_sub(i128::from(ends.skip));
        if !self.source.may_be(&now.source) {
            return Some((from(self), from(now)));
        }
        if is_copied && !self.destination.may_be(&now.destination) {
            return Some((to(self), to(now)));
        }
        (is_copied && place(self) != place(now)).then(|| (at(self), at(now)))
    }

    /// Returns the comment, without the end of its line.
    pub(in crate::copy) fn to_line(&self) -> String {
        let (source, destination) = (self.source.to_word(), self.destination.to_word());
        format!("{MARK} skip={} seek={} source={source} destination={destination}", self.skip, self.seek)
    }

    /// Finds the comment above the areas of a map; `None` where there is none, or one that says something else.
    pub(in crate::copy) fn in_text(text: &str) -> Option<Self> {
        let comments = text.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
        comments.filter_map(|line| line.strip_prefix(MARK)).find_map(Self::of_words)
    }

    fn of_words(words: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut words = words.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        Some(Self {
            skip: value("skip")?.parse().ok()?,
            seek: value("seek")?.parse().ok()?,
            source: MapEnd::of_word(value("source")?)?,
            destination: MapEnd::of_word(value("destination")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(bytes: u64, start: u64, serials: &[&str]) -> MapEnd {
        let serials: Vec<String> = serials.iter().map(|&serial| serial.to_owned()).collect();
        MapEnd::disk(bytes, start, &serials)
    }

    fn ends(source: MapEnd, destination: MapEnd) -> MapEnds {
        MapEnds { skip: 512, seek: 4096, source, destination }
    }

    #[test]
    fn what_is_another_end_differs() {
        let ours = ends(disk(8192, 0, &["AB 1", "naa.5"]), MapEnd::File);
        let differs = |source, destination| ours.differs(&ends(source, destination), true);
        // One name in common is enough, and who knows none says nothing.
        assert_eq!(differs(disk(8192, 0, &["USB7", "naa.5"]), MapEnd::File), None);
        assert_eq!(differs(disk(8192, 0, &[]), MapEnd::File), None);
        let (said, given) = differs(disk(8192, 0, &["AB2"]), MapEnd::File).unwrap();
        assert_eq!(said, "from a disk of 8192 bytes with the serial AB_1, naa.5");
        assert_eq!(given, "from a disk of 8192 bytes with the serial AB2");
        let (_, given) = differs(disk(8192, 1024, &["naa.5"]), MapEnd::File).unwrap();
        assert_eq!(given, "from a disk of 8192 bytes at byte 1024 of another with the serial naa.5");
        assert_eq!(differs(disk(8193, 0, &["naa.5"]), MapEnd::File), None, "it has grown");
        assert!(differs(disk(8191, 0, &["naa.5"]), MapEnd::File).is_some());
        assert!(differs(disk(8193, 0, &[]), MapEnd::File).is_some(), "any other disk may be longer");
        assert!(differs(MapEnd::File, MapEnd::File).is_some());
        let other = ends(ours.source.clone(), disk(0, 0, &[]));
        let (said, given) = ours.differs(&other, true).unwrap();
        assert_eq!((said.as_str(), given.as_str()), ("to a file", "to a disk of 0 bytes"));
        // Where nothing is copied, it may become a copy to anywhere.
        assert_eq!(ours.differs(&other, false), None);
    }

    #[test]
    fn another_place_differs_and_another_part_does_not() {
        let ours = ends(MapEnd::File, MapEnd::File);
        let at = |skip, seek| ours.differs(&MapEnds { skip, seek, ..ours.clone() }, true);
        let (said, given) = at(512, 0).unwrap();
        assert_eq!(
            (said.as_str(), given.as_str()),
            ("with --skip 512 and --seek 4096", "with --skip 512 and --seek 0")
        );
        assert!(at(0, 4096).is_some() && at(u64::MAX, 0).is_some());
        assert_eq!(at(1024, 4608), None);
    }

    #[test]
    fn a_comment_that_says_something_else_is_none() {
        let found = |text: &str| MapEnds::in_text(text);
        let line = ends(disk(8192, 0, &["a,b\nc"]), MapEnd::File).to_line();
        assert_eq!(line, "# bulkio: skip=512 seek=4096 source=disk,8192,0,a_b_c destination=file");
        assert!(found(&format!("# Mapfile.\n\n{line} more=5\n0 + 1\n0 1 +\n")).is_some());
        // Not above the areas; cut; of another kind.
        assert_eq!(found(&format!("0 + 1\n{line}\n0 1 +\n")), None);
        assert_eq!(found(&line[..line.len() - 1]), None);
        for wrong in ["# bulkio:", "# bulkio: skip=1 seek=1 source=file,1 destination=file", "#", ""] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_comment_is_read_again(
            numbers in any::<[u64; 4]>(),
            serials in prop::collection::vec(any::<String>(), 0..10),
        ) {
            let [skip, seek, bytes, start] = numbers;
            let ends =
                MapEnds { skip, seek, source: MapEnd::disk(bytes, start, &serials), destination: MapEnd::File };
            prop_assert_eq!(MapEnds::in_text(&ends.to_line()), Some(ends));
        }

        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _ = MapEnds::in_text(&format!("{MARK}{text}"));
            let _ = MapEnds::in_text(&format!("{MARK} skip=1 seek=2 source={text} destination=disk,{text}"));
        }
    }
}
