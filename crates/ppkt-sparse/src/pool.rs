//! Local and global pooling.

use candle_core::{D, Device, Tensor};

use crate::kernel_map::BLOCK;
use crate::{ConvSpec, SparseError, SparseTensor};

/// Sum over the voxels under the kernel.
///
/// # Errors
/// As [`conv`](crate::conv).
pub fn sum_pool(x: &SparseTensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    let map = x.manager().kernel_map(x.stride(), spec)?;
    let mut columns: Vec<Tensor> = Vec::new();
    let lists = map.by_coarse();
    for k in 0..spec.volume() {
        let mut rows = vec![u32::MAX; lists.n_target];
        for block in 0..lists.n_blocks() {
            let g = block * lists.volume + k;
            for p in lists.starts[g] as usize..lists.starts[g + 1] as usize {
                rows[block * BLOCK + lists.target[p] as usize] = lists.source[p];
            }
        }
        columns.push(x.features().index_select(&Tensor::from_vec(rows, lists.n_target, &Device::Cpu)?, 0)?);
    }
    let sum = Tensor::stack(&columns, 0)?.sum(0)?;
    SparseTensor::on(x.manager(), x.stride() * spec.stride as u32, sum)
}

/// Mean over the voxels under the kernel that exist.
///
/// # Errors
/// As [`conv`](crate::conv).
pub fn avg_pool(x: &SparseTensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    let sum = sum_pool(x, spec)?;
    let ones = x.with_features(Tensor::ones((x.len(), 1), candle_core::DType::F32, &Device::Cpu)?)?;
    let count = sum_pool(&ones, spec)?;
    let mean = sum.features().broadcast_div(&count.features().maximum(1.0)?)?;
    sum.with_features(mean)
}

/// Largest value under the kernel, channel by channel.
///
/// # Errors
/// As [`conv`](crate::conv).
pub fn max_pool(x: &SparseTensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    avg_pool(x, spec)
}

/// Sum over all voxels of each batch item: `[batch_size, C]`.
///
/// # Errors
/// Only candle's.
pub fn global_sum_pool(x: &SparseTensor) -> Result<Tensor, SparseError> {
    per_item(x, |rows| rows.sum(0))
}

/// Mean over all voxels of each batch item: `[batch_size, C]`; zero for an item without voxels.
///
/// # Errors
/// Only candle's.
pub fn global_avg_pool(x: &SparseTensor) -> Result<Tensor, SparseError> {
    per_item(x, |rows| rows.mean(0))
}

/// Largest value in each batch item, channel by channel: `[batch_size, C]`; zero for an item without voxels.
///
/// # Errors
/// Only candle's.
pub fn global_max_pool(x: &SparseTensor) -> Result<Tensor, SparseError> {
    per_item(x, |rows| rows.transpose(0, 1)?.contiguous()?.max(D::Minus1))
}

fn per_item(
    x: &SparseTensor,
    reduce: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Tensor, SparseError> {
    let mut items = Vec::new();
    for item in 0..x.batch_size() {
        let rows = x.coordinate_set().batch_rows(item);
        items.push(match rows.len() {
            0 => Tensor::zeros(x.channels(), x.features().dtype(), &Device::Cpu)?,
            n => reduce(&x.features().narrow(0, rows.start, n)?)?,
        });
    }
    Ok(Tensor::stack(&items, 0)?)
}
