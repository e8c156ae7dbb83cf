//! Both paths against sums in f64 of the rounded numbers.

use half::bf16;

use super::{Path, Prepared, Side, narrow, narrow1, weight_gradient, wide1, widen};
use crate::kernel_map::{BLOCK, PairLists};
use crate::kernels::Weight;
use crate::{ConvSpec, CoordinateManager, Coords};

fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn rounded(v: f32) -> f64 {
    f64::from(bf16::from_f32(v).to_f32())
}

/// A sum of products, and the sum of their absolute values, which bounds its error.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    value: f64,
    size: f64,
}

impl Sum {
    fn add(&mut self, product: f64) {
        self.value += product;
        self.size += product.abs();
    }
}

/// Sums of f32 products, each addition rounded: 2⁻²⁴ of the sizes for each of at most `n` additions.
fn assert_near(what: &str, got: &[f32], want: &[Sum], n: usize, last: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        let bound = want.size * n as f64 * 2f64.powi(-24) + want.value.abs() * last;
        let off = (f64::from(got) - want.value).abs();
        assert!(off <= bound, "{what}: element {i} is {got}, not {} (± {bound})", want.value);
    }
}

/// Half a unit in the last place of bf16, relative to the number.
const HALF_ULP: f64 = 1.0 / 256.0;

fn product(lists: &PairLists, x: &[f32], (cin, cout): (usize, usize), weight: &[f32]) -> Vec<Sum> {
    let mut out = vec![Sum::default(); lists.n_target * cout];
    for block in 0..lists.n_blocks() {
        for k in 0..lists.volume {
            for (s, t) in lists.group(block, k) {
                for c in 0..cin {
                    for j in 0..cout {
                        let w = rounded(weight[(k * cin + c) * cout + j]);
                        out[(block * BLOCK + t) * cout + j].add(rounded(x[s * cin + c]) * w);
                    }
                }
            }
        }
    }
    out
}

fn gradient(lists: &PairLists, x: &[f32], (cin, cout): (usize, usize), grad: &[f32]) -> Vec<Sum> {
    let mut dw = vec![Sum::default(); lists.volume * cin * cout];
    for block in 0..lists.n_blocks() {
        for k in 0..lists.volume {
            for (s, t) in lists.group(block, k) {
                for c in 0..cin {
                    for j in 0..cout {
                        let g = rounded(grad[(block * BLOCK + t) * cout + j]);
                        dw[(k * cin + c) * cout + j].add(rounded(x[s * cin + c]) * g);
                    }
                }
            }
        }
    }
    dw
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
    let bias = numbers(4, cout);
    let (rows, grads) = (narrow(&x), narrow(&grad));
    let one = [Side { data: rows.as_slice(), channels: cin }];
    let sums = product(lists, &x, (cin, cout), &data);
    let want_dw = gradient(lists, &x, (cin, cout), &grad);
    let (terms, pairs) = (lists.volume * cin + 2, lists.n_target + 32);
    for path in Path::available() {
        let what = format!("{} {cin} to {cout}", path.name());
        let weight = Prepared::new(path, Weight::forward(&data, cin, cout), &[cin]);
        let exact = weight.gather_product_exact(lists, &one, None);
        assert_near(&what, &exact, &sums, terms, 0.0);
        // Rounded once, to the nearest.
        let got = weight.gather_product(lists, &one, None);
        assert!(got == narrow(&exact), "{what}: rounded");
        let mut biased = sums.clone();
        biased.iter_mut().enumerate().for_each(|(i, s)| s.add(f64::from(bias[i % cout])));
        let got = weight.gather_product_exact(lists, &one, Some(&bias));
        assert_near(&what, &got, &biased, terms, 0.0);
        let mut added = grads.clone();
        weight.add_product(lists, &one, &mut added);
        let mut known = sums.clone();
        known.iter_mut().zip(&grad).for_each(|(s, &g)| s.add(rounded(g)));
        assert_near(&what, &widen(&added), &known, terms, HALF_ULP);
        // The same product from the transposed weight.
        for mirrored in [false, true] {
            let turned = turned(&data, cin, cout, mirrored);
            let weight = Weight::backward(&turned, (cout, cin), (0, cout), mirrored);
            let weight = Prepared::new(path, weight, &[cin]);
            assert!(weight.gather_product_exact(lists, &one, None) == exact, "{what}: turned");
            // The gradient of a part of the input is that part of the gradient.
            let first = cout / 2;
            let weight = Weight::backward(&turned, (cout, cin), (first, cout - first), mirrored);
            let tail = Prepared::new(path, weight, &[cin]).gather_product_exact(lists, &one, None);
            let want: Vec<f32> = exact.chunks(cout).flat_map(|row| row[first..].to_vec()).collect();
            assert!(tail == want, "{what}: gradient of a part");
        }
        let dw = weight_gradient(path, lists, &one, &grads, cout);
        assert_near(&what, &dw, &want_dw, pairs, 0.0);
        if cin > 1 {
            check_two_sides(path, lists, (cin, cout), (&rows, &grads), &data, (&sums, &dw));
        }
    }
}

fn check_two_sides(
    path: Path,
    lists: &PairLists,
    (cin, cout): (usize, usize),
    (x, grad): (&[bf16], &[bf16]),
    data: &[f32],
    (sums, dw): (&[Sum], &[f32]),
) {
    let what = format!("{} {cin} to {cout}, two sides", path.name());
    let ca = cin.div_ceil(3);
    let part = |first: usize, n: usize| -> Vec<bf16> {
        x.chunks(cin).flat_map(|row| row[first..first + n].to_vec()).collect()
    };
    let (left, right) = (part(0, ca), part(ca, cin - ca));
    let two = [Side { data: left.as_slice(), channels: ca }, Side { data: &right, channels: cin - ca }];
    let weight = Prepared::new(path, Weight::forward(data, cin, cout), &[ca, cin - ca]);
    let got = weight.gather_product_exact(lists, &two, None);
    assert_near(&what, &got, sums, lists.volume * cin + 2, 0.0);
    assert!(weight_gradient(path, lists, &two, grad, cout) == dw, "{what}: weight gradient");
}

/// Surfaces of a box: several blocks of rows.
fn surfaces(edge: i32) -> std::sync::Arc<CoordinateManager> {
    let coords: Vec<[i32; 4]> = (0..edge)
        .flat_map(|a| (0..edge).flat_map(move |b| [[0, a, b, 0], [0, a, 0, b + 1], [1, b, a, 3]]))
        .collect();
    CoordinateManager::new(Coords::new(&coords).unwrap().0)
}

#[test]
fn sums_are_near_those_in_f64() {
    let manager = surfaces(11);
    for (kernel, stride) in [(3, 1), (2, 2)] {
        let map = manager.kernel_map(1, ConvSpec::new(kernel, stride)).unwrap();
        for (cin, cout) in [(1, 1), (3, 32), (4, 17), (5, 48), (8, 33), (9, 66), (32, 20), (33, 64), (34, 97)]
        {
            check(map.by_coarse(), cin, cout);
            check(map.by_fine(), cin, cout);
        }
    }
    let map = manager.kernel_map(1, ConvSpec::new(1, 1)).unwrap();
    check(map.by_coarse(), 40, 24);
    // Enough blocks for a sum in parts.
    let map = surfaces(22).kernel_map(1, ConvSpec::new(1, 1)).unwrap();
    check(map.by_coarse(), 13, 130);
}

#[test]
fn no_rows_one_row_and_no_channels_are_no_trouble() {
    let manager = CoordinateManager::new(Coords::new(&[]).unwrap().0);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    check(map.by_coarse(), 3, 5);
    let manager = CoordinateManager::new(Coords::new(&[[0, 0, 0, 0]]).unwrap().0);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    check(map.by_coarse(), 7, 18);
    for path in Path::available() {
        for (cin, cout) in [(0, 3), (3, 0)] {
            let (x, grad) = (vec![bf16::ONE; cin], vec![bf16::ONE; cout]);
            let sides = [Side { data: x.as_slice(), channels: cin }];
            let weight = Prepared::new(path, Weight::forward(&[], cin, cout), &[cin]);
            assert_eq!(weight.gather_product(map.by_coarse(), &sides, None), vec![bf16::ZERO; cout]);
            assert!(weight_gradient(path, map.by_coarse(), &sides, &grad, cout).is_empty());
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let manager = surfaces(22);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    let (cin, cout) = (19, 70);
    let (x, grad) = (narrow(&numbers(1, map.n_fine() * cin)), narrow(&numbers(2, map.n_fine() * cout)));
    let data = numbers(3, 27 * cin * cout);
    for path in Path::available() {
        let all = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let sides = [Side { data: x.as_slice(), channels: cin }];
                let weight = Prepared::new(path, Weight::forward(&data, cin, cout), &[cin]);
                let out = weight.gather_product(map.by_coarse(), &sides, None);
                (out, weight_gradient(path, map.by_coarse(), &sides, &grad, cout))
            })
        };
        let one = all(1);
        assert!([2, 3, 8].into_iter().all(|threads| all(threads) == one), "{}", path.name());
    }
}

/// Every number of bf16 and its neighbours in f32.
#[test]
fn rounding_is_to_the_nearest() {
    for high in 0..=u16::MAX {
        assert_eq!(wide1(bf16::from_bits(high)).to_bits(), u32::from(high) << 16);
        for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let v = f32::from_bits(u32::from(high) << 16 | low);
            let (got, want) = (narrow1(v), bf16::from_f32(v));
            assert!(got.to_bits() == want.to_bits() || (v.is_nan() && got.is_nan()), "{v:e}");
        }
    }
}
