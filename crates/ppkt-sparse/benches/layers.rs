//! Batch norm with residual and ReLU, and the linear map, forward and with backward.
//!
//! They are bound by memory: 100k voxels with 64 channels are 25.6 MB a tensor, and throughput is counted in bytes of
//! one such tensor. 20k voxels with 96 channels is the last level of MinkUNet34C on one RGB-D frame.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_sparse::{BatchNorm, Pointwise, SparseTensor, VarStore, add, relu};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn leaf(n: usize, c: usize) -> SparseTensor {
    let coords: Vec<[i32; 4]> = (0..n as i32).map(|i| [0, i % 512, i / 512, 0]).collect();
    let coords =
        SparseTensor::new(&coords, Tensor::zeros((n, 1), candle_core::DType::F32, &Device::Cpu).unwrap());
    let values: Vec<f32> =
        (0..n * c).map(|i| ((i * 2_654_435_761) >> 7) as u16 as f32 / 32768.0 - 1.0).collect();
    let var = Var::from_vec(values, (n, c), &Device::Cpu).unwrap();
    coords.unwrap().0.with_features(var.as_tensor().clone()).unwrap()
}

fn layers(criterion: &mut Criterion) {
    for (n, c) in [(20_000, 96), (100_000, 64)] {
        let (x, r) = (leaf(n, c), leaf(n, c));
        let r = x.with_features(r.features().clone()).unwrap();
        let vb = VarStore::new(0).builder(&Device::Cpu);
        let norm = BatchNorm::new(c, 0.1, vb.pp("norm")).unwrap();
        let head = Pointwise::new(c, 128, vb.pp("head")).unwrap();
        let mut group = criterion.benchmark_group("layers");
        group.throughput(Throughput::Bytes((n * c * 4) as u64));
        group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        let size = format!("{n}x{c}");
        let mut both = |name: &str, f: &dyn Fn() -> SparseTensor| {
            group.bench_function(BenchmarkId::new(format!("{name}, forward"), &size), |b| {
                b.iter(|| black_box(f()));
            });
            // A gradient of ones, as `backward` starts with, without a sum on the way.
            group.bench_function(BenchmarkId::new(format!("{name}, and backward"), &size), |b| {
                b.iter(|| black_box(f().features().backward().unwrap()));
            });
        };
        both("norm", &|| norm.forward(&x, true).unwrap());
        both("norm relu", &|| norm.forward_relu(&x, true).unwrap());
        both("norm add relu", &|| norm.forward_add_relu(&x, &r, true).unwrap());
        both("norm add relu, unfused", &|| {
            relu(&add(&norm.forward(&x, true).unwrap(), &r).unwrap()).unwrap()
        });
        both("linear to 128", &|| head.forward(&x).unwrap());
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
