//! Parts of a cloud of voxels that a network can be given one after the other.

/// Some voxels, and all that a network has to see for them. Both lists ascend.
#[derive(Debug, PartialEq)]
pub(super) struct Tile {
    /// Voxels whose embeddings are wanted.
    pub(super) core: Vec<u32>,
    /// Those and all that lie within the network's reach of them.
    pub(super) around: Vec<u32>,
}

/// Cuts voxels into tiles with at most `most` voxels around each, as far as that can be: one that is not much larger
/// than the reach has nearly all of its surroundings in common with its neighbours, and is not cut again.
///
/// Every voxel is in the core of exactly one tile.
pub(super) fn tiles(coords: &[[i32; 3]], reach: usize, most: usize) -> Vec<Tile> {
    let all: Vec<u32> = (0..coords.len() as u32).collect();
    let mut done = Vec::new();
    let reach = i64::try_from(reach).unwrap_or(i64::MAX / 4);
    cut(coords, Tile { core: all.clone(), around: all }, reach, most, &mut done);
    done
}

fn cut(coords: &[[i32; 3]], tile: Tile, reach: i64, most: usize, done: &mut Vec<Tile>) {
    let place = |v: u32| coords[v as usize].map(i64::from);
    if tile.core.is_empty() {
        return;
    }
    let (low, high) = bounds(tile.core.iter().map(|&v| place(v)));
    let (axis, length) = (0..3)
        .map(|k| (k, high[k] - low[k] + 1))
        .max_by_key(|&(k, length)| (length, 2 - k))
        .unwrap_or((0, 1));
    if tile.around.len() <= most || length <= reach.max(1) {
        done.push(tile);
        return;
    }
    let mut along: Vec<i64> = tile.core.iter().map(|&v| place(v)[axis]).collect();
    let middle = along.len() / 2;
    // What lies at the lower end goes to the first half, so that neither is empty.
    let border = (*along.select_nth_unstable(middle).1).max(low[axis] + 1);
    let Tile { core, around } = tile;
    let (first, second): (Vec<u32>, Vec<u32>) = core.into_iter().partition(|&v| place(v)[axis] < border);
    for core in [first, second] {
        let (low, high) = bounds(core.iter().map(|&v| place(v)));
        let near = |&v: &u32| {
            let p = place(v);
            (0..3).all(|k| p[k] >= low[k] - reach && p[k] <= high[k] + reach)
        };
        let around = around.iter().copied().filter(near).collect();
        cut(coords, Tile { core, around }, reach, most, done);
    }
}

fn bounds(places: impl Iterator<Item = [i64; 3]>) -> ([i64; 3], [i64; 3]) {
    places.fold(([i64::MAX / 2; 3], [i64::MIN / 2; 3]), |(low, high), p| {
        ([0, 1, 2].map(|k| low[k].min(p[k])), [0, 1, 2].map(|k| high[k].max(p[k])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A floor with a tower.
    fn voxels() -> Vec<[i32; 3]> {
        let floor = (-40..80).flat_map(|x| (0..50).map(move |y| [x, y, 0]));
        let mut all: Vec<_> = floor.chain((1..60).map(|z| [-40, 3, z])).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn every_voxel_has_one_tile_with_all_that_is_near_it() {
        let coords = voxels();
        for (reach, most) in [(3, 700), (10, 2000), (0, 1), (3, 1), (200, 100)] {
            let tiles = tiles(&coords, reach, most);
            let mut cores: Vec<u32> = tiles.iter().flat_map(|t| t.core.iter().copied()).collect();
            cores.sort_unstable();
            assert_eq!(cores, (0..coords.len() as u32).collect::<Vec<_>>(), "{reach} {most}");
            for tile in &tiles {
                assert!(tile.core.is_sorted() && tile.around.is_sorted());
                let near = |v: &[i32; 3]| {
                    tile.core.iter().any(|&c| {
                        (0..3).all(|k| (v[k] - coords[c as usize][k]).unsigned_abs() as usize <= reach)
                    })
                };
                for (i, v) in coords.iter().enumerate().step_by(7) {
                    assert!(!near(v) || tile.around.binary_search(&(i as u32)).is_ok(), "{v:?}");
                }
            }
            let most_around = tiles.iter().map(|t| t.around.len()).max().unwrap();
            match (reach, most) {
                (3, 700) | (10, 2000) => assert!(most_around <= most && tiles.len() > 3, "{most_around}"),
                (0, 1) => assert_eq!(tiles.len(), coords.len()),
                (200, _) => assert_eq!(tiles.len(), 1, "cutting would not help"),
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_small_enough_is_whole() {
        let coords = voxels();
        let tiles = tiles(&coords, 5, coords.len());
        assert_eq!(tiles.len(), 1);
        assert_eq!(tiles[0].core, tiles[0].around);
    }
}
