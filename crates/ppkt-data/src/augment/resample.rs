//! Crop, resize and mirror a photograph in one pass, and move pixels by the same map.

use image::RgbImage;

/// How a photograph is cut, resized and mirrored, in that order; also the map of its pixels.
///
/// Pixels are continuous, with the centre of the first one at (0.5, 0.5). Under that convention all three steps are
/// exact affine maps: a resize multiplies, and a mirror is u → width − u.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageMap {
    /// Left edge of the part that is kept, pixels of the source.
    pub left: f64,
    /// Upper edge of the part that is kept, pixels of the source.
    pub top: f64,
    /// Width of the part that is kept, pixels of the source.
    pub width: f64,
    /// Height of the part that is kept, pixels of the source.
    pub height: f64,
    /// Whether the result is mirrored left to right.
    pub mirrored: bool,
    /// Width and height of the result, pixels.
    pub out: [u32; 2],
}

impl ImageMap {
    /// The whole of an image of `size` (width, height), resized to `out`; stretched where the aspects differ.
    pub fn whole(size: [u32; 2], out: [u32; 2]) -> Self {
        let [width, height] = size.map(f64::from);
        Self { left: 0.0, top: 0.0, width, height, mirrored: false, out }
    }

    /// Where a pixel of the source lies in the result, or `None` if it was cut away.
    pub fn pixel(&self, u: f32, v: f32) -> Option<(f32, f32)> {
        let [width, height] = self.out.map(f64::from);
        let mut x = (f64::from(u) - self.left) * (width / self.width);
        let y = (f64::from(v) - self.top) * (height / self.height);
        if self.mirrored {
            x = width - x;
        }
        // Checked after the rounding to f32, which may reach the far edge.
        let (x, y) = (x as f32, y as f32);
        let inside = x >= 0.0 && y >= 0.0 && x < self.out[0] as f32 && y < self.out[1] as f32;
        inside.then_some((x, y))
    }

    /// The result. Enlarging interpolates linearly; reducing averages under a triangle as wide as the reduction, so
    /// that fine texture does not alias. A map that moves nothing returns the same bytes.
    pub fn image(&self, source: &RgbImage) -> RgbImage {
        let (source_width, source_height) = source.dimensions();
        let [width, height] = self.out;
        let mut columns = Taps::new(self.left, self.width, width, source_width);
        if self.mirrored {
            columns.reverse();
        }
        let rows = Taps::new(self.top, self.height, height, source_height);
        let stride = source_width as usize * 3;
        let (mut line, mut bytes) =
            (vec![0f32; stride], Vec::with_capacity(width as usize * height as usize * 3));
        for y in 0..height as usize {
            line.fill(0.0);
            let (first, weights) = rows.of(y);
            for (k, &weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                let row = &source.as_raw()[(first + k) * stride..][..stride];
                line.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * f32::from(value));
            }
            for x in 0..width as usize {
                let (first, weights) = columns.of(x);
                let mut sum = [0.5f32; 3];
                for (pixel, &weight) in line[first * 3..].as_chunks::<3>().0.iter().zip(weights) {
                    for c in 0..3 {
                        sum[c] += weight * pixel[c];
                    }
                }
                bytes.extend(sum.map(|s| s as u8));
            }
        }
        // The buffer holds width × height pixels by construction; an empty image stands for the impossible.
        RgbImage::from_raw(width, height, bytes).unwrap_or_default()
    }
}

/// Weights of one axis: a fixed number of taps for each pixel of the result, summing to 1.
struct Taps {
    first: Vec<usize>,
    weights: Vec<f32>,
    n_taps: usize,
}

impl Taps {
    /// Taps for `out` pixels over the stretch from `start`, `length` long, of an axis with `n_source` pixels.
    fn new(start: f64, length: f64, out: u32, n_source: u32) -> Self {
        let scale = length / f64::from(out);
        let radius = scale.max(1.0);
        let n_taps = ((2.0 * radius).ceil() as usize + 1).min(n_source as usize);
        let mut taps = Self { first: Vec::new(), weights: Vec::new(), n_taps };
        for i in 0..out {
            let centre = start + (f64::from(i) + 0.5) * scale;
            let lowest = (centre - radius - 0.5).ceil().max(0.0) as usize;
            let first = lowest.min(n_source as usize - n_taps);
            let raw = (first..first + n_taps).map(|j| 1.0 - ((j as f64 + 0.5) - centre).abs() / radius);
            let raw: Vec<f64> = raw.map(|w| w.max(0.0)).collect();
            let sum: f64 = raw.iter().sum();
            taps.first.push(first);
            taps.weights.extend(raw.iter().map(|w| (w / sum) as f32));
        }
        taps
    }

    fn of(&self, i: usize) -> (usize, &[f32]) {
        (self.first[i], &self.weights[i * self.n_taps..][..self.n_taps])
    }

    fn reverse(&mut self) {
        self.first.reverse();
        let reversed = self.weights.chunks(self.n_taps).rev().flatten().copied().collect();
        self.weights = reversed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Red rises with u and green with v, linearly, so that a sample tells where it was taken.
    fn ramps(width: u32, height: u32) -> RgbImage {
        let code = |i: u32, n: u32| ((f64::from(i) + 0.5) / f64::from(n) * 255.0).round() as u8;
        RgbImage::from_fn(width, height, |x, y| Rgb([code(x, width), code(y, height), 7]))
    }

    #[test]
    fn moving_nothing_changes_no_byte() {
        let source = ramps(37, 21);
        assert_eq!(ImageMap::whole([37, 21], [37, 21]).image(&source), source);
    }

    #[test]
    fn mirroring_twice_changes_no_byte() {
        let source = ramps(16, 9);
        let map = ImageMap { mirrored: true, ..ImageMap::whole([16, 9], [16, 9]) };
        assert_eq!(map.image(&map.image(&source)), source);
        assert_eq!(map.image(&source).get_pixel(0, 3), source.get_pixel(15, 3));
    }

    #[test]
    fn a_whole_number_crop_copies() {
        let source = ramps(40, 30);
        let map = ImageMap { left: 7.0, top: 5.0, width: 20.0, height: 10.0, mirrored: false, out: [20, 10] };
        assert_eq!(map.image(&source), image::imageops::crop_imm(&source, 7, 5, 20, 10).to_image());
    }

    #[test]
    fn halving_under_a_triangle_keeps_the_mean() {
        let source = RgbImage::from_fn(64, 64, |x, y| Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
        let half = ImageMap::whole([64, 64], [32, 32]).image(&source);
        // A checkerboard at the finest scale must become flat grey, not alias into stripes.
        assert!(
            half.pixels().all(|p| p.0.iter().all(|c| c.abs_diff(127) < 12)),
            "{:?}",
            half.get_pixel(3, 3)
        );
    }

    #[test]
    fn tiny_images_do_not_break() {
        for (source, out) in [([1, 1], [5, 3]), ([2, 1], [1, 1]), ([3, 7], [1, 50]), ([200, 100], [1, 1])] {
            let got = ImageMap::whole(source, out).image(&RgbImage::from_pixel(
                source[0],
                source[1],
                Rgb([9, 8, 7]),
            ));
            assert!(got.pixels().all(|p| p.0 == [9, 8, 7]));
            assert_eq!(got.dimensions(), (out[0], out[1]));
        }
    }

    #[test]
    fn pixels_outside_the_crop_are_cut() {
        let map =
            ImageMap { left: 10.0, top: 10.0, width: 20.0, height: 20.0, mirrored: true, out: [40, 40] };
        assert_eq!(map.pixel(10.0, 10.0), None, "the mirrored left edge is the far edge, which is outside");
        assert_eq!(map.pixel(30.0, 10.0), Some((0.0, 0.0)));
        assert_eq!(map.pixel(10.5, 29.5), Some((39.0, 39.0)));
        assert_eq!(map.pixel(9.0, 15.0), None);
        assert_eq!(map.pixel(f32::NAN, 15.0), None);
    }
}
