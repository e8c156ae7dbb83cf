//! Voxels that are given more than once.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use ppkt_sparse::{Coords, Merge, SparseError, SparseTensor};
use proptest::prelude::*;

mod common;
use common::values;

fn tensor(features: &[f32], channels: usize) -> Tensor {
    Tensor::from_slice(features, (features.len() / channels, channels), &Device::Cpu).unwrap()
}

/// Few voxels, so that most occur more than once.
fn lists() -> impl Strategy<Value = Vec<([i32; 4], [f32; 2])>> {
    let row = ((0i32..3, -2i32..2, -2i32..2, 0i32..2), prop::array::uniform2(-10f32..10.0));
    prop::collection::vec(row.prop_map(|((b, x, y, z), f)| ([b, x, y, z], f)), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_rows_are_means_or_sums_of_equal_coordinates(list in lists(), mean: bool) {
        let coords: Vec<[i32; 4]> = list.iter().map(|(c, _)| *c).collect();
        let features: Vec<f32> = list.iter().flat_map(|(_, f)| *f).collect();
        let merge = if mean { Merge::Mean } else { Merge::Sum };
        let leaf = Var::from_tensor(&tensor(&features, 2)).unwrap();
        let (x, rows) = SparseTensor::merged(&coords, leaf.as_tensor().clone(), merge).unwrap();

        let mut want: BTreeMap<[i32; 4], (f64, [f64; 2])> = BTreeMap::new();
        for (c, f) in &list {
            let (n, sum) = want.entry(*c).or_default();
            *n += 1.0;
            sum.iter_mut().zip(f).for_each(|(s, v)| *s += f64::from(*v));
        }
        prop_assert_eq!(x.len(), want.len());
        let got = values(x.features());
        for (row, c) in x.coords().iter().enumerate() {
            let (n, sum) = want[c];
            for k in 0..2 {
                let want = if mean { sum[k] / n } else { sum[k] };
                prop_assert!((f64::from(got[2 * row + k]) - want).abs() <= 1e-6 * want.abs().max(1.0));
            }
        }
        // Every row of the list is found again, and the set is what the same voxels give once each.
        prop_assert_eq!(rows.len(), coords.len());
        prop_assert!(rows.iter().zip(&coords).all(|(&r, c)| x.coords()[r as usize] == *c));
        let once: Vec<[i32; 4]> = want.keys().copied().collect();
        let (once, _) = Coords::new(&once).unwrap();
        prop_assert_eq!(once.coords(), x.coords());

        // The gradient of a weighted sum of the result is each row's weight, shared where a mean was taken.
        let weight: Vec<f32> = (0..got.len()).map(|i| 1.0 + i as f32).collect();
        let loss = (x.features() * tensor(&weight, 2)).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        if !coords.is_empty() {
            let dx = values(grads.get(&leaf).unwrap());
            for (i, &row) in rows.iter().enumerate() {
                let share = if mean { want[&coords[i]].0 } else { 1.0 };
                for k in 0..2 {
                    let want = f64::from(weight[2 * row as usize + k]) / share;
                    prop_assert!((f64::from(dx[2 * i + k]) - want).abs() <= 1e-5 * want);
                }
            }
        }
    }

    #[test]
    fn distinct_voxels_are_left_as_they_are(list in prop::collection::hash_set(
        (0i32..4, -50i32..50, -50i32..50, -50i32..50), 1..100,
    ), merge in prop::sample::select(vec![Merge::Mean, Merge::Sum])) {
        let coords: Vec<[i32; 4]> = list.into_iter().map(|(b, x, y, z)| [b, x, y, z]).collect();
        let features: Vec<f32> = (0..coords.len()).map(|i| (i as f32).sin()).collect();
        let (merged, rows) = SparseTensor::merged(&coords, tensor(&features, 1), merge).unwrap();
        let (plain, order) = SparseTensor::new(&coords, tensor(&features, 1)).unwrap();
        prop_assert_eq!(values(merged.features()), values(plain.features()));
        prop_assert_eq!(rows, ppkt_sparse::rows_of_input(&order));
    }
}

#[test]
fn what_is_no_coordinate_stays_an_error() {
    let far = [[0, 0, 0, 0], [0, 1 << 17, 0, 0], [0, 0, 0, 0]];
    let error = SparseTensor::merged(&far, tensor(&[0.0; 3], 1), Merge::Mean).unwrap_err();
    assert!(matches!(error, SparseError::OutOfRange { row: 1, .. }), "{error}");
    let error = SparseTensor::merged(&far[..1], tensor(&[0.0; 3], 1), Merge::Mean).unwrap_err();
    assert!(matches!(error, SparseError::Shape { .. }), "{error}");
    // Duplicates are refused where no one asked for merging.
    let twice = [[0, 0, 0, 0], [0, 0, 0, 0]];
    let error = SparseTensor::new(&twice, tensor(&[0.0; 2], 1)).unwrap_err();
    assert!(matches!(error, SparseError::Duplicate { first: 0, second: 1, .. }), "{error}");
    assert!(error.to_string().contains("merge"), "{error}");
}
