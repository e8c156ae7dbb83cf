//! Section `profile`: where the time of a whole training step goes.
//!
//! A step is run as it is, while the network's tape notes how long each of its operations takes
//! ([`ppkt_sparse::tape_spans`]); the times of one step add up to the step, and what is in none of them (candle's
//! graph, the gradient of the loss, memory that is freed) is shown as the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use ppkt_sparse::{CoordinateManager, TapeSpan, TapeStep};
use serde::{Deserialize, Serialize};

use super::case::Work;
use super::clock::{self, Effort};
use super::input::Inputs;
use super::net::{CLASSES, CONFIG, StepParts, Training};
use super::network::{After, Kind, Layer, coarsen, layers};

/// Bytes of an f32.
const F32: f64 = 4.0;

/// An operation of the step, with all its occurrences in one stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// Part of the network.
    pub(super) stage: String,
    /// What is done.
    pub(super) operation: String,
    /// Seconds of all occurrences.
    pub(super) seconds: f64,
    /// Work of all occurrences; none where counting it says nothing.
    pub(super) work: Work,
}

/// The step and its operations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Profile {
    /// What it was measured on.
    pub(super) input: String,
    /// Threads that computed.
    pub(super) threads: usize,
    /// Seconds of the whole step.
    pub(super) whole: f64,
    /// Its operations, in the order of the forward pass.
    pub(super) rows: Vec<Row>,
}

/// Measures a training step of about so many voxels.
pub(super) fn measure(inputs: &Inputs, voxels: usize) -> Result<Profile> {
    let set = inputs.voxels(voxels)?;
    let mut training = Training::new(set.coords)?;
    let mut steps = Vec::new();
    let samples = clock::sample(Effort::new(false), || {
        steps.push(training.step_in_parts()?);
        Ok(())
    })?;
    // The one in the middle, so that its parts add up; what was run before the samples was to warm up.
    let middle = clock::quiet_median(&samples);
    let off = |(_, sample): &(_, &clock::Sample)| (sample.seconds - middle).abs();
    let sampled = steps.split_off(steps.len() - samples.len()).into_iter().zip(&samples);
    let (step, _) = sampled.min_by(|a, b| off(a).total_cmp(&off(b))).context("no sample")?;
    let rows = rows(&step, &training)?;
    Ok(Profile { input: set.name, threads: rayon::current_num_threads(), whole: step.whole, rows })
}

/// What each part of a step did, equal operations of a stage together.
fn rows(step: &StepParts, training: &Training) -> Result<Vec<Row>> {
    let input = training.input()?;
    let manager = input.manager();
    coarsen(manager)?;
    let spans = || step.forward_spans.iter().chain(&step.backward_spans);
    let sum = |wanted: &dyn Fn(&TapeSpan) -> bool| spans().filter(|s| wanted(s)).map(|s| s.seconds).sum();
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |stage: &str, operation: &str, seconds: f64, work: Work| match rows
        .iter_mut()
        .find(|r| r.stage == stage && r.operation == operation)
    {
        Some(row) => (row.seconds, row.work) = (row.seconds + seconds, row.work + work),
        None => rows.push(Row { stage: stage.into(), operation: operation.into(), seconds, work }),
    };
    let maps: f64 = sum(&|s| s.step == TapeStep::Map);
    const MAPS: &str = "sort and kernel maps";
    add(MAPS, MAPS, step.sort + maps, map_work(manager)?);
    for (unit, layer) in layers(&CONFIG).iter().enumerate() {
        let steps: BTreeSet<TapeStep> = spans().filter(|s| s.unit == unit).map(|s| s.step).collect();
        for kind in steps.into_iter().filter(|&kind| kind != TapeStep::Map) {
            let of_it = |s: &TapeSpan| s.unit == unit && s.step == kind;
            let times = spans().filter(|s| of_it(s)).count();
            let (operation, work) = work(layer, kind, times, manager)?;
            add(&layer.stage, &operation, sum(&of_it), work);
        }
    }
    let scores = F32 * (input.len() * CLASSES) as f64;
    add("cross-entropy", "cross-entropy", step.loss, Work::new(0.0, 2.0 * scores));
    let parameters = training.parameters() as f64;
    // Weight, gradient and momentum are read, weight and momentum written.
    add("SGD", "SGD", step.update, Work::new(0.0, 5.0 * F32 * parameters));
    let noted = |spans: &[TapeSpan]| spans.iter().map(|s| s.seconds).sum::<f64>();
    let forward = step.forward - noted(&step.forward_spans);
    add("rest, forward", "rest, forward", forward, Work::default());
    let backward = step.backward - noted(&step.backward_spans);
    const BACKWARD: &str = "rest, backward, with the gradient of the loss";
    add(BACKWARD, BACKWARD, backward, Work::default());
    Ok(rows)
}

/// Keys and rows of voxels that are sorted, and pairs of all maps that are written.
fn map_work(manager: &Arc<CoordinateManager>) -> Result<Work> {
    let needed: BTreeSet<_> =
        layers(&CONFIG).iter().filter(|l| l.kind != Kind::Pointwise).map(|l| (l.stride, l.spec())).collect();
    let mut pairs = 0;
    for (stride, spec) in needed {
        pairs += manager.kernel_map(stride, spec)?.n_pairs();
    }
    let voxels = manager.coarser(1, 1)?.len();
    Ok(Work::new(0.0, voxels as f64 * 44.0 + pairs as f64 * 5.0))
}

/// Name and work of what a tape did `times` times for a layer.
fn work(
    layer: &Layer,
    step: TapeStep,
    times: usize,
    manager: &Arc<CoordinateManager>,
) -> Result<(String, Work)> {
    let product = layer.work(manager)?;
    let convolution = match layer.kind {
        Kind::SubManifold => "convolution",
        Kind::Strided => "strided convolution",
        Kind::Transposed => "transposed convolution",
        Kind::Pointwise => "linear",
    };
    let norm = match layer.after {
        After::Nothing => "",
        After::Norm => "norm",
        After::NormRelu => "norm, ReLU",
        After::NormAddRelu => "norm, add, ReLU",
    };
    let residual = if layer.after == After::NormAddRelu { 1.0 } else { 0.0 };
    let array = F32 * (layer.rows(manager)?.1 * layer.cout) as f64;
    let arrays = |n: f64| Work::new(0.0, n * array);
    let again = times as f64;
    Ok(match step {
        TapeStep::Map => ("kernel map".into(), Work::default()),
        TapeStep::Convolution => (format!("{convolution}, forward"), product),
        TapeStep::ConvolutionAgain => (format!("{convolution}, forward again"), product * again),
        TapeStep::WeightGradient => (format!("{convolution}, gradient of weights"), product),
        // For two inputs side by side two products of a part each.
        TapeStep::FeatureGradient => (format!("{convolution}, gradient of features"), product),
        TapeStep::BiasGradient => (format!("{convolution}, gradient of the bias"), arrays(1.0)),
        // Read for the moments, read again, written.
        TapeStep::Norm => (format!("{norm}, forward"), arrays(3.0 + residual)),
        TapeStep::NormAgain => (format!("{norm}, forward again"), arrays(2.0 + residual) * again),
        // The input and the gradient are read for their sums and again, and the gradient is written.
        TapeStep::NormGradient => (format!("{norm}, backward"), arrays(5.0 + residual)),
        TapeStep::ResidualGradient => ("gradient of the residual, added".into(), arrays(3.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_units_are_the_layers() {
        let coords: Vec<[i32; 4]> =
            (0..40).flat_map(|a| (0..40).flat_map(move |b| [[0, a, b, 0], [0, a, 0, b + 1]])).collect();
        let mut training = Training::new(coords).unwrap();
        let step = training.step_in_parts().unwrap();
        let layers = layers(&CONFIG);
        let has = |spans: &[TapeSpan], unit, step| spans.iter().any(|s| s.unit == unit && s.step == step);
        for (unit, layer) in layers.iter().enumerate() {
            let (forward, backward) = (&step.forward_spans, &step.backward_spans);
            assert!(has(forward, unit, TapeStep::Convolution), "{layer:?}");
            assert_eq!(has(forward, unit, TapeStep::Norm), layer.after != After::Nothing, "{layer:?}");
            assert_eq!(has(backward, unit, TapeStep::BiasGradient), layer.after == After::Nothing);
            assert_eq!(has(backward, unit, TapeStep::FeatureGradient), !layer.first, "{layer:?}");
            assert!(has(backward, unit, TapeStep::WeightGradient), "{layer:?}");
            // Products of few numbers are run again, and those of one matrix a row are the smallest.
            if layer.kind == Kind::Pointwise && layer.after == After::Norm && layer.cin <= 256 {
                assert!(has(backward, unit, TapeStep::ConvolutionAgain), "{layer:?}");
            }
            if layer.kind == Kind::SubManifold && layer.cin >= 96 && layer.stride < 4 {
                assert!(!has(backward, unit, TapeStep::ConvolutionAgain), "{layer:?}");
            }
        }
        assert!(step.forward_spans.iter().all(|s| s.unit < layers.len()));
        let rows = rows(&step, &training).unwrap();
        assert!(rows.iter().all(|r| r.seconds >= 0.0), "{rows:?}");
        let sum: f64 = rows.iter().map(|r| r.seconds).sum();
        // All but what was freed at the end.
        assert!(sum <= step.whole && sum > 0.7 * step.whole, "{sum} of {}", step.whole);
    }
}
