//! The crate's one error type.

use std::path::PathBuf;

use ppkt_sparse::{LoadReport, SparseError};

use crate::{Arch, Plan};

/// What can be wrong with a network, its input, or its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudentError {
    /// No network has this name.
    #[error("no network is called {name:?}; known are {}", known())]
    UnknownArch {
        /// The name that was asked for.
        name: String,
    },
    /// The first convolution is neither of the two that the family knows.
    #[error("first_kernel must be 3 or 5, not {got}")]
    FirstKernel {
        /// The size that was asked for.
        got: usize,
    },
    /// A setting has a value that no network can be built with.
    #[error("{field} must be {expected}, not {got}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// The input has another number of channels than the network.
    #[error("the network takes {expected} channels, and the voxels have {got}; check the point features")]
    InputChannels {
        /// The network's.
        expected: usize,
        /// The input's.
        got: usize,
    },
    /// A file cannot be read or written.
    #[error("cannot {action}: {source}: {path:?}")]
    File {
        /// "read" or "write".
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// A file is not safetensors, or is cut.
    #[error(
        "not a whole safetensors file ({reason}); fetch it again, or convert a PyTorch file with \
         safetensors.torch.save_file: {path:?}"
    )]
    NotSafetensors {
        /// What the parser says.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A file holds no network of this family.
    #[error(
        "no MinkUNet state dict: {missing:?} is not among its {tensors} tensors ({found}); give the student.safetensors \
         of a run, or a network with MinkowskiEngine's names: {path:?}"
    )]
    NotMinkUNet {
        /// A tensor that every network of the family has.
        missing: String,
        /// Number of tensors in the file.
        tensors: usize,
        /// Names of some of them.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// A file holds a network with the names of this family, but of other sizes than any of its members.
    #[error(
        "its channels and blocks are those of no network of the family: it has {found}; nearest is {nearest} with {expected}: \
         {path:?}"
    )]
    UnknownPlan {
        /// What the file has.
        found: Box<Plan>,
        /// The member whose sizes differ in the fewest places.
        nearest: Arch,
        /// What that has.
        expected: Box<Plan>,
        /// The file.
        path: PathBuf,
    },
    /// The file's first convolution has another size.
    #[error(
        "the first convolution is {file}×{file}×{file} in the file and {network}×{network}×{network} in the network; \
         set first_kernel = {file}: {path:?}"
    )]
    OtherFirstKernel {
        /// Size in the file.
        file: usize,
        /// Size in the network.
        network: usize,
        /// The file.
        path: PathBuf,
    },
    /// Names or shapes of a file do not fit the network; nothing was changed.
    #[error(
        "the state dict is of another network, nothing was loaded ({report}); check arch and channels: {path:?}"
    )]
    OtherNetwork {
        /// What fits and what does not.
        report: Box<LoadReport>,
        /// The file.
        path: PathBuf,
    },
    /// An operation on sparse tensors failed.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// candle refused.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn known() -> String {
    Arch::ALL.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ")
}
