//! Cross-entropy over a similarity matrix that is never whole in memory.
//!
//! For queries `q` and keys `k` (M rows each, partners on the same row):
//!
//! ```text
//! s_ij = q_i · k_j / τ
//! loss = 1/M Σ_i ( log Σ_j exp s_ij − s_ii )
//! dq_i = 1/(τM) ( Σ_j p_ij k_j − k_i )          p_ij = exp s_ij / Σ_j exp s_ij
//! dk_j = 1/(τM) ( Σ_i p_ij q_i − q_j )
//! ```
//!
//! Rows of `s` are made in blocks, turned into `p` in place and multiplied onward at once, so memory is O(block · M)
//! and the backward pass has nothing left to do. A block of rows belongs to one task; `dk`, to which all blocks
//! contribute, is summed within fixed groups of blocks and then over the groups in order. So results are the same
//! bits for any number of threads.

use rayon::prelude::*;

use crate::exp::exp_and_sum;
use crate::product::{Matrix, Output, product};

/// Rows of the similarity matrix at a time: enough for the matrix product to run at full speed, few enough for the
/// block to stay in the cache (1 MB at 4,096 pairs).
const BLOCK: usize = 64;

/// Groups that `dk` is summed in: bounds its memory to GROUPS · M · D and the threads that can share the work.
const GROUPS: usize = 16;

/// Which gradients are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) query: bool,
    pub(crate) key: bool,
}

/// Loss, retrieval and gradients.
pub(crate) struct Nce {
    pub(crate) loss: f64,
    /// Queries whose own key is nearer than all others.
    pub(crate) n_hits: usize,
    /// `[M, D]` by the queries, empty if not wanted.
    pub(crate) query_grad: Vec<f32>,
    /// `[M, D]` by the keys, empty if not wanted.
    pub(crate) key_grad: Vec<f32>,
}

/// The loss over rows as they are given (not normalised here).
pub(crate) fn nce(query: &[f32], key: &[f32], dim: usize, temperature: f64, wanted: Wanted) -> Nce {
    let n = key.len() / dim;
    let group_rows = n.div_ceil(GROUPS).next_multiple_of(BLOCK);
    let mut query_grad = vec![0f32; if wanted.query { n * dim } else { 0 }];
    let job = Job { query, key, dim, n, temperature, wanted };

    let mut no_grads: Vec<&mut [f32]> = Vec::new();
    let query_grads: Vec<&mut [f32]> = if wanted.query {
        query_grad.chunks_mut(group_rows * dim).collect()
    } else {
        no_grads.resize_with(n.div_ceil(group_rows), Default::default);
        no_grads
    };
    let groups: Vec<Group> = query_grads
        .into_par_iter()
        .enumerate()
        .map_init(Vec::new, |scratch, (g, query_grad)| {
            let rows = g * group_rows..n.min((g + 1) * group_rows);
            job.run_group(rows, query_grad, scratch)
        })
        .collect();

    let loss = groups.iter().map(|g| g.loss).sum::<f64>() / n as f64;
    let n_hits = groups.iter().map(|g| g.n_hits).sum();
    Nce { loss, n_hits, query_grad, key_grad: sum_in_order(groups) }
}

/// What one group of blocks contributes.
struct Group {
    loss: f64,
    n_hits: usize,
    key_grad: Vec<f32>,
}

struct Job<'a> {
    query: &'a [f32],
    key: &'a [f32],
    dim: usize,
    n: usize,
    temperature: f64,
    wanted: Wanted,
}

impl Job<'_> {
    /// The blocks of rows `rows`, one after the other.
    fn run_group(
        &self,
        rows: std::ops::Range<usize>,
        query_grad: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> Group {
        let &Self { query, dim, n, wanted, .. } = self;
        let mut group = Group { loss: 0.0, n_hits: 0, key_grad: Vec::new() };
        if wanted.key {
            group.key_grad.resize(n * dim, 0.0);
        }
        scratch.resize(BLOCK * n, 0.0);
        let mut scaled_queries = Vec::new();
        let mut scales = Vec::new();
        for from in rows.clone().step_by(BLOCK) {
            let to = rows.end.min(from + BLOCK);
            let block = &mut scratch[..(to - from) * n];
            self.exponentials(from, block, &mut scales, &mut group);
            // `block` is Σ (p_ij − δ_ij) with Σ = Σ_j exp(s_ij − max); the scale 1 / (Σ τ M) is applied to the D columns
            // beside it, which are fewer than the block's M.
            if wanted.query {
                let grad = &mut query_grad[(from - rows.start) * dim..(to - rows.start) * dim];
                let keys = Matrix::rows_of(self.key, dim);
                product(grad, Output::Overwrite, 1.0, Matrix::rows_of(block, n), keys);
                scale_rows(grad, dim, &scales);
            }
            if wanted.key {
                scaled_queries.clear();
                scaled_queries.extend_from_slice(&query[from * dim..to * dim]);
                scale_rows(&mut scaled_queries, dim, &scales);
                let probabilities = Matrix::rows_of(block, n).transposed();
                let queries = Matrix::rows_of(&scaled_queries, dim);
                product(&mut group.key_grad, Output::AddTo, 1.0, probabilities, queries);
            }
        }
        group
    }

    /// Fills `block` with the rows `from..` of `Σ (p_ij − δ_ij)`, and `scales` with `1 / (Σ τ M)`.
    fn exponentials(&self, from: usize, block: &mut [f32], scales: &mut Vec<f32>, group: &mut Group) {
        let &Self { query, key, dim, n, temperature, .. } = self;
        let n_rows = block.len() / n;
        let queries = Matrix::rows_of(&query[from * dim..(from + n_rows) * dim], dim);
        let keys = Matrix::rows_of(key, dim).transposed();
        product(block, Output::Overwrite, (1.0 / temperature) as f32, queries, keys);
        scales.clear();
        for (i, row) in block.chunks_exact_mut(n).enumerate() {
            let own_column = from + i;
            let own = row[own_column];
            row[own_column] = f32::NEG_INFINITY;
            let nearest_other = largest(row);
            let top = own.max(nearest_other);
            // The own term is kept out of the sum: once training goes well it is nearly 1 and the others are tiny, and
            // `1 + tiny − 1` would leave nothing of them, neither in the loss nor in the gradient.
            let others = exp_and_sum(row, top);
            row[own_column] = -others as f32;
            let above_own = f64::from(top) - f64::from(own);
            let sum = others + (-above_own).exp();
            group.loss += if above_own == 0.0 { others.ln_1p() } else { above_own + sum.ln() };
            group.n_hits += usize::from(own > nearest_other);
            scales.push((1.0 / (sum * temperature * n as f64)) as f32);
        }
    }
}

/// The largest of a row without NaN; in lanes, so that the compiler can use vectors.
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| m.max(x))
}

fn scale_rows(rows: &mut [f32], dim: usize, scales: &[f32]) {
    for (row, scale) in rows.chunks_exact_mut(dim).zip(scales) {
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

/// The sum of the groups' key gradients, first to last.
fn sum_in_order(groups: Vec<Group>) -> Vec<f32> {
    let mut grads = groups.into_iter().map(|g| g.key_grad);
    let Some(mut total) = grads.next() else { return Vec::new() };
    let rest: Vec<Vec<f32>> = grads.collect();
    const CHUNK: usize = 4096;
    total.par_chunks_mut(CHUNK).enumerate().for_each(|(i, total)| {
        for part in &rest {
            for (t, x) in total.iter_mut().zip(&part[i * CHUNK..]) {
                *t += x;
            }
        }
    });
    total
}
