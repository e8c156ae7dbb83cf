//! What can go wrong between here and the Hub.

use std::path::PathBuf;

/// Why a network of the Hub could not be had.
///
/// Files that were in the cache before are never touched by a failure, and what was downloaded of a file stays for
/// the next attempt unless it was wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The program was built without the feature `hub`.
    #[error(
        "this build cannot fetch hf:{name}; build with the feature `hub`, or download the file and use file:PATH"
    )]
    NotBuilt {
        /// The network.
        name: String,
    },

    /// The repository wants its terms accepted, or a token.
    #[error("{}", gated(repository, *with_token))]
    Gated {
        /// `org/name`
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// There is no such repository, or the token may not see it.
    #[error("{}", missing_repository(repository, *with_token))]
    MissingRepository {
        /// `org/name`
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// The repository has no such branch, tag or commit.
    #[error("{repository} has no revision {revision:?}; look at its branches and tags on the Hub")]
    MissingRevision {
        /// `org/name`
        repository: String,
        /// What was asked for.
        revision: String,
    },

    /// The repository is there, the file is not.
    #[error(
        "{repository} has no file {file:?} at {revision}; name another one: hf:{repository}@{revision}:FILE"
    )]
    MissingFile {
        /// `org/name`
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// What was asked for.
        file: String,
    },

    /// No file with one of the usual names.
    #[error(
        "{repository} has neither model.safetensors nor pytorch_model.bin, whole or in shards, at {revision}; name its weights file: hf:{repository}@{revision}:FILE"
    )]
    NoWeights {
        /// `org/name`
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },

    /// Offline by choice, and the file was not fetched before.
    #[error(
        "{file:?} of {name} is not in the cache and HF_HUB_OFFLINE is set; fetch it once without that variable: {cache:?}"
    )]
    Offline {
        /// `org/name@revision`
        name: String,
        /// What was asked for.
        file: String,
        /// Where it was looked for.
        cache: PathBuf,
    },

    /// The Hub does not answer.
    #[error(
        "cannot reach {endpoint} ({reason}); check the network, HF_ENDPOINT and the proxy variables, or use file:PATH"
    )]
    Unreachable {
        /// The address of the Hub or of its file server.
        endpoint: String,
        /// What happened.
        reason: String,
    },

    /// The Hub answered, but asks to come back later.
    #[error(
        "{endpoint} answered {status} {attempts} times for {file:?}; it is overloaded, so try again later"
    )]
    Busy {
        /// The address of the Hub or of its file server.
        endpoint: String,
        /// The last HTTP status.
        status: u16,
        /// How often it was asked.
        attempts: u32,
        /// What was asked for.
        file: String,
    },

    /// An answer that no Hub gives.
    #[error(
        "{endpoint} does not answer as a Hub ({what}); check HF_ENDPOINT and whether a proxy or login page is in between"
    )]
    NotAHub {
        /// The address.
        endpoint: String,
        /// What is odd.
        what: String,
    },

    /// The connection broke again and again.
    #[error(
        "the download of {file:?} was cut off at {done} of {total} bytes ({reason}); start it again and it goes on from there"
    )]
    Cut {
        /// What was being fetched.
        file: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
        /// What happened the last time.
        reason: String,
    },

    /// The disk is full.
    #[error(
        "no space for {file:?}, which takes {total} bytes; make room or set HF_HOME to another disk: {path:?}"
    )]
    NoSpace {
        /// What was being fetched.
        file: String,
        /// Bytes of the whole file.
        total: u64,
        /// The file being written.
        path: PathBuf,
    },

    /// More or fewer bytes than announced.
    #[error("{file:?} should have {expected} bytes, but {found} came; nothing was kept, so try again")]
    WrongSize {
        /// What was being fetched.
        file: String,
        /// Bytes that the Hub announced.
        expected: u64,
        /// Bytes that came or were promised.
        found: u64,
    },

    /// Other bytes than announced.
    #[error("{file:?} should have SHA-256 {expected}, but has {found}; nothing was kept, so try again")]
    WrongHash {
        /// What was being fetched.
        file: String,
        /// The hash that the Hub announced.
        expected: String,
        /// The hash of what came.
        found: String,
    },

    /// The right size, but something else than its name says.
    #[error("{file:?} is {what}; nothing was kept, so tell the owner of the repository")]
    WrongContent {
        /// What was being fetched.
        file: String,
        /// What is wrong with it.
        what: String,
    },

    /// A setting cannot be used.
    #[error("{what}")]
    Setting {
        /// Which, why and what to do.
        what: String,
    },

    /// The cache cannot be read or written.
    #[error("cannot use the cache: check its rights, or set HF_HOME to another folder: {path:?}")]
    Cache {
        /// The system's reason.
        source: std::io::Error,
        /// Which file or folder.
        path: PathBuf,
    },
}

fn gated(repository: &str, with_token: bool) -> String {
    let remedy = if with_token {
        "the token in use has no access: accept the terms on its page with the account of that token"
    } else {
        "accept the terms on its page, make a token in the settings of your account and set HF_TOKEN to it"
    };
    format!("{repository} is gated; {remedy}")
}

fn missing_repository(repository: &str, with_token: bool) -> String {
    let remedy = if with_token {
        "check the name, and that the token may read it if it is private"
    } else {
        "check the name, and set HF_TOKEN if it is private"
    };
    format!("there is no repository {repository} that can be seen; {remedy}")
}

// Results are returned from every call, so the error must not make them large.
const _: () = assert!(std::mem::size_of::<HubError>() <= 112);
