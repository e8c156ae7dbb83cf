//! Digests of datasets: what a run was trained on, in 64 letters.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{DataError, DataUri};

/// A digest that grows part by part.
#[derive(Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// That of a folder: the scheme and options it was asked for with, and the files that were read to understand it.
    pub(crate) fn of_folder(
        uri: &DataUri,
        read: impl IntoIterator<Item = Result<Vec<u8>, DataError>>,
    ) -> Result<Self, DataError> {
        let mut all = Self::default();
        all.add(uri.scheme().name().as_bytes());
        for (key, value) in uri.options().iter() {
            all.add(format!("{key}={value}").as_bytes());
        }
        for bytes in read {
            all.add(&bytes?);
        }
        Ok(all)
    }

    /// Adds a part with its length, so that no two lists of parts run together.
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Adds the size of a file; a missing one is part of what a dataset is.
    pub(crate) fn add_size(&mut self, path: &Path) {
        self.add(&std::fs::metadata(path).map_or(u64::MAX, |m| m.len()).to_le_bytes());
    }

    /// Adds bytes as they are, where all are of one length.
    pub(crate) fn add_plain(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// The digest in hexadecimal.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let of = |parts: &[&[u8]]| {
            let mut all = Fingerprint::default();
            parts.iter().for_each(|p| all.add(p));
            all.finish()
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_eq!(of(&[b"ab"]), of(&[b"ab"]));
        // SHA-256 of nothing.
        assert!(of(&[]).starts_with("e3b0c442"));
    }
}
