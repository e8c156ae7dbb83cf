//! Rotary positions (Su et al. 2021, arXiv 2104.09864), for two axes as DINOv3 (arXiv 2508.10104) has them.
//!
//! A head's channels are pairs `(j, j + d/2)`. Pair `j` of a patch at row `y` and column `x` is turned by the angle
//! `2π y' θ^(-4j/d)` for `j < d/4`, and by `2π x' θ^(-4(j - d/4)/d)` for the others, where `y'` and `x'` are the centre of
//! the patch with the image's edges at -1 and 1. Queries and keys are turned, special tokens are not.

/// Cosine and sine of every pair of every patch, `[patches, d/2]` each.
pub(super) struct Table {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
}

/// Angles for grids of patches.
pub(super) struct Rotary {
    /// Of the pairs of one axis, `d / 4`: radians from one edge of the image to its centre.
    frequencies: Vec<f64>,
}

impl Rotary {
    /// # Panics
    /// If a head's channels are no multiple of four.
    pub(super) fn new(d: usize, theta: f64) -> Self {
        assert!(d.is_multiple_of(4), "two axes of pairs");
        let per_axis = d / 4;
        Self::with_periods((0..per_axis).map(|j| theta.powf(j as f64 / per_axis as f64)))
    }

    /// With `θ^(4j/d)` as a file has them, for each `j < d/4`: there they may be rounded.
    pub(super) fn with_periods(periods: impl Iterator<Item = f64>) -> Self {
        Self { frequencies: periods.map(|period| std::f64::consts::TAU / period).collect() }
    }

    /// Pairs of a head, `d / 2`.
    pub(super) fn half(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// The table for a grid of patches.
    pub(super) fn table(&self, height: usize, width: usize) -> Table {
        let centre = |i: usize, n: usize| 2.0 * (i as f64 + 0.5) / n as f64 - 1.0;
        let mut table = Table { cos: Vec::new(), sin: Vec::new() };
        for patch in 0..height * width {
            for at in [centre(patch / width, height), centre(patch % width, width)] {
                for frequency in &self.frequencies {
                    let (sin, cos) = (at * frequency).sin_cos();
                    table.cos.push(cos as f32);
                    table.sin.push(sin as f32);
                }
            }
        }
        table
    }
}
