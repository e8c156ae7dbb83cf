//! What can go wrong in a run.

use std::path::{Path, PathBuf};

use ppkt_teacher::TeacherError;

/// An error of a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The configuration is wrong: nothing was run.
    #[error("{0}")]
    Config(String),
    /// A step does not fit into the memory that it may have.
    #[error(
        "a step on {voxels} voxels needs {step} MiB beside the {in_use} MiB in use, more than memory_limit allows \
         ({limit}), although convolutions are run again in the backward pass; use --precision bf16, fewer frames in a \
         batch (and more batches in a step: optimizer.accumulate), larger voxels, or a higher limit"
    )]
    Memory {
        /// What the run may have in use.
        limit: ppkt_teacher::ByteSize,
        /// What is in use before the step, MiB.
        in_use: u64,
        /// What the step needs at least, MiB.
        step: u64,
        /// Voxels of the batch.
        voxels: usize,
    },
    /// A dataset cannot be opened or a frame cannot be read.
    #[error("cannot read the data")]
    Data(#[from] ppkt_data::DataError),
    /// The teacher cannot be opened or run.
    #[error("cannot use the teacher")]
    Teacher(#[from] TeacherError),
    /// The text that names the teacher is no teacher URI.
    #[error("cannot understand the teacher's name")]
    TeacherUri(#[from] ppkt_teacher::UriError),
    /// The student cannot be built, run or saved.
    #[error("cannot use the student")]
    Student(#[from] ppkt_student::StudentError),
    /// Parameters cannot be made or loaded, or a sparse operation failed.
    #[error("sparse network")]
    Sparse(#[from] ppkt_sparse::SparseError),
    /// The objective cannot be computed.
    #[error("cannot compute the objective")]
    Objective(#[from] ppkt_objective::ObjectiveError),
    /// A tensor operation failed.
    #[error("tensor operation")]
    Tensor(#[from] candle_core::Error),
    /// A value of the run is no longer a finite number.
    #[error(
        "{what} is not finite at step {step}, seen in {layer}; begin another run with a lower optimizer.lr or with \
         optimizer.clip_norm (checkpoints made before this step are kept)"
    )]
    NotFinite {
        /// Step at which it was seen, from 0.
        step: u64,
        /// `loss`, `gradient`, `parameter` or `validation`.
        what: &'static str,
        /// Where it came up: the first layer of the forward pass, or the first parameter of the backward pass, that
        /// holds such a value.
        layer: String,
    },
    /// A file or folder of the run cannot be read or written.
    #[error("cannot {action}; {remedy}: {path:?}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// What to do about it.
        remedy: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The loader gave fewer batches than were asked for.
    #[error("the stream of batches ended at step {step}, before the run did; please report this")]
    DataEnded {
        /// Step at which it was seen.
        step: u64,
    },
    /// The state of an optimiser does not fit its parameters.
    #[error("{0}; remove this checkpoint's folder to resume from the one before")]
    State(String),
    /// A checkpoint does not hold what its state says, or does not belong to this run.
    #[error("{problem}: {path:?}")]
    Checkpoint {
        /// What is wrong and what to do.
        problem: String,
        /// The checkpoint's folder or file.
        path: PathBuf,
    },
}

impl TrainError {
    /// Whether the command line or configuration is at fault, rather than the run.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Data(e) => e.is_configuration(),
            Self::Teacher(e) => matches!(e, TeacherError::Option { .. } | TeacherError::StageAbsent { .. }),
            Self::TeacherUri(_) => true,
            _ => false,
        }
    }

    /// An error of reading or writing `path`, with the remedy that fits the cause.
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind::*;
        let remedy = match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                "free space on this disk (earlier checkpoints are intact) and run again with --resume"
            }
            PermissionDenied | ReadOnlyFilesystem => "choose a folder that you may write, with --out",
            NotFound => "check that the path exists",
            _ => "check the disk and run again with --resume",
        };
        Self::Io { action, remedy, path: path.to_owned(), source }
    }

    /// The same of a file that belongs to no run.
    pub(crate) fn output(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind::*;
        let remedy = match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => "free space on this disk, or write to another",
            PermissionDenied | ReadOnlyFilesystem => "choose a folder that you may write",
            NotFound | NotADirectory => "make the folder first",
            _ => "check the disk",
        };
        Self::Io { action, remedy, path: path.to_owned(), source }
    }
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, TrainError>;
