//! Which pixels see which points.

use ppkt_geometry::{
    CameraModel, DepthMap, Observation, Pixel, PixelIdx, Point3, Rigid3, Visibility, frame, observe,
    observe_with_depth,
};
use proptest::prelude::*;

type Pose = Rigid3<frame::Camera, frame::World>;

const STRICT: Visibility = Visibility { absolute_m: 0.01, relative: 0.0, splat_px: 0 };

fn camera() -> CameraModel {
    CameraModel::new(100, 80, [90.0, 90.0, 50.0, 40.0], ppkt_geometry::Lens::Pinhole).expect("camera")
}

fn rows(seen: &[Observation]) -> Vec<u32> {
    seen.iter().map(|o| o.point).collect()
}

/// A square of points across the axis at a distance, `n × n`, `half` metres to each side.
fn square(n: usize, half: f32, z: f32) -> Vec<[f32; 3]> {
    let at = |i: usize| half * (2.0 * (i as f32 + 0.5) / n as f32 - 1.0);
    (0..n * n).map(|i| [at(i % n), at(i / n), z]).collect()
}

#[test]
fn without_visibility_every_projectable_point_is_seen() {
    let cloud = [
        [0.0, 0.0, 1.0],
        [0.0, 0.0, 2.0],
        [0.0, 0.0, -1.0],
        [9.0, 0.0, 1.0],
        [f32::NAN, 0.0, 1.0],
        [0.1, 0.0, f32::INFINITY],
        [0.1, 0.0, 1.0],
    ];
    let seen = observe(&cloud, &Pose::identity(), &camera(), None);
    assert_eq!(rows(&seen), [0, 1, 6]);
    assert_eq!(seen[1], Observation { point: 1, pixel: Pixel::new(50.0, 40.0), depth_m: 2.0 });
    assert!(observe(&[], &Pose::identity(), &camera(), Some(&STRICT)).is_empty());
}

#[test]
fn a_point_behind_another_is_hidden() {
    let cloud = [[0.0, 0.0, 2.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.009], [0.0, 0.0, 1.011], [0.2, 0.0, 2.0]];
    let seen = observe(&cloud, &Pose::identity(), &camera(), Some(&STRICT));
    assert_eq!(rows(&seen), [1, 2, 4]);
    // A relative tolerance grows with the distance of the surface in front.
    let relative = Visibility { absolute_m: 0.0, relative: 0.02, splat_px: 0 };
    assert_eq!(rows(&observe(&cloud, &Pose::identity(), &camera(), Some(&relative))), [1, 2, 3, 4]);
}

#[test]
fn a_sparse_foreground_needs_splats() {
    // The near square has a point every 5 pixels, the far one lies behind it, denser.
    let near = square(20, 0.5, 1.0);
    let mut cloud = square(60, 1.0, 2.2);
    let n_far = cloud.len() as u32;
    cloud.extend(&near);
    let far_seen = |splat_px| {
        let visibility = Visibility { splat_px, ..STRICT };
        let seen = observe(&cloud, &Pose::identity(), &camera(), Some(&visibility));
        assert_eq!(
            seen.iter().filter(|o| o.point >= n_far).count(),
            near.iter().filter(|p| p[1].abs() < 0.444).count()
        );
        seen.iter().filter(|o| o.point < n_far).count()
    };
    assert!(far_seen(0) > 1500, "{}", far_seen(0));
    assert_eq!(far_seen(2), 0);
}

#[test]
fn splats_stop_at_the_border() {
    let cloud = [[-0.55, -0.44, 1.0], [0.55, 0.44, 1.0]];
    let visibility = Visibility { splat_px: u32::MAX, ..STRICT };
    assert_eq!(observe(&cloud, &Pose::identity(), &camera(), Some(&visibility)).len(), 2);
}

#[test]
fn the_pose_is_applied() {
    let pose = Pose::from_translation([0.0, 0.0, 3.0]);
    let seen = observe(&[[0.0, 0.0, -2.0], [0.0, 0.0, -4.0]], &pose, &camera(), None);
    assert_eq!(rows(&seen), [0]);
    assert_eq!(seen[0].depth_m, 1.0);
}

#[test]
fn a_measured_depth_decides() {
    let mut metres = vec![2.0f32; 100 * 80];
    metres[40 * 100 + 60] = f32::NAN;
    let depth = DepthMap::from_metres(100, 80, metres).unwrap();
    let on_axis = |z: f32| [0.0, 0.0, z];
    let at_gap = {
        let p = camera().unproject_to_depth(PixelIdx::new(40, 60).centre(), 2.0).unwrap();
        p.to_f32()
    };
    let cloud = [on_axis(2.0), on_axis(2.005), on_axis(2.02), on_axis(1.98), on_axis(1.995), at_gap];
    let seen = observe_with_depth(&cloud, &Pose::identity(), &camera(), &depth, &STRICT);
    assert_eq!(rows(&seen), [0, 1, 4]);
}

#[test]
#[should_panic(expected = "resize the camera")]
fn a_depth_map_of_another_size_is_a_mistake() {
    let _ = observe_with_depth(&[], &Pose::identity(), &camera(), &DepthMap::empty(10, 10), &STRICT);
}

#[test]
fn a_lifted_frame_sees_itself_whole() {
    let camera = camera();
    let metres =
        (0..8000).map(|i| if (i % 100) < 50 { 1.0 } else { 2.0 + (i / 100) as f32 * 0.01 }).collect();
    let depth = DepthMap::from_metres(100, 80, metres).unwrap();
    let lifted = depth.lift::<frame::World>(&camera);
    let cloud: Vec<[f32; 3]> = lifted.iter().map(|l| l.point.to_f32()).collect();
    for seen in [
        observe(&cloud, &Pose::identity(), &camera, Some(&STRICT)),
        observe_with_depth(&cloud, &Pose::identity(), &camera, &depth, &STRICT),
    ] {
        assert_eq!(seen.len(), cloud.len());
        assert!(seen.iter().all(|o| o.pixel.containing() == lifted[o.point as usize].pixel));
    }
}

proptest! {
    /// What is seen with a tolerance contains what is seen with less, and the nearest point of a pixel is always seen.
    #[test]
    fn tolerance_only_adds(
        cloud in prop::collection::vec(prop::array::uniform3(-2.0..2.0f32), 0..400),
        shift in prop::array::uniform3(-0.5..0.5f64),
        splat_px in 0..3u32,
    ) {
        let (camera, pose) = (camera(), Pose::from_translation(shift));
        let all = rows(&observe(&cloud, &pose, &camera, None));
        let seen_within = |absolute_m| {
            rows(&observe(&cloud, &pose, &camera, Some(&Visibility { absolute_m, relative: 0.0, splat_px })))
        };
        let (none, some, any) = (seen_within(0.0), seen_within(0.3), seen_within(100.0));
        prop_assert!(none.iter().all(|i| some.contains(i)) && some.iter().all(|i| any.contains(i)));
        prop_assert_eq!(&any, &all);
        prop_assert!(all.is_sorted());
        let depth_of = |i: &u32| camera.depth_of(pose * Point3::from_f32(cloud[*i as usize]));
        if let Some(nearest) = all.iter().min_by(|a, b| depth_of(a).total_cmp(&depth_of(b))) {
            prop_assert!(none.contains(nearest));
        }
    }

    /// The fast way for a pinhole sees what projecting point by point sees, whatever the numbers.
    #[test]
    fn a_pinhole_sees_what_projecting_says(
        cloud in prop::collection::vec(prop::array::uniform3(prop_oneof![-3.0..3.0f32, prop::num::f32::ANY]), 0..600),
    ) {
        let (camera, pose) = (camera().flipped_horizontally(), Pose::from_translation([0.1, 0.0, 0.5]));
        let seen = observe(&cloud, &pose, &camera, None);
        let mut next = 0;
        for (row, p) in cloud.iter().enumerate() {
            let Ok(pixel) = camera.project(pose * Point3::from_f32(*p)) else { continue };
            // On the very border the two ways may round to different sides.
            let at_border = [pixel.u, 100.0 - pixel.u, pixel.v, 80.0 - pixel.v].iter().any(|d| *d < 1e-9);
            match seen.get(next) {
                Some(o) if o.point as usize == row => {
                    prop_assert!((o.pixel.u - pixel.u).abs() < 1e-9 && (o.pixel.v - pixel.v).abs() < 1e-9);
                    next += 1;
                }
                _ => prop_assert!(at_border, "row {row}: {pixel:?}"),
            }
        }
        prop_assert_eq!(next, seen.len());
    }
}
