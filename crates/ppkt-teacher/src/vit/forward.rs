//! How a transformer runs.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result as Computed, Tensor};

use super::layers::Block;
use super::per_grid::PerGrid;
use super::positions::Positions;
use super::rotary::{Rotary, Table};
use crate::backend::{Backend, Pixels};
use crate::engine::Activation as Follow;
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::network::{Activation, Layers};

/// The layers of a transformer up to the last block that is asked for.
pub(super) struct VitLayers<B: Backend> {
    pub(super) normaliser: B::Normaliser,
    pub(super) patch: usize,
    pub(super) embed: B::Conv,
    /// `[n_prefix, channels]`, their positions added.
    pub(super) prefix: Option<B::Constant>,
    /// Tokens before those of the patches.
    pub(super) n_prefix: usize,
    pub(super) learned: Option<(Positions, PerGrid<B::Constant>)>,
    pub(super) rotary: Option<(Rotary, PerGrid<B::Angles>)>,
    pub(super) norm_pre: Option<B::LayerNorm>,
    pub(super) blocks: Vec<Block<B>>,
    /// Blocks whose tokens are features, in the order of their channels.
    pub(super) chosen: Vec<usize>,
    pub(super) norm: Option<B::LayerNorm>,
    pub(super) last_norm: bool,
    /// Into CLIP's common space, after which features have unit length.
    pub(super) projection: Option<B::Conv>,
    pub(super) classifier: Option<B::Conv>,
    pub(super) backend: B,
}

impl<B: Backend> VitLayers<B> {
    /// All tokens `[n, 1, tokens, C]` after the last block, before the last norm; `see` gets those after each block.
    fn forward(
        &self,
        images: &Images,
        range: Range<usize>,
        mut see: impl FnMut(usize, &B::Map) -> Computed<()>,
    ) -> Computed<B::Map> {
        let backend = &self.backend;
        let pixels = Pixels { normaliser: &self.normaliser, images, range, multiple: self.patch };
        let patches = backend.stem(&self.embed, &pixels, Follow::None)?;
        let [height, width] = backend.size(&patches);
        let mut x =
            backend.tokens(&patches, self.prefix.as_ref(), self.positions(height, width)?.as_deref())?;
        drop(patches);
        if let Some(norm) = &self.norm_pre {
            x = backend.normalise(norm, &x)?;
        }
        let angles = self.angles(height, width)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, angles.as_deref(), backend)?;
            see(i, &x)?;
        }
        Ok(x)
    }

    /// Learned positions for a grid of patches.
    fn positions(&self, height: usize, width: usize) -> Computed<Option<Arc<B::Constant>>> {
        let Some((positions, kept)) = &self.learned else { return Ok(None) };
        let make = || self.backend.constant(positions.resampled(height, width), positions.channels());
        kept.get((height, width), make).map(Some)
    }

    /// Rotary positions for a grid of patches.
    fn angles(&self, height: usize, width: usize) -> Computed<Option<Arc<B::Angles>>> {
        let Some((rotary, kept)) = &self.rotary else { return Ok(None) };
        let make = || {
            let Table { cos, sin } = rotary.table(height, width);
            self.backend.angles(cos, sin, rotary.half(), self.n_prefix)
        };
        kept.get((height, width), make).map(Some)
    }

    /// The features' map.
    fn feature_map(&self, images: &Images, range: Range<usize>) -> Computed<B::Map> {
        let backend = &self.backend;
        let size = [images.height, images.width].map(|side| side.div_ceil(self.patch));
        let mut maps: Vec<Option<(B::Map, usize)>> = self.chosen.iter().map(|_| None).collect();
        self.forward(images, range, |i, x| {
            for (kept, _) in maps.iter_mut().zip(&self.chosen).filter(|(_, block)| **block == i) {
                let norm = self.norm.as_ref().filter(|_| self.last_norm);
                let normed = norm.map(|norm| backend.normalise(norm, x)).transpose()?;
                let tokens = normed.as_ref().unwrap_or(x);
                *kept = Some((backend.patches(tokens, self.n_prefix, size)?, self.patch));
            }
            Ok(())
        })?;
        let mut maps: Vec<(B::Map, usize)> = maps.into_iter().flatten().collect();
        let map = match maps.len() {
            1 => maps.remove(0).0,
            _ => backend.side_by_side(&maps)?,
        };
        match &self.projection {
            None => Ok(map),
            Some(projection) => {
                backend.unit_length(backend.convolve(projection, &map, None, Follow::None)?)
            }
        }
    }
}

impl<B: Backend> Layers for VitLayers<B> {
    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        images.check()?;
        let tokens = self.backend.features(images, |images, range| self.feature_map(images, range))?;
        Ok(FeatureMap { tokens, image_size: (images.height, images.width), stride: self.patch })
    }

    fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError> {
        images.check()?;
        let mut seen = Vec::new();
        let mut keep = |name: String, x: &B::Map| -> Computed<()> {
            seen.push(Activation { name, values: self.backend.tensor(x)?.squeeze(1)? });
            Ok(())
        };
        let x = self.forward(images, 0..images.n, |i, x| keep(format!("block{i}"), x))?;
        if let Some(norm) = &self.norm {
            keep("norm".to_owned(), &self.backend.normalise(norm, &x)?)?;
        }
        Ok(seen)
    }

    fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        images.check()?;
        let (Some(classifier), Some(norm)) = (&self.classifier, &self.norm) else { return Ok(None) };
        let x = self.forward(images, 0..images.n, |_, _| Ok(()))?;
        let tokens = self.backend.tensor(&self.backend.normalise(norm, &x)?)?;
        let (n, _, _, channels) = tokens.dims4()?;
        let class = tokens.narrow(2, 0, 1)?.contiguous()?.reshape((1, 1, n, channels))?;
        let y = self.backend.convolve(classifier, &self.backend.map(&class)?, None, Follow::None)?;
        Ok(Some(self.backend.tensor(&y)?.squeeze(0)?.squeeze(0)?))
    }
}
