//! The network, forward and backward, the same on every device that the tests were built for.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use ppkt_sparse::{Precision, SparseTensor, VarStore};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};
use ppkt_testkit::devices;

use common::{numbers, surface};

/// Scores, gradients and running statistics of one pass, by name.
type Pass = BTreeMap<String, Vec<f32>>;

fn on_the_processor(t: &Tensor) -> Vec<f32> {
    t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// What a network computes with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    F32,
    /// f32, with weights and input that were rounded to bf16 at the beginning.
    F32OfRounded,
    Bf16,
}

fn pass(device: &Device, numbers_are: Numbers, edge: i32, train: bool) -> Pass {
    let precision = if numbers_are == Numbers::Bf16 { Precision::Bf16 } else { Precision::F32 };
    let rounded = |t: &Tensor| t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    let config = MinkUNetConfig { arch: Arch::MinkUNet14Tiny, out_channels: 8, ..Default::default() };
    let store = VarStore::new(11);
    let net = MinkUNet::new(&config, store.builder(device)).unwrap().with_precision(precision).unwrap();
    let coords = surface(edge, 2);
    let features = Tensor::from_vec(numbers(coords.len() * 3, 5), (coords.len(), 3), device).unwrap();
    let features = Var::from_tensor(&features).unwrap();
    if numbers_are == Numbers::F32OfRounded {
        let vars = store.trainable().into_iter().map(|(_, var)| var);
        vars.chain([features.clone()]).for_each(|var| var.set(&rounded(var.as_tensor())).unwrap());
    }
    let (x, _) = SparseTensor::with_batch_size(&coords, features.as_tensor().clone(), 2).unwrap();
    let y = net.forward(&x, train).unwrap();
    assert_eq!(y.features().dtype(), DType::F32);
    let target = Tensor::from_vec(numbers(y.len() * 8, 17), (y.len(), 8), device).unwrap();
    let grads = (y.features() * target).unwrap().sum_all().unwrap().backward().unwrap();
    let mut all: Pass = store
        .trainable()
        .into_iter()
        .map(|(name, var)| (name, on_the_processor(grads.get(&var).unwrap())))
        .collect();
    all.insert("features".into(), on_the_processor(grads.get(&features).unwrap()));
    all.insert("scores".into(), on_the_processor(y.features()));
    let buffers = store.buffers().into_iter().filter(|(n, _)| !n.ends_with("tracked"));
    all.extend(buffers.map(|(name, v)| (name, on_the_processor(&v))));
    all
}

/// Length of the difference over the length of `want`.
fn off(got: &[f32], want: &[f32]) -> f64 {
    let square = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let difference = square(&mut got.iter().zip(want).map(|(g, w)| f64::from(g - w)));
    let length = square(&mut want.iter().map(|&w| f64::from(w)));
    if difference == 0.0 { 0.0 } else { difference / length.max(1e-9) }
}

fn compare(edge: i32, train: bool) {
    let want = pass(&Device::Cpu, Numbers::F32, edge, train);
    let of_rounded = pass(&Device::Cpu, Numbers::F32OfRounded, edge, train);
    for device in devices() {
        let got = pass(&device, Numbers::F32, edge, train);
        assert_eq!(got.len(), want.len());
        for (name, want) in &want {
            let off = off(&got[name], want);
            assert!(off <= 1e-3, "{name} on {:?}: off by {off:.1e}", device.location());
        }
        assert_eq!(got, pass(&device, Numbers::F32, edge, train), "not the same in every run");
        if let Err(reason) = Precision::Bf16.check_on(&device) {
            println!("no bf16: {reason}");
            continue;
        }
        let got = pass(&device, Numbers::Bf16, edge, train);
        // Few voxels' gradients are sums that nearly cancel; to round weights and input alone moves them as far. So
        // the tensors are looked at together.
        let mean = |pass: &Pass| want.iter().map(|(n, w)| off(&pass[n], w)).sum::<f64>() / want.len() as f64;
        let (is, allowed) = (mean(&got), 1.5 * mean(&of_rounded) + 0.02);
        assert!(
            edge < 10 || (is > 0.0 && is <= allowed),
            "bf16 on {:?}: {is} > {allowed}",
            device.location()
        );
        assert!(got.values().flatten().all(|v| v.is_finite()));
        assert_eq!(got, pass(&device, Numbers::Bf16, edge, train), "not the same in every run");
    }
}

#[test]
fn device_networks_in_training() {
    compare(48, true);
}

#[test]
fn device_networks_in_evaluation() {
    compare(20, false);
    compare(1, false);
    compare(0, false);
}
