//! Sub-manifold convolution 3×3×3, forward and backward, on the surfaces of a room.
//!
//! Throughput counts two operations for each pair of voxels, input channel and output channel, so `elem/s` are real
//! FLOP/s: no padding, no zeros. 20k voxels are one RGB-D frame at 2.5 cm, 100k a scanned room; 32 to 128 channels
//! are those of the networks' large levels.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_sparse::{ConvSpec, SparseTensor, conv, conv_transpose};

mod room;

/// Every operation of candle's asks for fresh memory; the programs that use this crate have an allocator that keeps
/// its pages, and so has the bench.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn numbers(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn benches(criterion: &mut Criterion) {
    let spec = ConvSpec::new(3, 1);
    for voxels in [20_000, 100_000] {
        let coords = room::room(voxels);
        for channels in [32, 64, 128] {
            let features =
                Tensor::from_vec(numbers(coords.len() * channels), (coords.len(), channels), &Device::Cpu);
            let features = Var::from_tensor(&features.unwrap()).unwrap();
            let (x, _) = SparseTensor::new(&coords, features.as_tensor().clone()).unwrap();
            let x = x
                .with_features(Var::from_tensor(&x.features().detach()).unwrap().as_tensor().clone())
                .unwrap();
            let shape = (spec.volume(), channels, channels);
            let weight = Tensor::from_vec(numbers(27 * channels * channels), shape, &Device::Cpu).unwrap();
            let weight = Var::from_tensor(&weight).unwrap();
            let flop = 2 * x.manager().kernel_map(1, spec).unwrap().n_pairs() * channels * channels;

            let mut group = criterion.benchmark_group(format!("subm3/{}k", voxels / 1000));
            group
                .sample_size(10)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(2));
            group.throughput(Throughput::Elements(flop as u64));
            group.bench_function(BenchmarkId::new("forward", channels), |b| {
                b.iter(|| conv(&x, &weight, spec).unwrap());
            });
            group.throughput(Throughput::Elements(3 * flop as u64));
            group.bench_function(BenchmarkId::new("forward_backward", channels), |b| {
                b.iter(|| conv(&x, &weight, spec).unwrap().features().backward().unwrap());
            });
        }
    }
}

/// Between the finest level and the next, as the published network has it: 32 channels down to 64, and back. Each
/// fine voxel has one pair.
fn between_levels(criterion: &mut Criterion) {
    let spec = ConvSpec::new(2, 2);
    let coords = room::room(100_000);
    let (x, _) =
        SparseTensor::new(&coords, Tensor::zeros((coords.len(), 1), DType::F32, &Device::Cpu).unwrap())
            .unwrap();
    let coarse = x.manager().coarser(1, 2).unwrap();
    let leaf = |stride: u32, rows: usize, channels: usize| {
        let var = Var::from_vec(numbers(rows * channels), (rows, channels), &Device::Cpu).unwrap();
        SparseTensor::on(x.manager(), stride, var.as_tensor().clone()).unwrap()
    };
    let weight = |cin: usize, cout: usize| {
        Var::from_vec(numbers(8 * cin * cout), (8, cin, cout), &Device::Cpu).unwrap()
    };
    let (fine, coarse) = (leaf(1, x.len(), 32), leaf(2, coarse.len(), 64));
    let (down, up) = (weight(32, 64), weight(64, 32));
    let mut group = criterion.benchmark_group("between_levels/100k");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(3 * 2 * (x.len() * 32 * 64) as u64));
    group.bench_function("strided 32-64 forward_backward", |b| {
        b.iter(|| conv(&fine, &down, spec).unwrap().features().backward().unwrap());
    });
    group.bench_function("transposed 64-32 forward_backward", |b| {
        b.iter(|| conv_transpose(&coarse, &up, spec).unwrap().features().backward().unwrap());
    });
}

criterion_group!(conv_benches, benches, between_levels);
criterion_main!(conv_benches);
