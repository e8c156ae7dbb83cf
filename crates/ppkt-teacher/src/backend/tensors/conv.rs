//! Convolutions and linear layers by candle's operations.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::sigmoid;

use super::grouped::Grouped;
use super::map::Map;
use crate::engine::{Activation, ConvGeometry};

/// A convolution with its bias.
pub(crate) struct Conv {
    form: Form,
    geometry: ConvGeometry,
    /// `[out]`
    bias: Tensor,
}

/// How it is computed.
enum Form {
    /// A kernel of one pixel: a matrix product with `[out, in]`.
    Linear(Tensor),
    /// Kernels side by side, as of patches: the pixels of each in a row, and a matrix product with `[out, k · k · in]`.
    Patches(Tensor),
    /// candle's convolution with `[out, in, k, k]`.
    Dense(Tensor),
    /// Of several groups, for which candle would run a convolution each: an operation of our own.
    Grouped(Grouped),
}

impl Conv {
    /// # Shapes
    /// `weight` is `[out, in / groups, k, k]`, `bias` is `[out]`.
    pub(super) fn new(
        device: &Device,
        weight: &[f32],
        bias: &[f32],
        [inner, outer]: [usize; 2],
        geometry: ConvGeometry,
    ) -> Result<Self> {
        let ConvGeometry { kernel: k, stride, padding, dilation, groups } = geometry;
        let weight = |shape: (usize, usize, usize, usize)| Tensor::from_slice(weight, shape, &Device::Cpu);
        let form = match geometry {
            ConvGeometry::POINTWISE => {
                Form::Linear(weight((outer, inner, 1, 1))?.reshape((outer, inner))?.to_device(device)?)
            }
            _ if groups > 1 => {
                let weight = weight((outer, inner / groups, k, k))?;
                Form::Grouped(Grouped::new(device, &weight, bias, geometry)?)
            }
            _ if stride == k && padding == 0 && dilation == 1 => {
                let by_pixel = weight((outer, inner, k, k))?.permute((0, 2, 3, 1))?.contiguous()?;
                Form::Patches(by_pixel.reshape((outer, k * k * inner))?.to_device(device)?)
            }
            _ => Form::Dense(weight((outer, inner, k, k))?.to_device(device)?),
        };
        Ok(Self { form, geometry, bias: Tensor::from_slice(bias, outer, device)? })
    }

    /// `activation(conv(x) + bias + residual)`.
    pub(super) fn forward(&self, x: &Map, residual: Option<&Map>, activation: Activation) -> Result<Map> {
        let outer = self.bias.dims()[0];
        let sum = match (&self.form, x) {
            (Form::Linear(weight), Map::Pixels(x)) => {
                let (n, h, w, inner) = x.dims4()?;
                let rows = x.reshape((n * h * w, inner))?.matmul(&weight.t()?)?;
                Map::Pixels(rows.broadcast_add(&self.bias)?.reshape((n, h, w, outer))?)
            }
            (Form::Linear(weight), Map::Planes(x)) => {
                let (n, inner, h, w) = x.dims4()?;
                let weight = weight.broadcast_as((n, outer, inner))?;
                let planes = weight.matmul(&x.reshape((n, inner, h * w))?)?;
                self.biased_planes(planes.reshape((n, outer, h, w))?)?
            }
            (Form::Patches(weight), x) => {
                let (patches, [n, h, w]) = self.patches(&x.pixels()?)?;
                let rows = patches.matmul(&weight.t()?)?;
                Map::Pixels(rows.broadcast_add(&self.bias)?.reshape((n, h, w, outer))?)
            }
            (Form::Dense(weight), x) => {
                let ConvGeometry { stride, padding, dilation, .. } = self.geometry;
                self.biased_planes(x.planes()?.conv2d(weight, padding, stride, dilation, 1)?)?
            }
            (Form::Grouped(grouped), x) => Map::Pixels(grouped.forward(&x.pixels()?)?),
        };
        let sum = match (sum, residual) {
            (sum, None) => sum,
            (Map::Planes(sum), Some(residual)) => Map::Planes((sum + residual.planes()?)?),
            (Map::Pixels(sum), Some(residual)) => Map::Pixels((sum + residual.pixels()?)?),
        };
        match sum {
            Map::Planes(sum) => apply(activation, sum).map(Map::Planes),
            Map::Pixels(sum) => apply(activation, sum).map(Map::Pixels),
        }
    }

    fn biased_planes(&self, planes: Tensor) -> Result<Map> {
        planes.broadcast_add(&self.bias.reshape((1, (), 1, 1))?).map(Map::Planes)
    }

    /// The pixels of each kernel in a row, `[n · h · w, k · k · in]`, and how many kernels there are.
    fn patches(&self, x: &Tensor) -> Result<(Tensor, [usize; 3])> {
        let k = self.geometry.kernel;
        let (n, height, width, inner) = x.dims4()?;
        let (h, w) = (height / k, width / k);
        // What does not fill a kernel is left out.
        let x = x.narrow(1, 0, h * k)?.narrow(2, 0, w * k)?.contiguous()?;
        let patches = x.reshape(&[n, h, k, w, k, inner][..])?.permute([0, 1, 3, 2, 4, 5])?.contiguous()?;
        Ok((patches.reshape((n * h * w, k * k * inner))?, [n, h, w]))
    }
}

/// A depthwise convolution with its bias.
pub(crate) struct Depthwise(Grouped);

impl Depthwise {
    /// Of stride 1, with a border of zeros that keeps the size.
    pub(super) fn new(device: &Device, weight: &[f32], bias: &[f32]) -> Result<Self> {
        let channels = bias.len();
        let k = (weight.len() / channels.max(1)).isqrt();
        let weight = Tensor::from_slice(weight, (channels, 1, k, k), &Device::Cpu)?;
        let geometry = ConvGeometry { kernel: k, stride: 1, padding: k / 2, dilation: 1, groups: channels };
        Grouped::new(device, &weight, bias, geometry).map(Self)
    }

    pub(super) fn forward(&self, x: &Map) -> Result<Map> {
        self.0.forward(&x.pixels()?).map(Map::Pixels)
    }
}

fn apply(activation: Activation, x: Tensor) -> Result<Tensor> {
    match activation {
        Activation::None => Ok(x),
        Activation::Relu => x.relu(),
        // candle's `gelu` is the tanh approximation.
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::QuickGelu => &x * sigmoid(&(&x * 1.702)?)?,
        Activation::Silu => x.silu(),
    }
}
