//! Cross-entropy and the Lovász term on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, grid, kernel_source, word};

use super::RowsOutcome;
use super::lovasz::Lovasz;
use crate::segmentation::LabelledRows;

pub(crate) static SEGMENTATION: KernelSource = kernel_source!("segmentation");

/// The loss over rows whose targets the host knows.
pub(crate) fn segmentation<G: Compute>(
    gpu: &G,
    rows: &LabelledRows,
    scores: &G::Buffer,
) -> Result<RowsOutcome<G::Buffer>> {
    let LabelledRows { loss, classes, targets, labelled } = rows;
    let n = targets.len();
    let weights: Vec<f32> =
        (0..*classes).map(|c| loss.class_weights.get(c).copied().unwrap_or(1.0)).collect();
    let of_class = |&row: &u32| f64::from(weights[usize::from(targets[row as usize]) - 1]);
    let of_rows: f64 = labelled.iter().map(of_class).sum();
    // Where every class present has weight zero, there is nothing to learn from.
    let scale = if of_rows > 0.0 { 1.0 / of_rows } else { 0.0 };
    let parameters = [
        word(n),
        word(*classes),
        (loss.label_smoothing as f32).to_bits(),
        weights.iter().sum::<f32>().to_bits(),
        (scale as f32).to_bits(),
        (loss.lovasz as f32).to_bits(),
    ];
    let target_words: Vec<u32> = targets.iter().map(|&t| u32::from(t)).collect();
    let weight_words: Vec<u32> = weights.iter().map(|w| w.to_bits()).collect();
    let (of_rows, grad) = (gpu.buffer(n * 2)?, gpu.buffer(n * classes)?);
    let buffers = [scores, &gpu.upload(&target_words)?, &gpu.upload(&weight_words)?, &of_rows, &grad];
    gpu.run(&SEGMENTATION, "entropy", grid(n.div_ceil(256)), &buffers, &parameters)?;
    let sums = column_sums(gpu, &of_rows, n, 2)?;
    let jaccard = if loss.lovasz > 0.0 {
        let own: Vec<u32> = labelled.iter().map(|&row| u32::from(targets[row as usize]) - 1).collect();
        let lovasz = Lovasz::new(gpu, *classes, labelled, &own, loss.lovasz)?;
        let probability = lovasz.probabilities(scores)?;
        let steps = lovasz.steps(&probability)?;
        lovasz.add_gradient(&probability, &steps.by_probability, &grad)?;
        steps.loss
    } else {
        gpu.upload(&[0])?
    };
    let (value, n_right) = (gpu.buffer(1)?, gpu.buffer(1)?);
    let buffers = [&sums, &jaccard, &value, &n_right];
    gpu.run(&SEGMENTATION, "finish", [1, 1, 1], &buffers, &parameters)?;
    Ok(RowsOutcome { loss: value, n_right, grad })
}
