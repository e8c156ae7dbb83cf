//! The readable reference: what every other path computes, in plain Rust.

use rayon::prelude::*;

use super::pack::Packed;
use super::{Side, Start};
use crate::kernel_map::{BLOCK, PairLists};

/// A square of one: the readable path has no vectors.
///
/// # Safety
/// Both pointers must be valid.
#[expect(unsafe_code, reason = "the type is that of the paths with vectors")]
pub(super) unsafe fn transpose(from: *const f32, _: usize, to: *mut f32, _: usize) {
    // SAFETY: the caller vouches for both.
    unsafe { *to = *from };
}

/// `out[t] = start + Σ x[s] · weight[k]` over the pairs `(k, s, t)`.
pub(super) fn gather_product(
    lists: &PairLists,
    sides: &[Side<'_>],
    weight: &Packed<'_>,
    start: Start<'_>,
) -> Vec<f32> {
    let cout = weight.outer();
    let mut out = vec![0f32; lists.n_target * cout];
    for (row, out) in out.chunks_exact_mut(cout.max(1)).enumerate() {
        start.set(row, cout, 0, out);
    }
    add_product(lists, sides, weight, &mut out);
    out.chunks_exact_mut(cout.max(1)).for_each(|out| start.finish(out));
    out
}

/// `out[t] += Σ x[s] · weight[k]` over the pairs `(k, s, t)`; each block of rows by one thread.
pub(super) fn add_product(lists: &PairLists, sides: &[Side<'_>], weight: &Packed<'_>, out: &mut [f32]) {
    let cout = weight.outer();
    if cout == 0 {
        return;
    }
    out.par_chunks_mut(BLOCK * cout).enumerate().for_each(|(block, out)| {
        for k in 0..lists.volume {
            for (source, target) in lists.group(block, k) {
                let row = &mut out[target * cout..(target + 1) * cout];
                // One panel, as wide as the result; the rows of one side after those of the other.
                let mut matrix = weight.panel(k, 0);
                for side in sides {
                    let (own, rest) = matrix.split_at(side.channels * cout);
                    matrix = rest;
                    for (&v, column) in side.row(source).iter().zip(own.chunks_exact(cout)) {
                        for (o, &m) in row.iter_mut().zip(column) {
                            *o += v * m;
                        }
                    }
                }
            }
        }
    });
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`; each kernel voxel by one thread.
pub(super) fn weight_gradient(lists: &PairLists, sides: &[Side<'_>], grad: &[f32], cout: usize) -> Vec<f32> {
    let cin: usize = sides.iter().map(|s| s.channels).sum();
    let mut dw = vec![0f32; lists.volume * cin * cout];
    if cin * cout == 0 {
        return dw;
    }
    dw.par_chunks_mut(cin * cout).enumerate().for_each(|(k, matrix)| {
        for block in 0..lists.n_blocks() {
            for (source, target) in lists.group(block, k) {
                let target = block * BLOCK + target;
                let grad = &grad[target * cout..(target + 1) * cout];
                let x = sides.iter().flat_map(|side| side.row(source));
                for (&v, row) in x.zip(matrix.chunks_exact_mut(cout)) {
                    for (o, &g) in row.iter_mut().zip(grad) {
                        *o += v * g;
                    }
                }
            }
        }
    });
    dw
}
