//! Launchers against the CPU's optimiser, on a Vulkan device.

use candle_core::{Device, Tensor, Var};
use ppkt_testkit::assert_close;
use ppkt_wgsl::Gpu;

use super::optimizer::{OPTIMIZER, Of, adamw_step, gradient_report, sgd_step};
use super::rows::{ROWS, RowsOnDevice, collect, gather};
use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerKind, numbers};
use crate::rows_at::Readers;

#[test]
fn metal_text_is_what_naga_makes_of_the_wgsl() {
    ppkt_wgsl::assert_metal_is_made_of_wgsl(env!("CARGO_MANIFEST_DIR"), "src/metal", &[&OPTIMIZER, &ROWS]);
}

/// Numbers from -1 to 1 that repeat late.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn the_report_has_norm_and_scale() {
    let Some(gpu) = Gpu::get() else { return };
    // One value, a whole chunk, none, a chunk and one.
    let gradients = [noise(1, 1), noise(16_384, 2), Vec::new(), noise(16_385, 3)];
    let norm = gradients.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let memory = gradients.each_ref().map(|g| (gpu.of(g), g.len()));
    for (share, clip) in [(1.0, 0.0), (0.5, 1e9), (0.5, 10.0)] {
        let report = gpu.floats(&gradient_report(gpu, &memory, share, clip).unwrap());
        let scale = if clip > 0.0 && norm * share > clip { clip / norm } else { share };
        assert_close("norm", &report[..1], &[norm * share], 1e-6);
        assert_eq!(report[1], 0.0);
        assert_close("scale", &report[2..], &[scale], 1e-6);
    }
    let none = gradient_report(gpu, &[], 1.0, 0.0).unwrap();
    assert_eq!(gpu.floats(&none), [0.0, 0.0, 1.0]);
}

/// Some steps of one parameter on the device and by the CPU's optimiser.
fn compare(gpu: &Gpu, config: &OptimizerConfig, n: usize) {
    let start = noise(n, 7);
    let var = Var::from_vec(start.clone(), n, &Device::Cpu).unwrap();
    let mut optimizer = Optimizer::new(config, vec![("p".into(), var.clone())]).unwrap();
    let parameter = gpu.of(&start);
    let [m1, m2] = [gpu.of(&vec![0.0; n]), gpu.of(&vec![0.0; n])];
    for step in 1..=3 {
        let gradient = noise(n, 100 * step as u32);
        let by = Tensor::from_slice(&gradient, n, &Device::Cpu).unwrap();
        let grads = (var.as_tensor() * by).unwrap().sum_all().unwrap().backward().unwrap();
        optimizer.clipped_step(&grads, config.lr, 0.5).unwrap();

        let gradient = gpu.of(&gradient);
        let report = gradient_report(gpu, &[(gradient.clone(), n)], 0.5, config.clip_norm).unwrap();
        let of = Of { parameter: &parameter, gradient: &gradient, report: &report, n };
        match config.kind {
            OptimizerKind::Sgd => sgd_step(gpu, of, &m1, &numbers::sgd(config, config.lr, step)).unwrap(),
            OptimizerKind::Adamw => {
                adamw_step(gpu, of, [&m1, &m2], &numbers::adamw(config, config.lr, step)).unwrap();
            }
        }
        assert_eq!(gpu.floats(&report)[1], 0.0);
    }
    assert_close("parameter", &gpu.floats(&parameter), &f64s(&var.to_vec1().unwrap()), 1e-5);
}

#[test]
fn updates_are_those_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    for (kind, nesterov, dampening, clip_norm, n) in [
        (OptimizerKind::Sgd, false, 0.1, 0.0, 1),
        (OptimizerKind::Sgd, true, 0.0, 3.0, 1000),
        (OptimizerKind::Adamw, false, 0.0, 0.0, 257),
        (OptimizerKind::Adamw, false, 0.0, 2.0, 70_000),
    ] {
        let config = OptimizerConfig {
            kind,
            nesterov,
            dampening,
            clip_norm,
            lr: 0.05,
            weight_decay: 0.01,
            ..Default::default()
        };
        compare(gpu, &config, n);
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing_and_a_large_parameter_is_seen() {
    let Some(gpu) = Gpu::get() else { return };
    let numbers = numbers::sgd(&OptimizerConfig::default(), 0.1, 1);
    let (parameter, momentum) = (gpu.of(&[1.0, 2.0]), gpu.of(&[0.0, 0.0]));
    for bad in [f32::NAN, f32::INFINITY] {
        let gradient = gpu.of(&[bad, 1.0]);
        let report = gradient_report(gpu, &[(gradient.clone(), 2)], 1.0, 1.0).unwrap();
        let of = Of { parameter: &parameter, gradient: &gradient, report: &report, n: 2 };
        sgd_step(gpu, of, &momentum, &numbers).unwrap();
        assert!(!gpu.floats(&report)[0].is_finite());
        assert_eq!(gpu.floats(&parameter), [1.0, 2.0]);
    }
    let (large, gradient) = (gpu.of(&[1.0, 1e20]), gpu.of(&[0.0, 0.0]));
    let report = gradient_report(gpu, &[(gradient.clone(), 2)], 1.0, 0.0).unwrap();
    sgd_step(gpu, Of { parameter: &large, gradient: &gradient, report: &report, n: 2 }, &momentum, &numbers)
        .unwrap();
    assert_eq!(gpu.floats(&report)[1], 1.0);
}

#[test]
fn rows_and_what_they_collect_are_those_of_the_processor() {
    let Some(gpu) = Gpu::get() else { return };
    // No row of any; one; some asked for many times and some never; thousands.
    for (n, m, columns) in [(3, 0, 2), (1, 1, 1), (7, 40, 3), (5000, 3000, 17)] {
        let rows: Vec<u32> = (0..m as u32).map(|i| i * i % 11 * 461 % n as u32).collect();
        let (matrix, grad) = (noise(n * columns, 4), noise(m * columns, 5));
        let on_device = RowsOnDevice::new(gpu, &rows, &Readers::of(&rows)).unwrap();
        let got = gpu.floats(&gather(gpu, &gpu.of(&matrix), &on_device, columns).unwrap());
        let row = |x: &[f32], i: usize| x[i * columns..][..columns].to_vec();
        let want: Vec<f32> = rows.iter().flat_map(|&r| row(&matrix, r as usize)).collect();
        assert_eq!(got, want, "{m} of {n}");
        // In the order of those that read, as here: the same bits.
        let mut want = vec![0f32; n * columns];
        for (i, &r) in rows.iter().enumerate() {
            let sums = &mut want[r as usize * columns..][..columns];
            sums.iter_mut().zip(row(&grad, i)).for_each(|(s, g)| *s += g);
        }
        let got = gpu.floats(&collect(gpu, &gpu.of(&grad), &on_device, (n, columns)).unwrap());
        assert_eq!(got, want, "{m} of {n}");
    }
}
