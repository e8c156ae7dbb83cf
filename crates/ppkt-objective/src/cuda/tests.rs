//! Launchers over emulated kernels, held against the CPU's losses.

use ppkt_device::launch::{Memory, View};
use ppkt_testkit::{EmulatedGpu, assert_close};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{PairOutcome, RowsOutcome};
use crate::distance::{Distance, Kind};
use crate::fused::{PairLoss, RowsLoss, Tracked};
use crate::info_nce;
use crate::pooled::{self, Groups, Members};
use crate::segmentation::{LabelledRows, SegmentationLoss};

/// What f32 sums in another order may differ by.
const TOLERANCE: f64 = 1e-5;

/// All kernels of the losses; `None` where there is no C++ compiler.
fn gpu() -> Option<EmulatedGpu> {
    EmulatedGpu::new("src/cuda")
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// One pair has nothing to be confused with: the CPU's exponentials end at 1e-38, and a GPU's at 0.
fn same(what: &str, got: &[f32], want: &[f64]) {
    let nothing = got.iter().all(|v| v.abs() < 1e-30) && want.iter().all(|v| v.abs() < 1e-30);
    if !nothing {
        assert_close(what, got, want, TOLERANCE);
    }
}

/// Holds what a launcher left against what the CPU gives.
fn compare<L: PairLoss>(
    what: &str,
    gpu: &EmulatedGpu,
    loss: &L,
    inputs: [&[f32]; 2],
    tracked: Tracked,
    on_gpu: impl Fn(&EmulatedGpu, [View<'_, f32>; 2]) -> candle_core::Result<PairOutcome<EmulatedGpu>>,
) {
    let want = loss.on_cpu(inputs, tracked);
    let memory = inputs.map(|values| gpu.array(values));
    let got = on_gpu(gpu, [memory[0].view(), memory[1].view()]).unwrap();
    same(&format!("{what}: loss"), &got.loss.values(), &[want.loss]);
    assert_eq!(got.hits.values(), [want.n_hits as f32], "{what}: hits");
    for ((side, got), want) in ["first", "second"].iter().zip(got.grads).zip(want.grads) {
        let got = got.map(|g| g.values()).unwrap_or_default();
        assert_eq!(got.len(), want.len(), "{what}: the {side} gradient");
        if !want.is_empty() {
            same(&format!("{what}: by the {side}"), &got, &f64s(&want));
        }
    }
}

#[test]
fn info_nce_is_that_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    // One pair; a part of a tile; a tile and one; several parts; more channels than a block makes.
    for (n, dim, symmetric) in
        [(1, 5, false), (7, 3, true), (65, 64, false), (130, 17, true), (70, 130, false)]
    {
        for tracked in [[true, true], [false, true], [true, false], [false, false]] {
            if tracked != [true, true] && n != 7 {
                continue;
            }
            let loss = info_nce::Fused { n_rows: n, dim, temperature: 0.07, symmetric };
            let (mut point, pixel) = (noise(n * dim, 1), noise(n * dim, 2));
            // Partners that resemble each other, so that some are found.
            point.iter_mut().zip(&pixel).for_each(|(p, q)| *p = 0.3 * *p + q);
            let what = format!("{n}x{dim} {symmetric} {tracked:?}");
            compare(&what, &gpu, &loss, [&point, &pixel], tracked, |gpu, inputs| {
                super::info_nce(gpu, &loss, inputs, tracked)
            });
        }
    }
}

#[test]
fn thousands_of_pairs() {
    let Some(gpu) = gpu() else { return };
    let (n, dim) = (1100, 6);
    let loss = info_nce::Fused { n_rows: n, dim, temperature: 0.04, symmetric: false };
    let (point, pixel) = (noise(n * dim, 1), noise(n * dim, 2));
    compare("many", &gpu, &loss, [&point, &pixel], [true, true], |gpu, inputs| {
        super::info_nce(gpu, &loss, inputs, [true, true])
    });
}

#[test]
fn extreme_rows_pass_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let (n, dim) = (70, 8);
    let (mut point, pixel) = (noise(n * dim, 1), noise(n * dim, 2));
    point[..dim].fill(0.0);
    point[dim..2 * dim].iter_mut().for_each(|x| *x *= 1e30);
    point[2 * dim..3 * dim].iter_mut().for_each(|x| *x *= 1e-30);
    point[4 * dim..5 * dim].fill(f32::MAX);
    for temperature in [0.04, 1e-3, 1e-30] {
        let loss = info_nce::Fused { n_rows: n, dim, temperature, symmetric: true };
        let memory = [&point, &pixel].map(|values| gpu.array(values));
        let got = super::info_nce(&gpu, &loss, [memory[0].view(), memory[1].view()], [true, true]).unwrap();
        let want = loss.on_cpu([&point, &pixel], [true, true]);
        assert_close("loss", &got.loss.values(), &[want.loss], 1e-4);
        let grads = got.grads.map(|g| g.unwrap().values());
        assert!(grads.iter().flatten().all(|g| g.is_finite()), "{temperature}");
        assert!(grads[0][..dim].iter().all(|&g| g == 0.0), "no direction, no gradient");
    }
    // Collapsed embeddings find nothing: another pixel exactly as near counts against a row.
    let same = noise(dim, 3).repeat(n);
    let loss = info_nce::Fused { n_rows: n, dim, temperature: 0.04, symmetric: false };
    let memory = gpu.array(&same);
    let got = super::info_nce(&gpu, &loss, [memory.view(), memory.view()], [true, false]).unwrap();
    assert_eq!(got.hits.values(), [0.0]);
    assert!((got.loss.values()[0] - (n as f32).ln()).abs() < 1e-4);
}

#[test]
fn a_value_that_is_not_finite_makes_the_loss_so() {
    let Some(gpu) = gpu() else { return };
    let (n, dim) = (70, 8);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for side in 0..2 {
            let mut inputs = [noise(n * dim, 1), noise(n * dim, 2)];
            inputs[side][66 * dim + 3] = bad;
            let memory = inputs.map(|values| gpu.array(&values));
            let views = || [memory[0].view(), memory[1].view()];
            let loss = info_nce::Fused { n_rows: n, dim, temperature: 0.07, symmetric: false };
            let value = super::info_nce(&gpu, &loss, views(), [false, false]).unwrap().loss.values();
            assert!(!value[0].is_finite(), "info_nce {bad} {side}: {value:?}");
            for kind in [Kind::L2, Kind::Cosine, Kind::CentredCosine] {
                let loss = Distance { name: "", kind, n_rows: n, dim };
                let value = super::distance(&gpu, &loss, views(), [false, false]).unwrap().loss.values();
                assert!(!value[0].is_finite(), "{kind:?} {bad} {side}: {value:?}");
            }
        }
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for row in [0, 1] {
            // Row 0 has no label.
            let mut scores = noise(300 * 4, 5);
            scores[row * 4 + 2] = bad;
            let rows = labelled(SegmentationLoss::default(), 4, (0..300).map(|i| (i % 4) as u16).collect());
            let memory = gpu.array(&scores);
            let value = super::segmentation(&gpu, &rows, memory.view()).unwrap().loss.values();
            assert!(!value[0].is_finite(), "segmentation {bad} {row}: {value:?}");
        }
    }
}

#[test]
fn distances_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for kind in [Kind::L2, Kind::Cosine, Kind::CentredCosine] {
        for (n, dim) in [(1, 2), (7, 3), (130, 140)] {
            let loss = Distance { name: "", kind, n_rows: n, dim };
            let (point, pixel) = (noise(n * dim, 1), noise(n * dim, 2));
            for tracked in [[true, true], [true, false]] {
                let what = format!("{kind:?} {n}x{dim}");
                compare(&what, &gpu, &loss, [&point, &pixel], tracked, |gpu, inputs| {
                    super::distance(gpu, &loss, inputs, tracked)
                });
            }
        }
    }
}

#[test]
fn pooled_is_that_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let (pairs, pixels, dim, n_groups) = (90, 400, 19, 70);
    let none = crate::SegmentedEmbeddings::NO_SEGMENT;
    let of = |n: usize, step: u32| -> Vec<u32> {
        (0..n as u32).map(|i| if i % 11 == 10 { none } else { i * step % n_groups }).collect()
    };
    let groups = Groups {
        points: Members::new(&of(pairs, 1), n_groups as usize),
        pixels: Members::new(&of(pixels, 3), n_groups as usize),
    };
    let loss = pooled::Fused { groups, dim, temperature: 0.1 };
    let (mut point, map) = (noise(pairs * dim, 3), noise(pixels * dim, 4));
    point[..dim].fill(0.0);
    compare("pooled", &gpu, &loss, [&point, &map], [true, true], |gpu, inputs| {
        super::pooled_info_nce(gpu, &loss, inputs, [true, true])
    });
}

fn labelled(loss: SegmentationLoss, classes: usize, targets: Vec<u16>) -> LabelledRows {
    let labelled = (0..targets.len() as u32).filter(|&i| targets[i as usize] != 0).collect();
    LabelledRows { loss, classes, targets, labelled }
}

#[test]
fn losses_of_classes_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let weights = |classes: usize| (0..classes).map(|c| 0.5 + c as f32).collect::<Vec<f32>>();
    for (n, classes) in [(2, 2), (60, 5), (2500, 6)] {
        for (weighted, label_smoothing, lovasz) in [(false, 0.0, 0.0), (true, 0.2, 0.7), (false, 0.0, 1.0)] {
            let class_weights = if weighted { weights(classes) } else { Vec::new() };
            let loss = SegmentationLoss { class_weights, label_smoothing, lovasz };
            // The last class never comes; equal scores make equal errors.
            let targets = (0..n).map(|i| ((i * 7 + i / 3 + 1) % classes) as u16).collect();
            let rows = labelled(loss, classes, targets);
            let mut scores: Vec<f32> = noise(n * classes, 3).iter().map(|s| 4.0 * s).collect();
            scores[..n * classes / 4].fill(0.25);
            let want = rows.on_cpu(&scores);
            let memory = gpu.array(&scores);
            let RowsOutcome { loss, n_right, grad } =
                super::segmentation(&gpu, &rows, memory.view()).unwrap();
            let what = format!("{n}x{classes} {:?}", rows.loss);
            assert_close(&format!("{what}: loss"), &loss.values(), &[want.loss], TOLERANCE);
            assert_eq!(n_right.values(), [want.n_right as f32], "{what}");
            assert_close(&format!("{what}: gradient"), &grad.values(), &f64s(&want.grad), TOLERANCE);
        }
    }
}
