//! Flat pictures: paintings on walls, the view from a window, what a screen shows.

use super::dice::{hash, hash2, unit_of};
use super::material::{cloud, hsv, linear};
use super::vec3::{V3, v3};

/// Kinds of painting.
pub(crate) const N_STYLES: u32 = 6;

/// A painting at `at` in [-1, 1]². `a` and `b` are the colours of its material.
pub(crate) fn painting(style: u32, at: (f32, f32), key: u32, a: V3, b: V3) -> V3 {
    let (x, y) = at;
    let some = |n: u32| {
        hsv(
            unit_of(hash(key ^ n)),
            0.2 + 0.7 * unit_of(hash(key ^ n ^ 99)),
            0.3 + 0.65 * unit_of(hash(key ^ n ^ 7)),
        )
    };
    // A passe-partout around some of them.
    if unit_of(hash(key ^ 1000)) < 0.4 && x.abs().max(y.abs()) > 0.72 {
        return linear(0.93, 0.92, 0.88);
    }
    match style % N_STYLES {
        0 => landscape(x, y, key),
        1 => {
            // Colour fields between lines.
            let cut = |s: f32, n: u32| {
                let k = 2.0 + (hash(key ^ n) % 3) as f32;
                (((s + 0.3 * unit_of(hash(key ^ n ^ 5))) * 0.5 + 0.5) * k).floor() as i32
            };
            let (i, j) = (cut(x, 11), cut(y, 12));
            let edge = [0.02, -0.02].iter().any(|d| cut(x + d, 11) != i || cut(y + d, 12) != j);
            if edge { v3(0.01, 0.01, 0.01) } else { some(hash2(i, j, key) % 5) }
        }
        2 => {
            let mut colour = a;
            for n in 0..5_u32 {
                let (cx, cy) = (
                    unit_of(hash(key ^ (n * 3 + 20))) * 1.6 - 0.8,
                    unit_of(hash(key ^ (n * 3 + 21))) * 1.6 - 0.8,
                );
                let r = 0.15 + 0.4 * unit_of(hash(key ^ (n * 3 + 22)));
                if (x - cx).hypot(y - cy) < r {
                    colour = some(n + 40);
                }
            }
            colour
        }
        3 => {
            // A head and shoulders.
            let backdrop = some(60) * (0.6 + 0.5 * cloud(x * 2.0, y * 2.0, key));
            let head = (x / 0.33).hypot((y - 0.2) / 0.42);
            let body = (x / 0.8).hypot((y + 1.1) / 0.75);
            if head < 1.0 {
                let skin = hsv(0.06, 0.45, 0.35 + 0.6 * unit_of(hash(key ^ 61)));
                if y > 0.38 || head > 0.86 && y > -0.1 {
                    some(62) * 0.4
                } else {
                    skin * (1.0 - 0.35 * (x + 0.3).abs())
                }
            } else if body < 1.0 {
                some(63)
            } else {
                backdrop
            }
        }
        4 => a
            .mix(b, cloud(x * 3.0, y * 3.0, key))
            .mix(some(70), cloud(x * 5.0 + 9.0, y * 5.0, key ^ 2).powi(2)),
        _ => {
            let angle = 3.0 * unit_of(hash(key ^ 80));
            let s = x * angle.cos() + y * angle.sin();
            some(((s * 3.0 + 8.0 + 0.4 * cloud(x * 2.0, y * 2.0, key)) as u32 % 4) + 81)
        }
    }
}

fn landscape(x: f32, y: f32, key: u32) -> V3 {
    let horizon = 0.3 * (unit_of(hash(key ^ 31)) - 0.5);
    let ridge = |scale: f32, height: f32, n: u32| horizon + height * cloud(x * scale + 7.0, 0.5, key ^ n);
    let sky = hsv(0.55 + 0.1 * unit_of(hash(key ^ 32)), 0.25 + 0.3 * y.max(0.0), 0.95);
    let dusk = hsv(0.06, 0.5, 0.95);
    let sky = sky.mix(dusk, unit_of(hash(key ^ 33)) * (1.0 - y).clamp(0.0, 1.0));
    let (sx, sy) = (unit_of(hash(key ^ 34)) * 1.2 - 0.6, 0.45 + 0.3 * unit_of(hash(key ^ 35)));
    if y > ridge(1.5, 0.5, 36) {
        if (x - sx).hypot(y - sy) < 0.12 { linear(1.0, 0.95, 0.75) } else { sky }
    } else if y > ridge(3.0, 0.25, 37) - 0.15 {
        hsv(0.6, 0.25, 0.45)
    } else {
        let field = hsv(0.2 + 0.2 * unit_of(hash(key ^ 38)), 0.6, 0.5);
        field * (0.6 + 0.6 * cloud(x * 9.0, y * 18.0, key))
    }
}

/// Sky, roofs and trees, seen through a window. Bright: the glow of the material does the rest.
pub(crate) fn outdoors(at: (f32, f32), key: u32) -> V3 {
    let (x, y) = at;
    let skyline = -0.35 + 0.5 * unit_of(hash2((x * 3.0 + unit_of(key) * 2.0).floor() as i32, 3, key)) - 0.2;
    let trees = -0.45 + 0.5 * cloud(x * 4.0, 1.0, key ^ 5) + 0.12 * cloud(x * 17.0, 2.0, key ^ 6);
    if y < trees {
        hsv(0.29, 0.5, 0.25 + 0.25 * cloud(x * 25.0, y * 25.0, key)) * 0.8
    } else if y < skyline {
        hsv(0.06, 0.2, 0.55)
    } else {
        let clouds = cloud(x * 2.0, y * 3.0, key ^ 9);
        hsv(0.58, 0.25 + 0.15 * y, 1.0).mix(V3::ONE, clouds * clouds) * 1.5
    }
}

/// Windows and lines of text on a coloured ground.
pub(crate) fn desktop(at: (f32, f32), key: u32, ground: V3, paper: V3) -> V3 {
    let (x, y) = at;
    let left = -0.8 + 0.5 * unit_of(hash(key ^ 1));
    let right = left + 0.9;
    if x > left && x < right && y.abs() < 0.75 {
        if y > 0.62 {
            return ground * 0.4;
        }
        let line = (y * 12.0).floor() as i32;
        let written = (y * 12.0 - (y * 12.0).floor()) < 0.5
            && x < left + 0.1 + 0.8 * unit_of(hash2(line, 1, key))
            && x > left + 0.08;
        return if written { paper * 0.25 } else { paper };
    }
    ground * (0.7 + 0.3 * y)
}
