//! How often a point finds its own pixel.

use rayon::prelude::*;

use crate::error::ObjectiveError;
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
/// # Errors
/// If there is no row, the two differ in length, or `dim` does not divide it.
pub fn retrieval(
    point_unit: &[f32],
    pixel_unit: &[f32],
    dim: usize,
    ks: &[usize],
) -> Result<Vec<f64>, ObjectiveError> {
    if point_unit.is_empty() {
        return Err(ObjectiveError::Empty { what: "point" });
    }
    if dim == 0 || !point_unit.len().is_multiple_of(dim) {
        let expected = format!("rows of {dim}");
        return Err(ObjectiveError::Shape { what: "point", expected, got: vec![point_unit.len()] });
    }
    if pixel_unit.len() != point_unit.len() {
        let expected = format!("[{}], as point has,", point_unit.len());
        return Err(ObjectiveError::Shape { what: "pixel", expected, got: vec![pixel_unit.len()] });
    }
    let ranks = ranks(point_unit, pixel_unit, dim);
    let share = |&k: &usize| {
        let n_hits = ranks.iter().filter(|&&rank| (rank as usize) < k).count();
        n_hits as f64 / ranks.len() as f64
    };
    Ok(ks.iter().map(share).collect())
}

/// For each point, how many other pixels are at least as similar to it as its own.
pub(crate) fn ranks(point: &[f32], pixel: &[f32], dim: usize) -> Vec<u32> {
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

    fn shares(point: &[f32], pixel: &[f32], dim: usize, ks: &[usize]) -> Vec<f64> {
        retrieval(point, pixel, dim, ks).unwrap()
    }

    #[test]
    fn counts_what_is_nearer() {
        // Points on the axes; the pixel of point 1 is nearer to point 0, so point 1 finds it second.
        let point = [1.0, 0.0, 0.0, 1.0];
        let pixel = [1.0, 0.0, 1.0, 0.0];
        assert_eq!(shares(&point, &pixel, 2, &[1, 2]), [0.0, 1.0]);
        let pixel = [1.0, 0.0, 0.6, 0.8];
        assert_eq!(shares(&point, &pixel, 2, &[1]), [1.0]);
    }

    #[test]
    fn collapsed_or_diverged_embeddings_find_nothing() {
        let n = 100;
        let same = vec![0.5f32; n * 4];
        assert_eq!(shares(&same, &same, 4, &[1, n]), [0.0, 1.0]);
        let nan = vec![f32::NAN; n * 4];
        assert_eq!(shares(&same, &nan, 4, &[1, 5]), [0.0, 0.0]);
        assert_eq!(shares(&nan, &same, 4, &[1]), [0.0]);
    }

    #[test]
    fn one_pair_and_none() {
        assert_eq!(shares(&[1.0, 0.0], &[0.0, 1.0], 2, &[1]), [1.0]);
        assert!(matches!(retrieval(&[], &[], 2, &[1]), Err(ObjectiveError::Empty { .. })));
    }

    #[test]
    fn sizes_that_do_not_fit_are_told() {
        for (point, pixel, dim) in [(6, 6, 4), (8, 4, 4), (4, 8, 4), (4, 4, 0)] {
            let got = retrieval(&vec![0.0; point], &vec![0.0; pixel], dim, &[1]);
            assert!(matches!(got, Err(ObjectiveError::Shape { .. })), "{point} {pixel} {dim}");
        }
    }
}
