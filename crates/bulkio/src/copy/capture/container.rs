//! What is around sound in a file: whether it is WAV, and the header of a recording with what is written over it at the end.

use super::super::CopyError;
use super::super::ends::target::Target;
use super::super::options::{CopyOptions, End};
use super::super::wav::{self, WavError, WavHeader};
use super::options::Container;
use super::settle::Patch;
use crate::device::audio::Params;

/// Says whether an end is a WAV file, by what was asked for or by its name.
pub(super) fn is_wav(end: End<'_>, container: Container) -> bool {
    match (container, end) {
        (Container::Raw, _) | (Container::ByName, End::Stdin | End::Stdout) => false,
        (Container::Wav, _) => true,
        (Container::ByName, End::Path(path)) => {
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"))
        }
    }
}

/// Makes the header, where there is one, and refuses more frames than it can count.
pub(super) fn header(
    destination: End<'_>,
    target: &Target,
    options: &CopyOptions,
    params: &Params,
    frames: Option<u64>,
) -> Result<Option<WavHeader>, CopyError> {
    if !is_wav(destination, options.stream.audio.container) {
        return Ok(None);
    }
    let path = || target.device.path().to_owned();
    let refused = |why: WavError| CopyError::Wav { path: path(), why: why.to_string() };
    let header = wav::header(params, target.unit).map_err(refused)?;
    if let Some(frames) = frames {
        header.patch(frames.saturating_mul(params.frame_len)).map_err(refused)?;
    }
    Ok(Some(header))
}

/// What is written over the header, which begins at `start`, once the end is known.
pub(super) fn patch(header: Option<&WavHeader>, start: u64, end: u64) -> Patch {
    let Some(header) = header else { return Vec::new() };
    let Some(data_len) = end.checked_sub(start.saturating_add(header.data_offset())) else {
        return Vec::new();
    };
    // What did not fit was not taken.
    let patches = header.patch(data_len).unwrap_or_default();
    patches.into_iter().map(|patch| (patch.offset.saturating_add(start), patch.bytes)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::device::audio::SampleFormat;

    #[test]
    fn names_and_options_say_what_is_wav() {
        let path = |name| End::Path(Path::new(name));
        assert!(is_wav(path("a.wav"), Container::ByName) && is_wav(path("a.WAV"), Container::ByName));
        assert!(!is_wav(path("a.raw"), Container::ByName) && !is_wav(path("wav"), Container::ByName));
        assert!(!is_wav(path("a.wav"), Container::Raw) && is_wav(path("a"), Container::Wav));
        assert!(is_wav(End::Stdout, Container::Wav) && !is_wav(End::Stdout, Container::ByName));
    }

    #[test]
    fn lengths_go_where_the_header_is() {
        let header = WavHeader::new(SampleFormat::S24_3Le, 48_000, 1, 1).unwrap();
        let sound = header.data_offset() + 4096;
        let patches = patch(Some(&header), 4096, sound + 9);
        assert_eq!(patches.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [4100, sound - 4, sound + 9]);
        assert_eq!(patch(Some(&header), 4096, 4100), [], "not even the header was written");
        assert_eq!(patch(None, 0, 100), []);
    }
}
