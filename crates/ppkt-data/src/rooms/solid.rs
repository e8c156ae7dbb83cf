//! The three solids of which everything in a room is made, and where a ray meets them.

use super::class::Class;
use super::vec3::{Axes, V3, v3};

/// Shape of a solid in its own frame, whose origin is the centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A box with half extents `half`. Within `soft` metres of an edge the shading normal leans over, which makes
    /// upholstery look rounded; the geometry stays a box.
    Block { soft: f32 },
    /// A cylinder or cone frustum about z: radius `half.x` at the bottom, `half.y` at the top, half height `half.z`.
    Frustum,
    /// An ellipsoid with half axes `half`.
    Ellipsoid,
}

/// A placed solid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Solid {
    pub(crate) shape: Shape,
    pub(crate) centre: V3,
    pub(crate) axes: Axes,
    pub(crate) half: V3,
    pub(crate) material: u16,
    pub(crate) class: Class,
    /// Whether it stops light. Lamp shades with a bulb inside and window panes don't.
    pub(crate) opaque: bool,
}

/// What shading needs to know of a point on a solid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surface {
    /// The true normal.
    pub(crate) normal: V3,
    /// The normal for shading, rounded at soft edges.
    pub(crate) shading_normal: V3,
    /// Surface coordinates in metres; u runs along the longer side of a face, as wood grain does.
    pub(crate) uv: (f32, f32),
    /// u and v over half the side of the face: -1 to 1.
    pub(crate) uv_unit: (f32, f32),
}

/// A ray whose direction need not have unit length; distances are in multiples of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ray {
    pub(crate) origin: V3,
    pub(crate) direction: V3,
}

impl Ray {
    pub(crate) fn at(&self, t: f32) -> V3 {
        self.origin + self.direction * t
    }
}

impl Solid {
    /// The nearest hit in (`t_min`, `t_max`), from outside.
    pub(crate) fn hit(&self, ray: &Ray, t_min: f32, t_max: f32) -> Option<f32> {
        let o = self.axes.local(ray.origin - self.centre);
        let d = self.axes.local(ray.direction);
        let inside = |t: &f32| *t > t_min && *t < t_max;
        match self.shape {
            Shape::Block { .. } => hit_block(o, d, self.half).filter(inside),
            Shape::Frustum => hit_frustum(o, d, self.half, t_min).filter(inside),
            Shape::Ellipsoid => hit_ellipsoid(o, d, self.half).filter(inside),
        }
    }

    /// The surface at a point that `hit` gave.
    pub(crate) fn surface(&self, point: V3) -> Surface {
        let p = self.axes.local(point - self.centre);
        let (normal, shading, uv, uv_unit) = match self.shape {
            Shape::Block { soft } => surface_of_block(p, self.half, soft),
            Shape::Frustum => surface_of_frustum(p, self.half),
            Shape::Ellipsoid => surface_of_ellipsoid(p, self.half),
        };
        Surface { normal: self.axes.outer(normal), shading_normal: self.axes.outer(shading), uv, uv_unit }
    }

    /// Corners of the axis-aligned box around it.
    pub(crate) fn bounds(&self) -> (V3, V3) {
        let half = self.local_half();
        let extent = |i: usize| {
            self.axes.0[0].axis(i).abs() * half.x
                + self.axes.0[1].axis(i).abs() * half.y
                + self.axes.0[2].axis(i).abs() * half.z
        };
        let reach = v3(extent(0), extent(1), extent(2));
        (self.centre - reach, self.centre + reach)
    }

    /// Distance from a point to its oriented bounding box, 0 inside.
    pub(crate) fn distance(&self, point: V3) -> f32 {
        let p = self.axes.local(point - self.centre).map(f32::abs) - self.local_half();
        p.max(V3::ZERO).length()
    }

    fn local_half(&self) -> V3 {
        match self.shape {
            Shape::Frustum => {
                let r = self.half.x.max(self.half.y);
                v3(r, r, self.half.z)
            }
            _ => self.half,
        }
    }
}

fn hit_block(o: V3, d: V3, half: V3) -> Option<f32> {
    // Slabs. A zero component divides to an infinity of the right sign, or to NaN on the very face, which min and
    // max ignore.
    let (ix, iy, iz) = (1.0 / d.x, 1.0 / d.y, 1.0 / d.z);
    let (x0, x1) = ((-half.x - o.x) * ix, (half.x - o.x) * ix);
    let (y0, y1) = ((-half.y - o.y) * iy, (half.y - o.y) * iy);
    let (z0, z1) = ((-half.z - o.z) * iz, (half.z - o.z) * iz);
    let near = x0.min(x1).max(y0.min(y1)).max(z0.min(z1));
    let far = x0.max(x1).min(y0.max(y1)).min(z0.max(z1));
    (near <= far).then_some(near)
}

fn hit_frustum(o: V3, d: V3, half: V3, t_min: f32) -> Option<f32> {
    let (bottom, top, h) = (half.x, half.y, half.z);
    // Radius at height z is a + b z.
    let a = 0.5 * (bottom + top);
    let b = 0.5 * (top - bottom) / h;
    let mut best = f32::INFINITY;
    let r_o = a + b * o.z;
    let qa = d.x * d.x + d.y * d.y - b * b * d.z * d.z;
    let qb = o.x * d.x + o.y * d.y - b * d.z * r_o;
    let qc = o.x * o.x + o.y * o.y - r_o * r_o;
    let disc = qb * qb - qa * qc;
    if disc >= 0.0 && qa.abs() > 1e-12 {
        let root = disc.sqrt();
        for t in [(-qb - root) / qa, (-qb + root) / qa] {
            let z = o.z + t * d.z;
            if t > t_min && t < best && z.abs() <= h && a + b * z >= 0.0 {
                best = t;
            }
        }
    }
    for (z, r) in [(-h, bottom), (h, top)] {
        let t = (z - o.z) / d.z;
        let (x, y) = (o.x + t * d.x, o.y + t * d.y);
        if t > t_min && t < best && x * x + y * y <= r * r {
            best = t;
        }
    }
    best.is_finite().then_some(best)
}

fn hit_ellipsoid(o: V3, d: V3, half: V3) -> Option<f32> {
    let inverse = v3(1.0 / half.x, 1.0 / half.y, 1.0 / half.z);
    let (o, d) = (o.times(inverse), d.times(inverse));
    let a = d.dot(d);
    let b = o.dot(d);
    // The closest approach first: it keeps the discriminant exact for small solids far away.
    let closest = o - d * (b / a);
    let room = 1.0 - closest.dot(closest);
    (room >= 0.0).then(|| (-b - (room * a).sqrt()) / a)
}

type LocalSurface = (V3, V3, (f32, f32), (f32, f32));

fn surface_of_block(p: V3, half: V3, soft: f32) -> LocalSurface {
    let depth = v3(half.x - p.x.abs(), half.y - p.y.abs(), half.z - p.z.abs());
    let (axis, u, v, hu, hv) = if depth.x <= depth.y && depth.x <= depth.z {
        (0, p.y, p.z, half.y, half.z)
    } else if depth.y <= depth.z {
        (1, p.x, p.z, half.x, half.z)
    } else {
        (2, p.x, p.y, half.x, half.y)
    };
    let normal = match axis {
        0 => v3(p.x.signum(), 0.0, 0.0),
        1 => v3(0.0, p.y.signum(), 0.0),
        _ => v3(0.0, 0.0, p.z.signum()),
    };
    let shading = if soft > 0.0 {
        let soft = soft.min(0.9 * half.x.min(half.y).min(half.z));
        let lean = |d: f32, side: f32| ((soft - d) / soft).max(0.0) * side.signum();
        v3(lean(depth.x, p.x), lean(depth.y, p.y), lean(depth.z, p.z)).unit()
    } else {
        normal
    };
    if hu >= hv {
        (normal, shading, (u, v), (u / hu, v / hv))
    } else {
        (normal, shading, (v, u), (v / hv, u / hu))
    }
}

fn surface_of_frustum(p: V3, half: V3) -> LocalSurface {
    let h = half.z;
    let r = 0.5 * (half.x + half.y);
    let b = 0.5 * (half.y - half.x) / h;
    let radial = (p.x * p.x + p.y * p.y).sqrt();
    // A point of a cap lies inside the mantle's radius there.
    let on_cap = (h - p.z.abs()) < 1e-4 && radial < r + b * p.z - 1e-4;
    if on_cap {
        let n = v3(0.0, 0.0, p.z.signum());
        return (n, n, (p.x, p.y), (p.x / r, p.y / r));
    }
    let n = v3(p.x / radial.max(1e-9), p.y / radial.max(1e-9), -b).unit();
    let angle = p.y.atan2(p.x);
    (n, n, (p.z, angle * r), (p.z / h, angle / std::f32::consts::PI))
}

fn surface_of_ellipsoid(p: V3, half: V3) -> LocalSurface {
    let n = v3(p.x / (half.x * half.x), p.y / (half.y * half.y), p.z / (half.z * half.z)).unit();
    let angle = (p.y / half.y).atan2(p.x / half.x);
    let r = 0.5 * (half.x + half.y);
    (n, n, (p.z, angle * r), (p.z / half.z, angle / std::f32::consts::PI))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solid(shape: Shape, half: V3) -> Solid {
        Solid {
            shape,
            centre: v3(0.3, -0.2, 1.0),
            axes: Axes::turned(0.7, 0.3, -0.4),
            half,
            material: 0,
            class: Class::Box,
            opaque: true,
        }
    }

    /// How far outside (> 0) or inside (< 0) of the surface a local point is, by the implicit equation.
    fn implicit(shape: Shape, half: V3, p: V3) -> f32 {
        match shape {
            Shape::Block { .. } => {
                let q = p.map(f32::abs) - half;
                q.x.max(q.y).max(q.z)
            }
            Shape::Frustum => {
                let r = half.x + (half.y - half.x) * (p.z + half.z) / (2.0 * half.z);
                ((p.x * p.x + p.y * p.y).sqrt() - r).max(p.z.abs() - half.z)
            }
            Shape::Ellipsoid => v3(p.x / half.x, p.y / half.y, p.z / half.z).length() - 1.0,
        }
    }

    #[test]
    fn hits_lie_on_the_surface_and_nothing_is_nearer() {
        for (shape, half) in [
            (Shape::Block { soft: 0.0 }, v3(0.4, 0.2, 0.3)),
            (Shape::Frustum, v3(0.4, 0.15, 0.3)),
            (Shape::Frustum, v3(0.2, 0.2, 0.5)),
            (Shape::Ellipsoid, v3(0.4, 0.1, 0.3)),
        ] {
            let s = solid(shape, half);
            let mut n_hits = 0;
            for i in 0..2000_u32 {
                let r = |k| super::super::dice::unit_of(super::super::dice::hash(i * 8 + k)) * 2.0 - 1.0;
                let origin = s.centre + v3(r(0), r(1), r(2)).unit() * 3.0;
                let target = s.centre + v3(r(3), r(4), r(5)) * 0.5;
                let ray = Ray { origin, direction: (target - origin) * 0.7 };
                let hit = s.hit(&ray, 1e-4, 1e9);
                // March along the ray: the first sign change must be where the hit is.
                let march = (1..4000)
                    .map(|k| k as f32 * 0.002)
                    .find(|&t| implicit(shape, half, s.axes.local(ray.at(t) - s.centre)) < -1e-4);
                if let Some(t) = hit {
                    n_hits += 1;
                    let p = s.axes.local(ray.at(t) - s.centre);
                    assert!(implicit(shape, half, p).abs() < 1e-4, "{shape:?} {p:?}");
                    let surface = s.surface(ray.at(t));
                    assert!((surface.normal.length() - 1.0).abs() < 1e-4);
                    assert!(surface.normal.dot(ray.direction) < 1e-3, "{shape:?}: faces the ray");
                    if let Some(m) = march {
                        assert!(t <= m + 1e-3, "{shape:?}: hit {t}, march {m}");
                    }
                } else {
                    assert!(march.is_none(), "{shape:?}: missed, march found {march:?}");
                }
            }
            assert!(n_hits > 300, "{shape:?}: only {n_hits} hits");
        }
    }
}
