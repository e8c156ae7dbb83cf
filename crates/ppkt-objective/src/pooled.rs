//! InfoNCE between groups of points and segments of pixels.
//!
//! M = pairs, V = views, S = segments of a view, K = segments that are kept, D = channels.

use candle_core::Tensor;
#[cfg(feature = "cuda")]
use ppkt_device::{cuda::CudaDevice, launch::View};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::PairOutcome;
use crate::embeddings::Loss;
use crate::error::ObjectiveError;
use crate::fused::{Outcome, PairLoss, Tracked, apply};
use crate::info_nce::checked_temperature;
use crate::nce::{Wanted, nce};
use crate::rows::{SHORTEST, checked, length, pull_back_row, same_device};

/// Added to the count that a sum is divided by, as the reference does.
pub(crate) const COUNT_EPSILON: f64 = 1e-6;

/// InfoNCE between superpixels and the points that they see (SLidR, Sautier et al. 2022, arXiv 2203.16258).
///
/// 1. Every point and every pixel of the feature map is brought to unit length.
/// 2. A segment's query is the mean over its *pairs* of the points, its key the mean over *all* its pixels, paired or
///    not; both sums are divided by count + 1e-6 and not brought to unit length again.
/// 3. Segments without a pair are dropped; the others, of all views together, go through the cross-entropy of
///    [`InfoNce`](crate::InfoNce).
///
/// [`Loss::retrieval_at_1`] is over the segments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledInfoNce {
    /// τ: 0.07 in the paper.
    pub temperature: f64,
}

impl Default for PooledInfoNce {
    fn default() -> Self {
        Self { temperature: 0.07 }
    }
}

/// Points, a dense feature map, and the segments that group both.
#[derive(Debug, Clone)]
pub struct SegmentedEmbeddings {
    /// `[M, D]` raw, f32: the point of each pair.
    pub point: Tensor,
    /// `[V, H, W, D]` raw, f32: what the teacher's projection says about each pixel.
    pub feature_map: Tensor,
    /// `[V, H, W]` row-major: the segment of each pixel, an id below `segments_per_view`, local to its view, or
    /// [`Self::NO_SEGMENT`].
    pub segments: Vec<u32>,
    /// S: how many ids a view has (not all need occur).
    pub segments_per_view: u32,
    /// `[M]`: view, row and column of the pixel of each pair.
    pub pixels: Vec<[u32; 3]>,
}

impl SegmentedEmbeddings {
    /// The id of a pixel that belongs to no segment: it and its pairs are left out.
    pub const NO_SEGMENT: u32 = u32::MAX;
}

impl PooledInfoNce {
    /// The loss of a batch, differentiable by the points and by the feature map.
    ///
    /// # Errors
    /// If a shape does not fit another, a pair points outside the map, an id is too large, no pair lies in a segment,
    /// or a value is not finite.
    pub fn loss(&self, input: &SegmentedEmbeddings) -> Result<Loss, ObjectiveError> {
        let temperature = checked_temperature(self.temperature)?;
        let (groups, dim) = grouped(input)?;
        same_device("feature_map", &input.feature_map, &input.point)?;
        let point = checked("point", &input.point)?;
        let feature_map = checked("feature_map", &input.feature_map)?;
        apply(Fused { groups, dim, temperature }, [&point, &feature_map])
    }
}

/// The loss of one batch's groups.
pub(crate) struct Fused {
    pub(crate) groups: Groups,
    pub(crate) dim: usize,
    pub(crate) temperature: f64,
}

impl PairLoss for Fused {
    fn name(&self) -> &'static str {
        "pooled_info_nce"
    }

    fn n_rows(&self) -> usize {
        self.groups.points.n_groups()
    }

    fn on_cpu(&self, [point, map]: [&[f32]; 2], tracked: Tracked) -> Outcome {
        fused(point, map, self.dim, self.temperature, &self.groups, tracked)
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(
        &self,
        gpu: &CudaDevice,
        inputs: [View<'_, f32>; 2],
        tracked: Tracked,
    ) -> candle_core::Result<PairOutcome<CudaDevice>> {
        crate::cuda::pooled_info_nce(gpu, self, inputs, tracked)
    }

    #[cfg(feature = "metal")]
    fn on_metal(
        &self,
        gpu: &ppkt_device::metal::Metal,
        inputs: [&ppkt_device::metal::MetalBuffer; 2],
        tracked: Tracked,
    ) -> candle_core::Result<crate::metal::PairOutcome<ppkt_device::metal::MetalBuffer>> {
        crate::metal::pooled_info_nce(gpu, self, inputs.map(|raw| (raw, raw.words() / self.dim)), tracked)
    }
}

/// Which rows belong to which of the kept segments.
pub(crate) struct Groups {
    pub(crate) points: Members,
    pub(crate) pixels: Members,
}

/// Rows by group: group `g` has `rows[starts[g]..starts[g + 1]]`, ascending.
pub(crate) struct Members {
    pub(crate) starts: Vec<usize>,
    pub(crate) rows: Vec<u32>,
}

impl Members {
    /// `groups[row]` is the group of a row, or `NO_SEGMENT`.
    pub(crate) fn new(groups: &[u32], n_groups: usize) -> Self {
        let mut starts = vec![0usize; n_groups + 1];
        for &g in groups.iter().filter(|&&g| g != SegmentedEmbeddings::NO_SEGMENT) {
            starts[g as usize + 1] += 1;
        }
        for g in 0..n_groups {
            starts[g + 1] += starts[g];
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; starts[n_groups]];
        for (row, &g) in groups.iter().enumerate() {
            if g != SegmentedEmbeddings::NO_SEGMENT {
                rows[next[g as usize]] = row as u32;
                next[g as usize] += 1;
            }
        }
        Self { starts, rows }
    }

    fn of(&self, group: usize) -> &[u32] {
        &self.rows[self.starts[group]..self.starts[group + 1]]
    }

    pub(crate) fn n_groups(&self) -> usize {
        self.starts.len() - 1
    }

    /// The group of each of `n` rows, or [`SegmentedEmbeddings::NO_SEGMENT`].
    pub(crate) fn group_of_row(&self, n: usize) -> Vec<u32> {
        let mut group_of = vec![SegmentedEmbeddings::NO_SEGMENT; n];
        for g in 0..self.n_groups() {
            self.of(g).iter().for_each(|&row| group_of[row as usize] = g as u32);
        }
        group_of
    }

    /// `[K, D]` mean of the unit rows of each group.
    fn means(&self, raw: &[f32], dim: usize) -> Vec<f32> {
        let mut means = vec![0f32; self.n_groups() * dim];
        means.par_chunks_exact_mut(dim).enumerate().for_each_init(
            Vec::new,
            |sum: &mut Vec<f64>, (g, mean)| {
                sum.clear();
                sum.resize(dim, 0.0);
                for &row in self.of(g) {
                    let row = &raw[row as usize * dim..][..dim];
                    let scale = 1.0 / length(row).max(SHORTEST);
                    sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x) * scale);
                }
                let divisor = self.of(g).len() as f64 + COUNT_EPSILON;
                mean.iter_mut().zip(sum).for_each(|(m, s)| *m = (*s / divisor) as f32);
            },
        );
        means
    }

    /// From the gradient by the means to that by the raw rows; rows without a group get zero.
    fn pull_back(&self, raw: &[f32], dim: usize, mean_grad: &[f32]) -> Vec<f32> {
        let group_of = self.group_of_row(raw.len() / dim);
        let mut grad = vec![0f32; raw.len()];
        let rows = grad.par_chunks_exact_mut(dim).zip(raw.par_chunks_exact(dim)).zip(&group_of);
        rows.for_each_init(Vec::new, |unit: &mut Vec<f32>, ((grad, row), &g)| {
            if g == SegmentedEmbeddings::NO_SEGMENT {
                return;
            }
            let g = g as usize;
            let (length, share) = (length(row), 1.0 / (self.of(g).len() as f64 + COUNT_EPSILON));
            let scale = 1.0 / length.max(SHORTEST);
            unit.clear();
            unit.extend(row.iter().map(|&x| (f64::from(x) * scale) as f32));
            let by_mean = &mean_grad[g * dim..(g + 1) * dim];
            grad.iter_mut().zip(by_mean).for_each(|(o, &m)| *o = (f64::from(m) * share) as f32);
            pull_back_row(grad, unit, length);
        });
        grad
    }
}

/// Checks the input and sorts points and pixels into the segments that have a pair, in order of view and id.
fn grouped(input: &SegmentedEmbeddings) -> Result<(Groups, usize), ObjectiveError> {
    let shape = |what, expected: String, got: Vec<usize>| ObjectiveError::Shape { what, expected, got };
    let &[v, h, w, dim] = input.feature_map.dims() else {
        let got = input.feature_map.dims().to_vec();
        return Err(shape("feature_map", "[V, H, W, D]".into(), got));
    };
    if input.point.dims() != [input.pixels.len(), dim] {
        let expected = format!("[{}, {dim}] (pairs, channels of the feature map)", input.pixels.len());
        return Err(shape("point", expected, input.point.dims().to_vec()));
    }
    if input.segments.len() != v * h * w {
        let expected = format!("[{v}, {h}, {w}], as the feature map has,");
        return Err(shape("segments", expected, vec![input.segments.len()]));
    }
    let (none, per_view) = (SegmentedEmbeddings::NO_SEGMENT, input.segments_per_view);
    if let Some(pixel) = input.segments.iter().position(|&s| s >= per_view && s != none) {
        let got = input.segments[pixel];
        return Err(ObjectiveError::Segment { pixel, got, segments_per_view: per_view });
    }

    // Ids unique over the batch, of which those with a pair are renumbered without gaps.
    let global = |pixel: usize| match input.segments[pixel] {
        id if id == none => None,
        id => Some((pixel / (h * w)) as u64 * u64::from(per_view) + u64::from(id)),
    };
    let mut segment_of_pair = Vec::with_capacity(input.pixels.len());
    for (pair, &got) in input.pixels.iter().enumerate() {
        let [view, row, col] = got.map(|i| i as usize);
        if view >= v || row >= h || col >= w {
            return Err(ObjectiveError::Pair { pair, got, views_height_width: [v, h, w] });
        }
        segment_of_pair.push(global((view * h + row) * w + col));
    }
    let mut kept: Vec<u64> = segment_of_pair.iter().copied().flatten().collect();
    kept.sort_unstable();
    kept.dedup();
    if kept.is_empty() {
        return Err(ObjectiveError::Empty { what: "the list of segments with a pair" });
    }
    // Looked up by halving and not in a table by id: ids may be few among very many.
    let slot_of = |segment: Option<u64>| {
        segment.and_then(|s| kept.binary_search(&s).ok()).map_or(none, |slot| slot as u32)
    };
    let of_pairs: Vec<u32> = segment_of_pair.into_iter().map(slot_of).collect();
    let of_pixels: Vec<u32> = (0..v * h * w).into_par_iter().map(|pixel| slot_of(global(pixel))).collect();
    let points = Members::new(&of_pairs, kept.len());
    let pixels = Members::new(&of_pixels, kept.len());
    Ok((Groups { points, pixels }, dim))
}

fn fused(
    point: &[f32],
    map: &[f32],
    dim: usize,
    temperature: f64,
    groups: &Groups,
    tracked: Tracked,
) -> Outcome {
    let (query, key) = (groups.points.means(point, dim), groups.pixels.means(map, dim));
    let [point_tracked, map_tracked] = tracked;
    let wanted = Wanted { query: point_tracked, key: map_tracked };
    let nce = nce(&query, &key, dim, temperature, wanted);
    let mut grads = [Vec::new(), Vec::new()];
    if point_tracked {
        grads[0] = groups.points.pull_back(point, dim, &nce.query_grad);
    }
    if map_tracked {
        grads[1] = groups.pixels.pull_back(map, dim, &nce.key_grad);
    }
    Outcome { loss: nce.loss, n_hits: nce.n_hits, grads }
}
