//! Weights in the order in which the micro-kernels read them.

use rayon::prelude::*;

use super::Weight;
use super::transpose::TransposeSquare;

/// How the columns of a result are divided among calls of a micro-kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panels {
    lanes: usize,
    columns: usize,
    /// Vectors in each panel; differs by at most one.
    vectors: Vec<usize>,
}

impl Panels {
    /// The fewest panels of at most `most` vectors of `lanes` columns, as even as possible.
    pub(super) fn new(columns: usize, lanes: usize, most: usize) -> Self {
        let all = columns.div_ceil(lanes);
        let n = all.div_ceil(most);
        let vectors = (0..n).map(|i| (all * (i + 1)).div_ceil(n) - (all * i).div_ceil(n)).collect();
        Self { lanes, columns, vectors }
    }

    pub(super) fn len(&self) -> usize {
        self.vectors.len()
    }

    pub(super) fn vectors(&self, panel: usize) -> usize {
        self.vectors[panel]
    }

    /// The panel's first column.
    pub(super) fn start(&self, panel: usize) -> usize {
        self.vectors[..panel].iter().sum::<usize>() * self.lanes
    }

    /// Columns of the panel's last vector that exist, at least one.
    pub(super) fn last_lanes(&self, panel: usize) -> usize {
        let end = self.start(panel) + self.vectors[panel] * self.lanes;
        self.lanes - end.saturating_sub(self.columns)
    }

    /// Columns with padding.
    fn padded(&self) -> usize {
        self.vectors.iter().sum::<usize>() * self.lanes
    }
}

/// A weight as panels of columns: `[K][panel][inner][columns of the panel]`, padded with zeros to whole vectors.
pub(super) struct Packed<'a> {
    data: std::borrow::Cow<'a, [f32]>,
    inner: usize,
    panels: Panels,
}

impl<'a> Packed<'a> {
    pub(super) fn new(weight: Weight<'a>, panels: Panels, square: TransposeSquare) -> Self {
        let (inner, outer) = (weight.inner(), weight.outer());
        let padded = panels.padded();
        // One panel without padding is the order in which the weight lies already.
        if !weight.transposed && !weight.mirrored && panels.len() == 1 && padded == outer {
            return Self { data: weight.data.into(), inner, panels };
        }
        let mut data = vec![0f32; weight.volume() * inner * padded];
        data.par_chunks_mut((inner * padded).max(1)).enumerate().for_each(|(k, packed)| {
            let matrix = weight.matrix(k);
            let mut rest = packed;
            for panel in 0..panels.len() {
                let start = panels.start(panel);
                let width = panels.vectors(panel) * panels.lanes;
                let columns = start..(start + width).min(outer);
                let (here, after) = rest.split_at_mut(inner * width);
                rest = after;
                if weight.transposed {
                    transpose(square, panels.lanes, matrix, inner, columns, here);
                } else {
                    for (row, to) in matrix.chunks_exact(outer).zip(here.chunks_exact_mut(width)) {
                        to[..columns.len()].copy_from_slice(&row[columns.clone()]);
                    }
                }
            }
        });
        Self { data: data.into(), inner, panels }
    }

    /// The panel of kernel voxel `k`: `inner` rows of the panel's width.
    pub(super) fn panel(&self, k: usize, panel: usize) -> &[f32] {
        let start = self.inner * (k * self.panels.padded() + self.panels.start(panel));
        &self.data[start..start + self.inner * self.panels.vectors(panel) * self.panels.lanes]
    }
}

/// `to[i][j] = matrix[columns.start + j][i]`, in squares as far as they go.
#[expect(unsafe_code, reason = "squares transposed in registers")]
fn transpose(
    square: TransposeSquare,
    lanes: usize,
    matrix: &[f32],
    inner: usize,
    columns: std::ops::Range<usize>,
    to: &mut [f32],
) {
    let width = to.len() / inner.max(1);
    let matrix = &matrix[columns.start * inner..columns.end * inner];
    let (whole_i, whole_j) = (inner - inner % lanes, columns.len() - columns.len() % lanes);
    assert!(columns.len() <= width);
    for i in (0..whole_i).step_by(lanes) {
        for j in (0..whole_j).step_by(lanes) {
            // SAFETY: the instruction set was detected. `j + lanes <= columns.len()` rows of `inner` elements are in
            // `matrix`, `i + lanes <= inner` rows of `width >= columns.len()` elements are in `to`.
            unsafe {
                square(matrix[j * inner + i..].as_ptr(), inner, to[i * width + j..].as_mut_ptr(), width)
            };
        }
    }
    for (j, row) in matrix.chunks_exact(inner.max(1)).enumerate() {
        let done = if j < whole_j { whole_i } else { 0 };
        for i in done..inner {
            to[i * width + j] = row[i];
        }
    }
}
