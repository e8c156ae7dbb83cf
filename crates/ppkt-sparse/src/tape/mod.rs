//! A whole network as one operation of candle's graph, with a memory of its own.
//!
//! candle keeps every tensor of a graph until the loss is dropped, and adds every gradient to fresh zeros. A [`Tape`]
//! is told of the network unit by unit ([convolution, norm, residual, ReLU](After)) while it runs forward, and keeps
//! for each unit one array: the convolution's result. What follows from it (the norm's result, which the next
//! convolution has read) is computed again in the backward pass, in the same way and with the same bits, and
//! convolutions of one pair a row are run again altogether. The backward pass frees each array as soon as it is done
//! with, writes gradients over what it no longer needs, and adds a gradient to another one where it is computed.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | forward: what a network calls |
//! | `record.rs` | what is kept, and how the rest is found again |
//! | `backward.rs` | gradients |
//! | `spans.rs` | how long each operation takes, for benches |
//! | `graph.rs` | the tape as nodes of candle's graph |

mod backward;
mod graph;
mod record;
mod spans;

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::conv::{Direction, check_weight, downwards, upwards, with_slices};
use crate::kernels::{Prepared, Side, Simd, Start, Weight};
use crate::layers::Parts;
use crate::norm_inplace::normalise_in_place;
use crate::norm_kernel::normalise;
use crate::{
    BatchNorm, CoordinateManager, Pointwise, SparseConv3d, SparseConvTranspose3d, SparseError, SparseTensor,
};

use record::{Node, Norm, Record};
use spans::timed;
pub use spans::{TapeSpan, TapeStep, tape_spans};

const OP: &str = "tape";

/// Records a network while it runs forward, and becomes one node of candle's graph.
///
/// Results have the bits of the layers' own `forward`; gradients differ in the last bits, as sums over the branches of
/// the network are made in another order. The same bits for any number of threads.
///
/// The backward pass uses up what the tape has kept: a second one through the same result is an error. Where nothing
/// that takes part has a gradient, nothing is kept.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use ppkt_sparse::{After, BatchNorm, ConvSpec, Pointwise, SparseConv3d, SparseTensor, Tape, VarStore};
///
/// # fn main() -> Result<(), ppkt_sparse::SparseError> {
/// let store = VarStore::new(0);
/// let vb = store.builder(&Device::Cpu);
/// let conv = SparseConv3d::new(3, 8, ConvSpec::new(3, 1), vb.pp("conv"))?;
/// let norm = BatchNorm::new(8, 0.1, vb.pp("norm"))?;
/// let head = Pointwise::new(8, 2, vb.pp("head"))?;
/// let features = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let (x, _) = SparseTensor::new(&[[0, 0, 0, 0], [0, 0, 0, 1]], features)?;
///
/// let (mut tape, x) = Tape::new(&x, true)?;
/// let y = tape.unit(&[&x], &conv, After::NormRelu(&norm))?;
/// let y = tape.unit(&[&y], &head, After::Nothing)?;
/// let y = tape.finish(y)?;
/// let grads = y.features().sqr()?.mean_all()?.backward()?;
/// assert!(store.trainable().iter().all(|(_, var)| grads.get(var).is_some()));
/// # Ok(())
/// # }
/// ```
pub struct Tape {
    manager: Arc<CoordinateManager>,
    features: Tensor,
    train: bool,
    simd: Simd,
    record: Record,
}

/// Features on a tape: what one unit gives to others. What the backward pass can compute again is freed with the last
/// clone.
#[derive(Debug, Clone)]
pub struct TapeValue {
    /// 0 for the input, otherwise 1 + the unit's number.
    id: usize,
    rows: Arc<Vec<f32>>,
    channels: usize,
    stride: u32,
}

impl TapeValue {
    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    fn side(&self) -> Side<'_> {
        Side { data: &self.rows, channels: self.channels }
    }
}

/// The convolution of a unit.
#[derive(Debug, Clone, Copy)]
pub enum Layer<'a> {
    /// A convolution.
    Conv(&'a SparseConv3d),
    /// A convolution back to finer voxels.
    Transposed(&'a SparseConvTranspose3d),
    /// A linear map of each voxel's channels.
    Pointwise(&'a Pointwise),
}

impl<'a> From<&'a SparseConv3d> for Layer<'a> {
    fn from(layer: &'a SparseConv3d) -> Self {
        Self::Conv(layer)
    }
}

impl<'a> From<&'a SparseConvTranspose3d> for Layer<'a> {
    fn from(layer: &'a SparseConvTranspose3d) -> Self {
        Self::Transposed(layer)
    }
}

impl<'a> From<&'a Pointwise> for Layer<'a> {
    fn from(layer: &'a Pointwise) -> Self {
        Self::Pointwise(layer)
    }
}

/// What follows the convolution of a unit.
#[derive(Debug, Clone, Copy)]
pub enum After<'a> {
    /// Nothing.
    Nothing,
    /// `norm(·)`
    Norm(&'a BatchNorm),
    /// `relu(norm(·))`
    NormRelu(&'a BatchNorm),
    /// `relu(norm(·) + residual)`, the residual being on the voxels of the result and of as many channels.
    NormAddRelu(&'a BatchNorm, &'a TapeValue),
}

impl<'a> After<'a> {
    fn norm(self) -> Option<&'a BatchNorm> {
        match self {
            Self::Nothing => None,
            Self::Norm(norm) | Self::NormRelu(norm) | Self::NormAddRelu(norm, _) => Some(norm),
        }
    }

    fn relu(self) -> bool {
        matches!(self, Self::NormRelu(_) | Self::NormAddRelu(..))
    }
}

impl Tape {
    /// A tape that begins with `x`, and `x` on it. `train` is the norms': by the batch, or by the running statistics.
    ///
    /// # Errors
    /// [`SparseError::Simd`]; candle's.
    pub fn new(x: &SparseTensor, train: bool) -> Result<(Self, TapeValue), SparseError> {
        let features = x.features().contiguous()?;
        let rows = Arc::new(with_slices([&features], |[rows]| rows.to_vec())?);
        let (manager, simd) = (x.manager().clone(), Simd::selected()?);
        let record = Record::new(rows.clone(), features.track_op(), simd);
        let input = TapeValue { id: 0, rows, channels: x.channels(), stride: x.stride() };
        Ok((Self { manager, features, train, simd, record }, input))
    }

    /// A convolution of `inputs` side by side and what follows it.
    ///
    /// # Shapes
    /// - `inputs`: one or more on the same voxels, `[N, C₁]`, `[N, C₂]`, … with `C₁ + C₂ + … = Cin`
    /// - result: `[M, Cout]`; `M` is `N` for stride 1
    ///
    /// # Errors
    /// As [`conv`](crate::conv()) and [`conv_transpose`](crate::conv_transpose());
    /// [`SparseError::DifferentCoordinates`]; [`SparseError::TooFewRows`] of a norm in training.
    pub fn unit<'a>(
        &mut self,
        inputs: &[&TapeValue],
        layer: impl Into<Layer<'a>>,
        after: After<'_>,
    ) -> Result<TapeValue, SparseError> {
        let Parts { kernel, bias, spec, direction } = match layer.into() {
            Layer::Conv(layer) => layer.parts(),
            Layer::Transposed(layer) => layer.parts(),
            Layer::Pointwise(layer) => layer.parts(),
        };
        let Some(x) = inputs.first() else {
            let expected = "a list of at least one tensor".to_owned();
            return Err(SparseError::Shape { op: OP, what: "the input", expected, got: vec![0] });
        };
        inputs.iter().try_for_each(|other| self.same_voxels(x.stride, other))?;
        let id = self.record.nodes.len() + 1;
        let (map, stride) = timed(id, TapeStep::Map, || match direction {
            Direction::ToCoarse => downwards(&self.manager, x.stride, spec),
            Direction::ToFine => upwards(&self.manager, x.stride, spec),
        })?;
        let cin = inputs.iter().map(|x| x.channels).sum();
        let channels = check_weight(OP, (spec.volume(), cin), kernel, bias)?;
        let mut residual = None;
        if let After::NormAddRelu(_, value) = after {
            self.same_voxels(stride, value)?;
            if value.channels != channels {
                let (expected, got) = (format!("[N, {channels}]"), vec![value.channels]);
                return Err(SparseError::Shape { op: OP, what: "the residual", expected, got });
            }
            residual = Some(value);
        }
        let mut node =
            Node::new(kernel.contiguous()?, bias.map(Tensor::contiguous).transpose()?, map, direction);
        (node.channels, node.relu) = (channels, after.relu());
        let sides: Vec<Side<'_>> = inputs.iter().map(|x| x.side()).collect();
        let z = timed(id, TapeStep::Convolution, || node.product(self.simd, &sides))?;
        let y = match after.norm() {
            None => z,
            Some(norm) => {
                let moments = timed(id, TapeStep::Norm, || norm.moments(&z, stride, self.train))?;
                let norm = node.norm.insert(Norm::new(norm, moments, self.train)?);
                if norm.gamma.len() != channels {
                    let (expected, got) = (format!("[{channels}]"), vec![norm.gamma.len()]);
                    return Err(SparseError::Shape { op: OP, what: "the norm", expected, got });
                }
                let residual = residual.map(|r| r.rows.as_slice());
                let tracked = self.record.needs_gradient(&node, inputs, residual_id(after));
                if tracked && !node.is_cheap() {
                    let norm = node.norm.as_ref().map(|n| (&n.moments, &n.gamma, &n.beta));
                    let y = norm.map(|(m, g, b)| {
                        timed(id, TapeStep::Norm, || normalise(&z, m, g, b, residual, node.relu))
                    });
                    node.z = Some(z);
                    y.unwrap_or_default()
                } else {
                    let mut y = z;
                    if let Some(n) = &node.norm {
                        timed(id, TapeStep::Norm, || {
                            normalise_in_place(&mut y, &n.moments, &n.gamma, &n.beta, residual, node.relu);
                        });
                    }
                    y
                }
            }
        };
        let id = self.record.push(node, inputs, residual);
        Ok(TapeValue { id, rows: Arc::new(y), channels, stride })
    }

    fn same_voxels(&self, stride: u32, other: &TapeValue) -> Result<(), SparseError> {
        if other.stride == stride {
            return Ok(());
        }
        let rows = |stride: u32| self.manager.coords(stride).map_or(0, |c| c.len());
        let (left, right) = (stride, other.stride);
        let (left_rows, right_rows) = (rows(left), rows(right));
        Err(SparseError::DifferentCoordinates { op: OP, left, right, left_rows, right_rows })
    }

    /// Ends the tape with `y`, which becomes a tensor of candle's graph.
    ///
    /// # Errors
    /// candle's.
    pub fn finish(self, y: TapeValue) -> Result<SparseTensor, SparseError> {
        let TapeValue { id, rows, channels, stride } = y;
        let mut record = self.record;
        record.end_with(id);
        let rows = Arc::try_unwrap(rows).unwrap_or_else(|shared| shared.to_vec());
        let shape = (self.manager.coarser(stride, 1)?.len(), channels);
        let features = if record.needs(id) {
            graph::attach(&self.features, record, rows, shape)?
        } else {
            Tensor::from_vec(rows, shape, &Device::Cpu)?
        };
        SparseTensor::on(&self.manager, stride, features)
    }
}

fn residual_id(after: After<'_>) -> Option<usize> {
    if let After::NormAddRelu(_, residual) = after { Some(residual.id) } else { None }
}

impl Node {
    /// The convolution alone.
    fn product(&self, simd: Simd, sides: &[Side<'_>]) -> candle_core::Result<Vec<f32>> {
        let cin = sides.iter().map(|s| s.channels).sum();
        let lists = self.direction.lists(&self.map);
        let bias: Option<Vec<f32>> = match &self.bias {
            Some(bias) => Some(bias.flatten_all()?.to_vec1()?),
            None => None,
        };
        let start = Start { bias: bias.as_deref(), ..Start::default() };
        with_slices([&self.kernel], |[w]| {
            Prepared::new(simd, Weight::forward(w, cin, self.channels)).gather_product(lists, sides, start)
        })
    }
}
