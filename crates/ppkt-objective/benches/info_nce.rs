//! The losses at the sizes that pretraining uses.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(missing_docs, reason = "criterion makes public items")]

use std::hint::black_box;

use candle_core::{Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_objective::{
    CentredCosine, Cosine, Embeddings, InfoNce, L2, Objective, PooledInfoNce, SegmentedEmbeddings, retrieval,
};
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

/// The losses without negatives, and the measure of success, at the same size.
fn others(c: &mut Criterion) {
    let (n, dim) = (4096, 64);
    let (trained, fixed) = (embeddings(n, dim, true), embeddings(n, dim, false));
    let mut group = c.benchmark_group("others/4096x64");
    group.sample_size(20);
    let losses: [(&str, &dyn Objective); 3] =
        [("l2", &L2), ("cosine", &Cosine), ("centred_cosine", &CentredCosine)];
    for (name, objective) in losses {
        group.bench_function(BenchmarkId::new("forward_backward", name), |b| {
            b.iter(|| black_box(objective.loss(&trained).unwrap().value.backward().unwrap()));
        });
    }
    // Not of unit length, which costs the same.
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (point, pixel) = (values(&fixed.point), values(&fixed.pixel));
    group.bench_function("retrieval", |b| {
        b.iter(|| black_box(retrieval(&point, &pixel, dim, &[1, 10]).unwrap()));
    });
    group.finish();
}

/// One driving scene as SLidR has it: 6 cameras of 224 × 416, 150 superpixels each, 4,096 pairs of 64 channels.
fn pooled(c: &mut Criterion) {
    let (views, height, width, segments_per_view, n, dim) = (6, 224, 416, 150u32, 4096, 64);
    let pixels = (0..n as u32).map(|i| [i % 6, i * 61 % height, i * 97 % width]).collect();
    let side = embeddings(n, dim, true).point;
    let map = embeddings(views * (height * width) as usize, dim, true).pixel;
    let map = map.reshape((views, height as usize, width as usize, dim)).unwrap();
    // Squares of about the size of a superpixel: 15 in a row, 10 rows.
    let square = |i: u32| (i / width % height * 10 / height) * 15 + i % width * 15 / width;
    let segments = (0..views as u32 * height * width).map(square).collect();
    let embeddings =
        SegmentedEmbeddings { point: side, feature_map: map, segments, segments_per_view, pixels };
    let mut group = c.benchmark_group("pooled_info_nce");
    group.sample_size(10);
    group.bench_function("forward_backward 6 views", |b| {
        b.iter(|| {
            let loss = PooledInfoNce::default().loss(&embeddings).unwrap();
            black_box(loss.value.backward().unwrap());
        });
    });
    group.finish();
}

criterion_group!(benches, info_nce, others, pooled);
criterion_main!(benches);
