//! Learned position embeddings for images of any size.

/// How positions are resampled to another grid; networks differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resampling {
    /// Cubic convolution with a = -0.75, borders repeated, no smoothing when it shrinks: PyTorch's
    /// `interpolate(mode="bicubic")`. DeiT, DINO, and most of `transformers`.
    Bicubic,
    /// The same, but the grid is taken for a tenth of a place longer than it is: the code of DINOv2 guards itself so
    /// against rounding, and its networks were used so.
    BicubicOffset,
    /// Cubic convolution with a = -0.5 that widens when it shrinks, borders left out: PyTorch's
    /// `interpolate(mode="bicubic", antialias=True)`. DINOv2 with registers.
    BicubicSmooth,
}

/// Learned positions on a square grid, `[side, side, channels]`.
pub(super) struct Positions {
    side: usize,
    channels: usize,
    resampling: Resampling,
    values: Vec<f32>,
}

impl Positions {
    pub(super) fn new(side: usize, channels: usize, resampling: Resampling, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), side * side * channels, "positions are [side, side, channels]");
        Self { side, channels, resampling, values }
    }

    /// Channels of each.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Positions `[height, width, channels]`.
    pub(super) fn resampled(&self, height: usize, width: usize) -> Vec<f32> {
        if (height, width) == (self.side, self.side) {
            return self.values.clone();
        }
        self.resample(height, width)
    }

    fn resample(&self, height: usize, width: usize) -> Vec<f32> {
        let (rows, columns) =
            (taps(self.resampling, self.side, height), taps(self.resampling, self.side, width));
        let mut out = Vec::with_capacity(height * width * self.channels);
        let mut sum = vec![0f64; self.channels];
        for row in &rows {
            for column in &columns {
                sum.fill(0.0);
                for (y, wy) in row {
                    for (x, wx) in column {
                        let from = &self.values[(y * self.side + x) * self.channels..][..self.channels];
                        for (s, v) in sum.iter_mut().zip(from) {
                            *s += wy * wx * f64::from(*v);
                        }
                    }
                }
                out.extend(sum.iter().map(|v| *v as f32));
            }
        }
        out
    }
}

/// Which of `from` places each of `to` places is made of, and how much of each.
fn taps(resampling: Resampling, from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let ratio = from as f64 / to as f64;
    (0..to)
        .map(|i| match resampling {
            Resampling::Bicubic => cubic_taps(from, (i as f64 + 0.5) * ratio - 0.5),
            Resampling::BicubicOffset => {
                cubic_taps(from, (i as f64 + 0.5) * from as f64 / (to as f64 + 0.1) - 0.5)
            }
            Resampling::BicubicSmooth => smooth_taps(from, i, ratio),
        })
        .collect()
}

/// Keys' cubic convolution at a distance of `t >= 0`.
fn cubic(a: f64, t: f64) -> f64 {
    if t < 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}

/// Four places around `at`.
fn cubic_taps(from: usize, at: f64) -> Vec<(usize, f64)> {
    let tap = |k: i32| {
        let index = at.floor() + f64::from(k);
        (index.clamp(0.0, from as f64 - 1.0) as usize, cubic(-0.75, (at - index).abs()))
    };
    (-1..=2).map(tap).collect()
}

/// All places that the widened cubic convolution reaches from place `i`, with weights that sum to one.
fn smooth_taps(from: usize, i: usize, ratio: f64) -> Vec<(usize, f64)> {
    let (centre, widening) = (ratio * (i as f64 + 0.5), ratio.max(1.0));
    let first = (centre - 2.0 * widening + 0.5).max(0.0) as usize;
    let end = ((centre + 2.0 * widening + 0.5) as usize).min(from);
    let tap = |k: usize| (k, cubic(-0.5, ((k as f64 - centre + 0.5) / widening).abs()));
    let mut taps: Vec<(usize, f64)> = (first..end).map(tap).collect();
    let total: f64 = taps.iter().map(|t| t.1).sum();
    taps.iter_mut().for_each(|t| t.1 /= total);
    taps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_the_same_size_is_the_identity() {
        for resampling in [Resampling::Bicubic, Resampling::BicubicSmooth] {
            for (from, to) in [(14, 15), (14, 20), (14, 3), (2, 7), (1, 5)] {
                for place in taps(resampling, from, to) {
                    assert!((place.iter().map(|p| p.1).sum::<f64>() - 1.0).abs() < 1e-12);
                    assert!(place.iter().all(|p| p.0 < from));
                }
            }
            for (i, place) in taps(resampling, 5, 5).into_iter().enumerate() {
                let place: Vec<_> = place.into_iter().filter(|p| p.1 != 0.0).collect();
                assert_eq!(place, [(i, 1.0)], "{resampling:?}");
            }
        }
    }

    #[test]
    fn values_of_pytorch() {
        // interpolate([[0, 1, 2, 4]] as 1×4 rows repeated to a square, size 4×6): worked by hand from the formula with
        // a = -0.75 at x = -1/6: t = 5/6 of the way from the repeated border to the first value.
        let values: Vec<f32> = (0..4).flat_map(|_| [0.0, 1.0, 2.0, 4.0]).collect();
        let got = Positions::new(4, 1, Resampling::Bicubic, values).resample(4, 6);
        let t = 5.0f64 / 6.0;
        let far = |t: f64| -0.75 * (t * t * t - 5.0 * t * t + 8.0 * t - 4.0);
        let want = far(2.0 - t) * 1.0;
        assert!((f64::from(got[0]) - want).abs() < 1e-6, "{} {want}", got[0]);
    }
}
