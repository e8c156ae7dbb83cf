//! The network for inference: every norm folded into the convolution before it.

use ppkt_sparse::{FoldedConv, SparseError, SparseTensor, cat};

use crate::StudentError;

/// What [`MinkUNet::forward`](crate::MinkUNet::forward) computes in evaluation, up to rounding, without a pass over
/// memory for norm, residual and ReLU. Made by [`MinkUNet::folded`](crate::MinkUNet::folded) from a trained network.
///
/// A snapshot: weights and statistics are copied, and later training of the network that it was made from does not
/// reach it. It holds no variables and records nothing for a gradient.
#[derive(Debug, Clone)]
pub struct FoldedMinkUNet {
    pub(crate) in_channels: usize,
    pub(crate) stem: FoldedConv,
    pub(crate) down: Vec<Level>,
    pub(crate) up: Vec<Level>,
    pub(crate) head: FoldedConv,
}

/// A change of resolution and the blocks after it.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    pub(crate) conv: FoldedConv,
    pub(crate) stage: FoldedStage,
}

impl FoldedMinkUNet {
    /// One vector a voxel, not normalised: embeddings (see [`unit_norm`](crate::unit_norm)) or class scores.
    ///
    /// # Shapes
    /// `[N, in_channels]` to `[N, out_channels]`, on the same voxels.
    ///
    /// # Errors
    /// [`StudentError::InputChannels`]; [`SparseError`]'s.
    pub fn forward(&self, x: &SparseTensor) -> Result<SparseTensor, StudentError> {
        Ok(self.head.forward(&[&self.backbone(x)?], None)?)
    }

    /// The features before the last layer.
    ///
    /// # Shapes
    /// `[N, in_channels]` to `[N, planes[7]]`, on the same voxels.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn backbone(&self, x: &SparseTensor) -> Result<SparseTensor, StudentError> {
        if x.channels() != self.in_channels {
            return Err(StudentError::InputChannels { expected: self.in_channels, got: x.channels() });
        }
        let mut y = self.stem.forward(&[x], None)?;
        let mut skips = Vec::with_capacity(self.down.len());
        for level in &self.down {
            let coarse = level.conv.forward(&[&y], None)?;
            skips.push(y);
            y = level.stage.forward(&[&coarse])?;
        }
        for level in &self.up {
            let fine = level.conv.forward(&[&y], None)?;
            y = match skips.pop() {
                Some(skip) => level.stage.forward(&[&fine, &skip])?,
                None => level.stage.forward(&[&fine])?,
            };
        }
        Ok(y)
    }
}

/// A residual block: `relu(conv2(relu(conv1(x))) + shortcut(x))`, norms folded in.
#[derive(Debug, Clone)]
pub(crate) struct FoldedBlock {
    pub(crate) conv1: FoldedConv,
    pub(crate) conv2: FoldedConv,
    pub(crate) shortcut: Option<FoldedConv>,
}

impl FoldedBlock {
    /// Of tensors side by side.
    fn forward(&self, inputs: &[&SparseTensor]) -> Result<SparseTensor, SparseError> {
        let y = self.conv1.forward(inputs, None)?;
        let shortcut = match (&self.shortcut, inputs) {
            (Some(conv), _) => conv.forward(inputs, None)?,
            (None, [x]) => (*x).clone(),
            (None, _) => cat(inputs)?,
        };
        self.conv2.forward(&[&y], Some(&shortcut))
    }
}

/// The blocks of one stage.
#[derive(Debug, Clone)]
pub(crate) struct FoldedStage(pub(crate) Vec<FoldedBlock>);

impl FoldedStage {
    /// Of tensors side by side.
    fn forward(&self, inputs: &[&SparseTensor]) -> Result<SparseTensor, SparseError> {
        let Some((first, rest)) = self.0.split_first() else { return cat(inputs) };
        rest.iter().try_fold(first.forward(inputs)?, |x, block| block.forward(&[&x]))
    }
}
