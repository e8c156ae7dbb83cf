//! ConvNeXt: tiny to extra large, and DINOv3's.

mod arch;
mod blocks;

use std::ops::Range;
use std::path::Path;

use crate::engine::{Activation as Follow, Buffers, Conv, Isa, LayerNorm, Map};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::inspection::Inspection;
use crate::network::{Activation, Recorder, feature_map, side_by_side};
use crate::options::TeacherOptions;
use crate::preprocess::{Normaliser, Statistics};
use crate::spec::{Teacher, TeacherSpec};
use crate::weights::Weights;
use arch::{Arch, LAST_NORM};
use blocks::Stage;

/// A ConvNeXt (Liu et al. 2022, arXiv 2201.03545), frozen; also those of DINOv3 (2508.10104).
///
/// Its features are the map of the chosen stages. An image that the stride of the last of these does not divide is
/// continued with the mean colour to the right and below, so that no pixel moves and none is left out; the authors' code
/// leaves out what does not fill a cell.
pub struct ConvNext {
    inspection: Inspection,
    normaliser: Normaliser,
    stem: Conv,
    stem_norm: LayerNorm,
    stages: Vec<Stage>,
    /// Stages whose maps are features, in the order of their channels, and their strides.
    chosen: Vec<(usize, usize)>,
    /// What the sides of an image are rounded up to.
    multiple: usize,
    /// Behind the last stage.
    last_norm: Option<LayerNorm>,
    isa: Isa,
    buffers: Buffers,
}

impl ConvNext {
    /// Reads a weights file with the names of the authors, torchvision, timm or `transformers`, and the configuration
    /// beside it.
    ///
    /// # Errors
    /// Every [`TeacherError`] about files, tensors and options; also if the file holds a network of another family.
    pub fn open(path: impl AsRef<Path>, options: &TeacherOptions) -> Result<Self, TeacherError> {
        Self::from_weights(Weights::read(path.as_ref())?, options)
    }

    pub(crate) fn from_weights(mut weights: Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        let isa = Isa::detect();
        let arch = Arch::read(&weights, options)?;
        let (stem, stem_norm) = blocks::stem(&mut weights, &arch, isa)?;
        let stages = blocks::stages(&mut weights, &arch, isa)?;
        let channels = arch.present[arch.present.len() - 1].1;
        let last_norm = match arch.last_norm {
            true => Some(blocks::norm(&mut weights, LAST_NORM, channels, arch.ln_eps)?),
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
        Ok(Self {
            inspection: arch.inspection(&weights, &normaliser),
            normaliser,
            stem,
            stem_norm,
            stages,
            chosen: arch.chosen.iter().map(|i| (*i, arch.stride(*i))).collect(),
            multiple: arch.stride(arch.depth() - 1),
            last_norm,
            isa,
            buffers: Buffers::default(),
        })
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
        images.check()?;
        let mut recorder = Recorder::default();
        self.forward(images, 0..images.n, |name, map| {
            recorder.keep(name, &[map.n, map.height, map.width, map.channels], &map.data);
        });
        recorder.finish()
    }

    /// The features' map: without the cells that only the border of the image has.
    fn feature_map(&self, images: &Images, range: Range<usize>) -> Map {
        let last = self.stages.len() - 1;
        let map = match self.chosen[..] {
            [(only, _)] if only == last => self.forward(images, range, |_, _| {}),
            _ => {
                let mut maps: Vec<Option<(Map, usize)>> = self.chosen.iter().map(|_| None).collect();
                let end = self.forward(images, range, |name, map| {
                    for (kept, (i, stride)) in maps.iter_mut().zip(&self.chosen) {
                        if *i < last && name.strip_prefix("layer") == Some(&(i + 1).to_string()) {
                            *kept = Some((map.copied(&self.buffers), *stride));
                        }
                    }
                });
                if let Some(place) = self.chosen.iter().position(|(i, _)| *i == last) {
                    maps[place] = Some((end, self.chosen[place].1));
                }
                side_by_side(&maps.into_iter().flatten().collect::<Vec<_>>(), &self.buffers)
            }
        };
        let stride = self.inspection.spec.stride;
        map.cut(images.height.div_ceil(stride), images.width.div_ceil(stride), &self.buffers)
    }

    /// The last stage's map, behind the last norm if there is one; `see` gets what each part gives.
    fn forward(&self, images: &Images, range: Range<usize>, mut see: impl FnMut(&str, &Map)) -> Map {
        let image = self.normaliser.bordered(images, range, 0, self.multiple, &self.buffers);
        let patches = self.stem.forward_bordered(&image, Follow::None, &self.buffers);
        drop(image);
        let mut x = self.stem_norm.forward(&patches, self.isa, &self.buffers);
        drop(patches);
        see("stem", &x);
        for (i, stage) in self.stages.iter().enumerate() {
            x = stage.forward(x, self.isa, &self.buffers);
            see(&format!("layer{}", i + 1), &x);
        }
        if let Some(norm) = &self.last_norm {
            x = norm.forward(&x, self.isa, &self.buffers);
            see("norm", &x);
        }
        x
    }
}

impl Teacher for ConvNext {
    fn spec(&self) -> &TeacherSpec {
        &self.inspection.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        feature_map(images, self.inspection.spec.stride, |range| self.feature_map(images, range))
    }
}
