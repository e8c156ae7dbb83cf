//! Weights in the order in which the kernels read them.

use std::borrow::Cow;

use super::{TransposeSquare, Weight};
use crate::rows::new_by_blocks;

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

    /// Columns of the panel that exist.
    pub(super) fn width(&self, panel: usize) -> usize {
        (self.vectors[panel] - 1) * self.lanes + self.last_lanes(panel)
    }

    /// Columns with padding.
    pub(super) fn padded(&self) -> usize {
        self.vectors.iter().sum::<usize>() * self.lanes
    }
}

/// A weight as panels of columns: `[K][panel][inner][columns of the panel]`, padded with zeros to whole vectors.
#[derive(Debug, Clone)]
pub(super) struct Packed<'a> {
    data: Cow<'a, [f32]>,
    volume: usize,
    inner: usize,
    panels: Panels,
}

impl<'a> Packed<'a> {
    pub(super) fn new(weight: Weight<'a>, panels: Panels, square: TransposeSquare) -> Self {
        let (volume, inner, outer) = (weight.volume(), weight.inner(), weight.outer());
        let padded = panels.padded();
        // One panel without padding is the order in which the weight lies already.
        if !weight.transposed && !weight.mirrored && panels.len() <= 1 && padded == outer {
            return Self { data: weight.data.into(), volume, inner, panels };
        }
        let data = new_by_blocks(volume * inner * padded, inner * padded, |k, packed| {
            let matrix = weight.matrix(k);
            let mut rest = packed;
            for panel in 0..panels.len() {
                let start = panels.start(panel);
                let width = panels.vectors(panel) * panels.lanes;
                let columns = start..(start + width).min(outer);
                let (here, after) = rest.split_at_mut(inner * width);
                rest = after;
                if weight.transposed {
                    let first = weight.inputs.0;
                    let rows = first + columns.start..first + columns.end;
                    transpose(square, panels.lanes, matrix, inner, rows, here);
                } else {
                    for (row, to) in matrix.chunks_exact(outer).zip(here.chunks_exact_mut(width)) {
                        to[..columns.len()].copy_from_slice(&row[columns.clone()]);
                    }
                }
            }
        });
        Self { data: data.into(), volume, inner, panels }
    }

    pub(super) fn into_owned(self) -> Packed<'static> {
        let Self { data, volume, inner, panels } = self;
        Packed { data: Cow::Owned(data.into_owned()), volume, inner, panels }
    }

    pub(super) fn volume(&self) -> usize {
        self.volume
    }

    /// Channels of the rows that are read.
    pub(super) fn inner(&self) -> usize {
        self.inner
    }

    /// Channels of the rows that are written.
    pub(super) fn outer(&self) -> usize {
        self.panels.columns
    }

    pub(super) fn panels(&self) -> &Panels {
        &self.panels
    }

    /// The panel of kernel voxel `k`: `inner` rows of the panel's width.
    pub(super) fn panel(&self, k: usize, panel: usize) -> &[f32] {
        let start = self.inner * (k * self.panels.padded() + self.panels.start(panel));
        &self.data[start..start + self.inner * self.panels.vectors(panel) * self.panels.lanes]
    }
}

/// `to[i][j] = matrix[rows.start + j][i]`, in squares as far as they go.
#[expect(unsafe_code, reason = "squares transposed in registers")]
pub(super) fn transpose(
    square: TransposeSquare,
    lanes: usize,
    matrix: &[f32],
    inner: usize,
    rows: std::ops::Range<usize>,
    to: &mut [f32],
) {
    let width = to.len() / inner.max(1);
    let matrix = &matrix[rows.start * inner..rows.end * inner];
    let (whole_i, whole_j) = (inner - inner % lanes, rows.len() - rows.len() % lanes);
    assert!(rows.len() <= width);
    for i in (0..whole_i).step_by(lanes) {
        for j in (0..whole_j).step_by(lanes) {
            // SAFETY: the instruction set was detected. `j + lanes <= rows.len()` rows of `inner` elements are in
            // `matrix`, `i + lanes <= inner` rows of `width >= rows.len()` elements are in `to`.
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
