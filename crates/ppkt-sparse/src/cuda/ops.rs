//! The operations of the crate on tensors of a GPU: the bodies of `cuda_fwd`, and of backward passes.

use candle_core::{CudaStorage, Layout, Result, Shape, Tensor};
use ppkt_device::cuda::{Operand, view, view_mut, with_storages};

use super::map::DeviceTable;
use super::rows::{self, Merging, Rows};
use super::tensors::{by_type, rows as rows_of};
use super::{norm, pool};
use crate::conv::Direction;
use crate::kernel_map::KernelMap;
use crate::norm_tensor::{Backward, Gradients, Through};
use crate::pool::Reduction;

/// As [`crate::dense`]'s ReLU.
pub(crate) fn relu((x, l): Operand<'_>) -> Result<(CudaStorage, Shape)> {
    by_type!("relu", x, T => {
        let y = rows::relu::<_, T>(&x.device, view("relu", (x, l))?, l.shape().elem_count())?;
        Ok((y.into_storage(&x.device), l.shape().clone()))
    })
}

pub(crate) fn relu_gradient(y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    with_storages("relu", [y, grad], |[y, g]| {
        by_type!("relu", y.0, T => {
            let elements = y.1.shape().elem_count();
            let (ys, gs) = (view::<T>("relu", y)?, view("relu", g)?);
            let dx = rows::relu_gradient::<_, T>(&y.0.device, ys, gs, elements)?;
            Ok(dx.into_tensor(&y.0.device, y.1.shape()))
        })
    })
}

/// Two tensors side by side.
pub(crate) fn cat(a: Operand<'_>, b: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    let (Rows { n, channels: ca }, cb) = (rows_of(a.1)?, rows_of(b.1)?.channels);
    by_type!("cat", a.0, T => {
        let (left, right) = ((view::<T>("cat", a)?, ca), (view("cat", b)?, cb));
        let out = rows::cat::<_, T>(&a.0.device, left, right, n)?;
        Ok((out.into_storage(&a.0.device), Shape::from((n, ca + cb))))
    })
}

/// The columns `first..first + width`.
pub(crate) fn columns(x: &Tensor, first: usize, width: usize) -> Result<Tensor> {
    with_storages("cat", [x], |[x]| {
        by_type!("cat", x.0, T => {
            let rows = rows_of(x.1)?;
            let out =
                rows::columns::<_, T>(&x.0.device, view("cat", x)?, rows, (first, width))?;
            Ok(out.into_tensor(&x.0.device, (rows.n, width)))
        })
    })
}

/// The sum over rows, `[C]` in f32.
pub(crate) fn column_sums((x, l): Operand<'_>) -> Result<CudaStorage> {
    by_type!("sum over rows", x, T => {
        let sums =
            rows::column_sums::<_, T>(&x.device, view("sum over rows", (x, l))?, rows_of(l)?)?;
        Ok(sums.into_storage(&x.device))
    })
}

pub(crate) fn unit((x, l): Operand<'_>) -> Result<(CudaStorage, Shape)> {
    by_type!("unit norm", x, T => {
        let y = rows::unit::<_, T>(&x.device, view("unit norm", (x, l))?, rows_of(l)?)?;
        Ok((y.into_storage(&x.device), l.shape().clone()))
    })
}

pub(crate) fn unit_gradient(x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    with_storages("unit norm", [x, y, grad], |all| {
        let [(x, l), ..] = all;
        by_type!("unit norm", x, T => {
            let [x_view, y_view, g_view] = all;
            let views =
                [view::<T>("unit norm", x_view)?, view("unit norm", y_view)?, view("unit norm", g_view)?];
            let dx = rows::unit_gradient::<_, T>(&x.device, views, rows_of(l)?)?;
            Ok(dx.into_tensor(&x.device, l.shape()))
        })
    })
}

pub(crate) fn merge(merging: Merging<'_>, (x, l): Operand<'_>) -> Result<(CudaStorage, Shape)> {
    let channels = rows_of(l)?.channels;
    let y = merging.forward(&x.device, view("merge", (x, l))?, channels)?;
    Ok((y.into_storage(&x.device), Shape::from((merging.starts.len() - 1, channels))))
}

pub(crate) fn merge_gradient(merging: Merging<'_>, grad: &Tensor) -> Result<Tensor> {
    with_storages("merge", [grad], |[g]| {
        let channels = rows_of(g.1)?.channels;
        let dx = merging.backward(&g.0.device, view("merge", g)?, channels)?;
        Ok(dx.into_tensor(&g.0.device, (merging.row_of_input.len(), channels)))
    })
}

const NORM: &str = "batch norm";

/// Moments `[3, C]` of the rows of `x`.
pub(crate) fn batch_moments((x, l): Operand<'_>, eps: f64) -> Result<Tensor> {
    let rows = rows_of(l)?;
    by_type!(NORM, x, T => {
        let moments = norm::batch_moments::<_, T>(&x.device, view(NORM, (x, l))?, rows, eps)?;
        Ok(moments.into_tensor(&x.device, (3, rows.channels)))
    })
}

/// The same of running statistics.
pub(crate) fn running_moments(mean: &Tensor, var: &Tensor, eps: f64) -> Result<Tensor> {
    with_storages(NORM, [mean, var], |[mean, var]| {
        let channels = mean.1.shape().elem_count();
        let device = &mean.0.device;
        let moments = norm::running_moments(device, view(NORM, mean)?, view(NORM, var)?, channels, eps)?;
        Ok(moments.into_tensor(device, (3, channels)))
    })
}

pub(crate) fn normalise(
    (x, l): Operand<'_>,
    moments: &Tensor,
    affine: Operand<'_>,
    residual: Option<Operand<'_>>,
    relu: bool,
) -> Result<(CudaStorage, Shape)> {
    with_storages(NORM, [moments], |[moments]| {
        by_type!(NORM, x, T => {
            let residual = residual.map(|r| view::<T>(NORM, r)).transpose()?;
            let (xs, moments, affine) = (view(NORM, (x, l))?, view(NORM, moments)?, view(NORM, affine)?);
            let y = norm::normalise::<_, T>(
                &x.device, xs, moments, affine, residual, relu, rows_of(l)?,
            )?;
            Ok((y.into_storage(&x.device), l.shape().clone()))
        })
    })
}

/// The gradients of a normalisation with `moments`.
pub(crate) fn norm_gradients(asked: &Backward<'_>, moments: &Tensor) -> Result<Gradients> {
    let Backward { x, grad, affine, through, .. } = *asked;
    let y = if let Through::Positive(y) = through { y } else { x };
    with_storages(NORM, [x, y, grad, moments, affine], |[x, y, grad, moments, affine]| {
        let (device, shape, rows) = (&x.0.device, x.1.shape(), rows_of(x.1)?);
        by_type!(NORM, x.0, T => {
            let relu = !matches!(through, Through::All);
            let backward = norm::Backward::<T> {
                x: view(NORM, x)?,
                through: match through {
                    Through::All => Through::All,
                    Through::Positive(_) => Through::Positive(view(NORM, y)?),
                    Through::OfNorm => Through::OfNorm,
                },
                grad: view(NORM, grad)?,
                moments: view(NORM, moments)?,
                affine: view(NORM, affine)?,
                batch_statistics: asked.of_batch,
                want_dx: asked.want_dx,
                want_dresidual: asked.want_dresidual && relu,
            };
            let grads = backward.run(device, rows)?;
            let dresidual = match grads.dresidual {
                Some(dresidual) => Some(dresidual.into_tensor(device, shape)),
                // Without a ReLU the residual's gradient is the result's.
                None => asked.want_dresidual.then(|| asked.grad.clone()),
            };
            let daffine = grads.daffine.into_tensor(device, 2 * rows.channels);
            Ok(Gradients { dx: grads.dx.map(|dx| dx.into_tensor(device, shape)), daffine, dresidual })
        })
    })
}

/// `running ← (1 - momentum) running + momentum batch`
pub(crate) fn move_running(
    running: (&mut CudaStorage, &Layout),
    batch: Operand<'_>,
    momentum: f64,
) -> Result<()> {
    let device = running.0.device.clone();
    let channels = running.1.shape().elem_count();
    let running = view_mut("running statistics", running)?;
    norm::move_running(&device, running, view("running statistics", batch)?, channels, momentum)
}

/// One more batch. A counter of another type comes from a foreign file, and nothing reads it.
pub(crate) fn count(batches: (&mut CudaStorage, &Layout)) -> Result<()> {
    let device = batches.0.device.clone();
    match batches.0.as_cuda_slice::<i64>() {
        Ok(_) => norm::count(&device, view_mut("count batches", batches)?),
        Err(_) => Ok(()),
    }
}

const POOL: &str = "sparse_pool";

/// Also returns, of a maximum, the rows that the values came from, `[M, C]`.
pub(crate) fn local_pool(
    map: &KernelMap,
    pooling: Reduction,
    (x, l): Operand<'_>,
) -> Result<(CudaStorage, Shape, Option<Tensor>)> {
    let (device, c) = (&x.device, rows_of(l)?.channels);
    let table: &DeviceTable = &*map.on_cuda(device, Direction::ToCoarse)?;
    let shape = Shape::from((table.n_target, c));
    by_type!(POOL, x, T => {
        let xs = view::<T>(POOL, (x, l))?;
        if pooling == Reduction::Max {
            let (y, largest) = pool::max::<_, T>(device, xs, table, c)?;
            let largest = largest.into_tensor(device, shape.clone());
            return Ok((y.into_storage(device), shape, Some(largest)));
        }
        let scales = (pooling == Reduction::Mean).then(|| pool::scales(device, table)).transpose()?;
        let y = pool::sum::<_, T>(device, xs, table, c, scales.as_ref())?;
        Ok((y.into_storage(device), shape, None))
    })
}

pub(crate) fn local_pool_gradient(
    map: &KernelMap,
    pooling: Reduction,
    grad: &Tensor,
    largest: Option<&Tensor>,
) -> Result<Tensor> {
    // A symmetric map has with every pair the pair the other way round.
    let back = if map.spec().is_symmetric() { Direction::ToCoarse } else { Direction::ToFine };
    with_storages(POOL, [grad, largest.unwrap_or(grad)], |[g, from]| {
        let (device, c) = (&g.0.device, rows_of(g.1)?.channels);
        let table: &DeviceTable = &*map.on_cuda(device, back)?;
        let scales = match pooling {
            Reduction::Mean => Some(pool::scales(device, &*map.on_cuda(device, Direction::ToCoarse)?)?),
            Reduction::Sum | Reduction::Max => None,
        };
        let from = largest.map(|_| view::<u32>(POOL, from)).transpose()?;
        by_type!(POOL, g.0, T => {
            let dx = pool::gradient::<_, T>(
                device, view(POOL, g)?, table, c, scales.as_ref(), from,
            )?;
            Ok(dx.into_tensor(device, (table.n_target, c)))
        })
    })
}

/// As [`local_pool`], over all rows of each batch item.
pub(crate) fn global_pool(
    items: &[std::ops::Range<usize>],
    pooling: Reduction,
    (x, l): Operand<'_>,
) -> Result<(CudaStorage, Shape, Option<Tensor>)> {
    let (device, c) = (&x.device, rows_of(l)?.channels);
    let on_device = pool::Items::new(device, items)?;
    let shape = Shape::from((items.len(), c));
    by_type!(POOL, x, T => {
        let xs = view::<T>(POOL, (x, l))?;
        if pooling == Reduction::Max {
            let (y, largest) = on_device.max::<T>(device, xs, c)?;
            let largest = largest.into_tensor(device, shape.clone());
            return Ok((y.into_storage(device), shape, Some(largest)));
        }
        let y = on_device.sum::<T>(device, xs, c, pooling == Reduction::Mean)?;
        Ok((y.into_storage(device), shape, None))
    })
}

pub(crate) fn global_pool_gradient(
    items: &[std::ops::Range<usize>],
    pooling: Reduction,
    n: usize,
    grad: &Tensor,
    largest: Option<&Tensor>,
) -> Result<Tensor> {
    with_storages(POOL, [grad, largest.unwrap_or(grad)], |[g, from]| {
        let (device, channels) = (&g.0.device, rows_of(g.1)?.channels);
        let from = largest.map(|_| view::<u32>(POOL, from)).transpose()?;
        let on_device = pool::Items::new(device, items)?;
        by_type!(POOL, g.0, T => {
            let mean = pooling == Reduction::Mean;
            let rows = Rows { n, channels };
            let dx = on_device.gradient::<T>(device, view(POOL, g)?, rows, mean, from)?;
            Ok(dx.into_tensor(device, (n, channels)))
        })
    })
}
