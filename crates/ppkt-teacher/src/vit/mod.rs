//! Vision transformers of the ViT and DeiT family.

mod arch;
mod layers;
mod positions;

use std::ops::Range;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::engine::{Activation as Follow, Buffers, Conv, Isa, Map};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Recorder, feature_map};
use crate::options::TeacherOptions;
use crate::preprocess::Normaliser;
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::Arch;
use layers::{Block, Norm};
use positions::Positions;

/// A vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929; DeiT, arXiv 2012.12877), frozen.
///
/// Its features are the patch tokens after the chosen block and the last norm. Images of any size are taken: the position
/// embeddings are resampled bicubically, and an image that the patch does not divide is continued with the mean
/// colour to the right and below, so that no pixel moves.
pub struct VisionTransformer {
    inspection: Inspection,
    normaliser: Normaliser,
    patch: usize,
    embed: Conv,
    /// `[prefix tokens, channels]`, their positions added.
    prefix: Vec<f32>,
    positions: Positions,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    heads: usize,
    classifier: Option<Conv>,
    isa: Isa,
    buffers: Buffers,
}

impl VisionTransformer {
    /// Reads a safetensors file with timm's or `transformers`' names, and the configuration beside it.
    ///
    /// # Errors
    /// Every [`TeacherError`] about files, tensors and options; also if the file holds a network of another family.
    pub fn open(path: impl AsRef<Path>, options: &TeacherOptions) -> Result<Self, TeacherError> {
        Self::from_weights(Weights::read(path.as_ref())?, options)
    }

    pub(crate) fn from_weights(mut weights: Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        let isa = Isa::detect();
        let arch = Arch::read(&weights, options)?;
        let embed = layers::patch_embedding(&mut weights, &arch, isa)?;
        let (prefix, positions) = layers::tokens(&mut weights, &arch)?;
        let blocks: Result<Vec<Block>, TeacherError> =
            (0..arch.depth).map(|i| layers::block(&mut weights, &arch, i, isa)).collect();
        let blocks = blocks?;
        for left_out in arch.depth..arch.blocks_present {
            weights.leave_out(&format!("blocks.{left_out}."));
        }
        let norm = layers::last_norm(&mut weights, &arch)?;
        let classifier = layers::classifier(&mut weights, &arch, isa)?;
        weights.refuse_unread(&[
            "blocks.",
            "patch_embed.",
            "pos_",
            "norm",
            "cls_token",
            "reg",
            "storage",
            "rope",
            "emb",
            "encoder",
            "layers.",
        ])?;
        let normaliser = Normaliser::new(&weights.config, options);
        Ok(Self {
            inspection: arch.inspection(&weights, &normaliser),
            normaliser,
            patch: arch.patch,
            embed,
            prefix,
            positions,
            blocks,
            norm,
            heads: arch.heads,
            classifier,
            isa,
            buffers: Buffers::default(),
        })
    }

    /// What was read from the files.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// All tokens after each block up to the chosen one (`block0`, …) and after the last norm (`norm`), each
    /// `[n, tokens, C]`, class token first.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError> {
        images.check()?;
        let mut recorder = Recorder::default();
        self.forward(images, 0..images.n, |name, map| {
            recorder.keep(name, &[map.n, map.width, map.channels], &map.data);
        });
        recorder.finish()
    }

    /// Class scores `[n, classes]` before the softmax, or `None` where the file has no classifier of the class token
    /// or the chosen block is not the last.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        images.check()?;
        let Some(classifier) = &self.classifier else { return Ok(None) };
        let x = self.forward(images, 0..images.n, |_, _| {});
        let mut class = Map::take(&self.buffers, [1, 1, images.n, x.channels]);
        for (class, tokens) in
            class.data.chunks_exact_mut(x.channels).zip(x.data.chunks_exact(x.width * x.channels))
        {
            class.copy_from_slice(&tokens[..x.channels]);
        }
        let y = classifier.forward(&class, None, Follow::None, &self.buffers);
        Ok(Some(Tensor::from_slice(&y.data, (images.n, y.channels), &Device::Cpu)?))
    }

    /// All tokens `[n, 1, tokens, C]` at the end.
    fn forward(&self, images: &Images, range: Range<usize>, mut see: impl FnMut(&str, &Map)) -> Map {
        let mut x = self.embed(images, range);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, self.heads, self.isa, &self.buffers);
            see(&format!("block{i}"), &x);
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x, self.isa, &self.buffers);
            see("norm", &x);
        }
        x
    }

    /// Patches, with positions and special tokens.
    fn embed(&self, images: &Images, range: Range<usize>) -> Map {
        let image = self.normaliser.bordered(images, range, 0, self.patch, &self.buffers);
        let patches = self.embed.forward_bordered(&image, Follow::None, &self.buffers);
        let positions = self.positions.resampled(patches.height, patches.width);
        let channels = patches.channels;
        let n_prefix = self.prefix.len() / channels;
        let mut x =
            Map::take(&self.buffers, [patches.n, 1, n_prefix + patches.height * patches.width, channels]);
        let per_image = x.width * channels;
        let of_image = patches.data.chunks_exact(patches.height * patches.width * channels);
        for (x, patches) in x.data.chunks_exact_mut(per_image).zip(of_image) {
            let (prefix, rest) = x.split_at_mut(self.prefix.len());
            prefix.copy_from_slice(&self.prefix);
            for ((x, p), position) in rest.iter_mut().zip(patches).zip(positions.iter()) {
                *x = p + position;
            }
        }
        x
    }
}

impl Teacher for VisionTransformer {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        let (height, width) = (images.height.div_ceil(self.patch), images.width.div_ceil(self.patch));
        feature_map(images, self.patch, |range| {
            let x = self.forward(images, range, |_, _| {});
            let mut map = Map::take(&self.buffers, [x.n, height, width, x.channels]);
            let per_image = height * width * x.channels;
            for (map, tokens) in
                map.data.chunks_exact_mut(per_image).zip(x.data.chunks_exact(x.width * x.channels))
            {
                map.copy_from_slice(&tokens[self.prefix.len()..]);
            }
            map
        })
    }
}
