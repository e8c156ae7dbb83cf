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
//! | `mod.rs` | what a network calls |
//! | `arithmetic.rs` | the operations that a tape is made of |
//! | `host.rs` | those of the processor, of f32 or of bf16 |
//! | `on_device.rs` | those on tensors of a GPU |
//! | `counting.rs` | those that only count their memory |
//! | `recorder.rs` | forward |
//! | `record.rs` | what is kept, and how the rest is found again |
//! | `backward.rs` | gradients |
//! | `spans.rs` | how long each operation takes, for benches |
//! | `graph.rs` | the tape as nodes of candle's graph |

mod arithmetic;
mod backward;
mod counting;
mod graph;
mod host;
mod on_device;
mod record;
mod recorder;
mod spans;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use half::bf16;

use crate::layers::Parts;
use crate::{
    BatchNorm, Pointwise, Precision, SparseConv3d, SparseConvTranspose3d, SparseError, SparseTensor,
};
use arithmetic::{Arithmetic, InGraph, pairs_by_size};
use counting::Counting;
use host::Host;
use on_device::OnDevice;
use recorder::{Recorder, Then, Value};
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
pub struct Tape(Box<dyn Recording>);

/// Features on a tape: what one unit gives to others. What the backward pass can compute again is freed with the last
/// clone.
#[derive(Debug, Clone)]
pub struct TapeValue {
    channels: usize,
    /// A [`Value`] of the tape's arithmetic.
    value: Arc<dyn Any + Send + Sync>,
}

impl TapeValue {
    fn new<A: Arithmetic>(value: Value<A>) -> Self {
        Self { channels: value.channels, value: Arc::new(value) }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    fn of<A: Arithmetic>(&self) -> Result<&Value<A>, SparseError> {
        self.value.downcast_ref().ok_or_else(|| {
            candle_core::Error::msg("tape: the value is on a tape of another precision or device").into()
        })
    }
}

/// A tape of any arithmetic.
trait Recording {
    fn unit(
        &mut self,
        inputs: &[&TapeValue],
        parts: Parts<'_>,
        after: After<'_>,
    ) -> Result<TapeValue, SparseError>;

    fn finish(self: Box<Self>, y: TapeValue) -> Result<SparseTensor, SparseError>;

    fn bytes(self: Box<Self>, y: TapeValue) -> Result<usize, SparseError>;
}

fn unit<A: Arithmetic>(
    tape: &mut Recorder<A>,
    inputs: &[&TapeValue],
    parts: Parts<'_>,
    after: After<'_>,
) -> Result<TapeValue, SparseError> {
    let inputs = inputs.iter().map(|x| x.of()).collect::<Result<Vec<_>, _>>()?;
    let residual = after.residual().map(TapeValue::of).transpose()?;
    let then = Then { norm: after.norm(), residual, relu: after.relu() };
    Ok(TapeValue::new(tape.unit(&inputs, parts, then)?))
}

/// The value alone, so that the result's memory becomes the tensor's where nobody else has it.
fn last<A: Arithmetic>(y: TapeValue) -> Result<Value<A>, SparseError> {
    y.of::<A>().cloned()
}

impl<A: InGraph> Recording for Recorder<A> {
    fn unit(
        &mut self,
        inputs: &[&TapeValue],
        parts: Parts<'_>,
        after: After<'_>,
    ) -> Result<TapeValue, SparseError> {
        unit(self, inputs, parts, after)
    }

    fn finish(self: Box<Self>, y: TapeValue) -> Result<SparseTensor, SparseError> {
        (*self).finish(last(y)?)
    }

    fn bytes(self: Box<Self>, _: TapeValue) -> Result<usize, SparseError> {
        Err(candle_core::Error::msg("tape: it computes, and does not count; begin it with Tape::that_counts")
            .into())
    }
}

/// A tape that computes nothing.
struct Counter(Recorder<Counting>);

impl Recording for Counter {
    fn unit(
        &mut self,
        inputs: &[&TapeValue],
        parts: Parts<'_>,
        after: After<'_>,
    ) -> Result<TapeValue, SparseError> {
        unit(&mut self.0, inputs, parts, after)
    }

    fn finish(self: Box<Self>, _: TapeValue) -> Result<SparseTensor, SparseError> {
        Err(candle_core::Error::msg("tape: it counts, and has no result; begin it with Tape::new").into())
    }

    fn bytes(self: Box<Self>, y: TapeValue) -> Result<usize, SparseError> {
        Ok(self.0.bytes(last(y)?)?)
    }
}

/// What a tape computes again in the backward pass instead of keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Recompute {
    /// Norms, and convolutions that cost no more than some passes over memory.
    #[default]
    Cheap,
    /// Every convolution: of a residual block only its end is kept. Takes the time of one more forward pass of the convolutions.
    Convolutions,
}

impl Recompute {
    /// All, from the one that keeps most.
    pub const ALL: [Self; 2] = [Self::Cheap, Self::Convolutions];
}

/// How a tape computes. Whatever is chosen beside `train` and `precision`, results and gradients have the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TapeOptions {
    /// Whether norms go by the batch, and move their running statistics, or by the running statistics.
    pub train: bool,
    /// The numbers of features and of their gradients.
    ///
    /// In bf16 the input, the result of each convolution, of each norm, and the gradients of all of them are rounded
    /// once; parameters and their gradients, sums, moments, and the result of a last layer without a norm are f32.
    pub precision: Precision,
    /// What is not kept for the backward pass.
    pub recompute: Recompute,
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

    fn residual(self) -> Option<&'a TapeValue> {
        if let Self::NormAddRelu(_, residual) = self { Some(residual) } else { None }
    }

    fn relu(self) -> bool {
        matches!(self, Self::NormRelu(_) | Self::NormAddRelu(..))
    }
}

impl<'a> Layer<'a> {
    fn parts(self) -> Parts<'a> {
        match self {
            Self::Conv(layer) => layer.parts(),
            Self::Transposed(layer) => layer.parts(),
            Self::Pointwise(layer) => layer.parts(),
        }
    }
}

impl Tape {
    /// A tape that begins with `x`, and `x` on it, in f32. `train` is the norms': by the batch, or by the running
    /// statistics.
    ///
    /// # Errors
    /// [`SparseError::Simd`]; candle's.
    pub fn new(x: &SparseTensor, train: bool) -> Result<(Self, TapeValue), SparseError> {
        Self::with_options(x, TapeOptions { train, ..TapeOptions::default() })
    }

    /// As [`Self::new`], with everything that there is to choose.
    ///
    /// # Errors
    /// As [`Precision::check_on`]; candle's.
    pub fn with_options(x: &SparseTensor, options: TapeOptions) -> Result<(Self, TapeValue), SparseError> {
        fn begin<A: InGraph>(
            arithmetic: A,
            x: &SparseTensor,
            options: TapeOptions,
        ) -> Result<(Tape, TapeValue), SparseError> {
            let (tape, x) = Recorder::new(arithmetic, x, options.train, options.recompute)?;
            Ok((Tape(Box::new(tape)), TapeValue::new(x)))
        }
        let device = x.features().device();
        match options.precision {
            precision if !device.is_cpu() => begin(OnDevice::new(precision, device)?, x, options),
            Precision::F32 => begin(Host::<f32>::new()?, x, options),
            Precision::Bf16 => begin(Host::<bf16>::new()?, x, options),
        }
    }

    /// A tape that computes nothing, and counts the memory that [`Self::with_options`] would take: see
    /// [`Self::bytes`]. It changes no running statistics.
    ///
    /// # Errors
    /// candle's.
    pub fn that_counts(x: &SparseTensor, options: TapeOptions) -> Result<(Self, TapeValue), SparseError> {
        let (tape, x) = Recorder::counting(x, options)?;
        Ok((Self(Box::new(Counter(tape))), TapeValue::new(x)))
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
        self.0.unit(inputs, layer.into().parts(), after)
    }

    /// Ends the tape with `y`, which becomes a tensor of candle's graph, of f32.
    ///
    /// # Errors
    /// candle's.
    pub fn finish(self, y: TapeValue) -> Result<SparseTensor, SparseError> {
        self.0.finish(y)
    }

    /// The most bytes that a tape which ends with `y` has in use at one time, forward and backward, its result and the
    /// gradients of parameters and input included; not the parameters, nor the input. Of a tape [that
    /// counts](Self::that_counts).
    ///
    /// # Errors
    /// candle's, of a tape that computes.
    pub fn bytes(self, y: TapeValue) -> Result<usize, SparseError> {
        self.0.bytes(y)
    }
}
