//! One frame on its way into a batch, on one core, at the size most sensors have: 640×480, each pixel with depth.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{Rgb, RgbImage};
use ppkt_data::{BatchConfig, Cloud, DataError, Dataset, LinkConfig, Loader, Scene, View, link};
use ppkt_geometry::{CameraModel, DepthMap, Rigid3};

const SIZE: [u32; 2] = [640, 480];

/// A room seen from its middle: a floor, a ceiling and three walls, so that depth runs from 1 to 4 metres.
fn scene(with_depth: bool) -> Scene {
    let camera = CameraModel::pinhole_opencv(SIZE[0], SIZE[1], 520.0, 520.0, 319.5, 239.5).expect("valid");
    let world_from_camera =
        Rigid3::from_rotation_rows([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], [0.0, 0.0, 1.2])
            .expect("valid");
    let metres = (0..SIZE[0] * SIZE[1]).map(|k| {
        let x = (f64::from(k % SIZE[0]) - 319.5) / 520.0;
        let y = (f64::from(k / SIZE[0]) - 239.5) / 520.0;
        (4.0f64).min(2.0 / x.abs()).min(1.2 / y.abs()) as f32
    });
    let depth = DepthMap::from_metres(SIZE[0], SIZE[1], metres.collect()).expect("valid");
    let lifted = depth.lift(&camera);
    let cloud = Cloud {
        points: lifted.iter().map(|l| (world_from_camera * l.point).to_f32()).collect(),
        colours: lifted.iter().map(|l| [l.pixel.col as f32 / 640.0, 0.5, 0.25]).collect(),
        ..Cloud::default()
    };
    let image = RgbImage::from_fn(SIZE[0], SIZE[1], |x, y| Rgb([x as u8, y as u8, (x ^ y) as u8]));
    let view = View { image, camera, world_from_camera, depth: with_depth.then_some(depth), classes: None };
    Scene { name: "room".into(), cloud, views: vec![view] }
}

struct OneFrame(Scene);

impl Dataset for OneFrame {
    fn name(&self) -> &str {
        "bench"
    }

    fn len(&self) -> usize {
        1
    }

    fn frame_name(&self, _: usize) -> String {
        "room".into()
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        Ok("bench".into())
    }

    fn sample(&self, _: usize) -> Result<Scene, DataError> {
        Ok(self.0.clone())
    }
}

fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame_640x480");
    let n_points = scene(true).cloud.points.len();
    group.sample_size(20).throughput(Throughput::Elements(n_points as u64));
    let (by_depth, by_z_buffer) = (scene(true), scene(false));
    group.bench_function("copy", |b| b.iter(|| black_box(by_depth.clone())));
    group.bench_function("link_by_depth", |b| b.iter(|| link(&by_depth, &LinkConfig::default())));
    group.bench_function("link_by_z_buffer", |b| b.iter(|| link(&by_z_buffer, &LinkConfig::default())));
    let augmented = BatchConfig { frames_per_batch: 1, ..BatchConfig::default() };
    for (name, config) in [("plain", augmented.clone().without_augmentation()), ("augmented", augmented)] {
        let loader = Loader::new(Arc::new(OneFrame(by_depth.clone())), config, 1).expect("valid");
        let mut step = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                step += 1;
                loader.batch(step).expect("a whole frame")
            })
        });
    }
    group.finish();
}

criterion_group!(benches, frame);
criterion_main!(benches);
