//! The report of a step over gradients on a GPU.

use candle_core::{Result, Tensor};
use ppkt_device::cuda::{CudaDevice, on_gpu, view};

use super::gradient_report;

/// As [`gradient_report`] says, `[3]`.
pub(crate) fn report_of<'a>(
    device: &CudaDevice,
    gradients: impl Iterator<Item = &'a Tensor>,
    share: f64,
    clip: f64,
) -> Result<Tensor> {
    const OP: &str = "gradient report";
    let gradients = gradients.map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
    let storages: Vec<_> = gradients.iter().map(Tensor::storage_and_layout).collect();
    let views: Result<Vec<_>> =
        storages.iter().map(|(storage, layout)| view(OP, on_gpu(OP, storage, layout)?)).collect();
    Ok(gradient_report(device, &views?, share, clip)?.into_tensor(device, 3))
}
