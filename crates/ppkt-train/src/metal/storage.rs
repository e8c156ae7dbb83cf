//! Gradients and reports as memory of kernels.

use candle_core::{Result, Storage, Tensor};
use ppkt_device::metal::Metal;

use super::optimizer::gradient_report;

/// The report of a step over gradients on a GPU.
pub(crate) fn report_of<'a>(
    device: &candle_core::MetalDevice,
    gradients: impl Iterator<Item = &'a Tensor>,
    share: f64,
    clip: f64,
) -> Result<Tensor> {
    let gpu = Metal::new(device);
    let gradients = gradients.map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
    let storages: Vec<_> = gradients.iter().map(Tensor::storage_and_layout).collect();
    let mut views = Vec::with_capacity(storages.len());
    for (storage, layout) in &storages {
        let Storage::Metal(storage) = &**storage else {
            candle_core::bail!("optimizer-step: a gradient is not on the GPU of its parameter");
        };
        views.push((gpu.view("optimizer-step", storage, layout)?, layout.shape().elem_count()));
    }
    gpu.tensor(gradient_report(&gpu, &views, share, clip)?, 3)
}
