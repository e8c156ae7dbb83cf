//! Convolution of candle's tensors on an NVIDIA GPU.

use candle_core::backend::BackendStorage;
use candle_core::cuda::{CudaDevice, CudaStorage};
use candle_core::{DType, Layout, Result, Shape};
use ppkt_device::cuda::{Operand, view};

use super::conv::{Back, Numbers, Pairs, Rows, Sides, Weight, product, weight_gradient};
use super::conv_plan::Math;
use super::map::DeviceTable;
use crate::conv::{Conv, Direction, last};

/// For errors.
const OP: &str = "sparse convolution";

/// Features or their gradients.
fn rows(operand: Operand<'_>) -> Result<(Rows<'_>, usize)> {
    let rows = match operand.0.dtype() {
        DType::F32 => Rows::F32(view(OP, operand)?),
        DType::BF16 => Rows::Bf16(view(OP, operand)?),
        other => candle_core::bail!("{OP} on a GPU is of f32 or bf16, not of {other:?}"),
    };
    Ok((rows, last(operand.1)))
}

/// One tensor of features, or two side by side, and what they are multiplied in.
fn sides<'a>(conv: &Conv, operands: &[Operand<'a>]) -> Result<(Sides<'a>, Math)> {
    let (left, right) = match operands {
        [left] => (rows(*left)?, None),
        [left, right] if left.0.dtype() == right.0.dtype() => (rows(*left)?, Some(rows(*right)?)),
        [left, right] => {
            candle_core::bail!(
                "two inputs of one type, not {:?} beside {:?}",
                left.0.dtype(),
                right.0.dtype()
            )
        }
        _ => candle_core::bail!("a convolution of one tensor or of two"),
    };
    let math = match left.0 {
        Rows::Bf16(_) => Math::Bf16,
        Rows::F32(_) if conv.tf32 => Math::Tf32,
        Rows::F32(_) => Math::F32,
    };
    Ok((Sides { left, right }, math))
}

/// Runs `f` with the pairs of a direction of the convolution's map.
fn with_pairs<T>(
    conv: &Conv,
    direction: Direction,
    device: &CudaDevice,
    read: &[Operand<'_>],
    f: impl FnOnce(Pairs<'_, CudaDevice>) -> Result<T>,
) -> Result<T> {
    let wrong = |n: usize| read.iter().find(|(_, layout)| layout.dims().first() != Some(&n));
    let check = |n: usize| match wrong(n) {
        Some((_, layout)) => candle_core::bail!("features of {:?} on {n} voxels", layout.dims()),
        None => Ok(()),
    };
    if conv.map.spec().is_pointwise() {
        check(conv.map.n_fine())?;
        return f(Pairs::Same(conv.map.n_fine()));
    }
    let table = conv.map.on_cuda(device, direction)?;
    let table: &DeviceTable = &table;
    check(table.n_source)?;
    f(Pairs::Table(table))
}

fn wrap(numbers: Numbers<CudaDevice>, device: &CudaDevice) -> CudaStorage {
    match numbers {
        Numbers::F32(memory) => memory.into_storage(device),
        Numbers::Bf16(memory) => memory.into_storage(device),
    }
}

/// The channels that a weight leads from and to.
fn channels(weight: &Layout) -> (usize, usize) {
    let dims = weight.dims();
    (dims[dims.len() - 2], dims[dims.len() - 1])
}

/// The convolution: `[n_target, cout]` of the inputs' type.
pub(crate) fn forward(
    conv: &Conv,
    inputs: &[Operand<'_>],
    weight: Operand<'_>,
    bias: Option<Operand<'_>>,
) -> Result<(CudaStorage, Shape)> {
    let device = weight.0.device();
    let (sides, math) = sides(conv, inputs)?;
    let (cin, cout) = channels(weight.1);
    let weight = Weight { numbers: view(OP, weight)?, cin, cout, back: None };
    let bias = bias.map(|b| view(OP, b)).transpose()?;
    with_pairs(conv, conv.direction, device, inputs, |pairs| {
        let out = product(device, math, pairs, &sides, &weight, bias, conv.exact)?;
        Ok((wrap(out, device), (pairs.n_target(), cout).into()))
    })
}

/// The gradient by the input's channels `first..first + outer`: `[n_source, outer]` of the gradient's type.
pub(crate) fn of_features(
    conv: &Conv,
    (first, outer): (usize, usize),
    grad: Operand<'_>,
    weight: Operand<'_>,
) -> Result<(CudaStorage, Shape)> {
    let device = weight.0.device();
    let (sides, math) = sides(conv, &[grad])?;
    let (direction, mirrored) = conv.backwards();
    let (cin, cout) = channels(weight.1);
    let weight =
        Weight { numbers: view(OP, weight)?, cin, cout, back: Some(Back { first, outer, mirrored }) };
    with_pairs(conv, direction, device, &[grad], |pairs| {
        let out = product(device, math, pairs, &sides, &weight, None, false)?;
        Ok((wrap(out, device), (pairs.n_target(), outer).into()))
    })
}

/// The gradient by the weight, f32.
pub(crate) fn of_weight(conv: &Conv, inputs: &[Operand<'_>], grad: Operand<'_>) -> Result<CudaStorage> {
    let device = grad.0.device();
    let (sides, math) = sides(conv, inputs)?;
    if inputs.iter().any(|i| i.0.dtype() != grad.0.dtype()) {
        candle_core::bail!("a gradient of {:?} for features of another type", grad.0.dtype());
    }
    let (n, grad) = (grad.1.dims()[0], rows(grad)?);
    with_pairs(conv, conv.direction, device, inputs, |pairs| {
        if n != pairs.n_target() {
            candle_core::bail!("a gradient of {n} rows for a result of {}", pairs.n_target());
        }
        Ok(weight_gradient(device, math, pairs, &sides, grad)?.into_storage(device))
    })
}
