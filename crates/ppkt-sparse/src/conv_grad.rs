//! The gradients of a convolution as candle operations, so that each device has its own kernel for them.
//!
//! They have no gradients of their own.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use crate::conv::{Conv, last, side, slice};
#[cfg(feature = "cuda")]
use crate::cuda::conv_candle as cuda;
use crate::dense::column_sums;
use crate::kernels::{self, Side, Weight};

/// The gradient by features that stand at channels `first..first + channels` of the input.
pub(crate) fn of_features(
    conv: &Conv,
    (first, channels): (usize, usize),
    w: &Tensor,
    grad: &Tensor,
) -> Result<Tensor> {
    grad.apply_op2_no_bwd(w, &OfFeatures { conv: conv.clone(), first, channels })
}

/// The gradient by the weight; of one input, or of two side by side.
pub(crate) fn of_weight(conv: &Conv, inputs: &[&Tensor], w: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let op = OfWeight { conv: conv.clone(), shape: w.shape().clone() };
    match *inputs {
        [x] => x.apply_op2_no_bwd(grad, &op),
        [left, right] => left.apply_op3_no_bwd(right, grad, &op),
        _ => candle_core::bail!("a convolution of one tensor or of two"),
    }
}

/// The gradient by the bias.
pub(crate) fn of_bias(bias: &Tensor, grad: &Tensor) -> Result<Tensor> {
    grad.apply_op1_no_bwd(&OfBias { shape: bias.shape().clone() })
}

/// Of the result's gradient and the weight.
struct OfFeatures {
    conv: Conv,
    first: usize,
    channels: usize,
}

impl CustomOp2 for OfFeatures {
    fn name(&self) -> &'static str {
        "sparse_conv: gradient of the features"
    }

    /// The product over the same pairs the other way round.
    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Conv { map, simd, .. } = &self.conv;
        let (direction, mirrored) = self.conv.backwards();
        let lists = direction.lists(map);
        let cin = l2.dims()[l2.dims().len() - 2];
        let weight = Weight::backward(slice(s2, l2)?, (cin, last(l2)), (self.first, self.channels), mirrored);
        let dx = kernels::gather_product(*simd, lists, &[side(s1, l1)?], weight);
        Ok((CpuStorage::F32(dx), (lists.n_target, self.channels).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::of_features(&self.conv, (self.first, self.channels), (s1, l1), (s2, l2))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::features_gradient(&self.conv, (self.first, self.channels), (s1, l1), (s2, l2))
    }
}

/// Of the features and the result's gradient.
struct OfWeight {
    conv: Conv,
    shape: Shape,
}

impl OfWeight {
    fn on_cpu(&self, sides: &[Side<'_>], grad: Side<'_>) -> Result<(CpuStorage, Shape)> {
        let Conv { map, direction, simd, .. } = &self.conv;
        let dw = kernels::weight_gradient(*simd, direction.lists(map), sides, grad.data, grad.channels);
        Ok((CpuStorage::F32(dw), self.shape.clone()))
    }
}

impl CustomOp2 for OfWeight {
    fn name(&self) -> &'static str {
        "sparse_conv: gradient of the weight"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.on_cpu(&[side(s1, l1)?], side(s2, l2)?)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::of_weight(&self.conv, &[(s1, l1)], (s2, l2))?, self.shape.clone()))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::weight_gradient(&self.conv, &[(s1, l1)], (s2, l2), &self.shape)
    }
}

impl CustomOp3 for OfWeight {
    fn name(&self) -> &'static str {
        "sparse_conv of two: gradient of the weight"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.on_cpu(&[side(s1, l1)?, side(s2, l2)?], side(s3, l3)?)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::of_weight(&self.conv, &[(s1, l1), (s2, l2)], (s3, l3))?, self.shape.clone()))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
        s3: &candle_core::MetalStorage,
        l3: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::weight_gradient(&self.conv, &[(s1, l1), (s2, l2)], (s3, l3), &self.shape)
    }
}

/// Of the result's gradient.
struct OfBias {
    shape: Shape,
}

impl CustomOp1 for OfBias {
    fn name(&self) -> &'static str {
        "sparse_conv: gradient of the bias"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, channels) = l.shape().dims2()?;
        Ok((CpuStorage::F32(column_sums(slice(s, l)?, rows, channels)), self.shape.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::ops::column_sums((s, l))?, self.shape.clone()))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::bias_gradient((s1, l1), &self.shape)
    }
}
