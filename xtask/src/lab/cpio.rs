//! An archive in the format that the kernel unpacks as its first root: cpio, "newc"
//! (linux, `Documentation/driver-api/early-userspace/buffer-format.rst`).

/// Builds an archive in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    /// Adds a folder; what lies in it comes later.
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file that may be run.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content);
    }

    /// Returns the archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // A file of 4 GiB has no place in it, and one in memory does not get that far.
        let len = |bytes: usize| u32::try_from(bytes).expect("less than 4 GiB");
        let (links, name_len) = (1, len(path.len() + 1));
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, links, 0, len(content.len()), 0, 0, 0, 0, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_byte_by_byte() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/a", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        // 6 bytes of magic and 13 fields of 8, the name with its zero; then padded to 4.
        let first = "070701000000010000".to_owned() + "41ed" + &"0".repeat(16) + "00000001";
        assert!(text.starts_with(&first), "{text}");
        assert_eq!(&text[110..116], "bin\0\0\0".get(..6).unwrap());
        let second = 116;
        assert_eq!(&text[second..second + 14], "07070100000002");
        assert_eq!(&text[second + 54..second + 62], "00000005");
        assert_eq!(&text[second + 110..second + 116], "bin/a\0");
        assert_eq!(&text[second + 116..second + 124], "hello\0\0\0");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
