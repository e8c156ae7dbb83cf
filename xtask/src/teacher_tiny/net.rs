//! The network: a residual network of narrow basic blocks, with torchvision's names, and heads for training.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::ops::{Convolution, MaxPool, Moments, Norm, Window};

/// Widths of the stages; the stem has the first.
pub(crate) const WIDTHS: [usize; 3] = [32, 64, 128];
/// Blocks of each stage.
pub(crate) const BLOCKS: [usize; 3] = [2, 2, 2];
/// Kernel of the stem.
const STEM: usize = 7;
const EPS: f32 = 1e-5;
/// How much of a new batch enters the running statistics.
const MOMENTUM: f64 = 0.05;

/// Whether batch norms use the batch or the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Train,
    Eval,
}

/// Parameters and buffers by name. Convolutions are kept as `[K, O]`, K ordered row, column, channel, and leave for
/// the file as torchvision's `[O, C, row, column]`.
pub(crate) struct Net {
    pub(crate) params: BTreeMap<String, Var>,
    pub(crate) buffers: BTreeMap<String, Var>,
    kernels: BTreeMap<String, usize>,
}

/// What the stages give, each `[B, h, w, C]`.
pub(crate) struct Features {
    pub(crate) layer2: Tensor,
    pub(crate) layer3: Tensor,
}

impl Net {
    /// A network from a seed: He's initialisation, each tensor from a stream of its own.
    pub(crate) fn new(seed: u64, n_classes: usize) -> Result<Self> {
        let mut net = Self { params: BTreeMap::new(), buffers: BTreeMap::new(), kernels: BTreeMap::new() };
        net.conv(seed, "conv1", STEM, 3, WIDTHS[0])?;
        net.norm("bn1", WIDTHS[0])?;
        let mut c = WIDTHS[0];
        for (stage, (&width, &n_blocks)) in WIDTHS.iter().zip(&BLOCKS).enumerate() {
            for block in 0..n_blocks {
                let name = format!("layer{}.{block}", stage + 1);
                net.conv(seed, &format!("{name}.conv1"), 3, c, width)?;
                net.norm(&format!("{name}.bn1"), width)?;
                net.conv(seed, &format!("{name}.conv2"), 3, width, width)?;
                net.norm(&format!("{name}.bn2"), width)?;
                if c != width {
                    net.conv(seed, &format!("{name}.downsample.0"), 1, c, width)?;
                    net.norm(&format!("{name}.downsample.1"), width)?;
                }
                c = width;
            }
        }
        // Heads: for every cell of a stage the classes of the label cells in it.
        for (name, width, side) in [("head2", WIDTHS[1], 2), ("head3", WIDTHS[2], 4)] {
            net.conv(seed, name, 1, width, side * side * n_classes)?;
            let bias = Tensor::zeros(side * side * n_classes, DType::F32, &Device::Cpu)?;
            net.params.insert(format!("{name}.bias"), Var::from_tensor(&bias)?);
        }
        Ok(net)
    }

    fn conv(&mut self, seed: u64, name: &str, kernel: usize, c: usize, o: usize) -> Result<()> {
        let fan_in = kernel * kernel * c;
        let name = format!("{name}.weight");
        // The stream is the tensor's number: its values don't depend on the order of drawing.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(self.params.len() as u64);
        let scale = (2.0 / fan_in as f64).sqrt();
        let values: Vec<f32> = (0..fan_in * o).map(|_| (normal(&mut rng) * scale) as f32).collect();
        self.kernels.insert(name.clone(), kernel);
        self.params.insert(name, Var::from_vec(values, (fan_in, o), &Device::Cpu)?);
        Ok(())
    }

    fn norm(&mut self, name: &str, c: usize) -> Result<()> {
        let (ones, zeros) =
            (Tensor::ones(c, DType::F32, &Device::Cpu)?, Tensor::zeros(c, DType::F32, &Device::Cpu)?);
        self.params.insert(format!("{name}.weight"), Var::from_tensor(&ones)?);
        self.params.insert(format!("{name}.bias"), Var::from_tensor(&zeros)?);
        self.buffers.insert(format!("{name}.running_mean"), Var::from_tensor(&zeros)?);
        self.buffers.insert(format!("{name}.running_var"), Var::from_tensor(&ones)?);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<&Var> {
        self.params
            .get(name)
            .or_else(|| self.buffers.get(name))
            .ok_or_else(|| anyhow::anyhow!("the network has no tensor {name:?}"))
    }

    fn convolve(&self, x: &Tensor, name: &str, stride: usize) -> Result<Tensor> {
        let name = format!("{name}.weight");
        let kernel = self.kernels[&name];
        let window = Window { kernel, stride, padding: kernel / 2 };
        Ok(x.apply_op2(self.get(&name)?, Convolution(window))?)
    }

    fn normalise(&self, x: &Tensor, name: &str, relu: bool, mode: Mode) -> Result<Tensor> {
        let tensor = |leaf: &str| self.get(&format!("{name}.{leaf}"));
        let (gamma, beta) = (tensor("weight")?, tensor("bias")?);
        let (mean, variance) = (tensor("running_mean")?, tensor("running_var")?);
        if mode == Mode::Eval {
            let scale = (gamma.as_tensor() / (variance.as_tensor() + f64::from(EPS))?.sqrt()?)?;
            let shift = (beta.as_tensor() - (mean.as_tensor() * &scale)?)?;
            let y = x.broadcast_mul(&scale)?.broadcast_add(&shift)?;
            return Ok(if relu { y.relu()? } else { y });
        }
        let moments: Arc<std::sync::Mutex<Moments>> = Arc::default();
        let y = x.apply_op3(gamma, beta, Norm { eps: EPS, relu, moments: Arc::clone(&moments) })?;
        let Ok(batch) = moments.lock().map(|m| m.clone()) else {
            anyhow::bail!("a thread panicked in batch norm")
        };
        let unbiased = batch.n as f64 / (batch.n as f64 - 1.0).max(1.0);
        let c = batch.mean.len();
        let towards = |old: &Var, new: Vec<f32>, factor: f64| -> Result<()> {
            let new = (Tensor::from_vec(new, c, &Device::Cpu)? * (MOMENTUM * factor))?;
            Ok(old.set(&((old.as_tensor() * (1.0 - MOMENTUM))? + new)?)?)
        };
        towards(mean, batch.mean, 1.0)?;
        towards(variance, batch.variance, unbiased)?;
        Ok(y)
    }

    /// x `[B, H, W, 3]`, normalised.
    pub(crate) fn features(&self, x: &Tensor, mode: Mode) -> Result<Features> {
        let x = self.convolve(x, "conv1", 2)?;
        let x = self.normalise(&x, "bn1", true, mode)?;
        let mut x = x.apply_op1(MaxPool(Window { kernel: 3, stride: 2, padding: 1 }))?;
        let mut stages = Vec::new();
        for (stage, &n_blocks) in BLOCKS.iter().enumerate() {
            for block in 0..n_blocks {
                let name = format!("layer{}.{block}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                x = self.block(&x, &name, stride, mode)?;
            }
            stages.push(x.clone());
        }
        let [_, layer2, layer3] =
            <[Tensor; 3]>::try_from(stages).map_err(|_| anyhow::anyhow!("three stages"))?;
        Ok(Features { layer2, layer3 })
    }

    fn block(&self, x: &Tensor, name: &str, stride: usize, mode: Mode) -> Result<Tensor> {
        let y = self.convolve(x, &format!("{name}.conv1"), stride)?;
        let y = self.normalise(&y, &format!("{name}.bn1"), true, mode)?;
        let y = self.convolve(&y, &format!("{name}.conv2"), 1)?;
        let y = self.normalise(&y, &format!("{name}.bn2"), false, mode)?;
        let shortcut = if self.params.contains_key(&format!("{name}.downsample.0.weight")) {
            let s = self.convolve(x, &format!("{name}.downsample.0"), stride)?;
            self.normalise(&s, &format!("{name}.downsample.1"), false, mode)?
        } else {
            x.clone()
        };
        Ok((y + shortcut)?.relu()?)
    }

    /// Class scores for every label cell: the features of a stage `[B, h, w, C]`, `side` label cells across one of its
    /// cells → `[B · h·side · w·side, classes]`, rows in the order of the label image.
    pub(crate) fn scores(&self, features: &Tensor, head: &str, side: usize) -> Result<Tensor> {
        let (b, h, w, c) = features.dims4()?;
        let weight = self.get(&format!("{head}.weight"))?;
        let bias = self.get(&format!("{head}.bias"))?;
        let n = bias.dims1()? / (side * side);
        let y = features.reshape((b * h * w, c))?.matmul(weight)?.broadcast_add(bias)?;
        // [b, h, w, row, column, class] → [b, h, row, w, column, class]
        let y = y.reshape((b * h, w, side, side * n))?.transpose(1, 2)?.contiguous()?;
        Ok(y.reshape((b * h * side * w * side, n))?)
    }

    /// All that the file holds, as torchvision shapes and names it: no heads.
    pub(crate) fn exported(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut out = BTreeMap::new();
        for (name, var) in self.params.iter().chain(&self.buffers) {
            if name.starts_with("head") {
                continue;
            }
            let tensor = match self.kernels.get(name) {
                Some(&k) => {
                    let (rows, o) = var.dims2()?;
                    var.reshape((k, k, rows / (k * k), o))?.permute((3, 2, 0, 1))?.contiguous()?
                }
                None => var.as_tensor().clone(),
            };
            out.insert(name.clone(), tensor.detach());
        }
        Ok(out)
    }

    /// Takes the numbers of exported tensors: those in the file after rounding.
    pub(crate) fn import(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, tensor) in tensors {
            let var = self.get(name)?;
            let tensor = tensor.to_dtype(DType::F32)?;
            match self.kernels.contains_key(name) {
                true => var.set(&tensor.permute((2, 3, 1, 0))?.contiguous()?.reshape(var.shape())?)?,
                false => var.set(&tensor)?,
            }
        }
        Ok(())
    }
}

/// Box and Muller's normal numbers.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let unit = |bits: u32| (f64::from(bits) + 0.5) / 4_294_967_296.0;
    let (u, v) = (unit(rng.next_u32()), unit(rng.next_u32()));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
