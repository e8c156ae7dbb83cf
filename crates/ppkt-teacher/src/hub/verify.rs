//! Is it what it says it is?

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::HubError;

/// What the Hub says about a file before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) commit: String,
    /// The name of the blob: SHA-256 for large files, git's own hash for small ones.
    pub(super) etag: String,
    pub(super) size: u64,
}

/// Checks size, hash (where the Hub gives one) and outer form of a finished download.
pub(super) fn verify(path: &Path, file: &str, facts: &FileFacts) -> Result<(), HubError> {
    let unreadable = |source| HubError::Cache { source, path: path.to_owned() };
    let found = std::fs::metadata(path).map_err(unreadable)?.len();
    if found != facts.size {
        return Err(HubError::WrongSize { file: file.to_owned(), expected: facts.size, found });
    }
    if is_sha256(&facts.etag) {
        let found = sha256(path).map_err(unreadable)?;
        if !found.eq_ignore_ascii_case(&facts.etag) {
            return Err(HubError::WrongHash { file: file.to_owned(), expected: facts.etag.clone(), found });
        }
    }
    match fault_of_form(path, file).map_err(unreadable)? {
        None => Ok(()),
        Some(what) => Err(HubError::WrongContent { file: file.to_owned(), what: what.to_owned() }),
    }
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Small files come without a SHA-256, and some mirrors give none at all: then at least an error page must not pass
/// for a network or a configuration.
fn fault_of_form(path: &Path, file: &str) -> io::Result<Option<&'static str>> {
    if file.ends_with(".json") {
        let json: Result<serde_json::Value, _> = serde_json::from_reader(BufReader::new(File::open(path)?));
        return Ok(json.is_err().then_some("no JSON"));
    }
    if file.ends_with(".safetensors") {
        let size = std::fs::metadata(path)?.len();
        let mut start = [0u8; 9];
        let mut file = File::open(path)?;
        let complete = size >= 9 && file.read_exact(&mut start).is_ok();
        let [l0, l1, l2, l3, l4, l5, l6, l7, first] = start;
        let header = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        let good = complete && header <= size - 8 && first == b'{';
        return Ok((!good).then_some("no safetensors file"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, bytes: &[u8], etag: &str, size: u64) -> Result<(), HubError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        std::fs::write(&path, bytes).unwrap();
        let facts = FileFacts { commit: "c".into(), etag: etag.into(), size };
        verify(&path, name, &facts)
    }

    #[test]
    fn size_hash_and_form_count() {
        // SHA-256 of "{}".
        let sha = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        check("config.json", b"{}", sha, 2).unwrap();
        check("config.json", b"{}", "0123456789abcdef0123456789abcdef01234567", 2).unwrap();
        assert!(matches!(check("config.json", b"{}", sha, 3), Err(HubError::WrongSize { .. })));
        assert!(matches!(check("config.json", b"[]", sha, 2), Err(HubError::WrongHash { .. })));
        let page = b"<html>sorry</html>";
        for name in ["config.json", "model.safetensors"] {
            assert!(matches!(check(name, page, "e", 18), Err(HubError::WrongContent { .. })), "{name}");
        }
        let tensors = [&2u64.to_le_bytes()[..], b"{}"].concat();
        check("model.safetensors", &tensors, "e", 10).unwrap();
        assert!(check("model.safetensors", &tensors[..8], "e", 8).is_err());
        assert!(check("model.safetensors", b"", "e", 0).is_err());
    }
}
