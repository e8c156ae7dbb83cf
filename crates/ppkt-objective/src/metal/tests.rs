//! Launchers against the CPU's losses, on a Vulkan device.

use ppkt_testkit::assert_close;
use ppkt_wgsl::Gpu;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{info_nce, segmentation};
use crate::fused::{PairLoss, RowsLoss};
use crate::info_nce::Fused;
use crate::segmentation::{LabelledRows, SegmentationLoss};

/// What f32 sums in another order, and a device's exponentials, may differ by.
const TOLERANCE: f64 = 2e-5;

#[test]
fn metal_text_is_what_naga_makes_of_the_wgsl() {
    let sources = [&super::nce::NCE, &super::segmentation::SEGMENTATION];
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
            let got = info_nce(gpu, &loss, [&gpu.of(&point), &gpu.of(&pixel)], tracked).unwrap();
            assert_close(&format!("{what}: loss"), &gpu.floats(&got.loss), &[want.loss], TOLERANCE);
            assert_eq!(gpu.floats(&got.hits), [want.n_hits as f32], "{what}");
            for (got, want) in got.grads.into_iter().zip(want.grads) {
                assert_eq!(got.is_some(), !want.is_empty(), "{what}");
                if let Some(got) = got {
                    assert_close(&format!("{what}: gradient"), &gpu.floats(&got), &f64s(&want), TOLERANCE);
                }
            }
        }
    }
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

#[test]
fn a_term_without_a_kernel_is_an_error_that_names_it() {
    let Some(gpu) = Gpu::get() else { return };
    let loss = SegmentationLoss { lovasz: 1.0, ..SegmentationLoss::default() };
    let rows = LabelledRows { loss, classes: 2, targets: vec![1], labelled: vec![0] };
    let refused = segmentation(gpu, &rows, &gpu.of(&[0.0, 1.0])).err().unwrap().to_string();
    assert!(refused.contains("lovasz_softmax") && refused.contains("Metal"), "{refused}");
}
