//! Activations as a tensor, in one of two orders.

use candle_core::{Result, Tensor};

/// Activations, contiguous.
///
/// Dense convolutions and pooling of candle take planes, norms, linear layers and attention take pixels. A map stays as it
/// was made until an operation wants the other order: a residual network is planes from the stem to its last stage, a
/// transformer is pixels throughout.
#[derive(Clone)]
pub(crate) enum Map {
    /// `[n, C, h, w]`
    Planes(Tensor),
    /// `[n, h, w, C]`
    Pixels(Tensor),
}

impl Map {
    /// As `[n, C, h, w]`.
    pub(super) fn planes(&self) -> Result<Tensor> {
        match self {
            Self::Planes(values) => Ok(values.clone()),
            Self::Pixels(values) => values.permute((0, 3, 1, 2))?.contiguous(),
        }
    }

    /// As `[n, h, w, C]`.
    pub(super) fn pixels(&self) -> Result<Tensor> {
        match self {
            Self::Planes(values) => values.permute((0, 2, 3, 1))?.contiguous(),
            Self::Pixels(values) => Ok(values.clone()),
        }
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> [usize; 2] {
        match self {
            Self::Planes(values) => [values.dims()[2], values.dims()[3]],
            Self::Pixels(values) => [values.dims()[1], values.dims()[2]],
        }
    }
}
