//! Frames of rooms that nothing else may use, and crops of them.

use anyhow::Result;
use candle_core::{Device, Tensor};
use ppkt_data::{Dataset, Rooms, RoomsConfig, Split};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Size of the frames.
pub(crate) const FRAME: (usize, usize) = (256, 192);
/// Size of the crops that are trained on.
pub(crate) const CROP: (usize, usize) = (160, 128);
/// Pixels across one label cell.
pub(crate) const LABEL_STRIDE: usize = 4;
/// Normalisation: `(x / 255 - MEAN) / STD` for every channel.
pub(crate) const MEAN: f32 = 0.5;
/// See [`MEAN`].
pub(crate) const STD: f32 = 0.25;

/// Rendered frames, kept small.
pub(crate) struct Frames {
    /// Red, green, blue of each frame.
    pub(crate) colour: Vec<Vec<u8>>,
    /// Class minus one of each pixel.
    pub(crate) class: Vec<Vec<u8>>,
    pub(crate) n_classes: usize,
}

impl Frames {
    /// Renders one frame of each room of a split.
    pub(crate) fn render(seed: u64, rooms: usize, split: Split, holdout: f32) -> Result<Self> {
        let config = RoomsConfig {
            seed,
            rooms,
            width: FRAME.0 as u32,
            height: FRAME.1 as u32,
            depth_noise: 0.0,
            holdout,
            ..RoomsConfig::default()
        };
        let rooms = Rooms::for_teacher_training(config, split)?;
        let n_classes = rooms.classes().map_or(0, |c| c.len_with_unlabelled() - 1);
        let frames: Vec<(Vec<u8>, Vec<u8>)> = (0..rooms.len())
            .into_par_iter()
            .map(|i| {
                let view = rooms.view(i)?;
                let class = view.classes.iter().flatten().map(|c| (*c - 1) as u8).collect();
                Ok((view.image.into_raw(), class))
            })
            .collect::<Result<_>>()?;
        let (colour, class) = frames.into_iter().unzip();
        Ok(Self { colour, class, n_classes })
    }

    pub(crate) fn len(&self) -> usize {
        self.colour.len()
    }

    /// Share of each class in the pixels.
    pub(crate) fn shares(&self) -> Vec<f32> {
        let mut counts = vec![0_u64; self.n_classes];
        for class in self.class.iter().flatten() {
            counts[usize::from(*class)] += 1;
        }
        let total: u64 = counts.iter().sum();
        counts.iter().map(|n| *n as f32 / total as f32).collect()
    }

    /// A whole frame as the network takes it, `[1, H, W, 3]`, and the classes at its label cells.
    pub(crate) fn whole(&self, i: usize) -> Result<(Tensor, Vec<u8>)> {
        let (w, h) = FRAME;
        let x: Vec<f32> = self.colour[i].iter().map(|v| (f32::from(*v) / 255.0 - MEAN) / STD).collect();
        let mut labels = Vec::new();
        for y in (LABEL_STRIDE / 2..h).step_by(LABEL_STRIDE) {
            for x in (LABEL_STRIDE / 2..w).step_by(LABEL_STRIDE) {
                labels.push(self.class[i][y * w + x]);
            }
        }
        Ok((Tensor::from_vec(x, (1, h, w, 3), &Device::Cpu)?, labels))
    }

    /// Crops number `first` .. `first + n` of the endless training stream: `[n, H, W, 3]`, and classes.
    pub(crate) fn crops(&self, seed: u64, first: u64, n: usize) -> Result<(Tensor, Vec<u8>)> {
        let parts: Vec<(Vec<f32>, Vec<u8>)> =
            (0..n as u64).into_par_iter().map(|i| self.crop(seed, first + i)).collect();
        let (x, labels): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let x = Tensor::from_vec(x.concat(), (n, CROP.1, CROP.0, 3), &Device::Cpu)?;
        Ok((x, labels.concat()))
    }

    fn crop(&self, seed: u64, number: u64) -> (Vec<f32>, Vec<u8>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6372_6f70);
        rng.set_stream(number);
        let mut unit = || (rng.next_u32() >> 8) as f32 / 16_777_216.0;
        // Every epoch is another order of all frames.
        let n = self.len() as u64;
        let frame = permuted(number % n, n, seed ^ (number / n));
        let (colour, class) = (&self.colour[frame], &self.class[frame]);
        // Crops from half the frame's width to all of it that has the shape.
        let largest = (FRAME.1 * CROP.0 / CROP.1) as f32;
        let width = largest * (0.5 + 0.5 * unit());
        let step = width / CROP.0 as f32;
        let left = unit() * (FRAME.0 as f32 - width);
        let top = unit() * (FRAME.1 as f32 - step * CROP.1 as f32);
        let flip = unit() < 0.5;
        let between = |u: f32, a: f32, b: f32| a + (b - a) * u;
        let brightness = between(unit(), 0.7, 1.3);
        let contrast = between(unit(), 0.7, 1.3);
        let saturation = between(unit(), 0.5, 1.4);
        let gain = [between(unit(), 0.88, 1.12), between(unit(), 0.92, 1.08), between(unit(), 0.88, 1.12)];
        let column = |x: f32| left + step * if flip { CROP.0 as f32 - x } else { x };
        let mut out = Vec::with_capacity(CROP.0 * CROP.1 * 3);
        for y in 0..CROP.1 {
            let v = top + step * (y as f32 + 0.5);
            for x in 0..CROP.0 {
                let c = bilinear(colour, column(x as f32 + 0.5), v);
                let grey = 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2];
                for k in 0..3 {
                    let s = (grey + (c[k] - grey) * saturation) * brightness * gain[k];
                    let s = ((s - 0.5) * contrast + 0.5).clamp(0.0, 1.0);
                    out.push((s - MEAN) / STD);
                }
            }
        }
        let mut labels = Vec::with_capacity(CROP.0 * CROP.1 / (LABEL_STRIDE * LABEL_STRIDE));
        for y in (LABEL_STRIDE / 2..CROP.1).step_by(LABEL_STRIDE) {
            let row = ((top + step * y as f32) as usize).min(FRAME.1 - 1);
            for x in (LABEL_STRIDE / 2..CROP.0).step_by(LABEL_STRIDE) {
                let column = (column(x as f32).max(0.0) as usize).min(FRAME.0 - 1);
                labels.push(class[row * FRAME.0 + column]);
            }
        }
        (out, labels)
    }
}

/// Colour at continuous coordinates (centres of pixels at halves), 0 to 1.
fn bilinear(colour: &[u8], u: f32, v: f32) -> [f32; 3] {
    let (w, h) = FRAME;
    let (x, y) = ((u - 0.5).clamp(0.0, (w - 1) as f32), (v - 0.5).clamp(0.0, (h - 1) as f32));
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(w - 1), (y0 + 1).min(h - 1));
    let (s, t) = (x - x0 as f32, y - y0 as f32);
    std::array::from_fn(|k| {
        let at = |x: usize, y: usize| f32::from(colour[(y * w + x) * 3 + k]) / 255.0;
        (at(x0, y0) * (1.0 - s) + at(x1, y0) * s) * (1.0 - t) + (at(x0, y1) * (1.0 - s) + at(x1, y1) * s) * t
    })
}

/// Number `i` of a shuffled 0..n: a small Feistel network, walked until it lands below n.
fn permuted(i: u64, n: u64, key: u64) -> usize {
    let half = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1_u64 << half) - 1;
    let mut x = i;
    loop {
        let (mut l, mut r) = (x >> half, x & mask);
        for round in 0..4_u64 {
            let mixed = (r ^ key.rotate_left(round as u32 * 16) ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (l, r) = (r, l ^ ((mixed >> 29) & mask));
        }
        x = (l << half) | r;
        if x < n {
            return x as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_frame_once() {
        for n in [1_u64, 2, 7, 100, 1000] {
            let mut seen: Vec<usize> = (0..n).map(|i| permuted(i, n, 42)).collect();
            assert!(n < 100 || seen.windows(2).any(|w| w[0] > w[1]), "shuffled");
            seen.sort_unstable();
            assert!(seen.iter().enumerate().all(|(i, s)| i == *s));
        }
    }
}
