//! Batch normalisation that overwrites what it reads: for a tape that owns its arrays.
//!
//! The same operations in the same order as in [`crate::norm_kernel`], so the same bits.
//!
//! Shapes: N rows, C channels; `x`, `y`, `g` are `[N, C]`, everything else `[C]`.

use crate::norm_kernel::{Coefficients, Moments, add_grad_sums, coefficients, relu1, total};
use crate::rows::{map_blocks_mut, of_rows, wide};

/// `x ← (x - mean) * inv_std * gamma + beta`, then `+ residual`, then ReLU, as asked; a residual comes with a ReLU.
pub(crate) fn normalise_in_place(
    x: &mut [f32],
    m: &Moments,
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) {
    let c = gamma.len();
    let scale = m.scale(gamma);
    map_blocks_mut(x, c, |rows, x| match residual {
        None if relu => apply_relu(&m.mean, &scale, beta, x),
        None => apply(&m.mean, &scale, beta, x),
        Some(r) => apply_add_relu(of_rows(r, rows, c), &m.mean, &scale, beta, x),
    });
}

/// `r ← relu((x - mean) * inv_std * gamma + beta + r)`.
pub(crate) fn normalise_onto(r: &mut [f32], x: &[f32], m: &Moments, gamma: &[f32], beta: &[f32]) {
    let c = gamma.len();
    let scale = m.scale(gamma);
    map_blocks_mut(r, c, |rows, r| onto(of_rows(x, rows, c), &m.mean, &scale, beta, r));
}

/// Where the ReLU let values through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mask<'a, E = f32> {
    /// There was none.
    All,
    /// Where the result is positive.
    Positive(&'a [E]),
    /// Where the norm of `x` with this beta is positive: nothing but the norm came before the ReLU.
    OfNorm(&'a [f32]),
}

/// Gradients of a normalisation: `g` becomes the gradient in front of the ReLU, which is a residual's, and `x` that of
/// the input; returned are those of gamma and beta.
pub(crate) fn backward_in_place(
    x: &mut [f32],
    g: &mut [f32],
    mask: Mask<'_>,
    moments: &Moments,
    gamma: &[f32],
    batch_statistics: bool,
) -> (Vec<f32>, Vec<f32>) {
    let c = gamma.len();
    let scale = moments.scale(gamma);
    let values = &*x;
    let parts = map_blocks_mut(g, c, |r, g| {
        let x = of_rows(values, r.clone(), c);
        match mask {
            Mask::All => {}
            Mask::Positive(y) => mask_positive(of_rows(y, r, c), g),
            Mask::OfNorm(beta) => mask_of_norm(x, &moments.mean, &scale, beta, g),
        }
        let mut sums = vec![0f64; 2 * c];
        let (s, q) = sums.split_at_mut(c);
        add_grad_sums(x, g, s, q);
        sums
    });
    let n = x.len() / c.max(1);
    let Coefficients { a, b, k, dgamma, dbeta } =
        coefficients(&total(parts, 2 * c), n, moments, gamma, batch_statistics);
    let g = &*g;
    map_blocks_mut(x, c, |r, x| input_grad(of_rows(g, r, c), &moments.mean, &a, &b, &k, x));
    (dgamma, dbeta)
}

/// `a ← a + b`.
pub(crate) fn add_in_place(a: &mut [f32], b: &[f32]) {
    const COLUMNS: usize = 64;
    let whole = a.len() - a.len() % COLUMNS;
    let (body, tail) = a.split_at_mut(whole);
    map_blocks_mut(body, COLUMNS, |r, a| add(of_rows(b, r, COLUMNS), a));
    add(&b[whole..], tail);
}

wide! {
    fn apply(mean: &[f32], scale: &[f32], beta: &[f32], x: &mut [f32]) {
        for row in x.chunks_exact_mut(mean.len()) {
            for (((v, &m), &s), &b) in row.iter_mut().zip(mean).zip(scale).zip(beta) {
                *v = (*v - m) * s + b;
            }
        }
    }
}

wide! {
    fn apply_relu(mean: &[f32], scale: &[f32], beta: &[f32], x: &mut [f32]) {
        for row in x.chunks_exact_mut(mean.len()) {
            for (((v, &m), &s), &b) in row.iter_mut().zip(mean).zip(scale).zip(beta) {
                *v = relu1((*v - m) * s + b);
            }
        }
    }
}

wide! {
    fn apply_add_relu(r: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], x: &mut [f32]) {
        let c = mean.len();
        for (row, rr) in x.chunks_exact_mut(c).zip(r.chunks_exact(c)) {
            for ((((v, &r), &m), &s), &b) in row.iter_mut().zip(rr).zip(mean).zip(scale).zip(beta) {
                *v = relu1((*v - m) * s + b + r);
            }
        }
    }
}

wide! {
    fn onto(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], r: &mut [f32]) {
        let c = mean.len();
        for (row, r) in x.chunks_exact(c).zip(r.chunks_exact_mut(c)) {
            for ((((r, &v), &m), &s), &b) in r.iter_mut().zip(row).zip(mean).zip(scale).zip(beta) {
                *r = relu1((v - m) * s + b + *r);
            }
        }
    }
}

wide! {
    fn mask_positive(y: &[f32], g: &mut [f32]) {
        for (g, &y) in g.iter_mut().zip(y) {
            *g = if y > 0.0 { *g } else { 0.0 };
        }
    }
}

wide! {
    fn mask_of_norm(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], g: &mut [f32]) {
        let c = mean.len();
        for (row, g) in x.chunks_exact(c).zip(g.chunks_exact_mut(c)) {
            for ((((g, &v), &m), &s), &b) in g.iter_mut().zip(row).zip(mean).zip(scale).zip(beta) {
                *g = if (v - m) * s + b > 0.0 { *g } else { 0.0 };
            }
        }
    }
}

wide! {
    fn input_grad(g: &[f32], mean: &[f32], a: &[f32], b: &[f32], k: &[f32], x: &mut [f32]) {
        let c = mean.len();
        // Equal lengths, said so that the inner loop carries no bounds checks.
        let (a, b, k) = (&a[..c], &b[..c], &k[..c]);
        for (row, grad) in x.chunks_exact_mut(c).zip(g.chunks_exact(c)) {
            for i in 0..c {
                row[i] = a[i] * grad[i] + b[i] * (row[i] - mean[i]) + k[i];
            }
        }
    }
}

wide! {
    fn add(b: &[f32], a: &mut [f32]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}
