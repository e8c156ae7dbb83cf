//! Sections `net`, `linearity` and `memory`: whole steps of MinkUNet34C.

use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ppkt_objective::SegmentationLoss;
use ppkt_sparse::{Precision, SparseTensor, TapeSpan, VarStore, backward, tape_spans};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};
use ppkt_train::{Optimizer, OptimizerConfig};

use super::case::Work;
use super::input::{Noise, VoxelSet};
use super::network::{coarsen, flop};
use super::runner::Runner;

/// Classes that the network tells apart: as many as ScanNet has, and as many as the peers' script takes.
pub(super) const CLASSES: usize = 20;

/// The network that is published most often, with MinkowskiEngine's own first kernel.
pub(super) const CONFIG: MinkUNetConfig = MinkUNetConfig {
    arch: Arch::MinkUNet34C,
    in_channels: 3,
    out_channels: CLASSES,
    first_kernel: 5,
    bn_momentum: 0.1,
};

/// Seconds of a step and of its parts.
#[derive(Debug, Default)]
pub(super) struct StepParts {
    /// Everything, and freeing what it made.
    pub(super) whole: f64,
    /// Sorting the voxels.
    pub(super) sort: f64,
    /// The network forward, kernel maps included.
    pub(super) forward: f64,
    /// What the network's tape did in it.
    pub(super) forward_spans: Vec<TapeSpan>,
    /// The loss, forward.
    pub(super) loss: f64,
    /// Backward through loss and network.
    pub(super) backward: f64,
    /// What the network's tape did in it.
    pub(super) backward_spans: Vec<TapeSpan>,
    /// The optimiser's.
    pub(super) update: f64,
}

/// A network that is trained on one set of voxels.
pub(super) struct Training {
    coords: Vec<[i32; 4]>,
    features: Tensor,
    labels: Vec<u16>,
    net: MinkUNet,
    store: VarStore,
    optimizer: Optimizer,
    lr: f64,
}

impl Training {
    /// Random weights, colours and labels.
    pub(super) fn new(coords: Vec<[i32; 4]>) -> Result<Self> {
        Self::with_precision(coords, Precision::F32)
    }

    /// The same in another precision.
    fn with_precision(coords: Vec<[i32; 4]>, precision: Precision) -> Result<Self> {
        let n = coords.len();
        let features = Tensor::from_vec(Noise::new(4).take(3 * n), (n, 3), &Device::Cpu)?;
        // From 1: 0 would be "unlabelled".
        let class = |i: u32| 1 + (i.wrapping_mul(2_654_435_761) >> 16) % CLASSES as u32;
        let labels = (0..n as u32).map(|i| class(i) as u16).collect();
        let store = VarStore::new(0);
        let net = MinkUNet::new(&CONFIG, store.builder(&Device::Cpu))?.with_precision(precision)?;
        let config = OptimizerConfig { lr: 0.01, dampening: 0.0, weight_decay: 0.0, ..Default::default() };
        let optimizer = Optimizer::new(&config, store.trainable())?;
        Ok(Self { coords, features, labels, net, store, optimizer, lr: config.lr })
    }

    /// Voxels sorted, with their features: nothing is kept from one step to the next.
    pub(super) fn input(&self) -> Result<SparseTensor> {
        Ok(SparseTensor::new(&self.coords, self.features.clone())?.0)
    }

    /// Kernel maps, forward, cross-entropy, backward, SGD.
    pub(super) fn step(&mut self) -> Result<Tensor> {
        let scores = self.net.forward(&self.input()?, true)?;
        let loss = self.loss(scores.features())?;
        let gradients = backward(&loss)?;
        self.optimizer.step(&gradients, self.lr, 1.0)?;
        Ok(loss)
    }

    /// Cross-entropy over the classes.
    pub(super) fn loss(&self, scores: &Tensor) -> Result<Tensor> {
        Ok(SegmentationLoss::default().loss(scores, &self.labels)?.value)
    }

    /// The same step, with the seconds of its parts.
    pub(super) fn step_in_parts(&mut self) -> Result<StepParts> {
        let mut parts = StepParts::default();
        let begin = Instant::now();
        let mut mark = begin;
        let mut lap = |part: &mut f64| {
            let now = Instant::now();
            *part = (now - mark).as_secs_f64();
            mark = now;
        };
        let input = self.input()?;
        lap(&mut parts.sort);
        let (scores, forward_spans) = tape_spans(|| self.net.forward(&input, true));
        let scores = scores?;
        lap(&mut parts.forward);
        let loss = self.loss(scores.features())?;
        lap(&mut parts.loss);
        let (gradients, backward_spans) = tape_spans(|| backward(&loss));
        let gradients = gradients?;
        lap(&mut parts.backward);
        self.optimizer.step(&gradients, self.lr, 1.0)?;
        lap(&mut parts.update);
        drop((input, scores, loss, gradients));
        parts.whole = begin.elapsed().as_secs_f64();
        (parts.forward_spans, parts.backward_spans) = (forward_spans, backward_spans);
        Ok(parts)
    }

    /// Numbers that are trained.
    pub(super) fn parameters(&self) -> usize {
        self.store.parameter_count()
    }

    fn flop(&self, train: bool) -> Result<f64> {
        let input = self.input()?;
        coarsen(input.manager())?;
        flop(&CONFIG, input.manager(), train)
    }
}

fn thousands(n: usize) -> String {
    if n < 1_000_000 { format!("{}k", n / 1000) } else { format!("{}M", n / 1_000_000) }
}

/// Training step, in f32 and where the processor has it in bf16, and inference at the sizes of the goals.
pub(super) fn run(runner: &mut Runner) -> Result<()> {
    for n in [20_000, 100_000] {
        let VoxelSet { coords, name } = runner.inputs.voxels(n)?;
        runner.on(&name);
        let size = thousands(n);
        let mut training = Training::new(coords.clone())?;
        if !(runner.quick && n > 20_000) {
            let work = Work::new(training.flop(true)?, 0.0);
            runner.case(&format!("34C training step, {size}"), work, || training.step())?;
        }
        let work = Work::new(training.flop(false)?, 0.0);
        let folded = training.net.folded()?;
        runner.case(&format!("34C inference, {size}"), work, || Ok(folded.forward(&training.input()?)?))?;
        drop(training);
        if Precision::Bf16.check_on(&Device::Cpu).is_ok() && !(runner.quick && n > 20_000) {
            let mut training = Training::with_precision(coords, Precision::Bf16)?;
            let work = Work::new(training.flop(true)?, 0.0);
            runner.case(&format!("34C training step, {size}, bf16"), work, || training.step())?;
        }
    }
    Ok(())
}

/// A training step on rooms of one kind and many sizes.
pub(super) fn linearity(runner: &mut Runner) -> Result<()> {
    let sizes: &[usize] =
        if runner.quick { &[20_000, 50_000] } else { &[20_000, 50_000, 100_000, 300_000, 1_000_000] };
    // One kind of surface at all sizes, wherever the other sections get theirs from.
    let inputs = super::input::Inputs::default();
    for &n in sizes {
        let name = format!("34C training step, room of {}", thousands(n));
        if !runner.wants_alone(&name) {
            continue;
        }
        let set = inputs.voxels(n)?;
        runner.on(&format!("{} voxels", set.coords.len()));
        let mut training = Training::new(set.coords)?;
        let work = Work::new(training.flop(true)?, 0.0);
        runner.alone(&name, work, || training.step())?;
    }
    Ok(())
}

/// Peak memory of one case; the process must have run no other.
pub(super) fn memory(runner: &mut Runner, n: usize) -> Result<()> {
    let VoxelSet { coords, name } = runner.inputs.voxels(n)?;
    runner.on(&name);
    let size = thousands(n);
    runner.memory(&format!("34C training step, {size}"), || {
        let mut training = Training::new(coords)?;
        // A second step finds the first one's pages, if nothing is kept that should not be.
        training.step().context("the first step")?;
        training.step().context("the second step")
    })
}
