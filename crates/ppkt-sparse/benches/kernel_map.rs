//! Sorting coordinates and building kernel maps, on the surfaces of a room.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_sparse::{ConvSpec, CoordinateManager, Coords};

mod room;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn benches(criterion: &mut Criterion) {
    for voxels in [20_000, 100_000, 1_000_000] {
        let coords = room::room(voxels);
        let (set, order) = Coords::new(&coords).unwrap();
        let sorted: Vec<[i32; 4]> = order.iter().map(|&i| coords[i as usize]).collect();
        let mut group = criterion.benchmark_group(format!("kernel_map/{}k", voxels / 1000));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Elements(coords.len() as u64));
        group.bench_function("sort", |b| b.iter(|| Coords::new(&coords).unwrap()));
        group.bench_function("sort_sorted", |b| b.iter(|| Coords::new(&sorted).unwrap()));
        for (name, spec) in [
            ("3x3x3", ConvSpec::new(3, 1)),
            ("5x5x5", ConvSpec::new(5, 1)),
            ("2x2x2_stride_2", ConvSpec::new(2, 2)),
        ] {
            group.bench_function(BenchmarkId::new("build", name), |b| {
                b.iter_batched(
                    || CoordinateManager::new(set.clone()),
                    |manager| manager.kernel_map(1, spec).unwrap().n_pairs(),
                    criterion::BatchSize::LargeInput,
                );
            });
        }
    }
}

criterion_group!(map_benches, benches);
criterion_main!(map_benches);
