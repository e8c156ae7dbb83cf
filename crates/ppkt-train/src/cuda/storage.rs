//! Gradients and reports as memory of kernels.

use candle_core::{CudaStorage, Layout, Result, Shape, Storage, Tensor};
use ppkt_device::View;
use ppkt_device::cuda::{CudaDevice, Gpu};

use super::gradient_report;

/// Runs `f` on the numbers of a contiguous tensor on a GPU.
pub(crate) fn with_view<R>(
    gpu: &Gpu<'_>,
    tensor: &Tensor,
    f: impl FnOnce(View<'_>) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    f(gpu.view::<f32>(on_gpu(&storage, layout)?.0, layout)?)
}

fn on_gpu<'a>(storage: &'a Storage, layout: &'a Layout) -> Result<(&'a CudaStorage, &'a Layout)> {
    match storage {
        Storage::Cuda(storage) => Ok((storage, layout)),
        _ => candle_core::bail!("optimizer-step: a gradient is not on the GPU of its parameter"),
    }
}

/// The report of a step over gradients on a GPU.
pub(crate) fn report_of<'a>(
    device: &CudaDevice,
    gradients: impl Iterator<Item = &'a Tensor>,
    share: f64,
    clip: f64,
) -> Result<Tensor> {
    let gpu = Gpu::new(device);
    let gradients = gradients.map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
    let storages: Vec<_> = gradients.iter().map(Tensor::storage_and_layout).collect();
    let views: Result<Vec<View<'_>>> = storages
        .iter()
        .map(|(storage, layout)| gpu.view::<f32>(on_gpu(storage, layout)?.0, layout))
        .collect();
    let report = gradient_report(&gpu, &views?, share, clip)?;
    Ok(gpu.tensor(report, &Shape::from(3)))
}
