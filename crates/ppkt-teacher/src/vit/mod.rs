//! Vision transformers: ViT, DeiT, DINO, DINOv2, DINOv3, CLIP, SigLIP.

mod arch;
mod describe;
mod kind;
mod layers;
mod linear;
mod mlp;
mod positions;
mod rotary;
mod statistics;

use std::ops::Range;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::engine::{Activation as Follow, Buffers, Conv, Isa, LayerNorm, Map};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Recorder, feature_map};
use crate::options::TeacherOptions;
use crate::preprocess::Normaliser;
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::{Arch, PositionKind};
use layers::Block;
use positions::Positions;
use rotary::Rotary;

/// A vision transformer, frozen: ViT (Dosovitskiy et al. 2021, arXiv 2010.11929), DeiT (2012.12877), DINO (2104.14294),
/// DINOv2 (2304.07193, with registers 2309.16588), DINOv3 (2508.10104), the image halves of CLIP (2103.00020) and
/// SigLIP (2303.15343, 2502.14786).
///
/// Its features are the patch tokens after the chosen blocks and the last norm. Images of any size are taken: learned
/// positions are resampled, and an image that the patch does not divide is continued with the mean colour to the right
/// and below, so that no pixel moves.
pub struct VisionTransformer {
    inspection: Inspection,
    normaliser: Normaliser,
    patch: usize,
    channels: usize,
    embed: Conv,
    /// `[prefix tokens, channels]`, their positions added.
    prefix: Vec<f32>,
    learned: Option<Positions>,
    rotary: Option<Rotary>,
    norm_pre: Option<LayerNorm>,
    blocks: Vec<Block>,
    /// Blocks whose tokens are features, in the order of their channels.
    chosen: Vec<usize>,
    norm: Option<LayerNorm>,
    last_norm: bool,
    /// Into CLIP's common space, after which features have unit length.
    projection: Option<Conv>,
    classifier: Option<Conv>,
    isa: Isa,
    buffers: Buffers,
}

impl VisionTransformer {
    /// Reads a weights file with timm's or `transformers`' names, and the configuration beside it.
    ///
    /// # Errors
    /// Every [`TeacherError`] about files, tensors and options; also if the file holds a network of another family.
    pub fn open(path: impl AsRef<Path>, options: &TeacherOptions) -> Result<Self, TeacherError> {
        Self::from_weights(Weights::read(path.as_ref())?, options)
    }

    pub(crate) fn from_weights(mut weights: Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        let isa = Isa::detect();
        let mut arch = Arch::read(&weights, options)?;
        statistics::correct(&mut weights, arch.kind, options, &mut arch.notes);
        let embed = layers::patch_embedding(&mut weights, &arch, isa)?;
        let (prefix, learned) = layers::tokens(&mut weights, &arch)?;
        let rotary = match arch.positions {
            PositionKind::Learned { .. } => None,
            PositionKind::Rotary { theta } => Some(layers::rotary(&mut weights, &arch, theta)?),
        };
        let norm_pre = layers::optional_norm(&mut weights, "norm_pre", &arch)?;
        let blocks: Result<Vec<Block>, TeacherError> = (0..arch.depth)
            .map(|i| {
                let own_value = arch.mask_clip && i + 1 == arch.blocks_present;
                layers::block(&mut weights, &arch, i, own_value, isa)
            })
            .collect();
        let blocks = blocks?;
        for left_out in arch.depth..arch.blocks_present {
            weights.leave_out(&format!("blocks.{left_out}."));
        }
        let norm = layers::optional_norm(&mut weights, "norm", &arch)?;
        let projection = arch.mask_clip.then(|| layers::projection(&mut weights, &arch, isa)).transpose()?;
        let classifier = layers::classifier(&mut weights, &arch, isa)?;
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
            Some(projection) => projection.out_channels(),
            None => arch.channels * arch.chosen.len(),
        };
        Ok(Self {
            inspection: describe::inspection(&arch, channels, &weights, &normaliser),
            normaliser,
            patch: arch.patch,
            channels: arch.channels,
            embed,
            prefix,
            learned,
            rotary,
            norm_pre,
            blocks,
            chosen: arch.chosen,
            norm,
            last_norm: arch.last_norm,
            projection,
            classifier,
            isa,
            buffers: Buffers::default(),
        })
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
        images.check()?;
        let mut recorder = Recorder::default();
        let x = self.forward(images, 0..images.n, |i, x| {
            recorder.keep(&format!("block{i}"), &[x.n, x.width, x.channels], &x.data);
        });
        if let Some(norm) = &self.norm {
            let x = norm.forward(&x, self.isa, &self.buffers);
            recorder.keep("norm", &[x.n, x.width, x.channels], &x.data);
        }
        recorder.finish()
    }

    /// Class scores `[n, classes]` before the softmax, or `None` where the file has no classifier of the class token
    /// or the chosen block is not the last.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        images.check()?;
        let (Some(classifier), Some(norm)) = (&self.classifier, &self.norm) else { return Ok(None) };
        let x = self.forward(images, 0..images.n, |_, _| {});
        let x = norm.forward(&x, self.isa, &self.buffers);
        let mut class = Map::take(&self.buffers, [1, 1, images.n, x.channels]);
        for (class, tokens) in
            class.data.chunks_exact_mut(x.channels).zip(x.data.chunks_exact(x.width * x.channels))
        {
            class.copy_from_slice(&tokens[..x.channels]);
        }
        let y = classifier.forward(&class, None, Follow::None, &self.buffers);
        Ok(Some(Tensor::from_slice(&y.data, (images.n, y.channels), &Device::Cpu)?))
    }

    /// All tokens `[n, 1, tokens, C]` after the last block, before the last norm; `see` gets those after each block.
    fn forward(&self, images: &Images, range: Range<usize>, mut see: impl FnMut(usize, &Map)) -> Map {
        let (mut x, height, width) = self.embed(images, range);
        if let Some(norm) = &self.norm_pre {
            x = norm.forward(&x, self.isa, &self.buffers);
        }
        let n_prefix = self.prefix.len() / self.channels;
        let table = self.rotary.as_ref().map(|rotary| (rotary, rotary.table(height, width)));
        let angles = table.as_ref().map(|(rotary, table)| (*rotary, &**table, n_prefix));
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, angles, self.isa, &self.buffers);
            see(i, &x);
        }
        x
    }

    /// Patches, with positions and special tokens, and the grid of the patches.
    fn embed(&self, images: &Images, range: Range<usize>) -> (Map, usize, usize) {
        let image = self.normaliser.bordered(images, range, 0, self.patch, &self.buffers);
        let patches = self.embed.forward_bordered(&image, Follow::None, &self.buffers);
        let positions = self.learned.as_ref().map(|p| p.resampled(patches.height, patches.width));
        let channels = patches.channels;
        let n_prefix = self.prefix.len() / channels;
        let mut x =
            Map::take(&self.buffers, [patches.n, 1, n_prefix + patches.height * patches.width, channels]);
        let per_image = x.width * channels;
        let of_image = patches.data.chunks_exact(patches.height * patches.width * channels);
        for (x, patches) in x.data.chunks_exact_mut(per_image).zip(of_image) {
            let (prefix, rest) = x.split_at_mut(self.prefix.len());
            prefix.copy_from_slice(&self.prefix);
            match &positions {
                None => rest.copy_from_slice(patches),
                Some(positions) => {
                    for ((x, p), position) in rest.iter_mut().zip(patches).zip(positions.iter()) {
                        *x = p + position;
                    }
                }
            }
        }
        (x, patches.height, patches.width)
    }

    /// Features `[n, height, width, channels]` of some images.
    fn patch_features(&self, images: &Images, range: Range<usize>, height: usize, width: usize) -> Map {
        let all = self.channels * self.chosen.len();
        let mut map = Map::take(&self.buffers, [range.len(), height, width, all]);
        let mut keep = |i: usize, x: &Map| {
            for (place, _) in self.chosen.iter().enumerate().filter(|(_, block)| **block == i) {
                let normed = self.norm.as_ref().filter(|_| self.last_norm);
                let normed = normed.map(|norm| norm.forward(x, self.isa, &self.buffers));
                let x = normed.as_ref().unwrap_or(x);
                let at = place * self.channels;
                for (map, tokens) in map
                    .data
                    .chunks_exact_mut(height * width * all)
                    .zip(x.data.chunks_exact(x.width * x.channels))
                {
                    let tokens = tokens[self.prefix.len()..].chunks_exact(self.channels);
                    for (cell, token) in map.chunks_exact_mut(all).zip(tokens) {
                        cell[at..at + self.channels].copy_from_slice(token);
                    }
                }
            }
        };
        self.forward(images, range, &mut keep);
        let Some(projection) = &self.projection else { return map };
        let mut map = projection.forward(&map, None, Follow::None, &self.buffers);
        let channels = map.channels;
        for cell in map.data.chunks_exact_mut(channels) {
            let length = cell.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            // A feature of zeros has no direction and stays what it is.
            let factor = if length > 0.0 { (1.0 / length) as f32 } else { 1.0 };
            cell.iter_mut().for_each(|v| *v *= factor);
        }
        map
    }
}

impl Teacher for VisionTransformer {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        let (height, width) = (images.height.div_ceil(self.patch), images.width.div_ceil(self.patch));
        feature_map(images, self.patch, |range| self.patch_features(images, range, height, width))
    }
}
