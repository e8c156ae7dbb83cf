//! The floor plan: which floor and which parts of the walls are taken.

use super::vec3::{V3, v3};

/// A turned rectangle on the floor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) centre: [f32; 2],
    pub(crate) half: [f32; 2],
    pub(crate) yaw: f32,
}

impl Footprint {
    fn axes(&self) -> [[f32; 2]; 2] {
        let (s, c) = self.yaw.sin_cos();
        [[c, s], [-s, c]]
    }

    pub(crate) fn corners(&self) -> [[f32; 2]; 4] {
        let [x, y] = self.axes();
        [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(a, b)| {
            let (a, b) = (a * self.half[0], b * self.half[1]);
            [self.centre[0] + a * x[0] + b * y[0], self.centre[1] + a * x[1] + b * y[1]]
        })
    }

    /// The rectangle with all sides moved out.
    pub(crate) fn grown(mut self, by: f32) -> Footprint {
        self.half = [self.half[0] + by, self.half[1] + by];
        self
    }

    /// Whether two rectangles share area: no side of either separates them.
    pub(crate) fn overlaps(&self, other: &Footprint) -> bool {
        let (mine, theirs) = (self.corners(), other.corners());
        let span = |corners: &[[f32; 2]; 4], axis: [f32; 2]| {
            corners
                .iter()
                .map(|p| p[0] * axis[0] + p[1] * axis[1])
                .fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(v), b.max(v)))
        };
        self.axes().into_iter().chain(other.axes()).all(|axis| {
            let ((a0, a1), (b0, b1)) = (span(&mine, axis), span(&theirs, axis));
            a0 < b1 && b0 < a1
        })
    }
}

/// A rectangle on a wall: along it from its middle, and in height.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    pub(crate) wall: usize,
    pub(crate) along: [f32; 2],
    pub(crate) height: [f32; 2],
}

/// A rectangular room centred on the origin, floor at z = 0, and what is taken of it.
///
/// Walls are numbered against the clock from the one at +y: 0 at +y, 1 at -x, 2 at -y, 3 at +x. A piece against
/// wall k is turned by k quarter turns, so that its back (+y) faces the wall.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Width (x), depth (y), height (z), metres.
    pub(crate) size: V3,
    floor: Vec<Footprint>,
    /// Kept free of furniture but open to people and rugs: the swing of a door.
    kept_free: Vec<Footprint>,
    walls: Vec<Patch>,
}

impl Plan {
    pub(crate) fn new(size: V3) -> Plan {
        Plan { size, floor: Vec::new(), kept_free: Vec::new(), walls: Vec::new() }
    }

    /// Length of a wall and its distance from the middle of the room.
    pub(crate) fn wall(&self, wall: usize) -> (f32, f32) {
        if wall.is_multiple_of(2) {
            (self.size.x, 0.5 * self.size.y)
        } else {
            (self.size.y, 0.5 * self.size.x)
        }
    }

    pub(crate) fn yaw_of(wall: usize) -> f32 {
        std::f32::consts::FRAC_PI_2 * wall as f32
    }

    /// The place on the floor that is `along` a wall (from its middle) and `out` of it into the room.
    pub(crate) fn at_wall(&self, wall: usize, along: f32, out: f32) -> V3 {
        let (_, distance) = self.wall(wall);
        let (x, y) = (along, distance - out);
        match wall {
            0 => v3(x, y, 0.0),
            1 => v3(-y, x, 0.0),
            2 => v3(-x, -y, 0.0),
            _ => v3(y, -x, 0.0),
        }
    }

    pub(crate) fn inside(&self, footprint: &Footprint, margin: f32) -> bool {
        let (x, y) = (0.5 * self.size.x - margin, 0.5 * self.size.y - margin);
        footprint.corners().iter().all(|p| p[0].abs() <= x && p[1].abs() <= y)
    }

    /// Whether furniture may stand there.
    pub(crate) fn free(&self, footprint: &Footprint) -> bool {
        self.inside(footprint, 0.0)
            && !self.floor.iter().chain(&self.kept_free).any(|f| f.overlaps(footprint))
    }

    /// Whether a person may stand there.
    pub(crate) fn walkable(&self, footprint: &Footprint) -> bool {
        self.inside(footprint, 0.0) && !self.floor.iter().any(|f| f.overlaps(footprint))
    }

    pub(crate) fn take(&mut self, footprint: Footprint) {
        self.floor.push(footprint);
    }

    pub(crate) fn keep_free(&mut self, footprint: Footprint) {
        self.kept_free.push(footprint);
    }

    /// Gives the floor that was last kept free back, to what belongs there.
    pub(crate) fn release_last(&mut self) {
        self.kept_free.pop();
    }

    /// Whether nothing covers this part of a wall.
    pub(crate) fn wall_free(&self, patch: &Patch) -> bool {
        let meet = |a: [f32; 2], b: [f32; 2]| a[0] < b[1] && b[0] < a[1];
        !self
            .walls
            .iter()
            .any(|p| p.wall == patch.wall && meet(p.along, patch.along) && meet(p.height, patch.height))
    }

    pub(crate) fn take_wall(&mut self, patch: Patch) {
        self.walls.push(patch);
    }

    /// Marks the walls behind a standing piece, if it stands near one: nothing hangs there.
    pub(crate) fn shade_walls(&mut self, footprint: &Footprint, height: f32) {
        for wall in 0..4 {
            let (_, distance) = self.wall(wall);
            // The room turned so that this wall is the one at +y.
            let turned = footprint.corners().map(|p| match wall {
                0 => [p[0], p[1]],
                1 => [p[1], -p[0]],
                2 => [-p[0], -p[1]],
                _ => [-p[1], p[0]],
            });
            let nearest = turned.iter().map(|p| p[1]).fold(f32::MIN, f32::max);
            if distance - nearest < 0.25 {
                let along = turned.iter().fold([f32::MAX, f32::MIN], |a, p| [a[0].min(p[0]), a[1].max(p[0])]);
                self.take_wall(Patch { wall, along, height: [0.0, height] });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turned_rectangles_overlap_only_where_they_meet() {
        let a = Footprint { centre: [0.0, 0.0], half: [1.0, 0.5], yaw: 0.0 };
        let diagonal =
            |x, y| Footprint { centre: [x, y], half: [0.5, 0.5], yaw: std::f32::consts::FRAC_PI_4 };
        assert!(a.overlaps(&diagonal(1.6, 0.0)));
        assert!(!a.overlaps(&diagonal(1.75, 0.0)));
        // Their bounding boxes meet at the corner, they don't.
        assert!(!a.overlaps(&diagonal(1.5, 1.0)));
        assert!(diagonal(0.0, 0.0).overlaps(&a));
    }

    #[test]
    fn rectangles_that_share_a_point_overlap() {
        use super::super::dice::{hash, unit_of};
        let r = |k: u32| unit_of(hash(k)) * 2.0 - 1.0;
        let mut n_apart = 0;
        for k in 0..400_u32 {
            let some = |at: u32| Footprint {
                centre: [r(at), r(at + 1)],
                half: [0.1 + 0.4 * r(at + 2).abs(), 0.1 + 0.4 * r(at + 3).abs()],
                yaw: 3.0 * r(at + 4),
            };
            let (a, b) = (some(k * 16), some(k * 16 + 8));
            let holds = |f: &Footprint, p: [f32; 2]| {
                let d = [p[0] - f.centre[0], p[1] - f.centre[1]];
                f.axes().iter().zip(f.half).all(|(axis, half)| (d[0] * axis[0] + d[1] * axis[1]).abs() < half)
            };
            let side = -16..=16;
            let shared = side.clone().any(|i| {
                side.clone().any(|j| {
                    let [x, y] = a.axes();
                    let (u, v) = (a.half[0] * i as f32 / 16.1, a.half[1] * j as f32 / 16.1);
                    let p = [a.centre[0] + u * x[0] + v * y[0], a.centre[1] + u * x[1] + v * y[1]];
                    holds(&b, p)
                })
            });
            assert!(!shared || a.overlaps(&b), "{a:?} {b:?}");
            assert_eq!(a.overlaps(&b), b.overlaps(&a));
            n_apart += usize::from(!a.overlaps(&b));
        }
        assert!((50..350).contains(&n_apart), "{n_apart} of 400 are apart");
    }

    #[test]
    fn places_at_walls_agree_with_the_turn_of_the_piece() {
        let plan = Plan::new(v3(4.0, 6.0, 2.5));
        for wall in 0..4 {
            let yaw = Plan::yaw_of(wall);
            let (_, distance) = plan.wall(wall);
            // A piece's own (along, distance - out) turned by its yaw is the place.
            let (s, c) = yaw.sin_cos();
            let (x, y) = (0.7, distance - 0.3);
            let p = plan.at_wall(wall, 0.7, 0.3);
            assert!(
                (p.x - (c * x - s * y)).abs() < 1e-5 && (p.y - (s * x + c * y)).abs() < 1e-5,
                "wall {wall}"
            );
        }
    }
}
