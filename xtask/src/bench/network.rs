//! The layers of a MinkUNet as work: what each multiplies and moves on a given set of voxels.

use std::sync::Arc;

use anyhow::Result;
use ppkt_sparse::{ConvSpec, CoordinateManager};
use ppkt_student::MinkUNetConfig;

use super::case::Work;

/// Bytes of an f32.
const F32: f64 = 4.0;
/// Bytes of a pair of a kernel map: the row that is read, and the row of the block that is written.
const PAIR: f64 = 5.0;

/// Work of one product of a convolution over `pairs` pairs, from `n` rows of `cin` channels to `m` rows of `cout`.
///
/// The three products (result, gradient of the features, gradient of the weights) multiply the same pairs and touch
/// the same three arrays, of which two are read and one is written.
pub(super) fn conv_work(
    pairs: usize,
    (n, m): (usize, usize),
    (cin, cout): (usize, usize),
    volume: usize,
) -> Work {
    let (pairs, n, m, cin, cout) = (pairs as f64, n as f64, m as f64, cin as f64, cout as f64);
    Work::new(
        2.0 * pairs * cin * cout,
        F32 * (n * cin + m * cout + volume as f64 * cin * cout) + PAIR * pairs,
    )
}

/// What a layer does with its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Stays on its voxels.
    SubManifold,
    /// To voxels twice as large.
    Strided,
    /// Back to the finer voxels.
    Transposed,
    /// A product with one matrix a row.
    Pointwise,
}

/// A convolution of the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Layer {
    /// First part of its tensors' names.
    pub(super) stage: String,
    /// Which kind.
    pub(super) kind: Kind,
    /// Edge of the kernel.
    pub(super) kernel: usize,
    /// Stride of the finer side.
    pub(super) stride: u32,
    /// Channels that are read.
    pub(super) cin: usize,
    /// Channels that are written.
    pub(super) cout: usize,
    /// Whether its input has no gradient: the first layer.
    pub(super) first: bool,
    /// What follows.
    pub(super) after: After,
}

/// What follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum After {
    /// Nothing: the last layer.
    Nothing,
    /// A norm.
    Norm,
    /// A norm and a ReLU.
    NormRelu,
    /// A norm, the shortcut added, and a ReLU.
    NormAddRelu,
}

/// All convolutions, in the order in which the network's tape is told of them; those after a join read upsampled features and the
/// encoder's as one input.
pub(super) fn layers(config: &MinkUNetConfig) -> Vec<Layer> {
    let plan = config.arch.plan();
    let mut layers = Vec::new();
    let layer = |stage: &str, kind, kernel, stride, (cin, cout), after| {
        let first = stage == "conv0p1s1";
        Layer { stage: stage.to_owned(), kind, kernel, stride, cin, cout, first, after }
    };
    let blocks = |stage: &str, stride, cin: usize, cout: usize, count: usize| {
        let block = |i: usize| {
            let cin = if i == 0 { cin } else { cout };
            let shortcut =
                (cin != cout).then(|| layer(stage, Kind::Pointwise, 1, stride, (cin, cout), After::Norm));
            let conv = |cin, after| layer(stage, Kind::SubManifold, 3, stride, (cin, cout), after);
            [Some(conv(cin, After::NormRelu)), shortcut, Some(conv(cout, After::NormAddRelu))]
                .into_iter()
                .flatten()
        };
        (0..count).flat_map(block).collect::<Vec<_>>()
    };
    let (mut width, mut stride) = (plan.init_planes, 1);
    let stem = (config.in_channels, width);
    layers.push(layer("conv0p1s1", Kind::SubManifold, config.first_kernel, 1, stem, After::NormRelu));
    for (i, &out) in plan.planes[..4].iter().enumerate() {
        let name = format!("conv{}p{stride}s2", i + 1);
        layers.push(layer(&name, Kind::Strided, 2, stride, (width, width), After::NormRelu));
        stride *= 2;
        layers.extend(blocks(&format!("block{}", i + 1), stride, width, out, plan.layers[i]));
        width = out;
    }
    let skips = [plan.planes[2], plan.planes[1], plan.planes[0], plan.init_planes];
    for (i, (skip, &out)) in skips.into_iter().zip(&plan.planes[4..]).enumerate() {
        let name = format!("convtr{}p{stride}s2", i + 4);
        stride /= 2;
        layers.push(layer(&name, Kind::Transposed, 2, stride, (width, out), After::NormRelu));
        layers.extend(blocks(&format!("block{}", i + 5), stride, out + skip, out, plan.layers[i + 4]));
        width = out;
    }
    layers.push(layer("final", Kind::Pointwise, 1, 1, (width, config.out_channels), After::Nothing));
    layers
}

impl Layer {
    /// Its kernel and stride.
    pub(super) fn spec(&self) -> ConvSpec {
        let factor = matches!(self.kind, Kind::Strided | Kind::Transposed);
        ConvSpec::new(self.kernel, if factor { 2 } else { 1 })
    }

    /// Rows that are read and rows that are written.
    pub(super) fn rows(&self, manager: &Arc<CoordinateManager>) -> Result<(usize, usize)> {
        let fine = manager.coarser(self.stride, 1)?.len();
        Ok(match self.kind {
            Kind::SubManifold | Kind::Pointwise => (fine, fine),
            Kind::Strided => (fine, manager.coarser(self.stride, 2)?.len()),
            Kind::Transposed => (manager.coarser(self.stride, 2)?.len(), fine),
        })
    }

    /// The work of any of its products.
    pub(super) fn work(&self, manager: &Arc<CoordinateManager>) -> Result<Work> {
        let rows = self.rows(manager)?;
        if self.kind == Kind::Pointwise {
            let work = conv_work(rows.0, rows, (self.cin, self.cout), 1);
            return Ok(Work { bytes: work.bytes - PAIR * rows.0 as f64, ..work });
        }
        let pairs = manager.kernel_map(self.stride, self.spec())?.n_pairs();
        Ok(conv_work(pairs, rows, (self.cin, self.cout), self.spec().volume()))
    }
}

/// The multiplications of a whole pass: forward, or forward and backward.
pub(super) fn flop(config: &MinkUNetConfig, manager: &Arc<CoordinateManager>, train: bool) -> Result<f64> {
    let mut sum = 0.0;
    for layer in layers(config) {
        let times = match (train, layer.first) {
            (false, _) => 1.0,
            (true, true) => 2.0,
            (true, false) => 3.0,
        };
        sum += times * layer.work(manager)?.flop;
    }
    Ok(sum)
}

/// Makes every set of voxels that the network goes through.
pub(super) fn coarsen(manager: &Arc<CoordinateManager>) -> Result<()> {
    for stride in [1, 2, 4, 8] {
        manager.coarser(stride, 2)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use ppkt_sparse::VarStore;
    use ppkt_student::{Arch, MinkUNet};

    use super::*;

    /// The list agrees with the network itself: same weights, counted by their names.
    #[test]
    fn the_layers_are_those_of_the_network() {
        for arch in [Arch::MinkUNet34C, Arch::MinkUNet14A, Arch::MinkUNet14Tiny] {
            let config = MinkUNetConfig { arch, first_kernel: 5, ..Default::default() };
            let store = VarStore::new(0);
            MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
            let mut expected: Vec<(String, usize)> = Vec::new();
            for (name, var) in store.trainable() {
                if name.ends_with("kernel") {
                    expected.push((name.split('.').next().unwrap().to_owned(), var.elem_count()));
                }
            }
            let size = |l: &Layer| (l.stage.clone(), l.spec().volume() * l.cin * l.cout);
            let mut listed: Vec<_> = layers(&config).iter().map(size).collect();
            expected.sort();
            listed.sort();
            assert_eq!(listed, expected, "{arch}");
        }
    }
}
