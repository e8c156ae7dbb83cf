//! Losses of classes: what a network is trained by once there are labels.

use candle_core::Tensor;
#[cfg(feature = "cuda")]
use ppkt_device::{cuda::CudaDevice, launch::View};
use rayon::prelude::*;

use crate::error::ObjectiveError;
use crate::fused::{RowsLoss, RowsOutcome, apply_one};
use crate::rows::checked;

/// Rows that one thread takes at a time; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1024;

/// Cross-entropy with class weights and label smoothing, plus the Lovász-softmax loss.
///
/// With `p` the softmax of a row's scores, `y` its class, `w` the weights, `ε` the smoothing and `C` classes:
///
/// ```text
/// CE = Σ_i [ (1 − ε) w_y (−log p_y) + ε/C Σ_c w_c (−log p_c) ] / Σ_i w_y
/// ```
///
/// as PyTorch's `cross_entropy`. The Lovász-softmax loss (Berman et al. 2018, arXiv 1705.08790) is the convex
/// extension of one minus the Jaccard index, averaged over the classes present:
///
/// ```text
/// LS = mean_c Σ_k e_(k) [ J(first k) − J(first k − 1) ],    e = |[y = c] − p_c| sorted downwards
/// ```
///
/// The loss is `CE + lovasz · LS`. Value and gradient are made together, in f64 sums of a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentationLoss {
    /// Weight of each class in the cross-entropy; empty for one each.
    pub class_weights: Vec<f32>,
    /// ε: share of the target that is spread over all classes, from 0 to below 1.
    pub label_smoothing: f64,
    /// Factor of the Lovász-softmax loss; 0 leaves it out.
    pub lovasz: f64,
}

impl Default for SegmentationLoss {
    /// Plain cross-entropy.
    fn default() -> Self {
        Self { class_weights: Vec::new(), label_smoothing: 0.0, lovasz: 0.0 }
    }
}

/// A loss over classes and what was learnt on the way.
#[derive(Debug, Clone)]
pub struct ClassLoss {
    /// A scalar that `backward` can be called on.
    pub value: Tensor,
    /// Rows with a label.
    pub n_labelled: usize,
    /// Rows whose own class has the highest score, a scalar on the device of the scores.
    n_right: Tensor,
}

impl ClassLoss {
    /// Share of the labelled rows whose own class has the highest score, from 0 to 1. Waits for the device.
    ///
    /// # Errors
    /// candle's, as of a device that has failed.
    pub fn accuracy(&self) -> candle_core::Result<f64> {
        Ok(f64::from(self.n_right.to_scalar::<f32>()?) / self.n_labelled as f64)
    }
}

impl SegmentationLoss {
    /// The loss of rows of scores, differentiable by them.
    ///
    /// A target of 0 is "unlabelled": its row counts nowhere and gets no gradient. Target `k` is column `k − 1`.
    ///
    /// # Shapes
    /// `logits`: `[N, C]`, f32, any real numbers. `targets`: N.
    ///
    /// # Errors
    /// If shapes do not fit, a target has no column, no row is labelled, or a score is not finite; on a GPU, where
    /// looking would make the host wait, the loss is not finite then.
    pub fn loss(&self, logits: &Tensor, targets: &[u16]) -> Result<ClassLoss, ObjectiveError> {
        let &[n, classes] = logits.dims() else {
            let expected = "[N, C]".into();
            return Err(ObjectiveError::Shape { what: "the scores", expected, got: logits.dims().to_vec() });
        };
        let logits = checked("the scores", logits)?;
        if targets.len() != n {
            return Err(ObjectiveError::Shape {
                what: "the list of targets",
                expected: format!("one for each of {n} rows"),
                got: vec![targets.len()],
            });
        }
        if !self.class_weights.is_empty() && self.class_weights.len() != classes {
            return Err(ObjectiveError::Shape {
                what: "the list of class weights",
                expected: format!("one for each of {classes} classes, or none"),
                got: vec![self.class_weights.len()],
            });
        }
        if let Some(row) = targets.iter().position(|&t| usize::from(t) > classes) {
            return Err(ObjectiveError::Target { row, got: targets[row], classes });
        }
        let labelled: Vec<u32> = (0..n as u32).filter(|&i| targets[i as usize] != 0).collect();
        if labelled.is_empty() {
            return Err(ObjectiveError::Empty { what: "the set of labelled rows" });
        }
        let n_labelled = labelled.len();
        let rows = LabelledRows { loss: self.clone(), classes, targets: targets.to_vec(), labelled };
        let (value, n_right) = apply_one(rows, &logits)?;
        Ok(ClassLoss { value, n_labelled, n_right })
    }

    /// Loss, number of rows with the right class on top, and the gradient by the scores.
    fn value_and_gradient(
        &self,
        logits: &[f32],
        classes: usize,
        targets: &[u16],
        labelled: &[u32],
    ) -> RowsOutcome {
        let column = |row: u32| usize::from(targets[row as usize]) - 1;
        // The probabilities of the labelled rows, one after another.
        let mut p = vec![0f32; labelled.len() * classes];
        let weights = |c: usize| self.class_weights.get(c).map_or(1.0, |w| f64::from(*w));
        let all: f64 = (0..classes).map(weights).sum();
        let smooth = self.label_smoothing / classes as f64;
        let sums: Vec<[f64; 3]> = p
            .par_chunks_mut(CHUNK * classes)
            .zip(labelled.par_chunks(CHUNK))
            .map(|(p, rows)| {
                let mut sum = [0.0; 3];
                for (p, &row) in p.chunks_exact_mut(classes).zip(rows) {
                    let scores = &logits[row as usize * classes..][..classes];
                    let log_sum = softmax(scores, p);
                    let y = column(row);
                    let minus_log = |c: usize| log_sum - f64::from(scores[c]);
                    sum[0] += (1.0 - self.label_smoothing) * weights(y) * minus_log(y);
                    if smooth > 0.0 {
                        sum[0] += smooth * (0..classes).map(|c| weights(c) * minus_log(c)).sum::<f64>();
                    }
                    sum[1] += weights(y);
                    sum[2] += f64::from(u8::from(top(scores) == y));
                }
                sum
            })
            .collect();
        let [entropy, weight, n_right] =
            sums.iter().fold([0.0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
        // Where every class present has weight zero, there is nothing to learn from.
        let scale = if weight > 0.0 { 1.0 / weight } else { 0.0 };
        let (lovasz, by_p) = match self.lovasz > 0.0 {
            true => lovasz_softmax(&p, classes, &labelled.iter().map(|&r| column(r)).collect::<Vec<_>>()),
            false => (0.0, Vec::new()),
        };
        let mut gradient = vec![0f32; logits.len()];
        let rows: Vec<Vec<f32>> = labelled
            .par_iter()
            .enumerate()
            .map(|(i, &row)| {
                let p = &p[i * classes..][..classes];
                let y = column(row);
                let share = (1.0 - self.label_smoothing) * weights(y);
                let by_p = by_p.get(i * classes..(i + 1) * classes);
                // d LS / d score_c = p_c (g_c − Σ_k g_k p_k)
                let mean = by_p.map_or(0.0, |g| g.iter().zip(p).map(|(g, p)| g * f64::from(*p)).sum::<f64>());
                (0..classes)
                    .map(|c| {
                        let q = f64::from(p[c]);
                        let target = if c == y { share } else { 0.0 } + smooth * weights(c);
                        let entropy = scale * (q * (share + smooth * all) - target);
                        let jaccard = by_p.map_or(0.0, |g| self.lovasz * q * (g[c] - mean));
                        (entropy + jaccard) as f32
                    })
                    .collect()
            })
            .collect();
        for (&row, values) in labelled.iter().zip(rows) {
            gradient[row as usize * classes..][..classes].copy_from_slice(&values);
        }
        let loss = scale * entropy + self.lovasz * lovasz;
        RowsOutcome { loss, n_right: n_right as usize, grad: gradient }
    }
}

/// The loss of rows with these targets.
pub(crate) struct LabelledRows {
    pub(crate) loss: SegmentationLoss,
    pub(crate) classes: usize,
    pub(crate) targets: Vec<u16>,
    /// Rows with a target, ascending.
    pub(crate) labelled: Vec<u32>,
}

impl RowsLoss for LabelledRows {
    fn name(&self) -> &'static str {
        "segmentation_loss"
    }

    fn on_cpu(&self, scores: &[f32]) -> RowsOutcome {
        self.loss.value_and_gradient(scores, self.classes, &self.targets, &self.labelled)
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(
        &self,
        gpu: &CudaDevice,
        scores: View<'_, f32>,
    ) -> candle_core::Result<crate::cuda::RowsOutcome<CudaDevice>> {
        crate::cuda::segmentation(gpu, self, scores)
    }

    #[cfg(feature = "metal")]
    fn on_metal(
        &self,
        gpu: &ppkt_device::metal::Metal,
        scores: &ppkt_device::metal::MetalBuffer,
    ) -> candle_core::Result<crate::metal::RowsOutcome<ppkt_device::metal::MetalBuffer>> {
        crate::metal::segmentation(gpu, self, scores)
    }
}

/// Softmax of a row into `p`; returns the logarithm of the sum of exponentials.
fn softmax(scores: &[f32], p: &mut [f32]) -> f64 {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|s| f64::from(s - highest).exp()).sum();
    for (p, s) in p.iter_mut().zip(scores) {
        *p = (f64::from(s - highest).exp() / sum) as f32;
    }
    f64::from(highest) + sum.ln()
}

/// Index of the highest score, of equals the first.
fn top(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, c| if scores[c] > scores[best] { c } else { best })
}

/// Value of the Lovász-softmax loss and its gradient by the probabilities.
pub(crate) fn lovasz_softmax(p: &[f32], classes: usize, targets: &[usize]) -> (f64, Vec<f64>) {
    let mut count = vec![0usize; classes];
    targets.iter().for_each(|&y| count[y] += 1);
    let n_present = count.iter().filter(|&&n| n > 0).count() as f64;
    let per_class: Vec<(f64, Vec<f64>)> = (0..classes)
        .into_par_iter()
        .map(|c| {
            if count[c] == 0 {
                return (0.0, Vec::new());
            }
            let error = |i: usize| {
                let p = p[i * classes + c];
                if targets[i] == c { 1.0 - p } else { p }
            };
            let mut order: Vec<u32> = (0..targets.len() as u32).collect();
            // Equal errors in the order of rows, so that the result does not depend on the sort.
            order.sort_unstable_by(|&a, &b| error(b as usize).total_cmp(&error(a as usize)).then(a.cmp(&b)));
            let (mut value, mut by_p) = (0.0, vec![0.0; targets.len()]);
            let (mut missed, mut wrong, mut before) = (0usize, 0usize, 0.0);
            for &i in &order {
                let i = i as usize;
                let own = targets[i] == c;
                if own {
                    missed += 1
                } else {
                    wrong += 1
                }
                let jaccard = 1.0 - (count[c] - missed) as f64 / (count[c] + wrong) as f64;
                let step = jaccard - before;
                before = jaccard;
                value += f64::from(error(i)) * step;
                by_p[i] = if own { -step } else { step } / n_present;
            }
            (value / n_present, by_p)
        })
        .collect();
    let value = per_class.iter().map(|(v, _)| v).sum();
    let mut by_p = vec![0.0; p.len()];
    for (c, (_, column)) in per_class.iter().enumerate() {
        for (i, g) in column.iter().enumerate() {
            by_p[i * classes + c] = *g;
        }
    }
    (value, by_p)
}
