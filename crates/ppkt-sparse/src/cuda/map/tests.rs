//! Tables that the kernels build, run on the processor, against the processor's own maps.

use std::sync::Arc;

use ppkt_testkit::EmulatedGpu;

use super::*;
use crate::cuda::samples::{gpu, sheet};
use crate::{CoordinateManager, Coords, KernelMap};

fn check(gpu: &EmulatedGpu, map: &KernelMap, (fine, coarse): (&Coords, &Coords), direction: Direction) {
    let (target, source) = match direction {
        Direction::ToCoarse => (coarse, fine),
        Direction::ToFine => (fine, coarse),
    };
    let [target, source] = [target, source].map(|s| DeviceKeys::new(gpu, s.keys(), s.bias()).unwrap());
    let table = Table::new(gpu, &target, &source, map.spec(), direction).unwrap();
    let (n, volume, positions) = (table.n_target, table.volume, table.positions());
    assert_eq!((n, table.n_source, volume), (target.n, source.n, map.spec().volume()));

    let (neighbours, order, masks) = (table.neighbours.values(), table.order.values(), table.masks.values());

    // Every row stands at one position, and -1 behind the last.
    let mut rows = order.clone();
    rows.sort_unstable();
    let want: Vec<i32> = (n..positions).map(|_| -1).chain(0..n as i32).collect();
    assert_eq!(rows, want);

    // The same pairs as the processor's, in the table and in the lists.
    let mut pairs = Vec::new();
    for k in 0..volume {
        for (p, &row) in order.iter().enumerate() {
            let from = neighbours[k * positions + p];
            if from >= 0 {
                let [fine, coarse] = match direction {
                    Direction::ToCoarse => [from, row],
                    Direction::ToFine => [row, from],
                };
                pairs.push([k as u32, fine as u32, coarse as u32]);
            }
        }
    }
    pairs.sort_unstable();
    assert_eq!(pairs, map.pairs());
    let mut listed = Vec::new();
    let counts = table.counts.values();
    for (k, lists) in table.pairs.values().chunks(2 * n.max(1)).enumerate() {
        let (from, to) = lists.split_at(n);
        let count = counts[k] as usize;
        assert!(to[..count].is_sorted());
        for (&from, &to) in from[..count].iter().zip(to) {
            let [fine, coarse] = if direction == Direction::ToCoarse { [from, to] } else { [to, from] };
            listed.push([k as u32, fine as u32, coarse as u32]);
        }
    }
    listed.sort_unstable();
    assert_eq!(listed, pairs);

    // Masks are the union of their tile's rows; rows alike stand together, in ascending order.
    let words = volume.div_ceil(32);
    let has = |k: usize, p: usize| neighbours[k * positions + p] >= 0;
    for tile in 0..positions / TILE {
        for k in 0..volume {
            let any = (tile * TILE..(tile + 1) * TILE).any(|p| has(k, p));
            assert_eq!(masks[tile * words + k / 32] >> (k % 32) & 1 == 1, any, "tile {tile}, {k}");
        }
    }
    if volume <= 32 {
        let mask = |p: usize| (0..volume).map(|k| u32::from(has(k, p)) << k).sum::<u32>();
        let keys: Vec<(u32, i32)> = (0..n).map(|p| (mask(p), order[p])).collect();
        assert!(keys.is_sorted());
    }
}

fn check_all(voxels: &[[i32; 4]]) {
    let Some(gpu) = gpu() else { return };
    let manager = CoordinateManager::new(Coords::new(voxels).unwrap().0);
    let specs = [
        ConvSpec::new(3, 1),
        ConvSpec::new(1, 1),
        ConvSpec::new(2, 1),
        ConvSpec::new(5, 1),
        ConvSpec::new(3, 1).with_dilation(3),
        ConvSpec::new(2, 2),
        ConvSpec::new(3, 2),
        ConvSpec::new(3, 3),
    ];
    let mut pairs = 0;
    for spec in specs {
        // Every kind on the finest set, and one of each parity on a coarser one, whose keys have another bias.
        for stride in if spec.kernel > 3 || spec.stride > 2 { 1..=1 } else { 1..=2 } {
            manager.coarser(1, stride).unwrap();
            let map = manager.kernel_map(stride as u32, spec).unwrap();
            let fine: Arc<Coords> = manager.coarser(stride as u32, 1).unwrap();
            let coarse = manager.coarser(stride as u32, spec.stride).unwrap();
            check(&gpu, &map, (&fine, &coarse), Direction::ToCoarse);
            check(&gpu, &map, (&fine, &coarse), Direction::ToFine);
            pairs += map.n_pairs();
        }
    }
    assert!(pairs >= voxels.len());
}

#[test]
fn coarser_sets_are_made_of_finer_ones() {
    let Some(gpu) = gpu() else { return };
    for (voxels, shift) in [(sheet(40), 1), (sheet(40), 3), (vec![[1, 2, 3, 4]], 2), (Vec::new(), 1)] {
        let fine = Coords::new(&voxels).unwrap().0;
        let coarse = fine.coarser(1 << shift).unwrap();
        let fine = DeviceKeys::new(&gpu, fine.keys(), fine.bias()).unwrap();
        let got = fine.coarser(&gpu, shift, coarse.keys(), coarse.bias()).unwrap();
        assert_eq!(got.keys.values(), coarse.keys());
        assert_eq!((got.n, got.n_slots), (coarse.len(), got.slots.view().len() / 4));
    }
}

#[test]
fn a_sheet_of_some_hundred_voxels() {
    check_all(&sheet(15));
}

#[test]
fn one_voxel() {
    check_all(&[[3, -5, 7, 0]]);
}

#[test]
fn nothing() {
    check_all(&[]);
}

#[test]
fn several_thousand_voxels() {
    let Some(gpu) = gpu() else { return };
    let manager = CoordinateManager::new(Coords::new(&sheet(52)).unwrap().0);
    let set = manager.coarser(1, 1).unwrap();
    let map = manager.kernel_map(1, ConvSpec::new(3, 1)).unwrap();
    check(&gpu, &map, (&set, &set), Direction::ToCoarse);
}
