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
//! | `recorder.rs` | forward, of f32 or of bf16 |
//! | `record.rs` | what is kept, and how the rest is found again |
//! | `backward.rs` | gradients |
//! | `spans.rs` | how long each operation takes, for benches |
//! | `graph.rs` | the tape as nodes of candle's graph |

mod backward;
mod graph;
mod record;
mod recorder;
mod spans;

use half::bf16;

use crate::element::Element;
use crate::layers::Parts;
use crate::{
    BatchNorm, Pointwise, Precision, SparseConv3d, SparseConvTranspose3d, SparseError, SparseTensor,
};
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
pub struct Tape(Kind);

enum Kind {
    F32(Recorder<f32>),
    Bf16(Recorder<bf16>),
}

/// Features on a tape: what one unit gives to others. What the backward pass can compute again is freed with the last
/// clone.
#[derive(Debug, Clone)]
pub struct TapeValue(Rows);

#[derive(Debug, Clone)]
enum Rows {
    F32(Value<f32>),
    Bf16(Value<bf16>),
}

impl TapeValue {
    /// Number of channels.
    pub fn channels(&self) -> usize {
        match &self.0 {
            Rows::F32(value) => value.channels,
            Rows::Bf16(value) => value.channels,
        }
    }
}

/// Numbers that have a tape.
trait OnTape: Element {
    /// The value, where it is on a tape of these numbers.
    fn of(value: &TapeValue) -> Option<&Value<Self>>;
}

impl OnTape for f32 {
    fn of(value: &TapeValue) -> Option<&Value<Self>> {
        if let Rows::F32(value) = &value.0 { Some(value) } else { None }
    }
}

impl OnTape for bf16 {
    fn of(value: &TapeValue) -> Option<&Value<Self>> {
        if let Rows::Bf16(value) = &value.0 { Some(value) } else { None }
    }
}

fn own<E: OnTape>(value: &TapeValue) -> Result<&Value<E>, SparseError> {
    E::of(value).ok_or_else(of_another_tape)
}

fn of_another_tape() -> SparseError {
    candle_core::Error::msg("tape: the value is on a tape of another precision").into()
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
    /// A tape that begins with `x`, and `x` on it. `train` is the norms': by the batch, or by the running statistics.
    ///
    /// # Errors
    /// [`SparseError::Simd`]; candle's.
    pub fn new(x: &SparseTensor, train: bool) -> Result<(Self, TapeValue), SparseError> {
        Self::with_precision(x, train, Precision::F32)
    }

    /// As [`Self::new`], with features and their gradients of a precision of one's choice.
    ///
    /// In bf16 the input, the result of each convolution, of each norm, and the gradients of all of them are rounded
    /// once; parameters and their gradients, sums, moments, and the result of a last layer without a norm are f32.
    ///
    /// # Errors
    /// As [`Precision::check`]; candle's.
    pub fn with_precision(
        x: &SparseTensor,
        train: bool,
        precision: Precision,
    ) -> Result<(Self, TapeValue), SparseError> {
        match precision {
            Precision::F32 => {
                let (tape, x) = Recorder::new(x, train)?;
                Ok((Self(Kind::F32(tape)), TapeValue(Rows::F32(x))))
            }
            Precision::Bf16 => {
                let (tape, x) = Recorder::new(x, train)?;
                Ok((Self(Kind::Bf16(tape)), TapeValue(Rows::Bf16(x))))
            }
        }
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
        fn unit<E: OnTape>(
            tape: &mut Recorder<E>,
            inputs: &[&TapeValue],
            parts: Parts<'_>,
            after: After<'_>,
        ) -> Result<Value<E>, SparseError> {
            let inputs = inputs.iter().map(|x| own(x)).collect::<Result<Vec<_>, _>>()?;
            let residual = after.residual().map(own).transpose()?;
            tape.unit(&inputs, parts, Then { norm: after.norm(), residual, relu: after.relu() })
        }
        let parts = layer.into().parts();
        Ok(TapeValue(match &mut self.0 {
            Kind::F32(tape) => Rows::F32(unit(tape, inputs, parts, after)?),
            Kind::Bf16(tape) => Rows::Bf16(unit(tape, inputs, parts, after)?),
        }))
    }

    /// Ends the tape with `y`, which becomes a tensor of candle's graph, of f32.
    ///
    /// # Errors
    /// candle's.
    pub fn finish(self, y: TapeValue) -> Result<SparseTensor, SparseError> {
        match (self.0, y.0) {
            (Kind::F32(tape), Rows::F32(y)) => tape.finish(y),
            (Kind::Bf16(tape), Rows::Bf16(y)) => tape.finish(y),
            _ => Err(of_another_tape()),
        }
    }
}
