//! The hot paths, at the sizes of the real workload.
//!
//! `cargo bench --bench geometry -p ppkt-geometry [--features rayon]`. Inputs are built outside the clock; every
//! figure is for one call on one thread unless the `rayon` feature is on.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ppkt_geometry::{
    CameraModel, DepthMap, Lens, Point3, Rigid3, Visibility, frame, observe, observe_with_depth, voxelise,
    voxelise_cylindrical,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The sensor of most RGB-D sets.
fn kinect(lens: Lens) -> CameraModel {
    CameraModel::new_opencv(640, 480, [525.0, 525.0, 319.5, 239.5], lens).expect("camera")
}

/// A floor and a wall with a step, as a 640×480 map: every pixel measured but one in sixteen.
fn room_depth() -> DepthMap {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let metres = (0..480 * 640)
        .map(|i| {
            let (row, col) = ((i / 640) as f32, (i % 640) as f32);
            let wall: f32 = if col < 250.0 { 2.0 } else { 3.5 };
            let floor = if row > 250.0 { 1.4 * 525.0 / (row - 240.0) } else { f32::INFINITY };
            if rng.random_ratio(1, 16) { f32::NAN } else { wall.min(floor) }
        })
        .collect();
    DepthMap::from_metres(640, 480, metres).expect("depth")
}

/// Points on the walls and the floor of a room of 6 by 5 by 3 metres, in random order.
fn room_cloud(n: usize) -> Vec<[f32; 3]> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let sides = [6.0, 3.0, 5.0];
    (0..n)
        .map(|_| {
            let mut p = sides.map(|s: f32| rng.random_range(0.0..s));
            let flat = rng.next_u32() as usize % 3;
            p[flat] = if rng.random() { 0.0 } else { sides[flat] };
            p
        })
        .collect()
}

/// A sweep of a spinning scanner: 64 rings on flat ground, 120,000 points within 80 m.
fn lidar_sweep() -> Vec<[f32; 3]> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    (0..120_000)
        .map(|i| {
            let azimuth = (i / 64) as f32 / 1875.0 * std::f32::consts::TAU;
            let distance = (1.7 / (0.02 + 0.42 * (i % 64) as f32 / 64.0)).min(rng.random_range(20.0..80.0));
            [distance * azimuth.cos(), distance * azimuth.sin(), rng.random_range(-1.8..1.0)]
        })
        .collect()
}

fn lenses() -> [(&'static str, CameraModel); 5] {
    [
        ("pinhole", kinect(Lens::Pinhole)),
        // Freiburg 1 of the TUM set: a strong lens for an RGB-D camera.
        ("brown_conrady", kinect(Lens::brown_conrady_opencv([0.2624, -0.9531, -0.0054, 0.0026, 1.1633]))),
        // As the Azure Kinect reports its colour camera.
        ("rational", kinect(Lens::rational_opencv([0.54, -2.45, 0.0006, -0.0003, 1.42, 0.42, -2.28, 1.35]))),
        ("fisheye", kinect(Lens::kannala_brandt_opencv([-0.028, 0.021, -0.02, 0.005]))),
        ("panorama", CameraModel::equirectangular(1024, 512).expect("camera")),
    ]
}

/// 100,000 points in front of the camera, about one scan; most fall in the image.
fn project(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut coordinate = |half: f64| rng.random_range(-half..half);
    let points: Vec<Point3<frame::Camera>> =
        (0..100_000).map(|_| Point3::new(coordinate(1.3), coordinate(1.0), 2.5 + coordinate(0.5))).collect();
    let mut group = c.benchmark_group("project_100k");
    group.throughput(Throughput::Elements(points.len() as u64));
    for (name, camera) in lenses() {
        group.bench_function(name, |b| {
            b.iter(|| points.iter().filter(|p| camera.project(black_box(**p)).is_ok()).count());
        });
    }
}

/// One frame of an RGB-D camera, 307,200 pixels.
fn lift(c: &mut Criterion) {
    let depth = room_depth();
    let mut group = c.benchmark_group("lift_640x480");
    group.throughput(Throughput::Elements(depth.n_valid() as u64));
    for (name, camera) in lenses().iter().filter(|(_, c)| (c.width(), c.height()) == (640, 480)) {
        group.bench_function(*name, |b| b.iter(|| black_box(&depth).lift::<frame::DepthCamera>(camera)));
    }
    group.finish();

    let camera = kinect(Lens::Pinhole);
    let colour_from_depth =
        Rigid3::<frame::Camera, frame::DepthCamera>::from_translation([-0.025, 0.0, 0.003]);
    c.bench_function("seen_by_640x480", |b| b.iter(|| depth.seen_by(&camera, &colour_from_depth, &camera)));
    c.bench_function("normals_640x480", |b| b.iter(|| depth.normals::<frame::Camera>(&camera)));
}

/// A fused scan of 300,000 points into one view, from inside the room.
fn observing(c: &mut Criterion) {
    let cloud = room_cloud(300_000);
    let camera = kinect(Lens::Pinhole);
    let camera_from_world = Rigid3::<frame::Camera, frame::World>::from_translation([-3.0, -1.5, -0.5]);
    let depth = room_depth();
    let mut group = c.benchmark_group("observe_300k");
    group.throughput(Throughput::Elements(cloud.len() as u64));
    group.bench_function("project", |b| b.iter(|| observe(&cloud, &camera_from_world, &camera, None)));
    for splat_px in [0, 1, 3] {
        let visibility = Visibility { splat_px, ..Visibility::default() };
        group.bench_function(format!("z_buffer_splat_{splat_px}"), |b| {
            b.iter(|| observe(&cloud, &camera_from_world, &camera, Some(&visibility)));
        });
    }
    let visibility = Visibility::default();
    group.bench_function("depth_map", |b| {
        b.iter(|| observe_with_depth(&cloud, &camera_from_world, &camera, &depth, &visibility));
    });
}

/// 300,000 points is one whole RGB-D frame, at the voxel of the paper and at a finer one; 120,000 a sweep, at 10 cm
/// and in the cylindrical cells of LiDAR recipes (10 cm, 1°, 10 cm).
fn voxels(c: &mut Criterion) {
    let (room, sweep) = (room_cloud(300_000), lidar_sweep());
    let mut group = c.benchmark_group("voxelise");
    group.throughput(Throughput::Elements(room.len() as u64));
    group.bench_function("room_300k_2.5cm", |b| b.iter(|| voxelise(black_box(&room), 0.025)));
    group.bench_function("room_300k_1cm", |b| b.iter(|| voxelise(black_box(&room), 0.01)));
    group.throughput(Throughput::Elements(sweep.len() as u64));
    group.bench_function("sweep_120k_10cm", |b| b.iter(|| voxelise(black_box(&sweep), 0.1)));
    group.bench_function("sweep_120k_cylindrical", |b| {
        b.iter(|| voxelise_cylindrical(black_box(&sweep), 0.1, 1f32.to_radians(), 0.1));
    });
    let voxels = voxelise(&room, 0.025).expect("voxels");
    let colours = vec![0.5; 3 * room.len()];
    group.throughput(Throughput::Elements(room.len() as u64));
    group.bench_function("mean_300k_3_channels", |b| b.iter(|| voxels.mean(black_box(&colours), 3)));
}

criterion_group!(benches, project, lift, observing, voxels);
criterion_main!(benches);
