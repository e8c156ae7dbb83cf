//! Drives the products: who computes which rows and columns, and where sums become bf16.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::number::{narrow_to, widen_to};
use super::pack::{LANES, MOST_VECTORS, Pairs};
use super::{Path, Side, plain};
use crate::kernel_map::{BLOCK, PairLists};

/// One list of pairs of rows and one panel of columns: `sums[t] += x[s] · panel`.
pub(super) struct Product<'a> {
    /// Rows that are read.
    pub(super) source: &'a [u32],
    /// Rows of the block that are written, one for each source.
    pub(super) target: &'a [u8],
    /// Features, of one tensor or of several side by side.
    pub(super) sides: &'a [Side<'a, bf16>],
    /// A row of whole vectors for each inner pair of all sides.
    pub(super) panel: &'a [u32],
    /// Vectors of the panel.
    pub(super) vectors: usize,
    /// The block's sums, a row of whole vectors each.
    pub(super) sums: &'a mut [f32],
}

/// Sums of a block and a panel, on a cache line's boundary.
#[derive(Clone)]
#[repr(C, align(64))]
struct Sums([f32; BLOCK * MOST_VECTORS * LANES]);

/// A part of the result: rows of a block, columns of a panel.
struct Part {
    rows: Range<usize>,
    columns: Range<usize>,
    /// Elements from row to row of the sums.
    stride: usize,
}

/// Lets rayon's threads write disjoint parts of one buffer.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

#[expect(unsafe_code, reason = "each thread writes rows and columns of its own through one pointer")]
// SAFETY: the pointer is only used by tasks that each write a part of their own, while its owner is borrowed.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The columns of a part in one of its rows, of a buffer with `columns` a row.
    ///
    /// # Safety
    /// The buffer must have the row and be initialised, and no one else may use these columns of it meanwhile.
    #[expect(unsafe_code, reason = "a part of a buffer that threads share")]
    #[expect(clippy::mut_from_ref, reason = "the parts of different tasks do not meet")]
    unsafe fn row(&self, row: usize, part: &Part, columns: usize) -> &mut [T] {
        // SAFETY: the caller vouches for the row, and a part's columns lie within it.
        unsafe {
            let first = self.0.add(row * columns + part.columns.start);
            std::slice::from_raw_parts_mut(first, part.columns.len())
        }
    }
}

/// The product, rounded.
#[expect(unsafe_code, reason = "a buffer that threads share")]
pub(super) fn rounded(
    path: Path,
    lists: &PairLists,
    sides: &[Side<'_, bf16>],
    weight: &Pairs,
    bias: Option<&[f32]>,
) -> Vec<bf16> {
    let columns = weight.columns();
    let mut out = vec![bf16::ZERO; lists.n_target * columns];
    let shared = Shared(out.as_mut_ptr());
    let write = |row, part: &Part, sums: &[f32]| {
        // SAFETY: `parts` hands out each part of the result once, within its rows and columns.
        narrow_to(sums, unsafe { shared.row(row, part, columns) });
    };
    parts(path, lists, sides, weight, |_, part, sums| begin(bias, part, sums), write);
    out
}

/// The product in f32.
#[expect(unsafe_code, reason = "a buffer that threads share")]
pub(super) fn exact(
    path: Path,
    lists: &PairLists,
    sides: &[Side<'_, bf16>],
    weight: &Pairs,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let columns = weight.columns();
    let mut out = vec![0f32; lists.n_target * columns];
    let shared = Shared(out.as_mut_ptr());
    let write = |row, part: &Part, sums: &[f32]| {
        // SAFETY: as in `rounded`.
        unsafe { shared.row(row, part, columns) }.copy_from_slice(sums);
    };
    parts(path, lists, sides, weight, |_, part, sums| begin(bias, part, sums), write);
    out
}

/// The product, added to what is there, and rounded.
#[expect(unsafe_code, reason = "a buffer that threads share")]
pub(super) fn add(path: Path, lists: &PairLists, sides: &[Side<'_, bf16>], weight: &Pairs, out: &mut [bf16]) {
    let columns = weight.columns();
    assert_eq!(out.len(), lists.n_target * columns);
    let shared = Shared(out.as_mut_ptr());
    let read = |row, part: &Part, sums: &mut [f32]| {
        // SAFETY: as in `rounded`.
        widen_to(unsafe { shared.row(row, part, columns) }, sums);
    };
    let write = |row, part: &Part, sums: &[f32]| {
        // SAFETY: as in `rounded`.
        narrow_to(sums, unsafe { shared.row(row, part, columns) });
    };
    parts(path, lists, sides, weight, read, write);
}

fn begin(bias: Option<&[f32]>, part: &Part, sums: &mut [f32]) {
    match bias {
        None => sums.fill(0.0),
        Some(bias) => sums.copy_from_slice(&bias[part.columns.clone()]),
    }
}

/// Computes the sums of each part of the result once: `read` fills a row of them, `write` takes it.
fn parts(
    path: Path,
    lists: &PairLists,
    sides: &[Side<'_, bf16>],
    weight: &Pairs,
    read: impl Fn(usize, &Part, &mut [f32]) + Sync,
    write: impl Fn(usize, &Part, &[f32]) + Sync,
) {
    let panels = weight.panels();
    let n_panels = panels.len();
    let fresh = || Box::new(Sums([0.0; BLOCK * MOST_VECTORS * LANES]));
    // Neighbouring panels of a block come one after the other, so that the rows read are still in the cache.
    (0..lists.n_blocks() * n_panels).into_par_iter().for_each_init(fresh, |sums, task| {
        let (block, panel) = (task / n_panels, task % n_panels);
        let vectors = panels.vectors(panel);
        let (first, start) = (block * BLOCK, panels.start(panel));
        let part = Part {
            rows: first..(first + BLOCK).min(lists.n_target),
            columns: start..start + panels.width(panel),
            stride: vectors * LANES,
        };
        let sums = &mut sums.0[..part.rows.len() * part.stride];
        for (row, sums) in part.rows.clone().zip(sums.chunks_exact_mut(part.stride)) {
            read(row, &part, &mut sums[..part.columns.len()]);
        }
        for k in 0..lists.volume {
            let (source, target) = lists.group_slices(block, k);
            if source.is_empty() || weight.is_empty() {
                continue;
            }
            let product = Product { source, target, sides, panel: weight.panel(k, panel), vectors, sums };
            match path {
                #[cfg(target_arch = "x86_64")]
                Path::Avx512 => super::avx512::product(product),
                Path::Plain => plain::product(product),
            }
        }
        for (row, sums) in part.rows.clone().zip(sums.chunks_exact(part.stride)) {
            write(row, &part, &sums[..part.columns.len()]);
        }
    });
}
