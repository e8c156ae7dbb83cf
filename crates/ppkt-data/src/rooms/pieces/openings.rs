//! Doors and windows, with curtains. Their frame: x along the wall, y = 0 its surface (-y into the room), z from
//! the floor.

use super::super::class::Class;
use super::super::dice::Dice;
use super::super::material::{Material, Palette, Pattern, linear};
use super::super::vec3::{V3, v3};
use super::{Light, Piece};

/// A closed door with its casing.
pub(crate) fn door(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let class = Class::Door;
    let (w, h) = (dice.between(0.78, 0.95), dice.between(1.98, 2.1));
    let mut piece = Piece::sized(w + 0.16, 0.06, h + 0.08);
    let leaf = palette.board(dice);
    let casing = if dice.chance(0.5) { leaf } else { palette.paint(dice) };
    let metal = palette.metal(dice);
    piece.block(class, leaf, [0.0, -0.01, 0.5 * h], [w, 0.02, h]);
    for side in [-1.0, 1.0] {
        piece.block(class, casing, [side * 0.5 * (w + 0.08), -0.02, 0.5 * h], [0.08, 0.04, h]);
    }
    piece.block(class, casing, [0.0, -0.02, h + 0.04], [w + 0.16, 0.04, 0.08]);
    // Sunk panels show as raised frames.
    let n_panels = dice.count(0, 3);
    for k in 0..n_panels {
        let ph = (h - 0.3) / n_panels as f32;
        let z = 0.15 + (k as f32 + 0.5) * ph;
        piece.soft_block(class, leaf, [0.0, -0.018, z], [w - 0.26, 0.022, ph - 0.1], 0.008);
    }
    let side = dice.sign();
    piece.rod(
        class,
        metal,
        v3(side * (0.5 * w - 0.07), -0.02, 1.03),
        v3(side * (0.5 * w - 0.07), -0.07, 1.03),
        0.012,
    );
    piece.rod(
        class,
        metal,
        v3(side * (0.5 * w - 0.07), -0.07, 1.03),
        v3(side * (0.5 * w - 0.19), -0.07, 1.03),
        0.01,
    );
    piece
}

/// A window of this size whose sill is at `sill`, by day or night, perhaps with curtains. By day it lights the room.
pub(crate) fn window(dice: &mut Dice, palette: &mut Palette, width: f32, height: f32, sill: f32) -> Piece {
    let class = Class::Window;
    let mut piece = Piece::sized(width + 0.1, 0.1, sill + height);
    piece.low = sill - 0.05;
    let frame = if dice.chance(0.6) {
        palette.add(Material::plain(linear(0.93, 0.93, 0.92), dice.bits()))
    } else {
        palette.board(dice)
    };
    let day = dice.chance(0.8);
    let pane = if day {
        let id = palette.patterned(Pattern::Outdoors, V3::ONE, V3::ONE, dice);
        palette.materials[id as usize].glow = dice.between(1.2, 2.5);
        id
    } else {
        palette.add(Material { gloss: 1.0, ..Material::plain(linear(0.07, 0.08, 0.13), dice.bits()) })
    };
    let middle = sill + 0.5 * height;
    piece.block(class, pane, [0.0, -0.005, middle], [width, 0.01, height]).opaque = false;
    let bar = dice.between(0.04, 0.07);
    let mut beam = |x: f32, z: f32, w: f32, h: f32| {
        piece.block(class, frame, [x, -0.02, z], [w, 0.04, h]);
    };
    beam(0.0, sill, width + bar, bar);
    beam(0.0, sill + height, width + bar, bar);
    beam(-0.5 * width, middle, bar, height);
    beam(0.5 * width, middle, bar, height);
    let n_bars = dice.count(0, 2);
    for k in 0..n_bars {
        let x = width * ((k as f32 + 1.0) / (n_bars as f32 + 1.0) - 0.5);
        beam(x, middle, 0.8 * bar, height);
    }
    if dice.chance(0.4) {
        beam(0.0, sill + 0.65 * height, width, 0.7 * bar);
    }
    piece.block(class, frame, [0.0, -0.07, sill - 0.02], [width + 0.12, 0.14, 0.03]);
    if day {
        let sky = v3(dice.between(0.75, 1.0), dice.between(0.85, 0.95), 1.0);
        let power = sky * (dice.between(1.5, 3.5) * (width * height).sqrt());
        let radius_m = 0.35 * width.min(height);
        piece.lights.push(Light { position: v3(0.0, -0.3, middle), power, radius_m });
    }
    if dice.chance(0.55) {
        curtains(dice, palette, &mut piece, width, sill + height);
    }
    piece
}

/// Two curtains on a rod: folds are upright cylinders side by side.
fn curtains(dice: &mut Dice, palette: &mut Palette, piece: &mut Piece, width: f32, top: f32) {
    let class = Class::Curtain;
    let (cloth, metal) = (palette.fabric(dice), palette.metal(dice));
    let r = dice.between(0.025, 0.04);
    let rail_z = top + 0.12;
    let bottom = if dice.chance(0.7) { 0.03 } else { 0.7 };
    let spread = dice.between(0.25, 0.6) * 0.5 * width + 0.1;
    let n_folds = (spread / (1.5 * r)) as u32 + 1;
    piece.half[0] = 0.5 * width + 0.22;
    piece.low = bottom;
    for side in [-1.0, 1.0] {
        for k in 0..n_folds {
            let x = side * (0.5 * width + 0.18 - 1.5 * r * k as f32);
            let y = -0.10 + if k % 2 == 0 { 0.012 } else { -0.012 };
            let foot = r * dice.between(0.9, 1.15);
            piece.frustum(class, cloth, [x, y, bottom], (foot, 0.9 * r), rail_z - bottom);
        }
    }
    let reach = 0.5 * width + 0.22;
    piece.rod(class, metal, v3(-reach, -0.1, rail_z), v3(reach, -0.1, rail_z), 0.012);
}
