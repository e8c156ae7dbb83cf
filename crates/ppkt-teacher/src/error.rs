//! What can go wrong with a teacher.

use std::path::PathBuf;

use crate::cache::CacheError;
use crate::hub::HubError;
use crate::options::Stage;
use crate::projection::PixelRef;

/// Why a teacher could not be opened or run.
///
/// Messages say what was found, what was expected and what to do about it; paths come last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeacherError {
    /// A file of the network cannot be read.
    #[error("cannot read the network: check that the file is there and readable: {path:?}")]
    Read {
        /// The system's reason.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },

    /// The file is something else, or damaged.
    #[error(
        "neither a safetensors file nor one of PyTorch ({reason}); download it again, or convert it with the safetensors package: {path:?}"
    )]
    NotSafetensors {
        /// What is wrong with it.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// The file begins as those of PyTorch, but no tensors can be read from it.
    #[error(
        "no tensors can be read from this file of PyTorch ({reason}); download it again, or save the network's state_dict with a recent PyTorch or with safetensors: {path:?}"
    )]
    NotCheckpoint {
        /// What is wrong with it.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// The file is cut off or has bytes too many.
    #[error(
        "the safetensors file has {found} bytes, its header asks for {expected}; download it again: {path:?}"
    )]
    WrongLength {
        /// Bytes that header and tensors take.
        expected: u64,
        /// Bytes in the file.
        found: u64,
        /// The file.
        path: PathBuf,
    },

    /// A tensor that the architecture needs is absent.
    #[error("tensor {tensor:?} is missing ({why}); take a file that holds the whole stage: {path:?}")]
    MissingTensor {
        /// Its name in torchvision's or timm's scheme.
        tensor: String,
        /// Why it is needed.
        why: String,
        /// The file.
        path: PathBuf,
    },

    /// A tensor has another shape than its neighbours imply.
    #[error(
        "tensor {tensor:?} has shape {got:?} where {expected} is expected; the file is of another network or was exported wrongly: {path:?}"
    )]
    WrongShape {
        /// Its name in the file.
        tensor: String,
        /// What the rest of the network implies.
        expected: String,
        /// What is in the file.
        got: Vec<usize>,
        /// The file.
        path: PathBuf,
    },

    /// A tensor is of a type that weights do not have.
    #[error(
        "tensor {tensor:?} is of type {dtype}; f32, f16, bf16 and f64 are read, so convert the file first: {path:?}"
    )]
    WrongType {
        /// Its name in the file.
        tensor: String,
        /// Its type as safetensors calls it.
        dtype: String,
        /// The file.
        path: PathBuf,
    },

    /// A weight is NaN or infinite.
    #[error(
        "tensor {tensor:?} holds a value that is not finite; the file is damaged or its training diverged: {path:?}"
    )]
    NotFinite {
        /// Its name in the file.
        tensor: String,
        /// The file.
        path: PathBuf,
    },

    /// The names of the tensors are of no family that is known here.
    #[error(
        "no known network among {n_tensors} tensors (the first are {first:?}); ResNet, ConvNeXt and ViT with the names of torchvision, timm, transformers or their authors are read: {path:?}"
    )]
    UnknownFamily {
        /// How many tensors there are.
        n_tensors: usize,
        /// Some of their names.
        first: Vec<String>,
        /// The file.
        path: PathBuf,
    },

    /// A tensor belongs to a part of the network that is not read, without which its features would be wrong.
    #[error(
        "tensor {tensor:?} belongs to a part of the network that is not read here; take a plain ResNet, ConvNeXt or ViT: {path:?}"
    )]
    UnknownPart {
        /// Its name in the file.
        tensor: String,
        /// The file.
        path: PathBuf,
    },

    /// The stage asked for is not in the file.
    #[error(
        "stage {asked} is not in the file, which has {present}; ask for one of these or take a complete file: {path:?}"
    )]
    StageAbsent {
        /// The stage asked for.
        asked: Stage,
        /// The stages that are there, in words.
        present: String,
        /// The file.
        path: PathBuf,
    },

    /// `config.json`, `preprocessor_config.json` or the metadata contradicts itself or the tensors.
    #[error("{what}; correct the entry or remove the file: {path:?}")]
    Config {
        /// What is wrong.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// An option does not fit the network.
    #[error("option {option} does not fit this network: {why}")]
    Option {
        /// The option.
        option: &'static str,
        /// Why not, and what to do.
        why: String,
    },

    /// The images are not what their sizes say, or of a size that the network cannot take.
    #[error("{what}")]
    Images {
        /// What is wrong.
        what: String,
    },

    /// A pixel is asked for that lies in none of the images.
    #[error(
        "pixel {index} at {pixel:?} lies outside the {n_views} images of {width}x{height}; drop the pairs that left the image"
    )]
    Pixel {
        /// Its place in the list.
        index: usize,
        /// The pixel.
        pixel: PixelRef,
        /// Images in the batch.
        n_views: usize,
        /// Columns of each.
        width: usize,
        /// Rows of each.
        height: usize,
    },

    /// A network of the Hub could not be had.
    #[error(transparent)]
    Hub(#[from] HubError),

    /// Maps cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),

    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

// Results are returned from every call, so the error must not make them large.
const _: () = assert!(std::mem::size_of::<TeacherError>() <= 128);
