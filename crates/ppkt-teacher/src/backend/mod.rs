//! What networks ask of whatever runs them, so that each of them is described once: the engine of this crate on the
//! CPU ([`Cpu`]), candle's tensors on a GPU ([`Tensors`]).

mod cpu;
mod tensors;

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::engine::{Activation, ConvGeometry};
use crate::images::Images;
use crate::preprocess::Normaliser;

pub(crate) use cpu::Cpu;
#[cfg(any(feature = "cuda", feature = "metal", test))]
pub(crate) use tensors::GroupedSizes;
pub(crate) use tensors::Tensors;
#[cfg(test)]
pub(crate) use tensors::grouped_on_cpu;

/// Pixels that run through a network at a time. On the CPU: enough rows for every thread, few enough for the maps of a
/// layer to stay in the caches; on a GPU: enough for its processors, few enough for its memory.
const PIXELS_AT_ONCE: usize = 640 * 480;

/// Some images of a batch, before they are made numbers.
pub(crate) struct Pixels<'a, B: Backend> {
    pub(crate) normaliser: &'a B::Normaliser,
    pub(crate) images: &'a Images,
    /// Which of the images.
    pub(crate) range: Range<usize>,
    /// What the sides are rounded up to, with the mean colour to the right and below, so that no pixel moves.
    pub(crate) multiple: usize,
}

/// Packs layers and runs them.
///
/// Maps are activations `[n, height, width, channels]`, those of a transformer `[n, 1, tokens, channels]`; in which order
/// they lie in memory is the backend's own affair. Whoever calls has held all sizes against each other when the weights
/// were read.
pub(crate) trait Backend: Sized + Send + Sync + 'static {
    /// Activations.
    type Map;
    /// What makes numbers of an image's bytes.
    type Normaliser: Send + Sync;
    /// A convolution, or a linear layer.
    type Conv: Send + Sync;
    /// A depthwise 7×7 convolution.
    type Depthwise: Send + Sync;
    /// A layer norm over channels.
    type LayerNorm: Send + Sync;
    /// Numbers that are the same for all images, such as positions.
    type Constant: Send + Sync;
    /// Angles that queries and keys are turned by.
    type Angles: Send + Sync;

    /// `(x / 255 - mean) / std`.
    fn normaliser(&self, normaliser: Normaliser) -> Result<Self::Normaliser>;

    /// A convolution of `[out, in / groups, kernel, kernel]` weights and `[out]` biases; `channels` are in and out.
    fn conv(
        &self,
        weight: &[f32],
        bias: &[f32],
        channels: [usize; 2],
        geometry: ConvGeometry,
    ) -> Result<Self::Conv>;

    /// A depthwise convolution of stride 1 with three zeros around the map, of `[channels, 7, 7]` weights.
    fn depthwise(&self, weight: &[f32], bias: &[f32]) -> Result<Self::Depthwise>;

    /// A layer norm.
    fn layer_norm(&self, weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<Self::LayerNorm>;

    /// Rows of `channels` numbers.
    fn constant(&self, values: Vec<f32>, channels: usize) -> Result<Self::Constant>;

    /// Cosines and sines `[patches, half]` of the tokens after the first `n_prefix`, which are not turned.
    fn angles(&self, cos: Vec<f32>, sin: Vec<f32>, half: usize, n_prefix: usize) -> Result<Self::Angles>;

    /// The first convolution of a network, on normalised images with its padding around them.
    fn stem(&self, conv: &Self::Conv, pixels: &Pixels<'_, Self>, activation: Activation)
    -> Result<Self::Map>;

    /// `activation(conv(x) + bias + residual)`.
    fn convolve(
        &self,
        conv: &Self::Conv,
        x: &Self::Map,
        residual: Option<&Self::Map>,
        activation: Activation,
    ) -> Result<Self::Map>;

    /// `conv(x) + bias` of each channel by itself.
    fn convolve_depthwise(&self, conv: &Self::Depthwise, x: &Self::Map) -> Result<Self::Map>;

    /// The channels of every pixel or token to zero mean and unit variance, scaled and shifted.
    fn normalise(&self, norm: &Self::LayerNorm, x: &Self::Map) -> Result<Self::Map>;

    /// Maximum over 3×3 windows, two pixels apart, one pixel of border that never wins.
    fn max_pool(&self, x: &Self::Map) -> Result<Self::Map>;

    /// `softmax(q kᵀ / √d) v` for every head of `[n, 1, tokens, 3 · heads · d]`, with queries and keys turned by angles.
    fn attend(&self, qkv: Self::Map, heads: usize, angles: Option<&Self::Angles>) -> Result<Self::Map>;

    /// Values times those at the same places.
    fn multiply(&self, x: Self::Map, by: &Self::Map) -> Result<Self::Map>;

    /// Patches `[n, h, w, C]`, with `[h · w, C]` positions added, as the tokens behind those of `prefix`.
    fn tokens(
        &self,
        patches: &Self::Map,
        prefix: Option<&Self::Constant>,
        positions: Option<&Self::Constant>,
    ) -> Result<Self::Map>;

    /// The tokens behind the first `n_prefix` as a map of `[height, width]` patches.
    fn patches(&self, tokens: &Self::Map, n_prefix: usize, size: [usize; 2]) -> Result<Self::Map>;

    /// Several maps of the same images side by side, each given with its stride, on the grid of the finest one.
    ///
    /// A cell of stride `s` stands for `s` × `s` pixels and its value for their centre; between centres of a coarser map
    /// values are bilinear, beyond the outermost ones constant. So no feature moves, and where all strides are equal
    /// nothing is computed. It is PyTorch's `interpolate(mode="bilinear", align_corners=False)` with a `scale_factor`,
    /// cut to size.
    fn side_by_side(&self, maps: &[(Self::Map, usize)]) -> Result<Self::Map>;

    /// The first rows and columns.
    fn cut(&self, map: Self::Map, size: [usize; 2]) -> Result<Self::Map>;

    /// Every pixel's channels divided by their Euclidean length; a pixel of zeros has no direction and stays what it is.
    fn unit_length(&self, map: Self::Map) -> Result<Self::Map>;

    /// The same values once more.
    fn copy(&self, map: &Self::Map) -> Result<Self::Map>;

    /// Rows and columns.
    fn size(&self, map: &Self::Map) -> [usize; 2];

    /// A tensor `[n, h, w, C]` as a map.
    fn map(&self, values: &Tensor) -> Result<Self::Map>;

    /// A map as a contiguous tensor `[n, h, w, C]`.
    fn tensor(&self, map: &Self::Map) -> Result<Tensor>;

    /// The maps of all images in one contiguous tensor `[n, h, w, C]`; `forward` is given some images at a time.
    fn features(
        &self,
        images: &Images,
        forward: impl Fn(&Images, Range<usize>) -> Result<Self::Map>,
    ) -> Result<Tensor>;
}
