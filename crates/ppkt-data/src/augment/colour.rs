//! Brightness, contrast, saturation and hue of a photograph as one affine map of its colours.

use image::RgbImage;

/// Weights of red, green and blue in a grey of the same lightness (ITU-R BT.601).
const GREY: [f32; 3] = [0.299, 0.587, 0.114];

/// An affine map of colours: three rows of red, green, blue and constant, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ColourMap([[f32; 4]; 3]);

impl ColourMap {
    pub(super) const IDENTITY: Self =
        Self([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);

    fn then(self, linear: [[f32; 3]; 3], constant: f32) -> Self {
        let mut rows = [[0.0; 4]; 3];
        for (row, weights) in rows.iter_mut().zip(linear) {
            for (j, value) in row.iter_mut().enumerate() {
                *value = (0..3).map(|k| weights[k] * self.0[k][j]).sum();
            }
            row[3] += constant;
        }
        Self(rows)
    }

    /// Every channel times `factor`.
    pub(super) fn brightness(self, factor: f32) -> Self {
        self.then([[factor, 0.0, 0.0], [0.0, factor, 0.0], [0.0, 0.0, factor]], 0.0)
    }

    /// Away from the mean grey by `factor`; `mean` is the mean colour of the photograph before any step.
    pub(super) fn contrast(self, factor: f32, mean: [f32; 3]) -> Self {
        let grey: f32 = self.apply(mean).iter().zip(GREY).map(|(c, w)| c * w).sum();
        self.then([[factor, 0.0, 0.0], [0.0, factor, 0.0], [0.0, 0.0, factor]], (1.0 - factor) * grey)
    }

    /// Away from each pixel's own grey by `factor`; 0 makes a grey picture.
    pub(super) fn saturation(self, factor: f32) -> Self {
        let mut linear = [GREY.map(|w| w * (1.0 - factor)); 3];
        for (i, row) in linear.iter_mut().enumerate() {
            row[i] += factor;
        }
        self.then(linear, 0.0)
    }

    /// Colours turned about the grey axis by a share of the full circle. Linear, unlike a turn in HSV, so that all
    /// steps are one matrix; grey stays grey, and a turn by a third permutes the channels.
    pub(super) fn hue(self, turn: f32) -> Self {
        let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
        let (same, side) = ((1.0 - cos) / 3.0, sin / 3f32.sqrt());
        let (a, b, c) = (cos + same, same - side, same + side);
        self.then([[a, b, c], [c, a, b], [b, c, a]], 0.0)
    }

    pub(super) fn apply(&self, [r, g, b]: [f32; 3]) -> [f32; 3] {
        self.0.map(|row| row[0] * r + row[1] * g + row[2] * b + row[3])
    }

    /// Maps every pixel, clamped once at the end.
    pub(super) fn paint(&self, image: &mut RgbImage) {
        if *self == Self::IDENTITY {
            return;
        }
        for pixel in image.as_chunks_mut::<3>().0 {
            // Casting saturates at 0 and 255.
            *pixel = self.apply(pixel.map(f32::from)).map(|v| (v + 0.5) as u8);
        }
    }
}

/// Mean colour of a photograph, in bytes; mid-grey if it is empty.
pub(super) fn mean(image: &RgbImage) -> [f32; 3] {
    let (mut sums, pixels) = ([0u64; 3], image.as_chunks::<3>().0);
    for pixel in pixels {
        (0..3).for_each(|c| sums[c] += u64::from(pixel[c]));
    }
    if pixels.is_empty() { [127.5; 3] } else { sums.map(|s| (s as f64 / pixels.len() as f64) as f32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-3)
    }

    #[test]
    fn each_step_does_what_it_says() {
        let id = ColourMap::IDENTITY;
        let c = [200.0, 100.0, 50.0];
        assert!(close(id.brightness(0.5).apply(c), [100.0, 50.0, 25.0]));
        let grey = 0.299 * 200.0 + 0.587 * 100.0 + 0.114 * 50.0;
        assert!(close(id.saturation(0.0).apply(c), [grey; 3]));
        assert!(close(id.contrast(0.0, c).apply([1.0, 2.0, 3.0]), [grey; 3]));
        assert!(close(id.hue(0.3).apply([80.0; 3]), [80.0; 3]));
        let turned = id.hue(1.0 / 3.0).apply(c);
        let mut sorted = turned;
        sorted.sort_by(f32::total_cmp);
        assert!(close(sorted, [50.0, 100.0, 200.0]) && !close(turned, c), "{turned:?}");
        assert!(close(id.hue(1.0).apply(c), c));
    }

    #[test]
    fn steps_compose_in_the_order_written() {
        let (mean, c) = ([90.0, 120.0, 60.0], [10.0, 240.0, 33.0]);
        let one = ColourMap::IDENTITY.brightness(1.2);
        let both = one.contrast(0.7, mean);
        let bright = one.apply(c);
        let grey: f32 = one.apply(mean).iter().zip(GREY).map(|(c, w)| c * w).sum();
        assert!(close(both.apply(c), bright.map(|v| 0.7 * v + 0.3 * grey)));
    }

    #[test]
    fn bytes_saturate() {
        let mut image = RgbImage::from_pixel(2, 2, image::Rgb([200, 0, 3]));
        ColourMap::IDENTITY.brightness(3.0).paint(&mut image);
        assert!(image.pixels().all(|p| p.0 == [255, 0, 9]));
    }
}
