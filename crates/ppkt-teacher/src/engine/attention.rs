//! Self-attention of transformers, block of queries by block of queries.
//!
//! Keys and values are packed once per head; then each task takes some queries of one head, computes their scores
//! with all keys, the softmax and the weighted sum of the values. The matrix of all scores is never built.

#![expect(
    unsafe_code,
    reason = "the micro-kernel takes addresses, and tasks write disjoint columns of one output"
)]

use rayon::prelude::*;

use super::isa::Isa;
use super::kernel::{Tile, run_tile};
use super::map::{Buffers, Map};
use super::math::softmax;
use super::panel::{Panel, chunks};

/// Queries of a task: a multiple of every tile height, few enough for their scores to stay in the second-level cache.
const QUERIES: usize = 48;

/// The output, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: tasks write disjoint rectangles (queries × channels of a head).
unsafe impl Send for Output {}
// SAFETY: as above; nothing is read that another task writes.
unsafe impl Sync for Output {}

impl Output {
    /// Address of a float. A method, so that closures take the wrapper and not the bare pointer.
    fn at(self, i: usize) -> *mut f32 {
        // The address is formed without a promise; whoever writes to it gives one.
        self.0.wrapping_add(i)
    }
}

/// `softmax(q kᵀ / √d) v` for every head.
///
/// # Shapes
/// `qkv` is `[n, 1, tokens, 3 * heads * d]`: queries of all heads, then keys, then values. The result is
/// `[n, 1, tokens, heads * d]`.
///
/// # Panics
/// If the channels are not three times a multiple of `heads`.
pub(crate) fn attention(isa: Isa, qkv: &Map, heads: usize, buffers: &Buffers) -> Map {
    let (n, tokens, channels) = (qkv.n, qkv.width, qkv.channels / 3);
    assert!(
        qkv.height == 1 && heads > 0 && channels * 3 == qkv.channels && channels.is_multiple_of(heads),
        "qkv"
    );
    let d = channels / heads;
    let (key_panels, keys_padded) = Panel::cut(isa, tokens, d);
    let (value_panels, d_padded) = Panel::cut(isa, d, tokens);
    let (key_len, value_len) = (keys_padded * d, d_padded * tokens);
    let mut packed = buffers.take(n * heads * (key_len + value_len));
    packed.par_chunks_exact_mut(key_len + value_len).enumerate().for_each(|(i, packed)| {
        let (image, head) = (i / heads, i % heads);
        let (keys, values) = packed.split_at_mut(key_len);
        let row = |token: usize, part: usize| {
            &qkv.data[(image * tokens + token) * 3 * channels + part * channels + head * d..][..d]
        };
        keys.fill(0.0);
        for panel in &key_panels {
            let columns = panel.first..tokens.min(panel.first + panel.width);
            for (j, token) in columns.enumerate() {
                for (c, &v) in row(token, 1).iter().enumerate() {
                    keys[panel.weights + c * panel.width + j] = v;
                }
            }
        }
        values.fill(0.0);
        for panel in &value_panels {
            let columns = panel.first..d.min(panel.first + panel.width);
            for token in 0..tokens {
                values[panel.weights + token * panel.width..][..columns.len()]
                    .copy_from_slice(&row(token, 2)[columns.clone()]);
            }
        }
    });
    let mut out = Map::take(buffers, [n, 1, tokens, channels]);
    let target = Output(out.data.as_mut_ptr());
    let zeros = vec![0f32; d];
    let blocks = tokens.div_ceil(QUERIES);
    let scale = 1.0 / (d as f32).sqrt();
    (0..n * heads * blocks).into_par_iter().for_each(|task| {
        let (head_idx, block) = (task / blocks, task % blocks);
        let (image, head) = (head_idx / heads, head_idx % heads);
        let queries = block * QUERIES..((block + 1) * QUERIES).min(tokens);
        let (keys, values) =
            packed[head_idx * (key_len + value_len)..][..key_len + value_len].split_at(key_len);

        let mut rows = [zeros.as_ptr(); QUERIES];
        for (row, token) in rows.iter_mut().zip(queries.clone()) {
            *row = qkv.data[(image * tokens + token) * 3 * channels + head * d..][..d].as_ptr();
        }
        let mut scores = buffers.take(QUERIES * keys_padded);
        multiply(isa, &rows, d, keys, &key_panels, &mut scores, keys_padded);
        softmax(isa, &mut scores[..queries.len() * keys_padded], tokens, keys_padded, scale);

        let mut mixed = buffers.take(QUERIES * d_padded);
        let rows = std::array::from_fn(|r| scores[r * keys_padded..][..keys_padded].as_ptr());
        multiply(isa, &rows, tokens, values, &value_panels, &mut mixed, d_padded);
        for (mixed, token) in mixed.chunks_exact(d_padded).zip(queries) {
            let at = (image * tokens + token) * channels + head * d;
            // SAFETY: `d` channels of this head of this token, within the output, are written by this task alone.
            unsafe { std::slice::from_raw_parts_mut(target.at(at), d) }.copy_from_slice(&mixed[..d]);
        }
    });
    out
}

/// `out[r, :] = rows[r][..depth] · packed`, for rows and columns padded to whole tiles.
fn multiply(
    isa: Isa,
    rows: &[*const f32; QUERIES],
    depth: usize,
    packed: &[f32],
    panels: &[Panel],
    out: &mut [f32],
    out_stride: usize,
) {
    for panel in panels {
        let height = isa.rows(panel.vectors);
        assert!(QUERIES.is_multiple_of(height) && panel.first + panel.width <= out_stride, "whole tiles");
        assert!(
            out.len() >= QUERIES * out_stride && packed.len() >= panel.weights + depth * panel.width,
            "sizes"
        );
        for (i, chunk) in chunks(1, depth, panel.width).into_iter().enumerate() {
            for first in (0..QUERIES).step_by(height) {
                // SAFETY: the instruction set was detected. The caller's rows are addresses of at least `depth` floats;
                // panel and output hold what is asserted above, and the output is borrowed mutably.
                unsafe {
                    run_tile(
                        isa,
                        panel.vectors,
                        &Tile {
                            taps: rows.as_ptr().add(first),
                            n_taps: 1,
                            skip: chunk.channels.start,
                            run: chunk.channels.len(),
                            panel: packed.as_ptr().add(panel.weights + chunk.channels.start * panel.width),
                            out: out.as_mut_ptr().add(first * out_stride + panel.first),
                            out_stride,
                            resume: i > 0,
                            finish: None,
                        },
                    );
                }
            }
        }
    }
}
