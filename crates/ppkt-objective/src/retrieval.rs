//! How often a point finds its own pixel.

use rayon::prelude::*;

use crate::product::{Matrix, Output, product};

const BLOCK: usize = 64;

/// For each `k` in `ks`, the share of points whose own pixel is among the `k` most similar of all pixels.
///
/// Similarity is the dot product, so rows are to be of unit length for cosine similarity. Another pixel exactly as
/// similar as the own one counts as nearer, and so does one whose similarity is NaN: embeddings that have collapsed
/// or diverged retrieve nothing. Chance is `k / M`.
///
/// # Shapes
/// `point_unit` and `pixel_unit`: `[M, dim]` row-major, partners on the same row.
///
/// # Panics
/// If the two differ in length or `dim` does not divide it.
pub fn retrieval(point_unit: &[f32], pixel_unit: &[f32], dim: usize, ks: &[usize]) -> Vec<f32> {
    let ranks = ranks(point_unit, pixel_unit, dim);
    let share = |&k: &usize| {
        let n_hits = ranks.iter().filter(|&&rank| (rank as usize) < k).count();
        if ranks.is_empty() { 0.0 } else { n_hits as f32 / ranks.len() as f32 }
    };
    ks.iter().map(share).collect()
}

/// For each point, how many other pixels are at least as similar to it as its own.
pub(crate) fn ranks(point: &[f32], pixel: &[f32], dim: usize) -> Vec<u32> {
    assert!(dim > 0 && point.len().is_multiple_of(dim), "{} values are no rows of {dim}", point.len());
    assert_eq!(point.len(), pixel.len(), "as many points as pixels");
    let n = pixel.len() / dim;
    let keys = Matrix::rows_of(pixel, dim).transposed();
    let mut ranks = vec![0u32; n];
    let blocks = ranks.par_chunks_mut(BLOCK).zip(point.par_chunks(BLOCK * dim)).enumerate();
    blocks.for_each_init(Vec::new, |similar, (b, (ranks, queries))| {
        similar.resize(ranks.len() * n, 0f32);
        product(similar, Output::Overwrite, 1.0, Matrix::rows_of(queries, dim), keys);
        for (i, (rank, row)) in ranks.iter_mut().zip(similar.chunks_exact(n)).enumerate() {
            let own = row[b * BLOCK + i];
            // Counted over all columns and one taken off for the own one: no branch in the loop.
            let n_farther = row.iter().map(|&s| u32::from(s < own)).sum::<u32>();
            *rank = (n as u32 - 1) - n_farther.min(n as u32 - 1);
        }
    });
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_nearer() {
        // Points on the axes; the pixel of point 1 is nearer to point 0, so point 1 finds it second.
        let point = [1.0, 0.0, 0.0, 1.0];
        let pixel = [1.0, 0.0, 1.0, 0.0];
        assert_eq!(retrieval(&point, &pixel, 2, &[1, 2]), [0.0, 1.0]);
        let pixel = [1.0, 0.0, 0.6, 0.8];
        assert_eq!(retrieval(&point, &pixel, 2, &[1]), [1.0]);
    }

    #[test]
    fn collapsed_or_diverged_embeddings_find_nothing() {
        let n = 100;
        let same = vec![0.5f32; n * 4];
        assert_eq!(retrieval(&same, &same, 4, &[1, n]), [0.0, 1.0]);
        let nan = vec![f32::NAN; n * 4];
        assert_eq!(retrieval(&same, &nan, 4, &[1, 5]), [0.0, 0.0]);
        assert_eq!(retrieval(&nan, &same, 4, &[1]), [0.0]);
    }

    #[test]
    fn one_pair_and_none() {
        assert_eq!(retrieval(&[1.0, 0.0], &[0.0, 1.0], 2, &[1]), [1.0]);
        assert_eq!(retrieval(&[], &[], 2, &[1]), [0.0]);
    }
}
