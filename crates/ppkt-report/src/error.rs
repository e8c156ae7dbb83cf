//! What can go wrong between a run folder and its page.

use std::path::{Path, PathBuf};

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The folder holds nothing that a run writes.
    #[error(
        "this is no run folder: there is no config.toml, metrics.jsonl, eval.json or results.json in it: {path:?}"
    )]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is there cannot be read.
    #[error("cannot read the {what}: {path:?}")]
    Read {
        /// What the file holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what its name says.
    #[error("the {what} cannot be understood ({problem}); remove or restore the file: {path:?}")]
    Damaged {
        /// What the file should hold.
        what: &'static str,
        /// What is wrong.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// The page cannot be written.
    #[error("cannot write the page; choose another place with --out: {path:?}")]
    Write {
        /// The page.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ReportError {
    pub(crate) fn damaged(what: &'static str, path: &Path, problem: impl ToString) -> Self {
        Self::Damaged { what, problem: problem.to_string(), path: path.to_owned() }
    }

    /// Whether the command line is at fault, rather than a file.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::NoRun { .. })
    }
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, ReportError>;
