//! A training step (forward, backward) and an inference of the smallest and of the published network.
//!
//! 20,000 voxels are about one RGB-D frame at 2.5 cm; colour in, 128 dimensions out, as the paper has it.
//!
//! ```text
//! CANDLE_NUM_THREADS=1 cargo bench -p ppkt-student
//! ```
//! candle's own threads spin between its operations, and take time from ours: so one of them.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ppkt_sparse::{SparseTensor, VarStore};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The surfaces of a room with a few boxes in it, cut at `n` voxels.
fn room(n: usize) -> Vec<[i32; 4]> {
    let (x1, y1, z1) = (80, 90, 60);
    let mut set = std::collections::BTreeSet::new();
    let mut shell = |lo: [i32; 3], hi: [i32; 3], all: bool| {
        for x in lo[0]..=hi[0] {
            for y in lo[1]..=hi[1] {
                for z in lo[2]..=hi[2] {
                    let far = x == hi[0] || y == hi[1] || (all && z == hi[2]);
                    if x == lo[0] || y == lo[1] || z == lo[2] || far {
                        set.insert([0, x, y, z]);
                    }
                }
            }
        }
    };
    shell([0, 0, 0], [x1, y1, z1], false);
    for (i, size) in [(1, 14), (2, 18), (3, 10), (4, 22)] {
        shell([i * 15, i * 17, 1], [i * 15 + size, i * 17 + size, 1 + size], true);
    }
    let all: Vec<_> = set.into_iter().collect();
    assert!(all.len() >= n, "{} voxels", all.len());
    all[..n].to_vec()
}

fn step(c: &mut Criterion) {
    let coords = room(20_000);
    for arch in [Arch::MinkUNet14Tiny, Arch::MinkUNet14A, Arch::MinkUNet34C] {
        let config = MinkUNetConfig { arch, ..Default::default() };
        let store = VarStore::new(0);
        let net = MinkUNet::new(&config, store.builder(&Device::Cpu)).expect("a network");
        let features =
            Tensor::ones((coords.len(), 3), candle_core::DType::F32, &Device::Cpu).expect("features");
        let make = || SparseTensor::new(&coords, features.clone()).expect("voxels").0;

        let mut group = c.benchmark_group(format!("{arch} 20k voxels"));
        group.throughput(Throughput::Elements(coords.len() as u64));
        group.sample_size(10).warm_up_time(Duration::from_secs(2)).measurement_time(Duration::from_secs(10));
        group.bench_function("forward and backward, maps included", |b| {
            b.iter(|| {
                let y = net.forward(&make(), true).expect("forward");
                let loss = y.features().sum_all().expect("loss");
                black_box(loss.backward().expect("backward"))
            });
        });
        group.bench_function("inference, maps included", |b| {
            b.iter(|| black_box(net.forward(&make(), false).expect("forward")));
        });
        group.finish();
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
