//! Batch normalisation of bf16 rows for a tape: arithmetic in f32, each result rounded once.
//!
//! Sums over a block of rows are f32, of differences from a number near them, so that a large mean costs no digits;
//! sums over the blocks are f64.
//!
//! Shapes: N rows, C channels; `x`, `y`, `g` are `[N, C]`, everything else `[C]`.

use half::bf16;

use crate::kernels::bf16::{narrow1, wide1};
use crate::norm_inplace::Mask;
use crate::norm_kernel::{Coefficients, Moments, coefficients, moments, relu1, total};
use crate::rows::{map_blocks, map_blocks_mut, of_rows, wide};

/// Mean and variance of every channel over all rows.
pub(crate) fn batch_moments(x: &[bf16], c: usize, eps: f64) -> Moments {
    let n = x.len() / c.max(1);
    // Differences from the first row: they are about as large as the deviations.
    let first: Vec<f32> = x.iter().take(c).map(|&v| wide1(v)).collect();
    let parts = map_blocks(n, c, |r| {
        let mut sums = vec![0f32; 2 * c];
        let (sum, square) = sums.split_at_mut(c);
        add_sums(of_rows(x, r, c), &first, sum, square);
        sums.into_iter().map(f64::from).collect()
    });
    let mut sums = total(parts, 2 * c);
    let (sum, square) = sums.split_at_mut(c);
    for ((s, q), &f) in sum.iter_mut().zip(square).zip(&first) {
        let (f, n) = (f64::from(f), n as f64);
        *q += 2.0 * f * *s + n * f * f;
        *s += n * f;
    }
    moments(&sums, n, c, eps)
}

/// `y = (x - mean) * inv_std * gamma + beta`, then `+ residual`, then ReLU, as asked; a residual comes with a ReLU.
pub(crate) fn normalise(
    x: &[bf16],
    m: &Moments,
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[bf16]>,
    relu: bool,
) -> Vec<bf16> {
    let c = gamma.len();
    let scale = m.scale(gamma);
    let mut y = vec![bf16::ZERO; x.len()];
    map_blocks_mut(&mut y, c, |rows, out| {
        let xs = of_rows(x, rows.clone(), c);
        match residual {
            None if relu => apply_relu(xs, &m.mean, &scale, beta, out),
            None => apply(xs, &m.mean, &scale, beta, out),
            Some(r) => apply_add_relu(xs, of_rows(r, rows, c), &m.mean, &scale, beta, out),
        }
    });
    y
}

/// As [`normalise`], in place.
pub(crate) fn normalise_in_place(
    x: &mut [bf16],
    m: &Moments,
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[bf16]>,
    relu: bool,
) {
    let c = gamma.len();
    let scale = m.scale(gamma);
    map_blocks_mut(x, c, |rows, x| match residual {
        None if relu => relu_here(&m.mean, &scale, beta, x),
        None => here(&m.mean, &scale, beta, x),
        Some(r) => add_relu_here(of_rows(r, rows, c), &m.mean, &scale, beta, x),
    });
}

/// `r ← relu((x - mean) * inv_std * gamma + beta + r)`.
pub(crate) fn normalise_onto(r: &mut [bf16], x: &[bf16], m: &Moments, gamma: &[f32], beta: &[f32]) {
    let c = gamma.len();
    let scale = m.scale(gamma);
    map_blocks_mut(r, c, |rows, r| onto(of_rows(x, rows, c), &m.mean, &scale, beta, r));
}

/// Gradients of a normalisation: `g` becomes the gradient in front of the ReLU, which is a residual's, and `x` that of
/// the input; returned are those of gamma and beta.
pub(crate) fn backward_in_place(
    x: &mut [bf16],
    g: &mut [bf16],
    mask: Mask<'_, bf16>,
    moments: &Moments,
    gamma: &[f32],
    batch_statistics: bool,
) -> (Vec<f32>, Vec<f32>) {
    let c = gamma.len();
    let (scale, mean) = (moments.scale(gamma), &moments.mean);
    let values = &*x;
    let parts = map_blocks_mut(g, c, |r, g| {
        let x = of_rows(values, r.clone(), c);
        match mask {
            Mask::All => {}
            Mask::Positive(y) => mask_positive(of_rows(y, r, c), g),
            Mask::OfNorm(beta) => mask_of_norm(x, mean, &scale, beta, g),
        }
        let mut sums = vec![0f32; 2 * c];
        let (sum_g, sum_gd) = sums.split_at_mut(c);
        add_grad_sums(x, g, mean, sum_g, sum_gd);
        sums.into_iter().map(f64::from).collect()
    });
    let mut sums = total(parts, 2 * c);
    let (sum_g, sum_gx) = sums.split_at_mut(c);
    for ((s, q), &m) in sum_g.iter().zip(sum_gx).zip(mean) {
        *q += f64::from(m) * s;
    }
    let n = x.len() / c.max(1);
    let Coefficients { a, b, k, dgamma, dbeta } = coefficients(&sums, n, moments, gamma, batch_statistics);
    let g = &*g;
    map_blocks_mut(x, c, |r, x| input_grad(of_rows(g, r, c), mean, &a, &b, &k, x));
    (dgamma, dbeta)
}

/// `a ← a + b`.
pub(crate) fn add_in_place(a: &mut [bf16], b: &[bf16]) {
    const COLUMNS: usize = 64;
    let whole = a.len() - a.len() % COLUMNS;
    let (body, tail) = a.split_at_mut(whole);
    map_blocks_mut(body, COLUMNS, |r, a| add(of_rows(b, r, COLUMNS), a));
    add(&b[whole..], tail);
}

/// The sum over rows of `[N, C]`.
pub(crate) fn column_sums(g: &[bf16], n: usize, c: usize) -> Vec<f32> {
    let parts = map_blocks(n, c, |r| {
        let mut sums = vec![0f32; c];
        add_rows(of_rows(g, r, c), &mut sums);
        sums.into_iter().map(f64::from).collect()
    });
    total(parts, c).into_iter().map(|s| s as f32).collect()
}

wide! {
    fn add_sums(x: &[bf16], first: &[f32], sum: &mut [f32], square: &mut [f32]) {
        let c = first.len();
        let (sum, square) = (&mut sum[..c], &mut square[..c]);
        for row in x.chunks_exact(c) {
            for i in 0..c {
                let d = wide1(row[i]) - first[i];
                sum[i] += d;
                square[i] += d * d;
            }
        }
    }
}

wide! {
    fn add_rows(g: &[bf16], sums: &mut [f32]) {
        for row in g.chunks_exact(sums.len()) {
            for (s, &v) in sums.iter_mut().zip(row) {
                *s += wide1(v);
            }
        }
    }
}

wide! {
    fn apply(x: &[bf16], mean: &[f32], scale: &[f32], beta: &[f32], out: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for (row, y) in x.chunks_exact(c).zip(out.chunks_exact_mut(c)) {
            for i in 0..c {
                y[i] = narrow1((wide1(row[i]) - mean[i]) * scale[i] + beta[i]);
            }
        }
    }
}

wide! {
    fn apply_relu(x: &[bf16], mean: &[f32], scale: &[f32], beta: &[f32], out: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for (row, y) in x.chunks_exact(c).zip(out.chunks_exact_mut(c)) {
            for i in 0..c {
                y[i] = narrow1(relu1((wide1(row[i]) - mean[i]) * scale[i] + beta[i]));
            }
        }
    }
}

wide! {
    fn apply_add_relu(x: &[bf16], r: &[bf16], mean: &[f32], scale: &[f32], beta: &[f32], out: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for ((row, r), y) in x.chunks_exact(c).zip(r.chunks_exact(c)).zip(out.chunks_exact_mut(c)) {
            for i in 0..c {
                y[i] = narrow1(relu1((wide1(row[i]) - mean[i]) * scale[i] + beta[i] + wide1(r[i])));
            }
        }
    }
}

wide! {
    fn here(mean: &[f32], scale: &[f32], beta: &[f32], x: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for row in x.chunks_exact_mut(c) {
            for i in 0..c {
                row[i] = narrow1((wide1(row[i]) - mean[i]) * scale[i] + beta[i]);
            }
        }
    }
}

wide! {
    fn relu_here(mean: &[f32], scale: &[f32], beta: &[f32], x: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for row in x.chunks_exact_mut(c) {
            for i in 0..c {
                row[i] = narrow1(relu1((wide1(row[i]) - mean[i]) * scale[i] + beta[i]));
            }
        }
    }
}

wide! {
    fn add_relu_here(r: &[bf16], mean: &[f32], scale: &[f32], beta: &[f32], x: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for (row, r) in x.chunks_exact_mut(c).zip(r.chunks_exact(c)) {
            for i in 0..c {
                row[i] = narrow1(relu1((wide1(row[i]) - mean[i]) * scale[i] + beta[i] + wide1(r[i])));
            }
        }
    }
}

wide! {
    fn onto(x: &[bf16], mean: &[f32], scale: &[f32], beta: &[f32], r: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for (row, r) in x.chunks_exact(c).zip(r.chunks_exact_mut(c)) {
            for i in 0..c {
                r[i] = narrow1(relu1((wide1(row[i]) - mean[i]) * scale[i] + beta[i] + wide1(r[i])));
            }
        }
    }
}

/// The number or 0, without a branch: with one the loops below are not made vectors.
#[inline(always)]
fn kept_if(keep: bool, v: bf16) -> bf16 {
    bf16::from_bits(v.to_bits() & u16::from(keep).wrapping_neg())
}

wide! {
    fn mask_positive(y: &[bf16], g: &mut [bf16]) {
        for (g, &y) in g.iter_mut().zip(y) {
            *g = kept_if(wide1(y) > 0.0, *g);
        }
    }
}

wide! {
    /// Where the norm, rounded as it was in the forward pass, is positive: rounding takes no positive number to 0 that
    /// f32 holds with all its digits.
    fn mask_of_norm(x: &[bf16], mean: &[f32], scale: &[f32], beta: &[f32], g: &mut [bf16]) {
        let c = mean.len();
        let (scale, beta) = (&scale[..c], &beta[..c]);
        for (row, g) in x.chunks_exact(c).zip(g.chunks_exact_mut(c)) {
            for i in 0..c {
                let positive = (wide1(row[i]) - mean[i]) * scale[i] + beta[i] > 0.0;
                g[i] = kept_if(positive, g[i]);
            }
        }
    }
}

wide! {
    fn add_grad_sums(x: &[bf16], g: &[bf16], mean: &[f32], sum_g: &mut [f32], sum_gd: &mut [f32]) {
        let c = mean.len();
        let (sum_g, sum_gd) = (&mut sum_g[..c], &mut sum_gd[..c]);
        for (row, grad) in x.chunks_exact(c).zip(g.chunks_exact(c)) {
            for i in 0..c {
                let g = wide1(grad[i]);
                sum_g[i] += g;
                sum_gd[i] += g * (wide1(row[i]) - mean[i]);
            }
        }
    }
}

wide! {
    fn input_grad(g: &[bf16], mean: &[f32], a: &[f32], b: &[f32], k: &[f32], x: &mut [bf16]) {
        let c = mean.len();
        let (a, b, k) = (&a[..c], &b[..c], &k[..c]);
        for (row, grad) in x.chunks_exact_mut(c).zip(g.chunks_exact(c)) {
            for i in 0..c {
                row[i] = narrow1(a[i] * wide1(grad[i]) + b[i] * (wide1(row[i]) - mean[i]) + k[i]);
            }
        }
    }
}

wide! {
    fn add(b: &[bf16], a: &mut [bf16]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a = narrow1(wide1(*a) + wide1(b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::bf16::{narrow, widen};
    use crate::{norm_inplace, norm_kernel};

    const C: usize = 7;

    /// Values about 40 with a deviation of about 3: the mean would cost digits.
    fn rows(n: usize, seed: u32) -> Vec<bf16> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            40.0 + 10.0 * ((state >> 8) as f32 / (1 << 24) as f32 - 0.5)
        };
        narrow(&(0..n * C).map(|_| next()).collect::<Vec<_>>())
    }

    fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
        assert_eq!(got.len(), want.len());
        let scale = want.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() <= tolerance * scale, "{g} is not {w}");
        }
    }

    /// Everything against f32 on the same rounded numbers.
    #[test]
    fn near_the_norms_of_f32() {
        let gamma: Vec<f32> = (0..C).map(|i| 0.5 + 0.2 * i as f32).collect();
        let beta: Vec<f32> = (0..C).map(|i| 0.3 * i as f32 - 0.9).collect();
        for n in [1, 2, 255, 1000, 5000] {
            let (x, r) =
                (rows(n, 1), narrow(&widen(&rows(n, 2)).iter().map(|v| v - 40.0).collect::<Vec<_>>()));
            let (x32, r32) = (widen(&x), widen(&r));
            let (m, want) = (batch_moments(&x, C, 1e-5), norm_kernel::batch_moments(&x32, C, 1e-5));
            assert_close(&m.mean, &want.mean, 1e-6);
            assert_close(&m.inv_std, &want.inv_std, if n == 1 { f32::INFINITY } else { 1e-4 });
            assert_close(&column_sums(&r, n, C), &crate::dense::column_sums(&r32, n, C), 1e-5);
            let half_ulp = 1.0 / 256.0;
            for (residual, relu) in [(false, false), (false, true), (true, true)] {
                let (of16, of32) = (residual.then_some(&*r), residual.then_some(&*r32));
                let want = norm_kernel::normalise(&x32, &m, &gamma, &beta, of32, relu);
                let y = normalise(&x, &m, &gamma, &beta, of16, relu);
                assert!(y == narrow(&want), "rounded once");
                let mut here = x.clone();
                normalise_in_place(&mut here, &m, &gamma, &beta, of16, relu);
                assert!(here == y);
                if residual {
                    let mut sum = r.clone();
                    normalise_onto(&mut sum, &x, &m, &gamma, &beta);
                    assert!(sum == y);
                }
                let of_norm = (Mask::OfNorm(beta.as_slice()), Mask::OfNorm(beta.as_slice()));
                let positive = (Mask::Positive(y.as_slice()), Mask::Positive(want.as_slice()));
                let masks = match (residual, relu) {
                    (_, false) => vec![(Mask::All, Mask::All)],
                    (true, _) => vec![positive],
                    (false, _) => vec![of_norm, positive],
                };
                for (mask, mask32) in masks {
                    let (mut dx, mut g) = (x.clone(), r.clone());
                    let (mut dx32, mut g32) = (x32.clone(), r32.clone());
                    let (dgamma, dbeta) = backward_in_place(&mut dx, &mut g, mask, &m, &gamma, true);
                    let want = norm_inplace::backward_in_place(&mut dx32, &mut g32, mask32, &m, &gamma, true);
                    assert_close(&dgamma, &want.0, 1e-4);
                    assert_close(&dbeta, &want.1, 1e-4);
                    assert!(widen(&g) == g32, "the gradient in front of the ReLU is exact");
                    assert_close(&widen(&dx), &dx32, half_ulp);
                }
            }
            let mut sum = x.clone();
            add_in_place(&mut sum, &r);
            let want: Vec<f32> = x32.iter().zip(&r32).map(|(a, b)| a + b).collect();
            assert!(sum == narrow(&want));
        }
    }
}
