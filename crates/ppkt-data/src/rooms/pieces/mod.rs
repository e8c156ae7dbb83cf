//! Furniture: each piece is a handful of solids in its own frame.
//!
//! The frame of a piece stands on the floor under its middle, z up, and its back looks along +y, to the wall.

mod decor;
mod openings;
mod seating;
mod sleeping;
mod storage;
mod tables;

pub(crate) use decor::{
    box_stack, floor_lamp, floor_plant, hanging_lamp, loose_books, picture, rug, table_lamp, table_plant,
};
pub(crate) use openings::{door, window};
pub(crate) use seating::{armchair, chair, office_chair, sofa, stool};
pub(crate) use sleeping::bed;
pub(crate) use storage::{cabinet, nightstand, screen, shelf, wardrobe};
pub(crate) use tables::{coffee_table, desk, dining_table};

use super::class::Class;
use super::material::MaterialId;
use super::solid::{Shape, Solid};
use super::vec3::{Axes, V3, v3};

/// Something that shines: where, what colour and how strong, and how large (for soft shadows).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Light {
    pub(crate) position: V3,
    pub(crate) power: V3,
    pub(crate) radius_m: f32,
}

/// One piece in its own frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) solids: Vec<Solid>,
    pub(crate) lights: Vec<Light>,
    /// Half of the floor that it takes, along x and y.
    pub(crate) half: [f32; 2],
    pub(crate) height: f32,
    /// Where it begins, above the floor: the sill of a window.
    pub(crate) low: f32,
}

impl Piece {
    fn sized(width: f32, depth: f32, height: f32) -> Piece {
        Piece { half: [0.5 * width, 0.5 * depth], height, ..Piece::default() }
    }

    /// A box by its centre and full sides.
    fn block(&mut self, class: Class, material: MaterialId, centre: [f32; 3], side: [f32; 3]) -> &mut Solid {
        self.soft_block(class, material, centre, side, 0.0)
    }

    /// A box whose edges look rounded.
    fn soft_block(
        &mut self,
        class: Class,
        material: MaterialId,
        centre: [f32; 3],
        side: [f32; 3],
        soft: f32,
    ) -> &mut Solid {
        self.push(Shape::Block { soft }, class, material, centre, v3(side[0], side[1], side[2]) * 0.5)
    }

    /// An upright cylinder or cone by the centre of its foot, the radii at foot and top, and its height.
    fn frustum(
        &mut self,
        class: Class,
        material: MaterialId,
        foot: [f32; 3],
        radii: (f32, f32),
        height: f32,
    ) -> &mut Solid {
        let centre = [foot[0], foot[1], foot[2] + 0.5 * height];
        self.push(Shape::Frustum, class, material, centre, v3(radii.0, radii.1, 0.5 * height))
    }

    /// An ellipsoid by its centre and half axes.
    fn ellipsoid(
        &mut self,
        class: Class,
        material: MaterialId,
        centre: [f32; 3],
        half: [f32; 3],
    ) -> &mut Solid {
        self.push(Shape::Ellipsoid, class, material, centre, v3(half[0], half[1], half[2]))
    }

    /// A thin rod between two points.
    fn rod(&mut self, class: Class, material: MaterialId, from: V3, to: V3, radius: f32) -> &mut Solid {
        let along = to - from;
        let z = along.unit();
        let x = if z.x.abs() < 0.9 { v3(1.0, 0.0, 0.0) } else { v3(0.0, 1.0, 0.0) };
        let y = z.cross(x).unit();
        let x = y.cross(z);
        let centre = (from + to) * 0.5;
        let half = v3(radius, radius, 0.5 * along.length());
        let solid = self.push(Shape::Frustum, class, material, centre.to_array(), half);
        solid.axes = Axes([x, y, z]);
        solid
    }

    fn push(
        &mut self,
        shape: Shape,
        class: Class,
        material: MaterialId,
        centre: [f32; 3],
        half: V3,
    ) -> &mut Solid {
        let at = self.solids.len();
        self.solids.push(Solid {
            shape,
            centre: v3(centre[0], centre[1], centre[2]),
            axes: Axes::IDENTITY,
            half: half.max(v3(0.001, 0.001, 0.001)),
            material,
            class,
            opaque: true,
        });
        &mut self.solids[at]
    }

    /// Four legs under a top of these sides, `inset` from its edges.
    fn four_legs(
        &mut self,
        class: Class,
        material: MaterialId,
        side: (f32, f32),
        inset: f32,
        height: f32,
        round: bool,
    ) {
        let (x, y) = (0.5 * side.0 - inset, 0.5 * side.1 - inset);
        for (sx, sy) in [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)] {
            if round {
                self.frustum(class, material, [sx * x, sy * y, 0.0], (0.7 * inset, inset * 0.9), height);
            } else {
                let thick = 1.6 * inset;
                self.block(class, material, [sx * x, sy * y, 0.5 * height], [thick, thick, height]);
            }
        }
    }

    /// Takes the solids and lights of another piece, turned and moved within this one's frame.
    pub(crate) fn absorb(&mut self, other: Piece, yaw: f32, at: [f32; 3]) {
        let placed = other.placed(yaw, v3(at[0], at[1], at[2]));
        self.solids.extend(placed.solids);
        self.lights.extend(placed.lights);
    }

    /// The piece turned about the vertical and moved.
    pub(crate) fn placed(mut self, yaw: f32, at: V3) -> Piece {
        let turn = Axes::turned(yaw, 0.0, 0.0);
        for solid in &mut self.solids {
            solid.centre = turn.outer(solid.centre) + at;
            solid.axes = solid.axes.then(&turn);
        }
        for light in &mut self.lights {
            light.position = turn.outer(light.position) + at;
        }
        self
    }
}
