//! The readable path: what the other one computes, in plain Rust.

use half::bf16;

use super::pack::{LANES, pair};
use super::product::Product;
use super::wgrad::Outer;
use super::{Side, wide1};

/// See [`super::pack::PairRows`].
pub(super) fn pair_rows(a: &[f32], b: Option<&[f32]>, to: &mut [u32]) {
    for (j, (to, &a)) in to.iter_mut().zip(a).enumerate() {
        *to = pair(a, b.map_or(0.0, |b| b[j]));
    }
}

/// See [`super::pack::PairNeighbours`].
pub(super) fn pair_neighbours(a: &[f32], to: &mut [u32]) {
    for (to, two) in to.iter_mut().zip(a.chunks(2)) {
        *to = pair(two[0], two.get(1).copied().unwrap_or(0.0));
    }
}

/// Both numbers of a pair.
fn unpair(pair: u32) -> (f32, f32) {
    (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000))
}

/// One list of pairs of rows and one panel.
pub(super) fn product(p: Product<'_>) {
    let width = p.vectors * LANES;
    for (&source, &target) in p.source.iter().zip(p.target) {
        let sums = &mut p.sums[usize::from(target) * width..][..width];
        let mut panel = p.panel.chunks_exact(width);
        for side in p.sides {
            for (x, weights) in side.row(source as usize).chunks(2).zip(&mut panel) {
                let (x0, x1) = (wide1(x[0]), x.get(1).map_or(0.0, |&v| wide1(v)));
                for (sum, &w) in sums.iter_mut().zip(weights) {
                    let (w0, w1) = unpair(w);
                    *sum += x1 * w1;
                    *sum += x0 * w0;
                }
            }
        }
    }
}

/// Two rows side by side, element by element, in each row of `to` (of `stride` elements) from element `first`; the last
/// of an odd number of rows has zeros beside it.
pub(super) fn interleave(side: &Side<'_, bf16>, rows: &[u32], to: &mut [u32], stride: usize, first: usize) {
    for (two, to) in rows.chunks(2).zip(to.chunks_exact_mut(stride)) {
        let (a, b) = (side.row(two[0] as usize), two.get(1).map(|&b| side.row(b as usize)));
        for (j, (to, &a)) in to[first..].iter_mut().zip(a).enumerate() {
            *to = u32::from(a.to_bits()) | b.map_or(0, |b| u32::from(b[j].to_bits()) << 16);
        }
    }
}

/// `dw[c][j] += Σ x[i][c] · g[i][j]` over pairs of pairs `i`.
pub(super) fn outer(p: Outer<'_>) {
    for (x, g) in p.x.chunks_exact(p.cin).zip(p.grad.chunks_exact(p.grad_stride)) {
        for (&x, row) in x.iter().zip(p.dw.chunks_exact_mut(p.cout)) {
            let (x0, x1) = unpair(x);
            for (sum, &g) in row.iter_mut().zip(g) {
                let (g0, g1) = unpair(g);
                *sum += x1 * g1;
                *sum += x0 * g0;
            }
        }
    }
}
