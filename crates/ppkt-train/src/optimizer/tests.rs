//! Optimisers against their recurrences in f64, and their state.

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};

use super::*;

/// Loss ½·Σ aᵢ·pᵢ², so the gradient is a·p; the same recurrences in f64 are the reference.
fn run(config: &OptimizerConfig, steps: usize) -> (Vec<f32>, Vec<f64>) {
    let a = [1.0f64, 0.3, 2.0, 0.01];
    let start = [1.0f64, -2.0, 0.5, 3.0];
    let var = Var::from_vec(start.map(|v| v as f32).to_vec(), 4, &Device::Cpu).unwrap();
    let weights = Tensor::from_vec(a.map(|v| v as f32).to_vec(), 4, &Device::Cpu).unwrap();
    let mut optimizer = Optimizer::new(config, vec![("p".into(), var.clone())]).unwrap();
    let (mut p, mut v, mut m1, mut m2) = (start, [0f64; 4], [0f64; 4], [0f64; 4]);
    for step in 1..=steps {
        let loss = ((var.as_tensor().sqr().unwrap() * &weights).unwrap().sum_all().unwrap() * 0.5).unwrap();
        optimizer.step(&loss.backward().unwrap(), config.lr, 1.0).unwrap();
        for i in 0..4 {
            let mut g = a[i] * p[i];
            match config.kind {
                OptimizerKind::Sgd => {
                    g += config.weight_decay * p[i];
                    v[i] = if step == 1 { g } else { config.momentum * v[i] + (1.0 - config.dampening) * g };
                    p[i] -= config.lr * if config.nesterov { g + config.momentum * v[i] } else { v[i] };
                }
                OptimizerKind::Adamw => {
                    let [b1, b2] = config.betas;
                    p[i] -= config.lr * config.weight_decay * p[i];
                    m1[i] = b1 * m1[i] + (1.0 - b1) * g;
                    m2[i] = b2 * m2[i] + (1.0 - b2) * g * g;
                    let (h1, h2) =
                        (m1[i] / (1.0 - b1.powi(step as i32)), m2[i] / (1.0 - b2.powi(step as i32)));
                    p[i] -= config.lr * h1 / (h2.sqrt() + config.eps);
                }
            }
        }
    }
    (var.to_vec1().unwrap(), p.to_vec())
}

#[test]
fn sgd_follows_its_recurrence() {
    for (momentum, dampening, nesterov) in
        [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.1, false), (0.9, 0.0, true)]
    {
        let config = OptimizerConfig { lr: 0.05, momentum, dampening, nesterov, ..Default::default() };
        let (got, want) = run(&config, 20);
        ppkt_testkit::assert_close("p", &got, &want, 1e-5);
    }
}

#[test]
fn adamw_follows_its_recurrence() {
    let config =
        OptimizerConfig { kind: OptimizerKind::Adamw, lr: 0.01, weight_decay: 0.1, ..Default::default() };
    let (got, want) = run(&config, 20);
    ppkt_testkit::assert_close("p", &got, &want, 1e-5);
}

#[test]
fn state_that_is_saved_and_loaded_continues_bit_for_bit() {
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adamw] {
        let config = OptimizerConfig { kind, lr: 0.05, ..Default::default() };
        let step = |o: &mut Optimizer, var: &Var| {
            let loss = var.as_tensor().sqr().unwrap().sum_all().unwrap();
            o.step(&loss.backward().unwrap(), 0.05, 1.0).unwrap();
        };
        let var = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu).unwrap();
        let mut first = Optimizer::new(&config, vec![("p".into(), var.clone())]).unwrap();
        step(&mut first, &var);
        let copy = Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap();
        let mut second = Optimizer::new(&config, vec![("p".into(), copy.clone())]).unwrap();
        second.load_state(&first.state().unwrap(), first.updates()).unwrap();
        step(&mut first, &var);
        step(&mut second, &copy);
        assert_eq!(var.to_vec1::<f32>().unwrap(), copy.to_vec1::<f32>().unwrap());
    }
}

#[test]
fn a_missing_or_misshapen_state_is_refused() {
    let var = Var::from_vec(vec![1f32, 2.0], 2, &Device::Cpu).unwrap();
    let mut o = Optimizer::new(&OptimizerConfig::default(), vec![("p".into(), var)]).unwrap();
    assert!(o.load_state(&HashMap::new(), 1).is_err());
    let wrong = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(o.load_state(&HashMap::from([("p.momentum".to_owned(), wrong)]), 1).is_err());
}

#[test]
fn norms_and_faults_of_gradients_are_seen() {
    let a = Var::from_vec(vec![3f32], 1, &Device::Cpu).unwrap();
    let b = Var::from_vec(vec![4f32], 1, &Device::Cpu).unwrap();
    let o =
        Optimizer::new(&OptimizerConfig::default(), vec![("a".into(), a.clone()), ("b".into(), b.clone())])
            .unwrap();
    let half = |v: &Var| (v.as_tensor().sqr().unwrap() * 0.5).unwrap();
    let grads = (half(&a) + half(&b)).unwrap().sum_all().unwrap().backward().unwrap();
    assert!((o.gradient_norm(&grads).unwrap() - 5.0).abs() < 1e-9);
    assert_eq!(o.faulty_gradient(&grads, |_| 0).unwrap(), None);
    let both = (a.as_tensor() * f64::NAN).unwrap().add(&(b.as_tensor() * f64::NAN).unwrap()).unwrap();
    let grads = both.sum_all().unwrap().backward().unwrap();
    assert_eq!(o.faulty_gradient(&grads, |name| usize::from(name == "a")).unwrap().as_deref(), Some("a"));
    let grads = (b.as_tensor() * f64::NAN).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(o.faulty_gradient(&grads, |_| 0).unwrap().as_deref(), Some("b"));
}

#[test]
fn device_steps_are_those_of_the_cpu() {
    let noise = |n: usize, seed: u32| -> Vec<f32> {
        let value =
            |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
        (0..n as u32).map(value).collect()
    };
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adamw] {
        for clip_norm in [0.0, 1.0] {
            let config = OptimizerConfig { kind, lr: 0.05, clip_norm, ..Default::default() };
            // Three steps; then a checkpoint and one more.
            let run = |device: &Device| {
                let sizes = [1, 1000, 70_001];
                let vars: Vec<(String, Var)> = sizes
                    .iter()
                    .map(|&n| (format!("p{n}"), Var::from_vec(noise(n, 7), n, device).unwrap()))
                    .collect();
                let mut optimizer = Optimizer::new(&config, vars.clone()).unwrap();
                let mut norms = Vec::new();
                for step in 0..4 {
                    if step == 3 {
                        let (state, updates) = (optimizer.state().unwrap(), optimizer.updates());
                        optimizer = Optimizer::new(&config, vars.clone()).unwrap();
                        optimizer.load_state(&state, updates).unwrap();
                    }
                    let mut sum = Tensor::new(0f32, device).unwrap();
                    for (_, var) in &vars {
                        let by =
                            Tensor::from_vec(noise(var.elem_count(), step), var.shape(), device).unwrap();
                        let product = (var.as_tensor() * by).unwrap().sum_all().unwrap();
                        sum = (sum + product).unwrap();
                    }
                    let grads = sum.backward().unwrap();
                    let report = optimizer.clipped_step(&grads, config.lr, 0.5).unwrap();
                    norms.push(optimizer.checked_norm(&report, &grads, 0, |_| 0).unwrap());
                    assert!(matches!(report.faulty_parameter().unwrap(), None | Some(false)));
                }
                let values: Vec<f32> = vars.iter().flat_map(|(_, v)| v.to_vec1::<f32>().unwrap()).collect();
                (norms, values)
            };
            let (norms, values) = run(&Device::Cpu);
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            for device in ppkt_testkit::devices() {
                let what = format!("{kind:?} on {:?}", device.location());
                let got = run(&device);
                ppkt_testkit::assert_close(&what, &got.0, &norms, 1e-6);
                ppkt_testkit::assert_close(&what, &got.1, &values, 1e-5);
                assert!(run(&device) == got, "{what}: other bits");
            }
        }
    }
}

#[test]
fn device_gradients_that_are_not_finite_change_nothing() {
    for device in ppkt_testkit::devices() {
        let var = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &device).unwrap();
        let mut optimizer =
            Optimizer::new(&OptimizerConfig::default(), vec![("p".into(), var.clone())]).unwrap();
        let grads = (var.as_tensor() * f64::NAN).unwrap().sum_all().unwrap().backward().unwrap();
        let report = optimizer.clipped_step(&grads, 1.0, 1.0).unwrap();
        let error = optimizer.checked_norm(&report, &grads, 5, |_| 0).unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { step: 5, what: "gradient", .. }), "{error}");
        assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    }
}
