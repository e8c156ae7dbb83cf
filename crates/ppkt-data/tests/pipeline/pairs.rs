//! Pairs through every augmentation.

use std::collections::BTreeMap;
use std::f32::consts::PI;
use std::sync::Arc;

use ppkt_data::{
    Augment2d, Augment3d, Batch, BatchConfig, CloudColour, ColourJitter, Coordinates, DataUri, Elastic,
    ImageMap, Loader, PointFeature, Split,
};
use ppkt_geometry::{CameraModel, Point3};
use proptest::prelude::*;

use crate::coded::{Coded, HEIGHT, WIDTH, sample};

/// So small that each point has a voxel of its own, and the voxel's colour is the point's.
const TINY_VOXEL_M: f32 = 1e-4;

fn config() -> BatchConfig {
    BatchConfig {
        frames_per_batch: 3,
        image_size: [WIDTH, HEIGHT],
        voxel_size_m: TINY_VOXEL_M,
        augment2d: Augment2d { min_pairs: 100, ..Augment2d::none() },
        augment3d: Augment3d::none(),
        ..BatchConfig::default()
    }
}

fn batch(config: BatchConfig, seed: u64) -> Batch {
    Loader::new(Arc::new(Coded::new(5)), config, seed).unwrap().batch(2).unwrap()
}

/// Largest difference between what the image says at a pair's pixel and what its voxel says, in levels of 255, over
/// the pairs whose pixel is not at the very border, where interpolation has no neighbour. Blue must agree exactly.
fn largest_deviation(batch: &Batch) -> f32 {
    let mut worst = 0f32;
    for pair in &batch.pairs {
        let image = &batch.images[pair.view as usize];
        let feature = &batch.features[pair.voxel as usize * batch.channels..];
        let wanted = [0, 1, 2].map(|c| (feature[c] + 0.5) * 255.0);
        let got = sample(image, pair.u, pair.v);
        assert!((wanted[2] - got[2]).abs() < 0.01, "a pair joins two frames: {wanted:?} {got:?}");
        let frame = batch.frame_of_image[pair.view as usize];
        assert_eq!(batch.coords[pair.voxel as usize][0], frame as i32);
        let (x, y) = (pair.u / image.width() as f32, pair.v / image.height() as f32);
        let source = [wanted[0] / 255.0, wanted[1] / 255.0];
        let (edge_x, edge_y) =
            (1.5 / WIDTH.min(image.width()) as f32, 1.5 / HEIGHT.min(image.height()) as f32);
        let inner = |value: f32, edge: f32| value > edge && value < 1.0 - edge;
        if inner(x, edge_x) && inner(y, edge_y) && inner(source[0], edge_x) && inner(source[1], edge_y) {
            worst = worst.max((wanted[0] - got[0]).abs()).max((wanted[1] - got[1]).abs());
        }
    }
    worst
}

/// Half a level of rounding in the source, half in the result, and a quarter for a reduction by a broken factor, whose
/// triangle is sampled at whole pixels and so reproduces a ramp to a twentieth of a pixel only. A pixel is more than
/// five levels wide, so an error of a quarter of a pixel is seen.
const ROUNDING: f32 = 1.25;

#[test]
fn without_augmentation_every_point_has_its_own_pixel() {
    let batch = batch(config(), 1);
    assert_eq!(batch.pairs.len(), 3 * (WIDTH * HEIGHT) as usize);
    assert_eq!(batch.n_points, batch.coords.len());
    for (i, pair) in batch.pairs.iter().enumerate() {
        let k = i as u32 % (WIDTH * HEIGHT);
        let centre = ((k % WIDTH) as f32 + 0.5, (k / WIDTH) as f32 + 0.5);
        assert!((pair.u - centre.0).abs() < 1e-3 && (pair.v - centre.1).abs() < 1e-3, "{pair:?} {centre:?}");
    }
    assert!(largest_deviation(&batch) < ROUNDING);
}

#[test]
fn a_batch_is_well_formed() {
    let features = vec![PointFeature::Rgb, PointFeature::Ones, PointFeature::Xyz, PointFeature::Height];
    let batch = batch(BatchConfig { features, voxel_size_m: 0.2, ..config() }, 1);
    assert_eq!(batch.channels, 8);
    assert_eq!(batch.features.len(), batch.coords.len() * 8);
    assert_eq!(batch.frames.len(), 3);
    assert_eq!(batch.frame_of_image, [0, 1, 2]);
    let mut unique = batch.coords.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), batch.coords.len(), "a voxel occurs twice");
    assert!(batch.coords.is_sorted_by_key(|c| c[0]));
    for row in batch.features.chunks(8) {
        assert_eq!(row[3], 1.0);
        assert!(row[7] >= 0.0 && row[7] < 5.0);
        assert!(row.iter().all(|v| v.is_finite()));
    }
    assert!(batch.coords.len() < batch.n_points / 2);
}

#[test]
fn a_voxel_says_the_mean_of_its_points() {
    let batch = batch(BatchConfig { voxel_size_m: 0.2, frames_per_batch: 2, ..config() }, 4);
    let mut points: BTreeMap<u32, Vec<[f32; 2]>> = BTreeMap::new();
    for pair in &batch.pairs {
        points.entry(pair.voxel).or_default().push([pair.u / WIDTH as f32, pair.v / HEIGHT as f32]);
    }
    assert_eq!(points.len(), batch.coords.len());
    assert!(points.values().any(|p| p.len() > 5));
    for (voxel, codes) in points {
        for c in 0..2 {
            let mean = codes.iter().map(|p| p[c]).sum::<f32>() / codes.len() as f32;
            let feature = batch.features[voxel as usize * batch.channels + c] + 0.5;
            assert!((mean - feature).abs() < 1e-3, "{mean} {feature}");
        }
    }
}

#[test]
fn thinning_keeps_what_it_says() {
    let all = batch(config(), 1);
    let fewer = batch(BatchConfig { max_points: 500, ..config() }, 1);
    assert_eq!((fewer.n_points, fewer.pairs.len()), (1500, 1500));
    assert!(largest_deviation(&fewer) < ROUNDING);
    let pairs = batch(BatchConfig { max_pairs: 100, ..config() }, 1);
    assert_eq!((pairs.n_points, pairs.pairs.len()), (all.n_points, 300));
    assert!(pairs.pairs.iter().all(|p| all.pairs.contains(p)));
    let near = batch(BatchConfig { max_depth_m: 2.5, ..config() }, 1);
    assert!(near.n_points > 0 && near.n_points < all.n_points);
    assert!(largest_deviation(&near) < ROUNDING);
}

#[test]
fn colour_jitter_leaves_pixels_where_they_are() {
    let colour =
        ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, ..Default::default() };
    let plain = batch(config(), 3);
    let jittered =
        batch(BatchConfig { augment2d: Augment2d { colour, ..config().augment2d }, ..config() }, 3);
    assert_eq!(plain.pairs, jittered.pairs);
    assert_ne!(plain.images, jittered.images);
}

/// The same parts are drawn as of photographs that are cut, and the same pairs left out, but the photographs are
/// those of a batch without augmentation, and each pair lies where its pixel lies in them.
#[test]
fn plain_images_are_left_as_they_are_and_the_pairs_are_chosen() {
    let size = [40, 30];
    let augment2d = Augment2d { min_pairs: 50, crop_area: [0.3, 0.6], ..Augment2d::default() };
    let whole = batch(BatchConfig { image_size: size, ..config() }, 3);
    let cut = batch(BatchConfig { image_size: size, augment2d: augment2d.clone(), ..config() }, 3);
    let plain = batch(BatchConfig { image_size: size, augment2d, plain_images: true, ..config() }, 3);
    assert_eq!(plain.images, whole.images);
    assert_ne!(cut.images, whole.images);
    let points = |batch: &Batch| batch.pairs.iter().map(|p| (p.view, p.voxel)).collect::<Vec<_>>();
    assert_eq!(points(&plain), points(&cut));
    assert!(plain.pairs.len() < whole.pairs.len() * 3 / 4 && plain.pairs.len() > whole.pairs.len() / 5);
    assert!(plain.pairs.iter().all(|p| whole.pairs.contains(p)));
    assert!(largest_deviation(&plain) < ROUNDING);
}

#[test]
fn cylindrical_voxels_are_rings_around_the_origin() {
    let cylinder = BatchConfig {
        coordinates: Coordinates::Cylindrical,
        voxel_size_m: 0.1,
        voxel_angle_deg: 2.0,
        features: vec![PointFeature::Ones],
        frames_per_batch: 1,
        ..config()
    };
    let batch = batch(cylinder, 1);
    let scene = crate::coded::scene(batch.frames[0].strip_prefix("coded-").unwrap().parse().unwrap());
    for (pair, [x, y, z]) in batch.pairs.iter().zip(scene.cloud.points) {
        let (x, y) = (f64::from(x), f64::from(y));
        let wanted = [(x * x + y * y).sqrt() / 0.1, y.atan2(x).to_degrees() / 2.0, f64::from(z) / 0.1];
        let [_, cell @ ..] = batch.coords[pair.voxel as usize];
        for (cell, wanted) in cell.into_iter().zip(wanted) {
            let inside = wanted - f64::from(cell);
            assert!((-1e-3..1.0 + 1e-3).contains(&inside), "{cell} {wanted}");
        }
    }
}

#[test]
fn a_cloud_turned_about_the_origin_keeps_its_distances_from_it() {
    let distances = |augment3d: Augment3d| {
        let features = vec![PointFeature::Ones];
        let coordinates = Coordinates::Cylindrical;
        let batch =
            batch(BatchConfig { augment3d, coordinates, features, voxel_size_m: 0.05, ..config() }, 2);
        batch.pairs.iter().map(|p| batch.coords[p.voxel as usize][1]).collect::<Vec<_>>()
    };
    let turned = Augment3d { yaw_rad: [1.0, 2.0], flip: 0.5, ..Augment3d::none() };
    let plain = distances(Augment3d::none());
    let most = |other: Vec<i32>| plain.iter().zip(other).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    assert!(most(distances(Augment3d { about_origin: true, ..turned.clone() })) <= 1);
    assert!(most(distances(turned)) > 5);
}

#[test]
fn intensity_is_a_feature_where_it_was_measured() {
    let features = vec![PointFeature::Intensity, PointFeature::Ones];
    let settings = BatchConfig { features, ..config() };
    let loader = |dataset: Coded| Loader::new(Arc::new(dataset), settings.clone(), 1).unwrap();
    let batch = loader(Coded { with_intensity: true, ..Coded::new(5) }).batch(0).unwrap();
    for pair in &batch.pairs {
        let code = sample(&batch.images[pair.view as usize], pair.u, pair.v)[0] / 255.0;
        let feature = &batch.features[pair.voxel as usize * 2..][..2];
        assert!((feature[0] - code).abs() < 0.01 && feature[1] == 1.0, "{feature:?} {code}");
    }
    let error = loader(Coded::new(5)).batch(0).unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("intensity"), "{error}");
}

fn image_augmentations() -> impl Strategy<Value = Augment2d> {
    (0f32..=1.0, 0.2f32..1.0, 0f32..0.5, 0.5f32..1.0).prop_map(|(flip, area, more, aspect)| Augment2d {
        flip,
        crop_area: [area, (area + more).min(1.0)],
        crop_aspect: [aspect, 1.0 / aspect],
        min_pairs: 50,
        ..Augment2d::none()
    })
}

fn cloud_augmentations() -> impl Strategy<Value = Augment3d> {
    (0f32..PI, 0f32..PI, 0.5f32..1.0, 0f32..=1.0, 0f32..0.5, 0u32..3, 0f32..=1.0).prop_map(
        |(yaw, tilt, scale, flip, drop, drop_cuboids, elastic_probability)| Augment3d {
            yaw_rad: [-yaw, yaw],
            tilt_rad: [-tilt, tilt],
            scale: [scale, 1.0 / scale],
            flip,
            about_origin: flip > 0.5,
            translate_m: [flip; 3],
            jitter_m: 0.1 * drop,
            elastic: vec![Elastic { granularity_m: 0.2, magnitude_m: 0.4 }],
            elastic_probability,
            drop_points: [0.0, drop],
            drop_cuboids,
            cuboid_share: 0.3,
            // Colours are the code that this test reads, so they stay.
            colour: CloudColour::default(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pairs_stay_exact(
        augment2d in image_augmentations(),
        augment3d in cloud_augmentations(),
        size in (20u32..100, 20u32..100),
        seed in any::<u64>(),
    ) {
        let config = BatchConfig { augment2d, augment3d, image_size: [size.0, size.1], ..config() };
        let batch = batch(config, seed);
        prop_assert!(batch.pairs.len() >= 150);
        for pair in &batch.pairs {
            prop_assert!((pair.voxel as usize) < batch.coords.len());
            prop_assert!(pair.u >= 0.0 && pair.u < size.0 as f32 && pair.v >= 0.0 && pair.v < size.1 as f32);
        }
        for image in &batch.images {
            prop_assert_eq!(image.dimensions(), size);
        }
        let worst = largest_deviation(&batch);
        prop_assert!(worst < ROUNDING, "{} levels", worst);
    }
}

/// A photograph that is cut, resized and mirrored was taken by a camera that is: the two ways to say so agree.
#[test]
fn an_image_map_and_a_camera_agree() {
    let camera = CameraModel::pinhole_opencv(WIDTH, HEIGHT, 40.0, 41.0, 23.0, 18.5).unwrap();
    let map = ImageMap { left: 5.25, top: 3.5, width: 30.0, height: 24.0, mirrored: true, out: [75, 48] };
    let moved = camera.cropped(5.25, 3.5, 30, 24).resized(75, 48).flipped_horizontally();
    let mut n_inside = 0;
    for i in 0..400 {
        let point = Point3::new(f64::from(i % 20) * 0.1 - 1.0, f64::from(i / 20) * 0.1 - 1.0, 2.0);
        let Ok(before) = camera.project(point) else { continue };
        match (map.pixel(before.u as f32, before.v as f32), moved.project(point)) {
            (Some((u, v)), Ok(after)) => {
                assert!((f64::from(u) - after.u).abs() < 1e-4 && (f64::from(v) - after.v).abs() < 1e-4);
                n_inside += 1;
            }
            (None, Err(_)) => {}
            other => panic!("one says inside, the other outside: {other:?}"),
        }
    }
    assert!(n_inside > 50);
}

#[test]
fn this_test_would_see_half_a_pixel() {
    let mut batch = batch(config(), 1);
    batch.pairs.iter_mut().for_each(|p| p.u += 0.5);
    assert!(largest_deviation(&batch) > 2.0);
}

#[test]
fn the_points_of_pairs_lie_in_their_voxels() {
    let uri: DataUri = "synthetic:rooms?scenes=3&width=64&height=48".parse().unwrap();
    let config = BatchConfig { image_size: [64, 48], voxel_size_m: 0.1, ..BatchConfig::default() };
    let loader = Loader::new(uri.open(Split::All).unwrap().into(), config, 7).unwrap();
    let (batch, points) = loader.frame_with_points(1).unwrap();
    assert_eq!(batch, loader.frame(1).unwrap());
    assert!(points.viewpoint.unwrap()[2] > 0.5, "a camera is held above the floor");
    let points = points.positions;
    assert_eq!(batch.pairs.len(), points.len());
    assert!(points.len() > 1000);
    for (pair, point) in batch.pairs.iter().zip(&points) {
        let [_, voxel @ ..] = batch.coords[pair.voxel as usize];
        assert_eq!(voxel, point.map(|x| (x / 0.1).floor() as i32), "{pair:?} {point:?}");
    }
}
