//! Where a person with a hand-held camera would stand in a room, and what they would point it at.

use super::class::Class;
use super::dice::Dice;
use super::layout::Room;
use super::plan::Footprint;
use super::solid::Ray;
use super::vec3::{V3, v3};

/// Position and axes of a camera in the room: x right, y down, z forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pose {
    pub(crate) position: V3,
    pub(crate) right: V3,
    pub(crate) down: V3,
    pub(crate) forward: V3,
}

/// Focal length over the width of the image: 62.7° across, as usual depth cameras have.
pub(crate) const FOCAL_OVER_WIDTH: f32 = 0.82;

/// No solid is nearer to the camera than this.
pub(crate) const CLEARANCE_M: f32 = 0.25;

/// Poses tried for a view.
const N_TRIES: usize = 20;
/// Rays of a trial view.
const TRIAL: (usize, usize) = (12, 9);

impl Pose {
    /// Looks from `position` at `target`, turned by `roll` about the axis.
    pub(crate) fn looking(position: V3, target: V3, roll: f32) -> Pose {
        let forward = (target - position).unit();
        let right = forward.cross(V3::UP).unit();
        let down = forward.cross(right);
        let (s, c) = roll.sin_cos();
        Pose { position, right: right * c + down * s, down: down * c - right * s, forward }
    }

    /// The ray through image coordinates relative to the principal point, over the focal length. Its parameter is
    /// the depth along the axis.
    pub(crate) fn ray(&self, x: f32, y: f32) -> Ray {
        Ray { origin: self.position, direction: self.forward + self.right * x + self.down * y }
    }
}

/// The best of some poses: near enough to furniture, not before a bare wall, nothing pressed against the lens.
pub(crate) fn choose(room: &Room, dice: &mut Dice, aspect: f32) -> Pose {
    let mut best: Option<(f32, Pose)> = None;
    for k in 0..N_TRIES * 4 {
        let Some(pose) = candidate(room, dice, k >= N_TRIES * 2) else { continue };
        let score = score(room, &pose, aspect);
        if best.as_ref().is_none_or(|(s, _)| score > *s) {
            best = Some((score, pose));
        }
        if score >= 1.0 || (k >= N_TRIES && best.as_ref().is_some_and(|(s, _)| *s > 0.5)) {
            break;
        }
    }
    // A room too full to stand in is looked at from under the ceiling's middle.
    best.map_or_else(
        || Pose::looking(v3(0.0, 0.0, room.plan.size.z - 0.35), v3(0.5, 0.7, 0.0), 0.0),
        |(_, pose)| pose,
    )
}

fn candidate(room: &Room, dice: &mut Dice, reaching: bool) -> Option<Pose> {
    let size = room.plan.size;
    let (x, y) = (0.5 * size.x - 0.28, 0.5 * size.y - 0.28);
    let position = v3(dice.between(-x, x), dice.between(-y, y), dice.between(1.05, 1.75).min(size.z - 0.3));
    let target = if room.targets.is_empty() { V3::ZERO } else { dice.pick(&room.targets) };
    let wobble = v3(dice.between(-0.4, 0.4), dice.between(-0.4, 0.4), dice.between(-0.35, 0.35));
    let roll = dice.between(-0.07, 0.07) + dice.between(-0.05, 0.05);
    // First standing on free floor; later also reaching over furniture.
    let feet = Footprint { centre: [position.x, position.y], half: [0.15, 0.15], yaw: 0.0 };
    let stands = reaching || room.plan.walkable(&feet);
    let target = target + wobble;
    let flat = v3(target.x - position.x, target.y - position.y, 0.0).length();
    if !stands || flat < 0.8 || !clear_of_furniture(room, position) {
        return None;
    }
    // Nobody tilts a camera by more than about 45 degrees to see a room.
    let drop = (target.z - position.z).clamp(-flat, 0.4 * flat);
    Some(Pose::looking(position, v3(target.x, target.y, position.z + drop), roll))
}

pub(crate) fn clear_of_furniture(room: &Room, position: V3) -> bool {
    room.solids.solids().iter().all(|s| s.distance(position) > CLEARANCE_M)
}

fn score(room: &Room, pose: &Pose, aspect: f32) -> f32 {
    let (w, h) = TRIAL;
    let mut near = 0;
    let mut things = 0;
    let mut seen = [0_u32; 32];
    let mut depths = Vec::with_capacity(w * h);
    for j in 0..h {
        for i in 0..w {
            let x = ((i as f32 + 0.5) / w as f32 - 0.5) / FOCAL_OVER_WIDTH;
            let y = ((j as f32 + 0.5) / h as f32 - 0.5) * aspect / FOCAL_OVER_WIDTH;
            let ray = pose.ray(x, y);
            let (t_shell, _) = room.shell_hit(&ray);
            let (t, class) = match room.solids.nearest(&ray, 1e-3, t_shell) {
                Some((t, i)) => (t, room.solids.solids()[i as usize].class),
                None => (t_shell, Class::Wall),
            };
            depths.push(t);
            near += usize::from(t < 0.7);
            if !matches!(class, Class::Wall | Class::Rug | Class::Door) {
                things += 1;
            }
            seen[class as usize] += 1;
        }
    }
    let n = (w * h) as f32;
    depths.sort_by(f32::total_cmp);
    let median = depths[depths.len() / 2];
    let kinds = seen.iter().enumerate().filter(|(c, n)| *c != Class::Wall as usize && **n >= 2).count();
    let mut score = 0.0;
    score += (things as f32 / n / 0.3).min(1.0) * 0.4;
    score += (kinds as f32 / 4.0).min(1.0) * 0.4;
    score += if (1.3..4.5).contains(&median) { 0.2 } else { 0.0 };
    score - 4.0 * (near as f32 / n - 0.04).max(0.0) + 1e-6
}
