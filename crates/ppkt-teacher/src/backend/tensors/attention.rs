//! Self-attention by candle's operations.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope;

/// Scores that are in memory at a time, 256 MiB of them; queries are taken some at a time where there would be more.
const MOST_SCORES: usize = 1 << 26;

/// Cosines and sines `[tokens, d / 2]`; tokens that are not turned have 1 and 0.
pub(crate) struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Angles {
    /// # Shapes
    /// `cos` and `sin` are `[patches, half]`, for the tokens after the first `n_prefix`.
    pub(super) fn new(
        device: &Device,
        cos: Vec<f32>,
        sin: Vec<f32>,
        half: usize,
        n_prefix: usize,
    ) -> Result<Self> {
        let whole = |unturned: f32, values: Vec<f32>| {
            let all: Vec<f32> = std::iter::repeat_n(unturned, n_prefix * half).chain(values).collect();
            let tokens = all.len() / half;
            Tensor::from_vec(all, (tokens, half), device)
        };
        Ok(Self { cos: whole(1.0, cos)?, sin: whole(0.0, sin)? })
    }
}

/// `softmax(q kᵀ / √d) v` for every head, with queries and keys turned by angles.
///
/// # Shapes
/// `qkv` is `[n, 1, tokens, 3 · heads · d]`: queries of all heads, then keys, then values. The result is
/// `[n, 1, tokens, heads · d]`.
pub(super) fn attention(
    qkv: &Tensor,
    heads: usize,
    angles: Option<&Angles>,
    most_scores: usize,
) -> Result<Tensor> {
    let (n, _, tokens, channels) = qkv.dims4()?;
    let d = channels / 3 / heads;
    let parts = qkv.reshape((n, tokens, 3, heads, d))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let part = |i: usize| parts.get(i);
    let turned = |x: Tensor| match angles {
        Some(Angles { cos, sin }) => rope(&x, cos, sin),
        None => Ok(x),
    };
    let (all, per_head) = (n * heads, (n * heads, tokens, d));
    let queries = (turned(part(0)?)? * (1.0 / (d as f64).sqrt()))?.reshape(per_head)?;
    let (keys, values) = (turned(part(1)?)?.reshape(per_head)?, part(2)?.reshape(per_head)?);
    let at_once = (most_scores / (all * tokens)).clamp(1, tokens);
    let mut mixed = Vec::new();
    for first in (0..tokens).step_by(at_once) {
        let some = queries.narrow(1, first, at_once.min(tokens - first))?;
        mixed.push(softmax_last_dim(&some.matmul(&keys.t()?)?)?.matmul(&values)?);
    }
    let mixed = Tensor::cat(&mixed, 1)?.reshape((n, heads, tokens, d))?;
    mixed.transpose(1, 2)?.contiguous()?.reshape((n, 1, tokens, heads * d))
}

/// As [`attention`], with as many scores at a time as memory is likely to hold.
pub(super) fn attend(qkv: &Tensor, heads: usize, angles: Option<&Angles>) -> Result<Tensor> {
    attention(qkv, heads, angles, MOST_SCORES)
}
