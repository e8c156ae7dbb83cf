//! The residual block of the family.

use candle_nn::VarBuilder;
use ppkt_sparse::{
    After, BatchNorm, ConvInit, ConvSpec, DEFAULT_BN_MOMENTUM, Pointwise, SparseConv3d, SparseError,
    SparseTensor, Tape, TapeValue, cat,
};

use crate::folded::{FoldedBlock, FoldedStage};

/// Two 3×3×3 convolutions and a shortcut: `relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x))`.
///
/// The momentum of a network reaches only the shortcut's norm: the published code hands it to the function that makes
/// a stage, which does not hand it on to the blocks, so `norm1` and `norm2` keep 0.1. Who compares running statistics
/// with a published network needs the same.
#[derive(Debug, Clone)]
pub(crate) struct BasicBlock {
    conv1: SparseConv3d,
    norm1: BatchNorm,
    conv2: SparseConv3d,
    norm2: BatchNorm,
    downsample: Option<(Pointwise, BatchNorm)>,
}

impl BasicBlock {
    pub(crate) fn new(
        cin: usize,
        cout: usize,
        bn_momentum: f64,
        vb: VarBuilder,
    ) -> Result<Self, SparseError> {
        let spec = ConvSpec::new(3, 1);
        let downsample = if cin == cout {
            None
        } else {
            let vb = vb.pp("downsample");
            let shortcut = Pointwise::without_bias(cin, cout, ConvInit::default(), vb.pp("0"))?;
            Some((shortcut, BatchNorm::new(cout, bn_momentum, vb.pp("1"))?))
        };
        Ok(Self {
            conv1: SparseConv3d::new(cin, cout, spec, vb.pp("conv1"))?,
            norm1: BatchNorm::new(cout, DEFAULT_BN_MOMENTUM, vb.pp("norm1"))?,
            conv2: SparseConv3d::new(cout, cout, spec, vb.pp("conv2"))?,
            norm2: BatchNorm::new(cout, DEFAULT_BN_MOMENTUM, vb.pp("norm2"))?,
            downsample,
        })
    }

    fn folded(&self) -> Result<FoldedBlock, SparseError> {
        let shortcut = self.downsample.as_ref().map(|(conv, norm)| conv.folded(Some(norm), false));
        Ok(FoldedBlock {
            conv1: self.conv1.folded(Some(&self.norm1), true)?,
            conv2: self.conv2.folded(Some(&self.norm2), true)?,
            shortcut: shortcut.transpose()?,
        })
    }

    /// On a tape, of tensors side by side; several only where there is a shortcut with a convolution.
    fn record(&self, tape: &mut Tape, inputs: &[&TapeValue]) -> Result<TapeValue, SparseError> {
        let y = tape.unit(inputs, &self.conv1, After::NormRelu(&self.norm1))?;
        let shortcut = match &self.downsample {
            Some((conv, norm)) => tape.unit(inputs, conv, After::Norm(norm))?,
            None => inputs[0].clone(),
        };
        tape.unit(&[&y], &self.conv2, After::NormAddRelu(&self.norm2, &shortcut))
    }

    fn forward(&self, x: &SparseTensor, train: bool) -> Result<SparseTensor, SparseError> {
        let y = self.conv1.forward(x)?;
        let shortcut = self.downsample.as_ref().map(|(conv, _)| conv.forward(x)).transpose()?;
        self.finish(y, shortcut, x, train)
    }

    /// Of two tensors side by side, which are not put together. A block of two has a shortcut with a convolution: its
    /// input has more channels than its result, so there is nothing that could be added as it is.
    fn forward_cat(
        &self,
        left: &SparseTensor,
        right: &SparseTensor,
        train: bool,
    ) -> Result<SparseTensor, SparseError> {
        let Some((conv, _)) = &self.downsample else {
            return self.forward(&cat(&[left, right])?, train);
        };
        let y = self.conv1.forward_cat(left, right)?;
        let shortcut = conv.forward_cat(left, right)?;
        self.finish(y, Some(shortcut), left, train)
    }

    /// From the result of the first convolution and of the shortcut's, or, where there is none, the input.
    fn finish(
        &self,
        y: SparseTensor,
        shortcut: Option<SparseTensor>,
        x: &SparseTensor,
        train: bool,
    ) -> Result<SparseTensor, SparseError> {
        let y = self.conv2.forward(&self.norm1.forward_relu(&y, train)?)?;
        match (&self.downsample, shortcut) {
            (Some((_, norm)), Some(shortcut)) => {
                self.norm2.forward_add_relu(&y, &norm.forward(&shortcut, train)?, train)
            }
            _ => self.norm2.forward_add_relu(&y, x, train),
        }
    }
}

/// The blocks of one stage; only the first changes the number of channels.
#[derive(Debug, Clone)]
pub(crate) struct Stage(Vec<BasicBlock>);

impl Stage {
    pub(crate) fn new(
        cin: usize,
        cout: usize,
        blocks: usize,
        bn_momentum: f64,
        vb: VarBuilder,
    ) -> Result<Self, SparseError> {
        let block = |i: usize| BasicBlock::new(if i == 0 { cin } else { cout }, cout, bn_momentum, vb.pp(i));
        Ok(Self((0..blocks).map(block).collect::<Result<_, _>>()?))
    }

    pub(crate) fn folded(&self) -> Result<FoldedStage, SparseError> {
        Ok(FoldedStage(self.0.iter().map(BasicBlock::folded).collect::<Result<_, _>>()?))
    }

    /// On a tape, of tensors side by side, which are given up.
    pub(crate) fn record(&self, tape: &mut Tape, inputs: Vec<TapeValue>) -> Result<TapeValue, SparseError> {
        self.0
            .iter()
            .try_fold(inputs, |inputs, block| {
                Ok(vec![block.record(tape, &inputs.iter().collect::<Vec<_>>())?])
            })
            .map(|mut result: Vec<_>| result.swap_remove(0))
    }

    pub(crate) fn forward(&self, x: SparseTensor, train: bool) -> Result<SparseTensor, SparseError> {
        self.0.iter().try_fold(x, |x, block| block.forward(&x, train))
    }

    /// Of two tensors side by side.
    pub(crate) fn forward_cat(
        &self,
        left: &SparseTensor,
        right: &SparseTensor,
        train: bool,
    ) -> Result<SparseTensor, SparseError> {
        let Some((first, rest)) = self.0.split_first() else { return cat(&[left, right]) };
        rest.iter().try_fold(first.forward_cat(left, right, train)?, |x, block| block.forward(&x, train))
    }
}
