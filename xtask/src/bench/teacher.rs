//! Section `teacher`: frozen 2D networks, and the upsampling projection.

use std::collections::HashMap;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use ppkt_teacher::{
    AlignCorners, ByteSize, Cached, FeatureCache, FeatureMap, Images, PixelRef, ResNet, Teacher,
    TeacherOptions, UpsampleProjection, VisionTransformer,
};

use super::case::Work;
use super::input::Noise;
use super::runner::Runner;
use super::weights;

/// Runs the section.
pub(super) fn run(runner: &mut Runner) -> Result<()> {
    runner.on("random weights");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let options = TeacherOptions::default();
    // Half of VGA, what RGB-D recipes feed a teacher with, and VGA itself.
    for (height, width) in [(240, 320), (480, 640)] {
        let name = format!("ResNet-50, {height}×{width}");
        if runner.wants(&name) {
            let weights = weights::resnet50(height, width);
            let work = Work::new(weights.flop, 0.0);
            weights.write(&path)?;
            let net = ResNet::open(&path, &options)?;
            let image = image(height, width)?;
            runner.case(&name, work, || Ok(net.features(&image)?))?;
            // Key, read, checksum and widening; the first call, which warms up, computes and writes.
            let cache =
                FeatureCache::open(&folder.path().join(format!("cache-{height}")), ByteSize(1 << 30))?;
            let cached = Cached::new(net, cache)?;
            runner.alone(&format!("{name}, read from the cache"), Work::default(), || {
                Ok(cached.features(&image)?)
            })?;
            let report = cached.cache().report();
            if report.misses > 1 {
                bail!("the cache was to give one map many times, and reports {report:?}");
            }
        }
    }
    // The size that driving recipes use.
    let (height, width) = (224, 308);
    let name = format!("ViT-S/14, {height}×{width}");
    if runner.wants(&name) {
        let weights = weights::vit_s14(height, width);
        let work = Work::new(weights.flop, 0.0);
        weights.write(&path)?;
        let net = VisionTransformer::open(&path, &options)?;
        let image = image(height, width)?;
        runner.case(&name, work, || Ok(net.features(&image)?))?;
    }
    let projection = Projection::new()?;
    runner.on("480×640, 2048→64 channels");
    runner.case(PROJECTION, projection.work(), || projection.forward_backward())
}

/// Name of the case that the issue of the teacher has a goal for.
pub(super) const PROJECTION: &str = "upsampling projection, 4,096 pairs, forward+backward";

/// Peak memory of the projection; the process must have run nothing else.
pub(super) fn memory(runner: &mut Runner) -> Result<()> {
    let projection = Projection::new()?;
    runner.on("480×640, 2048→64 channels");
    runner.memory(PROJECTION, || projection.forward_backward())
}

fn image(height: usize, width: usize) -> Result<Images> {
    let rgb = (0..height * width * 3).map(|i| (i * 7919 % 251) as u8).collect();
    Ok(Images::new(1, height, width, rgb)?)
}

/// The map of a ResNet-50 of an image of 480 × 640, to the 64 channels of the paper's descendants.
struct Projection {
    map: FeatureMap,
    pixels: Vec<PixelRef>,
    layer: UpsampleProjection,
}

impl Projection {
    const STRIDE: usize = 32;
    const CHANNELS: usize = 2048;
    const EMBEDDING: usize = 64;
    const PAIRS: u32 = 4096;
    const IMAGE: (usize, usize) = (480, 640);

    fn cells() -> usize {
        Self::IMAGE.0 / Self::STRIDE * (Self::IMAGE.1 / Self::STRIDE)
    }

    fn new() -> Result<Self> {
        let (height, width) = Self::IMAGE;
        let mut noise = Noise::new(7);
        let tokens = noise.take(Self::cells() * Self::CHANNELS);
        let shape = (1, height / Self::STRIDE, width / Self::STRIDE, Self::CHANNELS);
        let tokens = Tensor::from_vec(tokens, shape, &Device::Cpu)?;
        let map = FeatureMap { tokens, image_size: Self::IMAGE, stride: Self::STRIDE };
        let place = |i: u32, step: u32, size: usize| (i * step % size as u32) as f32 + 0.5;
        let pixel = |i| PixelRef { view: 0, u: place(i, 97, width), v: place(i, 61, height) };
        let mut var = |shape: &[usize]| -> Result<Tensor> {
            Ok(Var::from_vec(noise.take(shape.iter().product()), shape, &Device::Cpu)?.into_inner())
        };
        let named = HashMap::from([
            ("decoder.0.weight".to_owned(), var(&[Self::EMBEDDING, Self::CHANNELS, 1, 1])?),
            ("decoder.0.bias".to_owned(), var(&[Self::EMBEDDING])?),
        ]);
        let builder = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
        let layer = UpsampleProjection::new(Self::CHANNELS, Self::EMBEDDING, AlignCorners::True, builder)?;
        Ok(Self { map, pixels: (0..Self::PAIRS).map(pixel).collect(), layer })
    }

    fn forward_backward(&self) -> Result<candle_core::backprop::GradStore> {
        Ok(self.layer.forward(&self.map, &self.pixels)?.backward()?)
    }

    /// The product of map and weight, and that of the weight's gradient; the four taps of a pixel are little.
    fn work(&self) -> Work {
        let (cells, inner, outer) = (Self::cells() as f64, Self::CHANNELS as f64, Self::EMBEDDING as f64);
        let arrays = cells * inner + inner * outer + cells * outer + f64::from(Self::PAIRS) * outer;
        Work::new(2.0 * 2.0 * cells * inner * outer, 2.0 * 4.0 * arrays)
    }
}
