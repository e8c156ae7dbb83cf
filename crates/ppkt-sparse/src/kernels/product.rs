//! Drives the forward micro-kernels: who computes which rows and columns.

use rayon::prelude::*;

use super::Weight;
use super::pack::{Packed, Panels};
use super::transpose::TransposeSquare;
use crate::kernel_map::{BLOCK, PairLists};

/// What a micro-kernel needs for one list of pairs and one panel of columns.
pub(super) struct Product<'a> {
    /// Rows of `x` that are read.
    pub(super) source: &'a [u32],
    /// Rows of the block that are written, one for each source.
    pub(super) target: &'a [u8],
    /// Features, `depth` to a row.
    pub(super) x: &'a [f32],
    /// Channels of a row that is read.
    pub(super) depth: usize,
    /// `depth` rows of whole vectors.
    pub(super) panel: &'a [f32],
    /// The panel's first column in the block's first row.
    pub(super) out: *mut f32,
    /// Elements from one row of the result to the next.
    pub(super) out_stride: usize,
    /// Columns of the panel's last vector that exist.
    pub(super) last_lanes: usize,
}

/// The micro-kernels of an instruction set.
pub(super) struct ProductIsa {
    /// Columns in a vector.
    pub(super) lanes: usize,
    /// The kernel for panels of 1, 2, … vectors.
    ///
    /// # Safety
    /// The instruction set must be there; every source must be a row of `x`; `out`, with the given stride, must be
    /// valid for reads and writes of the panel's columns in every target row, and no one else may touch these.
    pub(super) by_vectors: &'static [unsafe fn(&Product<'_>)],
    /// Turns squares of weights.
    pub(super) transpose: TransposeSquare,
}

/// Lets rayon's threads write disjoint parts of one buffer.
#[derive(Clone, Copy)]
pub(super) struct SharedOut(pub(super) *mut f32);

#[expect(unsafe_code, reason = "each thread writes rows and columns of its own through one pointer")]
// SAFETY: the pointer is only used by tasks that each write a part of their own, while its owner is borrowed.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    /// The pointer, by a method so that closures capture the whole wrapper.
    pub(super) fn get(self) -> *mut f32 {
        self.0
    }
}

/// `out[t] = Σ x[s] · weight[k]` over the pairs `(k, s, t)`.
#[expect(unsafe_code, reason = "micro-kernels and a buffer that its writers initialise")]
pub(super) fn run(isa: &ProductIsa, lists: &PairLists, x: &[f32], weight: Weight<'_>) -> Vec<f32> {
    let (depth, columns) = (weight.inner(), weight.outer());
    let len = lists.n_target * columns;
    let mut out: Vec<f32> = Vec::with_capacity(len);
    if len > 0 {
        let panels = Panels::new(columns, isa.lanes, isa.by_vectors.len());
        let packed = Packed::new(weight, panels.clone(), isa.transpose);
        let shared = SharedOut(out.as_mut_ptr());
        let n_panels = panels.len();
        // Neighbouring panels of a block come one after the other, so that the rows read are still in the cache.
        (0..lists.n_blocks() * n_panels).into_par_iter().for_each(|task| {
            let (block, panel) = (task / n_panels, task % n_panels);
            let rows = BLOCK.min(lists.n_target - block * BLOCK);
            let (start, last_lanes) = (panels.start(panel), panels.last_lanes(panel));
            let width = (panels.vectors(panel) - 1) * isa.lanes + last_lanes;
            // SAFETY: the block's first row and the panel's first column lie within the buffer's capacity.
            let first = unsafe { shared.get().add(block * BLOCK * columns + start) };
            for row in 0..rows {
                // SAFETY: `rows` rows of `width` columns from `first` lie within the capacity, and belong to this
                // task alone. Zeros make them initialised.
                unsafe { first.add(row * columns).write_bytes(0, width) };
            }
            for k in 0..lists.volume {
                let (source, target) = lists.group_slices(block, k);
                if source.is_empty() {
                    continue;
                }
                let panel_data = packed.panel(k, panel);
                let product = Product {
                    source,
                    target,
                    x,
                    depth,
                    panel: panel_data,
                    out: first,
                    out_stride: columns,
                    last_lanes,
                };
                // SAFETY: the instruction set was detected. Sources are rows of `x`, whose length the caller has
                // checked; targets are rows of this block, of which this task alone writes the panel's columns.
                unsafe { isa.by_vectors[panels.vectors(panel) - 1](&product) };
            }
        });
        // SAFETY: the tasks have written every block and every panel, that is, all `len` elements.
        unsafe { out.set_len(len) };
    }
    out
}
