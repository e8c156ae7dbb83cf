//! How a residual network runs.

use std::ops::Range;

use candle_core::{Result as Computed, Tensor};

use super::blocks::Stages;
use crate::backend::{Backend, Pixels};
use crate::engine::Activation as Follow;
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::network::{Activation, Layers};

/// The layers of a residual network up to the last stage that is asked for.
pub(super) struct ResNetLayers<B: Backend> {
    pub(super) normaliser: B::Normaliser,
    pub(super) stem: B::Conv,
    pub(super) stem_pool: bool,
    pub(super) stages: Stages<B>,
    /// Stages whose maps are features, in the order of their channels, and their strides.
    pub(super) chosen: Vec<(usize, usize)>,
    /// Of the features' map.
    pub(super) stride: usize,
    pub(super) classifier: Option<B::Conv>,
    pub(super) backend: B,
}

impl<B: Backend> ResNetLayers<B> {
    /// The features' map.
    fn feature_map(&self, images: &Images, range: Range<usize>) -> Computed<B::Map> {
        if self.chosen.len() == 1 {
            return self.forward(images, range, |_, _| Ok(()));
        }
        let mut maps: Vec<Option<(B::Map, usize)>> = self.chosen.iter().map(|_| None).collect();
        let chosen = |name: &str| {
            self.chosen.iter().position(|(i, _)| name.strip_prefix("layer") == Some(&(i + 1).to_string()))
        };
        self.forward(images, range, |name, map| {
            if let Some(place) = chosen(name) {
                maps[place] = Some((self.backend.copy(map)?, self.chosen[place].1));
            }
            Ok(())
        })?;
        self.backend.side_by_side(&maps.into_iter().flatten().collect::<Vec<_>>())
    }

    /// The last stage's map; `see` gets those of stem, pool and each stage.
    fn forward(
        &self,
        images: &Images,
        range: Range<usize>,
        mut see: impl FnMut(&str, &B::Map) -> Computed<()>,
    ) -> Computed<B::Map> {
        let pixels = Pixels { normaliser: &self.normaliser, images, range, multiple: 1 };
        let mut x = self.backend.stem(&self.stem, &pixels, Follow::Relu)?;
        see("stem", &x)?;
        if self.stem_pool {
            x = self.backend.max_pool(&x)?;
            see("pool", &x)?;
        }
        for (i, stage) in self.stages.iter().enumerate() {
            for block in stage {
                x = block.forward(&x, &self.backend)?;
            }
            see(&format!("layer{}", i + 1), &x)?;
        }
        Ok(x)
    }
}

impl<B: Backend> Layers for ResNetLayers<B> {
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

    fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        let Some(classifier) = &self.classifier else { return Ok(None) };
        let pooled = self.features(images)?.tokens.mean((1, 2))?;
        let (n, channels) = pooled.dims2()?;
        let x = self.backend.map(&pooled.reshape((1, 1, n, channels))?)?;
        let y = self.backend.convolve(classifier, &x, None, Follow::None)?;
        Ok(Some(self.backend.tensor(&y)?.squeeze(0)?.squeeze(0)?))
    }
}
