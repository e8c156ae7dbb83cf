//! Max-pooling of the stem.

use rayon::prelude::*;

use super::map::{Buffers, Map};

/// Maximum over 3×3 windows, two pixels apart, one pixel of border that never wins.
///
/// # Shapes
/// `[n, H, W, C]` in, `[n, (H - 1) / 2 + 1, (W - 1) / 2 + 1, C]` out.
pub(crate) fn max_pool_3x3_s2(x: &Map, buffers: &Buffers) -> Map {
    let (height, width, channels) = ((x.height - 1) / 2 + 1, (x.width - 1) / 2 + 1, x.channels);
    let mut out = Map::take(buffers, [x.n, height, width, channels]);
    out.data.par_chunks_mut(width * channels).enumerate().for_each(|(row, out)| {
        let (image, y) = (row / height, row % height);
        let image = &x.data[image * x.height * x.width * channels..][..x.height * x.width * channels];
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            out.fill(f32::NEG_INFINITY);
            for yy in (2 * y).saturating_sub(1)..(2 * y + 2).min(x.height) {
                for xx in (2 * column).saturating_sub(1)..(2 * column + 2).min(x.width) {
                    let pixel = &image[(yy * x.width + xx) * channels..][..channels];
                    for (o, v) in out.iter_mut().zip(pixel) {
                        *o = if *o > *v { *o } else { *v };
                    }
                }
            }
        }
    });
    out
}
