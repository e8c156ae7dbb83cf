//! How fast rooms are rendered, on one core: they must never be what a training waits for.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ppkt_data::{Dataset, Rooms, RoomsConfig, Split};

/// Frames rendered in turn, since rooms differ much in cost.
const N: usize = 12;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("rooms");
    group.sample_size(10);
    // The demo's size, the default, and a real camera's.
    for (width, height) in [(160, 120), (320, 240), (640, 480)] {
        let config = RoomsConfig { rooms: N, width, height, ..RoomsConfig::default() };
        let Ok(rooms) = Rooms::new(config, Split::All) else { continue };
        group.throughput(Throughput::Elements(N as u64));
        group.bench_function(format!("{N} frames of {width}x{height}"), |b| {
            b.iter(|| (0..N).map(|i| rooms.sample(i).map_or(0, |s| s.cloud.points.len())).sum::<usize>());
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
