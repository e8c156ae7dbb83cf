//! Launchers against the CPU's losses, on a Vulkan device.

use ppkt_testkit::assert_close;
use ppkt_wgsl::{Gpu, Memory};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::lovasz::Lovasz;
use super::{PairOutcome, distance, info_nce, pooled_info_nce, segmentation};
use crate::SegmentedEmbeddings;
use crate::distance::{Distance, Kind};
use crate::fused::{Outcome, PairLoss, RowsLoss, Tracked};
use crate::info_nce::Fused;
use crate::pooled::{self, Groups, Members};
use crate::segmentation::{LabelledRows, SegmentationLoss, lovasz_softmax};

/// What f32 sums in another order, and a device's exponentials, may differ by.
const TOLERANCE: f64 = 2e-5;

#[test]
fn metal_text_is_what_naga_makes_of_the_wgsl() {
    let sources = [
        &super::nce::NCE,
        &super::segmentation::SEGMENTATION,
        &super::distance::DISTANCE,
        &super::lovasz::LOVASZ,
        &super::pooled::POOLED,
    ];
    ppkt_wgsl::assert_metal_is_made_of_wgsl(env!("CARGO_MANIFEST_DIR"), "src/metal", &sources);
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn info_nce_is_that_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    // One pair; a part of a tile; a tile and one; several ranges; more channels than a tile has.
    for (n, dim, symmetric) in
        [(2, 5, false), (7, 3, true), (65, 64, true), (700, 17, false), (70, 130, false)]
    {
        for tracked in [[true, true], [false, true], [true, false]] {
            if tracked != [true, true] && n != 7 {
                continue;
            }
            let loss = Fused { n_rows: n, dim, temperature: 0.07, symmetric };
            let (mut point, pixel) = (noise(n * dim, 1), noise(n * dim, 2));
            // Partners that resemble each other, so that some are found.
            point.iter_mut().zip(&pixel).for_each(|(p, q)| *p = 0.3 * *p + q);
            let what = format!("{n}x{dim} {symmetric} {tracked:?}");
            let want = loss.on_cpu([&point, &pixel], tracked);
            let run = || info_nce(gpu, &loss, [&gpu.of(&point), &gpu.of(&pixel)], tracked).unwrap();
            compare(&what, gpu, &run, want);
        }
    }
}

/// Holds what a launcher leaves against what the CPU gives, and against what it leaves the second time.
fn compare(what: &str, gpu: &Gpu, run: &dyn Fn() -> PairOutcome<Memory>, want: Outcome) {
    let (got, again) = (run(), run());
    assert_eq!(gpu.words(&got.loss), gpu.words(&again.loss), "{what}: other bits");
    assert_close(&format!("{what}: loss"), &gpu.floats(&got.loss), &[want.loss], TOLERANCE);
    assert_eq!(gpu.floats(&got.hits), [want.n_hits as f32], "{what}");
    for ((got, again), want) in got.grads.into_iter().zip(again.grads).zip(want.grads) {
        assert_eq!(got.is_some(), !want.is_empty(), "{what}");
        if let (Some(got), Some(again)) = (got, again) {
            assert_eq!(gpu.words(&got), gpu.words(&again), "{what}: other bits");
            assert_close(&format!("{what}: gradient"), &gpu.floats(&got), &f64s(&want), TOLERANCE);
        }
    }
}

const KINDS: [Kind; 3] = [Kind::L2, Kind::Cosine, Kind::CentredCosine];

fn distances(gpu: &Gpu, kind: Kind, dim: usize, sides: [&[f32]; 2], tracked: Tracked) -> PairOutcome<Memory> {
    let loss = Distance { name: "", kind, n_rows: sides[0].len() / dim, dim };
    distance(gpu, &loss, [&gpu.of(sides[0]), &gpu.of(sides[1])], tracked).unwrap()
}

#[test]
fn distances_are_those_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    for kind in KINDS {
        // One pair, which is its own mean: no direction.
        for (n, dim) in [(1, 2), (7, 3), (130, 140), (3000, 8)] {
            let (mut point, mut pixel) = (noise(n * dim, 1), noise(n * dim, 2));
            // Partners that resemble each other, and a large mean.
            point.iter_mut().zip(&pixel).for_each(|(p, q)| *p = 0.3 * *p + q);
            if n == 130 {
                pixel.iter_mut().for_each(|q| *q += 100.0);
            }
            for tracked in [[true, true], [true, false], [false, true]] {
                let loss = Distance { name: "", kind, n_rows: n, dim };
                let want = loss.on_cpu([&point, &pixel], tracked);
                let run = || distances(gpu, kind, dim, [&point, &pixel], tracked);
                compare(&format!("{kind:?} {n}x{dim} {tracked:?}"), gpu, &run, want);
            }
        }
    }
}

#[test]
fn rows_without_length_or_distance_have_no_gradient() {
    let Some(gpu) = Gpu::get() else { return };
    let (n, dim) = (5, 4);
    let mut point = noise(n * dim, 1);
    let mut pixel = noise(n * dim, 2);
    point[..dim].fill(0.0);
    // The same direction, of other lengths; squares that overflow; a row that is nearly too short.
    for d in 0..dim {
        pixel[dim + d] = 3.7 * point[dim + d];
    }
    point[2 * dim..3 * dim].iter_mut().for_each(|x| *x *= 1e25);
    pixel[3 * dim..4 * dim].iter_mut().for_each(|x| *x *= 1e-11);
    for kind in [Kind::L2, Kind::Cosine] {
        let want = Distance { name: "", kind, n_rows: n, dim }.on_cpu([&point, &pixel], [true, true]);
        let got = distances(gpu, kind, dim, [&point, &pixel], [true, true]);
        assert_close("loss", &gpu.floats(&got.loss), &[want.loss], TOLERANCE);
        assert_eq!(gpu.floats(&got.hits), [want.n_hits as f32]);
        let [by_point, by_pixel] = got.grads.map(|g| gpu.floats(&g.unwrap()));
        assert_eq!(by_point[..dim], [0.0; 4], "{kind:?}");
        let turned = |g: &[f32]| g[dim..2 * dim].iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(turned(&by_point) < 1e-6 && turned(&by_pixel) < 1e-6, "{kind:?}: {by_point:?} {by_pixel:?}");
        for (grad, want) in [by_point, by_pixel].iter().zip(&want.grads) {
            for row in 2..n {
                let [g, w] = [grad, want].map(|g| &g[row * dim..][..dim]);
                assert_close(&format!("{kind:?}: row {row}"), g, &f64s(w), TOLERANCE);
            }
        }
    }
}

#[test]
fn pooled_is_that_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    let of = |n: usize, step: u32, n_groups: u32| -> Vec<u32> {
        let group = |i| if i % 11 == 10 { SegmentedEmbeddings::NO_SEGMENT } else { i * step % n_groups };
        (0..n as u32).map(group).collect()
    };
    // One of one; odd sizes; a group of many.
    for (pairs, pixels, dim, n_groups) in [(1, 1, 3, 1), (90, 400, 19, 70), (900, 4000, 40, 3)] {
        let groups = || Groups {
            points: Members::new(&of(pairs, 1, n_groups), n_groups as usize),
            pixels: Members::new(&of(pixels, 7, n_groups), n_groups as usize),
        };
        let (mut point, mut map) = (noise(pairs * dim, 3), noise(pixels * dim, 4));
        // The means of many random directions are all alike: give them one of their own.
        for (rows, step) in [(&mut point, 1), (&mut map, 7)] {
            for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
                row[i * step % n_groups as usize % dim] += 2.0;
            }
        }
        if pairs > 1 {
            point[..dim].fill(0.0);
        }
        for tracked in [[true, true], [false, true], [true, false]] {
            let loss = pooled::Fused { groups: groups(), dim, temperature: 0.1 };
            let want = loss.on_cpu([&point, &map], tracked);
            let run = || {
                let sides = [(&gpu.of(&point), pairs), (&gpu.of(&map), pixels)];
                pooled_info_nce(gpu, &loss, sides, tracked).unwrap()
            };
            if pairs == 1 {
                // Nothing to be confused with; the CPU's exponentials end at 1e-38.
                let got = run();
                assert_eq!((gpu.floats(&got.loss), gpu.floats(&got.hits)), (vec![0.0], vec![1.0]));
                assert!(got.grads.into_iter().flatten().all(|g| gpu.floats(&g) == [0.0; 3]));
                continue;
            }
            compare(&format!("{pairs} pairs, {n_groups} groups {tracked:?}"), gpu, &run, want);
        }
    }
}

#[test]
fn a_value_that_is_not_finite_makes_the_loss_so() {
    let Some(gpu) = Gpu::get() else { return };
    let (n, dim) = (70, 8);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for side in 0..2 {
            let mut sides = [noise(n * dim, 1), noise(n * dim, 2)];
            sides[side][66 * dim + 3] = bad;
            let sides = [&sides[0][..], &sides[1][..]];
            for kind in KINDS {
                let value = gpu.floats(&distances(gpu, kind, dim, sides, [false, false]).loss);
                assert!(!value[0].is_finite(), "{kind:?} {bad} {side}: {value:?}");
            }
        }
        for row in [0, 1] {
            // Row 0 has no label.
            let mut scores = noise(300 * 4, 5);
            scores[row * 4 + 2] = bad;
            let targets = (0..300).map(|i| (i % 4) as u16).collect();
            let value = segmentation(gpu, &labelled(1.0, 4, targets), &gpu.of(&scores)).unwrap().loss;
            assert!(!gpu.floats(&value)[0].is_finite(), "segmentation {bad} {row}");
        }
    }
}

fn labelled(lovasz: f64, classes: usize, targets: Vec<u16>) -> LabelledRows {
    let loss = SegmentationLoss { lovasz, ..SegmentationLoss::default() };
    let labelled = (0..targets.len() as u32).filter(|&i| targets[i as usize] != 0).collect();
    LabelledRows { loss, classes, targets, labelled }
}

#[test]
fn one_pair_has_nothing_to_be_confused_with() {
    let Some(gpu) = Gpu::get() else { return };
    let loss = Fused { n_rows: 1, dim: 3, temperature: 0.04, symmetric: false };
    let x = gpu.of(&[1.0, 2.0, 3.0]);
    let got = info_nce(gpu, &loss, [&x, &gpu.of(&[0.0, 0.0, 0.0])], [true, true]).unwrap();
    assert_eq!(gpu.floats(&got.loss), [0.0]);
    assert_eq!(gpu.floats(&got.hits), [1.0]);
    assert_eq!(gpu.floats(got.grads[1].as_ref().unwrap()), [0.0; 3], "no direction, no gradient");
}

#[test]
fn small_losses_keep_their_digits_and_nan_is_seen() {
    let Some(gpu) = Gpu::get() else { return };
    // Partners on axes of their own: the others' share is e^(-1/0.05).
    let n = 8;
    let x: Vec<f32> = (0..n * n).map(|i| if i % n == i / n { 2.0 } else { 0.0 }).collect();
    let loss = Fused { n_rows: n, dim: n, temperature: 0.05, symmetric: false };
    let want = loss.on_cpu([&x, &x], [true, true]);
    let mut memory = gpu.of(&x);
    let got = info_nce(gpu, &loss, [&memory, &memory], [true, true]).unwrap();
    assert_close("loss", &gpu.floats(&got.loss), &[want.loss], TOLERANCE);
    for (got, want) in got.grads.into_iter().zip(want.grads) {
        assert_close("gradient", &gpu.floats(&got.unwrap()), &f64s(&want), 1e-4);
    }
    let mut broken = x.clone();
    broken[5] = f32::NAN;
    memory = gpu.of(&broken);
    let got = info_nce(gpu, &loss, [&memory, &gpu.of(&x)], [false, false]).unwrap();
    assert!(gpu.floats(&got.loss)[0].is_nan());
}

#[test]
fn cross_entropy_is_that_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    for (n, classes, smoothing, weighted) in [(1, 2, 0.0, false), (300, 20, 0.1, true), (2000, 3, 0.0, true)]
    {
        let class_weights =
            if weighted { (0..classes).map(|c| 0.5 + c as f32).collect() } else { Vec::new() };
        let loss = SegmentationLoss { class_weights, label_smoothing: smoothing, lovasz: 0.0 };
        let targets: Vec<u16> = (0..n as u16).map(|i| (i * 7 + 1) % (classes as u16 + 1)).collect();
        let labelled: Vec<u32> = (0..n as u32).filter(|&i| targets[i as usize] != 0).collect();
        let rows = LabelledRows { loss, classes, targets, labelled };
        let scores: Vec<f32> = noise(n * classes, 3).iter().map(|v| 8.0 * v).collect();
        let want = rows.on_cpu(&scores);
        let got = segmentation(gpu, &rows, &gpu.of(&scores)).unwrap();
        let what = format!("{n}x{classes}");
        assert_close(&format!("{what}: loss"), &gpu.floats(&got.loss), &[want.loss], TOLERANCE);
        assert_eq!(gpu.floats(&got.n_right), [want.n_right as f32], "{what}");
        assert_close(&format!("{what}: gradient"), &gpu.floats(&got.grad), &f64s(&want.grad), TOLERANCE);
    }
}

/// Errors that differ by a rounding may be sorted otherwise on a device whose exponentials are: so the sort and the steps
/// are held against the CPU's of the very probabilities that the device has made.
#[test]
fn lovasz_is_that_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    // One row; two; several rounds of a group; several chunks. The last class of some never comes.
    for (n, classes, present) in [(1, 2, 2), (2, 2, 2), (700, 7, 6), (2049, 3, 3), (5000, 4, 3)] {
        let which: Vec<u32> = (0..2 * n as u32).filter(|i| i % 2 == 1).collect();
        let own: Vec<u32> = (0..n as u32).map(|i| (i * 7 + i / 3) % present).collect();
        let mut scores: Vec<f32> = noise(2 * n * classes, 3).iter().map(|s| 4.0 * s).collect();
        // Equal scores make equal errors.
        scores[..n * classes / 2].fill(0.25);
        let lovasz = Lovasz::new(gpu, classes, &which, &own, 0.5).unwrap();
        let probability = lovasz.probabilities(&gpu.of(&scores)).unwrap();
        let p = gpu.floats(&probability);
        let p: Vec<f32> = (0..n * classes).map(|i| p[i % classes * n + i / classes]).collect();
        let rows: Vec<f32> =
            which.iter().flat_map(|&i| scores[i as usize * classes..][..classes].to_vec()).collect();
        let what = format!("{n}x{classes}");
        assert_close(&format!("{what}: softmax"), &p, &softmax(&rows, classes), TOLERANCE);

        let own: Vec<usize> = own.iter().map(|&c| c as usize).collect();
        let (value, by_p) = lovasz_softmax(&p, classes, &own);
        let steps = lovasz.steps(&probability).unwrap();
        assert_close(&format!("{what}: loss"), &gpu.floats(&steps.loss), &[value], TOLERANCE);
        let got = gpu.floats(&steps.by_probability);
        // Classes that have no row have no place there.
        let n_slots = got.len() / n;
        assert_eq!(n_slots, (0..classes).filter(|c| own.contains(c)).count());
        let slots: Vec<usize> = (0..classes).filter(|c| own.contains(c)).collect();
        for (slot, &c) in slots.iter().enumerate() {
            let want: Vec<f64> = (0..n).map(|i| by_p[i * classes + c]).collect();
            assert_close(&format!("{what}: class {c}"), &got[slot * n..][..n], &want, TOLERANCE);
        }

        let start = noise(2 * n * classes, 9);
        let grad = gpu.of(&start);
        lovasz.add_gradient(&probability, &steps.by_probability, &grad).unwrap();
        let mut want = f64s(&start);
        for (i, (&row, p)) in which.iter().zip(p.chunks_exact(classes)).enumerate() {
            let g = &by_p[i * classes..][..classes];
            let mean: f64 = g.iter().zip(p).map(|(g, &p)| g * f64::from(p)).sum();
            for c in 0..classes {
                want[row as usize * classes + c] += 0.5 * f64::from(p[c]) * (g[c] - mean);
            }
        }
        assert_close(&format!("{what}: gradient"), &gpu.floats(&grad), &want, TOLERANCE);
        let again = lovasz.steps(&probability).unwrap();
        assert_eq!(gpu.words(&steps.by_probability), gpu.words(&again.by_probability), "other bits");
        assert_eq!(gpu.words(&steps.loss), gpu.words(&again.loss), "other bits");
    }
}

fn softmax(scores: &[f32], classes: usize) -> Vec<f64> {
    let of_row = |row: &[f32]| -> Vec<f64> {
        let exponentials: Vec<f64> = row.iter().map(|&s| f64::from(s).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        exponentials.iter().map(|e| e / sum).collect()
    };
    scores.chunks_exact(classes).flat_map(of_row).collect()
}

#[test]
fn both_terms_together_are_those_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    for (n, classes) in [(2, 2), (60, 5), (400, 20)] {
        let mut rows =
            labelled(0.7, classes, (0..n).map(|i| ((i * 7 + i / 3 + 1) % classes) as u16).collect());
        rows.loss.class_weights = (0..classes).map(|c| 0.5 + c as f32).collect();
        rows.loss.label_smoothing = 0.2;
        let scores: Vec<f32> = noise(n * classes, 3).iter().map(|s| 4.0 * s).collect();
        let want = rows.on_cpu(&scores);
        let got = segmentation(gpu, &rows, &gpu.of(&scores)).unwrap();
        let what = format!("{n}x{classes}");
        assert_close(&format!("{what}: loss"), &gpu.floats(&got.loss), &[want.loss], TOLERANCE);
        assert_eq!(gpu.floats(&got.n_right), [want.n_right as f32], "{what}");
        assert_close(&format!("{what}: gradient"), &gpu.floats(&got.grad), &f64s(&want.grad), TOLERANCE);
    }
}
