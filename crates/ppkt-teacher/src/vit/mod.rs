//! Vision transformers: ViT, DeiT, DINO, DINOv2, DINOv3, CLIP, SigLIP.

mod arch;
mod describe;
mod forward;
mod kind;
mod layers;
mod linear;
mod mlp;
mod per_grid;
mod positions;
mod rotary;
mod statistics;

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::backend::{Backend, Cpu, Tensors};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Layers};
use crate::options::TeacherOptions;
use crate::preprocess::Normaliser;
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::{Arch, PositionKind};
use forward::VitLayers;
use layers::Block;
use per_grid::PerGrid;

/// A vision transformer, frozen: ViT (Dosovitskiy et al. 2021, arXiv 2010.11929), DeiT (2012.12877), DINO (2104.14294),
/// DINOv2 (2304.07193, with registers 2309.16588), DINOv3 (2508.10104), the image halves of CLIP (2103.00020) and
/// SigLIP (2303.15343, 2502.14786).
///
/// Its features are the patch tokens after the chosen blocks and the last norm. Images of any size are taken: learned
/// positions are resampled, and an image that the patch does not divide is continued with the mean colour to the right
/// and below, so that no pixel moves.
pub struct VisionTransformer {
    inspection: Inspection,
    layers: Box<dyn Layers>,
}

impl VisionTransformer {
    /// Reads a weights file with timm's or `transformers`' names, and the configuration beside it.
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
        let mut arch = Arch::read(&weights, options)?;
        statistics::correct(&mut weights, arch.kind, options, &mut arch.notes);
        let embed = layers::patch_embedding(&mut weights, &arch, &backend)?;
        let (prefix, learned) = layers::tokens(&mut weights, &arch)?;
        let n_prefix = prefix.len() / arch.channels;
        let prefix = match n_prefix {
            0 => None,
            _ => Some(backend.constant(prefix, arch.channels)?),
        };
        let rotary = match arch.positions {
            PositionKind::Learned { .. } => None,
            PositionKind::Rotary { theta } => Some(layers::rotary(&mut weights, &arch, theta)?),
        };
        let norm_pre = layers::optional_norm(&mut weights, "norm_pre", &arch, &backend)?;
        let blocks: Result<Vec<Block<B>>, TeacherError> = (0..arch.depth)
            .map(|i| {
                let own_value = arch.mask_clip && i + 1 == arch.blocks_present;
                layers::block(&mut weights, &arch, i, own_value, &backend)
            })
            .collect();
        let blocks = blocks?;
        for left_out in arch.depth..arch.blocks_present {
            weights.leave_out(&format!("blocks.{left_out}."));
        }
        let norm = layers::optional_norm(&mut weights, "norm", &arch, &backend)?;
        let projection =
            arch.mask_clip.then(|| layers::projection(&mut weights, &arch, &backend)).transpose()?;
        let classifier = layers::classifier(&mut weights, &arch, &backend)?;
        weights.refuse_unread(&[
            "blocks.",
            "patch_embed.",
            "pos_",
            "norm",
            "cls_token",
            "reg",
            "rope",
            "emb",
            "encoder",
            "layer",
            "transformer.",
        ])?;
        let normaliser = Normaliser::new(&weights.config, options, arch.kind.statistics());
        let channels = match &projection {
            Some((_, channels)) => *channels,
            None => arch.channels * arch.chosen.len(),
        };
        let inspection = describe::inspection(&arch, channels, &weights, &normaliser);
        let layers = Box::new(VitLayers {
            normaliser: backend.normaliser(normaliser)?,
            patch: arch.patch,
            embed,
            prefix,
            n_prefix,
            learned: learned.map(|positions| (positions, PerGrid::new())),
            rotary: rotary.map(|rotary| (rotary, PerGrid::new())),
            norm_pre,
            blocks,
            chosen: arch.chosen,
            norm,
            last_norm: arch.last_norm,
            projection: projection.map(|(projection, _)| projection),
            classifier,
            backend,
        });
        Ok(Self { inspection, layers })
    }

    /// What was read from the files.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// All tokens after each block up to the last chosen one (`block0`, …) and after the last norm (`norm`), each
    /// `[n, tokens, C]`, special tokens first: class, distillation, registers.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError> {
        self.layers.activations(images)
    }

    /// Class scores `[n, classes]` before the softmax, or `None` where the file has no classifier of the class token
    /// or the chosen block is not the last.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        self.layers.logits(images)
    }
}

impl Teacher for VisionTransformer {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        self.layers.features(images)
    }
}
