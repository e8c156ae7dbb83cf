//! Drives the weight gradient: which pairs of rows are gathered, and who multiplies them.

use half::bf16;
use rayon::prelude::*;

use super::pack::LANES;
use super::{Path, Side, plain};
use crate::kernel_map::{BLOCK, PairLists};

/// Gathered rows of both sides: `dw += xᵀ · grad`, two pairs of rows a step.
pub(super) struct Outer<'a> {
    /// For each two pairs, `cin` pairs of elements.
    pub(super) x: &'a [u32],
    /// Rows of the matrix.
    pub(super) cin: usize,
    /// For each two pairs, `grad_stride` pairs of elements: `cout` and zeros to a whole vector.
    pub(super) grad: &'a [u32],
    /// Elements from row to row of `grad`.
    pub(super) grad_stride: usize,
    /// The matrix of a kernel voxel, `[cin, cout]`.
    pub(super) dw: &'a mut [f32],
    /// Columns of the matrix.
    pub(super) cout: usize,
}

/// Blocks of rows whose pairs are gathered together, so that the products are deep enough.
const TOGETHER: usize = 4;
/// Most steps that are gathered: with the vectors of a panel they stay in the first cache.
const MOST_STEPS: usize = 128;
/// Elements of both buffers, at most: they share the second cache with the matrix.
const MOST_GATHERED: usize = 64 << 10;
/// Most parts that the sum over the blocks is cut into.
const MAX_PARTS: usize = 16;
/// Matrices of all parts that are enough to keep many threads busy: more parts are more memory to go through.
const ENOUGH: usize = 64;
/// Blocks that a part has at least.
const MIN_BLOCKS: usize = 4;
/// Elements of all parts together, at most (unless there is but one): 32 MiB.
const MAX_ELEMENTS: usize = 8 << 20;
/// Tasks for each thread that are aimed at.
const TASKS: usize = 4;

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`.
pub(super) fn run(
    path: Path,
    lists: &PairLists,
    sides: &[Side<'_, bf16>],
    grad: &[bf16],
    cout: usize,
) -> Vec<f32> {
    let cin: usize = sides.iter().map(|s| s.channels).sum();
    let (size, volume) = (cin * cout, lists.volume);
    let len = volume * size;
    if len == 0 || lists.n_blocks() == 0 {
        return vec![0.0; len];
    }
    // The parts depend on the shapes alone, and so do the sums. Who computes which kernel voxels of a part may depend
    // on the threads: an element is summed by one task whatever the group.
    let n_blocks = lists.n_blocks();
    let n_parts = MAX_PARTS.min(ENOUGH.div_ceil(volume)).min(n_blocks / MIN_BLOCKS);
    let n_parts = n_parts.min(MAX_ELEMENTS / len).max(1);
    let n_groups = (TASKS * rayon::current_num_threads()).div_ceil(n_parts).min(volume);
    let group = volume.div_ceil(n_groups);

    let mut parts = vec![0f32; n_parts * len];
    let tasks = parts.par_chunks_mut(len).enumerate().flat_map(|(part, dw)| {
        dw.par_chunks_mut(group * size).enumerate().map(move |(i, dw)| (part, i * group, dw))
    });
    tasks.for_each(|(part, first, dw)| {
        let mut gather = Gather::new(path, sides, grad, cout);
        let (start, end) = (n_blocks * part / n_parts, n_blocks * (part + 1) / n_parts);
        for block in (start..end).step_by(TOGETHER) {
            let blocks = block..(block + TOGETHER).min(end);
            for (k, dw) in (first..).zip(dw.chunks_exact_mut(size)) {
                for block in blocks.clone() {
                    gather.add(lists, block, k, dw);
                }
                gather.multiply(dw);
            }
        }
    });
    if n_parts == 1 {
        return parts;
    }
    let (sum, rest) = parts.split_at_mut(len);
    const CHUNK: usize = 4096;
    sum.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        for part in rest.chunks_exact(len) {
            for (s, &p) in sum.iter_mut().zip(&part[i * CHUNK..]) {
                *s += p;
            }
        }
    });
    parts.truncate(len);
    parts.shrink_to_fit();
    parts
}

/// Pairs of rows that wait to be multiplied.
struct Gather<'a> {
    path: Path,
    sides: &'a [Side<'a, bf16>],
    rows_of_grad: Side<'a, bf16>,
    cin: usize,
    grad_stride: usize,
    /// Steps of the buffers.
    most: usize,
    x: Vec<u32>,
    grad: Vec<u32>,
    /// Rows of the sides that wait, and with each the row of the gradient.
    source: Vec<u32>,
    target: Vec<u32>,
}

impl<'a> Gather<'a> {
    fn new(path: Path, sides: &'a [Side<'a, bf16>], rows_of_grad: &'a [bf16], cout: usize) -> Self {
        let cin: usize = sides.iter().map(|s| s.channels).sum();
        let grad_stride = cout.next_multiple_of(LANES);
        let most = (MOST_GATHERED / (cin + grad_stride)).clamp(16, MOST_STEPS);
        let rows_of_grad = Side { data: rows_of_grad, channels: cout };
        let (x, grad) = (vec![0; most * cin], vec![0; most * grad_stride]);
        let (source, target) = (Vec::with_capacity(2 * most), Vec::with_capacity(2 * most));
        Self { path, sides, rows_of_grad, cin, grad_stride, most, x, grad, source, target }
    }

    /// Takes in the pairs of a block and a kernel voxel, and multiplies whenever the buffers are full.
    fn add(&mut self, lists: &PairLists, block: usize, k: usize, dw: &mut [f32]) {
        let (mut source, mut target) = lists.group_slices(block, k);
        while !source.is_empty() {
            let room = (2 * self.most - self.source.len()).min(source.len());
            let (now, later) = source.split_at(room);
            self.source.extend_from_slice(now);
            source = later;
            let (now, later) = target.split_at(room);
            self.target.extend(now.iter().map(|&t| (block * BLOCK) as u32 + u32::from(t)));
            target = later;
            if self.source.len() == 2 * self.most {
                self.multiply(dw);
            }
        }
    }

    /// Multiplies what waits; an odd pair is joined by zeros.
    fn multiply(&mut self, dw: &mut [f32]) {
        let interleave = match self.path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => super::avx512::interleave,
            Path::Plain => plain::interleave,
        };
        let Self { cin, grad_stride, .. } = *self;
        let steps = self.source.len().div_ceil(2);
        let (x, grad) = (&mut self.x[..steps * cin], &mut self.grad[..steps * grad_stride]);
        let mut first = 0;
        for side in self.sides {
            interleave(side, &self.source, x, cin, first);
            first += side.channels;
        }
        interleave(&self.rows_of_grad, &self.target, grad, grad_stride, 0);
        self.source.clear();
        self.target.clear();
        let outer = Outer { x, cin, grad, grad_stride, dw, cout: self.rows_of_grad.channels };
        match self.path {
            _ if steps == 0 => {}
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => super::avx512::outer(outer),
            Path::Plain => plain::outer(outer),
        }
    }
}
