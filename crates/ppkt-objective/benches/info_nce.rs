//! The contrastive loss at the sizes that pretraining uses.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(missing_docs, reason = "criterion makes public items")]

use std::hint::black_box;

use candle_core::{Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_objective::{Embeddings, InfoNce, Objective};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn embeddings(n: usize, dim: usize, trained: bool) -> Embeddings {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut side = || {
        let values: Vec<f32> = (0..n * dim).map(|_| rng.random_range(-1.0..1.0)).collect();
        let t = Tensor::from_vec(values, (n, dim), &Device::Cpu).unwrap();
        if trained { Var::from_tensor(&t).unwrap().into_inner() } else { t }
    };
    Embeddings { point: side(), pixel: side() }
}

fn info_nce(c: &mut Criterion) {
    let mut group = c.benchmark_group("info_nce");
    group.sample_size(20);
    // 4,096 pairs a step is what the paper's descendants use; they have 64 channels, the paper has 128.
    for (n, dim) in [(4096, 64), (4096, 128)] {
        // Of the similarity matrix.
        group.throughput(Throughput::Elements((n * n) as u64));
        let id = format!("{n}x{dim}");
        let trained = embeddings(n, dim, true);
        group.bench_function(BenchmarkId::new("forward_backward", &id), |b| {
            b.iter(|| {
                let loss = InfoNce::default().loss(&trained).unwrap();
                black_box(loss.value.backward().unwrap());
            });
        });
        let fixed = embeddings(n, dim, false);
        group.bench_function(BenchmarkId::new("value_only", &id), |b| {
            b.iter(|| black_box(InfoNce::default().loss(&fixed).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, info_nce);
criterion_main!(benches);
