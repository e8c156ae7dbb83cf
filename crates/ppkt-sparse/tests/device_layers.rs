//! Norm, pooling and operations on rows: the same on every device that the tests were built for.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use ppkt_sparse::{
    BatchNorm, ConvSpec, Merge, SparseTensor, VarStore, add, avg_pool, cat, global_avg_pool, global_max_pool,
    global_sum_pool, max_pool, relu, sum_pool, unit_norm,
};
use ppkt_testkit::{devices, rows_allowed};

use common::Numbers;

/// What a computation gives: results, gradients, statistics, by name.
type Given = Vec<(&'static str, Vec<f32>)>;

fn numbers(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_device(&Device::Cpu).unwrap().to_vec1().unwrap()
}

/// Voxels of some size, in random order.
fn voxels(n: usize) -> Vec<[i32; 4]> {
    match n {
        0 => Vec::new(),
        1 => vec![[1, -3, 8, 2]],
        _ => {
            // A bumpy sheet in two items, turned over.
            let edge = (n as f64 / 2.0).sqrt().ceil() as i32;
            let on = |i: i32| {
                let (b, x, y) = (i % 2, i / 2 % edge, i / 2 / edge);
                [b, x - edge / 2, y - edge / 3, (x * 7 + y * y) % 5 + b]
            };
            (0..n as i32).rev().map(on).collect()
        }
    }
}

/// Runs `compute` on every device and compares with the processor.
fn on_every_device(
    n: usize,
    channels: usize,
    tolerance: f32,
    compute: impl Fn(&SparseTensor, &Var) -> Given,
) {
    let coords = voxels(n);
    let mut want: Option<Given> = None;
    for device in devices() {
        let features = Numbers::new(3).tensor(&[n, channels]).to_device(&device).unwrap();
        let var = Var::from_tensor(&features).unwrap();
        let (x, _) = SparseTensor::with_batch_size(&coords, var.as_tensor().clone(), 3).unwrap();
        assert!(x.features().device().same_device(&device));
        let got = compute(&x, &var);
        let Some(want) = &want else {
            assert!(got.iter().all(|(_, v)| v.iter().all(|v| v.is_finite())));
            want = Some(got);
            continue;
        };
        for ((name, got), (_, want)) in got.iter().zip(want) {
            assert_eq!(got.len(), want.len(), "{name}");
            let largest = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                assert!((g - w).abs() <= tolerance * largest, "{name} on {device:?}, {i}: {g}, not {w}");
            }
        }
    }
}

/// A result, and the gradient of its product with numbers by `var`.
fn with_gradient(name: &'static str, y: &Tensor, var: &Var) -> Given {
    let times = Numbers::new(5).tensor(y.dims()).to_device(y.device()).unwrap();
    let grads = (y * times).unwrap().sum_all().unwrap().backward().unwrap();
    let dx = grads.get(var).map(numbers).unwrap_or_default();
    vec![(name, numbers(y)), ("its gradient", dx)]
}

fn sizes() -> [(usize, usize); 3] {
    [(1, 3), (1001, 20), (100_000, 32)].map(|(n, channels)| (rows_allowed(n), channels))
}

#[test]
fn device_norm_in_training_and_evaluation() {
    for (n, channels) in sizes() {
        on_every_device(n, channels, 2e-5, |x, var| {
            let device = var.device();
            let store = VarStore::new(7);
            let norm = BatchNorm::new(channels, 0.1, store.builder(device)).unwrap();
            let mut given = Given::new();
            let residual = x.with_features((x.features() * 0.5).unwrap()).unwrap();
            for train in [true, false] {
                if train && n < 2 {
                    continue;
                }
                for form in 0..3 {
                    let y = match form {
                        0 => norm.forward(x, train),
                        1 => norm.forward_relu(x, train),
                        _ => norm.forward_add_relu(x, &residual, train),
                    };
                    let y = y.unwrap();
                    let times = Numbers::new(5).tensor(&[n, channels]).to_device(device).unwrap();
                    let grads = (y.features() * times).unwrap().sum_all().unwrap().backward().unwrap();
                    given.push(("norm", numbers(y.features())));
                    given.push(("gradient of the features", numbers(grads.get(var).unwrap())));
                    for (name, parameter) in store.trainable() {
                        let name =
                            if name.ends_with("weight") { "gradient of gamma" } else { "gradient of beta" };
                        given.push((name, numbers(grads.get(&parameter).unwrap())));
                    }
                }
            }
            for (_, buffer) in store.buffers() {
                given.push(("running statistics", numbers(&buffer)));
            }
            given
        });
    }
}

#[test]
fn device_rows() {
    for (n, channels) in sizes() {
        on_every_device(n, channels, 1e-5, |x, var| {
            let mut given = with_gradient("relu", relu(x).unwrap().features(), var);
            given.extend(with_gradient("unit norm", &unit_norm(x.features()).unwrap(), var));
            let twice = x.with_features((x.features() * 2.0).unwrap()).unwrap();
            given.extend(with_gradient("add", add(x, &twice).unwrap().features(), var));
            given.extend(with_gradient("cat", cat(&[x, &twice, x]).unwrap().features(), var));
            given
        });
    }
}

#[test]
fn device_pooling() {
    for (n, channels) in sizes() {
        on_every_device(n, channels, 1e-5, |x, var| {
            let mut given = Given::new();
            for spec in [ConvSpec::new(2, 2), ConvSpec::new(3, 1), ConvSpec::new(3, 2)] {
                given.extend(with_gradient("sum_pool", sum_pool(x, spec).unwrap().features(), var));
                given.extend(with_gradient("avg_pool", avg_pool(x, spec).unwrap().features(), var));
                given.extend(with_gradient("max_pool", max_pool(x, spec).unwrap().features(), var));
            }
            given.extend(with_gradient("global_sum_pool", &global_sum_pool(x).unwrap(), var));
            given.extend(with_gradient("global_avg_pool", &global_avg_pool(x).unwrap(), var));
            given.extend(with_gradient("global_max_pool", &global_max_pool(x).unwrap(), var));
            given
        });
    }
}

#[test]
fn device_merged_rows() {
    let coords: Vec<[i32; 4]> = (0..997).map(|i| [0, i % 31, i % 7, 0]).collect();
    let mut want: Option<Given> = None;
    for device in devices() {
        let mut given = Given::new();
        for merge in [Merge::Mean, Merge::Sum] {
            let features = Numbers::new(3).tensor(&[coords.len(), 6]).to_device(&device).unwrap();
            let var = Var::from_tensor(&features).unwrap();
            let (x, _) = SparseTensor::merged(&coords, var.as_tensor().clone(), merge).unwrap();
            given.extend(with_gradient("merged", x.features(), &var));
        }
        let want = want.get_or_insert_with(|| given.clone());
        assert_eq!(&given, want, "on {device:?}");
    }
}

/// Nothing at all, which a driver may refuse to give memory for.
#[test]
fn device_nothing() {
    on_every_device(0, 4, 0.0, |x, _| {
        let y = relu(x).unwrap();
        let pooled = sum_pool(&y, ConvSpec::new(2, 2)).unwrap();
        vec![
            ("relu", numbers(y.features())),
            ("sum_pool", numbers(pooled.features())),
            ("global_max_pool", numbers(&global_max_pool(x).unwrap())),
        ]
    });
}

/// Two runs give the same bits on every device.
#[test]
fn device_results_are_the_same_in_every_run() {
    for device in devices() {
        let n = rows_allowed(20_000);
        let coords = voxels(n);
        let run = || {
            let var =
                Var::from_tensor(&Numbers::new(3).tensor(&[n, 24]).to_device(&device).unwrap()).unwrap();
            let (x, _) = SparseTensor::new(&coords, var.as_tensor().clone()).unwrap();
            let norm = BatchNorm::new(24, 0.1, VarStore::new(7).builder(&device)).unwrap();
            let y = norm.forward_relu(&x, true).unwrap();
            let y = max_pool(&avg_pool(&y, ConvSpec::new(3, 1)).unwrap(), ConvSpec::new(2, 2)).unwrap();
            with_gradient("all", y.features(), &var)
        };
        assert_eq!(run(), run(), "on {device:?}");
    }
}

#[test]
fn device_parameters_begin_alike() {
    for device in devices() {
        let draw = |device: &Device| {
            let store = VarStore::new(3);
            ppkt_sparse::SparseConv3d::new(4, 8, ConvSpec::new(3, 1), store.builder(device).pp("conv"))
                .unwrap();
            BatchNorm::new(8, 0.1, store.builder(device).pp("norm")).unwrap();
            store.all().iter().map(|(name, v)| (name.clone(), numbers(v))).collect::<Vec<_>>()
        };
        assert_eq!(draw(&device), draw(&Device::Cpu));
    }
}
