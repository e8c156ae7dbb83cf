//! The paper's objective.
#[cfg(feature = "cuda")]
use ppkt_device::{cuda::CudaDevice, launch::View};

#[cfg(feature = "cuda")]
use crate::cuda::PairOutcome;
use crate::embeddings::{Embeddings, Loss, Objective};
use crate::error::ObjectiveError;
use crate::fused::{Outcome, PairLoss, Tracked, apply};
use crate::nce::{Wanted, nce};
use crate::rows::{UnitRows, checked_pair};

/// Pixel-to-point InfoNCE, "PPNCE" (Liu et al. 2021, arXiv 2104.04687).
///
/// ```text
/// L = −1/M Σ_i log ( exp(p_i · q_i / τ) / Σ_j exp(p_i · q_j / τ) )
/// ```
///
/// with unit rows `p` (points) and `q` (pixels): a point is the query, the pixels of the other pairs are the
/// negatives. The similarity matrix is never whole in memory, and the gradients are made in the forward pass.
///
/// Prefer [`PooledInfoNce`](crate::PooledInfoNce) where many pairs see one object and would be each other's false
/// negatives, as in driving scenes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InfoNce {
    /// τ: 0.04 in the paper, 0.07 in most of its descendants. Lower is sharper.
    pub temperature: f64,
    /// Whether the loss is the mean of the above and of its mirror image, where a pixel is the query and the other
    /// points are the negatives. Costs twice the time.
    pub symmetric: bool,
}

impl Default for InfoNce {
    /// The paper's: temperature 0.04, not symmetric.
    fn default() -> Self {
        Self { temperature: 0.04, symmetric: false }
    }
}

/// A temperature whose inverse is finite in f32.
pub(crate) fn checked_temperature(temperature: f64) -> Result<f64, ObjectiveError> {
    let usable = temperature > 0.0 && temperature.is_finite() && ((1.0 / temperature) as f32).is_finite();
    if usable { Ok(temperature) } else { Err(ObjectiveError::Temperature { got: temperature }) }
}

impl Objective for InfoNce {
    fn name(&self) -> &str {
        "info_nce"
    }

    fn loss(&self, embeddings: &Embeddings) -> Result<Loss, ObjectiveError> {
        let Embeddings { point, pixel } = embeddings;
        let (point, pixel, [n_rows, dim]) = checked_pair(point, pixel)?;
        let temperature = checked_temperature(self.temperature)?;
        apply(Fused { n_rows, dim, temperature, symmetric: self.symmetric }, [&point, &pixel])
    }
}

/// The loss of rows of one width.
pub(crate) struct Fused {
    pub(crate) n_rows: usize,
    pub(crate) dim: usize,
    pub(crate) temperature: f64,
    pub(crate) symmetric: bool,
}

impl PairLoss for Fused {
    fn name(&self) -> &'static str {
        "info_nce"
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn on_cpu(&self, [point, pixel]: [&[f32]; 2], tracked: Tracked) -> Outcome {
        fused(point, pixel, self.dim, self.temperature, self.symmetric, tracked)
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(
        &self,
        gpu: &CudaDevice,
        inputs: [View<'_, f32>; 2],
        tracked: Tracked,
    ) -> candle_core::Result<PairOutcome<CudaDevice>> {
        crate::cuda::info_nce(gpu, self, inputs, tracked)
    }

    #[cfg(feature = "metal")]
    fn on_metal(
        &self,
        gpu: &ppkt_device::metal::Metal,
        inputs: [&ppkt_device::metal::MetalBuffer; 2],
        tracked: Tracked,
    ) -> candle_core::Result<crate::metal::PairOutcome<ppkt_device::metal::MetalBuffer>> {
        crate::metal::info_nce(gpu, self, inputs, tracked)
    }
}

fn fused(
    point: &[f32],
    pixel: &[f32],
    dim: usize,
    temperature: f64,
    symmetric: bool,
    tracked: Tracked,
) -> Outcome {
    let (p, q) = (UnitRows::of(point, dim), UnitRows::of(pixel, dim));
    let [query, key] = tracked;
    let one = nce(&p.values, &q.values, dim, temperature, Wanted { query, key });
    let (mut loss, mut grads) = (one.loss, [one.query_grad, one.key_grad]);
    if symmetric {
        let wanted = Wanted { query: key, key: query };
        let two = nce(&q.values, &p.values, dim, temperature, wanted);
        loss = (loss + two.loss) / 2.0;
        for (grad, other) in grads.iter_mut().zip([two.key_grad, two.query_grad]) {
            for (g, o) in grad.iter_mut().zip(other) {
                *g = (*g + o) / 2.0;
            }
        }
    }
    let [point_grad, pixel_grad] = &mut grads;
    p.pull_back(point_grad);
    q.pull_back(pixel_grad);
    Outcome { loss, n_hits: one.n_hits, grads }
}
