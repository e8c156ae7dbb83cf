//! One view: rays through every pixel for depth, class and texture, light at half resolution, soft edges.
//!
//! Steps:
//! 1. A ray through the centre of each pixel finds the nearest surface: its depth along the axis and its class.
//! 2. On every second pixel of every second row, one shadow ray for each light, to a place on the light that changes
//!    in a 4 × 4 pattern, and one short ray for ambient occlusion.
//! 3. Each pixel gathers that light over 4 × 4 of those places where the surface continues (like normal, same
//!    plane), so shadows are soft and free of grain; where none continues, rays are sent for the pixel itself.
//! 4. Texture times light. Where neighbours belong to different surfaces, four rays within the pixel are averaged.

use super::class::Class;
use super::dice::{hash, unit_of};
use super::layout::{MAX_LIGHTS, Room};
use super::pose::Pose;
use super::solid::{Ray, Surface};
use super::vec3::{V3, v3};

/// What the rays of a view found, before any noise.
pub(crate) struct Rendering {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Linear radiance, no exposure.
    pub(crate) radiance: Vec<V3>,
    /// Metres along the axis.
    pub(crate) depth: Vec<f32>,
    pub(crate) class: Vec<Class>,
    /// Cosine between the ray and the surface's normal.
    pub(crate) facing: Vec<f32>,
}

/// The camera's numbers that rays need, in pixels; centres of pixels at halves.
#[derive(Clone, Copy)]
pub(crate) struct Optics {
    pub(crate) focal: f32,
    pub(crate) cx: f32,
    pub(crate) cy: f32,
}

/// What a ray met.
#[derive(Clone, Copy)]
struct Hit {
    t: f32,
    object: u32,
    point: V3,
    surface: Surface,
}

/// Shares of each light and of the sky that reach a place.
#[derive(Clone, Copy, Default)]
struct Reach {
    lights: [f32; MAX_LIGHTS],
    sky: f32,
}

const FACES: u32 = 0x8000_0000;
/// How far ambient occlusion looks.
const OCCLUSION_M: f32 = 0.6;

impl Room {
    /// Where a ray from inside leaves the room, and through which face (0 floor, 1 ceiling, 2.. walls as numbered in
    /// the plan).
    pub(crate) fn shell_hit(&self, ray: &Ray) -> (f32, u32) {
        let half = v3(0.5 * self.plan.size.x, 0.5 * self.plan.size.y, 0.0);
        let (o, d) = (ray.origin, ray.direction);
        let to = |wall: f32, o: f32, d: f32| (wall.copysign(d) - o) / d;
        let tx = if d.x != 0.0 { to(half.x, o.x, d.x) } else { f32::INFINITY };
        let ty = if d.y != 0.0 { to(half.y, o.y, d.y) } else { f32::INFINITY };
        let tz = if d.z > 0.0 {
            (self.plan.size.z - o.z) / d.z
        } else if d.z < 0.0 {
            -o.z / d.z
        } else {
            f32::INFINITY
        };
        if tz <= tx && tz <= ty {
            (tz, u32::from(d.z > 0.0))
        } else if tx <= ty {
            (tx, if d.x > 0.0 { 5 } else { 3 })
        } else {
            (ty, if d.y > 0.0 { 2 } else { 4 })
        }
    }

    fn shell_surface(&self, face: u32, p: V3) -> Surface {
        let (normal, uv) = match face {
            0 => (v3(0.0, 0.0, 1.0), (p.x, p.y)),
            1 => (v3(0.0, 0.0, -1.0), (p.x, p.y)),
            2 => (v3(0.0, -1.0, 0.0), (p.x, p.z)),
            3 => (v3(1.0, 0.0, 0.0), (p.y, p.z)),
            4 => (v3(0.0, 1.0, 0.0), (p.x, p.z)),
            _ => (v3(-1.0, 0.0, 0.0), (p.y, p.z)),
        };
        Surface { normal, shading_normal: normal, uv, uv_unit: (0.0, 0.0) }
    }

    fn trace(&self, ray: &Ray) -> Hit {
        let (t_shell, face) = self.shell_hit(ray);
        match self.solids.nearest(ray, 1e-3, t_shell) {
            Some((t, i)) => {
                let point = ray.at(t);
                Hit { t, object: i, point, surface: self.solids.solids()[i as usize].surface(point) }
            }
            None => {
                let point = ray.at(t_shell);
                Hit { t: t_shell, object: FACES | face, point, surface: self.shell_surface(face, point) }
            }
        }
    }

    fn class_of(&self, object: u32) -> Class {
        match object {
            o if o == FACES => Class::Floor,
            o if o == FACES | 1 => Class::Ceiling,
            o if o & FACES != 0 => Class::Wall,
            o => self.solids.solids()[o as usize].class,
        }
    }

    /// Light that arrives, with the samples numbered `cell` of 16.
    fn reach(&self, point: V3, normal: V3, cell: u32) -> Reach {
        let start = point + normal * 2e-3;
        let mut reach = Reach::default();
        // A rotated grid: 16 places that cover a square evenly in either half.
        let u = (cell as f32 + 0.5) / 16.0;
        let v = unit_of((cell.reverse_bits() >> 28) << 28) + 1.0 / 32.0;
        for (k, light) in self.lights.iter().enumerate() {
            let to = light.position - point;
            if to.dot(normal) <= -light.radius_m {
                continue;
            }
            // A place on the sphere of the light.
            let z = 2.0 * v - 1.0;
            let (s, c) = (std::f32::consts::TAU * u).sin_cos();
            let r = (1.0 - z * z).sqrt();
            let target = light.position + v3(r * c, r * s, z) * light.radius_m;
            let ray = Ray { origin: start, direction: target - start };
            reach.lights[k] = if self.solids.blocked(&ray, 0.0, 1.0) { 0.0 } else { 1.0 };
        }
        // Cosine-weighted direction about the normal.
        let (s, c) = (std::f32::consts::TAU * v).sin_cos();
        let side = if normal.z.abs() < 0.9 { V3::UP } else { v3(1.0, 0.0, 0.0) };
        let tangent = normal.cross(side).unit();
        let r = u.sqrt();
        let direction = tangent * (r * c) + normal.cross(tangent) * (r * s) + normal * (1.0 - u).sqrt();
        let ray = Ray { origin: start, direction };
        let (t_shell, _) = self.shell_hit(&ray);
        let t = self.solids.nearest(&ray, 0.0, t_shell.min(OCCLUSION_M)).map_or(t_shell, |(t, _)| t);
        reach.sky = (t / OCCLUSION_M).clamp(0.0, 1.0).sqrt();
        reach
    }

    /// Colour of a hit under the light that reaches it.
    fn shade(&self, hit: &Hit, ray: &Ray, reach: &Reach, pixel_m: f32) -> V3 {
        let material = if hit.object & FACES != 0 {
            &self.materials[self.shell[(hit.object & 7) as usize] as usize]
        } else {
            &self.materials[self.solids.solids()[hit.object as usize].material as usize]
        };
        let view = -ray.direction.unit();
        let n = hit.surface.shading_normal;
        let slant = hit.surface.normal.dot(view).abs().max(0.15);
        let albedo =
            material.colour(hit.surface.uv, hit.surface.uv_unit, hit.t * pixel_m / slant, hit.object);
        // The sky of a room: brighter from above than from below, never quite dark.
        let sky = self.ambient * ((0.75 + 0.25 * n.z) * (0.25 + 0.75 * reach.sky));
        let mut diffuse = sky;
        let mut mirror = V3::ZERO;
        for (light, share) in self.lights.iter().zip(reach.lights) {
            if share <= 0.0 {
                continue;
            }
            let to = light.position - hit.point;
            let distance2 = to.dot(to);
            let to = to.unit();
            let lambert = n.dot(to).max(0.0);
            // A light has a size: its falloff ends there.
            let arriving = light.power * (share / (distance2 + 0.35));
            diffuse = diffuse + arriving * lambert;
            if material.gloss > 0.0 && lambert > 0.0 {
                let half = (to + view).unit();
                mirror = mirror + arriving * (material.gloss * 0.35 * n.dot(half).max(0.0).powi(40));
            }
        }
        albedo.times(diffuse) + mirror + albedo * material.glow
    }
}

/// Renders a view.
pub(crate) fn render(room: &Room, pose: &Pose, optics: Optics, width: usize, height: usize) -> Rendering {
    let ray_at = |u: f32, v: f32| pose.ray((u - optics.cx) / optics.focal, (v - optics.cy) / optics.focal);
    let hits: Vec<Hit> = (0..width * height)
        .map(|i| room.trace(&ray_at((i % width) as f32 + 0.5, (i / width) as f32 + 0.5)))
        .collect();
    let light = LightGrid::new(room, &hits, width, height);
    let pixel_m = 1.0 / optics.focal;
    let mut radiance = vec![V3::ZERO; width * height];
    let mut facing = vec![0.0; width * height];
    for (i, hit) in hits.iter().enumerate() {
        let (x, y) = (i % width, i / width);
        let ray = ray_at(x as f32 + 0.5, y as f32 + 0.5);
        facing[i] = -hit.surface.normal.dot(ray.direction.unit());
        let reach = light.at(room, &hits, hit, x, y);
        radiance[i] = room.shade(hit, &ray, &reach, pixel_m);
        if is_edge(&hits, x, y, width, height) {
            // The pixel's own light serves all four: what it would change is smaller than the edge itself.
            let mut sum = V3::ZERO;
            for (du, dv) in [(0.2, 0.35), (0.65, 0.2), (0.8, 0.65), (0.35, 0.8)] {
                let ray = ray_at(x as f32 + du, y as f32 + dv);
                let part = room.trace(&ray);
                let reach = if part.object == hit.object {
                    reach
                } else {
                    light.of_neighbour(&hits, &part, x, y).unwrap_or(reach)
                };
                sum = sum + room.shade(&part, &ray, &reach, pixel_m).min(V3::ONE * 4.0);
            }
            radiance[i] = sum / 4.0;
        }
    }
    Rendering {
        width,
        height,
        radiance,
        depth: hits.iter().map(|h| h.t).collect(),
        class: hits.iter().map(|h| room.class_of(h.object)).collect(),
        facing,
    }
}

/// Whether a pixel touches another surface or a fold.
fn is_edge(hits: &[Hit], x: usize, y: usize, width: usize, height: usize) -> bool {
    let own = &hits[y * width + x];
    let differs =
        |other: &Hit| other.object != own.object || other.surface.normal.dot(own.surface.normal) < 0.8;
    (x > 0 && differs(&hits[y * width + x - 1]))
        || (x + 1 < width && differs(&hits[y * width + x + 1]))
        || (y > 0 && differs(&hits[(y - 1) * width + x]))
        || (y + 1 < height && differs(&hits[(y + 1) * width + x]))
}

/// Light at every second pixel of every second row.
struct LightGrid {
    width: usize,
    height: usize,
    image_width: usize,
    reach: Vec<Reach>,
}

impl LightGrid {
    fn new(room: &Room, hits: &[Hit], image_width: usize, image_height: usize) -> LightGrid {
        let (width, height) = (image_width.div_ceil(2), image_height.div_ceil(2));
        let mut reach = Vec::with_capacity(width * height);
        for j in 0..height {
            for i in 0..width {
                let hit = &hits[2 * j * image_width + 2 * i];
                // An order of the 16 samples in which neighbours differ much.
                let cell = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5][(j % 4) * 4 + i % 4];
                reach.push(room.reach(hit.point, hit.surface.normal, cell));
            }
        }
        LightGrid { width, height, image_width, reach }
    }

    /// The light of a pixel: from places around it on the same surface, or else from rays of its own.
    fn at(&self, room: &Room, hits: &[Hit], hit: &Hit, x: usize, y: usize) -> Reach {
        self.gather(hits, hit, x, y, 1).unwrap_or_else(|| {
            let first = hash(x as u32 ^ (y as u32) << 16);
            let mut sum = Reach::default();
            for k in 0..2 {
                sum.add(&room.reach(hit.point, hit.surface.normal, (first + 7 * k) % 16), 0.5);
            }
            sum
        })
    }

    /// The light of a surface that only part of a pixel shows.
    fn of_neighbour(&self, hits: &[Hit], hit: &Hit, x: usize, y: usize) -> Option<Reach> {
        self.gather(hits, hit, x, y, 0)
    }

    /// Mean over the 4 × 4 places about a pixel that continue its surface, if more than `least` do.
    fn gather(&self, hits: &[Hit], hit: &Hit, x: usize, y: usize, least: usize) -> Option<Reach> {
        let (even_x, even_y) = (x.is_multiple_of(2), y.is_multiple_of(2));
        let (i0, j0) = (x as i64 / 2 - 1 - i64::from(even_x), y as i64 / 2 - 1 - i64::from(even_y));
        let mut sum = Reach::default();
        let mut weight = 0.0;
        let mut n = 0;
        // Five places with halved ends make a window of four cells that is centred on even pixels too.
        for dj in 0..5_i64 {
            for di in 0..5_i64 {
                let (i, j) = (i0 + di, j0 + dj);
                let end = |d: i64, even: bool| match (d, even) {
                    (0 | 4, true) => 0.5,
                    (4, false) => 0.0,
                    _ => 1.0,
                };
                let w = end(di, even_x) * end(dj, even_y);
                if w == 0.0 || i < 0 || j < 0 || i >= self.width as i64 || j >= self.height as i64 {
                    continue;
                }
                let other = &hits[2 * j as usize * self.image_width + 2 * i as usize];
                let continues = other.surface.normal.dot(hit.surface.normal) > 0.9
                    && (other.point - hit.point).dot(hit.surface.normal).abs() < 0.01 + 0.01 * hit.t;
                if continues {
                    sum.add(&self.reach[j as usize * self.width + i as usize], w);
                    weight += w;
                    n += 1;
                }
            }
        }
        (n > least).then(|| {
            let mut mean = Reach::default();
            mean.add(&sum, 1.0 / weight);
            mean
        })
    }
}

impl Reach {
    fn add(&mut self, other: &Reach, weight: f32) {
        for (a, b) in self.lights.iter_mut().zip(other.lights) {
            *a += b * weight;
        }
        self.sky += other.sky * weight;
    }
}
