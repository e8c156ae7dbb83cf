//! Objectives without negatives: how far a point is from its own pixel, and nothing else.
//!
//! They are cheap and need no temperature, but nothing keeps embeddings apart: with both sides trained, everything
//! may collapse to one point (see [`Loss::retrieval_at_1`]). They are the usual baselines, and distillation losses
//! where the pixel side is fixed.

#[cfg(feature = "cuda")]
use ppkt_device::{cuda::CudaDevice, launch::View};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::PairOutcome;
use crate::embeddings::{Embeddings, Loss, Objective};
use crate::error::ObjectiveError;
use crate::fused::{Outcome, PairLoss, Tracked, apply};
use crate::retrieval::ranks;
use crate::rows::{SHORTEST, checked_pair};

/// Mean Euclidean distance between the unit rows of a pair: `1/M Σ |p_i − q_i|`.
///
/// Where the two are equal the distance has a corner; the gradient there is taken as zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct L2;

/// Mean of `1 − cos` between the rows of a pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cosine;

/// As [`Cosine`], after the mean of the batch was taken off each raw side.
///
/// What all pixels of a teacher have in common, often a few strong channels, then neither helps nor hides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CentredCosine;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    L2,
    Cosine,
    CentredCosine,
}

impl Objective for L2 {
    fn name(&self) -> &str {
        "l2"
    }

    fn loss(&self, embeddings: &Embeddings) -> Result<Loss, ObjectiveError> {
        pairwise("l2", Kind::L2, embeddings)
    }
}

impl Objective for Cosine {
    fn name(&self) -> &str {
        "cosine"
    }

    fn loss(&self, embeddings: &Embeddings) -> Result<Loss, ObjectiveError> {
        pairwise("cosine", Kind::Cosine, embeddings)
    }
}

impl Objective for CentredCosine {
    fn name(&self) -> &str {
        "centred_cosine"
    }

    fn loss(&self, embeddings: &Embeddings) -> Result<Loss, ObjectiveError> {
        pairwise("centred_cosine", Kind::CentredCosine, embeddings)
    }
}

fn pairwise(name: &'static str, kind: Kind, embeddings: &Embeddings) -> Result<Loss, ObjectiveError> {
    let (point, pixel, [n_rows, dim]) = checked_pair(&embeddings.point, &embeddings.pixel)?;
    apply(Distance { name, kind, n_rows, dim }, [&point, &pixel])
}

/// The loss of rows of one width.
pub(crate) struct Distance {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) n_rows: usize,
    pub(crate) dim: usize,
}

impl PairLoss for Distance {
    fn name(&self) -> &'static str {
        self.name
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn on_cpu(&self, [point, pixel]: [&[f32]; 2], tracked: Tracked) -> Outcome {
        let Self { kind, dim, .. } = *self;
        // f64 throughout: this is a few passes over M·D values, next to nothing beside the retrieval.
        let mut sides = [point, pixel].map(|raw| Side::new(raw, dim, kind == Kind::CentredCosine));
        let n_hits = {
            let [p, q] = sides.each_ref().map(|s| s.unit.iter().map(|&x| x as f32).collect::<Vec<f32>>());
            ranks(&p, &q, dim).iter().filter(|&&r| r == 0).count()
        };
        let loss = loss_and_unit_grads(kind, dim, &mut sides);
        let mut grads = [Vec::new(), Vec::new()];
        for ((grad, side), tracked) in grads.iter_mut().zip(sides).zip(tracked) {
            if tracked {
                *grad = side.raw_grad(dim, kind == Kind::CentredCosine);
            }
        }
        Outcome { loss, n_hits, grads }
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(
        &self,
        gpu: &CudaDevice,
        inputs: [View<'_, f32>; 2],
        tracked: Tracked,
    ) -> candle_core::Result<PairOutcome<CudaDevice>> {
        crate::cuda::distance(gpu, self, inputs, tracked)
    }

    #[cfg(feature = "metal")]
    fn on_metal(
        &self,
        gpu: &ppkt_device::metal::Metal,
        inputs: [&ppkt_device::metal::MetalBuffer; 2],
        tracked: Tracked,
    ) -> candle_core::Result<crate::metal::PairOutcome<ppkt_device::metal::MetalBuffer>> {
        crate::metal::distance(gpu, self, inputs, tracked)
    }
}

/// One side of the pairs: its unit rows, and the gradient by these.
struct Side {
    unit: Vec<f64>,
    lengths: Vec<f64>,
    grad: Vec<f64>,
}

impl Side {
    fn new(raw: &[f32], dim: usize, centred: bool) -> Self {
        let mut unit: Vec<f64> = raw.iter().map(|&x| f64::from(x)).collect();
        if centred {
            take_off_mean(&mut unit, dim);
        }
        let mut lengths = vec![0f64; raw.len() / dim];
        unit.par_chunks_exact_mut(dim).zip(&mut lengths).for_each(|(row, length)| {
            *length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            let divisor = length.max(SHORTEST);
            row.iter_mut().for_each(|x| *x /= divisor);
        });
        let grad = vec![0f64; raw.len()];
        Self { unit, lengths, grad }
    }

    /// From the gradient by the unit rows to that by the raw rows.
    fn raw_grad(mut self, dim: usize, centred: bool) -> Vec<f32> {
        let rows = self.grad.par_chunks_exact_mut(dim).zip(self.unit.par_chunks_exact(dim));
        rows.zip(&self.lengths).for_each(|((g, y), &length)| {
            // No direction, no gradient: see `rows::pull_back_row`.
            if length < SHORTEST {
                return g.fill(0.0);
            }
            let along: f64 = g.iter().zip(y).map(|(g, y)| g * y).sum();
            g.iter_mut().zip(y).for_each(|(g, y)| *g = (*g - y * along) / length);
        });
        if centred {
            take_off_mean(&mut self.grad, dim);
        }
        self.grad.iter().map(|&g| g as f32).collect()
    }
}

/// Subtracts the mean row; its own transpose, so it serves the gradient as well.
fn take_off_mean(rows: &mut [f64], dim: usize) {
    let n = (rows.len() / dim) as f64;
    let mut mean = vec![0f64; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / n);
    }
    for row in rows.chunks_exact_mut(dim) {
        row.iter_mut().zip(&mean).for_each(|(x, m)| *x -= m);
    }
}

/// The loss; fills in the gradients by the unit rows.
fn loss_and_unit_grads(kind: Kind, dim: usize, sides: &mut [Side; 2]) -> f64 {
    let [p, q] = sides;
    let n = p.lengths.len();
    let weight = 1.0 / n as f64;
    let units = p.unit.par_chunks_exact(dim).zip(q.unit.par_chunks_exact(dim));
    let grads = p.grad.par_chunks_exact_mut(dim).zip(q.grad.par_chunks_exact_mut(dim));
    // Collected in row order before adding up, so that the sum is the same for any number of threads.
    let losses: Vec<f64> =
        units.zip(grads).map(|((p, q), (dp, dq))| row_loss(kind, weight, [p, q], [dp, dq])).collect();
    losses.iter().sum::<f64>() * weight
}

/// The loss of one pair of unit rows; fills in its gradients, times `weight`.
fn row_loss(kind: Kind, weight: f64, [p, q]: [&[f64]; 2], [dp, dq]: [&mut [f64]; 2]) -> f64 {
    let values = p.iter().zip(q).zip(dp.iter_mut().zip(dq));
    match kind {
        Kind::L2 => {
            let distance = p.iter().zip(q).map(|(p, q)| (p - q) * (p - q)).sum::<f64>().sqrt();
            let scale = if distance > SHORTEST { weight / distance } else { 0.0 };
            for ((p, q), (dp, dq)) in values {
                *dp = (p - q) * scale;
                *dq = -*dp;
            }
            distance
        }
        Kind::Cosine | Kind::CentredCosine => {
            for ((p, q), (dp, dq)) in values {
                *dp = -q * weight;
                *dq = -p * weight;
            }
            1.0 - p.iter().zip(q).map(|(p, q)| p * q).sum::<f64>()
        }
    }
}
