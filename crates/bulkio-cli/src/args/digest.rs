//! The flags of digests: `--hash` and `--verify`.

use bulkio::copy::{HashAlgorithm, HashRequest};
use clap::Args;

/// Both of them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Digests")]
pub(super) struct DigestFlags {
    /// Print a digest of the bytes that are copied, or check it: blake3, sha256, blake3:HEX, sha256:HEX
    #[arg(long, value_name = "NAME[:HEX]", value_parser = request)]
    pub(super) hash: Option<HashRequest>,
    /// Read the destination back past the page cache, and compare it with what was written
    #[arg(long)]
    pub(super) verify: bool,
}

const ALGORITHMS: [HashAlgorithm; 2] = [HashAlgorithm::Blake3, HashAlgorithm::Sha256];

fn request(text: &str) -> Result<HashRequest, String> {
    let (name, digest) = text.split_once(':').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let algorithm = ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == name);
    let algorithm = algorithm.ok_or_else(|| format!("'{name}' is no hash; write blake3 or sha256"))?;
    let expected = digest.map(str::parse).transpose();
    let expected = expected.map_err(|why| format!("what comes behind '{name}:' is no digest: {why}"))?;
    Ok(HashRequest { algorithm, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_names_and_perhaps_digests() {
        for algorithm in ALGORITHMS {
            assert_eq!(request(algorithm.name()), Ok(HashRequest { algorithm, expected: None }));
        }
        let digits = "0123456789abcdef".repeat(4);
        let found = request(&format!("sha256:{digits}")).expect("a digest");
        assert_eq!(found.expected.map(|digest| digest.to_string()), Some(digits.clone()));
        for (text, says) in [
            ("md5", "'md5' is no hash; write blake3 or sha256"),
            ("", "'' is no hash"),
            ("blake3:", "64 hexadecimal digits, and this has 0"),
            (&format!("blake3:{digits}0"), "and this has 65"),
            ("blake3:xyz", "'x' is no hexadecimal digit"),
        ] {
            let error = request(text).expect_err(text);
            assert!(error.contains(says), "{error}");
        }
    }
}
