//! Queries and keys turned by the places of their tokens.

use rayon::prelude::*;

use super::map::Map;

/// Cosine and sine of every pair of channels of every patch.
pub(crate) struct Angles {
    /// `[patches, half]`
    pub(crate) cos: Vec<f32>,
    /// `[patches, half]`
    pub(crate) sin: Vec<f32>,
    /// Pairs of a head: half of its channels.
    pub(crate) half: usize,
    /// Tokens before the patches, which are not turned.
    pub(crate) n_prefix: usize,
}

impl Angles {
    /// Turns queries and keys of the patches in place: the pairs are `(j, j + half)` of each head.
    ///
    /// # Shapes
    /// `qkv` is `[n, 1, n_prefix + patches, 3 · heads · 2 half]`: queries of all heads, then keys, then values.
    pub(crate) fn turn(&self, qkv: &mut Map) {
        let Self { half, n_prefix, .. } = *self;
        let (tokens, channels) = (qkv.width, qkv.channels);
        qkv.data.par_chunks_exact_mut(channels).enumerate().for_each(|(row, qkv)| {
            let Some(patch) = (row % tokens).checked_sub(n_prefix) else { return };
            let (cos, sin) = (&self.cos[patch * half..][..half], &self.sin[patch * half..][..half]);
            for head in qkv[..channels / 3 * 2].chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        });
    }
}
