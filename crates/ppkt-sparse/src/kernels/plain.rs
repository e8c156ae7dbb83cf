//! The readable reference: what every other path computes, in plain Rust.

use crate::kernel_map::{BLOCK, PairLists};

/// `out[t] = Σ x[s] · weight[k]` over the pairs `(k, s, t)`.
///
/// `weight` is `[K, cin, cout]`, row-major.
pub(crate) fn gather_product(
    lists: &PairLists,
    x: &[f32],
    cin: usize,
    weight: &[f32],
    cout: usize,
    out: &mut [f32],
) {
    for (g, w) in lists.starts.windows(2).enumerate() {
        let (block, k) = (g / lists.volume, g % lists.volume);
        let matrix = &weight[k * cin * cout..(k + 1) * cin * cout];
        for p in w[0] as usize..w[1] as usize {
            let (s, t) = (lists.source[p] as usize, block * BLOCK + lists.target[p] as usize);
            let out = &mut out[t * cout..(t + 1) * cout];
            for (c, &v) in x[s * cin..(s + 1) * cin].iter().enumerate() {
                for (o, &m) in out.iter_mut().zip(&matrix[c * cout..(c + 1) * cout]) {
                    *o += v * m;
                }
            }
        }
    }
}

/// `dw[k] = Σ x[s]ᵀ · g[t]` over the pairs `(k, s, t)`; `dw` is `[K, cin, cout]`, zero at the start.
pub(crate) fn weight_gradient(
    lists: &PairLists,
    x: &[f32],
    cin: usize,
    grad: &[f32],
    cout: usize,
    dw: &mut [f32],
) {
    for (g, w) in lists.starts.windows(2).enumerate() {
        let (block, k) = (g / lists.volume, g % lists.volume);
        let matrix = &mut dw[k * cin * cout..(k + 1) * cin * cout];
        for p in w[0] as usize..w[1] as usize {
            let (s, t) = (lists.source[p] as usize, block * BLOCK + lists.target[p] as usize);
            let grad = &grad[t * cout..(t + 1) * cout];
            for (c, &v) in x[s * cin..(s + 1) * cin].iter().enumerate() {
                for (o, &m) in matrix[c * cout..(c + 1) * cout].iter_mut().zip(grad) {
                    *o += v * m;
                }
            }
        }
    }
}
