//! Tables.

use super::super::class::Class;
use super::super::dice::Dice;
use super::super::material::Palette;
use super::super::vec3::v3;
use super::Piece;

/// A table to eat at: rectangular on legs, or round on a column.
pub(crate) fn dining_table(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let height = dice.between(0.70, 0.78);
    if dice.chance(0.35) {
        let r = dice.between(0.45, 0.65);
        return round_table(dice, palette, r, height);
    }
    let (w, d) = (dice.between(1.1, 1.9), dice.between(0.75, 0.95));
    legged(dice, palette, w, d, height)
}

/// A low table for the front of a sofa.
pub(crate) fn coffee_table(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let height = dice.between(0.34, 0.48);
    if dice.chance(0.35) {
        let r = dice.between(0.32, 0.48);
        return round_table(dice, palette, r, height);
    }
    let (w, d) = (dice.between(0.7, 1.2), dice.between(0.45, 0.65));
    let mut piece = legged(dice, palette, w, d, height);
    if dice.chance(0.4) {
        let board = palette.board(dice);
        piece.block(Class::Table, board, [0.0, 0.0, 0.14], [w - 0.12, d - 0.12, 0.02]);
    }
    piece
}

/// A desk, some with a drawer unit or side panels.
pub(crate) fn desk(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let (w, d, h) = (dice.between(1.05, 1.7), dice.between(0.6, 0.8), dice.between(0.71, 0.77));
    if dice.chance(0.5) {
        return legged(dice, palette, w, d, h);
    }
    let mut piece = Piece::sized(w, d, h);
    let board = palette.board(dice);
    let front = if dice.chance(0.6) { board } else { palette.paint(dice) };
    let metal = palette.metal(dice);
    let class = Class::Table;
    piece.block(class, board, [0.0, 0.0, h - 0.015], [w, d, 0.03]);
    piece.block(class, board, [-0.5 * w + 0.015, 0.0, 0.5 * (h - 0.03)], [0.03, d - 0.04, h - 0.03]);
    piece.block(class, board, [0.0, 0.5 * d - 0.06, h - 0.2], [w - 0.06, 0.02, 0.3]);
    let unit = 0.4;
    let x = 0.5 * w - 0.5 * unit;
    piece.block(class, board, [x, 0.0, 0.5 * (h - 0.03)], [unit, d - 0.06, h - 0.03]);
    for k in 0..3 {
        let z = (k as f32 + 0.5) * (h - 0.06) / 3.0 + 0.015;
        let y = -0.5 * d + 0.025;
        piece.block(class, front, [x, y, z], [unit - 0.02, 0.02, (h - 0.06) / 3.0 - 0.012]);
        piece.block(class, metal, [x, y - 0.015, z + 0.04], [0.12, 0.014, 0.012]);
    }
    piece
}

fn legged(dice: &mut Dice, palette: &mut Palette, w: f32, d: f32, h: f32) -> Piece {
    let class = Class::Table;
    let mut piece = Piece::sized(w, d, h);
    let top = palette.board(dice);
    let legs = match dice.count(0, 2) {
        0 => top,
        1 => palette.metal(dice),
        _ => palette.board(dice),
    };
    let thick = dice.between(0.02, 0.05);
    piece.block(class, top, [0.0, 0.0, h - 0.5 * thick], [w, d, thick]);
    let leg = dice.between(0.016, 0.035);
    piece.four_legs(class, legs, (w - 0.04, d - 0.04), leg, h - thick, dice.chance(0.35));
    if dice.chance(0.6) {
        let z = h - thick - 0.04;
        for side in [-1.0, 1.0] {
            piece.block(class, legs, [0.0, side * (0.5 * d - 0.05), z], [w - 0.12, 0.018, 0.08]);
            piece.block(class, legs, [side * (0.5 * w - 0.05), 0.0, z], [0.018, d - 0.12, 0.08]);
        }
    }
    piece
}

fn round_table(dice: &mut Dice, palette: &mut Palette, r: f32, h: f32) -> Piece {
    let class = Class::Table;
    let mut piece = Piece::sized(2.0 * r, 2.0 * r, h);
    let top = palette.board(dice);
    let foot = if dice.chance(0.5) { top } else { palette.metal(dice) };
    let thick = dice.between(0.02, 0.04);
    piece.frustum(class, top, [0.0, 0.0, h - thick], (r, r), thick);
    if dice.chance(0.6) {
        piece.frustum(class, foot, [0.0, 0.0, 0.03], (0.05, 0.04), h - thick - 0.03);
        piece.frustum(class, foot, [0.0, 0.0, 0.0], (0.55 * r, 0.5 * r), 0.03);
    } else {
        for k in 0..4 {
            let (s, c) = ((k as f32 + 0.5) * std::f32::consts::FRAC_PI_2).sin_cos();
            let low = v3(0.75 * r * c, 0.75 * r * s, 0.0);
            piece.rod(class, foot, low, v3(0.6 * r * c, 0.6 * r * s, h - thick), 0.022);
        }
    }
    piece
}
