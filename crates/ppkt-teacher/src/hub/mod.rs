//! Networks from the Hugging Face Hub, by name.
//!
//! Files lie where all tools of that Hub put them (`HF_HOME`), so what Python has fetched is found and the other way
//! round:
//!
//! ```text
//! models--org--name/blobs/ETAG                  what was downloaded, under its hash
//!                  /snapshots/COMMIT/FILE       links into blobs
//!                  /refs/REVISION               the commit that a branch stood at
//!                  /.no_exist/COMMIT/FILE       asked for and not there
//! ```
//!
//! The `hf-hub` crate knows this layout; the transport is ours, because its own cannot tell a gated repository from a
//! missing one, has no offline switch and no timeouts, appends to a file whatever a server without ranges sends, and
//! keeps what it got without looking at it. Here a file enters `blobs` only after its size, its SHA-256 (which the
//! Hub gives for all large files) and its outer form were found right; until then it is `ETAG.incomplete`, from which
//! the next attempt goes on.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
mod error;
#[cfg(feature = "hub")]
mod repository;
#[cfg(feature = "hub")]
mod settings;
#[cfg(feature = "hub")]
mod verify;

use std::path::PathBuf;

#[cfg(feature = "hub")]
pub use client::Hub;
pub use error::HubError;
#[cfg(feature = "hub")]
pub use settings::HubSettings;

use crate::uri::HubName;

/// The files of a network on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFiles {
    /// The safetensors file, or all its shards in the order of their names.
    pub weights: Vec<PathBuf>,
    /// `config.json`, if the repository has one.
    pub config: Option<PathBuf>,
    /// `preprocessor_config.json`, if the repository has one.
    pub preprocessor_config: Option<PathBuf>,
    /// The commit that all of them are of.
    pub commit: String,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubProgress<'a> {
    /// The file within the repository.
    pub file: &'a str,
    /// Bytes that are here, those of an earlier attempt included.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// Fetches a network with the settings of the environment (see [`HubSettings::from_env`]), or finds it in the cache.
///
/// `progress` is called for each piece of each file that is not in the cache, some thousand times for a large one.
///
/// # Errors
/// See [`HubError`]; without the feature `hub`, always [`HubError::NotBuilt`].
pub fn fetch(name: &HubName, progress: &mut dyn FnMut(HubProgress<'_>)) -> Result<HubFiles, HubError> {
    #[cfg(feature = "hub")]
    return Hub::new(HubSettings::from_env()?)?.fetch(name, progress);
    #[cfg(not(feature = "hub"))]
    {
        let _ = progress;
        Err(HubError::NotBuilt { name: name.to_string() })
    }
}
