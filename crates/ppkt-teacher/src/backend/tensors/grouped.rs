//! Convolutions in groups, depthwise ones among them: one operation of our own, since candle runs a convolution for each
//! group, of which ResNeXt has 32 and a ConvNeXt has one for each channel.

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::engine::ConvGeometry;

/// Sizes of a convolution in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupedSizes {
    /// `[n, H, W, in]`
    pub(crate) input: [usize; 4],
    /// `[n, H', W', out]`
    pub(crate) output: [usize; 4],
    /// Kernel, stride, padding and dilation, and how many groups.
    pub(crate) conv: ConvGeometry,
}

/// A convolution in groups with its bias.
pub(super) struct Grouped {
    conv: ConvGeometry,
    /// `[k · k, in / groups, out]`
    weight: Tensor,
    /// `[out]`
    bias: Tensor,
}

impl Grouped {
    /// # Shapes
    /// `weight` is `[out, in / groups, k, k]`, `bias` is `[out]`.
    pub(super) fn new(device: &Device, weight: &Tensor, bias: &[f32], conv: ConvGeometry) -> Result<Self> {
        let (outer, per_group, k, _) = weight.dims4()?;
        let weight = weight.permute((2, 3, 1, 0))?.contiguous()?.reshape((k * k, per_group, outer))?;
        Ok(Self { conv, weight: weight.to_device(device)?, bias: Tensor::from_slice(bias, outer, device)? })
    }

    /// `conv(x) + bias`, of a contiguous `[n, H, W, in]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, inner) = x.dims4()?;
        let outer = self.bias.dims()[0];
        let output = [n, self.conv.output(height), self.conv.output(width), outer];
        let geometry = GroupedSizes { input: [n, height, width, inner], output, conv: self.conv };
        x.apply_op3_no_bwd(&self.weight, &self.bias, &GroupedConv(geometry))
    }
}

/// The operation; it has no gradient, as teachers are frozen.
struct GroupedConv(GroupedSizes);

/// The values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("grouped-conv: contiguous tensors are expected"),
    }
}

/// The definition, a row of the output at a time: what the kernels of GPUs are held against.
pub(crate) fn grouped_on_cpu(geometry: &GroupedSizes, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let GroupedSizes { input: [_, height, width, inner], output, conv } = *geometry;
    let [n, out_height, out_width, outer] = output;
    let (per_group, per_output) = (inner / conv.groups, outer / conv.groups);
    let mut out = vec![0f32; n * out_height * out_width * outer];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(out_width * outer).enumerate().for_each(|(row, out)| {
        let (image, line) = (row / out_height, row % out_height);
        for (column, out) in out.chunks_exact_mut(outer).enumerate() {
            out.copy_from_slice(bias);
            for tap in 0..conv.kernel * conv.kernel {
                // Without a border, what is before the first row or column wraps to a huge number.
                let y = (line * conv.stride + tap / conv.kernel * conv.dilation).wrapping_sub(conv.padding);
                let at =
                    (column * conv.stride + tap % conv.kernel * conv.dilation).wrapping_sub(conv.padding);
                if y >= height || at >= width {
                    continue;
                }
                let pixel = &x[((image * height + y) * width + at) * inner..][..inner];
                for i in 0..per_group {
                    let weight = &weight[(tap * per_group + i) * outer..][..outer];
                    for (o, (out, w)) in out.iter_mut().zip(weight).enumerate() {
                        *out += pixel[o / per_output * per_group + i] * w;
                    }
                }
            }
        }
    });
    out
}

impl CustomOp3 for GroupedConv {
    fn name(&self) -> &'static str {
        "grouped-conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        let out = grouped_on_cpu(&self.0, x, weight, values(bias, bias_layout)?);
        Ok((CpuStorage::F32(out), Shape::from(&self.0.output[..])))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        x_layout: &Layout,
        weight: &candle_core::CudaStorage,
        weight_layout: &Layout,
        bias: &candle_core::CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let gpu = &x.device;
        let view = |of| ppkt_device::cuda::view(self.name(), of);
        let views = [view((x, x_layout))?, view((weight, weight_layout))?, view((bias, bias_layout))?];
        let out = crate::cuda::grouped_conv(gpu, &self.0, views)?;
        Ok((out.into_storage(gpu), Shape::from(&self.0.output[..])))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        x_layout: &Layout,
        weight: &candle_core::MetalStorage,
        weight_layout: &Layout,
        bias: &candle_core::MetalStorage,
        bias_layout: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        let gpu = crate::metal::gpu_of(x);
        let x = gpu.view(self.name(), x, x_layout)?;
        let weight = gpu.view(self.name(), weight, weight_layout)?;
        let bias = gpu.view(self.name(), bias, bias_layout)?;
        let out = crate::metal::grouped_conv(&gpu, &self.0, [&x, &weight, &bias])?;
        Ok((gpu.storage(out, candle_core::DType::F32)?, Shape::from(&self.0.output[..])))
    }
}
