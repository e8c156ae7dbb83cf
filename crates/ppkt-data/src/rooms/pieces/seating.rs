//! Things to sit on.

use super::super::class::Class;
use super::super::dice::Dice;
use super::super::material::Palette;
use super::super::vec3::{Axes, v3};
use super::Piece;

/// A chair with four legs and a back.
pub(crate) fn chair(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let frame = if dice.chance(0.7) { palette.board(dice) } else { palette.metal(dice) };
    let seat = if dice.chance(0.5) { frame } else { palette.fabric(dice) };
    chair_of(dice, frame, seat)
}

fn chair_of(dice: &mut Dice, frame: u16, seat: u16) -> Piece {
    let (w, d) = (dice.between(0.40, 0.52), dice.between(0.40, 0.50));
    let seat_z = dice.between(0.42, 0.48);
    let back_z = dice.between(0.78, 1.05);
    let mut piece = Piece::sized(w, d + 0.06, back_z);
    let class = Class::Chair;
    piece.four_legs(class, frame, (w, d), 0.02, seat_z - 0.02, dice.chance(0.5));
    let pad = dice.between(0.03, 0.07);
    piece.soft_block(class, seat, [0.0, 0.0, seat_z - 0.02 + 0.5 * pad], [w, d, pad], 0.02);
    // The back leans away from the seat.
    let lean = dice.between(0.05, 0.2);
    let length = back_z - seat_z;
    let back_y = |z: f32| 0.5 * d - 0.02 + (z - seat_z) * lean.sin();
    let posts = 0.5 * w - 0.025;
    for x in [-posts, posts] {
        piece.rod(class, frame, v3(x, back_y(seat_z), seat_z), v3(x, back_y(back_z), back_z), 0.015);
    }
    match dice.count(0, 2) {
        0 => {
            let middle = seat_z + 0.6 * length;
            let panel = piece.soft_block(
                class,
                seat,
                [0.0, back_y(middle), middle],
                [w - 0.03, 0.035, 0.65 * length],
                0.015,
            );
            panel.axes = Axes::turned(0.0, -lean, 0.0);
        }
        1 => {
            for k in 0..3 {
                let z = seat_z + length * (0.35 + 0.28 * k as f32);
                let slat = piece.block(class, frame, [0.0, back_y(z), z], [w - 0.04, 0.02, 0.07]);
                slat.axes = Axes::turned(0.0, -lean, 0.0);
            }
        }
        _ => {
            for k in 0..5 {
                let x = (k as f32 - 2.0) * (w - 0.08) / 5.0;
                piece.rod(class, frame, v3(x, back_y(seat_z), seat_z), v3(x, back_y(back_z), back_z), 0.009);
            }
            let top = back_z - 0.03;
            let rail = piece.block(class, frame, [0.0, back_y(top), top], [w, 0.03, 0.06]);
            rail.axes = Axes::turned(0.0, -lean, 0.0);
        }
    }
    piece
}

/// A round stool.
pub(crate) fn stool(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let (r, h) = (dice.between(0.16, 0.24), dice.between(0.42, 0.7));
    let mut piece = Piece::sized(2.0 * r, 2.0 * r, h);
    let (frame, seat) = (palette.board(dice), palette.fabric(dice));
    piece.frustum(Class::Chair, seat, [0.0, 0.0, h - 0.06], (r, r), 0.06);
    for k in 0..4 {
        let angle = (k as f32 + 0.5) * std::f32::consts::FRAC_PI_2;
        let (s, c) = angle.sin_cos();
        let foot = v3(0.85 * r * c, 0.85 * r * s, 0.0);
        piece.rod(Class::Chair, frame, foot, v3(0.6 * r * c, 0.6 * r * s, h - 0.06), 0.016);
    }
    piece
}

/// A desk chair on a star of five arms.
pub(crate) fn office_chair(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let mut piece = Piece::sized(0.62, 0.62, 1.0);
    let class = Class::Chair;
    let (frame, seat) = (palette.metal(dice), palette.fabric(dice));
    for k in 0..5 {
        let (s, c) = (1.2566 * k as f32).sin_cos();
        piece.rod(class, frame, v3(0.03 * c, 0.03 * s, 0.1), v3(0.28 * c, 0.28 * s, 0.06), 0.018);
        piece.ellipsoid(class, frame, [0.28 * c, 0.28 * s, 0.03], [0.028, 0.028, 0.028]);
    }
    let seat_z = dice.between(0.42, 0.52);
    piece.frustum(class, frame, [0.0, 0.0, 0.08], (0.03, 0.025), seat_z - 0.1);
    piece.soft_block(class, seat, [0.0, 0.0, seat_z], [0.48, 0.46, 0.08], 0.035);
    let back_h = dice.between(0.4, 0.62);
    let middle = seat_z + 0.12 + 0.5 * back_h;
    let back = piece.soft_block(class, seat, [0.0, 0.26, middle], [0.44, 0.07, back_h], 0.035);
    back.axes = Axes::turned(0.0, -0.12, 0.0);
    piece.rod(class, frame, v3(0.0, 0.15, seat_z - 0.03), v3(0.0, 0.27, seat_z + 0.25), 0.02);
    if dice.chance(0.6) {
        for x in [-0.27, 0.27] {
            piece.block(class, frame, [x, 0.02, seat_z + 0.22], [0.05, 0.26, 0.03]);
            piece.rod(class, frame, v3(x * 0.9, 0.02, seat_z), v3(x, 0.02, seat_z + 0.21), 0.013);
        }
    }
    piece.height = middle + 0.5 * back_h;
    piece
}

/// A sofa for two or three, often with cushions.
pub(crate) fn sofa(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let n_seats = dice.count(2, 3);
    sofa_of(dice, palette, n_seats)
}

/// A wide upholstered chair; of the same class as a sofa.
pub(crate) fn armchair(dice: &mut Dice, palette: &mut Palette) -> Piece {
    sofa_of(dice, palette, 1)
}

fn sofa_of(dice: &mut Dice, palette: &mut Palette, n_seats: u32) -> Piece {
    let class = Class::Sofa;
    let seat_w = dice.between(0.56, 0.75);
    let arm = dice.between(0.10, 0.24);
    let depth = dice.between(0.78, 1.0);
    let back_h = dice.between(0.68, 0.95);
    let seat_z = dice.between(0.36, 0.46);
    let back_d = dice.between(0.16, 0.26);
    let arm_h = seat_z + dice.between(0.08, 0.25);
    let inner = seat_w * n_seats as f32;
    let width = inner + 2.0 * arm;
    let mut piece = Piece::sized(width, depth, back_h);
    let cloth = palette.fabric(dice);
    let pad = if dice.chance(0.75) { cloth } else { palette.fabric(dice) };
    let wood = palette.board(dice);
    let foot = dice.between(0.03, 0.14);
    piece.four_legs(class, wood, (width, depth), 0.04, foot, true);
    let base_top = seat_z - 0.13;
    piece.soft_block(
        class,
        cloth,
        [0.0, 0.0, 0.5 * (foot + base_top)],
        [width, depth, base_top - foot],
        0.02,
    );
    piece.soft_block(
        class,
        cloth,
        [0.0, 0.5 * (depth - back_d), 0.5 * (base_top + back_h)],
        [width, back_d, back_h - base_top],
        0.06,
    );
    let seat_d = depth - back_d;
    for side in [-1.0, 1.0] {
        let x = side * 0.5 * (width - arm);
        piece.soft_block(
            class,
            cloth,
            [x, -0.5 * back_d, 0.5 * (base_top + arm_h)],
            [arm, seat_d, arm_h - base_top],
            0.05,
        );
    }
    for k in 0..n_seats {
        let x = (k as f32 - 0.5 * (n_seats as f32 - 1.0)) * seat_w;
        piece.soft_block(
            class,
            pad,
            [x, -0.5 * back_d, seat_z - 0.065],
            [seat_w - 0.012, seat_d - 0.01, 0.13],
            0.05,
        );
        let upper = back_h - seat_z;
        let rest = piece.soft_block(
            class,
            pad,
            [x, 0.5 * depth - back_d - 0.05, seat_z + 0.48 * upper],
            [seat_w - 0.015, 0.14, 0.9 * upper],
            0.06,
        );
        rest.axes = Axes::turned(0.0, -0.12, 0.0);
    }
    let n_cushions = if dice.chance(0.75) { dice.count(1, n_seats + 1) } else { 0 };
    for k in 0..n_cushions {
        let cover = palette.fabric(dice);
        let side = dice.between(0.17, 0.23);
        let span = 0.5 * inner - side;
        let x = if n_cushions == 1 {
            dice.between(-span, span)
        } else {
            -span + 2.0 * span * k as f32 / (n_cushions - 1) as f32
        };
        let at = [x, 0.5 * depth - back_d - 0.2, seat_z + side * 0.92];
        let cushion = piece.soft_block(Class::Cushion, cover, at, [2.0 * side, 0.13, 2.0 * side], 0.06);
        cushion.axes = Axes::turned(dice.between(-0.25, 0.25), -0.38, dice.between(-0.15, 0.15));
    }
    piece
}
