//! The loops of batch normalisation over the rows of a `[N, C]` tensor.
//!
//! Forward in training reads `x` twice (moments, then result); backward reads `x`, the gradient and, with a ReLU, the
//! result once for the sums, and `x` and the masked gradient once more for the input's gradient. Residual and ReLU
//! ride on these passes. Sums are f64 (a product of two f32 is exact there), so a large mean costs no digits.
//!
//! Shapes: N rows, C channels; `x`, `y`, `g` are `[N, C]`, everything else `[C]`.

use crate::rows::{BLOCK_ROWS, map_blocks, map_blocks_mut, new_by_blocks, of_rows, wide};

/// What a channel is normalised with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) inv_std: Vec<f32>,
    /// Divided by `N - 1`, as running statistics want it; of use only where the moments are the batch's own.
    pub(crate) unbiased_var: Vec<f32>,
}

impl Moments {
    /// What differences from the mean are multiplied with.
    pub(crate) fn scale(&self, gamma: &[f32]) -> Vec<f32> {
        gamma.iter().zip(&self.inv_std).map(|(g, i)| g * i).collect()
    }
}

/// `[sum x, sum x²]` of a block.
fn block_sums(x: &[f32], c: usize) -> Vec<f64> {
    let mut sums = vec![0f64; 2 * c];
    let (s, q) = sums.split_at_mut(c);
    add_sums(x, s, q);
    sums
}

wide! {
    fn add_sums(x: &[f32], sum: &mut [f64], square: &mut [f64]) {
        for row in x.chunks_exact(sum.len()) {
            for ((s, q), &v) in sum.iter_mut().zip(square.iter_mut()).zip(row) {
                let v = f64::from(v);
                *s += v;
                *q += v * v;
            }
        }
    }
}

/// Adds the blocks' partial sums in their order.
pub(crate) fn total(parts: Vec<Vec<f64>>, len: usize) -> Vec<f64> {
    let mut sums = vec![0f64; len];
    for part in parts {
        for (s, p) in sums.iter_mut().zip(part) {
            *s += p;
        }
    }
    sums
}

/// Mean and variance of every channel over all rows.
pub(crate) fn batch_moments(x: &[f32], c: usize, eps: f64) -> Moments {
    let n = x.len() / c.max(1);
    moments(&total(map_blocks(n, c, |r| block_sums(of_rows(x, r, c), c)), 2 * c), n, c, eps)
}

/// Mean and variance of `n` rows from the sums of `x` and of `x²`: `[2 C]`.
pub(crate) fn moments(sums: &[f64], n: usize, c: usize, eps: f64) -> Moments {
    let count = n as f64;
    let mut m = Moments { mean: vec![0.0; c], inv_std: vec![0.0; c], unbiased_var: vec![0.0; c] };
    for k in 0..c {
        let mean = sums[k] / count;
        // Rounding can take an exact zero just below it; a NaN must stay one.
        let var = sums[c + k] / count - mean * mean;
        let var = if var < 0.0 { 0.0 } else { var };
        m.mean[k] = mean as f32;
        m.inv_std[k] = (1.0 / (var + eps).sqrt()) as f32;
        m.unbiased_var[k] = (var * count / (count - 1.0)) as f32;
    }
    m
}

/// The moments that running statistics give.
pub(crate) fn running_moments(mean: &[f32], var: &[f32], eps: f64) -> Moments {
    let inv_std = var.iter().map(|&v| (1.0 / (f64::from(v) + eps).sqrt()) as f32).collect();
    Moments { mean: mean.to_vec(), inv_std, unbiased_var: var.to_vec() }
}

/// `y = (x - mean) * inv_std * gamma + beta`, then `+ residual`, then ReLU, as asked.
pub(crate) fn normalise(
    x: &[f32],
    m: &Moments,
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Vec<f32> {
    let c = gamma.len();
    let scale = m.scale(gamma);
    new_by_blocks(x.len(), BLOCK_ROWS * c, |block, out| {
        let rows = block * BLOCK_ROWS..block * BLOCK_ROWS + out.len() / c;
        let xs = of_rows(x, rows.clone(), c);
        match residual {
            None if relu => apply_relu(xs, &m.mean, &scale, beta, out),
            None => apply(xs, &m.mean, &scale, beta, out),
            Some(r) => apply_add_relu(xs, of_rows(r, rows, c), &m.mean, &scale, beta, out),
        }
    })
}

/// ReLU that lets a NaN through, so that a broken step is seen where it broke.
#[inline(always)]
pub(crate) fn relu1(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

wide! {
    fn apply(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], out: &mut [f32]) {
        for (row, y) in x.chunks_exact(mean.len()).zip(out.chunks_exact_mut(mean.len())) {
            for ((((y, &v), &m), &s), &b) in y.iter_mut().zip(row).zip(mean).zip(scale).zip(beta) {
                *y = (v - m) * s + b;
            }
        }
    }
}

wide! {
    fn apply_relu(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], out: &mut [f32]) {
        for (row, y) in x.chunks_exact(mean.len()).zip(out.chunks_exact_mut(mean.len())) {
            for ((((y, &v), &m), &s), &b) in y.iter_mut().zip(row).zip(mean).zip(scale).zip(beta) {
                *y = relu1((v - m) * s + b);
            }
        }
    }
}

wide! {
    fn apply_add_relu(x: &[f32], r: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], out: &mut [f32]) {
        let c = mean.len();
        for ((row, rr), y) in x.chunks_exact(c).zip(r.chunks_exact(c)).zip(out.chunks_exact_mut(c)) {
            for (((((y, &v), &r), &m), &s), &b) in y.iter_mut().zip(row).zip(rr).zip(mean).zip(scale).zip(beta) {
                *y = relu1((v - m) * s + b + r);
            }
        }
    }
}

/// Gradients of one normalisation.
pub(crate) struct NormGrads {
    pub(crate) dx: Option<Vec<f32>>,
    pub(crate) dgamma: Vec<f32>,
    pub(crate) dbeta: Vec<f32>,
    /// Of the residual; empty unless it was asked for.
    pub(crate) dresidual: Vec<f32>,
}

/// What backward is asked for.
pub(crate) struct NormBackward<'a> {
    pub(crate) x: &'a [f32],
    /// The forward result where a ReLU followed: its sign is the mask.
    pub(crate) relu_of: Option<&'a [f32]>,
    pub(crate) grad: &'a [f32],
    pub(crate) moments: &'a Moments,
    pub(crate) gamma: &'a [f32],
    /// Whether the moments are functions of `x` (training) or constants (evaluation).
    pub(crate) batch_statistics: bool,
    pub(crate) want_dx: bool,
    pub(crate) want_dresidual: bool,
}

impl NormBackward<'_> {
    pub(crate) fn run(&self) -> NormGrads {
        let c = self.gamma.len();
        let n = self.x.len() / c.max(1);
        // Pass one: the gradient behind the ReLU (kept), and its sums.
        let mut masked = Vec::new();
        let parts = match self.relu_of {
            None => map_blocks(n, c, |r| {
                let mut sums = vec![0f64; 2 * c];
                let (s, q) = sums.split_at_mut(c);
                add_grad_sums(of_rows(self.x, r.clone(), c), of_rows(self.grad, r, c), s, q);
                sums
            }),
            Some(y) => {
                masked = vec![0f32; self.x.len()];
                map_blocks_mut(&mut masked, c, |r, out| {
                    mask(of_rows(y, r.clone(), c), of_rows(self.grad, r.clone(), c), out);
                    let mut sums = vec![0f64; 2 * c];
                    let (s, q) = sums.split_at_mut(c);
                    add_grad_sums(of_rows(self.x, r, c), out, s, q);
                    sums
                })
            }
        };
        let sums = total(parts, 2 * c);
        let coefficients = coefficients(&sums, n, self.moments, self.gamma, self.batch_statistics);

        // Pass two.
        let g = if self.relu_of.is_some() { &masked } else { self.grad };
        let (dx, dresidual) = match (self.want_dx, self.want_dresidual, self.relu_of.is_some()) {
            (false, true, true) => (None, masked),
            (false, true, false) => (None, self.grad.to_vec()),
            (false, false, _) => (None, Vec::new()),
            (true, false, true) => {
                // The masked gradient is not needed any more: its memory becomes the result.
                let mut dx = masked;
                map_blocks_mut(&mut dx, c, |r, out| {
                    coefficients.apply_in_place(of_rows(self.x, r, c), &self.moments.mean, out);
                });
                (Some(dx), Vec::new())
            }
            (true, keep, relu) => {
                let mut dx = vec![0f32; self.x.len()];
                map_blocks_mut(&mut dx, c, |r, out| {
                    let (xs, gs) = (of_rows(self.x, r.clone(), c), of_rows(g, r, c));
                    coefficients.apply(xs, gs, &self.moments.mean, out);
                });
                let dr = if !keep {
                    Vec::new()
                } else if relu {
                    masked
                } else {
                    self.grad.to_vec()
                };
                (Some(dx), dr)
            }
        };
        NormGrads { dx, dgamma: coefficients.dgamma, dbeta: coefficients.dbeta, dresidual }
    }
}

/// `dx = a g + b (x - mean) + k`, from
/// `dx = gamma inv_std (g - dbeta / N - x̂ dgamma / N)` with `x̂ = (x - mean) inv_std`; `sums` are those of `g` and of
/// `g x` over the `n` rows. Where the moments are constants, `dx = a g`.
pub(crate) fn coefficients(
    sums: &[f64],
    n: usize,
    moments: &Moments,
    gamma: &[f32],
    batch_statistics: bool,
) -> Coefficients {
    let c = gamma.len();
    let mut out = Coefficients {
        a: vec![0.0; c],
        b: vec![0.0; c],
        k: vec![0.0; c],
        dgamma: vec![0.0; c],
        dbeta: vec![0.0; c],
    };
    for i in 0..c {
        let (inv, mean) = (f64::from(moments.inv_std[i]), f64::from(moments.mean[i]));
        let dbeta = sums[i];
        let dgamma = (sums[c + i] - mean * dbeta) * inv;
        let scale = f64::from(gamma[i]) * inv;
        out.a[i] = scale as f32;
        if batch_statistics {
            out.b[i] = (-scale * inv * dgamma / n as f64) as f32;
            out.k[i] = (-scale * dbeta / n as f64) as f32;
        }
        out.dgamma[i] = dgamma as f32;
        out.dbeta[i] = dbeta as f32;
    }
    out
}

/// Of one normalisation's gradient, channel by channel.
pub(crate) struct Coefficients {
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) dgamma: Vec<f32>,
    pub(crate) dbeta: Vec<f32>,
}

impl Coefficients {
    fn apply(&self, x: &[f32], g: &[f32], mean: &[f32], out: &mut [f32]) {
        input_grad(x, g, mean, &self.a, &self.b, &self.k, out);
    }

    fn apply_in_place(&self, x: &[f32], mean: &[f32], g: &mut [f32]) {
        input_grad_in_place(x, mean, &self.a, &self.b, &self.k, g);
    }
}

wide! {
    /// Adds `sum g` and `sum g x` of a block.
    pub(crate) fn add_grad_sums(x: &[f32], g: &[f32], sum_g: &mut [f64], sum_gx: &mut [f64]) {
        let c = sum_g.len();
        for (row, grad) in x.chunks_exact(c).zip(g.chunks_exact(c)) {
            for (((s, q), &v), &g) in sum_g.iter_mut().zip(sum_gx.iter_mut()).zip(row).zip(grad) {
                let g = f64::from(g);
                *s += g;
                *q += g * f64::from(v);
            }
        }
    }
}

wide! {
    /// The gradient where the ReLU let the value through; its derivative at 0 is 0.
    pub(crate) fn mask(y: &[f32], g: &[f32], out: &mut [f32]) {
        for ((o, &y), &g) in out.iter_mut().zip(y).zip(g) {
            *o = if y > 0.0 { g } else { 0.0 };
        }
    }
}

wide! {
    fn input_grad(x: &[f32], g: &[f32], mean: &[f32], a: &[f32], b: &[f32], k: &[f32], out: &mut [f32]) {
        let c = mean.len();
        // Equal lengths, said so that the inner loop carries no bounds checks.
        let (a, b, k) = (&a[..c], &b[..c], &k[..c]);
        for ((row, grad), out) in x.chunks_exact(c).zip(g.chunks_exact(c)).zip(out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = a[i] * grad[i] + b[i] * (row[i] - mean[i]) + k[i];
            }
        }
    }
}

wide! {
    fn input_grad_in_place(x: &[f32], mean: &[f32], a: &[f32], b: &[f32], k: &[f32], g: &mut [f32]) {
        let c = mean.len();
        let (a, b, k) = (&a[..c], &b[..c], &k[..c]);
        for (row, grad) in x.chunks_exact(c).zip(g.chunks_exact_mut(c)) {
            for i in 0..c {
                grad[i] = a[i] * grad[i] + b[i] * (row[i] - mean[i]) + k[i];
            }
        }
    }
}
