//! Maps of several strides on one grid.

use rayon::prelude::*;

use super::map::{Buffers, Map};

/// Several maps of the same images side by side, each given with its stride, on the grid of the finest one.
///
/// A cell of stride `s` stands for `s` × `s` pixels and its value for their centre; between centres of a coarser map
/// values are bilinear, beyond the outermost ones constant. So no feature moves, and where all strides are equal nothing
/// is computed. It is PyTorch's `interpolate(mode="bilinear", align_corners=False)` with a `scale_factor`, cut to size.
///
/// # Panics
/// If there is no map, or a stride is no multiple of the finest one.
pub(crate) fn side_by_side(maps: &[(Map, usize)], buffers: &Buffers) -> Map {
    let Some((finest, stride)) = maps.iter().min_by_key(|(_, stride)| *stride) else {
        panic!("no maps");
    };
    let all = maps.iter().map(|(map, _)| map.channels).sum();
    let (height, width) = (finest.height, finest.width);
    let mut out = Map::take(buffers, [finest.n, height, width, all]);
    let mut first = 0;
    for (map, coarse) in maps {
        assert_eq!(coarse % stride, 0, "strides");
        let factor = coarse / stride;
        let columns: Vec<_> = (0..width).map(|x| between(x, factor, map.width)).collect();
        let c = map.channels;
        out.data.par_chunks_exact_mut(width * all).enumerate().for_each(|(row, out)| {
            let (image, (y0, y1, fy)) = (row / height, between(row % height, factor, map.height));
            let pixel = |y: usize, x: usize| &map.data[((image * map.height + y) * map.width + x) * c..][..c];
            for (out, &(x0, x1, fx)) in out.chunks_exact_mut(all).zip(&columns) {
                let out = &mut out[first..first + c];
                if factor == 1 {
                    out.copy_from_slice(pixel(y0, x0));
                    continue;
                }
                let corners = pixel(y0, x0).iter().zip(pixel(y0, x1)).zip(pixel(y1, x0)).zip(pixel(y1, x1));
                for (out, (((a, b), c), d)) in out.iter_mut().zip(corners) {
                    let (upper, lower) = (a + fx * (b - a), c + fx * (d - c));
                    *out = upper + fy * (lower - upper);
                }
            }
        });
        first += c;
    }
    out
}

/// The two of `n` coarse cells beside the centre of a finer one, and the weight of the second.
fn between(cell: usize, factor: usize, n: usize) -> (usize, usize, f32) {
    let place = ((cell as f64 + 0.5) / factor as f64 - 0.5).clamp(0.0, n as f64 - 1.0);
    let first = place as usize;
    (first, (first + 1).min(n - 1), (place - first as f64) as f32)
}
