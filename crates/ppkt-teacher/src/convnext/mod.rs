//! ConvNeXt: tiny to extra large, and DINOv3's.

mod arch;
mod blocks;

mod layers;

use std::path::Path;

use candle_core::Device;

use crate::backend::{Backend, Cpu, Tensors};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Layers};
use crate::options::TeacherOptions;
use crate::preprocess::{Normaliser, Statistics};
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::{Arch, LAST_NORM};
use layers::ConvNextLayers;

/// A ConvNeXt (Liu et al. 2022, arXiv 2201.03545), frozen; also those of DINOv3 (2508.10104).
///
/// Its features are the map of the chosen stages. An image that the stride of the last of these does not divide is
/// continued with the mean colour to the right and below, so that no pixel moves and none is left out; the authors' code
/// leaves out what does not fill a cell.
pub struct ConvNext {
    inspection: Inspection,
    layers: Box<dyn Layers>,
}

impl ConvNext {
    /// Reads a weights file with the names of the authors, torchvision, timm or `transformers`, and the configuration
    /// beside it.
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
        let (stem, stem_norm) = blocks::stem(&mut weights, &arch, &backend)?;
        let stages = blocks::stages(&mut weights, &arch, &backend)?;
        let channels = arch.present[arch.present.len() - 1].1;
        let last_norm = match arch.last_norm {
            true => Some(blocks::norm(&mut weights, LAST_NORM, channels, arch.ln_eps, &backend)?),
            false => None,
        };
        // Of the parts behind the stages, this much is understood.
        weights.leave_out("head.");
        weights.leave_out("norms.3.");
        weights.refuse_unread(&[
            "stem",
            "stages",
            "downsample",
            "norm",
            "embeddings",
            "encoder",
            "features",
        ])?;
        let normaliser = Normaliser::new(&weights.config, options, Statistics::IMAGENET);
        let inspection = arch.inspection(&weights, &normaliser);
        let layers = Box::new(ConvNextLayers {
            normaliser: backend.normaliser(normaliser)?,
            stem,
            stem_norm,
            stages,
            chosen: arch.chosen.iter().map(|i| (*i, arch.stride(*i))).collect(),
            stride: inspection.spec.stride,
            multiple: arch.stride(arch.depth() - 1),
            last_norm,
            backend,
        });
        Ok(Self { inspection, layers })
    }

    /// What was read from the files.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// What every stage gives, from `stem` to the last one that is asked for, each `[n, h, w, C]`; and `norm`, where the
    /// last norm follows.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError> {
        self.layers.activations(images)
    }
}

impl Teacher for ConvNext {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        self.layers.features(images)
    }
}
