//! How a ConvNeXt runs.

use std::ops::Range;

use candle_core::{Result as Computed, Tensor};

use super::blocks::Stage;
use crate::backend::{Backend, Pixels};
use crate::engine::Activation as Follow;
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::network::{Activation, Layers};

/// The layers of a ConvNeXt up to the last stage that is asked for.
pub(super) struct ConvNextLayers<B: Backend> {
    pub(super) normaliser: B::Normaliser,
    pub(super) stem: B::Conv,
    pub(super) stem_norm: B::LayerNorm,
    pub(super) stages: Vec<Stage<B>>,
    /// Stages whose maps are features, in the order of their channels, and their strides.
    pub(super) chosen: Vec<(usize, usize)>,
    /// Of the features' map.
    pub(super) stride: usize,
    /// What the sides of an image are rounded up to.
    pub(super) multiple: usize,
    /// Behind the last stage.
    pub(super) last_norm: Option<B::LayerNorm>,
    pub(super) backend: B,
}

impl<B: Backend> ConvNextLayers<B> {
    /// The features' map: without the cells that only the border of the image has.
    fn feature_map(&self, images: &Images, range: Range<usize>) -> Computed<B::Map> {
        let last = self.stages.len() - 1;
        let map = match self.chosen[..] {
            [(only, _)] if only == last => self.forward(images, range, |_, _| Ok(()))?,
            _ => {
                let mut maps: Vec<Option<(B::Map, usize)>> = self.chosen.iter().map(|_| None).collect();
                let end = self.forward(images, range, |name, map| {
                    for (kept, (i, stride)) in maps.iter_mut().zip(&self.chosen) {
                        if *i < last && name.strip_prefix("layer") == Some(&(i + 1).to_string()) {
                            *kept = Some((self.backend.copy(map)?, *stride));
                        }
                    }
                    Ok(())
                })?;
                if let Some(place) = self.chosen.iter().position(|(i, _)| *i == last) {
                    maps[place] = Some((end, self.chosen[place].1));
                }
                self.backend.side_by_side(&maps.into_iter().flatten().collect::<Vec<_>>())?
            }
        };
        let size = [images.height, images.width].map(|side| side.div_ceil(self.stride));
        self.backend.cut(map, size)
    }

    /// The last stage's map, behind the last norm if there is one; `see` gets what each part gives.
    fn forward(
        &self,
        images: &Images,
        range: Range<usize>,
        mut see: impl FnMut(&str, &B::Map) -> Computed<()>,
    ) -> Computed<B::Map> {
        let backend = &self.backend;
        let pixels = Pixels { normaliser: &self.normaliser, images, range, multiple: self.multiple };
        let patches = backend.stem(&self.stem, &pixels, Follow::None)?;
        let mut x = backend.normalise(&self.stem_norm, &patches)?;
        drop(patches);
        see("stem", &x)?;
        for (i, stage) in self.stages.iter().enumerate() {
            x = stage.forward(x, backend)?;
            see(&format!("layer{}", i + 1), &x)?;
        }
        if let Some(norm) = &self.last_norm {
            x = backend.normalise(norm, &x)?;
            see("norm", &x)?;
        }
        Ok(x)
    }
}

impl<B: Backend> Layers for ConvNextLayers<B> {
    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        images.check()?;
        let tokens = self.backend.features(images, |images, range| self.feature_map(images, range))?;
        Ok(FeatureMap { tokens, image_size: (images.height, images.width), stride: self.stride })
    }

    fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError> {
        images.check()?;
        let mut seen = Vec::new();
        self.forward(images, 0..images.n, |name, map| {
            seen.push(Activation { name: name.to_owned(), values: self.backend.tensor(map)? });
            Ok(())
        })?;
        Ok(seen)
    }

    /// None: its classifier is not read.
    fn logits(&self, _: &Images) -> Result<Option<Tensor>, TeacherError> {
        Ok(None)
    }
}
