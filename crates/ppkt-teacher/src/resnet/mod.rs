//! Residual networks: ResNet-18 to 152, wide ones, ResNeXt, and any of their kind, with basic or bottleneck blocks.

mod arch;
mod blocks;

use std::ops::Range;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::engine::{Activation as Follow, Buffers, Conv, Isa, Map, max_pool_3x3_s2};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Recorder, feature_map, side_by_side};
use crate::options::TeacherOptions;
use crate::preprocess::{Normaliser, Statistics};
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::Arch;
use blocks::Block;

/// A residual network (He et al. 2016, arXiv 1512.03385; wide, 1605.07146; ResNeXt, 1611.05431), frozen, with its batch norms folded into the convolutions.
///
/// It is what the file holds: basic or bottleneck blocks, any widths and groups, any number of blocks, one to four stages. The
/// stem's kernel is read from its tensor; the metadata entries `stem_stride` (default 2) and `stem_pool` (default true)
/// describe stems other than the 7×7 one.
pub struct ResNet {
    inspection: Inspection,
    normaliser: Normaliser,
    stem: Conv,
    stem_border: usize,
    stem_pool: bool,
    stages: Vec<Vec<Block>>,
    /// Stages whose maps are features, in the order of their channels, and their strides.
    chosen: Vec<(usize, usize)>,
    classifier: Option<Conv>,
    buffers: Buffers,
}

impl ResNet {
    /// Reads a safetensors file with torchvision's, timm's or `transformers`' names, and the configuration beside it.
    ///
    /// # Errors
    /// Every [`TeacherError`] about files, tensors and options; also if the file holds a network of another family.
    pub fn open(path: impl AsRef<Path>, options: &TeacherOptions) -> Result<Self, TeacherError> {
        Self::from_weights(Weights::read(path.as_ref())?, options)
    }

    pub(crate) fn from_weights(weights: Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        Self::build(weights, options, Isa::detect())
    }

    fn build(mut weights: Weights, options: &TeacherOptions, isa: Isa) -> Result<Self, TeacherError> {
        let arch = Arch::read(&weights, options)?;
        let (stem, stages) = blocks::build(&mut weights, &arch, isa)?;
        let classifier = blocks::classifier(&mut weights, &arch, isa)?;
        weights.refuse_unread(&["conv1.", "bn1.", "layer"])?;
        let normaliser = Normaliser::new(&weights.config, options, Statistics::IMAGENET);
        let inspection = arch.inspection(&weights, &normaliser);
        Ok(Self {
            inspection,
            normaliser,
            stem,
            stem_border: arch.stem.kernel / 2,
            stem_pool: arch.stem_pool,
            stages,
            chosen: arch.chosen.iter().map(|i| (*i, arch.strides[*i])).collect(),
            classifier,
            buffers: Buffers::default(),
        })
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
        images.check()?;
        let mut recorder = Recorder::default();
        self.forward(images, 0..images.n, |name, map| {
            recorder.keep(name, &[map.n, map.height, map.width, map.channels], &map.data);
        });
        recorder.finish()
    }

    /// Class scores `[n, classes]` before the softmax, or `None` where the file has no classifier or the chosen stage is
    /// not the last.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    pub fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError> {
        let Some(classifier) = &self.classifier else { return Ok(None) };
        let tokens = self.features(images)?.tokens;
        let pooled: Vec<f32> = tokens.mean((1, 2))?.flatten_all()?.to_vec1()?;
        let mut x = Map::take(&self.buffers, [1, 1, images.n, self.spec().channels]);
        x.data.copy_from_slice(&pooled);
        let y = classifier.forward(&x, None, Follow::None, &self.buffers);
        Ok(Some(Tensor::from_slice(&y.data, (images.n, y.channels), &Device::Cpu)?))
    }

    /// The features' map.
    fn feature_map(&self, images: &Images, range: Range<usize>) -> Map {
        if self.chosen.len() == 1 {
            return self.forward(images, range, |_, _| {});
        }
        let mut maps: Vec<Option<(Map, usize)>> = self.chosen.iter().map(|_| None).collect();
        let chosen = |name: &str| {
            self.chosen.iter().position(|(i, _)| name.strip_prefix("layer") == Some(&(i + 1).to_string()))
        };
        self.forward(images, range, |name, map| {
            if let Some(place) = chosen(name) {
                maps[place] = Some((map.copied(&self.buffers), self.chosen[place].1));
            }
        });
        side_by_side(&maps.into_iter().flatten().collect::<Vec<_>>(), &self.buffers)
    }

    /// The last stage's map; `see` gets those of stem, pool and each stage.
    fn forward(&self, images: &Images, range: Range<usize>, mut see: impl FnMut(&str, &Map)) -> Map {
        let image = self.normaliser.bordered(images, range, self.stem_border, 1, &self.buffers);
        let mut x = self.stem.forward_bordered(&image, Follow::Relu, &self.buffers);
        drop(image);
        see("stem", &x);
        if self.stem_pool {
            x = max_pool_3x3_s2(&x, &self.buffers);
            see("pool", &x);
        }
        for (i, stage) in self.stages.iter().enumerate() {
            for block in stage {
                x = block.forward(&x, &self.buffers);
            }
            see(&format!("layer{}", i + 1), &x);
        }
        x
    }
}

impl Teacher for ResNet {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        feature_map(images, self.inspection.spec.stride, |range| self.feature_map(images, range))
    }
}
