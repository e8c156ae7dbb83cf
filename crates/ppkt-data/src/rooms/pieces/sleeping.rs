//! Beds.

use super::super::class::Class;
use super::super::dice::Dice;
use super::super::material::{Palette, linear};
use super::super::vec3::Axes;
use super::Piece;

/// A bed with its head to the wall: frame, mattress, blanket, pillows.
pub(crate) fn bed(dice: &mut Dice, palette: &mut Palette) -> Piece {
    let class = Class::Bed;
    let width = dice.pick(&[0.95, 1.2, 1.4, 1.6, 1.8]);
    let length = dice.between(2.0, 2.15);
    let head_h = dice.between(0.7, 1.2);
    let mut piece = Piece::sized(width + 0.06, length + 0.06, head_h);
    let wood = if dice.chance(0.7) { palette.board(dice) } else { palette.fabric(dice) };
    let sheet = if dice.chance(0.5) {
        let white = super::super::material::Material::plain(linear(0.92, 0.91, 0.88), dice.bits());
        palette.add(white)
    } else {
        palette.fabric(dice)
    };
    let blanket = palette.fabric(dice);
    let frame_z = dice.between(0.22, 0.34);
    let bed_z = frame_z + dice.between(0.16, 0.26);
    piece.four_legs(class, wood, (width, length), 0.04, frame_z - 0.12, false);
    piece.block(class, wood, [0.0, 0.0, frame_z - 0.07], [width + 0.04, length, 0.14]);
    let head =
        piece.soft_block(class, wood, [0.0, 0.5 * length, 0.5 * head_h], [width + 0.06, 0.06, head_h], 0.015);
    head.axes = Axes::turned(0.0, 0.0, 0.0);
    if dice.chance(0.4) {
        piece.block(
            class,
            wood,
            [0.0, -0.5 * length, 0.5 * (frame_z + 0.25)],
            [width + 0.06, 0.05, frame_z + 0.25],
        );
    }
    piece.soft_block(
        class,
        sheet,
        [0.0, 0.0, 0.5 * (frame_z + bed_z)],
        [width, length - 0.08, bed_z - frame_z],
        0.06,
    );
    // The blanket hangs over three sides.
    let cover = length * dice.between(0.55, 0.75);
    let drop = dice.between(0.1, 0.22);
    piece.soft_block(
        class,
        blanket,
        [0.0, -0.5 * (length - cover) - 0.0, bed_z + 0.02 - 0.5 * drop],
        [width + 0.05, cover - 0.02, drop + 0.05],
        0.05,
    );
    if dice.chance(0.6) {
        // Its turned-down edge shows the sheet's side.
        let y = -0.5 * (length - cover) + 0.5 * cover;
        piece.soft_block(class, sheet, [0.0, y - 0.12, bed_z + 0.05], [width + 0.055, 0.24, 0.03], 0.01);
    }
    let n_pillows = if width > 1.3 { 2 } else { 1 };
    let cover = if dice.chance(0.5) { sheet } else { palette.fabric(dice) };
    for k in 0..n_pillows {
        let x = (k as f32 - 0.5 * (n_pillows as f32 - 1.0)) * 0.5 * width;
        let half_w = (0.5 * width / n_pillows as f32 - 0.05).min(0.36);
        let at = [x, 0.5 * length - 0.30, bed_z + 0.07];
        let pillow = piece.soft_block(Class::Cushion, cover, at, [2.0 * half_w, 0.42, 0.13], 0.06);
        pillow.axes = Axes::turned(dice.between(-0.1, 0.1), dice.between(0.1, 0.35), 0.0);
    }
    if dice.chance(0.35) {
        let cover = palette.fabric(dice);
        let side = 0.4;
        let at = [dice.between(-0.2, 0.2) * width, 0.5 * length - 0.62, bed_z + 0.16];
        let cushion = piece.soft_block(Class::Cushion, cover, at, [side, 0.13, side], 0.06);
        cushion.axes = Axes::turned(dice.between(-0.2, 0.2), -0.7, 0.0);
    }
    piece
}
