//! From bytes to the numbers that a network was trained on.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::{Buffers, Map};
use crate::images::Images;
use crate::options::TeacherOptions;
use crate::weights::Config;

/// ImageNet's, which nearly every network without a statement of its own was trained with.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// `(x / 255 - mean) / std`, by table.
pub(crate) struct Normaliser {
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
    /// Where they are from, for people.
    pub(crate) from: String,
    table: [[f32; 256]; 3],
}

impl Normaliser {
    /// The options' values, else the model's own, else ImageNet's.
    pub(crate) fn new(config: &Config, options: &TeacherOptions) -> Self {
        let known = config.normalisation_from.clone();
        let mut from = known.unwrap_or_else(|| "ImageNet's, as the model states none".to_owned());
        if options.mean.is_some() || options.std.is_some() {
            from = "options".to_owned();
        }
        let mean = options.mean.or(config.mean).unwrap_or(IMAGENET_MEAN);
        let std = options.std.or(config.std).unwrap_or(IMAGENET_STD);
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
