//! Group laws of rigid motions, their file formats, and trajectories.

use std::f64::consts::PI;

use ppkt_geometry::nalgebra::{Matrix3, Matrix4, UnitQuaternion, Vector3};
use ppkt_geometry::{Direction3, Point3, PoseError, Rigid3, Trajectory, frame};
use proptest::prelude::*;

struct A;
struct B;
struct C;
struct D;

/// Coordinates go to ±100 m here, and a handful of roundings to each.
const ROUNDING: f64 = 1e-11;

fn motion<Dst: 'static, Src: 'static>() -> impl Strategy<Value = Rigid3<Dst, Src>> {
    let axis_angle = prop::array::uniform3(-4.0..4.0f64);
    let translation = prop::array::uniform3(-100.0..100.0f64);
    (axis_angle, translation).prop_map(|(axis_angle, translation)| {
        Rigid3::new(UnitQuaternion::from_scaled_axis(Vector3::from(axis_angle)), translation.into())
    })
}

fn point<F: 'static>() -> impl Strategy<Value = Point3<F>> {
    prop::array::uniform3(-100.0..100.0f64).prop_map(Point3::from_array)
}

fn near<F>(a: Point3<F>, b: Point3<F>) -> bool {
    a.distance(&b) <= ROUNDING * 10.0
}

fn same<Dst, Src>(a: &Rigid3<Dst, Src>, b: &Rigid3<Dst, Src>) -> bool {
    (a.to_matrix4() - b.to_matrix4()).amax() <= ROUNDING * 10.0
}

proptest! {
    #[test]
    fn composing_is_applying_in_turn(ab in motion::<A, B>(), bc in motion::<B, C>(), p in point::<C>()) {
        prop_assert!(near((ab * bc) * p, ab * (bc * p)));
    }

    #[test]
    fn composition_is_associative(ab in motion::<A, B>(), bc in motion::<B, C>(), cd in motion::<C, D>()) {
        prop_assert!(same(&((ab * bc) * cd), &(ab * (bc * cd))));
    }

    #[test]
    fn inverse_undoes(ab in motion::<A, B>(), p in point::<B>()) {
        prop_assert!(near(ab.inverse() * (ab * p), p));
        prop_assert!(same(&(ab * ab.inverse()), &Rigid3::identity()));
        prop_assert!(same(&(ab.inverse() * ab), &Rigid3::identity()));
        prop_assert!(same(&ab.inverse().inverse(), &ab));
    }

    #[test]
    fn identity_changes_nothing(ab in motion::<A, B>(), p in point::<A>()) {
        prop_assert_eq!(Rigid3::<A, A>::identity() * p, p);
        prop_assert!(same(&(Rigid3::<A, A>::identity() * ab), &ab));
        prop_assert!(same(&(ab * Rigid3::<B, B>::identity()), &ab));
    }

    #[test]
    fn distances_and_lengths_are_kept(ab in motion::<A, B>(), p in point::<B>(), q in point::<B>()) {
        prop_assert!(((ab * p).distance(&(ab * q)) - p.distance(&q)).abs() <= ROUNDING * 10.0);
        // A direction feels the rotation alone, so it is the difference of two points, moved.
        prop_assert!((ab * (q - p) - (ab * q - ab * p)).norm() <= ROUNDING * 10.0);
    }

    #[test]
    fn matrices_and_quaternions_say_the_same(ab in motion::<A, B>(), p in point::<B>()) {
        let again = Rigid3::<A, B>::from_matrix4(&ab.to_matrix4()).unwrap();
        prop_assert!(same(&again, &ab));
        let q = ab.rotation();
        let t: [f64; 3] = ab.translation().into();
        prop_assert!(same(&Rigid3::from_quaternion_wxyz([q.w, q.i, q.j, q.k], t).unwrap(), &ab));
        prop_assert!(same(&Rigid3::from_quaternion_xyzw([q.i, q.j, q.k, q.w], t).unwrap(), &ab));
        prop_assert!(same(&Rigid3::from_tum(ab.to_tum()).unwrap(), &ab));
        // The negative quaternion is the same rotation.
        prop_assert!(same(&Rigid3::from_quaternion_wxyz([-q.w, -q.i, -q.j, -q.k], t).unwrap(), &ab));
        let h = ab.to_matrix4() * p.coords().push(1.0);
        prop_assert!(near(Point3::new(h.x, h.y, h.z), ab * p));
    }

    #[test]
    fn a_rounded_matrix_becomes_the_nearest_rotation(ab in motion::<A, B>()) {
        let rounded = ab.to_matrix4().map(|v| (v * 1e4).round() / 1e4);
        let read = Rigid3::<A, B>::from_matrix4(&rounded).unwrap();
        let r = read.to_matrix4().fixed_view::<3, 3>(0, 0).into_owned();
        prop_assert!((r.transpose() * r - Matrix3::identity()).amax() < 1e-12);
        prop_assert!((read.to_matrix4() - ab.to_matrix4()).amax() < 3e-4);
    }

    #[test]
    fn interpolation_meets_both_ends_and_turns_evenly(a in motion::<A, B>(), b in motion::<A, B>(), t in 0.0..1.0f64) {
        prop_assert!(same(&a.interpolate(&b, 0.0), &a));
        prop_assert!(same(&a.interpolate(&b, 1.0), &b));
        let between = a.interpolate(&b, t);
        let whole = a.rotation_angle_to(&b);
        prop_assert!((a.rotation_angle_to(&between) - t * whole).abs() < 1e-7);
        let straight = a.translation() * (1.0 - t) + b.translation() * t;
        prop_assert!((between.translation() - straight).norm() < 1e-10);
        prop_assert!(same(&b.interpolate(&a, 1.0 - t), &between) || whole > PI - 1e-6);
    }

    /// Whatever sixteen numbers are given, the answer is a rotation or an error.
    #[test]
    fn no_matrix_becomes_a_false_pose(values in prop::array::uniform16(prop::num::f64::ANY)) {
        if let Ok(pose) = Rigid3::<A, B>::from_matrix4(&Matrix4::from_row_slice(&values)) {
            prop_assert!(pose.is_finite());
            prop_assert!((pose.rotation().norm() - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn a_known_quaternion_turns_the_right_way() {
    // A quarter turn about z: x becomes y.
    let half = 0.5f64.sqrt();
    let pose = Rigid3::<A, B>::from_quaternion_xyzw([0.0, 0.0, half, half], [1.0, 2.0, 3.0]).unwrap();
    assert!(near(pose * Point3::new(1.0, 0.0, 0.0), Point3::new(1.0, 3.0, 3.0)));
    assert!((pose * Direction3::new(1.0, 0.0, 0.0) - Direction3::new(0.0, 1.0, 0.0)).norm() < 1e-15);
    // The other order means half a turn about some other axis.
    let other = Rigid3::<A, B>::from_quaternion_wxyz([0.0, 0.0, half, half], [1.0, 2.0, 3.0]).unwrap();
    assert!((other.rotation_angle_to(&Rigid3::identity()) - PI).abs() < 1e-12);
}

#[test]
fn bad_poses_are_refused_by_name() {
    let mut m = Matrix4::<f64>::identity();
    m[(0, 3)] = f64::NEG_INFINITY;
    assert_eq!(Rigid3::<A, B>::from_matrix4(&m), Err(PoseError::NotFinite));
    m = Matrix4::identity();
    m[(2, 2)] = -1.0;
    assert!(
        matches!(Rigid3::<A, B>::from_matrix4(&m), Err(PoseError::NotARotation { determinant, .. }) if determinant < 0.0)
    );
    m = Matrix4::identity() * 2.0;
    m[(3, 3)] = 1.0;
    assert!(matches!(Rigid3::<A, B>::from_matrix4(&m), Err(PoseError::NotARotation { .. })));
    m = Matrix4::zeros();
    m[(3, 3)] = 1.0;
    assert!(matches!(Rigid3::<A, B>::from_matrix4(&m), Err(PoseError::NotARotation { .. })));
    // A matrix written column by column has its translation in the last row.
    m = Matrix4::identity();
    m[(3, 0)] = 1.5;
    assert!(matches!(Rigid3::<A, B>::from_matrix4(&m), Err(PoseError::NotAffine { .. })));
    assert!(matches!(Rigid3::<A, B>::from_tum([0.0; 7]), Err(PoseError::NotUnit { .. })));
    assert_eq!(
        Rigid3::<A, B>::from_quaternion_wxyz([1.0, 0.0, 0.0, f64::NAN], [0.0; 3]),
        Err(PoseError::NotFinite)
    );
    assert_eq!(
        Rigid3::<A, B>::from_quaternion_wxyz([1.0, 0.0, 0.0, 0.0], [f64::NAN; 3]),
        Err(PoseError::NotFinite)
    );
    let rows = [[1.0, 0.0, 0.0], [0.0, f64::NAN, 0.0], [0.0, 0.0, 1.0]];
    assert_eq!(Rigid3::<A, B>::from_rotation_rows(rows, [0.0; 3]), Err(PoseError::NotFinite));
}

#[test]
fn half_a_turn_apart_interpolates_to_a_quarter() {
    let a = Rigid3::<A, B>::identity();
    let b = Rigid3::<A, B>::from_quaternion_wxyz([0.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0]).unwrap();
    let between = a.interpolate(&b, 0.5);
    assert!((a.rotation_angle_to(&between) - 0.5 * PI).abs() < 1e-12);
    assert_eq!(between.translation(), Vector3::new(1.0, 0.0, 0.0));
}

fn turning(time_s: f64) -> (f64, Rigid3<frame::World, frame::Ego>) {
    let rotation = UnitQuaternion::from_scaled_axis(Vector3::new(0.0, 0.0, 0.3 * time_s));
    (time_s, Rigid3::new(rotation, Vector3::new(2.0 * time_s, 0.0, 0.0)))
}

#[test]
fn a_trajectory_interpolates_and_refuses_to_guess() {
    let times = [1.0, 0.0, 2.0, 5.0];
    let drive = Trajectory::new(times.map(turning).to_vec(), 1.5).unwrap();
    assert_eq!(drive.range_s(), (0.0, 5.0));
    assert!(drive.poses().is_sorted_by(|a, b| a.0 < b.0));
    for time_s in [0.0, 0.25, 1.0, 1.9, 2.0, 5.0] {
        assert!(same(&drive.at(time_s).unwrap(), &turning(time_s).1), "{time_s} s");
    }
    assert_eq!(drive.at(3.0), Err(PoseError::Gap { time_s: 3.0, gap_s: 3.0, max_gap_s: 1.5 }));
    for time_s in [-1e-9, 5.1] {
        assert!(matches!(drive.at(time_s), Err(PoseError::OutsideTrajectory { .. })));
    }
    assert!(matches!(drive.at(f64::NAN), Err(PoseError::BadTime { .. })));
    assert_eq!(drive.nearest(3.4, 2.0).map(|(t, _)| t), Some(2.0));
    assert_eq!(drive.nearest(3.6, 2.0).map(|(t, _)| t), Some(5.0));
    assert_eq!(drive.nearest(9.0, 5.0).map(|(t, _)| t), Some(5.0));
    assert!(drive.nearest(3.4, 1.0).is_none());
    assert!(drive.nearest(f64::NAN, 1.0).is_none());
}

#[test]
fn bad_trajectories_are_refused() {
    assert!(matches!(Trajectory::<A, B>::new(Vec::new(), 1.0), Err(PoseError::NoPoses)));
    assert_eq!(
        Trajectory::new(vec![turning(1.0), turning(1.0)], 1.0).err(),
        Some(PoseError::SameTime { time_s: 1.0 })
    );
    let unstamped = vec![(f64::NAN, turning(0.0).1)];
    assert!(matches!(Trajectory::new(unstamped, 1.0), Err(PoseError::BadTime { .. })));
    let lost = Rigid3::<A, B>::from_translation([f64::NAN, 0.0, 0.0]);
    assert_eq!(Trajectory::new(vec![(0.0, lost)], 1.0).err(), Some(PoseError::NotFinite));
}

#[test]
fn frames_show_in_messages() {
    let p = Point3::<frame::Lidar>::new(1.0, 2.0, 3.0);
    assert_eq!(format!("{p:?}"), "Point3<Lidar>(1.0, 2.0, 3.0)");
    let pose = Rigid3::<frame::World, frame::Lidar>::identity();
    assert!(format!("{pose:?}").starts_with("Rigid3<World, Lidar>(t: [0"));
}

#[cfg(feature = "serde")]
#[test]
fn a_pose_is_checked_when_it_is_read() {
    let pose = turning(1.0).1;
    let text = serde_json::to_string(&pose).unwrap();
    let read: Rigid3<frame::World, frame::Ego> = serde_json::from_str(&text).unwrap();
    assert!(same(&read, &pose));
    let message = serde_json::from_str::<Rigid3<A, B>>("[0,0,0, 0,0,0,2]").unwrap_err().to_string();
    assert!(message.contains("norm 2"), "{message}");
    let p = Point3::<A>::new(1.0, 2.0, 3.0);
    assert_eq!(serde_json::from_str::<Point3<A>>(&serde_json::to_string(&p).unwrap()).unwrap(), p);
}
