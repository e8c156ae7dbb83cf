//! The network in bf16 against the network in f32.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use ppkt_sparse::{Precision, SparseTensor, VarStore};
use ppkt_student::MinkUNet;

use common::{tiny, values, voxels};

/// Scores, gradients and running statistics of one training pass.
type Pass = (Vec<f32>, BTreeMap<String, Vec<f32>>, Vec<Vec<f32>>);

fn rounded(t: &Tensor) -> Tensor {
    t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()
}

fn pass(net: &MinkUNet, store: &VarStore, x: &SparseTensor, train: bool) -> Pass {
    let features = Var::from_tensor(x.features()).unwrap();
    let x = x.with_features(features.as_tensor().clone()).unwrap();
    let y = net.forward(&x, train).unwrap();
    let y = y.features();
    let grads = y.sqr().unwrap().mean_all().unwrap().backward().unwrap();
    let mut all: BTreeMap<String, Vec<f32>> =
        store.trainable().into_iter().map(|(name, var)| (name, values(grads.get(&var).unwrap()))).collect();
    all.insert("features".into(), values(grads.get(&features).unwrap()));
    let buffers = store.buffers().into_iter().filter(|(n, _)| !n.ends_with("tracked"));
    (values(y), all, buffers.map(|(_, v)| values(&v)).collect())
}

/// A pass in f32.
fn exact(x: &SparseTensor, train: bool) -> Pass {
    let (_, store, net) = tiny(8);
    pass(&net, &store, x, train)
}

/// A pass in f32 through a network whose weights and input alone were rounded to bf16.
fn with_rounded_weights(x: &SparseTensor, train: bool) -> Pass {
    let (_, store, net) = tiny(8);
    store.trainable().into_iter().for_each(|(_, var)| var.set(&rounded(var.as_tensor())).unwrap());
    pass(&net, &store, &x.with_features(rounded(x.features())).unwrap(), train)
}

/// The network in bf16; none, said so, where the processor has none.
fn bf16() -> Option<(MinkUNet, VarStore)> {
    let (_, store, net) = tiny(8);
    match net.with_precision(Precision::Bf16) {
        Ok(net) => Some((net, store)),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Length of the difference over the length of `want`.
fn off(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |v: f32| f64::from(v) * f64::from(v);
    let length = want.iter().map(|&w| square(w)).sum::<f64>().sqrt();
    got.iter().zip(want).map(|(g, w)| square(g - w)).sum::<f64>().sqrt() / length.max(1e-30)
}

/// Scores behind fifteen layers, and gradients behind thirty. Rounding moves some values across a ReLU's zero, and the
/// gradients of few voxels are sums that nearly cancel: to round no more than the weights and the input changes
/// gradients in the middle of this network by a third. So that is what they are measured by.
#[test]
fn scores_and_gradients_are_as_near_to_those_of_f32_as_rounded_weights_allow() {
    let x = voxels(60, 2, 3);
    for train in [true, false] {
        let (y, grads, buffers) = exact(&x, train);
        let (y_weights, grads_weights, _) = with_rounded_weights(&x, train);
        let Some((net, store)) = bf16() else { return };
        let (y16, grads16, buffers16) = pass(&net, &store, &x, train);
        assert!(y != y16, "bf16 was computed");
        let (got, allowed) = (off(&y16, &y), 2.0 * off(&y_weights, &y) + 0.005);
        assert!(got < allowed, "train {train}: the scores are off by {got}, more than {allowed}");
        assert_eq!(grads.len(), grads16.len());
        for (name, want) in &grads {
            let (got, allowed) = (off(&grads16[name], want), 2.0 * off(&grads_weights[name], want) + 0.02);
            assert!(got < allowed, "train {train}: {name} is off by {got}, more than {allowed}");
        }
        for (got, want) in buffers16.iter().zip(&buffers) {
            assert!(off(got, want) < 0.05, "train {train}: statistics are off by {}", off(got, want));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let x = voxels(50, 2, 3);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bf16().map(|(net, store)| pass(&net, &store, &x, true)))
    };
    let one = on(1);
    assert!([2, 3, 5].into_iter().all(|threads| on(threads) == one));
}

/// No voxels, and one: evaluation alone, as a norm in training needs two.
#[test]
fn the_smallest_inputs() {
    let Some((net, _)) = bf16() else { return };
    for coords in [vec![], vec![[0, 5, -3, 2]]] {
        let features = Tensor::zeros((coords.len(), 3), DType::F32, &Device::Cpu).unwrap();
        let (x, _) = SparseTensor::new(&coords, features).unwrap();
        let y = net.forward(&x, false).unwrap();
        assert_eq!(y.features().dims(), [coords.len(), 8]);
        assert!(values(y.features()).iter().all(|v| v.is_finite()));
        assert!(coords.is_empty() || net.forward(&x, true).is_err());
    }
}
