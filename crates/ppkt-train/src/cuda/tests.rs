//! Launchers over emulated kernels, held against the CPU's optimiser.

use candle_core::{Device, Tensor, Var};
use ppkt_device::launch::{Memory, View};
use ppkt_testkit::{EmulatedGpu, assert_close};

use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerKind, numbers};
use crate::rows_at::Readers;

fn gpu() -> Option<EmulatedGpu> {
    EmulatedGpu::new("src/cuda")
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
    let Some(gpu) = gpu() else { return };
    // None, one value, a whole chunk, a chunk and one.
    let gradients = [noise(1, 1), noise(16_384, 2), Vec::new(), noise(16_385, 3)];
    let norm = gradients.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let memory = gradients.each_ref().map(|g| gpu.array(g));
    let mut views: Vec<_> = memory.iter().map(|m| m.view()).collect();
    views[2] = View::new(0, 0);
    for (share, clip) in [(1.0, 0.0), (0.5, 1e9), (0.5, 10.0)] {
        let report = super::gradient_report(&gpu, &views, share, clip).unwrap().values();
        let scale = if clip > 0.0 && norm * share > clip { clip / norm } else { share };
        assert_close("norm", &report[..1], &[norm * share], 1e-6);
        assert_eq!(report[1], 0.0);
        assert_close("scale", &report[2..], &[scale], 1e-6);
    }
}

/// Some steps of one parameter on the emulated GPU and by the CPU's optimiser.
fn compare(gpu: &EmulatedGpu, config: &OptimizerConfig, n: usize) {
    let start = noise(n, 7);
    let var = Var::from_vec(start.clone(), n, &Device::Cpu).unwrap();
    let mut optimizer = Optimizer::new(config, vec![("p".into(), var.clone())]).unwrap();
    let mut parameter = gpu.array(&start);
    let mut moments = [gpu.array(&vec![0f32; n]), gpu.array(&vec![0f32; n])];
    for step in 1..=3 {
        let gradient = noise(n, 100 * step as u32);
        let by = Tensor::from_slice(&gradient, n, &Device::Cpu).unwrap();
        let grads = (var.as_tensor() * by).unwrap().sum_all().unwrap().backward().unwrap();
        optimizer.clipped_step(&grads, config.lr, 0.5).unwrap();

        let gradient = gpu.array(&gradient);
        let view = gradient.view();
        let mut report = super::gradient_report(gpu, &[view], 0.5, config.clip_norm).unwrap();
        let [m1, m2] = &mut moments;
        match config.kind {
            OptimizerKind::Sgd => {
                let numbers = numbers::sgd(config, config.lr, step);
                super::sgd_step(gpu, parameter.view_mut(), view, m1, report.view_mut(), &numbers)
            }
            OptimizerKind::Adamw => {
                let numbers = numbers::adamw(config, config.lr, step);
                super::adamw_step(gpu, parameter.view_mut(), view, [m1, m2], report.view_mut(), &numbers)
            }
        }
        .unwrap();
        assert_eq!(report.values()[1], 0.0, "parameters are sound");
    }
    let what = format!("{config:?}");
    assert_close(&what, &parameter.values(), &f64s(&var.to_vec1::<f32>().unwrap()), 1e-6);
    for (name, tensor) in optimizer.state().unwrap() {
        let moment = if name.ends_with("moment2") { &moments[1] } else { &moments[0] };
        assert_close(
            &format!("{what} {name}"),
            &moment.values(),
            &f64s(&tensor.to_vec1::<f32>().unwrap()),
            1e-6,
        );
    }
}

#[test]
fn updates_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let usual = OptimizerConfig { lr: 0.05, weight_decay: 0.01, ..Default::default() };
    for config in [
        usual.clone(),
        OptimizerConfig { momentum: 0.0, ..usual.clone() },
        OptimizerConfig { nesterov: true, dampening: 0.0, clip_norm: 1.0, ..usual.clone() },
        OptimizerConfig { kind: OptimizerKind::Adamw, clip_norm: 1.0, ..usual.clone() },
    ] {
        compare(&gpu, &config, 700);
    }
    compare(&gpu, &usual, 1);
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing_and_a_huge_parameter_is_told() {
    let Some(gpu) = gpu() else { return };
    let numbers = numbers::sgd(&OptimizerConfig { lr: 1.0, ..Default::default() }, 1.0, 1);
    for bad in [f32::NAN, f32::INFINITY] {
        let gradient = gpu.array(&[1.0, bad, 1.0]);
        let mut report = super::gradient_report(&gpu, &[gradient.view()], 1.0, 0.0).unwrap();
        assert!(!report.values()[0].is_finite());
        let mut parameter = gpu.array(&[1f32, 2.0, 3.0]);
        let mut momentum = gpu.array(&[0f32; 3]);
        let (p, r) = (parameter.view_mut(), report.view_mut());
        super::sgd_step(&gpu, p, gradient.view(), &mut momentum, r, &numbers).unwrap();
        assert_eq!((parameter.values(), momentum.values()), (vec![1.0, 2.0, 3.0], vec![0.0; 3]));
    }
    for (far, faulty) in [(1e19f32, 0.0), (1e20, 1.0)] {
        let gradient = gpu.array(&[0f32, far]);
        let mut report = super::gradient_report(&gpu, &[gradient.view()], 1.0, 0.0).unwrap();
        let mut parameter = gpu.array(&[1f32, 1.0]);
        let mut momentum = gpu.array(&[0f32; 2]);
        let (p, r) = (parameter.view_mut(), report.view_mut());
        super::sgd_step(&gpu, p, gradient.view(), &mut momentum, r, &numbers).unwrap();
        assert_eq!(report.values()[1], faulty, "{far}");
    }
}

#[test]
fn rows_are_gathered_and_collected() {
    let Some(gpu) = gpu() else { return };
    // No row; one; some several times and some never; more values than a block has threads.
    for (n, m, dim) in [(3, 0, 2), (1, 1, 1), (5, 12, 3), (400, 300, 7)] {
        let rows: Vec<u32> = (0..m as u32).map(|i| i * i % 11 * 7 % n as u32).collect();
        let (matrix, gradient) = (noise(n * dim, 1), noise(m * dim, 2));
        let (mut gathered, mut collected) = (Vec::new(), vec![0f32; n * dim]);
        for (&row, gradient) in rows.iter().zip(gradient.chunks(dim)) {
            let row = row as usize * dim;
            gathered.extend_from_slice(&matrix[row..row + dim]);
            collected[row..row + dim].iter_mut().zip(gradient).for_each(|(c, g)| *c += g);
        }
        let memory = gpu.array(&matrix);
        let on_device = super::RowsOnDevice::new(&gpu, &rows, &Readers::of(&rows)).unwrap();
        let got = super::gather_rows(&gpu, memory.view(), &on_device, dim).unwrap().values();
        assert_eq!(got[..gathered.len()], gathered);
        let memory = gpu.array(&gradient);
        let got = super::collect_rows(&gpu, memory.view(), &on_device, (n, dim)).unwrap().values();
        assert_eq!(got, collected, "{n} {m} {dim}");
    }
}
