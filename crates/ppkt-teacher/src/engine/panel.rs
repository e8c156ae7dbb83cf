//! How a matrix of weights is cut for the micro-kernel.

use std::ops::Range;

use super::isa::Isa;

/// Floats of one panel that a pass over the rows uses: within a first-level cache, so that they stay there while the
/// rows stream by.
const CHUNK_FLOATS: usize = 8 * 1024;

/// Some neighbouring output columns, whose weights lie together as `[k][width]`.
pub(super) struct Panel {
    /// The first of its columns.
    pub(super) first: usize,
    /// Columns, zero ones at the end included.
    pub(super) width: usize,
    /// The same in vectors.
    pub(super) vectors: usize,
    /// Where its weights begin.
    pub(super) weights: usize,
    /// Channels of the input that its columns read.
    pub(super) reads: Range<usize>,
}

impl Panel {
    /// Cuts `n_columns` columns of `depth` weights each; also says to how many columns they are padded.
    pub(super) fn cut(isa: Isa, n_columns: usize, depth: usize) -> (Vec<Self>, usize) {
        let lanes = isa.lanes();
        let (mut panels, mut first) = (Vec::new(), 0);
        while first < n_columns {
            let vectors = (n_columns - first).div_ceil(lanes).min(isa.panel_vectors());
            let width = vectors * lanes;
            panels.push(Self { first, width, vectors, weights: first * depth, reads: 0..depth });
            first += width;
        }
        (panels, first)
    }

    /// Cuts the columns of a convolution in `groups`, each column with `taps` weights for each channel that it reads.
    /// Also says to how many columns and weights they are padded.
    ///
    /// A panel reads the channels of all groups that it has columns of, most of its weights then being zeros: panels
    /// are no wider than a group, or one vector.
    pub(super) fn cut_groups(
        isa: Isa,
        [n_columns, n_channels]: [usize; 2],
        groups: usize,
        taps: usize,
    ) -> (Vec<Self>, usize, usize) {
        let (columns, channels) = (n_columns / groups, n_channels / groups);
        let most = if groups == 1 { usize::MAX } else { columns.div_ceil(isa.lanes()) };
        let most = most.min(isa.panel_vectors());
        let (mut panels, mut first, mut weights) = (Vec::new(), 0, 0);
        while first < n_columns {
            let vectors = (n_columns - first).div_ceil(isa.lanes()).min(most);
            let width = vectors * isa.lanes();
            let last = (first + width).min(n_columns) - 1;
            let reads = first / columns * channels..(last / columns + 1) * channels;
            let len = taps * reads.len() * width;
            panels.push(Self { first, width, vectors, weights, reads });
            (first, weights) = (first + width, weights + len);
        }
        (panels, first, weights)
    }
}

/// A part of a sum over taps and channels.
pub(super) struct Chunk {
    pub(super) taps: Range<usize>,
    pub(super) channels: Range<usize>,
}

/// Cuts a sum over `[n_taps, run]` for a panel of `width` columns: into groups of whole taps, or parts of one.
pub(super) fn chunks(n_taps: usize, run: usize, width: usize) -> Vec<Chunk> {
    let limit = (CHUNK_FLOATS / width).max(1);
    if run <= limit {
        let per_chunk = limit / run;
        let starts = (0..n_taps).step_by(per_chunk);
        return starts.map(|t| Chunk { taps: t..(t + per_chunk).min(n_taps), channels: 0..run }).collect();
    }
    // Equal parts, so that none is a crumb.
    let part = run.div_ceil(run.div_ceil(limit));
    let of_tap = |t: usize| {
        (0..run).step_by(part).map(move |c| Chunk { taps: t..t + 1, channels: c..(c + part).min(run) })
    };
    (0..n_taps).flat_map(of_tap).collect()
}
