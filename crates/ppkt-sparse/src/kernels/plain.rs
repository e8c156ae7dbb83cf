//! The readable reference: what every other path computes, in plain Rust.

use rayon::prelude::*;

use super::Weight;
use crate::kernel_map::{BLOCK, PairLists};

/// `out[t] = Σ x[s] · weight[k]` over the pairs `(k, s, t)`; each block of rows by one thread.
pub(super) fn gather_product(lists: &PairLists, x: &[f32], weight: Weight<'_>) -> Vec<f32> {
    let (cin, cout) = (weight.inner(), weight.outer());
    let mut out = vec![0f32; lists.n_target * cout];
    if cin * cout == 0 {
        return out;
    }
    // The one form `[K, cin, cout]`, as the lists want it.
    let matrices: Vec<f32> = (0..lists.volume)
        .flat_map(|k| {
            let m = weight.matrix(k);
            let at =
                move |i: usize, j: usize| if weight.transposed { m[j * cin + i] } else { m[i * cout + j] };
            (0..cin).flat_map(move |i| (0..cout).map(move |j| at(i, j)))
        })
        .collect();
    out.par_chunks_mut(BLOCK * cout).enumerate().for_each(|(block, out)| {
        for k in 0..lists.volume {
            let matrix = &matrices[k * cin * cout..(k + 1) * cin * cout];
            for (source, target) in lists.group(block, k) {
                let row = &mut out[target * cout..(target + 1) * cout];
                for (&v, column) in x[source * cin..(source + 1) * cin].iter().zip(matrix.chunks_exact(cout))
                {
                    for (o, &m) in row.iter_mut().zip(column) {
                        *o += v * m;
                    }
                }
            }
        }
    });
    out
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`; each kernel voxel by one thread.
pub(super) fn weight_gradient(
    lists: &PairLists,
    x: &[f32],
    cin: usize,
    grad: &[f32],
    cout: usize,
) -> Vec<f32> {
    let mut dw = vec![0f32; lists.volume * cin * cout];
    if cin * cout == 0 {
        return dw;
    }
    dw.par_chunks_mut(cin * cout).enumerate().for_each(|(k, matrix)| {
        for block in 0..lists.n_blocks() {
            for (source, target) in lists.group(block, k) {
                let target = block * BLOCK + target;
                let grad = &grad[target * cout..(target + 1) * cout];
                for (&v, row) in x[source * cin..(source + 1) * cin].iter().zip(matrix.chunks_exact_mut(cout))
                {
                    for (o, &g) in row.iter_mut().zip(grad) {
                        *o += v * g;
                    }
                }
            }
        }
    });
    dw
}
