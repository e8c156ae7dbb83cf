//! Pooling against loops over a dense grid, and its gradients against differences.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use ppkt_sparse::{
    ConvSpec, SparseTensor, avg_pool, global_avg_pool, global_max_pool, global_sum_pool, max_pool, sum_pool,
};
use ppkt_testkit::assert_close;

mod common;
use common::{Numbers, sparse, values};

/// For each coarse voxel, the rows of the fine voxels under the kernel.
fn windows(fine: &SparseTensor, coarse: &SparseTensor, spec: ConvSpec) -> Vec<Vec<usize>> {
    let step = fine.stride() as i32;
    let find = |c: &[i32; 4], o: &[i32; 3]| {
        let at = [c[0], c[1] + step * o[0], c[2] + step * o[1], c[3] + step * o[2]];
        fine.coords().iter().position(|f| *f == at)
    };
    coarse.coords().iter().map(|c| spec.offsets().iter().filter_map(|o| find(c, o)).collect()).collect()
}

#[test]
fn local_pools_agree_with_loops() {
    let mut n = Numbers::new(21);
    let coords = n.pattern(2, 7, 0.4);
    for spec in [ConvSpec::new(2, 2), ConvSpec::new(3, 2), ConvSpec::new(3, 1), ConvSpec::new(1, 2)] {
        let (x, _) = sparse(&coords, 3, &mut n);
        let f = values(x.features());
        let column =
            |rows: &[usize], c: usize| rows.iter().map(|r| f64::from(f[r * 3 + c])).collect::<Vec<_>>();
        let y = sum_pool(&x, spec).unwrap();
        let windows = windows(&x, &y, spec);
        let want = |reduce: &dyn Fn(Vec<f64>) -> f64| -> Vec<f64> {
            windows.iter().flat_map(|w| (0..3).map(|c| reduce(column(w, c))).collect::<Vec<_>>()).collect()
        };
        let sum = |v: Vec<f64>| v.iter().sum::<f64>();
        let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
        let max = |v: Vec<f64>| v.into_iter().reduce(f64::max).unwrap_or(0.0);
        assert_close(&format!("{spec:?}: sum"), &values(y.features()), &want(&sum), 1e-6);
        assert_close("mean", &values(avg_pool(&x, spec).unwrap().features()), &want(&mean), 1e-6);
        assert_close("max", &values(max_pool(&x, spec).unwrap().features()), &want(&max), 0.0);
    }
}

#[test]
fn gradients_agree_with_differences() {
    let mut n = Numbers::new(22);
    let coords = n.pattern(3, 5, 0.5);
    let (x, features) = sparse(&coords, 4, &mut n);
    type Op = fn(&SparseTensor) -> candle_core::Tensor;
    let local: [Op; 3] = [
        |x| sum_pool(x, ConvSpec::new(3, 2)).unwrap().features().clone(),
        |x| avg_pool(x, ConvSpec::new(3, 1)).unwrap().features().clone(),
        |x| max_pool(x, ConvSpec::new(3, 2)).unwrap().features().clone(),
    ];
    let global: [Op; 3] =
        [|x| global_sum_pool(x).unwrap(), |x| global_avg_pool(x).unwrap(), |x| global_max_pool(x).unwrap()];
    for (i, op) in local.into_iter().chain(global).enumerate() {
        let scale = n.tensor(op(&x).dims());
        let loss = |x: &SparseTensor| (op(x) * &scale).unwrap().sum_all().unwrap();
        let grads = loss(&x).backward().unwrap();
        let number = |t: candle_core::Tensor| f64::from(t.to_scalar::<f32>().unwrap());
        // Values differ by more than the step almost everywhere, so that the largest stays the largest.
        let direction = n.tensor(features.dims());
        let slope = number((grads.get(&features).unwrap() * &direction).unwrap().sum_all().unwrap());
        let step = 1e-4;
        let moved = |s: f64| {
            let f = (features.as_tensor() + direction.affine(s, 0.0).unwrap()).unwrap();
            number(loss(&x.with_features(f).unwrap()))
        };
        let difference = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope - difference).abs() < 2e-2 * slope.abs().max(1.0), "pool {i}: {slope} {difference}");
    }
}

#[test]
fn a_tie_goes_to_one_voxel() {
    let coords = [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]];
    let ones = candle_core::Tensor::ones((3, 1), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let (x, _) = SparseTensor::new(&coords, ones.clone()).unwrap();
    let features = candle_core::Var::from_tensor(&ones).unwrap();
    let x = x.with_features(features.as_tensor().clone()).unwrap();
    for y in [max_pool(&x, ConvSpec::new(2, 2)).unwrap().features().clone(), global_max_pool(&x).unwrap()] {
        let grads = y.backward().unwrap();
        assert_eq!(values(grads.get(&features).unwrap()), [1.0, 0.0, 0.0]);
    }
}

#[test]
fn nan_is_not_swallowed() {
    let f = candle_core::Tensor::new(&[[1f32], [f32::NAN], [2.0]], &candle_core::Device::Cpu).unwrap();
    let (x, _) = SparseTensor::new(&[[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], f).unwrap();
    assert!(values(max_pool(&x, ConvSpec::new(2, 2)).unwrap().features())[0].is_nan());
    assert!(values(&global_max_pool(&x).unwrap())[0].is_nan());
}
