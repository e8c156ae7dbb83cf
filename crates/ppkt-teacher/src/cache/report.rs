//! What a cache did, for people and for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::size::ByteSize;

/// What was read from a cache and written to it since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    /// Maps that were read.
    pub hits: u64,
    /// Maps that were computed because they were not there, or damaged.
    pub misses: u64,
    /// Entries that were damaged, and so computed again.
    pub damaged: u64,
    /// Maps that were added or put in the place of damaged ones.
    pub added: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were added.
    pub bytes_added: u64,
    /// Bytes in the folder now, those of other writers included.
    pub bytes: u64,
    /// Bytes that the folder may hold.
    pub limit: u64,
}

impl fmt::Display for CacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hits, misses, damaged, added, .. } = self;
        let [bytes, limit] = [self.bytes, self.limit].map(|n| ByteSize(n).rounded());
        write!(f, "{hits} maps read, {misses} computed, {added} added; {bytes} of {limit}")?;
        if *damaged > 0 {
            write!(f, "; {damaged} damaged entries were computed again")?;
        }
        Ok(())
    }
}
