//! Sets of coordinates: order, levels, limits, and what is refused.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::{DType, Device, Tensor};
use ppkt_sparse::{
    ConvSpec, CoordinateManager, Coords, SparseError, SparseTensor, conv, conv_transpose, global_avg_pool,
    global_max_pool, max_pool, rows_of_input,
};
use proptest::prelude::*;

mod common;
use common::{Numbers, values};

/// The ends of the range of x, y and z.
const LOW: i32 = -131_072;
const HIGH: i32 = 131_071;

fn features(rows: usize, channels: usize) -> Tensor {
    Tensor::arange(0f32, (rows * channels) as f32, &Device::Cpu).unwrap().reshape((rows, channels)).unwrap()
}

/// Where a voxel comes in the order, bit by bit.
fn morton(c: &[i32; 4]) -> (i32, u64) {
    let bits = |v: i32, axis: u32| {
        (0..18).map(|i| ((i64::from(v) - i64::from(LOW)) as u64 >> i & 1) << (3 * i + axis)).sum::<u64>()
    };
    (c[0], bits(c[1], 0) | bits(c[2], 1) | bits(c[3], 2))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_sorted_and_can_be_traced(list in prop::collection::hash_set(
        (0i32..1024, LOW..=HIGH, LOW..=HIGH, LOW..=HIGH), 0..200,
    )) {
        let list: Vec<[i32; 4]> = list.into_iter().map(|(b, x, y, z)| [b, x, y, z]).collect();
        let (set, order) = Coords::new(&list).unwrap();
        prop_assert!(set.coords().is_sorted_by_key(morton));
        let back = rows_of_input(&order);
        for (row, c) in list.iter().enumerate() {
            prop_assert_eq!(set.coords()[back[row] as usize], *c);
            prop_assert_eq!(order[back[row] as usize] as usize, row);
        }
        // A sorted list stays as it is.
        let (again, order) = Coords::new(set.coords()).unwrap();
        prop_assert_eq!(again.coords(), set.coords());
        prop_assert!(order.iter().zip(0u32..).all(|(a, b)| *a == b));
    }

    #[test]
    fn coarser_sets_are_the_floors(
        seed in 0u64..1 << 40,
        edge in 1i32..12,
        factors in prop::collection::vec(1usize..6, 0..3),
    ) {
        let list = Numbers::new(seed).pattern(2, edge, 0.3);
        let manager = CoordinateManager::new(Coords::new(&list).unwrap().0);
        let mut stride = 1i32;
        for factor in factors {
            let set = manager.coarser(stride as u32, factor).unwrap();
            stride *= factor as i32;
            prop_assert_eq!(set.stride(), stride as u32);
            let floor = |v: i32| v.div_euclid(stride) * stride;
            let mut want: Vec<_> = list.iter().map(|c| [c[0], floor(c[1]), floor(c[2]), floor(c[3])]).collect();
            want.sort_unstable();
            want.dedup();
            let mut got = set.coords().to_vec();
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }
}

#[test]
fn features_follow_their_voxels() {
    let coords = [[1, 0, 0, 0], [0, 5, -3, 2], [0, -4, 0, 0]];
    let (x, order) = SparseTensor::new(&coords, features(3, 2)).unwrap();
    assert_eq!(order, [1, 2, 0]);
    assert_eq!(x.coords(), [coords[1], coords[2], coords[0]]);
    assert_eq!(values(x.features()), [2.0, 3.0, 4.0, 5.0, 0.0, 1.0]);
    assert_eq!((x.len(), x.channels(), x.stride(), x.batch_size()), (3, 2, 1, 2));
}

#[test]
fn both_ends_of_the_range_are_voxels_like_others() {
    // Voxels at the ends: their neighbours beyond do not exist, and nothing wraps round to the other end.
    let mut coords = Vec::new();
    for x in [LOW, LOW + 1, HIGH - 1, HIGH] {
        for y in [LOW, HIGH] {
            for z in [LOW, HIGH] {
                coords.extend([[0, x, y, z], [1023, x, y, z]]);
            }
        }
    }
    let (set, _) = Coords::new(&coords).unwrap();
    let manager = CoordinateManager::new(set);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    // Each voxel meets itself and its one neighbour along x.
    assert_eq!(map.n_pairs(), 2 * coords.len());
    for k in [12, 13, 14] {
        assert_eq!(map.counts()[k], if k == 13 { 32 } else { 16 });
    }
    let far = manager.kernel_map(1, ConvSpec::new(3, 1).with_dilation(1 << 16)).unwrap();
    assert_eq!(far.n_pairs(), coords.len());

    let halves = manager.coarser(1, 2).unwrap();
    assert_eq!(halves.len(), coords.len() / 2);
    assert!(halves.coords().contains(&[1023, HIGH - 1, LOW, HIGH - 1]));
    // An odd factor takes another way: floor(-131072 / 3) * 3 lies beyond the range of the finest grid.
    let thirds = manager.coarser(1, 3).unwrap();
    assert!(thirds.coords().contains(&[0, -131_073, -131_073, -131_073]));
    let map = manager.kernel_map(1, ConvSpec::new(3, 3)).unwrap();
    assert!(map.n_pairs() > 0);
}

#[test]
fn beyond_the_range_is_an_error() {
    let good = [0, 0, 0, 0];
    for bad in [[0, HIGH + 1, 0, 0], [0, 0, LOW - 1, 0], [0, 0, 0, i32::MAX], [1024, 0, 0, 0], [-1, 0, 0, 0]]
    {
        match Coords::new(&[good, bad]) {
            Err(SparseError::OutOfRange { row: 1, coord, .. }) => assert_eq!(coord, bad),
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    let error = Coords::new(&[[0, i32::MIN, 0, 0]]).unwrap_err().to_string();
    assert!(error.contains("-131072..=131071") && error.contains("row 0"), "{error}");
}

#[test]
fn duplicates_are_an_error_that_names_both_rows() {
    let coords = [[0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3]];
    match Coords::new(&coords) {
        Err(SparseError::Duplicate { first: 0, second: 2, coord }) => assert_eq!(coord, coords[0]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_input_passes_through() {
    let (x, order) =
        SparseTensor::new(&[], Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert!(x.is_empty() && order.is_empty() && x.batch_size() == 0);
    let mut n = Numbers::new(1);
    let weight = n.var(&[8, 3, 5]);
    let y = conv(&x, &weight, ConvSpec::new(2, 2)).unwrap();
    assert_eq!((y.features().dims(), y.stride()), ([0, 5].as_slice(), 2));
    let z = conv_transpose(&y, &n.var(&[8, 5, 3]), ConvSpec::new(2, 2)).unwrap();
    assert_eq!(z.features().dims(), [0, 3]);
    let grads = z.features().sum_all().unwrap().backward().unwrap();
    assert_eq!(values(grads.get(&weight).unwrap()), vec![0.0; 8 * 3 * 5]);
    assert_eq!(max_pool(&x, ConvSpec::new(2, 2)).unwrap().len(), 0);
}

#[test]
fn one_voxel_meets_itself_only() {
    let (x, _) = SparseTensor::new(&[[0, -1, -1, -1]], features(1, 1).affine(0.0, 2.0).unwrap()).unwrap();
    let weight = features(27, 1).reshape((27, 1, 1)).unwrap();
    let y = conv(&x, &weight, ConvSpec::new(3, 1)).unwrap();
    assert_eq!(values(y.features()), [26.0]);
    // Stride 2: the voxel (-1, -1, -1) is the last of the eight in the cube at (-2, -2, -2).
    let weight = features(8, 1).reshape((8, 1, 1)).unwrap();
    let y = conv(&x, &weight, ConvSpec::new(2, 2)).unwrap();
    assert_eq!((y.coords(), values(y.features())), ([[0, -2, -2, -2]].as_slice(), vec![14.0]));
}

#[test]
fn items_without_voxels_stay_in_the_batch() {
    let coords = [[1, 0, 0, 0], [3, 0, 0, 0], [3, 1, 0, 0]];
    let (x, _) = SparseTensor::with_batch_size(&coords, features(3, 1), 6).unwrap();
    assert_eq!(x.batch_size(), 6);
    assert_eq!(values(&global_avg_pool(&x).unwrap()), [0.0, 0.0, 0.0, 1.5, 0.0, 0.0]);
    assert_eq!(values(&global_max_pool(&x).unwrap()), [0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    let y = conv(&x, &Numbers::new(2).tensor(&[27, 1, 2]), ConvSpec::new(3, 1)).unwrap();
    assert_eq!(global_avg_pool(&y).unwrap().dims(), [6, 2]);
    let too_small = SparseTensor::with_batch_size(&coords, features(3, 1), 3).unwrap_err();
    assert!(matches!(too_small, SparseError::BatchSize { row: 1, batch: 3, batch_size: 3 }));
}

#[test]
fn neighbours_in_another_item_are_not_neighbours() {
    let coords = [[0, 0, 0, 0], [1, 1, 0, 0], [2, 0, 0, 0]];
    let manager = CoordinateManager::new(Coords::new(&coords).unwrap().0);
    assert_eq!(manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap().n_pairs(), 3);
    assert_eq!(manager.coarser(1, 2).unwrap().len(), 3);
}

#[test]
fn maps_and_sets_are_built_once() {
    let coords = Numbers::new(3).pattern(1, 8, 0.5);
    let manager = CoordinateManager::new(Coords::new(&coords).unwrap().0);
    let spec = ConvSpec::new(3, 2);
    let maps: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| manager.kernel_map(1, spec).unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(maps.iter().all(|m| std::sync::Arc::ptr_eq(m, &maps[0])));
    assert!(std::sync::Arc::ptr_eq(&manager.coarser(1, 2).unwrap(), &manager.coords(2).unwrap()));
    assert_eq!(manager.strides(), [1, 2]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let coords = [[0, 0, 0, 0], [0, 3, 0, 0]];
    let mut n = Numbers::new(4);
    let (x, _) = SparseTensor::new(&coords, features(2, 3)).unwrap();
    let same = ConvSpec::new(3, 1);

    let error = conv_transpose(&x, &n.tensor(&[8, 3, 3]), ConvSpec::new(2, 2)).unwrap_err();
    assert!(matches!(error, SparseError::NoFinerCoordinates { stride: 1, factor: 2, .. }), "{error}");
    // A tensor that begins at stride 2 has no finer set either.
    let half = conv(&x, &n.tensor(&[8, 3, 3]), ConvSpec::new(2, 2)).unwrap();
    let error = conv_transpose(&half, &n.tensor(&[64, 3, 3]), ConvSpec::new(4, 4)).unwrap_err();
    assert!(matches!(error, SparseError::NoFinerCoordinates { wanted: 0, .. }), "{error}");

    for shape in [vec![27, 4, 3], vec![8, 3, 3], vec![27, 3], vec![81, 3]] {
        let error = conv(&x, &n.tensor(&shape), same).unwrap_err();
        assert!(matches!(error, SparseError::Shape { what: "weight", .. }), "{error}");
    }
    let double = n.tensor(&[27, 3, 3]).to_dtype(DType::F64).unwrap();
    assert!(matches!(conv(&x, &double, same).unwrap_err(), SparseError::Shape { .. }));
    assert!(matches!(SparseTensor::new(&coords, features(3, 3)).unwrap_err(), SparseError::Shape { .. }));
    assert!(matches!(x.with_features(features(1, 3)).unwrap_err(), SparseError::Shape { .. }));
    for spec in [ConvSpec::new(0, 1), ConvSpec::new(3, 0), same.with_dilation(0), ConvSpec::new(99, 1)] {
        assert!(matches!(conv(&x, &n.tensor(&[1, 3, 3]), spec).unwrap_err(), SparseError::Spec { .. }));
    }
    assert!(matches!(x.manager().coarser(1, 1 << 17).unwrap_err(), SparseError::StrideTooLarge { .. }));
    let error = SparseTensor::on(x.manager(), 16, features(1, 3)).unwrap_err();
    assert!(matches!(error, SparseError::UnknownStride { stride: 16, .. }), "{error}");
    let (other, _) = SparseTensor::new(&coords, features(2, 3)).unwrap();
    let error = x.check_same_coords(&other, "add").unwrap_err();
    assert!(matches!(error, SparseError::DifferentCoordinates { op: "add", .. }), "{error}");
}
