//! Losses of classes against their definitions in f64, and their gradients against finite differences.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use common::{flat, noise, var};
use ppkt_objective::{ClassLoss, ObjectiveError, SegmentationLoss};

fn probabilities(scores: &[f32]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|s| f64::from(*s).exp()).sum();
    scores.iter().map(|s| f64::from(*s).exp() / sum).collect()
}

/// PyTorch's documented formula, term by term.
fn cross_entropy(loss: &SegmentationLoss, scores: &[f32], classes: usize, targets: &[u16]) -> f64 {
    let weight = |c: usize| loss.class_weights.get(c).map_or(1.0, |w| f64::from(*w));
    let (mut sum, mut weights) = (0.0, 0.0);
    for (row, &target) in scores.chunks(classes).zip(targets) {
        let Some(y) = usize::from(target).checked_sub(1) else { continue };
        let p = probabilities(row);
        sum -= (1.0 - loss.label_smoothing) * weight(y) * p[y].ln();
        sum -=
            (0..classes).map(|c| loss.label_smoothing / classes as f64 * weight(c) * p[c].ln()).sum::<f64>();
        weights += weight(y);
    }
    sum / weights
}

/// The Jaccard loss of a set of mistakes `m` for a class with pixels `own`: `|m| / |own ∪ m|`.
fn jaccard_loss(own: &BTreeSet<usize>, mistakes: &BTreeSet<usize>) -> f64 {
    let union = own.union(mistakes).count();
    if union == 0 { 0.0 } else { mistakes.len() as f64 / union as f64 }
}

/// The extension by its definition over sets, with nothing of the closed form of the implementation.
fn lovasz(scores: &[f32], classes: usize, targets: &[u16]) -> f64 {
    let rows: Vec<(Vec<f64>, usize)> = scores
        .chunks(classes)
        .zip(targets)
        .filter(|(_, t)| **t != 0)
        .map(|(row, t)| (probabilities(row), usize::from(*t) - 1))
        .collect();
    let mut losses = Vec::new();
    for c in 0..classes {
        let own: BTreeSet<usize> = (0..rows.len()).filter(|&i| rows[i].1 == c).collect();
        if own.is_empty() {
            continue;
        }
        let error = |i: usize| (f64::from(u8::from(own.contains(&i))) - rows[i].0[c]).abs();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| error(b).total_cmp(&error(a)));
        let (mut set, mut before, mut loss) = (BTreeSet::new(), 0.0, 0.0);
        for i in order {
            set.insert(i);
            let now = jaccard_loss(&own, &set);
            loss += error(i) * (now - before);
            before = now;
        }
        losses.push(loss);
    }
    losses.iter().sum::<f64>() / losses.len() as f64
}

fn of(loss: &SegmentationLoss, scores: &[f32], classes: usize, targets: &[u16]) -> ClassLoss {
    let logits = Tensor::from_slice(scores, (targets.len(), classes), &Device::Cpu).unwrap();
    loss.loss(&logits, targets).unwrap()
}

fn value(loss: &ClassLoss) -> f64 {
    f64::from(loss.value.to_scalar::<f32>().unwrap())
}

/// Targets from 0 (unlabelled) on; the last class never comes.
fn targets(n: usize, classes: usize) -> Vec<u16> {
    (0..n).map(|i| ((i * 7 + i / 3) % classes) as u16).collect()
}

fn kinds(classes: usize) -> Vec<SegmentationLoss> {
    let weights: Vec<f32> = (0..classes).map(|c| 0.5 + c as f32).collect();
    vec![
        SegmentationLoss::default(),
        SegmentationLoss { class_weights: weights.clone(), ..Default::default() },
        SegmentationLoss { label_smoothing: 0.1, ..Default::default() },
        SegmentationLoss { lovasz: 1.0, ..Default::default() },
        SegmentationLoss { class_weights: weights, label_smoothing: 0.2, lovasz: 0.7 },
    ]
}

#[test]
fn values_are_those_of_the_definitions() {
    for (n, classes) in [(5, 2), (60, 5), (3000, 14)] {
        let scores: Vec<f32> = noise(n * classes, 3).iter().map(|s| 4.0 * s).collect();
        let targets = targets(n, classes);
        for loss in kinds(classes) {
            let want = cross_entropy(&loss, &scores, classes, &targets)
                + loss.lovasz * lovasz(&scores, classes, &targets);
            let got = value(&of(&loss, &scores, classes, &targets));
            assert!((got - want).abs() < 1e-5 * want.max(1.0), "{loss:?} {n}x{classes}: {got} and {want}");
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    const STEP: f32 = 3e-3;
    let (n, classes) = (40, 6);
    let scores = noise(n * classes, 5);
    let targets = targets(n, classes);
    for loss in kinds(classes) {
        let input = var(&scores, &[n, classes]);
        let grads = loss.loss(&input, &targets).unwrap().value.backward().unwrap();
        let grad = flat(grads.get(&input).unwrap());
        let mut seen = 0;
        for i in (0..n * classes).step_by(7) {
            let at = |step: f32| {
                let mut moved = scores.clone();
                moved[i] += step;
                // The difference is taken of the definitions, which are in f64 and have no rounding to hide behind.
                cross_entropy(&loss, &moved, classes, &targets)
                    + loss.lovasz * lovasz(&moved, classes, &targets)
            };
            let want = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            // Where two errors change their order within the step, the Lovász extension has a kink.
            let kink = (at(STEP) - 2.0 * at(0.0) + at(-STEP)).abs() > 1e-6;
            if !kink {
                seen += 1;
                let got = f64::from(grad[i]);
                assert!((got - want).abs() < 2e-5 + 1e-3 * want.abs(), "{loss:?} [{i}]: {got} and {want}");
            }
        }
        assert!(seen > 10, "{loss:?}: only {seen} places without a kink");
        let unlabelled = targets.iter().position(|&t| t == 0).unwrap();
        assert!(grad[unlabelled * classes..][..classes].iter().all(|g| *g == 0.0));
    }
}

#[test]
fn a_scaled_loss_has_a_scaled_gradient() {
    let (scores, targets) = (noise(30, 1), targets(10, 3));
    let gradient = |factor: f64| {
        let input = var(&scores, &[10, 3]);
        let loss = SegmentationLoss { lovasz: 1.0, ..Default::default() }.loss(&input, &targets).unwrap();
        flat(loss.value.affine(factor, 0.0).unwrap().backward().unwrap().get(&input).unwrap())
    };
    let (one, half) = (gradient(1.0), gradient(0.5));
    assert!(one.iter().any(|g| *g != 0.0));
    assert!(one.iter().zip(&half).all(|(a, b)| (0.5 * a - b).abs() < 1e-7));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (n, classes) = (5000, 9);
    let (scores, targets) = (noise(n * classes, 8), targets(n, classes));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let input = var(&scores, &[n, classes]);
            let loss = SegmentationLoss { lovasz: 1.0, label_smoothing: 0.1, ..Default::default() };
            let loss = loss.loss(&input, &targets).unwrap();
            (value(&loss), flat(loss.value.backward().unwrap().get(&input).unwrap()))
        })
    };
    let one = run(1);
    assert!((2..=4).all(|threads| run(threads) == one));
}

#[test]
fn accuracy_counts_labelled_rows_and_ties_go_to_the_first_class() {
    let scores = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 9.0];
    let loss = of(&SegmentationLoss::default(), &scores, 2, &[1, 1, 1, 0]);
    assert_eq!((loss.n_labelled, loss.accuracy().unwrap()), (3, 2.0 / 3.0));
}

#[test]
fn what_cannot_be_is_named() {
    let loss = SegmentationLoss::default();
    let logits = Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let fault = |targets: &[u16]| loss.loss(&logits, targets).unwrap_err().to_string();
    assert!(fault(&[1, 2]).contains("one for each of 3 rows"));
    assert!(fault(&[1, 2, 3]).contains("row 2") && fault(&[1, 2, 3]).contains("only 2 classes"));
    assert!(fault(&[0, 0, 0]).contains("labelled rows"));
    let weighted = SegmentationLoss { class_weights: vec![1.0; 3], ..Default::default() };
    assert!(matches!(weighted.loss(&logits, &[1, 1, 1]), Err(ObjectiveError::Shape { .. })));
    let nan = Tensor::new(&[[f32::NAN, 0.0]], &Device::Cpu).unwrap();
    assert!(matches!(loss.loss(&nan, &[1]), Err(ObjectiveError::NotFinite { row: 0, .. })));
    // Scores whose exponentials overflow are no fault.
    let large = of(&loss, &[1000.0, -1000.0], 2, &[1]);
    assert_eq!(value(&large), 0.0);
}
