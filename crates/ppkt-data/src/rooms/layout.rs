//! Furnishing: from a stream of draws to a room full of solids and lights.

use super::bounds::Hierarchy;
use super::class::Class;
use super::dice::Dice;
use super::material::{Material, MaterialId, Palette, linear};
use super::pieces::{self, Light, Piece};
use super::plan::{Footprint, Patch, Plan};
use super::solid::{Shape, Solid};
use super::vec3::{Axes, V3, v3};

/// A furnished room.
pub(crate) struct Room {
    pub(crate) plan: Plan,
    pub(crate) solids: Hierarchy,
    pub(crate) lights: Vec<Light>,
    pub(crate) materials: Vec<Material>,
    /// Materials of floor, ceiling and the four walls.
    pub(crate) shell: [MaterialId; 6],
    /// Light from everywhere, before exposure.
    pub(crate) ambient: V3,
    /// Middles of pieces worth looking at.
    pub(crate) targets: Vec<V3>,
}

/// Lights that get shadow rays; the rest of a room's lamps only glow.
pub(crate) const MAX_LIGHTS: usize = 3;

impl Room {
    /// The room of a stream.
    pub(crate) fn furnished(dice: &mut Dice) -> Room {
        let size = v3(dice.between(3.2, 6.2), dice.between(3.2, 6.2), dice.between(2.4, 3.0));
        let mut builder = Builder {
            plan: Plan::new(size),
            palette: Palette::new(),
            solids: Vec::new(),
            lights: Vec::new(),
            targets: Vec::new(),
        };
        let shell = builder.shell(dice);
        builder.openings(dice);
        match dice.count(0, 9) {
            0..=3 => builder.living_room(dice),
            4..=6 => builder.bedroom(dice),
            7 => builder.study(dice),
            8 => builder.dining_room(dice),
            _ => builder.store(dice),
        }
        builder.fill_up(dice);
        builder.ceiling_lamp(dice);
        // The strongest lights cast shadows.
        let mut lights = builder.lights;
        lights.sort_by(|a, b| b.power.length().total_cmp(&a.power.length()));
        lights.truncate(MAX_LIGHTS);
        let tint = v3(1.0, dice.between(0.92, 1.0), dice.between(0.85, 1.0));
        let ambient = tint * dice.between(0.18, 0.4);
        Room {
            plan: builder.plan,
            solids: Hierarchy::new(builder.solids),
            lights,
            materials: builder.palette.materials,
            shell,
            ambient,
            targets: builder.targets,
        }
    }
}

/// A room in the making.
pub(crate) struct Builder {
    pub(crate) plan: Plan,
    pub(crate) palette: Palette,
    solids: Vec<Solid>,
    lights: Vec<Light>,
    targets: Vec<V3>,
}

impl Builder {
    /// Puts a piece down for good.
    pub(crate) fn put(&mut self, piece: Piece, yaw: f32, at: V3) {
        let target = at + v3(0.0, 0.0, 0.6 * piece.height);
        let placed = piece.placed(yaw, at);
        self.targets.push(target);
        self.solids.extend(placed.solids);
        self.lights.extend(placed.lights);
    }

    /// Stands a piece with this footprint if the floor is free, and takes the floor.
    pub(crate) fn stand(&mut self, piece: Piece, footprint: Footprint) -> Option<Footprint> {
        if !self.plan.free(&footprint) {
            return None;
        }
        self.plan.take(footprint);
        self.plan.shade_walls(&footprint, piece.height);
        self.put(piece, footprint.yaw, v3(footprint.centre[0], footprint.centre[1], 0.0));
        Some(footprint)
    }

    /// Stands a piece with its back to some wall; `front` metres before it stay free.
    pub(crate) fn against_wall(&mut self, dice: &mut Dice, piece: Piece, front: f32) -> Option<Footprint> {
        let gap = dice.between(0.005, 0.05);
        for _ in 0..24 {
            let wall = dice.count(0, 3) as usize;
            let (length, _) = self.plan.wall(wall);
            let slack = 0.5 * length - piece.half[0] - 0.02;
            if slack <= 0.0 {
                continue;
            }
            let mut along = dice.between(-slack, slack);
            if dice.chance(0.3) {
                along = slack * dice.sign();
            }
            // A tall piece doesn't stand before a window.
            let reach = [along - piece.half[0], along + piece.half[0]];
            if !self.plan.wall_free(&Patch { wall, along: reach, height: [0.0, piece.height] }) {
                continue;
            }
            let out = piece.half[1] + gap;
            let at = self.plan.at_wall(wall, along, out);
            let yaw = Plan::yaw_of(wall);
            let footprint = Footprint { centre: [at.x, at.y], half: piece.half, yaw };
            let before = self.plan.at_wall(wall, along, out + piece.half[1] + 0.5 * front);
            let clear =
                Footprint { centre: [before.x, before.y], half: [0.8 * piece.half[0], 0.5 * front], yaw };
            if !self.plan.free(&footprint.grown(0.01).clipped(&self.plan))
                || (front > 0.0 && !self.plan.free(&clear))
            {
                continue;
            }
            let footprint = self.stand(piece, footprint)?;
            if front > 0.0 {
                self.plan.keep_free(clear);
            }
            return Some(footprint);
        }
        None
    }

    /// Stands a piece anywhere, turned anyhow; near the walls if `margin` is small.
    pub(crate) fn anywhere(&mut self, dice: &mut Dice, piece: Piece, margin: f32) -> Option<Footprint> {
        for _ in 0..24 {
            let reach = piece.half[0].max(piece.half[1]) + margin;
            let (x, y) = (0.5 * self.plan.size.x - reach, 0.5 * self.plan.size.y - reach);
            if x <= 0.0 || y <= 0.0 {
                return None;
            }
            let yaw = if dice.chance(0.5) {
                Plan::yaw_of(dice.count(0, 3) as usize)
            } else {
                dice.between(-3.1, 3.1)
            };
            let mut centre = [dice.between(-x, x), dice.between(-y, y)];
            if margin < 0.05 && dice.chance(0.6) {
                // Into a corner or along a wall.
                if dice.chance(0.5) {
                    centre[0] = x * dice.sign();
                } else {
                    centre[1] = y * dice.sign();
                }
            }
            let footprint = Footprint { centre, half: piece.half, yaw };
            if self.plan.free(&footprint.grown(0.03 + 0.3 * margin)) {
                return self.stand(piece, footprint);
            }
        }
        None
    }

    /// Stands a piece in the frame of another: `at` before it (negative y) or beside it, turned by `turn`.
    pub(crate) fn beside(
        &mut self,
        piece: Piece,
        host: &Footprint,
        at: [f32; 2],
        turn: f32,
    ) -> Option<Footprint> {
        let (s, c) = host.yaw.sin_cos();
        let centre = [host.centre[0] + c * at[0] - s * at[1], host.centre[1] + s * at[0] + c * at[1]];
        let footprint = Footprint { centre, half: piece.half, yaw: host.yaw + turn };
        self.stand(piece, footprint)
    }

    /// Sets small pieces on top of a standing one.
    pub(crate) fn on_top(&mut self, host: &Footprint, height: f32, things: Vec<(Piece, [f32; 2], f32)>) {
        for (thing, at, turn) in things {
            let (s, c) = host.yaw.sin_cos();
            let x = host.centre[0] + c * at[0] - s * at[1];
            let y = host.centre[1] + s * at[0] + c * at[1];
            self.put(thing, host.yaw + turn, v3(x, y, height));
        }
    }

    fn shell(&mut self, dice: &mut Dice) -> [MaterialId; 6] {
        let floor = self.palette.floor(dice);
        let ceiling = if dice.chance(0.75) {
            let colour = linear(0.95, 0.95, 0.93) * dice.between(0.85, 1.0);
            self.palette.add(Material::plain(colour, dice.bits()))
        } else {
            self.palette.wall(dice)
        };
        let paint = self.palette.wall(dice);
        let mut walls = [paint; 4];
        if dice.chance(0.35) {
            walls[dice.count(0, 3) as usize] = self.palette.wall(dice);
        }
        let size = self.plan.size;
        let (x, y) = (0.5 * size.x, 0.5 * size.y);
        if dice.chance(0.75) {
            let skirting = self.palette.board(dice);
            let h = dice.between(0.05, 0.12);
            for wall in 0..4 {
                let (length, _) = self.plan.wall(wall);
                let centre = self.plan.at_wall(wall, 0.0, 0.006) + v3(0.0, 0.0, 0.5 * h);
                self.bar(skirting, centre, Plan::yaw_of(wall), v3(0.5 * length, 0.006, 0.5 * h));
            }
        }
        if dice.chance(0.15) {
            // A pillar in a corner.
            let (w, d) = (dice.between(0.15, 0.4), dice.between(0.15, 0.4));
            let (sx, sy) = (dice.sign(), dice.sign());
            let centre = [sx * (x - w), sy * (y - d)];
            let footprint = Footprint { centre, half: [w, d], yaw: 0.0 };
            self.plan.take(footprint);
            self.plan.shade_walls(&footprint, size.z);
            self.bar(paint, v3(centre[0], centre[1], 0.5 * size.z), 0.0, v3(w, d, 0.5 * size.z));
        }
        [floor, ceiling, walls[0], walls[1], walls[2], walls[3]]
    }

    fn bar(&mut self, material: MaterialId, centre: V3, yaw: f32, half: V3) {
        self.solids.push(Solid {
            shape: Shape::Block { soft: 0.0 },
            centre,
            axes: Axes::turned(yaw, 0.0, 0.0),
            half,
            material,
            class: Class::Wall,
            opaque: true,
        });
    }

    fn openings(&mut self, dice: &mut Dice) {
        let n_doors = if dice.chance(0.85) { 1 } else { 2 };
        for _ in 0..n_doors {
            let piece = pieces::door(dice, &mut self.palette);
            if let Some((wall, along)) = self.hang(dice, piece, 0.0, 0.04) {
                let at = self.plan.at_wall(wall, along, 0.4);
                let swing = Footprint { centre: [at.x, at.y], half: [0.45, 0.4], yaw: Plan::yaw_of(wall) };
                self.plan.keep_free(swing);
            }
        }
        let n_windows = dice.count(0, 2).max(dice.count(0, 1));
        for _ in 0..n_windows {
            let width = dice.between(0.8, 2.2);
            let sill = if dice.chance(0.2) { 0.12 } else { dice.between(0.75, 1.0) };
            let height = dice.between(1.0, 1.4).max(2.0 - sill).min(2.15 - sill);
            let piece = pieces::window(dice, &mut self.palette, width, height, sill);
            let curtained = piece.half[0] > 0.5 * width + 0.1;
            if let Some((wall, along)) = self.hang(dice, piece, 0.0, 0.3)
                && curtained
            {
                // Furniture leaves the folds of the curtains alone.
                let at = self.plan.at_wall(wall, along, 0.1);
                let strip = Footprint {
                    centre: [at.x, at.y],
                    half: [0.5 * width + 0.26, 0.1],
                    yaw: Plan::yaw_of(wall),
                };
                self.plan.take(strip);
            }
        }
    }

    /// Hangs a piece whose origin is on a wall: at `z`, with `margin` to its neighbours.
    pub(crate) fn hang(
        &mut self,
        dice: &mut Dice,
        piece: Piece,
        z: f32,
        margin: f32,
    ) -> Option<(usize, f32)> {
        for _ in 0..16 {
            let wall = dice.count(0, 3) as usize;
            let (length, _) = self.plan.wall(wall);
            let slack = 0.5 * length - piece.half[0] - 0.05;
            if slack <= 0.0 {
                continue;
            }
            let along = dice.between(-slack, slack);
            let reach = piece.half[0] + margin;
            // Pieces with their origin on the floor reach up from it; others hang about their middle.
            let (low, high) = if z == 0.0 {
                (piece.low, piece.height)
            } else {
                (z - 0.5 * piece.height, z + 0.5 * piece.height)
            };
            let patch =
                Patch { wall, along: [along - reach, along + reach], height: [low - margin, high + margin] };
            if high < self.plan.size.z - 0.05 && self.plan.wall_free(&patch) {
                self.plan.take_wall(patch);
                let at = self.plan.at_wall(wall, along, 0.0) + v3(0.0, 0.0, z);
                self.put(piece, Plan::yaw_of(wall), at);
                return Some((wall, along));
            }
        }
        None
    }

    fn ceiling_lamp(&mut self, dice: &mut Dice) {
        let lit = self.lights.iter().map(|l| l.power.length()).sum::<f32>() > 1.5;
        if lit && dice.chance(0.35) {
            return;
        }
        let drop = if dice.chance(0.5) { 0.1 } else { dice.between(0.35, 0.7) };
        let piece = pieces::hanging_lamp(dice, &mut self.palette, drop);
        let (x, y) = (0.15 * self.plan.size.x, 0.15 * self.plan.size.y);
        let at = v3(dice.between(-x, x), dice.between(-y, y), self.plan.size.z - 0.002);
        let placed = piece.placed(0.0, at);
        self.solids.extend(placed.solids);
        self.lights.extend(placed.lights);
    }
}

impl Footprint {
    /// The footprint if growing pushed it out of the room by its margin only.
    fn clipped(mut self, plan: &Plan) -> Footprint {
        if !plan.inside(&self, 0.0) {
            self.half = [self.half[0] - 0.011, self.half[1] - 0.011];
        }
        self
    }
}
