//! [`PcmName`]: which PCM, as users write it: `hw:0,1`, `hw:Loopback,1,2`, `hw:CARD=Loopback,DEV=1`, or the path of a node.
//!
//! The words before the colon of other names (`default`, `plughw`) are plug-ins of the C library, which resample and mix behind one's back: they are
//! refused. Cards are found by id in `/sys/class/sound/cardN/id`, nodes by their number in sysfs, so a node may have any path.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

use super::error::AudioError;
use crate::probe::DeviceNumber;
use crate::probe::host::{Host, read_line};

/// The major number of sound devices: `CONFIG_SND_MAJOR` (Linux, include/sound/core.h).
const MAJOR: u32 = 116;

/// Which way the sound goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the card into memory.
    Capture,
    /// From memory to the card.
    Playback,
}

impl Direction {
    /// The last letter of a node's name.
    const fn letter(self) -> char {
        match self {
            Self::Capture => 'c',
            Self::Playback => 'p',
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Capture => Self::Playback,
            Self::Playback => Self::Capture,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Capture => "capture",
            Self::Playback => "playback",
        })
    }
}

/// A card, as it was named.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Card {
    Number(u32),
    Id(String),
}

/// The name of a PCM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcmName {
    text: String,
    /// The path that was named, and its direction.
    node: Option<(PathBuf, Direction)>,
    card: Card,
    device: u32,
    subdevice: Option<u32>,
}

/// Says whether a path names a PCM: a node of one, or words `hw:...` that are no file. Nothing is opened.
#[must_use]
pub fn is_pcm(path: &Path) -> bool {
    let host = Host::default();
    let words = || path.to_str().is_some_and(|words| words.starts_with("hw:"));
    match rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS) {
        Ok(_) => node_of(&host, path).is_some(),
        Err(_) => words(),
    }
}

/// Takes the name of a node apart: `pcmC0D1c`.
pub(crate) fn parts(name: &str) -> Option<(u32, u32, Direction)> {
    let rest = name.strip_prefix("pcmC")?;
    let direction = match rest.chars().next_back()? {
        'c' => Direction::Capture,
        'p' => Direction::Playback,
        _ => return None,
    };
    let (card, device) = rest.get(..rest.len().checked_sub(1)?)?.split_once('D')?;
    Some((card.parse().ok()?, device.parse().ok()?, direction))
}

/// What a node is, by its number in sysfs, or by its own name where sysfs does not say.
fn node_of(host: &Host, path: &Path) -> Option<(u32, u32, Direction)> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
    let number = DeviceNumber { major: found.stx_rdev_major, minor: found.stx_rdev_minor };
    if FileType::from_raw_mode(found.stx_mode.into()) != FileType::CharacterDevice || number.major != MAJOR {
        return None;
    }
    let folder = fs::canonicalize(host.sys.join("dev/char").join(number.to_string()));
    let folder = folder.unwrap_or_else(|_| path.to_owned());
    parts(folder.file_name()?.to_str()?)
}

impl PcmName {
    /// Takes a word of the command line: a node, where there is a file of that name, else words.
    ///
    /// # Errors
    /// [`AudioError::NotAPcm`], [`AudioError::BadName`].
    pub fn of_path(path: &Path) -> Result<Self, AudioError> {
        Self::of_path_on(&Host::default(), path)
    }

    pub(super) fn of_path_on(host: &Host, path: &Path) -> Result<Self, AudioError> {
        let text = path.to_string_lossy().into_owned();
        if let Some((card, device, direction)) = node_of(host, path) {
            let node = Some((path.to_owned(), direction));
            return Ok(Self { text, node, card: Card::Number(card), device, subdevice: None });
        }
        match rustix::fs::stat(path) {
            Ok(_) => Err(AudioError::NotAPcm { path: path.to_owned() }),
            Err(errno) if text.contains('/') => Err(AudioError::Open { path: path.to_owned(), errno }),
            Err(_) => text.parse(),
        }
    }

    /// Returns the direction, where the name is that of a node.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.node.as_ref().map(|(_, direction)| *direction)
    }

    /// Returns the subdevice that was asked for.
    #[must_use]
    pub const fn subdevice(&self) -> Option<u32> {
        self.subdevice
    }

    /// Returns the node for a direction.
    ///
    /// # Errors
    /// [`AudioError::NoCard`], [`AudioError::NoNode`], [`AudioError::OtherDirection`].
    pub fn node_for(&self, direction: Direction) -> Result<PathBuf, AudioError> {
        self.node_on(&Host::default(), direction)
    }

    pub(super) fn node_on(&self, host: &Host, direction: Direction) -> Result<PathBuf, AudioError> {
        let card = self.card_on(host)?;
        let node = |direction: Direction| {
            host.dev.join(format!("snd/pcmC{card}D{}{}", self.device, direction.letter()))
        };
        match &self.node {
            Some((path, own)) if *own == direction => Ok(path.clone()),
            Some((path, _)) => {
                Err(AudioError::OtherDirection { path: path.clone(), direction, other: node(direction) })
            }
            None if node(direction).exists() => Ok(node(direction)),
            None => Err(AudioError::NoNode { node: node(direction), direction, have: nodes(host) }),
        }
    }

    /// The card's number.
    pub(super) fn card_on(&self, host: &Host) -> Result<u32, AudioError> {
        let id = match &self.card {
            Card::Number(number) => return Ok(*number),
            Card::Id(id) => id,
        };
        let cards = cards(host);
        let found = cards.iter().find(|(_, found)| found == id).map(|(number, _)| *number);
        let have = || cards.iter().map(|(number, id)| format!("{number} ({id})")).collect();
        found.ok_or_else(|| AudioError::NoCard { id: id.clone(), have: have() })
    }

    /// The device's number on its card.
    pub(super) const fn device(&self) -> u32 {
        self.device
    }
}

impl fmt::Display for PcmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for PcmName {
    type Err = AudioError;

    fn from_str(text: &str) -> Result<Self, AudioError> {
        let bad = || AudioError::BadName { name: text.to_owned() };
        let words: Vec<_> = text.strip_prefix("hw:").ok_or_else(bad)?.split(',').collect();
        if words.len() > 3 {
            return Err(bad());
        }
        let mut values = [None; 3];
        for (at, word) in words.iter().enumerate() {
            // As the C library's configuration has them: by place, or by key.
            let (place, value) = match word.split_once('=') {
                None => (at, *word),
                Some(("CARD", value)) => (0, value),
                Some(("DEV", value)) => (1, value),
                Some(("SUBDEV", value)) => (2, value),
                Some(_) => return Err(bad()),
            };
            match values.get_mut(place) {
                Some(free @ None) if !value.is_empty() => *free = Some(value),
                _ => return Err(bad()),
            }
        }
        let [card, device, subdevice] = values;
        let number = |word: Option<&str>| word.map(|word| word.parse::<u32>().map_err(|_| bad())).transpose();
        let card = card.ok_or_else(bad)?;
        Ok(Self {
            text: text.to_owned(),
            node: None,
            card: card.parse().map_or_else(|_| Card::Id(card.to_owned()), Card::Number),
            device: number(device)?.unwrap_or(0),
            subdevice: number(subdevice)?,
        })
    }
}

/// The names of the entries of a class of sysfs.
fn entries(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.sys.join("class/sound")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The cards there are: number and id.
fn cards(host: &Host) -> Vec<(u32, String)> {
    let card = |name: String| {
        let number = name.strip_prefix("card")?.parse().ok()?;
        Some((number, read_line(&host.sys.join("class/sound").join(&name).join("id"))?))
    };
    entries(host).into_iter().filter_map(card).collect()
}

/// The PCMs there are.
fn nodes(host: &Host) -> Vec<String> {
    entries(host).into_iter().filter(|name| parts(name).is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::FakeHost;

    fn host() -> FakeHost {
        let fake = FakeHost::new();
        for (card, id) in [("card0", "PCH"), ("card1", "Loopback")] {
            let folder = fake.host.sys.join("class/sound").join(card);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("id"), format!("{id}\n")).unwrap();
        }
        fs::create_dir_all(fake.host.dev.join("snd")).unwrap();
        for node in ["pcmC0D0p", "pcmC1D1c", "pcmC1D1p"] {
            fs::create_dir_all(fake.host.sys.join("class/sound").join(node)).unwrap();
            fs::write(fake.host.dev.join("snd").join(node), "").unwrap();
        }
        fake
    }

    #[test]
    fn cards_are_named_by_number_id_and_key() {
        let fake = host();
        let node = |name: &str| {
            let name: PcmName = name.parse().unwrap();
            let node = name.node_on(&fake.host, Direction::Capture).unwrap();
            (node.file_name().unwrap().to_str().unwrap().to_owned(), name.subdevice())
        };
        assert_eq!(node("hw:1,1"), ("pcmC1D1c".into(), None));
        assert_eq!(node("hw:Loopback,1,3"), ("pcmC1D1c".into(), Some(3)));
        assert_eq!(node("hw:CARD=Loopback,DEV=1"), ("pcmC1D1c".into(), None));
        assert_eq!(node("hw:DEV=1,SUBDEV=7,CARD=1"), ("pcmC1D1c".into(), Some(7)));
    }

    #[test]
    fn what_names_no_pcm_is_refused() {
        for name in [
            "default",
            "plughw:0,1",
            "hw:",
            "hw:0,x",
            "hw:0,1,2,3",
            "hw:0,1,DEV=1",
            "hw:CARD=0,KEY=1",
            "hw:0,,1",
        ] {
            let error = name.parse::<PcmName>().unwrap_err();
            assert_eq!(error, AudioError::BadName { name: name.into() });
        }
        let error = PcmName::of_path(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error, AudioError::NotAPcm { path: "/dev/null".into() });
        assert!(matches!(PcmName::of_path(Path::new("/dev/snd/pcm-none")), Err(AudioError::Open { .. })));
        assert!(!is_pcm(Path::new("/dev/null")) && !is_pcm(Path::new("default")));
        assert!(is_pcm(Path::new("hw:0,1")));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let fake = host();
        let refused = |name: &str| {
            let name: PcmName = name.parse().unwrap();
            name.node_on(&fake.host, Direction::Capture).unwrap_err().to_string()
        };
        assert_eq!(
            refused("hw:Loop,1"),
            "no sound card has the id \"Loop\"; there are 0 (PCH), 1 (Loopback)"
        );
        let error = refused("hw:0,0");
        assert!(
            error.contains("pcmC0D0c, so nothing for capture; there are pcmC0D0p, pcmC1D1c, pcmC1D1p"),
            "{error}"
        );
    }

    #[test]
    fn nodes_have_parts() {
        assert_eq!(parts("pcmC0D12c"), Some((0, 12, Direction::Capture)));
        assert_eq!(parts("pcmC3D1p"), Some((3, 1, Direction::Playback)));
        for other in ["pcmC0D1x", "pcmC0D1", "controlC0", "pcmCDp", "pcmC", "pcmC0Dp"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
