//! From radiance and exact depth to what a camera and a depth sensor would deliver.

use super::class::Class;
use super::dice::{Dice, hash, hash2, normal_of, unit_of};
use super::render::Rendering;
use super::vec3::{V3, v3};

/// Range of the depth sensor, metres.
pub(crate) const RANGE_M: (f32, f32) = (0.4, 8.0);

/// Baseline of the sensor in metres times its focal length over the image width: disparity in image widths is this
/// over depth.
const BASELINE_M: f32 = 0.075;
/// Steps of disparity for each pixel of a 640 wide image.
const STEPS_PER_PIXEL: f32 = 8.0;

/// How strong the noise of depth and colour is: 1 as a real sensor's, 0 none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strength {
    pub(crate) depth: f32,
    pub(crate) colour: f32,
}

/// The photograph: exposure to the frame's own brightness, white balance, vignette, tone curve, shot and read noise.
pub(crate) fn photograph(view: &Rendering, dice: &mut Dice, strength: Strength) -> Vec<u8> {
    let n = view.radiance.len();
    let luminance = |c: &V3| 0.2126 * c.x + 0.7152 * c.y + 0.0722 * c.z;
    // The logarithmic mean, as a camera meters, so that a bright window doesn't darken the room.
    let mean_log =
        view.radiance.iter().map(|c| f64::from((luminance(c) + 1e-3).ln())).sum::<f64>() / n as f64;
    let vary = strength.colour;
    let exposure = 0.30 / mean_log.exp() as f32 * (dice.between(-0.45, 0.45) * vary).exp();
    let balance = v3((dice.between(-0.09, 0.09) * vary).exp(), 1.0, (dice.between(-0.12, 0.12) * vary).exp());
    let vignette = dice.between(0.0, 0.25) * vary;
    let noise = dice.between(0.004, 0.02) * vary;
    let key = dice.bits();
    let (w, h) = (view.width as f32, view.height as f32);
    let mut bytes = Vec::with_capacity(3 * n);
    for (i, colour) in view.radiance.iter().enumerate() {
        let (x, y) = ((i % view.width) as f32 / w - 0.5, (i / view.width) as f32 / h - 0.5);
        let dim = 1.0 - vignette * 2.0 * (x * x + y * y);
        let c = colour.times(balance) * (exposure * dim);
        // Straight in the shadows, bending to white in the lights.
        let c = c.map(|v| v * (1.0 + v * 0.08) / (1.0 + v * 0.85));
        let grain =
            |k: u32, v: f32| v + noise * (0.25 + v).sqrt() * normal_of(hash2(i as i32, k as i32, key));
        for (k, v) in [c.x, c.y, c.z].into_iter().enumerate() {
            let v = if noise > 0.0 { grain(k as u32, v) } else { v };
            bytes.push((v.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0 + 0.5) as u8);
        }
    }
    bytes
}

/// Depth as a structured-light sensor measures it: disparity with noise in steps, so that the error grows with the
/// square of the distance; a little sideways jitter, which frays edges; nothing at grazing angles, beside edges, on
/// glass, and out of range. NaN is no measurement.
pub(crate) fn measured_depth(
    view: &Rendering,
    dice: &mut Dice,
    focal_over_width: f32,
    strength: Strength,
) -> Vec<f32> {
    let key = dice.bits();
    if strength.depth <= 0.0 {
        return view.depth.clone();
    }
    let s = strength.depth;
    let (w, h) = (view.width, view.height);
    // One step of disparity, as a depth: dz = z² step / (baseline focal).
    let per_step = 1.0 / (BASELINE_M * focal_over_width * 640.0 * STEPS_PER_PIXEL);
    let mut out = vec![f32::NAN; w * h];
    for y in 0..h {
        for x in 0..w {
            let i = y * w + x;
            let draw = |k: i32| hash2(i as i32, k, key);
            // The sensor's pixel isn't quite ours.
            let jitter = |k: i32, at: usize, n: usize| {
                let moved = at as f32 + 0.5 + 0.45 * s * normal_of(draw(k));
                (moved.max(0.0) as usize).min(n - 1)
            };
            let j = jitter(1, y, h) * w + jitter(2, x, w);
            let z = view.depth[j];
            let steps = 1.0 / (z * per_step) + 0.35 * s * normal_of(draw(3));
            let measured = 1.0 / (steps.round().max(1.0) * per_step);
            let lost = lost_share(view, x, y, j) * s.min(1.0);
            if unit_of(hash(draw(4))) >= lost && measured >= RANGE_M.0 && measured <= RANGE_M.1 {
                out[i] = measured;
            }
        }
    }
    out
}

/// How often nothing is measured at a pixel.
fn lost_share(view: &Rendering, x: usize, y: usize, at: usize) -> f32 {
    let (w, h) = (view.width, view.height);
    let z = view.depth[at];
    let material: f32 = match view.class[at] {
        Class::Window => 0.85,
        Class::Screen => 0.25,
        Class::Lamp => 0.15,
        _ => 0.004,
    };
    let grazing = ((0.22 - view.facing[at]) / 0.22).clamp(0.0, 1.0);
    // The projector's shadow lies on the background, to the left of what is nearer.
    let reach = (w / 160).max(1);
    let step = 0.06 + 0.03 * z;
    let behind = (1..=reach).any(|d| x + d < w && z - view.depth[y * w + x + d] > step);
    let beside = |j: usize| (z - view.depth[j]).abs() > step;
    let edge = (x > 0 && beside(y * w + x - 1))
        || (x + 1 < w && beside(y * w + x + 1))
        || (y > 0 && beside((y - 1) * w + x))
        || (y + 1 < h && beside((y + 1) * w + x));
    let shadow: f32 = if behind { 0.7 } else { 0.0 };
    let fray = if edge { 0.45 } else { 0.0 };
    material.max(grazing * grazing).max(shadow).max(fray)
}
