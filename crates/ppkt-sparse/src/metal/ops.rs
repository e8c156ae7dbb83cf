//! From candle's storages to the launchers, and back: what the operations do on an Apple GPU.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Layout, MetalStorage, Result, Shape, Tensor};
use ppkt_device::metal::{Metal, MetalBuffer, with_buffers};
use ppkt_device::wgsl::column_sums;

use super::conv::{self, Side};
use super::map::{Table, table};
use super::norm::Shape as NormShape;
use super::{norm, pool, rows};
use crate::conv::{Conv, Direction, last};
use crate::kernel_map::KernelMap;
use crate::norm_tensor::{Backward, Gradients, Through};
use crate::pool::Reduction;

/// An argument of an operation.
pub(crate) type In<'a> = (&'a MetalStorage, &'a Layout);

/// What an operation gives.
pub(crate) type Out = Result<(MetalStorage, Shape)>;

/// The GPU of a storage.
pub(crate) fn gpu_of((storage, _): In<'_>) -> Metal {
    use candle_core::backend::BackendStorage;
    Metal::new(storage.device())
}

/// Something in the memory of GPUs, for each GPU that has asked for it.
#[derive(Debug)]
pub(crate) struct OnGpus<T>(Mutex<Vec<(u64, Arc<T>)>>);

impl<T> Default for OnGpus<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> OnGpus<T> {
    /// What there is for `gpu`, or what `make` makes.
    fn get_or_make(&self, gpu: &Metal, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        // A panic elsewhere leaves the list whole: entries are only ever added.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, one)) = made.iter().find(|(id, _)| *id == gpu.registry_id()) {
            return Ok(one.clone());
        }
        let one = Arc::new(make()?);
        made.push((gpu.registry_id(), one.clone()));
        Ok(one)
    }
}

/// The tables of a map, one for each direction.
pub(crate) type Tables = [OnGpus<Table<MetalBuffer>>; 2];

/// The table of one direction, built on the GPU at its first use.
pub(crate) fn table_of(
    gpu: &Metal,
    map: &KernelMap,
    direction: Direction,
) -> Result<Arc<Table<MetalBuffer>>> {
    map.metal_tables()[usize::from(direction == Direction::ToFine)]
        .get_or_make(gpu, || table(gpu, map, direction))
}

const OP: &str = "sparse_conv";

/// The result as candle keeps it.
pub(crate) fn give(gpu: &Metal, buffer: MetalBuffer, shape: impl Into<Shape>) -> Out {
    Ok((gpu.storage(buffer, DType::F32)?, shape.into()))
}

fn buffers(gpu: &Metal, inputs: &[In<'_>]) -> Result<Vec<MetalBuffer>> {
    inputs.iter().map(|(storage, layout)| gpu.view(OP, storage, layout)).collect()
}

fn sides<'a>(inputs: &[In<'_>], buffers: &'a [MetalBuffer]) -> Vec<Side<'a, MetalBuffer>> {
    inputs.iter().zip(buffers).map(|((_, layout), data)| Side { data, channels: last(layout) }).collect()
}

/// Convolution of one tensor, or of two side by side.
pub(crate) fn convolve(op: &Conv, inputs: &[In<'_>], weight: In<'_>, bias: Option<In<'_>>) -> Out {
    let gpu = gpu_of(weight);
    let table = table_of(&gpu, &op.map, op.direction)?;
    let data = buffers(&gpu, inputs)?;
    let cout = last(weight.1);
    let bias = bias.map(|(storage, layout)| gpu.view(OP, storage, layout)).transpose()?;
    let weight = gpu.view(OP, weight.0, weight.1)?;
    let out = conv::forward(&gpu, &table, &sides(inputs, &data), &weight, cout, bias.as_ref())?;
    give(&gpu, out, (table.n_target, cout))
}

/// Its gradient by features that stand at channels `first..` of the input, `channels` of them.
pub(crate) fn features_gradient(
    op: &Conv,
    (first, channels): (usize, usize),
    grad: In<'_>,
    weight: In<'_>,
) -> Out {
    let gpu = gpu_of(weight);
    let (direction, mirrored) = op.backwards();
    let table = table_of(&gpu, &op.map, direction)?;
    let cin = weight.1.dims()[weight.1.dims().len() - 2];
    let (data, channels_out) = (gpu.view(OP, grad.0, grad.1)?, last(grad.1));
    let side = Side { data: &data, channels: channels_out };
    let weight = gpu.view(OP, weight.0, weight.1)?;
    let out = conv::input_gradient(&gpu, &table, side, &weight, (cin, first, channels), mirrored)?;
    give(&gpu, out, (table.n_target, channels))
}

/// Its gradient by the weight, of the weight's shape.
pub(crate) fn weight_gradient(op: &Conv, inputs: &[In<'_>], grad: In<'_>, shape: &Shape) -> Out {
    let gpu = gpu_of(grad);
    let table = table_of(&gpu, &op.map, op.direction)?;
    let data = buffers(&gpu, inputs)?;
    let grad_data = gpu.view(OP, grad.0, grad.1)?;
    let side = Side { data: &grad_data, channels: last(grad.1) };
    give(&gpu, conv::weight_gradient(&gpu, &table, &sides(inputs, &data), side)?, shape)
}

/// Its gradient by the bias, of the bias' shape.
pub(crate) fn bias_gradient(grad: In<'_>, shape: &Shape) -> Out {
    let gpu = gpu_of(grad);
    let (rows, channels) = grad.1.shape().dims2()?;
    give(&gpu, column_sums(&gpu, &gpu.view(OP, grad.0, grad.1)?, rows, channels)?, shape)
}

fn norm_shape(layout: &Layout, eps: f64) -> Result<NormShape> {
    let (rows, channels) = layout.shape().dims2()?;
    Ok(NormShape { rows, channels, eps })
}

const NORM: &str = "batch norm";

/// Moments `[3, C]` of the rows of `x`.
pub(crate) fn batch_moments(x: In<'_>, eps: f64) -> Result<Tensor> {
    let (gpu, shape) = (gpu_of(x), norm_shape(x.1, eps)?);
    let moments = norm::batch_statistics(&gpu, &gpu.view(NORM, x.0, x.1)?, shape)?;
    gpu.tensor(moments, (3, shape.channels))
}

/// The same of running statistics.
pub(crate) fn running_moments(mean: &Tensor, var: &Tensor, eps: f64) -> Result<Tensor> {
    let shape = NormShape { rows: 1, channels: mean.elem_count(), eps };
    with_buffers(NORM, [mean, var], |gpu, [mean, var]| {
        gpu.tensor(norm::running_statistics(gpu, &mean, &var, shape)?, (3, shape.channels))
    })
}

/// `x` normalised, with residual and ReLU as asked.
pub(crate) fn normalise(
    x: In<'_>,
    moments: &Tensor,
    affine: In<'_>,
    residual: Option<In<'_>>,
    relu: bool,
) -> Out {
    let shape = norm_shape(x.1, 0.0)?;
    with_buffers(NORM, [moments], |gpu, [moments]| {
        let residual = residual.map(|(storage, layout)| gpu.view(NORM, storage, layout)).transpose()?;
        let (values, affine) = (gpu.view(NORM, x.0, x.1)?, gpu.view(NORM, affine.0, affine.1)?);
        let y = norm::normalise(gpu, &values, &moments, &affine, residual.as_ref(), relu, shape)?;
        give(gpu, y, x.1.shape())
    })
}

/// Gradients of a normalisation with these moments.
pub(crate) fn norm_gradients(asked: &Backward<'_>, moments: &Tensor) -> Result<Gradients> {
    let &Backward { x, affine, grad, of_batch, want_dx, want_dresidual, .. } = asked;
    let shape = norm_shape(x.layout(), 0.0)?;
    let result = match asked.through {
        Through::Positive(result) => result,
        // It is not read, and has to be something.
        Through::All | Through::OfNorm => grad,
    };
    with_buffers(NORM, [x, moments, affine, grad, result], |gpu, [rows, statistics, scale, from, result]| {
        let inputs = norm::Backward {
            x: &rows,
            statistics: &statistics,
            affine: &scale,
            grad: &from,
            through: match asked.through {
                Through::All => Through::All,
                Through::Positive(_) => Through::Positive(&result),
                Through::OfNorm => Through::OfNorm,
            },
            batch: of_batch,
        };
        let norm::Gradients { dx, daffine } = norm::backward(gpu, &inputs, want_dx, shape)?;
        let dresidual = match (want_dresidual, asked.through) {
            (false, _) => None,
            (true, Through::All) => Some(grad.clone()),
            (true, _) => Some(gpu.tensor(norm::residual_gradient(gpu, &inputs, shape)?, x.shape())?),
        };
        Ok(Gradients {
            dx: dx.map(|dx| gpu.tensor(dx, x.shape())).transpose()?,
            daffine: gpu.tensor(daffine, 2 * shape.channels)?,
            dresidual,
        })
    })
}

/// Running statistics towards those of a batch.
pub(crate) fn move_running(running: In<'_>, batch: In<'_>, momentum: f64) -> Result<()> {
    let gpu = gpu_of(running);
    let channels = running.1.shape().elem_count();
    let (running, batch) = (gpu.view(NORM, running.0, running.1)?, gpu.view(NORM, batch.0, batch.1)?);
    norm::move_running(&gpu, &running, &batch, channels, momentum)
}

/// One more batch. A counter of another type comes from a foreign file, and nothing reads it.
pub(crate) fn count(counter: In<'_>) -> Result<()> {
    use candle_core::backend::BackendStorage;
    if counter.0.dtype() != DType::I64 {
        return Ok(());
    }
    let gpu = gpu_of(counter);
    norm::count(&gpu, &gpu.view_of("count batches", counter.0, counter.1, DType::I64)?)
}

/// ReLU.
pub(crate) fn relu(x: In<'_>) -> Out {
    let gpu = gpu_of(x);
    let y = rows::relu(&gpu, &gpu.view("relu", x.0, x.1)?, x.1.shape().elem_count())?;
    give(&gpu, y, x.1.shape())
}

/// Its gradient.
pub(crate) fn relu_gradient(y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    with_buffers("relu", [y, grad], |gpu, [values, grad]| {
        gpu.tensor(rows::relu_gradient(gpu, &values, &grad, y.elem_count())?, y.shape())
    })
}

/// Two tensors side by side.
pub(crate) fn cat(left: In<'_>, right: In<'_>) -> Out {
    let gpu = gpu_of(left);
    let ((n, a), (_, b)) = (left.1.shape().dims2()?, right.1.shape().dims2()?);
    let (left, right) = (gpu.view("cat", left.0, left.1)?, gpu.view("cat", right.0, right.1)?);
    give(&gpu, rows::cat(&gpu, (&left, a), (&right, b), n)?, (n, a + b))
}

/// The columns `first..first + width`.
pub(crate) fn columns(x: &Tensor, first: usize, width: usize) -> Result<Tensor> {
    let (n, columns) = x.dims2()?;
    with_buffers("cat", [x], |gpu, [x]| {
        gpu.tensor(rows::columns(gpu, &x, n, (first, width, columns))?, (n, width))
    })
}

/// Rows of length one.
pub(crate) fn unit(x: In<'_>) -> Out {
    let gpu = gpu_of(x);
    let (n, columns) = x.1.shape().dims2()?;
    give(&gpu, rows::unit(&gpu, &gpu.view("unit norm", x.0, x.1)?, n, columns)?, x.1.shape())
}

/// Their gradient.
pub(crate) fn unit_gradient(x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (n, columns) = x.dims2()?;
    with_buffers("unit norm", [x, y, grad], |gpu, [x, y, grad]| {
        gpu.tensor(rows::unit_gradient(gpu, [&x, &y, &grad], n, columns)?, (n, columns))
    })
}

/// Merged rows.
pub(crate) fn merge(merging: rows::Merging<'_>, x: In<'_>) -> Out {
    let gpu = gpu_of(x);
    let columns = last(x.1);
    let y = rows::merge(&gpu, &gpu.view("merge", x.0, x.1)?, merging, columns)?;
    give(&gpu, y, (merging.starts.len() - 1, columns))
}

/// Their gradient.
pub(crate) fn merge_gradient(merging: rows::Merging<'_>, grad: &Tensor) -> Result<Tensor> {
    let columns = grad.dim(1)?;
    with_buffers("merge", [grad], |gpu, [grad]| {
        let dx = rows::merge_gradient(gpu, &grad, merging, columns)?;
        gpu.tensor(dx, (merging.row_of_input.len(), columns))
    })
}

const POOL: &str = "sparse_pool";

/// What pooling under a kernel leaves for its backward pass.
pub(crate) type LocalPooled = pool::Pooled<MetalBuffer>;

/// What pooling of batch items leaves for its backward pass.
pub(crate) type GlobalPooled = pool::Items<MetalBuffer>;

/// Pooling under a kernel.
pub(crate) fn local_pool(
    map: &KernelMap,
    reduction: Reduction,
    x: In<'_>,
) -> Result<((MetalStorage, Shape), LocalPooled)> {
    let gpu = gpu_of(x);
    let table = table_of(&gpu, map, Direction::ToCoarse)?;
    let channels = last(x.1);
    let pooled = pool::local(&gpu, &table, &gpu.view(POOL, x.0, x.1)?, channels, reduction)?;
    Ok((give(&gpu, pooled.out.clone(), (table.n_target, channels))?, pooled))
}

/// Its gradient.
pub(crate) fn local_pool_gradient(
    map: &KernelMap,
    reduction: Reduction,
    grad: &Tensor,
    pooled: &LocalPooled,
) -> Result<Tensor> {
    let channels = grad.dim(1)?;
    with_buffers(POOL, [grad], |gpu, [grad]| {
        let table = table_of(gpu, map, Direction::ToFine)?;
        let dx = pool::local_gradient(gpu, &table, &grad, pooled, channels, reduction)?;
        gpu.tensor(dx, (table.n_target, channels))
    })
}

/// Pooling of the rows of each batch item.
pub(crate) fn global_pool(
    items: &[std::ops::Range<usize>],
    reduction: Reduction,
    x: In<'_>,
) -> Result<((MetalStorage, Shape), GlobalPooled)> {
    let gpu = gpu_of(x);
    let channels = last(x.1);
    let pooled = pool::global(&gpu, items, &gpu.view(POOL, x.0, x.1)?, channels, reduction)?;
    Ok((give(&gpu, pooled.out.clone(), (items.len(), channels))?, pooled))
}

/// Its gradient.
pub(crate) fn global_pool_gradient(
    reduction: Reduction,
    rows: usize,
    grad: &Tensor,
    pooled: &GlobalPooled,
) -> Result<Tensor> {
    let channels = grad.dim(1)?;
    with_buffers(POOL, [grad], |gpu, [grad]| {
        let dx = pool::global_gradient(gpu, pooled, &grad, (rows, channels), reduction)?;
        gpu.tensor(dx, (rows, channels))
    })
}
