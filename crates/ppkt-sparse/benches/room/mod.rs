//! The surfaces of a room as voxels: what a depth camera or a scanner sees.

use std::collections::BTreeSet;

/// About `n_voxels` voxels on floor, two walls, a ramp, a table and some balls, unsorted but in a fixed order.
pub(crate) fn room(n_voxels: usize) -> Vec<[i32; 4]> {
    // The number of voxels grows with the square of the size.
    let mut size = ((n_voxels as f64) / 2.3).sqrt();
    for _ in 0..4 {
        let n = surfaces(size).len() as f64;
        size *= (n_voxels as f64 / n).sqrt();
    }
    surfaces(size).into_iter().collect()
}

fn surfaces(size: f64) -> BTreeSet<[i32; 4]> {
    let mut voxels = BTreeSet::new();
    let n = size as i32;
    let mut add = |x: f64, y: f64, z: f64| {
        voxels.insert([
            0,
            (x - size / 2.0).floor() as i32,
            (y - size / 2.0).floor() as i32,
            z.floor() as i32,
        ]);
    };
    for a in 0..n {
        for b in 0..n {
            let (u, v) = (f64::from(a) + 0.5, f64::from(b) + 0.5);
            add(u, v, 0.5);
            if v < size * 0.5 {
                add(u, 0.5, v);
                add(0.5, u, v);
            }
            // A ramp, and a table top.
            if u < size * 0.3 && v < size * 0.4 {
                add(size * 0.6 + u, size * 0.5 + v, u * 0.6);
                add(size * 0.2 + u, size * 0.4 + v, size * 0.15);
            }
        }
    }
    for (cx, cy, r) in [(0.3, 0.7, 0.12), (0.7, 0.25, 0.16), (0.45, 0.2, 0.08)] {
        let r = r * size;
        // Steps of half a voxel leave no hole.
        let rings = (std::f64::consts::PI * r * 2.0).ceil() as i32;
        for i in 0..=rings {
            let polar = std::f64::consts::PI * f64::from(i) / f64::from(rings);
            let around = (2.0 * std::f64::consts::PI * r * polar.sin() * 2.0).ceil().max(1.0);
            for j in 0..around as i32 {
                let azimuth = 2.0 * std::f64::consts::PI * f64::from(j) / around;
                let (s, c) = polar.sin_cos();
                add(cx * size + r * s * azimuth.cos(), cy * size + r * s * azimuth.sin(), r + r * c);
            }
        }
    }
    voxels
}
