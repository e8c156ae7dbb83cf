//! Voxels against the plainest way to make them, and at the limits of the numbers.

use std::collections::BTreeMap;

use ppkt_geometry::{VoxelError, Voxels, cylindrical_from_cartesian, voxelise, voxelise_cylindrical};
use proptest::prelude::*;

/// Floor, then an ordered map.
fn plainly(points: &[[f32; 3]], size: f32) -> Voxels {
    let mut rows_of: BTreeMap<[i32; 3], Vec<u32>> = BTreeMap::new();
    for (row, p) in points.iter().enumerate() {
        rows_of.entry(p.map(|c| (c / size).floor() as i32)).or_default().push(row as u32);
    }
    let mut voxels = Voxels { voxel_of_point: vec![0; points.len()], ..Voxels::default() };
    for (coord, rows) in rows_of {
        for &row in &rows {
            voxels.voxel_of_point[row as usize] = voxels.coords.len() as u32;
        }
        voxels.coords.push(coord);
        voxels.representative.push(rows[0]);
        voxels.counts.push(rows.len() as u32);
    }
    voxels
}

fn cloud() -> impl Strategy<Value = Vec<[f32; 3]>> {
    let coordinate = prop_oneof![
        4 => -3.0..3.0f32,
        1 => (-20..20i32).prop_map(|i| i as f32 * 0.25),
        1 => -1e5..1e5f32,
    ];
    prop_oneof![
        prop::collection::vec(prop::array::uniform3(coordinate), 0..200),
        // Enough for the radix sort.
        prop::collection::vec(prop::array::uniform3(-3.0..3.0f32), 3000..4000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn voxels_are_those_of_the_plain_way(points in cloud(), size in prop_oneof![Just(0.25f32), 0.01..2.0f32]) {
        prop_assert_eq!(voxelise(&points, size).unwrap(), plainly(&points, size));
    }

    #[test]
    fn the_order_of_points_decides_only_the_representative(points in cloud()) {
        let voxels = voxelise(&points, 0.5).unwrap();
        let backwards: Vec<[f32; 3]> = points.iter().rev().copied().collect();
        let again = voxelise(&backwards, 0.5).unwrap();
        prop_assert_eq!(&again.coords, &voxels.coords);
        prop_assert_eq!(&again.counts, &voxels.counts);
        let turned: Vec<u32> = again.voxel_of_point.iter().rev().copied().collect();
        prop_assert_eq!(turned, voxels.voxel_of_point);
    }

    #[test]
    fn a_mean_lies_between_and_keeps_the_sum(points in cloud()) {
        let voxels = voxelise(&points, 0.5).unwrap();
        let flat: Vec<f32> = points.iter().flatten().copied().collect();
        let mean = voxels.mean(&flat, 3);
        prop_assert_eq!(mean.len(), 3 * voxels.len());
        for (v, mean) in mean.chunks_exact(3).enumerate() {
            for (mean, cell) in mean.iter().zip(voxels.coords[v]) {
                let cell = cell as f32 * 0.5;
                prop_assert!(*mean >= cell - 1e-2 && *mean <= cell + 0.5 + 1e-2);
            }
        }
        let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
        let whole = sum(&mut flat.iter().map(|v| f64::from(*v)));
        let of_means = sum(&mut mean.iter().enumerate().map(|(i, m)| f64::from(*m) * f64::from(voxels.counts[i / 3])));
        let scale: f64 = flat.iter().map(|v| f64::from(v.abs())).sum();
        prop_assert!((whole - of_means).abs() <= 1e-6 * scale + 1e-9);
    }

    /// Whatever numbers come, the answer is voxels or an error about a point that deserves it.
    #[test]
    fn no_number_is_wrapped(points in prop::collection::vec(prop::array::uniform3(prop::num::f32::ANY), 0..20), size in prop::num::f32::ANY) {
        match voxelise(&points, size) {
            Ok(voxels) => {
                for (p, &v) in points.iter().zip(&voxels.voxel_of_point) {
                    for (c, cell) in p.iter().zip(voxels.coords[v as usize]) {
                        prop_assert_eq!((c / size).floor() as f64, f64::from(cell));
                    }
                }
            }
            Err(VoxelError::BadSize { .. }) => prop_assert!(!(size > 0.0 && size.is_finite())),
            Err(VoxelError::NotFinite { point, .. }) => prop_assert!(points[point].iter().any(|c| !c.is_finite())),
            Err(VoxelError::OutOfRange { point, .. }) => prop_assert!(points[point].iter().any(|c| (c / size).abs() >= 2e9)),
            Err(e) => prop_assert!(false, "{e}"),
        }
    }
}

#[test]
fn floor_goes_towards_minus_infinity() {
    let points = [[0.1, -0.1, 0.0], [-0.0, 0.4999, -0.5], [0.5, -0.5001, 1.0]];
    let voxels = voxelise(&points, 0.5).unwrap();
    assert_eq!(voxels.coords, [[0, -1, 0], [0, 0, -1], [1, -2, 2]]);
}

#[test]
fn no_points_no_voxels() {
    let none = voxelise(&[], 0.1).unwrap();
    assert!(none.is_empty() && none.mean(&[], 4).is_empty());
    let one = voxelise(&[[1.0, 2.0, 3.0]], 0.5).unwrap();
    assert_eq!((one.len(), one.coords[0], one.counts[0]), (1, [2, 4, 6], 1));
}

#[test]
fn senseless_numbers_are_refused_by_name() {
    for size in [0.0, -0.1, f32::NAN, f32::INFINITY] {
        assert!(matches!(voxelise(&[[0.0; 3]], size), Err(VoxelError::BadSize { .. })));
    }
    let bad = [[0.0; 3], [0.0, f32::NAN, 0.0], [f32::INFINITY, 0.0, 0.0]];
    assert!(matches!(voxelise(&bad, 0.1), Err(VoxelError::NotFinite { point: 1, .. })));
    assert!(matches!(voxelise(&bad[2..], 0.1), Err(VoxelError::NotFinite { point: 0, .. })));
    let far = [[3e8, 0.0, 0.0]];
    let error = voxelise(&far, 0.1).unwrap_err();
    assert!(matches!(error, VoxelError::OutOfRange { point: 0, .. }), "{error}");
    assert!(error.to_string().contains("is the unit metres?"));
    // The very last cells on both sides are fine.
    let edges = [[-2147483648.0, 0.0, 0.0], [2147483520.0, 0.0, 0.0]];
    assert_eq!(voxelise(&edges, 1.0).unwrap().coords, [[i32::MIN, 0, 0], [2147483520, 0, 0]]);
}

#[test]
#[should_panic(expected = "values must be [2, 3]")]
fn a_mean_of_the_wrong_length_is_a_mistake() {
    let _ = voxelise(&[[0.0; 3]; 2], 1.0).unwrap().mean(&[0.0; 5], 3);
}

#[test]
fn cylinders_count_from_the_back() {
    let degree = 1f32.to_radians();
    let at = |azimuth_deg: f32, rho: f32, z: f32| {
        let a = azimuth_deg.to_radians();
        [rho * a.cos(), rho * a.sin(), z]
    };
    let points = [at(0.5, 10.04, 0.05), at(179.5, 5.0, -0.05), at(-179.5, 5.0, 0.0), at(90.5, 0.25, 1.0)];
    let voxels = voxelise_cylindrical(&points, 0.1, degree, 0.1).unwrap();
    let of = |p: usize| voxels.coords[voxels.voxel_of_point[p] as usize];
    assert_eq!(of(0), [100, 0, 0]);
    // One degree apart across the seam, and yet the first and the last cell.
    assert_eq!((of(1)[1], of(2)[1]), (179, -180));
    assert_eq!(of(3), [2, 90, 10]);
    let [rho, phi, z] = cylindrical_from_cartesian([-3.0, 0.0, 7.0]);
    assert_eq!((rho, phi, z), (3.0, std::f32::consts::PI, 7.0));
    assert_eq!(cylindrical_from_cartesian([0.0, 0.0, 1.0]), [0.0, 0.0, 1.0]);
    assert!(matches!(
        voxelise_cylindrical(&[[f32::NAN, 0.0, 0.0]], 0.1, degree, 0.1),
        Err(VoxelError::NotFinite { point: 0, .. })
    ));
    assert!(matches!(voxelise_cylindrical(&[], 0.1, 0.0, 0.1), Err(VoxelError::BadSize { .. })));
}
