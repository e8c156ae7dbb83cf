//! Procedural materials: the colour of a surface at a point.
//!
//! Every pattern fades to its mean where a pixel covers more than a period of it, so that distant patterns don't
//! shimmer.

use super::art;
use super::dice::{Dice, hash2, unit_of};
use super::vec3::{V3, v3};

/// What is drawn on a surface. Lengths in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pattern {
    Plain,
    /// Boards with grain along u.
    Planks {
        width: f32,
        length: f32,
    },
    /// Squares or bricks with grout between; `offset` shifts every second row.
    Tiles {
        width: f32,
        height: f32,
        grout: f32,
        offset: f32,
    },
    Checker {
        side: f32,
    },
    /// Bands across u or along it.
    Stripes {
        period: f32,
        share: f32,
        along: bool,
    },
    /// Soft clouds, as marble or worn paint.
    Cloud {
        size: f32,
    },
    /// Grains of the second colour.
    Speckle {
        size: f32,
        share: f32,
    },
    /// Threads crossing.
    Weave {
        period: f32,
    },
    /// Dots of the second colour on a grid.
    Dots {
        period: f32,
        radius: f32,
    },
    /// A painting, by number.
    Painting {
        style: u32,
    },
    /// What is seen through a window.
    Outdoors,
    /// A switched-on screen.
    Desktop,
}

/// A material: two colours (linear), a pattern, and how it reflects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Material {
    pub(crate) first: V3,
    pub(crate) second: V3,
    pub(crate) pattern: Pattern,
    /// 0 matt to 1 varnished.
    pub(crate) gloss: f32,
    /// Light given off, over the colour.
    pub(crate) glow: f32,
    pub(crate) key: u32,
}

impl Material {
    pub(crate) fn plain(colour: V3, key: u32) -> Material {
        Material { first: colour, second: colour * 0.85, pattern: Pattern::Plain, gloss: 0.0, glow: 0.0, key }
    }

    /// Colour at surface coordinates, seen through a pixel that covers `footprint` metres.
    pub(crate) fn colour(&self, uv: (f32, f32), uv_unit: (f32, f32), footprint: f32, object: u32) -> V3 {
        let (u, v) = uv;
        let key = self.key ^ object.wrapping_mul(0x9e37_79b9);
        let (a, b) = (self.first, self.second);
        let keep = |period: f32| (period / (2.0 * footprint) - 0.5).clamp(0.0, 1.0);
        match self.pattern {
            Pattern::Plain => a * (1.0 + 0.05 * (cloud(u * 6.0, v * 6.0, key) - 0.5)),
            Pattern::Planks { width, length } => {
                let row = (v / width + unit_of(key)).floor();
                let shift = unit_of(hash2(row as i32, 0, key));
                let along = u / length + shift;
                let board = hash2(row as i32, along.floor() as i32, key ^ 1);
                let across = (v / width + unit_of(key)).fract_floor();
                let tint = 0.82 + 0.36 * unit_of(board);
                let grain = cloud(u * 5.0 + unit_of(board) * 90.0, v * 70.0, board);
                let rings = cloud(u * 1.5, v * 14.0 + unit_of(board) * 50.0, board ^ 7);
                let share = 0.45 * keep(0.03) * grain + 0.55 * keep(0.1) * rings;
                let seam = (across.min(1.0 - across) * width).min(along.fract_floor() * length);
                let groove = if seam < 0.0025 { 1.0 - 0.6 * keep(0.02) } else { 1.0 };
                a.mix(b, share) * (tint * groove)
            }
            Pattern::Tiles { width, height, grout, offset } => {
                let row = (v / height).floor();
                let s = u / width + offset * row;
                let tile = hash2(row as i32, s.floor() as i32, key);
                let (x, y) = (s.fract_floor() * width, (v / height).fract_floor() * height);
                let edge = x.min(width - x).min(y.min(height - y));
                let tint = 0.9 + 0.2 * unit_of(tile);
                let vein = cloud(u * 9.0 + unit_of(tile) * 40.0, v * 9.0, tile);
                let face = a * (tint * (0.94 + 0.12 * vein));
                let coverage = (2.0 * grout / width.min(height)).min(0.5);
                let sharp = if edge < grout { 1.0 } else { 0.0 };
                face.mix(b, coverage + (sharp - coverage) * keep(4.0 * grout))
            }
            Pattern::Checker { side } => {
                let odd = ((u / side).floor() + (v / side).floor()).rem_euclid(2.0);
                a.mix(b, 0.5 + (odd - 0.5) * keep(2.0 * side))
            }
            Pattern::Stripes { period, share, along } => {
                let s = (if along { v } else { u } / period).fract_floor();
                let in_band = if s < share { 1.0 } else { 0.0 };
                a.mix(b, share + (in_band - share) * keep(period))
            }
            Pattern::Cloud { size } => {
                let c = 0.6 * cloud(u / size, v / size, key)
                    + 0.4 * cloud(u * 2.7 / size, v * 2.7 / size, key ^ 3);
                a.mix(b, 0.5 + (smooth(c) - 0.5) * keep(size))
            }
            Pattern::Speckle { size, share } => {
                let cell = hash2((u / size).floor() as i32, (v / size).floor() as i32, key);
                let grain = if unit_of(cell) < share { 1.0 } else { 0.0 };
                a.mix(b, share + (grain - share) * keep(2.0 * size))
            }
            Pattern::Weave { period } => {
                let (s, t) = ((u / period).fract_floor() - 0.5, (v / period).fract_floor() - 0.5);
                let over = (s * s - t * t) * 2.0 * keep(period);
                let fuzz = 0.12 * (cloud(u * 9.0, v * 9.0, key) - 0.5);
                a.mix(b, 0.4 + over) * (1.0 + fuzz)
            }
            Pattern::Dots { period, radius } => {
                let row = (v / period).floor();
                let s = (u / period + 0.5 * (row.rem_euclid(2.0))).fract_floor() - 0.5;
                let t = (v / period).fract_floor() - 0.5;
                let inside = if (s * s + t * t).sqrt() * period < radius { 1.0 } else { 0.0 };
                let mean = std::f32::consts::PI * radius * radius / (period * period);
                a.mix(b, mean + (inside - mean) * keep(2.0 * radius))
            }
            Pattern::Painting { style } => art::painting(style, uv_unit, key, a, b),
            Pattern::Outdoors => art::outdoors(uv_unit, key),
            Pattern::Desktop => art::desktop(uv_unit, key, a, b),
        }
    }
}

/// The part above the floor, also below zero.
trait FractFloor {
    fn fract_floor(self) -> f32;
}

impl FractFloor for f32 {
    fn fract_floor(self) -> f32 {
        self - self.floor()
    }
}

fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Value noise in [0, 1] with cells of side one.
pub(crate) fn cloud(u: f32, v: f32, key: u32) -> f32 {
    let (i, j) = (u.floor(), v.floor());
    let (s, t) = (smooth(u - i), smooth(v - j));
    let (i, j) = (i as i32, j as i32);
    let corner = |di: i32, dj: i32| unit_of(hash2(i.wrapping_add(di), j.wrapping_add(dj), key));
    let low = corner(0, 0) * (1.0 - s) + corner(1, 0) * s;
    let high = corner(0, 1) * (1.0 - s) + corner(1, 1) * s;
    low * (1.0 - t) + high * t
}

/// Linear colour from sRGB components 0 to 1.
pub(crate) fn linear(r: f32, g: f32, b: f32) -> V3 {
    v3(r, g, b).map(|c| c.max(0.0).powf(2.2))
}

/// Linear colour from hue (turns), saturation and value.
pub(crate) fn hsv(hue: f32, saturation: f32, value: f32) -> V3 {
    let channel = |n: f32| {
        let k = (n + hue * 6.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    linear(channel(5.0), channel(3.0), channel(1.0))
}

/// The materials of one room, and the makers of new ones. Furniture, floors and walls draw from the same makers, so
/// no colour or pattern belongs to one class alone.
pub(crate) struct Palette {
    pub(crate) materials: Vec<Material>,
}

/// Number of a material in its room.
pub(crate) type MaterialId = u16;

impl Palette {
    pub(crate) fn new() -> Palette {
        Palette { materials: Vec::new() }
    }

    pub(crate) fn add(&mut self, material: Material) -> MaterialId {
        self.materials.push(material);
        (self.materials.len() - 1) as MaterialId
    }

    /// Any paint: often pale or grey, sometimes strong, sometimes dark.
    pub(crate) fn paint_colour(dice: &mut Dice) -> V3 {
        let hue = dice.unit();
        match dice.count(0, 9) {
            0..=2 => hsv(hue, dice.between(0.0, 0.12), dice.between(0.75, 0.97)),
            3 | 4 => hsv(hue, dice.between(0.0, 0.15), dice.between(0.18, 0.7)),
            5 | 6 => hsv(hue, dice.between(0.15, 0.45), dice.between(0.5, 0.95)),
            7 | 8 => hsv(hue, dice.between(0.4, 0.85), dice.between(0.35, 0.9)),
            _ => hsv(hue, dice.between(0.1, 0.7), dice.between(0.1, 0.3)),
        }
    }

    pub(crate) fn paint(&mut self, dice: &mut Dice) -> MaterialId {
        let mut material = Material::plain(Palette::paint_colour(dice), dice.bits());
        material.gloss = if dice.chance(0.3) { dice.between(0.1, 0.6) } else { 0.0 };
        self.add(material)
    }

    pub(crate) fn wood(&mut self, dice: &mut Dice) -> MaterialId {
        let material = wood(dice, 0.5, 3.0);
        self.add(material)
    }

    /// Cloth of sofas, beds, curtains, rugs and cushions.
    pub(crate) fn fabric(&mut self, dice: &mut Dice) -> MaterialId {
        let first = Palette::paint_colour(dice);
        let other = Palette::paint_colour(dice);
        let near = first * dice.between(0.55, 0.85);
        let (pattern, second) = match dice.count(0, 9) {
            0..=2 => (Pattern::Weave { period: dice.between(0.008, 0.03) }, near),
            3 | 4 => (Pattern::Cloud { size: dice.between(0.04, 0.3) }, near),
            5 => {
                let along = dice.chance(0.5);
                (
                    Pattern::Stripes {
                        period: dice.between(0.04, 0.25),
                        share: dice.between(0.2, 0.6),
                        along,
                    },
                    other,
                )
            }
            6 => (Pattern::Checker { side: dice.between(0.04, 0.15) }, near.mix(other, 0.4)),
            7 => {
                let period = dice.between(0.06, 0.2);
                (Pattern::Dots { period, radius: period * dice.between(0.15, 0.35) }, other)
            }
            _ => (Pattern::Plain, near),
        };
        self.add(Material { first, second, pattern, gloss: 0.0, glow: 0.0, key: dice.bits() })
    }

    /// Leather, lacquer, wood or cloth-free finish of storage and table tops.
    pub(crate) fn board(&mut self, dice: &mut Dice) -> MaterialId {
        if dice.chance(0.6) { self.wood(dice) } else { self.paint(dice) }
    }

    pub(crate) fn metal(&mut self, dice: &mut Dice) -> MaterialId {
        let colour = match dice.count(0, 3) {
            0 => hsv(0.0, 0.0, dice.between(0.05, 0.2)),
            1 => hsv(0.12, 0.5, dice.between(0.5, 0.8)),
            2 => hsv(0.0, 0.0, dice.between(0.85, 0.98)),
            _ => hsv(0.6, 0.05, dice.between(0.45, 0.75)),
        };
        self.add(Material { gloss: 0.9, ..Material::plain(colour, dice.bits()) })
    }

    pub(crate) fn glowing(&mut self, colour: V3, glow: f32, dice: &mut Dice) -> MaterialId {
        self.add(Material { glow, ..Material::plain(colour, dice.bits()) })
    }

    pub(crate) fn patterned(
        &mut self,
        pattern: Pattern,
        first: V3,
        second: V3,
        dice: &mut Dice,
    ) -> MaterialId {
        self.add(Material { first, second, pattern, gloss: 0.0, glow: 0.0, key: dice.bits() })
    }

    /// A floor: boards, tiles, carpet, stone, linoleum.
    pub(crate) fn floor(&mut self, dice: &mut Dice) -> MaterialId {
        let material = match dice.count(0, 9) {
            0..=4 => {
                let width = dice.between(0.07, 0.22);
                let length = dice.between(0.5, 1.8);
                let mut material = wood(dice, width, length);
                material.gloss = dice.between(0.0, 0.5);
                material
            }
            5 | 6 => {
                let side = dice.between(0.15, 0.6);
                let first = Palette::paint_colour(dice);
                Material {
                    first,
                    second: first.mix(Palette::paint_colour(dice), 0.5) * 0.8,
                    pattern: Pattern::Tiles {
                        width: side,
                        height: side * dice.pick(&[1.0, 1.0, 0.5]),
                        grout: dice.between(0.003, 0.008),
                        offset: dice.pick(&[0.0, 0.5]),
                    },
                    gloss: dice.between(0.0, 0.6),
                    glow: 0.0,
                    key: dice.bits(),
                }
            }
            7 => {
                let first = Palette::paint_colour(dice);
                let second = if dice.chance(0.5) { first * 0.4 } else { Palette::paint_colour(dice) };
                let pattern = Pattern::Checker { side: dice.between(0.2, 0.5) };
                Material {
                    first,
                    second,
                    pattern,
                    gloss: dice.between(0.0, 0.5),
                    glow: 0.0,
                    key: dice.bits(),
                }
            }
            _ => {
                let first = Palette::paint_colour(dice);
                let second = first * dice.between(0.5, 0.8);
                let pattern = if dice.chance(0.5) {
                    Pattern::Speckle { size: dice.between(0.006, 0.02), share: dice.between(0.2, 0.5) }
                } else {
                    Pattern::Cloud { size: dice.between(0.05, 0.5) }
                };
                Material { first, second, pattern, gloss: 0.0, glow: 0.0, key: dice.bits() }
            }
        };
        self.add(material)
    }

    /// A wall: mostly paint, also paper, panels, bricks, tiles.
    pub(crate) fn wall(&mut self, dice: &mut Dice) -> MaterialId {
        let hue = dice.unit();
        let first = if dice.chance(0.7) {
            hsv(hue, dice.between(0.0, 0.3), dice.between(0.6, 0.98))
        } else {
            Palette::paint_colour(dice)
        };
        let near = first * dice.between(0.7, 0.9);
        let pattern = match dice.count(0, 19) {
            0..=9 => Pattern::Plain,
            10 | 11 => Pattern::Cloud { size: dice.between(0.1, 0.6) },
            12 | 13 => {
                Pattern::Stripes { period: dice.between(0.08, 0.4), share: 0.5, along: dice.chance(0.3) }
            }
            14 => {
                let period = dice.between(0.1, 0.3);
                Pattern::Dots { period, radius: 0.2 * period }
            }
            15 | 16 => Pattern::Tiles { width: 0.24, height: 0.08, grout: 0.006, offset: 0.5 },
            17 => Pattern::Tiles { width: 0.2, height: 0.2, grout: 0.004, offset: 0.0 },
            18 => Pattern::Weave { period: dice.between(0.03, 0.1) },
            _ => {
                let mut material = wood(dice, 0.12, 2.5);
                material.gloss = 0.1;
                return self.add(material);
            }
        };
        self.add(Material { first, second: near, pattern, gloss: 0.0, glow: 0.0, key: dice.bits() })
    }
}

fn wood(dice: &mut Dice, width: f32, length: f32) -> Material {
    let tone = dice.pick(&[
        [0.82, 0.68, 0.48],
        [0.70, 0.50, 0.31],
        [0.62, 0.42, 0.26],
        [0.45, 0.28, 0.17],
        [0.31, 0.20, 0.14],
        [0.86, 0.79, 0.68],
        [0.55, 0.32, 0.20],
        [0.60, 0.56, 0.52],
    ]);
    let jitter = |dice: &mut Dice| dice.between(0.92, 1.08);
    let first = linear(tone[0] * jitter(dice), tone[1] * jitter(dice), tone[2] * jitter(dice));
    Material {
        first,
        second: first * dice.between(0.45, 0.75),
        pattern: Pattern::Planks { width, length },
        gloss: dice.between(0.0, 0.5),
        glow: 0.0,
        key: dice.bits(),
    }
}
