//! Three floats and the few operations a ray caster needs.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A point, direction or linear colour, by context.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct V3 {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z: f32,
}

/// Short for the constructor.
pub(crate) const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

impl V3 {
    pub(crate) const ZERO: V3 = v3(0.0, 0.0, 0.0);
    pub(crate) const ONE: V3 = v3(1.0, 1.0, 1.0);
    pub(crate) const UP: V3 = v3(0.0, 0.0, 1.0);

    pub(crate) fn dot(self, o: V3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    pub(crate) fn cross(self, o: V3) -> V3 {
        v3(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }

    pub(crate) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The same direction with length one; the zero vector points up.
    pub(crate) fn unit(self) -> V3 {
        let length = self.length();
        if length > 1e-12 { self / length } else { V3::UP }
    }

    /// Product by components: a colour through a filter, a vector through a scale.
    pub(crate) fn times(self, o: V3) -> V3 {
        v3(self.x * o.x, self.y * o.y, self.z * o.z)
    }

    pub(crate) fn mix(self, o: V3, share: f32) -> V3 {
        self * (1.0 - share) + o * share
    }

    pub(crate) fn min(self, o: V3) -> V3 {
        v3(self.x.min(o.x), self.y.min(o.y), self.z.min(o.z))
    }

    pub(crate) fn max(self, o: V3) -> V3 {
        v3(self.x.max(o.x), self.y.max(o.y), self.z.max(o.z))
    }

    pub(crate) fn map(self, f: impl Fn(f32) -> f32) -> V3 {
        v3(f(self.x), f(self.y), f(self.z))
    }

    pub(crate) fn to_array(self) -> [f32; 3] {
        [self.x, self.y, self.z]
    }

    pub(crate) fn axis(self, i: usize) -> f32 {
        match i {
            0 => self.x,
            1 => self.y,
            _ => self.z,
        }
    }
}

impl Add for V3 {
    type Output = V3;
    fn add(self, o: V3) -> V3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl Sub for V3 {
    type Output = V3;
    fn sub(self, o: V3) -> V3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f32> for V3 {
    type Output = V3;
    fn mul(self, k: f32) -> V3 {
        v3(self.x * k, self.y * k, self.z * k)
    }
}

impl Div<f32> for V3 {
    type Output = V3;
    fn div(self, k: f32) -> V3 {
        self * (1.0 / k)
    }
}

impl Neg for V3 {
    type Output = V3;
    fn neg(self) -> V3 {
        v3(-self.x, -self.y, -self.z)
    }
}

/// Three orthonormal axes: the rows of the rotation from the outer frame into the local one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axes(pub(crate) [V3; 3]);

impl Axes {
    pub(crate) const IDENTITY: Axes = Axes([v3(1.0, 0.0, 0.0), v3(0.0, 1.0, 0.0), v3(0.0, 0.0, 1.0)]);

    /// A body turned by `yaw` about the vertical, after `pitch` about its x axis, after `roll` about its y axis.
    pub(crate) fn turned(yaw: f32, pitch: f32, roll: f32) -> Axes {
        let (sy, cy) = yaw.sin_cos();
        let (sp, cp) = pitch.sin_cos();
        let (sr, cr) = roll.sin_cos();
        // Columns of Rz(yaw) Rx(pitch) Ry(roll).
        let place = |p: V3| {
            let p = v3(cr * p.x + sr * p.z, p.y, cr * p.z - sr * p.x);
            let p = v3(p.x, cp * p.y - sp * p.z, sp * p.y + cp * p.z);
            v3(cy * p.x - sy * p.y, sy * p.x + cy * p.y, p.z)
        };
        let [x, y, z] = Axes::IDENTITY.0;
        Axes([place(x), place(y), place(z)])
    }

    /// From the outer frame into the local one (directions, or points relative to the centre).
    pub(crate) fn local(&self, p: V3) -> V3 {
        v3(self.0[0].dot(p), self.0[1].dot(p), self.0[2].dot(p))
    }

    /// From the local frame to the outer one.
    pub(crate) fn outer(&self, p: V3) -> V3 {
        self.0[0] * p.x + self.0[1] * p.y + self.0[2] * p.z
    }

    /// The body's axes after the whole body is turned by `turn`.
    pub(crate) fn then(&self, turn: &Axes) -> Axes {
        Axes([turn.outer(self.0[0]), turn.outer(self.0[1]), turn.outer(self.0[2])])
    }
}
