//! Position embeddings for images of any size.

use std::sync::{Arc, Mutex, PoisonError};

/// Learned positions on a square grid, `[side, side, channels]`, and the last resampled ones.
pub(super) struct Positions {
    side: usize,
    channels: usize,
    values: Arc<Vec<f32>>,
    last: Mutex<Option<Resampled>>,
}

/// Positions on another grid.
type Resampled = ((usize, usize), Arc<Vec<f32>>);

impl Positions {
    pub(super) fn new(side: usize, channels: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), side * side * channels, "positions are [side, side, channels]");
        Self { side, channels, values: Arc::new(values), last: Mutex::new(None) }
    }

    /// Positions `[height, width, channels]`, as PyTorch's `interpolate(mode="bicubic", align_corners=False)` gives
    /// them: cubic convolution with a = -0.75, borders repeated, no smoothing when it shrinks.
    pub(super) fn resampled(&self, height: usize, width: usize) -> Arc<Vec<f32>> {
        if (height, width) == (self.side, self.side) {
            return Arc::clone(&self.values);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, values)) = last.as_ref().filter(|(size, _)| *size == (height, width)) {
            return Arc::clone(values);
        }
        let values = Arc::new(self.resample(height, width));
        *last = Some(((height, width), Arc::clone(&values)));
        values
    }

    fn resample(&self, height: usize, width: usize) -> Vec<f32> {
        let (rows, columns) = (taps(self.side, height), taps(self.side, width));
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

/// Which four of `from` places each of `to` places is made of, and how much of each.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let place = |i: usize| {
        let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let t = at - at.floor();
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        std::array::from_fn(|k| {
            let index = (at.floor() + k as f64 - 1.0).clamp(0.0, from as f64 - 1.0);
            (index as usize, weights[k])
        })
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_the_same_size_is_the_identity() {
        for (from, to) in [(14, 15), (14, 20), (14, 3), (2, 7), (1, 5)] {
            for place in taps(from, to) {
                assert!((place.iter().map(|p| p.1).sum::<f64>() - 1.0).abs() < 1e-12);
                assert!(place.iter().all(|p| p.0 < from));
            }
        }
        for (i, place) in taps(5, 5).into_iter().enumerate() {
            assert_eq!(place[1], (i, 1.0));
        }
    }

    #[test]
    fn values_of_pytorch() {
        // interpolate([[0, 1, 2, 4]] as 1×4 rows repeated to a square, size 4×6): worked by hand from the formula with
        // a = -0.75 at x = -1/6: t = 5/6 of the way from the repeated border to the first value.
        let values: Vec<f32> = (0..4).flat_map(|_| [0.0, 1.0, 2.0, 4.0]).collect();
        let got = Positions::new(4, 1, values).resample(4, 6);
        let t = 5.0f64 / 6.0;
        let far = |t: f64| -0.75 * (t * t * t - 5.0 * t * t + 8.0 * t - 4.0);
        let want = far(2.0 - t) * 1.0;
        assert!((f64::from(got[0]) - want).abs() < 1e-6, "{} {want}", got[0]);
    }
}
