//! Bilinear reading at fixed places, and the way back.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

/// A cell of the flattened map, and its weight.
pub(crate) type Tap = (u32, f32);

/// Bilinear reading at fixed places: for each pixel four cells of the flattened map, with their weights.
pub(super) struct Taps(Arc<Vec<[Tap; 4]>>);

/// Pixels or cells that one task takes.
const ROWS: usize = 64;

impl Taps {
    pub(super) fn new(taps: Vec<[Tap; 4]>) -> Self {
        Self(Arc::new(taps))
    }
}

/// Who reads each cell: cell `i` is read by `readers[starts[i]..starts[i + 1]]`, pixels in their order.
pub(crate) struct Readers {
    pub(crate) starts: Vec<usize>,
    /// A pixel, and the weight of the cell in it.
    pub(crate) readers: Vec<Tap>,
}

impl Readers {
    pub(crate) fn of(taps: &[[Tap; 4]], n_cells: usize) -> Self {
        let mut starts = vec![0usize; n_cells + 1];
        for &(cell, _) in taps.iter().flatten() {
            starts[cell as usize + 1] += 1;
        }
        for i in 0..n_cells {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut readers = vec![(0u32, 0f32); taps.len() * 4];
        for (pixel, taps) in taps.iter().enumerate() {
            for &(cell, weight) in taps {
                readers[next[cell as usize]] = (pixel as u32, weight);
                next[cell as usize] += 1;
            }
        }
        Self { starts, readers }
    }
}

/// `[pixels, d]` of a flattened map of `d` channels.
pub(crate) fn read_pixels(map: &[f32], taps: &[[Tap; 4]], d: usize) -> Vec<f32> {
    let mut out = vec![0f32; taps.len() * d];
    if d > 0 {
        out.par_chunks_mut(ROWS * d).zip(taps.par_chunks(ROWS)).for_each(|(out, taps)| {
            for (out, taps) in out.chunks_exact_mut(d).zip(taps) {
                for &(cell, weight) in taps {
                    add_scaled(out, &map[cell as usize * d..][..d], weight);
                }
            }
        });
    }
    out
}

/// `[cells, d]`: each cell collects from the gradient of the pixels that read it, in their order: the same bits for any
/// number of threads.
pub(crate) fn read_cells(grad_md: &[f32], readers: &Readers, d: usize) -> Vec<f32> {
    let Readers { starts, readers } = readers;
    let mut out = vec![0f32; (starts.len() - 1) * d];
    if d > 0 {
        out.par_chunks_mut(ROWS * d).enumerate().for_each(|(task, out)| {
            for (i, out) in out.chunks_exact_mut(d).enumerate() {
                let cell = task * ROWS + i;
                for &(pixel, weight) in &readers[starts[cell]..starts[cell + 1]] {
                    add_scaled(out, &grad_md[pixel as usize * d..][..d], weight);
                }
            }
        });
    }
    out
}

fn add_scaled(out: &mut [f32], row: &[f32], weight: f32) {
    for (o, x) in out.iter_mut().zip(row) {
        *o += weight * x;
    }
}

impl CustomOp1 for Taps {
    fn name(&self) -> &'static str {
        "bilinear-taps"
    }

    /// `[B, h, w, D]` to `[M, D]`.
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("{}: a contiguous map is expected", self.name());
        };
        let d = layout.dims().last().copied().unwrap_or(0);
        let out = read_pixels(&storage.as_slice::<f32>()?[from..to], &self.0, d);
        Ok((CpuStorage::F32(out), Shape::from((self.0.len(), d))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let gpu = &storage.device;
        let d = layout.dims().last().copied().unwrap_or(0);
        let map = ppkt_device::cuda::view(self.name(), (storage, layout))?;
        let out = crate::cuda::taps_forward(gpu, map, &self.0, d)?;
        Ok((out.into_storage(gpu), Shape::from((self.0.len(), d))))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let gpu = crate::metal::gpu_of(storage);
        let d = layout.dims().last().copied().unwrap_or(0);
        let out = crate::metal::read(&gpu, &gpu.view(self.name(), storage, layout)?, &self.0, d)?;
        Ok((gpu.storage(out, candle_core::DType::F32)?, Shape::from((self.0.len(), d))))
    }

    fn bwd(&self, map: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let d = map.dims().last().copied().unwrap_or(0);
        let readers = Readers::of(&self.0, map.elem_count() / d.max(1));
        // Without a graph of its own: gradients are not differentiated again.
        grad.detach().contiguous()?.apply_op1_no_bwd(&ToMap { readers, shape: map.shape().clone() }).map(Some)
    }
}

/// From the gradient at the pixels to that of the map.
struct ToMap {
    readers: Readers,
    /// That of the map.
    shape: Shape,
}

impl CustomOp1 for ToMap {
    fn name(&self) -> &'static str {
        "bilinear-taps-backward"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("{}: a contiguous gradient is expected", self.name());
        };
        let d = layout.dims().last().copied().unwrap_or(0);
        let out = read_cells(&storage.as_slice::<f32>()?[from..to], &self.readers, d);
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let gpu = &storage.device;
        let d = layout.dims().last().copied().unwrap_or(0);
        let gradient = ppkt_device::cuda::view(self.name(), (storage, layout))?;
        let out = crate::cuda::taps_backward(gpu, gradient, &self.readers, d)?;
        Ok((out.into_storage(gpu), self.shape.clone()))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let gpu = crate::metal::gpu_of(storage);
        let d = layout.dims().last().copied().unwrap_or(0);
        let out = crate::metal::collect(&gpu, &gpu.view(self.name(), storage, layout)?, &self.readers, d)?;
        Ok((gpu.storage(out, candle_core::DType::F32)?, self.shape.clone()))
    }
}
