//! Lamps, plants, pictures, rugs, boxes and loose books.

use super::super::art::N_STYLES;
use super::super::class::Class;
use super::super::dice::Dice;
use super::super::material::{Material, Palette, Pattern, hsv, linear};
use super::super::vec3::{Axes, V3, v3};
use super::storage::book_cover;
use super::{Light, Piece};

/// Warm to neutral white.
fn bulb_colour(dice: &mut Dice) -> V3 {
    v3(1.0, dice.between(0.72, 0.97), dice.between(0.45, 0.92))
}

/// Puts a lamp shade with its light in it: the shade glows if the lamp is on.
fn shade(dice: &mut Dice, palette: &mut Palette, piece: &mut Piece, z: f32, radius: f32, power: f32) {
    let lit = dice.chance(0.75);
    let bulb = bulb_colour(dice);
    let colour = if dice.chance(0.5) { linear(0.9, 0.86, 0.76) } else { Palette::paint_colour(dice) };
    let material = if lit { palette.glowing(colour.times(bulb), 0.9, dice) } else { palette.fabric(dice) };
    let h = radius * dice.between(0.9, 1.6);
    match dice.count(0, 3) {
        0 => piece.ellipsoid(Class::Lamp, material, [0.0, 0.0, z], [radius, radius, 0.9 * radius]),
        1 => piece.frustum(Class::Lamp, material, [0.0, 0.0, z - 0.5 * h], (radius, radius), h),
        _ => piece.frustum(Class::Lamp, material, [0.0, 0.0, z - 0.5 * h], (radius, 0.6 * radius), h),
    }
    .opaque = false;
    if lit {
        piece.lights.push(Light { position: v3(0.0, 0.0, z), power: bulb * power, radius_m: 0.5 * radius });
    }
}

/// A lamp that stands on the floor.
pub(crate) fn floor_lamp(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let h = dice.between(1.35, 1.75);
    let r = dice.between(0.14, 0.24);
    let mut piece = Piece::sized(2.0 * r, 2.0 * r, h + 0.1);
    let metal = if dice.chance(0.7) { palette.metal(dice) } else { palette.wood(dice) };
    piece.frustum(Class::Lamp, metal, [0.0, 0.0, 0.0], (0.14, 0.13), 0.025);
    piece.frustum(Class::Lamp, metal, [0.0, 0.0, 0.02], (0.013, 0.012), h - 0.05);
    shade(dice, palette, &mut piece, h - 0.05, r, 1.1);
    piece
}

/// A lamp for tables and nightstands.
pub(crate) fn table_lamp(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let h = dice.between(0.3, 0.5);
    let r = dice.between(0.09, 0.15);
    let mut piece = Piece::sized(2.0 * r, 2.0 * r, h + 0.1);
    let base = if dice.chance(0.5) { palette.metal(dice) } else { palette.paint(dice) };
    match dice.count(0, 2) {
        0 => {
            piece.ellipsoid(Class::Lamp, base, [0.0, 0.0, 0.35 * h], [0.07, 0.07, 0.35 * h]);
        }
        1 => {
            piece.frustum(Class::Lamp, base, [0.0, 0.0, 0.0], (0.075, 0.03), 0.6 * h);
        }
        _ => {
            piece.frustum(Class::Lamp, base, [0.0, 0.0, 0.0], (0.08, 0.07), 0.02);
            piece.frustum(Class::Lamp, base, [0.0, 0.0, 0.02], (0.012, 0.012), 0.8 * h);
        }
    }
    shade(dice, palette, &mut piece, h, r, 0.45);
    piece
}

/// A lamp on a cord; z = 0 is the ceiling. It always has its light.
pub(crate) fn hanging_lamp(dice: &mut Dice, palette: &mut Palette, drop: f32) -> Piece {
    let mut piece = Piece::sized(0.5, 0.5, drop);
    let bulb = bulb_colour(dice);
    let colour = if dice.chance(0.5) { linear(0.95, 0.93, 0.88) } else { Palette::paint_colour(dice) };
    let glow = palette.glowing(colour.times(bulb), 1.1, dice);
    if drop < 0.15 {
        let r = dice.between(0.14, 0.26);
        piece.frustum(Class::Lamp, glow, [0.0, 0.0, -0.08], (0.8 * r, r), 0.08).opaque = false;
        piece.lights.push(Light { position: v3(0.0, 0.0, -0.16), power: bulb * 2.6, radius_m: r });
        return piece;
    }
    let metal = palette.metal(dice);
    piece.frustum(Class::Lamp, metal, [0.0, 0.0, -drop], (0.006, 0.006), drop).opaque = false;
    let r = dice.between(0.12, 0.26);
    if dice.chance(0.4) {
        piece.ellipsoid(Class::Lamp, glow, [0.0, 0.0, -drop], [r, r, r * dice.between(0.6, 1.0)]).opaque =
            false;
    } else {
        let h = r * dice.between(0.6, 1.3);
        let top = r * dice.between(0.2, 0.9);
        piece.frustum(Class::Lamp, glow, [0.0, 0.0, -drop - 0.5 * h], (r, top), h).opaque = false;
    }
    piece.lights.push(Light { position: v3(0.0, 0.0, -drop), power: bulb * 2.6, radius_m: 0.6 * r });
    piece
}

/// Leaves: mostly green, some reddish, some pale.
fn leaf(dice: &mut Dice, palette: &mut Palette) -> u16 {
    let hue = if dice.chance(0.85) { dice.between(0.2, 0.4) } else { dice.unit() };
    let first = hsv(hue, dice.between(0.35, 0.85), dice.between(0.25, 0.7));
    let pattern = Pattern::Cloud { size: dice.between(0.02, 0.08) };
    palette.patterned(pattern, first, first * 0.5, dice)
}

fn pot(dice: &mut Dice, palette: &mut Palette, piece: &mut Piece, radius: f32, height: f32) {
    let clay = palette.paint(dice);
    let earth = palette.patterned(
        Pattern::Speckle { size: 0.01, share: 0.4 },
        linear(0.2, 0.14, 0.1),
        linear(0.1, 0.07, 0.05),
        dice,
    );
    let foot = radius * dice.between(0.6, 1.0);
    piece.frustum(Class::Plant, clay, [0.0, 0.0, 0.0], (foot, radius), height);
    piece.frustum(Class::Plant, earth, [0.0, 0.0, height], (0.88 * radius, 0.88 * radius), 0.006);
}

/// Long leaves from one foot, bending outwards; `reach` is their length.
fn blades(dice: &mut Dice, palette: &mut Palette, piece: &mut Piece, z: f32, reach: f32, n: u32) {
    let material = leaf(dice, palette);
    let stem = leaf(dice, palette);
    let width = dice.between(0.08, 0.25);
    for k in 0..n {
        let around = 2.4 * k as f32 + dice.between(-0.3, 0.3);
        let rise = dice.between(0.35, 1.35);
        let length = reach * dice.between(0.6, 1.0);
        let (sin, cos) = around.sin_cos();
        let direction = v3(rise.cos() * cos, rise.cos() * sin, rise.sin());
        let from = v3(0.0, 0.0, z);
        let tip = from + direction * (0.55 * length);
        piece.rod(Class::Plant, stem, from, tip, 0.004 + 0.004 * reach);
        let half = 0.28 * length;
        let centre = from + direction * (0.75 * length);
        let blade =
            piece.ellipsoid(Class::Plant, material, centre.to_array(), [half * width * 1.8, 0.006, half]);
        // Its long axis goes outwards, its face looks up.
        let side = direction.cross(V3::UP).unit();
        blade.axes = Axes([side, direction.cross(side), direction]);
    }
}

/// A crown of leaf clusters on a trunk.
fn crown(dice: &mut Dice, palette: &mut Palette, piece: &mut Piece, z: f32, height: f32, spread: f32) {
    let bark = palette.wood(dice);
    let materials = [leaf(dice, palette), leaf(dice, palette)];
    piece.frustum(Class::Plant, bark, [0.0, 0.0, z], (0.022, 0.012), 0.7 * height);
    for k in 0..26_u32 {
        let around = 2.4 * k as f32;
        let share = (k as f32 + 0.5) / 26.0;
        let r = spread * (1.0 - (1.6 * share - 0.6).powi(2)).max(0.05).sqrt() * dice.between(0.45, 1.0);
        let at = v3(r * around.cos(), r * around.sin(), z + height * (0.35 + 0.65 * share));
        let side = 0.34 * spread * dice.between(0.6, 1.2);
        let cluster = piece.ellipsoid(
            Class::Plant,
            materials[k as usize % 2],
            at.to_array(),
            [side, 0.55 * side, 0.16 * side],
        );
        cluster.axes = Axes::turned(around, dice.between(-0.6, 0.6), dice.between(-0.2, 0.9));
    }
}

/// A plant that stands on the floor.
pub(crate) fn floor_plant(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let (r, pot_h) = (dice.between(0.12, 0.2), dice.between(0.2, 0.4));
    let height = dice.between(0.5, 1.2);
    let spread = dice.between(0.25, 0.42);
    let mut piece = Piece::sized(2.0 * spread, 2.0 * spread, pot_h + height);
    pot(dice, palette, &mut piece, r, pot_h);
    if dice.chance(0.5) {
        crown(dice, palette, &mut piece, pot_h, height, spread);
    } else {
        let n = dice.count(9, 16);
        blades(dice, palette, &mut piece, pot_h, (spread / 0.85).max(0.75 * height), n);
        piece.half = [0.75 * height.max(spread); 2];
    }
    piece
}

/// A small potted plant of about this height.
pub(crate) fn table_plant(dice: &mut Dice, palette: &mut Palette, height: f32) -> Piece {
    let r = (0.28 * height).clamp(0.03, 0.08);
    let mut piece = Piece::sized(0.2, 0.2, height);
    pot(dice, palette, &mut piece, r, 0.4 * height);
    if dice.chance(0.4) {
        crown(dice, palette, &mut piece, 0.4 * height, 0.6 * height, 0.09);
    } else {
        let n = dice.count(7, 11);
        blades(dice, palette, &mut piece, 0.38 * height, (0.6 * height).min(0.2), n);
    }
    piece
}

/// A framed picture; its middle is at z = 0, its back at y = 0, the picture looks along -y.
pub(crate) fn picture(dice: &mut Dice, palette: &mut Palette, width: f32, height: f32) -> Piece {
    let mut piece = Piece::sized(width, 0.03, height);
    let frame = if dice.chance(0.5) { palette.board(dice) } else { palette.metal(dice) };
    let (a, b) = (Palette::paint_colour(dice), Palette::paint_colour(dice));
    let style = dice.count(0, N_STYLES - 1);
    let canvas = palette.patterned(Pattern::Painting { style }, a, b, dice);
    let border = dice.between(0.012, 0.05);
    let class = Class::Picture;
    piece.block(class, frame, [0.0, -0.012, 0.0], [width, 0.024, height]);
    // The painting's u must run across; a face's u runs along its longer side, so a tall one is turned.
    let (w, h) = (width - 2.0 * border, height - 2.0 * border);
    if w >= h {
        piece.block(class, canvas, [0.0, -0.023, 0.0], [w, 0.006, h]);
    } else {
        let solid = piece.block(class, canvas, [0.0, -0.023, 0.0], [h, 0.006, w]);
        solid.axes = Axes::turned(0.0, 0.0, std::f32::consts::FRAC_PI_2);
    }
    piece
}

/// A rug, 8 mm thick. Furniture stands on it as on the floor.
pub(crate) fn rug(dice: &mut Dice, palette: &mut Palette, width: f32, depth: f32) -> Piece {
    let mut piece = Piece::sized(width, depth, 0.008);
    let (cloth, edge) = (palette.fabric(dice), palette.fabric(dice));
    if dice.chance(0.25) {
        let r = 0.5 * width.min(depth);
        piece.frustum(Class::Rug, cloth, [0.0, 0.0, 0.0], (r, r), 0.008);
        piece.half = [r, r];
        return piece;
    }
    piece.block(Class::Rug, edge, [0.0, 0.0, 0.003], [width, depth, 0.006]);
    let border = dice.between(0.0, 0.18);
    piece.block(Class::Rug, cloth, [0.0, 0.0, 0.004], [width - border, depth - border, 0.008]);
    piece
}

/// Cardboard or painted boxes, one to three, stacked.
pub(crate) fn box_stack(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let n = dice.count(1, 3);
    let mut piece = Piece::default();
    let mut z = 0.0;
    let mut size = dice.between(0.3, 0.55);
    for _ in 0..n {
        let card = if dice.chance(0.5) {
            let colour = linear(dice.between(0.6, 0.78), dice.between(0.45, 0.58), dice.between(0.3, 0.4));
            palette.add(Material::plain(colour, dice.bits()))
        } else {
            palette.board(dice)
        };
        let side = [size, size * dice.between(0.6, 1.0), size * dice.between(0.5, 0.9)];
        let yaw = dice.between(-0.3, 0.3);
        piece.block(Class::Box, card, [0.0, 0.0, z + 0.5 * side[2]], side).axes = Axes::turned(yaw, 0.0, 0.0);
        // Tape along the top.
        let tape =
            palette.add(Material { gloss: 0.4, ..Material::plain(linear(0.75, 0.66, 0.5), dice.bits()) });
        let on_top = piece.block(Class::Box, tape, [0.0, 0.0, z + side[2]], [side[0], 0.05, 0.002]);
        on_top.axes = Axes::turned(yaw, 0.0, 0.0);
        let reach = 0.5 * side[0].hypot(side[1]);
        piece.half = [piece.half[0].max(reach), piece.half[1].max(reach)];
        z += side[2];
        size *= dice.between(0.6, 0.9);
    }
    piece.height = z;
    piece
}

/// One to four books lying on each other.
pub(crate) fn loose_books(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let mut piece = Piece::sized(0.3, 0.3, 0.15);
    let mut z = 0.0;
    for _ in 0..dice.count(1, 4) {
        let cover = book_cover(dice, palette);
        let t = dice.between(0.018, 0.045);
        let side = [dice.between(0.17, 0.24), dice.between(0.13, 0.17), t - 0.001];
        let book = piece.block(Class::Books, cover, [0.0, 0.0, z + 0.5 * t], side);
        book.axes = Axes::turned(dice.between(-0.5, 0.5), 0.0, 0.0);
        z += t;
    }
    piece
}
