//! Rotary positions (Su et al. 2021, arXiv 2104.09864), for two axes as DINOv3 (arXiv 2508.10104) has them.
//!
//! A head's channels are pairs `(j, j + d/2)`. Pair `j` of a patch at row `y` and column `x` is turned by the angle
//! `2π y' θ^(-4j/d)` for `j < d/4`, and by `2π x' θ^(-4(j - d/4)/d)` for the others, where `y'` and `x'` are the centre of
//! the patch with the image's edges at -1 and 1. Queries and keys are turned, special tokens are not.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::engine::Map;

/// Cosine and sine of every pair of every patch, `[patches, d/2]` each.
pub(super) struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// A grid of patches and its table.
type OfGrid = ((usize, usize), Arc<Table>);

/// Angles for grids of patches, and the last grid's table.
pub(super) struct Rotary {
    /// Channels of a head.
    d: usize,
    /// Of the pairs of one axis, `d / 4`: radians from one edge of the image to its centre.
    frequencies: Vec<f64>,
    last: Mutex<Option<OfGrid>>,
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
        let frequencies: Vec<f64> = periods.map(|period| std::f64::consts::TAU / period).collect();
        Self { d: 4 * frequencies.len(), frequencies, last: Mutex::new(None) }
    }

    /// The table for a grid of patches.
    pub(super) fn table(&self, height: usize, width: usize) -> Arc<Table> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = last.as_ref().filter(|(size, _)| *size == (height, width)) {
            return Arc::clone(table);
        }
        let table = Arc::new(self.compute(height, width));
        *last = Some(((height, width), Arc::clone(&table)));
        table
    }

    fn compute(&self, height: usize, width: usize) -> Table {
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

    /// Turns queries and keys of the patches in place.
    ///
    /// # Shapes
    /// `qkv` is `[n, 1, n_prefix + patches, 3 · heads · d]`: queries of all heads, then keys, then values.
    pub(super) fn turn(&self, qkv: &mut Map, n_prefix: usize, table: &Table) {
        let (tokens, half) = (qkv.width, self.d / 2);
        let (channels, d) = (qkv.channels, self.d);
        qkv.data.par_chunks_exact_mut(channels).enumerate().for_each(|(row, qkv)| {
            let Some(patch) = (row % tokens).checked_sub(n_prefix) else { return };
            let (cos, sin) = (&table.cos[patch * half..][..half], &table.sin[patch * half..][..half]);
            for head in qkv[..channels / 3 * 2].chunks_exact_mut(d) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        });
    }
}
