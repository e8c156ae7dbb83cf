//! From bytes to the numbers that a network was trained on.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::{Buffers, Map};
use crate::images::Images;
use crate::options::TeacherOptions;
use crate::weights::Config;

/// Mean and standard deviation of training images in 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
    /// Whose they are.
    whose: &'static str,
}

impl Statistics {
    /// What nearly every network without a statement of its own was trained with.
    pub(crate) const IMAGENET: Self =
        Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], whose: "ImageNet's" };
    /// OpenAI's, of the published CLIP.
    pub(crate) const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        whose: "CLIP's",
    };
    /// From -1 to 1.
    pub(crate) const HALF: Self = Self { mean: [0.5; 3], std: [0.5; 3], whose: "SigLIP's" };
}

/// `(x / 255 - mean) / std`, by table.
pub(crate) struct Normaliser {
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
    /// Where they are from, for people.
    pub(crate) from: String,
    table: [[f32; 256]; 3],
}

impl Normaliser {
    /// The options' values, else the model's own, else those that are usual for its kind.
    pub(crate) fn new(config: &Config, options: &TeacherOptions, usual: Statistics) -> Self {
        let known = config.normalisation_from.clone();
        let mut from = known.unwrap_or_else(|| format!("{}, as the model states none", usual.whose));
        if options.mean.is_some() || options.std.is_some() {
            from = "options".to_owned();
        }
        let mean = options.mean.or(config.mean).unwrap_or(usual.mean);
        let std = options.std.or(config.std).unwrap_or(usual.std);
        let table = std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - mean[c]) / std[c]));
        Self { mean, std, from, table }
    }

    /// Some of the images, normalised, with `border` zero pixels on each side; before that their sizes are rounded up
    /// to `multiple`, with zeros right and below, so that no pixel moves.
    pub(crate) fn bordered(
        &self,
        images: &Images,
        range: Range<usize>,
        border: usize,
        multiple: usize,
        buffers: &Buffers,
    ) -> Map {
        let height = images.height.next_multiple_of(multiple) + 2 * border;
        let width = images.width.next_multiple_of(multiple) + 2 * border;
        let mut out = Map::take(buffers, [range.len(), height, width, 3]);
        let [red, green, blue] = &self.table;
        out.data.par_chunks_exact_mut(width * 3).enumerate().for_each(|(row, out)| {
            let (image, y) = (range.start + row / height, (row % height).wrapping_sub(border));
            if y >= images.height {
                out.fill(0.0);
                return;
            }
            let (left, rest) = out.split_at_mut(border * 3);
            let (middle, right) = rest.split_at_mut(images.width * 3);
            left.fill(0.0);
            right.fill(0.0);
            let pixels = &images.rgb[(image * images.height + y) * images.width * 3..][..images.width * 3];
            for (out, pixel) in middle.as_chunks_mut::<3>().0.iter_mut().zip(pixels.as_chunks::<3>().0) {
                let [r, g, b] = *pixel;
                *out = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
            }
        });
        out
    }
}
