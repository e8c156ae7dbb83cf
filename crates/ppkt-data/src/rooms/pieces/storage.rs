//! Shelves with books, cabinets, wardrobes, and the screen that stands on them.

use super::super::class::Class;
use super::super::dice::Dice;
use super::super::material::{Material, Palette, Pattern, hsv, linear};
use super::super::vec3::Axes;
use super::{Piece, table_plant};

/// An open shelf; its boards carry books, boxes and a plant.
pub(crate) fn shelf(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let class = Class::Shelf;
    let (w, d) = (dice.between(0.6, 1.3), dice.between(0.24, 0.36));
    let n_rows = dice.count(2, 6);
    let row = dice.between(0.30, 0.38);
    let h = row * n_rows as f32 + 0.08;
    let mut piece = Piece::sized(w, d, h);
    let board = palette.board(dice);
    let thick = dice.between(0.016, 0.03);
    for side in [-1.0, 1.0] {
        piece.block(class, board, [side * 0.5 * (w - thick), 0.0, 0.5 * h], [thick, d, h]);
    }
    if dice.chance(0.7) {
        let back = if dice.chance(0.6) { board } else { palette.paint(dice) };
        piece.block(class, back, [0.0, 0.5 * d - 0.005, 0.5 * h], [w - 2.0 * thick, 0.01, h - 0.02]);
    }
    let inner = w - 2.0 * thick;
    let spines: Vec<u16> = (0..7).map(|_| book_cover(dice, palette)).collect();
    for k in 0..=n_rows {
        let z = 0.06 + row * k as f32;
        piece.block(class, board, [0.0, 0.0, z], [inner, d - 0.012, thick]);
        if k < n_rows {
            let space = row - thick - 0.02;
            fill_row(
                dice,
                palette,
                &mut piece,
                (-0.5 * inner, 0.5 * inner),
                z + 0.5 * thick,
                space,
                d,
                &spines,
            );
        }
    }
    piece
}

#[expect(clippy::too_many_arguments, reason = "one call site; the row's box and what may stand in it")]
fn fill_row(
    dice: &mut Dice,
    palette: &mut Palette,
    piece: &mut Piece,
    (left, right): (f32, f32),
    z: f32,
    space: f32,
    d: f32,
    spines: &[u16],
) {
    let mut x = left + 0.01;
    while x < right - 0.06 {
        match dice.count(0, 9) {
            0..=5 => {
                // A run of books, the last of which may lean.
                let end = (x + dice.between(0.15, 0.6)).min(right - 0.01);
                let tall = dice.between(0.6, 0.92) * space;
                while x < end - 0.05 {
                    let (t, bh) = (dice.between(0.015, 0.05), tall * dice.between(0.8, 1.05));
                    let bh = bh.min(space - 0.01);
                    let bd = dice.between(0.55, 0.8) * d;
                    let y = -0.5 * d + 0.02 + 0.5 * bd;
                    piece.block(
                        Class::Books,
                        dice.pick(spines),
                        [x + 0.5 * t, y, z + 0.5 * bh],
                        [t - 0.001, bd, bh],
                    );
                    x += t;
                }
                if dice.chance(0.4) && x + 0.1 < right {
                    let (t, bh, lean) = (0.025, 0.85 * tall, 0.25_f32);
                    let bx = x + 0.5 * bh * lean.sin() + 0.5 * t + 0.004;
                    let bz = z + 0.5 * bh * lean.cos() + 0.5 * t * lean.sin();
                    let leaning =
                        piece.block(Class::Books, dice.pick(spines), [bx, -0.05 * d, bz], [t, 0.65 * d, bh]);
                    leaning.axes = Axes::turned(0.0, 0.0, -lean);
                    x += 0.1;
                }
            }
            6 => {
                // A lying stack.
                let bw = dice.between(0.17, 0.24).min(right - x - 0.01);
                let n = dice.count(2, 5);
                let mut top = z;
                for _ in 0..n {
                    let t = dice.between(0.02, 0.045);
                    if top + t > z + space {
                        break;
                    }
                    piece.block(
                        Class::Books,
                        dice.pick(spines),
                        [x + 0.5 * bw, -0.02, top + 0.5 * t],
                        [bw, 0.7 * d, t - 0.001],
                    );
                    top += t;
                }
                x += bw + 0.02;
            }
            7 => {
                let side = dice.between(0.15, 0.28).min(space).min(right - x - 0.01);
                if side > 0.1 {
                    let card = palette.board(dice);
                    piece.block(
                        Class::Box,
                        card,
                        [x + 0.5 * side, 0.0, z + 0.5 * side],
                        [side, 0.8 * d, side],
                    );
                }
                x += side + 0.02;
            }
            8 if right - x > 0.2 => {
                let plant = table_plant(dice, palette, space * 0.9);
                piece.absorb(plant, 0.0, [x + 0.1, 0.0, z]);
                x += 0.22;
            }
            _ => x += dice.between(0.05, 0.3),
        }
    }
}

/// The cover of a book: paint, some with bands across the spine.
pub(super) fn book_cover(dice: &mut Dice, palette: &mut Palette) -> u16 {
    let first = Palette::paint_colour(dice);
    let second = Palette::paint_colour(dice);
    let pattern = if dice.chance(0.5) {
        Pattern::Stripes { period: dice.between(0.06, 0.14), share: dice.between(0.1, 0.4), along: false }
    } else {
        Pattern::Plain
    };
    palette.patterned(pattern, first, second, dice)
}

/// A low cabinet or chest of drawers; things stand on it.
pub(crate) fn cabinet(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let (w, d, h) = (dice.between(0.8, 1.7), dice.between(0.36, 0.5), dice.between(0.45, 1.0));
    let n_columns = if w > 1.2 { dice.count(2, 3) } else { dice.count(1, 2) };
    let n_rows = if dice.chance(0.5) { 1 } else { (h / 0.22) as u32 };
    fronted(dice, palette, [w, d, h], n_columns, n_rows.max(1))
}

/// A tall wardrobe.
pub(crate) fn wardrobe(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let n_columns = dice.count(1, 3);
    let side =
        [dice.between(0.45, 0.6) * n_columns as f32 + 0.1, dice.between(0.52, 0.62), dice.between(1.8, 2.2)];
    fronted(dice, palette, side, n_columns, 1)
}

/// A small cabinet beside a bed.
pub(crate) fn nightstand(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let side = [dice.between(0.36, 0.5), dice.between(0.34, 0.42), dice.between(0.42, 0.6)];
    let n_rows = dice.count(1, 2);
    fronted(dice, palette, side, 1, n_rows)
}

fn fronted(
    dice: &mut Dice,
    palette: &mut Palette,
    [w, d, h]: [f32; 3],
    n_columns: u32,
    n_rows: u32,
) -> Piece {
    let class = Class::Cabinet;
    let mut piece = Piece::sized(w, d, h);
    let body = palette.board(dice);
    let front = if dice.chance(0.6) { body } else { palette.board(dice) };
    let metal = palette.metal(dice);
    let foot = if dice.chance(0.5) { dice.between(0.04, 0.15) } else { 0.0 };
    if foot > 0.0 {
        piece.four_legs(class, body, (w, d), 0.025, foot, dice.chance(0.5));
    }
    piece.block(class, body, [0.0, 0.01, 0.5 * (h + foot)], [w, d - 0.02, h - foot]);
    let (fw, fh) = (w / n_columns as f32, (h - foot - 0.02) / n_rows as f32);
    let knob = dice.chance(0.5);
    for i in 0..n_columns {
        for j in 0..n_rows {
            let x = -0.5 * w + (i as f32 + 0.5) * fw;
            let z = foot + 0.01 + (j as f32 + 0.5) * fh;
            let y = -0.5 * d + 0.01;
            piece.block(class, front, [x, y, z], [fw - 0.014, 0.02, fh - 0.012]);
            // Doors open at the side, drawers in the middle.
            let drawer = fh < 0.4;
            let hx = if drawer { x } else { x + (if i % 2 == 0 { 0.5 } else { -0.5 }) * (fw - 0.1) };
            let at = [hx, y - 0.018, z + if drawer { 0.0 } else { 0.05 }];
            if knob {
                piece.ellipsoid(class, metal, at, [0.014, 0.014, 0.014]);
            } else {
                let side = if drawer { [0.14, 0.014, 0.012] } else { [0.012, 0.014, 0.16] };
                piece.block(class, metal, at, side);
            }
        }
    }
    piece
}

/// A television or monitor on a foot, standing at z = 0.
pub(crate) fn screen(dice: &mut Dice, palette: &mut Palette, width: f32) -> Piece {
    let class = Class::Screen;
    let h = 0.58 * width;
    let mut piece = Piece::sized(width, 0.22, h + 0.1);
    let shell = palette.add(Material {
        gloss: 0.5,
        ..Material::plain(hsv(0.0, 0.0, dice.between(0.05, 0.25)), dice.bits())
    });
    let glass = if dice.chance(0.5) {
        palette.add(Material { gloss: 1.0, ..Material::plain(linear(0.06, 0.06, 0.07), dice.bits()) })
    } else {
        let ground = Palette::paint_colour(dice);
        let id = palette.patterned(Pattern::Desktop, ground, linear(0.9, 0.9, 0.9), dice);
        palette.materials[id as usize].glow = 0.9;
        id
    };
    piece.block(class, shell, [0.0, 0.0, 0.008], [0.4 * width, 0.2, 0.016]);
    piece.block(class, shell, [0.0, 0.03, 0.06], [0.06, 0.02, 0.1]);
    piece.block(class, shell, [0.0, 0.0, 0.1 + 0.5 * h], [width, 0.035, h]);
    piece.block(class, glass, [0.0, -0.018, 0.1 + 0.5 * h], [width - 0.03, 0.006, h - 0.03]);
    piece
}
