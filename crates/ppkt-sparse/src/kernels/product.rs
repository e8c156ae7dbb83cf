//! Drives the forward micro-kernels: who computes which rows and columns.

use rayon::prelude::*;

use super::pack::{Packed, Panels};
use super::{Side, Start, TransposeSquare, Weight};
use crate::kernel_map::{BLOCK, PairLists};

/// What a micro-kernel needs for one list of pairs and one panel of columns.
pub(super) struct Product<'a> {
    /// Rows that are read.
    pub(super) source: &'a [u32],
    /// Rows of the block that are written, one for each source.
    pub(super) target: &'a [u8],
    /// Features, of one tensor or of two side by side.
    pub(super) sides: &'a [Side<'a>],
    /// Rows of whole vectors, one for each channel of all sides.
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
    /// The instruction set must be there; every source must be a row of each side; `out`, with the given stride, must be
    /// valid for reads and writes of the panel's columns in every target row, and no one else may touch these.
    pub(super) by_vectors: &'static [unsafe fn(&Product<'_>)],
    /// Turns squares of weights.
    pub(super) transpose: TransposeSquare,
}

impl ProductIsa {
    /// A weight in the order in which the micro-kernels read it.
    pub(super) fn pack<'a>(&self, weight: Weight<'a>) -> Packed<'a> {
        let panels = Panels::new(weight.outer(), self.lanes, self.by_vectors.len());
        Packed::new(weight, panels, self.transpose)
    }
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

/// `out[t] = start + Σ x[s] · weight[k]` over the pairs `(k, s, t)`.
#[expect(unsafe_code, reason = "a buffer that its writers initialise")]
pub(super) fn run(
    isa: &ProductIsa,
    lists: &PairLists,
    sides: &[Side<'_>],
    packed: &Packed<'_>,
    start: Start<'_>,
) -> Vec<f32> {
    let len = lists.n_target * packed.outer();
    let mut out: Vec<f32> = Vec::with_capacity(len);
    // SAFETY: the buffer has `len` elements, and is this function's own; with a start they are all initialised.
    unsafe {
        fill(isa, lists, sides, packed, Some(start), SharedOut(out.as_mut_ptr()));
        out.set_len(len);
    }
    out
}

/// `out[t] += Σ x[s] · weight[k]` over the pairs `(k, s, t)`; `out` has `n_target` rows.
#[expect(unsafe_code, reason = "a buffer that threads share")]
pub(super) fn add(
    isa: &ProductIsa,
    lists: &PairLists,
    sides: &[Side<'_>],
    packed: &Packed<'_>,
    out: &mut [f32],
) {
    assert_eq!(out.len(), lists.n_target * packed.outer());
    // SAFETY: the buffer has all rows, is initialised, and borrowed for this call alone.
    unsafe { fill(isa, lists, sides, packed, None, SharedOut(out.as_mut_ptr())) };
}

/// Adds the products to `start`, or, where there is none, to what `shared` holds.
///
/// # Safety
/// `shared` must be valid for reads and writes of `n_target` rows of the weight's outer channels, no one else may touch
/// it meanwhile, and without a start it must be initialised.
#[expect(unsafe_code, reason = "micro-kernels")]
unsafe fn fill(
    isa: &ProductIsa,
    lists: &PairLists,
    sides: &[Side<'_>],
    packed: &Packed<'_>,
    start: Option<Start<'_>>,
    shared: SharedOut,
) {
    let (panels, columns) = (packed.panels(), packed.outer());
    let n_panels = panels.len();
    // Neighbouring panels of a block come one after the other, so that the rows read are still in the cache.
    (0..lists.n_blocks() * n_panels).into_par_iter().for_each(|task| {
        let (block, panel) = (task / n_panels, task % n_panels);
        let rows = BLOCK.min(lists.n_target - block * BLOCK);
        let (column, width) = (panels.start(panel), panels.width(panel));
        // SAFETY: the block's first row and the panel's first column lie within the buffer's capacity.
        let first = unsafe { shared.get().add(block * BLOCK * columns + column) };
        if let Some(start) = start {
            for row in 0..rows {
                // SAFETY: `rows` rows of `width` columns from `first` lie within the capacity, and belong to this task
                // alone. Zeros make them initialised.
                let out = unsafe {
                    let out = first.add(row * columns);
                    out.write_bytes(0, width);
                    std::slice::from_raw_parts_mut(out, width)
                };
                start.set(block * BLOCK + row, columns, column, out);
            }
        }
        for k in 0..lists.volume {
            let (source, target) = lists.group_slices(block, k);
            if source.is_empty() {
                continue;
            }
            let product = Product {
                source,
                target,
                sides,
                panel: packed.panel(k, panel),
                out: first,
                out_stride: columns,
                last_lanes: panels.last_lanes(panel),
            };
            // SAFETY: the instruction set was detected. Sources are rows of the sides, whose lengths the caller has
            // checked; targets are rows of this block, of which this task alone writes the panel's columns.
            unsafe { isa.by_vectors[panels.vectors(panel) - 1](&product) };
        }
        if let Some(start) = start.filter(|s| s.relu) {
            for row in 0..rows {
                // SAFETY: as above: initialised, within the capacity, and of this task alone.
                start.finish(unsafe { std::slice::from_raw_parts_mut(first.add(row * columns), width) });
            }
        }
    });
}
