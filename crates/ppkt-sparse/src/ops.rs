//! Operations on whole sparse tensors that look at no neighbours.

use crate::dense::{cat_rows, relu_rows};
use crate::{SparseError, SparseTensor};

/// `max(x, 0)`; its derivative at 0 is 0, and NaN stays NaN.
///
/// # Errors
/// Only candle's.
pub fn relu(x: &SparseTensor) -> Result<SparseTensor, SparseError> {
    x.with_features(relu_rows(x.features())?)
}

/// Sum of two tensors on the same voxels.
///
/// # Shapes
/// `[N, C]` each; result `[N, C]`.
///
/// # Errors
/// [`SparseError::DifferentCoordinates`]; candle's, where the channels differ.
pub fn add(left: &SparseTensor, right: &SparseTensor) -> Result<SparseTensor, SparseError> {
    left.check_same_coords(right, "add")?;
    left.with_features((left.features() + right.features())?)
}

/// Channels of several tensors on the same voxels, side by side in the order given.
///
/// # Shapes
/// `[N, C₁]`, `[N, C₂]`, …; result `[N, C₁ + C₂ + …]`.
///
/// # Errors
/// [`SparseError::DifferentCoordinates`]; [`SparseError::Shape`] for an empty list.
pub fn cat(tensors: &[&SparseTensor]) -> Result<SparseTensor, SparseError> {
    let Some((first, rest)) = tensors.split_first() else {
        let expected = "a list of at least one tensor".to_owned();
        return Err(SparseError::Shape { op: "cat", what: "the input", expected, got: vec![0] });
    };
    let mut features = first.features().clone();
    for other in rest {
        first.check_same_coords(other, "cat")?;
        features = cat_rows(&features, other.features())?;
    }
    first.with_features(features)
}
