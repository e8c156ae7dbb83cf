//! Local and global pooling.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::conv::{slice, with_slices};
#[cfg(feature = "cuda")]
use crate::cuda::ops;
use crate::kernel_map::{BLOCK, KernelMap, PairLists};
#[cfg(feature = "metal")]
use crate::metal::ops as metal;
use crate::{ConvSpec, SparseError, SparseTensor};

/// Sum over the voxels under the kernel.
///
/// # Shapes
/// `[N, C]` to `[M, C]`, on the voxels that a convolution with the same `spec` leads to.
///
/// # Errors
/// As [`conv`](crate::conv).
pub fn sum_pool(x: &SparseTensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    local(x, spec, Reduction::Sum)
}

/// Mean over the voxels under the kernel that exist; zero where none does (a kernel smaller than the stride).
///
/// # Shapes
/// As [`sum_pool`].
///
/// # Errors
/// As [`conv`](crate::conv).
pub fn avg_pool(x: &SparseTensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    local(x, spec, Reduction::Mean)
}

/// Largest value under the kernel, channel by channel; zero where there is no voxel (a kernel smaller than the
/// stride).
///
/// Where several voxels share the largest value, the first under the kernel gets the gradient. A NaN counts as the
/// largest.
///
/// # Shapes
/// As [`sum_pool`].
///
/// # Errors
/// As [`conv`](crate::conv).
pub fn max_pool(x: &SparseTensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    local(x, spec, Reduction::Max)
}

/// Sum over all voxels of each batch item: `[batch_size, C]`.
///
/// # Errors
/// Only candle's.
pub fn global_sum_pool(x: &SparseTensor) -> Result<Tensor, SparseError> {
    global(x, Reduction::Sum)
}

/// Mean over all voxels of each batch item: `[batch_size, C]`; zero for an item without voxels.
///
/// # Errors
/// Only candle's.
pub fn global_avg_pool(x: &SparseTensor) -> Result<Tensor, SparseError> {
    global(x, Reduction::Mean)
}

/// Largest value in each batch item, channel by channel: `[batch_size, C]`; zero for an item without voxels.
///
/// # Errors
/// Only candle's.
pub fn global_max_pool(x: &SparseTensor) -> Result<Tensor, SparseError> {
    global(x, Reduction::Max)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    Mean,
    Max,
}

fn local(x: &SparseTensor, spec: ConvSpec, reduction: Reduction) -> Result<SparseTensor, SparseError> {
    let map = x.manager().kernel_map(x.stride(), spec)?;
    let features = x.features().contiguous()?.apply_op1(Local {
        map,
        reduction,
        largest: OnceLock::new(),
        #[cfg(feature = "cuda")]
        largest_on_device: OnceLock::new(),
        #[cfg(feature = "metal")]
        pooled_on_metal: OnceLock::new(),
    })?;
    SparseTensor::on(x.manager(), x.stride() * spec.stride as u32, features)
}

fn global(x: &SparseTensor, reduction: Reduction) -> Result<Tensor, SparseError> {
    let items = (0..x.batch_size()).map(|item| x.coordinate_set().batch_rows(item)).collect();
    Ok(x.features().contiguous()?.apply_op1(Global {
        items,
        reduction,
        largest: OnceLock::new(),
        #[cfg(feature = "cuda")]
        largest_on_device: OnceLock::new(),
        #[cfg(feature = "metal")]
        pooled_on_metal: OnceLock::new(),
    })?)
}

/// Takes a value into a running maximum and notes where it came from.
fn take_larger(value: f32, row: u32, best: &mut f32, from: &mut u32) {
    if *from == NOWHERE || value > *best || (value.is_nan() && !best.is_nan()) {
        *best = value;
        *from = row;
    }
}

/// The source of a maximum over nothing.
const NOWHERE: u32 = u32::MAX;

struct Local {
    map: Arc<KernelMap>,
    reduction: Reduction,
    /// For [`Reduction::Max`]: the row that each value of the result came from.
    largest: OnceLock<Vec<u32>>,
    /// The same in the memory of a GPU.
    #[cfg(feature = "cuda")]
    largest_on_device: OnceLock<Tensor>,
    /// What a forward pass on an Apple GPU leaves for the backward one.
    #[cfg(feature = "metal")]
    pooled_on_metal: OnceLock<metal::LocalPooled>,
}

impl Local {
    /// What the sum of each coarse voxel is multiplied by.
    fn scales(&self, lists: &PairLists) -> Vec<f32> {
        let mut counts = vec![0f32; lists.n_target];
        for (block, counts) in counts.chunks_mut(BLOCK).enumerate() {
            for k in 0..lists.volume {
                lists.group(block, k).for_each(|(_, t)| counts[t] += 1.0);
            }
        }
        match self.reduction {
            Reduction::Mean => counts.iter().map(|c| 1.0 / c.max(1.0)).collect(),
            _ => vec![1.0; lists.n_target],
        }
    }

    /// Forward, `Reduction::Max`: values and where they came from.
    fn maximum(&self, lists: &PairLists, x: &[f32], channels: usize) -> (Vec<f32>, Vec<u32>) {
        let mut out = vec![0f32; lists.n_target * channels];
        let mut from = vec![NOWHERE; lists.n_target * channels];
        let size = BLOCK * channels.max(1);
        out.par_chunks_mut(size).zip(from.par_chunks_mut(size)).enumerate().for_each(
            |(block, (out, from))| {
                for k in 0..lists.volume {
                    for (s, t) in lists.group(block, k) {
                        let best = out[t * channels..(t + 1) * channels].iter_mut();
                        let best = best.zip(&mut from[t * channels..(t + 1) * channels]);
                        for (&v, (best, from)) in x[s * channels..(s + 1) * channels].iter().zip(best) {
                            take_larger(v, s as u32, best, from);
                        }
                    }
                }
            },
        );
        (out, from)
    }

    /// Forward, the others.
    fn sum(&self, lists: &PairLists, x: &[f32], channels: usize) -> Vec<f32> {
        let scales = self.scales(lists);
        let mut out = vec![0f32; lists.n_target * channels];
        out.par_chunks_mut(BLOCK * channels.max(1)).enumerate().for_each(|(block, out)| {
            for k in 0..lists.volume {
                for (s, t) in lists.group(block, k) {
                    let row = &mut out[t * channels..(t + 1) * channels];
                    row.iter_mut().zip(&x[s * channels..(s + 1) * channels]).for_each(|(o, v)| *o += v);
                }
            }
            for (row, scale) in out.chunks_mut(channels.max(1)).zip(&scales[block * BLOCK..]) {
                row.iter_mut().for_each(|o| *o *= scale);
            }
        });
        out
    }

    /// The gradient of the fine side, each of its blocks by one thread.
    fn backward(&self, grad: &[f32], channels: usize) -> Vec<f32> {
        // A symmetric map has with every pair the pair the other way round.
        let symmetric = self.map.spec().is_symmetric();
        let lists = if symmetric { self.map.by_coarse() } else { self.map.by_fine() };
        let scales = self.scales(self.map.by_coarse());
        let from = self.largest.get();
        let mut dx = vec![0f32; lists.n_target * channels];
        dx.par_chunks_mut(BLOCK * channels.max(1)).enumerate().for_each(|(block, dx)| {
            for k in 0..lists.volume {
                for (s, t) in lists.group(block, k) {
                    let row = dx[t * channels..(t + 1) * channels].iter_mut();
                    let grad = &grad[s * channels..(s + 1) * channels];
                    let own = (block * BLOCK + t) as u32;
                    match from {
                        Some(from) => {
                            let from = &from[s * channels..(s + 1) * channels];
                            row.zip(grad)
                                .zip(from)
                                .filter(|(_, f)| **f == own)
                                .for_each(|((d, g), _)| *d += g);
                        }
                        None => row.zip(grad).for_each(|(d, g)| *d += g * scales[s]),
                    }
                }
            }
        });
        dx
    }
}

impl CustomOp1 for Local {
    fn name(&self) -> &'static str {
        "sparse_pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, channels) = (slice(storage, layout)?, layout.dims()[1]);
        let lists = self.map.by_coarse();
        let out = match self.reduction {
            Reduction::Max => {
                let (out, from) = self.maximum(lists, x, channels);
                self.largest.get_or_init(|| from);
                out
            }
            Reduction::Sum | Reduction::Mean => self.sum(lists, x, channels),
        };
        Ok((CpuStorage::F32(out), (lists.n_target, channels).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let (y, shape, largest) = ops::local_pool(&self.map, self.reduction, (storage, layout))?;
        if let Some(largest) = largest {
            self.largest_on_device.get_or_init(|| largest);
        }
        Ok((y, shape))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let (y, pooled) = metal::local_pool(&self.map, self.reduction, (storage, layout))?;
        self.pooled_on_metal.get_or_init(|| pooled);
        Ok(y)
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let largest = self.largest_on_device.get();
            return ops::local_pool_gradient(&self.map, self.reduction, &grad, largest).map(Some);
        }
        #[cfg(feature = "metal")]
        if let Some(pooled) = self.pooled_on_metal.get() {
            return metal::local_pool_gradient(&self.map, self.reduction, &grad, pooled).map(Some);
        }
        let dx = with_slices("pooling", [&grad], |[grad]| self.backward(grad, x.dims()[1]))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

struct Global {
    /// The rows of each batch item.
    items: Vec<Range<usize>>,
    reduction: Reduction,
    /// For [`Reduction::Max`]: the row that each value of the result came from.
    largest: OnceLock<Vec<u32>>,
    /// The same in the memory of a GPU.
    #[cfg(feature = "cuda")]
    largest_on_device: OnceLock<Tensor>,
    /// What a forward pass on an Apple GPU leaves for the backward one.
    #[cfg(feature = "metal")]
    pooled_on_metal: OnceLock<metal::GlobalPooled>,
}

/// Rows that are summed by one thread; sums of such chunks are added in order, whatever the number of threads.
const CHUNK: usize = 1024;

impl Global {
    fn scale(&self, item: usize) -> f32 {
        match self.reduction {
            Reduction::Mean => 1.0 / self.items[item].len().max(1) as f32,
            _ => 1.0,
        }
    }

    fn sum(&self, x: &[f32], channels: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.items.len() * channels);
        for (item, rows) in self.items.iter().enumerate() {
            let rows = &x[rows.start * channels..rows.end * channels];
            let partial: Vec<Vec<f32>> = rows
                .par_chunks(CHUNK * channels.max(1))
                .map(|chunk| {
                    let mut sum = vec![0f32; channels];
                    for row in chunk.chunks_exact(channels) {
                        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                    }
                    sum
                })
                .collect();
            let mut sum = vec![0f32; channels];
            partial.iter().for_each(|p| sum.iter_mut().zip(p).for_each(|(s, v)| *s += v));
            out.extend(sum.into_iter().map(|s| s * self.scale(item)));
        }
        out
    }

    fn maximum(&self, x: &[f32], channels: usize) -> (Vec<f32>, Vec<u32>) {
        let mut out = vec![0f32; self.items.len() * channels];
        let mut from = vec![NOWHERE; self.items.len() * channels];
        for (item, rows) in self.items.iter().enumerate() {
            let place = item * channels..(item + 1) * channels;
            for row in rows.clone() {
                let best = out[place.clone()].iter_mut().zip(&mut from[place.clone()]);
                for (&v, (best, from)) in x[row * channels..(row + 1) * channels].iter().zip(best) {
                    take_larger(v, row as u32, best, from);
                }
            }
        }
        (out, from)
    }

    fn backward(&self, grad: &[f32], rows: usize, channels: usize) -> Vec<f32> {
        let mut dx = vec![0f32; rows * channels];
        if let Some(from) = self.largest.get() {
            for (i, (&from, g)) in from.iter().zip(grad).enumerate().filter(|(_, (f, _))| **f != NOWHERE) {
                dx[from as usize * channels + i % channels] += g;
            }
            return dx;
        }
        for (item, rows) in self.items.iter().enumerate() {
            let (grad, scale) = (&grad[item * channels..(item + 1) * channels], self.scale(item));
            dx[rows.start * channels..rows.end * channels].par_chunks_mut(channels.max(1)).for_each(|row| {
                row.iter_mut().zip(grad).for_each(|(d, g)| *d = g * scale);
            });
        }
        dx
    }
}

impl CustomOp1 for Global {
    fn name(&self) -> &'static str {
        "sparse_global_pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, channels) = (slice(storage, layout)?, layout.dims()[1]);
        let out = match self.reduction {
            Reduction::Max => {
                let (out, from) = self.maximum(x, channels);
                self.largest.get_or_init(|| from);
                out
            }
            Reduction::Sum | Reduction::Mean => self.sum(x, channels),
        };
        Ok((CpuStorage::F32(out), (self.items.len(), channels).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let (y, shape, largest) = ops::global_pool(&self.items, self.reduction, (storage, layout))?;
        if let Some(largest) = largest {
            self.largest_on_device.get_or_init(|| largest);
        }
        Ok((y, shape))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let (y, pooled) = metal::global_pool(&self.items, self.reduction, (storage, layout))?;
        self.pooled_on_metal.get_or_init(|| pooled);
        Ok(y)
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let largest = self.largest_on_device.get();
            return ops::global_pool_gradient(&self.items, self.reduction, x.dim(0)?, &grad, largest)
                .map(Some);
        }
        #[cfg(feature = "metal")]
        if let Some(pooled) = self.pooled_on_metal.get() {
            return metal::global_pool_gradient(self.reduction, x.dim(0)?, &grad, pooled).map(Some);
        }
        let (rows, channels) = x.dims2()?;
        let dx = with_slices("pooling", [&grad], |[grad]| self.backward(grad, rows, channels))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}
