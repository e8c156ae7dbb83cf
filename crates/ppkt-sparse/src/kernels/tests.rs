//! Every instruction set of this machine against the plain path.

use super::{Prepared, Side, Simd, Start, Weight, gather_product, weight_gradient};
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

/// The matrix of each kernel voxel transposed, and the kernel voxels in the other order where asked.
fn turned(data: &[f32], cin: usize, cout: usize, mirrored: bool) -> Vec<f32> {
    let turn = |m: &[f32]| {
        (0..cout).flat_map(|j| (0..cin).map(move |i| (i, j))).map(|(i, j)| m[i * cout + j]).collect()
    };
    let matrices: Vec<Vec<f32>> = data.chunks(cin * cout).map(turn).collect();
    if mirrored { matrices.into_iter().rev().flatten().collect() } else { matrices.concat() }
}

fn check(lists: &PairLists, cin: usize, cout: usize) {
    let x = numbers(1, lists.n_source * cin);
    let grad = numbers(2, lists.n_target * cout);
    let data = numbers(3, lists.volume * cin * cout);
    let side = |data, channels| [Side { data, channels }];
    let want = gather_product(Simd::Plain, lists, &side(&x, cin), Weight::forward(&data, cin, cout));
    let want_dw = weight_gradient(Simd::Plain, lists, &side(&x, cin), &grad, cout);
    for simd in Simd::available() {
        let what = format!("{} {cin} to {cout}", simd.name());
        let got = gather_product(simd, lists, &side(&x, cin), Weight::forward(&data, cin, cout));
        assert_agree(&what, &got, &want);
        // The same product from the transposed weight.
        for mirrored in [false, true] {
            let turned = turned(&data, cin, cout, mirrored);
            let weight = Weight::backward(&turned, (cout, cin), (0, cout), mirrored);
            assert_agree(&what, &gather_product(simd, lists, &side(&x, cin), weight), &want);
        }
        assert_agree(&what, &weight_gradient(simd, lists, &side(&x, cin), &grad, cout), &want_dw);
        check_start(simd, lists, (cin, cout), &x, &grad, &data);
        if cin > 1 {
            check_two_sides(simd, lists, (cin, cout), &x, &grad, &data);
        }
    }
}

/// Bias, residual and ReLU in the product against the three after it.
fn check_start(
    simd: Simd,
    lists: &PairLists,
    (cin, cout): (usize, usize),
    x: &[f32],
    residual: &[f32],
    data: &[f32],
) {
    let what = format!("{} {cin} to {cout}: start", simd.name());
    let side = [Side { data: x, channels: cin }];
    let weight = Prepared::new(simd, Weight::forward(data, cin, cout));
    let bias = numbers(4, cout);
    let sums = weight.gather_product(lists, &side, Start::default());
    let terms = |i: usize| sums[i] + bias[i % cout] + residual[i];
    let want: Vec<f32> = (0..sums.len()).map(terms).collect();
    let start = Start { bias: Some(&bias), residual: Some(residual), relu: false };
    let kept = weight.clone().into_owned();
    let got = kept.gather_product(lists, &side, start);
    assert_agree(&what, &got, &want);
    // The ReLU is exact.
    let positive: Vec<f32> = got.iter().map(|v| v.max(0.0)).collect();
    assert!(kept.gather_product(lists, &side, Start { relu: true, ..start }) == positive, "{what}: ReLU");
    let start = Start { bias: None, ..start };
    let want: Vec<f32> = sums.iter().zip(residual).map(|(s, r)| s + r).collect();
    assert_agree(&what, &kept.gather_product(lists, &side, start), &want);
    let mut added = residual.to_vec();
    kept.add_product(lists, &side, &mut added);
    assert!(added == kept.gather_product(lists, &side, start), "{what}: added to what is there");
}

/// Two tensors side by side have the bits of one.
fn check_two_sides(
    simd: Simd,
    lists: &PairLists,
    (cin, cout): (usize, usize),
    x: &[f32],
    grad: &[f32],
    data: &[f32],
) {
    let what = format!("{} {cin} to {cout}", simd.name());
    let ca = cin.div_ceil(3);
    let part = |first: usize, n: usize| -> Vec<f32> {
        x.chunks(cin).flat_map(|row| row[first..first + n].to_vec()).collect()
    };
    let (left, right) = (part(0, ca), part(ca, cin - ca));
    let one = [Side { data: x, channels: cin }];
    let two = [Side { data: &left, channels: ca }, Side { data: &right, channels: cin - ca }];
    let bias = numbers(4, cout);
    let product = |sides: &[Side<'_>]| {
        let weight = Prepared::new(simd, Weight::forward(data, cin, cout));
        weight.gather_product(lists, sides, Start { bias: Some(&bias), ..Start::default() })
    };
    assert!(product(&one) == product(&two), "{what}: product");
    let dw = |sides: &[Side<'_>]| weight_gradient(simd, lists, sides, grad, cout);
    assert!(dw(&one) == dw(&two), "{what}: weight gradient");
    // The gradient of a part of the input is that part of the gradient. Rows of `x` stand in for a gradient here, and
    // the weight has as many output channels as they have.
    let weight = |inputs| Weight::backward(data, (cout, cin), inputs, false);
    let whole = gather_product(simd, lists, &one, weight((0, cout)));
    let first = cout / 2;
    let tail = gather_product(simd, lists, &one, weight((first, cout - first)));
    let want: Vec<f32> = whole.chunks(cout).flat_map(|row| row[first..].to_vec()).collect();
    assert!(tail == want, "{what}: gradient of a part");
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
            let (x, grad) = (vec![1.0; cin], vec![1.0; cout]);
            let sides = [Side { data: &x, channels: cin }];
            let out = gather_product(simd, map.by_coarse(), &sides, Weight::forward(&[], cin, cout));
            assert_eq!(out, vec![0.0; cout]);
            assert!(weight_gradient(simd, map.by_coarse(), &sides, &grad, cout).is_empty());
        }
    }
}
