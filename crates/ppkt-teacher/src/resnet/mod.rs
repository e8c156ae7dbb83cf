//! Residual networks: ResNet-18 to 152, wide ones, ResNeXt, and any of their kind, with basic or bottleneck blocks.

mod arch;
mod blocks;

mod layers;

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::backend::{Backend, Cpu, Tensors};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Layers};
use crate::options::TeacherOptions;
use crate::preprocess::{Normaliser, Statistics};
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::Arch;
use layers::ResNetLayers;

/// A residual network (He et al. 2016, arXiv 1512.03385; wide, 1605.07146; ResNeXt, 1611.05431), frozen, with its batch norms folded into the convolutions.
///
/// It is what the file holds: basic or bottleneck blocks, any widths and groups, any number of blocks, one to four stages. The
/// stem's kernel is read from its tensor; the metadata entries `stem_stride` (default 2) and `stem_pool` (default true)
/// describe stems other than the 7×7 one.
pub struct ResNet {
    inspection: Inspection,
    layers: Box<dyn Layers>,
}

impl ResNet {
    /// Reads a safetensors file with torchvision's, timm's or `transformers`' names, and the configuration beside it.
    ///
    /// # Errors
    /// Every [`TeacherError`] about files, tensors and options; also if the file holds a network of another family.
    pub fn open(path: impl AsRef<Path>, options: &TeacherOptions) -> Result<Self, TeacherError> {
        Self::from_weights(Weights::read(path.as_ref())?, options, &Device::Cpu)
    }

    /// The network on a device.
    pub(crate) fn from_weights(
        weights: Weights,
        options: &TeacherOptions,
        device: &Device,
    ) -> Result<Self, TeacherError> {
        match device {
            Device::Cpu => Self::build(weights, options, Cpu::new()),
            _ => Self::build(weights, options, Tensors::new(device)),
        }
    }

    pub(crate) fn build<B: Backend>(
        mut weights: Weights,
        options: &TeacherOptions,
        backend: B,
    ) -> Result<Self, TeacherError> {
        let arch = Arch::read(&weights, options)?;
        let (stem, stages) = blocks::build(&mut weights, &arch, &backend)?;
        let classifier = blocks::classifier(&mut weights, &arch, &backend)?;
        weights.refuse_unread(&["conv1.", "bn1.", "layer"])?;
        let normaliser = Normaliser::new(&weights.config, options, Statistics::IMAGENET);
        let inspection = arch.inspection(&weights, &normaliser);
        let layers = Box::new(ResNetLayers {
            normaliser: backend.normaliser(normaliser)?,
            stem,
            stem_pool: arch.stem_pool,
            stages,
            chosen: arch.chosen.iter().map(|i| (*i, arch.strides[*i])).collect(),
            stride: arch.stride(),
            classifier,
            backend,
        });
        Ok(Self { inspection, layers })
    }

    /// What was read from the files.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// What every stage gives, from `stem` and `pool` to the chosen one, each `[n, h, w, C]`.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError> {
        self.layers.activations(images)
    }

    /// Class scores `[n, classes]` before the softmax, or `None` where the file has no classifier or the chosen stage is
    /// not the last.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        self.layers.logits(images)
    }
}

impl Teacher for ResNet {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        self.layers.features(images)
    }
}
