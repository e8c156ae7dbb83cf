//! Every instruction set of this machine against the plain path.

use super::{Simd, Weight, gather_product, weight_gradient};
use crate::kernel_map::PairLists;
use crate::{ConvSpec, CoordinateManager, Coords};

fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn assert_agree(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let worst =
        got.iter().zip(want).fold(0f32, |m, (g, w)| if (g - w).abs() <= m { m } else { (g - w).abs() });
    assert!(worst <= 1e-5 * scale, "{what}: differs by {worst} of {scale}");
}

fn check(lists: &PairLists, cin: usize, cout: usize) {
    let x = numbers(1, lists.n_source * cin);
    let grad = numbers(2, lists.n_target * cout);
    let data = numbers(3, lists.volume * cin * cout);
    for simd in Simd::available() {
        let what = format!("{} {cin} to {cout}", simd.name());
        for mirrored in [false, true] {
            let weight = Weight { data: &data, cin, cout, transposed: false, mirrored };
            let want = gather_product(Simd::Plain, lists, &x, weight);
            assert_agree(&what, &gather_product(simd, lists, &x, weight), &want);
            // The same product from the transposed weight.
            let turned: Vec<f32> = data
                .chunks(cin * cout)
                .flat_map(|m| (0..cout).flat_map(move |j| (0..cin).map(move |i| m[i * cout + j])))
                .collect();
            let weight = Weight { data: &turned, cin: cout, cout: cin, transposed: true, mirrored };
            assert_agree(&what, &gather_product(simd, lists, &x, weight), &want);
        }
        let want = weight_gradient(Simd::Plain, lists, &x, cin, &grad, cout);
        assert_agree(&what, &weight_gradient(simd, lists, &x, cin, &grad, cout), &want);
    }
}

#[test]
fn every_instruction_set_agrees_with_the_plain_path() {
    // Surfaces of a box: several blocks of rows.
    let coords: Vec<[i32; 4]> = (0..22)
        .flat_map(|a| (0..22).flat_map(move |b| [[0, a, b, 0], [0, a, 0, b + 1], [1, b, a, 3]]))
        .collect();
    let manager = CoordinateManager::new(Coords::new(&coords).unwrap().0);
    for (kernel, stride) in [(3, 1), (2, 2)] {
        let map = manager.kernel_map(1, ConvSpec::new(kernel, stride)).unwrap();
        for cout in (1..70).step_by(6).chain([96, 128, 130]) {
            check(map.by_coarse(), 1 + cout % 7, cout);
            check(map.by_fine(), cout, 1 + cout % 5);
        }
        check(map.by_coarse(), 96, 96);
    }
    let map = manager.kernel_map(1, ConvSpec::new(1, 1)).unwrap();
    check(map.by_coarse(), 40, 24);
}

#[test]
fn no_rows_and_no_channels_are_no_trouble() {
    let manager = CoordinateManager::new(Coords::new(&[]).unwrap().0);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    check(map.by_coarse(), 3, 5);
    let manager = CoordinateManager::new(Coords::new(&[[0, 0, 0, 0]]).unwrap().0);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    for simd in Simd::available() {
        for (cin, cout) in [(0, 3), (3, 0)] {
            let weight = Weight { data: &[], cin, cout, transposed: false, mirrored: false };
            let out = gather_product(simd, map.by_coarse(), &vec![1.0; cin], weight);
            assert_eq!(out, vec![0.0; cout]);
            assert!(
                weight_gradient(simd, map.by_coarse(), &vec![1.0; cin], cin, &vec![1.0; cout], cout)
                    .is_empty()
            );
        }
    }
}
