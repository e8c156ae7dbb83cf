//! The network: four levels down, four up, with skips.

use candle_nn::VarBuilder;
use ppkt_sparse::{
    After, BatchNorm, ConvSpec, Pointwise, Precision, Recompute, SparseConv3d, SparseConvTranspose3d,
    SparseError, SparseTensor, Tape, TapeOptions, TapeValue,
};

use crate::block::Stage;
use crate::folded::{FoldedMinkUNet, Level};
use crate::{MinkUNetConfig, Plan, StudentError};

/// A sparse residual U-Net, from voxels to one vector a voxel.
///
/// Published as MinkUNet ([Choy et al. 2019](https://arxiv.org/abs/1904.08755)), Res16UNet and SR-UNet; names, shapes
/// and the order of everything are MinkowskiEngine's, so that state dicts carry over.
///
/// ```text
/// conv0p1s1 ─ bn0 ──────────────────────────── p1 ───────────────────────────── cat ─ block8 ─ final
///   conv1p1s2 ─ bn1 ─ block1 ───────────────── p2 ────────────── cat ─ block7 ─ convtr7p2s2
///     conv2p2s2 ─ bn2 ─ block2 ─────────────── p4 ─ cat ─ block6 ─ convtr6p4s2
///       conv3p4s2 ─ bn3 ─ block3 ─ p8 ─ cat ─ block5 ─ convtr5p8s2
///         conv4p8s2 ─ bn4 ─ block4 ─ convtr4p16s2
/// ```
///
/// A ReLU follows each norm outside the blocks, and concatenations put the upsampled channels before the skip's.
#[derive(Debug, Clone)]
pub struct MinkUNet {
    in_channels: usize,
    precision: Precision,
    stem: SparseConv3d,
    stem_norm: BatchNorm,
    down: Vec<Down>,
    up: Vec<Up>,
    head: Pointwise,
}

#[derive(Debug, Clone)]
struct Down {
    conv: SparseConv3d,
    norm: BatchNorm,
    stage: Stage,
}

#[derive(Debug, Clone)]
struct Up {
    conv: SparseConvTranspose3d,
    norm: BatchNorm,
    stage: Stage,
}

const HALVE: ConvSpec = ConvSpec::new(2, 2);

impl MinkUNet {
    /// The network that the configuration names.
    ///
    /// # Errors
    /// [`StudentError::FirstKernel`], [`StudentError::Setting`]; candle's, where the builder reads a file that lacks a
    /// tensor.
    pub fn new(config: &MinkUNetConfig, vb: VarBuilder) -> Result<Self, StudentError> {
        Self::with_plan(&config.arch.plan(), config, vb)
    }

    /// A network with channels and depths of one's own; `config.arch` is not looked at.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_plan(plan: &Plan, config: &MinkUNetConfig, vb: VarBuilder) -> Result<Self, StudentError> {
        config.check()?;
        let (planes, momentum) = (plan.planes, config.bn_momentum);
        let mut width = plan.init_planes;
        let stem = SparseConv3d::new(
            config.in_channels,
            width,
            ConvSpec::new(config.first_kernel, 1),
            vb.pp("conv0p1s1"),
        )?;
        let stem_norm = BatchNorm::new(width, momentum, vb.pp("bn0"))?;

        let mut down = Vec::new();
        for (level, &out) in planes[..4].iter().enumerate() {
            let (n, stride) = (level + 1, 1 << level);
            down.push(Down {
                conv: SparseConv3d::new(width, width, HALVE, vb.pp(format!("conv{n}p{stride}s2")))?,
                norm: BatchNorm::new(width, momentum, vb.pp(format!("bn{n}")))?,
                stage: Stage::new(width, out, plan.layers[level], momentum, vb.pp(format!("block{n}")))?,
            });
            width = out;
        }

        let skips = [planes[2], planes[1], planes[0], plan.init_planes];
        let mut up = Vec::new();
        for (level, skip) in skips.into_iter().enumerate() {
            let (n, stride, out) = (level + 4, 16 >> level, planes[level + 4]);
            up.push(Up {
                conv: SparseConvTranspose3d::new(width, out, HALVE, vb.pp(format!("convtr{n}p{stride}s2")))?,
                norm: BatchNorm::new(out, momentum, vb.pp(format!("bntr{n}")))?,
                stage: Stage::new(
                    out + skip,
                    out,
                    plan.layers[level + 4],
                    momentum,
                    vb.pp(format!("block{}", n + 1)),
                )?,
            });
            width = out;
        }
        let head = Pointwise::new(width, config.out_channels, vb.pp("final"))?;
        Ok(Self {
            in_channels: config.in_channels,
            precision: Precision::F32,
            stem,
            stem_norm,
            down,
            up,
            head,
        })
    }

    /// The same network, which computes with numbers of another precision in [`Self::forward`] and [`Self::backbone`]:
    /// see [`TapeOptions::precision`]. Weights and results stay f32, and so does [`Self::folded`].
    ///
    /// # Errors
    /// As [`Precision::check_on`], of the device of the weights.
    pub fn with_precision(self, precision: Precision) -> Result<Self, StudentError> {
        precision.check_on(self.stem.device())?;
        Ok(Self { precision, ..self })
    }

    /// One vector a voxel, not normalised: embeddings (see [`unit_norm`](crate::unit_norm)) or class scores.
    ///
    /// `train` normalises by the batch and moves the running statistics; it needs at least two voxels at the coarsest
    /// level, stride 16.
    ///
    /// The whole network is one operation of candle's graph, a [`Tape`], which keeps far less for the backward pass than
    /// a graph of single layers; what it keeps is used up by the first backward pass.
    ///
    /// # Shapes
    /// `[N, in_channels]` to `[N, out_channels]`, on the same voxels.
    ///
    /// # Errors
    /// [`StudentError::InputChannels`]; [`SparseError`]'s.
    pub fn forward(&self, x: &SparseTensor, train: bool) -> Result<SparseTensor, StudentError> {
        self.forward_with(x, train, Recompute::default())
    }

    /// As [`Self::forward`], with a choice of what the backward pass computes again: the same bits, in less memory and
    /// more time.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_with(
        &self,
        x: &SparseTensor,
        train: bool,
        recompute: Recompute,
    ) -> Result<SparseTensor, StudentError> {
        self.check_channels(x)?;
        let (mut tape, x) = Tape::with_options(x, self.options(train, recompute))?;
        let y = self.record(&mut tape, x)?;
        let y = tape.unit(&[&y], &self.head, After::Nothing)?;
        Ok(tape.finish(y)?)
    }

    /// The most bytes that [`Self::forward_with`] in training and its backward pass have in use at one time, in addition
    /// to the parameters and the input; the gradients of the parameters included. Nothing is computed but kernel maps
    /// on the processor.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn training_memory(&self, x: &SparseTensor, recompute: Recompute) -> Result<usize, StudentError> {
        self.check_channels(x)?;
        let (mut tape, x) = Tape::that_counts(x, self.options(true, recompute))?;
        let y = self.record(&mut tape, x)?;
        let y = tape.unit(&[&y], &self.head, After::Nothing)?;
        Ok(tape.bytes(y)?)
    }

    fn options(&self, train: bool, recompute: Recompute) -> TapeOptions {
        TapeOptions { train, precision: self.precision, recompute }
    }

    /// The network for inference, every norm folded into its convolution: a snapshot of the present weights and running
    /// statistics, which later training does not reach.
    ///
    /// # Errors
    /// [`SparseError::Simd`].
    pub fn folded(&self) -> Result<FoldedMinkUNet, StudentError> {
        let down =
            |d: &Down| Ok(Level { conv: d.conv.folded(Some(&d.norm), true)?, stage: d.stage.folded()? });
        let up = |u: &Up| Ok(Level { conv: u.conv.folded(Some(&u.norm), true)?, stage: u.stage.folded()? });
        Ok(FoldedMinkUNet {
            in_channels: self.in_channels,
            stem: self.stem.folded(Some(&self.stem_norm), true)?,
            down: self.down.iter().map(down).collect::<Result<_, SparseError>>()?,
            up: self.up.iter().map(up).collect::<Result<_, SparseError>>()?,
            head: self.head.folded(None, false)?,
        })
    }

    /// As [`Self::forward`], and shows the result of every stage to `see` on the way, under the name of the layer that
    /// gave it: for finding where values go astray. Here each layer is an operation of candle's graph, with the same
    /// bits forward; gradients differ in the last bits, and take more memory.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_traced(
        &self,
        x: &SparseTensor,
        train: bool,
        see: &mut dyn FnMut(&str, &SparseTensor),
    ) -> Result<SparseTensor, StudentError> {
        self.check_channels(x)?;
        let y = self.head.forward(&self.run(x, train, see)?)?;
        see("final", &y);
        Ok(y)
    }

    /// First parts of the names of all tensors, in the order of the forward pass.
    pub fn stages() -> Vec<String> {
        let stem = ["conv0p1s1", "bn0"].map(String::from);
        let down = (1..=4)
            .flat_map(|n| [format!("conv{n}p{}s2", 1 << (n - 1)), format!("bn{n}"), format!("block{n}")]);
        let up = (4..=7).flat_map(|n| {
            [format!("convtr{n}p{}s2", 256 >> n), format!("bntr{n}"), format!("block{}", n + 1)]
        });
        stem.into_iter().chain(down).chain(up).chain(["final".to_owned()]).collect()
    }

    /// The features before `final`: what a new head is put on.
    ///
    /// # Shapes
    /// `[N, in_channels]` to `[N, planes[7]]`, on the same voxels.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn backbone(&self, x: &SparseTensor, train: bool) -> Result<SparseTensor, StudentError> {
        self.check_channels(x)?;
        let (mut tape, x) = Tape::with_options(x, self.options(train, Recompute::default()))?;
        let y = self.record(&mut tape, x)?;
        Ok(tape.finish(y)?)
    }

    fn check_channels(&self, x: &SparseTensor) -> Result<(), StudentError> {
        if x.channels() == self.in_channels {
            return Ok(());
        }
        Err(StudentError::InputChannels { expected: self.in_channels, got: x.channels() })
    }

    /// Only the last layer: [`Self::forward`] is `head` of [`Self::backbone`].
    ///
    /// # Errors
    /// candle's, where the channels are not the backbone's.
    pub fn head(&self, features: &SparseTensor) -> Result<SparseTensor, StudentError> {
        Ok(self.head.forward(features)?)
    }

    /// Everything but the head, on a tape.
    fn record(&self, tape: &mut Tape, x: TapeValue) -> Result<TapeValue, SparseError> {
        let mut y = tape.unit(&[&x], &self.stem, After::NormRelu(&self.stem_norm))?;
        let mut skips = Vec::with_capacity(self.down.len());
        for down in &self.down {
            let coarse = tape.unit(&[&y], &down.conv, After::NormRelu(&down.norm))?;
            skips.push(y);
            y = down.stage.record(tape, vec![coarse])?;
        }
        for up in &self.up {
            let fine = tape.unit(&[&y], &up.conv, After::NormRelu(&up.norm))?;
            let inputs = [fine].into_iter().chain(skips.pop()).collect();
            y = up.stage.record(tape, inputs)?;
        }
        Ok(y)
    }

    fn run(
        &self,
        x: &SparseTensor,
        train: bool,
        see: &mut dyn FnMut(&str, &SparseTensor),
    ) -> Result<SparseTensor, SparseError> {
        let mut y = self.stem_norm.forward_relu(&self.stem.forward(x)?, train)?;
        see("bn0", &y);
        let mut skips = Vec::with_capacity(self.down.len());
        for (level, down) in self.down.iter().enumerate() {
            let coarse = down.norm.forward_relu(&down.conv.forward(&y)?, train)?;
            see(&format!("bn{}", level + 1), &coarse);
            skips.push(y);
            y = down.stage.forward(coarse, train)?;
            see(&format!("block{}", level + 1), &y);
        }
        for (level, (up, skip)) in self.up.iter().zip(skips.iter().rev()).enumerate() {
            let fine = up.norm.forward_relu(&up.conv.forward(&y)?, train)?;
            see(&format!("bntr{}", level + 4), &fine);
            y = up.stage.forward_cat(&fine, skip, train)?;
            see(&format!("block{}", level + 5), &y);
        }
        Ok(y)
    }
}
