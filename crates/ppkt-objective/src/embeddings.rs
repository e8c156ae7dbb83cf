//! What goes into an objective and what comes out.

use candle_core::Tensor;

use crate::error::ObjectiveError;

/// Embeddings of M pairs: row `i` of both sides sees the same surface.
///
/// Both sides are raw: every objective normalises its rows itself (`x / max(|x|, 1e-12)`), with the gradient of
/// that, so that no caller has to.
///
/// # Shapes
/// `[M, D]` each, f32, on one device, in any memory layout (made contiguous where needed).
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// What the 3D network says about the point of each pair.
    pub point: Tensor,
    /// What the teacher's projection says about the pixel of each pair.
    pub pixel: Tensor,
}

/// A loss and what was learnt on the way.
#[derive(Debug, Clone)]
pub struct Loss {
    /// A scalar that `backward` can be called on.
    pub value: Tensor,
    /// Rows whose own pixel is the nearest, a scalar on the device of the embeddings.
    pub(crate) hits: Tensor,
    /// M.
    pub(crate) n_rows: usize,
}

impl Loss {
    /// Share of rows whose own pixel is the nearest of all pixels in the batch, from 0 to 1. Waits for the device.
    ///
    /// Another pixel exactly as near counts against the row. Chance is 1 / M.
    ///
    /// # Errors
    /// candle's, as of a device that has failed.
    pub fn retrieval_at_1(&self) -> candle_core::Result<f32> {
        Ok(self.hits.to_scalar::<f32>()? / self.n_rows as f32)
    }
}

/// A measure of how far points and their pixels are from each other.
pub trait Objective: Send + Sync {
    /// A short name for logs and configurations.
    fn name(&self) -> &str;

    /// The loss of a batch, differentiable by both sides.
    ///
    /// # Errors
    /// If the sides differ in shape or device or are empty, are not f32, or hold a value that is not finite; on a GPU,
    /// where looking would make the host wait, the loss is not finite then.
    fn loss(&self, embeddings: &Embeddings) -> Result<Loss, ObjectiveError>;
}
