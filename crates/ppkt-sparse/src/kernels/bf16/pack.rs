//! Weights as pairs of bf16 numbers, in the order in which the kernels read them.

use rayon::prelude::*;

use super::super::Weight;
use super::super::pack::{Panels, transpose};
use super::{Path, narrow1, plain};

/// Columns in a vector of sums; the plain path keeps to the same order.
pub(super) const LANES: usize = 16;
/// Vectors in a panel, at most.
pub(super) const MOST_VECTORS: usize = 4;

/// Rounds two rows of a weight into pairs: `(a[j], b[j])`, the first in the lower half; a missing `b` is 0.
pub(super) type PairRows = fn(&[f32], Option<&[f32]>, &mut [u32]);
/// Rounds one row of a weight into pairs of neighbours: `(a[2 i], a[2 i + 1])`; the last partner may be missing.
pub(super) type PairNeighbours = fn(&[f32], &mut [u32]);

/// A weight as panels of columns: `[K][panel][inner pairs][columns of the panel]`, padded with zeros to whole vectors.
/// Inner channels are paired within each side that is read, so that the last of an odd number has no partner.
#[derive(Debug)]
pub(super) struct Pairs {
    data: Vec<u32>,
    volume: usize,
    /// Channels of each side.
    parts: Vec<usize>,
    columns: usize,
    panels: Panels,
}

impl Pairs {
    pub(super) fn new(path: Path, weight: Weight<'_>, parts: &[usize]) -> Self {
        let (pair_rows, pair_neighbours, square, lanes) = match path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => (
                super::avx512::pair_rows as PairRows,
                super::avx512::pair_neighbours as PairNeighbours,
                super::super::transpose::avx512 as super::super::TransposeSquare,
                LANES,
            ),
            Path::Plain => (
                plain::pair_rows as PairRows,
                plain::pair_neighbours as PairNeighbours,
                super::super::plain::transpose as super::super::TransposeSquare,
                1,
            ),
        };
        let (volume, inner, columns) = (weight.volume(), weight.inner(), weight.outer());
        let panels = Panels::new(columns, LANES, MOST_VECTORS);
        let this = Self { data: Vec::new(), volume, parts: parts.to_vec(), columns, panels };
        let size = this.depth() * this.panels.padded();
        let mut data = vec![0u32; volume * size];
        data.par_chunks_mut(size.max(1)).enumerate().for_each(|(k, packed)| {
            let matrix = weight.matrix(k);
            let mut neighbours = Vec::new();
            if weight.transposed {
                // Rows of the matrix are columns here, and hold the pairs side by side.
                let rows = matrix.chunks_exact(inner.max(1)).skip(weight.inputs.0).take(columns);
                neighbours.resize(columns * inner.div_ceil(2), 0u32);
                for (row, to) in rows.zip(neighbours.chunks_exact_mut(inner.div_ceil(2).max(1))) {
                    pair_neighbours(row, to);
                }
            }
            let mut rest = packed;
            for panel in 0..this.panels.len() {
                let start = this.panels.start(panel);
                let width = this.panels.vectors(panel) * LANES;
                let own = start..(start + width).min(columns);
                let (here, after) = rest.split_at_mut(this.depth() * width);
                rest = after;
                if weight.transposed {
                    transpose(square, lanes, as_f32(&neighbours), inner.div_ceil(2), own, as_f32_mut(here));
                    continue;
                }
                let row = |i: usize| &matrix[i * columns..][own.clone()];
                let (mut first, mut to) = (0, here.chunks_exact_mut(width));
                for &part in parts {
                    for (i, to) in (0..part).step_by(2).zip(&mut to) {
                        let partner = (i + 1 < part).then(|| row(first + i + 1));
                        pair_rows(row(first + i), partner, &mut to[..own.len()]);
                    }
                    first += part;
                }
            }
        });
        Self { data, ..this }
    }

    pub(super) fn volume(&self) -> usize {
        self.volume
    }

    /// Channels of each side that is read.
    pub(super) fn parts(&self) -> &[usize] {
        &self.parts
    }

    /// Channels of the rows that are written.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns == 0 || self.parts.iter().all(|&p| p == 0)
    }

    pub(super) fn panels(&self) -> &Panels {
        &self.panels
    }

    /// Pairs of inner channels.
    fn depth(&self) -> usize {
        self.parts.iter().map(|p| p.div_ceil(2)).sum()
    }

    /// The panel of kernel voxel `k`: a row of the panel's width for each inner pair.
    pub(super) fn panel(&self, k: usize, panel: usize) -> &[u32] {
        let start = self.depth() * (k * self.panels.padded() + self.panels.start(panel));
        &self.data[start..start + self.depth() * self.panels.vectors(panel) * LANES]
    }
}

/// Pairs as the numbers of 32 bits that squares are transposed of; nobody calculates with them.
#[expect(unsafe_code, reason = "the same 32 bits under another name")]
fn as_f32(pairs: &[u32]) -> &[f32] {
    // SAFETY: both types have the same size and alignment, and all bits are valid.
    unsafe { std::slice::from_raw_parts(pairs.as_ptr().cast(), pairs.len()) }
}

#[expect(unsafe_code, reason = "the same 32 bits under another name")]
fn as_f32_mut(pairs: &mut [u32]) -> &mut [f32] {
    // SAFETY: as above, and borrowed for as long.
    unsafe { std::slice::from_raw_parts_mut(pairs.as_mut_ptr().cast(), pairs.len()) }
}

/// A pair of rounded numbers.
#[inline(always)]
pub(super) fn pair(low: f32, high: f32) -> u32 {
    u32::from(narrow1(low).to_bits()) | u32::from(narrow1(high).to_bits()) << 16
}
