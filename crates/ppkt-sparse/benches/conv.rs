//! Sub-manifold convolution 3×3×3, forward and backward, on the surfaces of a room.
//!
//! Throughput counts two operations for each pair of voxels, input channel and output channel, so `elem/s` are real
//! FLOP/s: no padding, no zeros. 20k voxels are one RGB-D frame at 2.5 cm, 100k a scanned room; 32 to 128 channels
//! are those of the networks' large levels.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Duration;

use candle_core::{Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_sparse::{ConvSpec, SparseTensor, conv};

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

criterion_group!(conv_benches, benches);
criterion_main!(conv_benches);
