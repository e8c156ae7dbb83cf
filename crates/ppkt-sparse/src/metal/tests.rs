//! Every kernel against the operation of the processor, through the launchers that a Mac would use.

mod norm;
mod pool;
mod rows;

use std::sync::Arc;

use ppkt_device::wgsl::{Compute, column_sums};
use ppkt_wgsl::{Gpu, Memory};

use super::conv::{Side, forward, input_gradient, weight_gradient};
use super::map::table;
use crate::conv::Direction;
use crate::kernel_map::{KernelMap, PairLists};
use crate::kernels::{self, Prepared, Simd, Start, Weight};
use crate::{ConvSpec, CoordinateManager, Coords};

#[test]
fn metal_text_is_what_naga_makes_of_the_wgsl() {
    ppkt_wgsl::assert_metal_is_made_of_wgsl(env!("CARGO_MANIFEST_DIR"), "src/metal", &super::SOURCES);
}

/// Numbers from -1 to 1.
pub(super) fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// How far results may be from the processor's, of the largest value: both sum in f32, in different orders.
pub(super) const TOLERANCE: f32 = 1e-5;

#[track_caller]
pub(super) fn assert_agree(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= TOLERANCE * scale, "{what}: {g} at {i}, not {w}, of up to {scale}");
    }
}

/// `n` voxels or fewer of a bumpy surface in two items, some below zero; the second item is the smaller.
pub(super) fn surface(n: usize) -> Arc<CoordinateManager> {
    let side = (n as f64).sqrt().ceil() as i32;
    let voxel = |i: i32| {
        let (x, y) = (i % side.max(1) - side / 2, i / side.max(1) - 3);
        let z = (x * x / 17 + y * 3) % 11 - 5;
        [i32::from(i % 5 == 0), x, y, z]
    };
    let mut coords: Vec<[i32; 4]> = (0..n as i32).map(voxel).collect();
    coords.sort_unstable();
    coords.dedup();
    CoordinateManager::new(Coords::with_batch_size(&coords, 2).unwrap().0)
}

/// Maps of all kinds on sets of all sizes.
pub(super) fn maps() -> Vec<(String, Arc<KernelMap>)> {
    let specs = [
        ConvSpec::new(3, 1),
        ConvSpec::new(2, 2),
        ConvSpec::new(1, 1),
        ConvSpec::new(3, 2),
        ConvSpec::new(5, 1),
        ConvSpec::new(2, 1),
        ConvSpec::new(1, 2),
        ConvSpec::new(2, 3),
        ConvSpec::new(3, 1).with_dilation(3),
    ];
    let mut maps = Vec::new();
    for n in [0, 1, 63, 64, 65, 1000] {
        let manager = surface(n);
        for spec in specs {
            maps.push((format!("{n} voxels, {spec:?}"), manager.kernel_map(1, spec).unwrap()));
        }
        // Below the first level, where keys have another bias.
        manager.coarser(1, 2).unwrap();
        maps.push((format!("{n} voxels, level 2"), manager.kernel_map(2, ConvSpec::new(3, 1)).unwrap()));
        maps.push((format!("{n} voxels, level 2"), manager.kernel_map(2, ConvSpec::new(2, 2)).unwrap()));
    }
    maps
}

const DIRECTIONS: [Direction; 2] = [Direction::ToCoarse, Direction::ToFine];

#[test]
fn tables_have_the_pairs_of_the_lists() {
    let Some(gpu) = Gpu::get() else { return };
    for (what, map) in maps() {
        for direction in DIRECTIONS {
            let table = table(gpu, &map, direction).unwrap();
            let Some(neighbours) = table.neighbours else {
                assert!(map.spec().is_pointwise() || table.n_target == 0);
                continue;
            };
            let rows = gpu.words(&neighbours.rows);
            let mut pairs = Vec::new();
            for (at, &source) in rows.iter().enumerate().filter(|(_, s)| **s != u32::MAX) {
                let (k, target) = ((at / table.n_target) as u32, (at % table.n_target) as u32);
                match direction {
                    Direction::ToCoarse => pairs.push([k, source, target]),
                    Direction::ToFine => pairs.push([k, target, source]),
                }
            }
            pairs.sort_unstable();
            assert_eq!(pairs, map.pairs(), "{what} {direction:?}");
            let occupied = gpu.words(&neighbours.occupied);
            for (at, &any) in occupied.iter().enumerate() {
                let (tile, k) = (at / table.volume, at % table.volume);
                let tile =
                    k * table.n_target + tile * 64..k * table.n_target + table.n_target.min(tile * 64 + 64);
                assert_eq!(any == 1, rows[tile].iter().any(|s| *s != u32::MAX), "{what} {direction:?} {at}");
            }
        }
    }
}

#[test]
fn both_ends_of_the_range_are_found() {
    let Some(gpu) = Gpu::get() else { return };
    let (low, high) = (-131_072, 131_071);
    let corners =
        [[0, low, low, low], [0, low + 1, low, low], [1023, high, high, high], [1023, high, low, high]];
    let manager = CoordinateManager::new(Coords::new(&corners).unwrap().0);
    for spec in [ConvSpec::new(3, 1), ConvSpec::new(2, 2), ConvSpec::new(3, 3)] {
        let map = manager.kernel_map(1, spec).unwrap();
        for direction in DIRECTIONS {
            let table = table(gpu, &map, direction).unwrap();
            let rows = gpu.words(&table.neighbours.unwrap().rows);
            assert_eq!(
                rows.iter().filter(|r| **r != u32::MAX).count(),
                map.n_pairs(),
                "{spec:?} {direction:?}"
            );
        }
    }
}

fn on<'a>(data: &'a Memory, channels: usize) -> Side<'a, Memory> {
    Side { data, channels }
}

/// Forward and gradients of a convolution with `left + right` channels in.
fn check_conv(gpu: &Gpu, what: &str, map: &KernelMap, direction: Direction, sizes: [usize; 3]) {
    let [left, right, cout] = sizes;
    let cin = left + right;
    let there = table(gpu, map, direction).unwrap();
    let back = table(gpu, map, direction.back()).unwrap();
    let lists: &PairLists = direction.lists(map);
    let (l, r) = (numbers(1, lists.n_source * left), numbers(2, lists.n_source * right));
    let (w, b) = (numbers(3, lists.volume * cin * cout), numbers(4, cout));
    let g = numbers(5, lists.n_target * cout);
    let sides = [kernels::Side { data: &l, channels: left }, kernels::Side { data: &r, channels: right }];
    let sides = if right == 0 { &sides[..1] } else { &sides[..] };
    let [gl, gr, gw, gb, gg] = [&l, &r, &w, &b, &g].map(|v| gpu.of(v));
    let on_gpu = [on(&gl, left), on(&gr, right)];
    let on_gpu = if right == 0 { &on_gpu[..1] } else { &on_gpu[..] };

    for bias in [None, Some(&b[..])] {
        let start = Start { bias, ..Start::default() };
        let want =
            Prepared::new(Simd::Plain, Weight::forward(&w, cin, cout)).gather_product(lists, sides, start);
        let got = forward(gpu, &there, on_gpu, &gw, cout, bias.map(|_| &gb)).unwrap();
        assert_agree(&format!("forward {what}"), &gpu.floats(&got), &want);
    }
    let mirrored = map.spec().is_symmetric();
    for (first, channels) in [(0, left), (left, right)] {
        let weight = Weight::backward(&w, (cin, cout), (first, channels), false);
        let grad = [kernels::Side { data: &g, channels: cout }];
        let want = kernels::gather_product(Simd::Plain, direction.back().lists(map), &grad, weight);
        let got = input_gradient(gpu, &back, on(&gg, cout), &gw, (cin, first, channels), false).unwrap();
        assert_agree(&format!("by input {what}"), &gpu.floats(&got), &want);
        if mirrored {
            let got = input_gradient(gpu, &there, on(&gg, cout), &gw, (cin, first, channels), true).unwrap();
            assert_agree(&format!("by input, mirrored {what}"), &gpu.floats(&got), &want);
        }
    }
    let want = kernels::weight_gradient(Simd::Plain, lists, sides, &g, cout);
    let got = weight_gradient(gpu, &there, on_gpu, on(&gg, cout)).unwrap();
    assert_agree(&format!("by weight {what}"), &gpu.floats(&got), &want);
}

#[test]
fn convolution_and_its_gradients_agree_with_the_processor() {
    let Some(gpu) = Gpu::get() else { return };
    for (i, (what, map)) in maps().into_iter().enumerate() {
        let sizes = [[3, 0, 5], [17, 4, 65], [1, 0, 1]][i % 3];
        for direction in DIRECTIONS {
            check_conv(gpu, &format!("{what} {direction:?} {sizes:?}"), &map, direction, sizes);
        }
    }
}

#[test]
fn convolution_of_thousands_of_voxels_agrees_with_the_processor() {
    let Some(gpu) = Gpu::get() else { return };
    let manager = surface(6000);
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    check_conv(gpu, "3", &map, Direction::ToCoarse, [32, 0, 64]);
    let map = manager.kernel_map(1, ConvSpec::new(1, 1)).unwrap();
    check_conv(gpu, "1", &map, Direction::ToCoarse, [64, 32, 96]);
    let map = manager.kernel_map(1, ConvSpec::new(2, 2)).unwrap();
    check_conv(gpu, "2", &map, Direction::ToFine, [64, 0, 32]);
}

#[test]
fn the_same_bits_twice() {
    let Some(gpu) = Gpu::get() else { return };
    let map = surface(3000).kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    let there = table(gpu, &map, Direction::ToCoarse).unwrap();
    let (x, g) = (gpu.of(&numbers(1, map.n_fine() * 16)), gpu.of(&numbers(2, there.n_target * 16)));
    let run = || gpu.words(&weight_gradient(gpu, &there, &[on(&x, 16)], on(&g, 16)).unwrap());
    assert_eq!(run(), run());
}

#[test]
fn sums_over_rows_agree_with_those_in_f64() {
    let Some(gpu) = Gpu::get() else { return };
    for (rows, columns) in [(1, 1), (255, 3), (256, 32), (257, 33), (70_000, 5)] {
        let x: Vec<f32> = numbers(rows as u32, rows * columns).iter().map(|v| v + 0.5).collect();
        let got = gpu.floats(&column_sums(gpu, &gpu.of(&x), rows, columns).unwrap());
        let mut want = vec![0f64; columns];
        x.chunks(columns).for_each(|row| want.iter_mut().zip(row).for_each(|(w, v)| *w += f64::from(*v)));
        let want: Vec<f32> = want.into_iter().map(|w| w as f32).collect();
        assert_agree(&format!("{rows} rows of {columns}"), &got, &want);
    }
}

#[test]
fn a_buffer_of_nothing_is_no_error() {
    let Some(gpu) = Gpu::get() else { return };
    assert!(gpu.words(&gpu.buffer(0).unwrap()).is_empty());
}
