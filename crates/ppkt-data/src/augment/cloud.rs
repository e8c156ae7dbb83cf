//! Augmentation of a cloud: it is turned, scaled, mirrored, bent and recoloured; points keep their index.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::elastic::Elastic;
use crate::random::{chance, subset, uniform};
use crate::{Cloud, DataError, setting};

/// What is done to a cloud. Axes are those of the scene's world frame, in which z points up.
///
/// The default is what PPKT names for RGB-D frames: rotation, scaling and elastic distortion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment3d {
    /// Range of the turn about the vertical axis, radians.
    pub yaw_rad: [f32; 2],
    /// Range of the turn about a random horizontal axis, radians; from −π to π, together with a full yaw, gives
    /// every attitude.
    pub tilt_rad: [f32; 2],
    /// Range of the factor on all lengths.
    pub scale: [f32; 2],
    /// Probability of mirroring x, and independently y.
    pub flip: f32,
    /// Whether the cloud is turned, scaled and mirrored about the scene's origin, where a LiDAR stands, and not about
    /// the middle of its bounding box.
    pub about_origin: bool,
    /// Largest shift along each axis, metres, either way.
    pub translate_m: [f32; 3],
    /// Standard deviation of independent noise on each coordinate, metres.
    pub jitter_m: f32,
    /// Fields of elastic distortion, applied one after another before the cloud is turned.
    pub elastic: Vec<Elastic>,
    /// Probability that the elastic fields are applied at all.
    pub elastic_probability: f32,
    /// Range of the share of points that is dropped.
    pub drop_points: [f32; 2],
    /// Number of boxes whose points are dropped. A box is put back where it would leave a view with too few pairs.
    pub drop_cuboids: u32,
    /// Largest side of such a box, as a share of the cloud's extent.
    pub cuboid_share: f32,
    /// What is done to the colours of the points.
    pub colour: CloudColour,
}

/// What is done to the colours of the points of a cloud; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudColour {
    /// Probability of stretching each channel toward its full range, by a random share.
    pub auto_contrast: f32,
    /// Largest shift of each channel, the same for all points, either way; colours run from 0 to 1.
    pub shift: f32,
    /// Standard deviation of independent noise on each channel of each point.
    pub noise: f32,
    /// Probability of taking all colour away (mid-grey), so that shape alone has to do.
    pub drop: f32,
}

impl Default for Augment3d {
    fn default() -> Self {
        let pi = std::f32::consts::PI;
        Self {
            yaw_rad: [-pi, pi],
            tilt_rad: [-pi / 32.0, pi / 32.0],
            scale: [0.8, 1.2],
            elastic: vec![
                Elastic { granularity_m: 0.2, magnitude_m: 0.4 },
                Elastic { granularity_m: 0.8, magnitude_m: 1.6 },
            ],
            elastic_probability: 0.95,
            ..Self::none()
        }
    }
}

impl Augment3d {
    /// Leaves a cloud as it is: for validation.
    pub fn none() -> Self {
        Self {
            yaw_rad: [0.0; 2],
            tilt_rad: [0.0; 2],
            scale: [1.0; 2],
            flip: 0.0,
            about_origin: false,
            translate_m: [0.0; 3],
            jitter_m: 0.0,
            elastic: Vec::new(),
            elastic_probability: 0.0,
            drop_points: [0.0; 2],
            drop_cuboids: 0,
            cuboid_share: 0.2,
            colour: CloudColour::default(),
        }
    }

    /// # Errors
    /// If a value cannot be meant.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        use setting::{amount, range, share};
        let anything = [f32::NEG_INFINITY, f32::INFINITY];
        range("augment3d.yaw_rad", self.yaw_rad, anything)?;
        range("augment3d.tilt_rad", self.tilt_rad, anything)?;
        range("augment3d.scale", self.scale, [f32::MIN_POSITIVE, f32::INFINITY])?;
        share("augment3d.flip", self.flip)?;
        self.translate_m.into_iter().try_for_each(|most| amount("augment3d.translate_m", most))?;
        amount("augment3d.jitter_m", self.jitter_m)?;
        for field in &self.elastic {
            let fine = field.granularity_m > 0.0 && field.granularity_m.is_finite();
            setting::require(fine, "augment3d.elastic.granularity_m", &field.granularity_m, "above zero")?;
            amount("augment3d.elastic.magnitude_m", field.magnitude_m)?;
        }
        share("augment3d.elastic_probability", self.elastic_probability)?;
        range("augment3d.drop_points", self.drop_points, [0.0, 1.0])?;
        share("augment3d.cuboid_share", self.cuboid_share)?;
        share("augment3d.colour.auto_contrast", self.colour.auto_contrast)?;
        amount("augment3d.colour.shift", self.colour.shift)?;
        amount("augment3d.colour.noise", self.colour.noise)?;
        share("augment3d.colour.drop", self.colour.drop)
    }

    /// Moves and recolours the points; none is added, dropped or reordered.
    pub(crate) fn apply(&self, cloud: &mut Cloud, rng: &mut ChaCha8Rng) {
        if chance(rng, self.elastic_probability) {
            self.elastic.iter().for_each(|field| field.apply(&mut cloud.points, rng));
        }
        self.turn(&mut cloud.points, rng);
        if self.jitter_m > 0.0 {
            cloud.points.iter_mut().flatten().for_each(|v| *v += self.jitter_m * normal(rng));
        }
        self.colour.apply(&mut cloud.colours, rng);
    }

    /// Turns, scales and mirrors the points about the middle of their bounding box or the origin, then shifts them.
    fn turn(&self, points: &mut [[f32; 3]], rng: &mut ChaCha8Rng) {
        let matrix = self.draw_matrix(rng);
        let shift = self.translate_m.map(|most| uniform(rng, [-most, most]));
        if points.is_empty() || (matrix == IDENTITY && shift == [0.0; 3]) {
            return;
        }
        let (low, high) = bounds(points);
        let middle = [0, 1, 2].map(|c| 0.5 * (low[c] + high[c]));
        let centre = if self.about_origin { [0.0; 3] } else { middle };
        // The centre goes through the matrix once, so that a point costs one product.
        let mut constant = [0.0; 3];
        for r in 0..3 {
            constant[r] = centre[r] + shift[r] - dot(matrix[r], centre);
        }
        for point in points {
            let p = *point;
            for r in 0..3 {
                point[r] = dot(matrix[r], p) + constant[r];
            }
        }
    }

    /// Mirroring, then yaw, then tilt, times the scale. Composed in f64, so that lengths hold to f32 precision.
    fn draw_matrix(&self, rng: &mut ChaCha8Rng) -> [[f32; 3]; 3] {
        let yaw = f64::from(uniform(rng, self.yaw_rad));
        let tilt = f64::from(uniform(rng, self.tilt_rad));
        let heading = f64::from(uniform(rng, [0.0, std::f32::consts::TAU]));
        let scale = f64::from(uniform(rng, self.scale));
        let mirror =
            [chance(rng, self.flip), chance(rng, self.flip), false].map(|m| if m { -1.0 } else { 1.0 });
        let turned =
            product(turn_about([heading.cos(), heading.sin(), 0.0], tilt), turn_about([0.0, 0.0, 1.0], yaw));
        turned.map(|row| [0, 1, 2].map(|c| (scale * row[c] * mirror[c]) as f32))
    }

    /// The points that stay, ascending, or `None` if all do. A box of points is dropped only where `enough` holds
    /// of the points that would be left.
    pub(crate) fn draw_kept(
        &self,
        points: &[[f32; 3]],
        enough: impl Fn(&[bool]) -> bool,
        rng: &mut ChaCha8Rng,
    ) -> Option<Vec<u32>> {
        let dropped = uniform(rng, self.drop_points);
        if (dropped == 0.0 && self.drop_cuboids == 0) || points.is_empty() {
            return None;
        }
        let n_kept = ((points.len() as f64 * (1.0 - f64::from(dropped))).ceil() as usize).max(1);
        let mut stays = vec![false; points.len()];
        subset(rng, points.len(), n_kept).iter().for_each(|&i| stays[i as usize] = true);
        let (low, high) = bounds(points);
        for _ in 0..self.drop_cuboids {
            let centre = points[rng.random_range(0..points.len())];
            let half = [0, 1, 2].map(|c| 0.5 * (high[c] - low[c]) * uniform(rng, [0.0, self.cuboid_share]));
            let outside = |p: &[f32; 3]| (0..3).any(|c| (p[c] - centre[c]).abs() > half[c]);
            let trial: Vec<bool> = stays.iter().zip(points).map(|(&s, p)| s && outside(p)).collect();
            if enough(&trial) {
                stays = trial;
            }
        }
        Some((0..points.len() as u32).filter(|&i| stays[i as usize]).collect())
    }
}

impl CloudColour {
    fn apply(&self, colours: &mut [[f32; 3]], rng: &mut ChaCha8Rng) {
        let stretch = chance(rng, self.auto_contrast).then(|| rng.random::<f32>());
        let shift = [0; 3].map(|_| uniform(rng, [-self.shift, self.shift]));
        let grey = chance(rng, self.drop);
        if grey {
            return colours.fill([0.5; 3]);
        }
        if let Some(share) = stretch.filter(|_| !colours.is_empty()) {
            let (low, high) = bounds(colours);
            for colour in &mut *colours {
                for c in (0..3).filter(|&c| high[c] > low[c]) {
                    let full = (colour[c] - low[c]) / (high[c] - low[c]);
                    colour[c] += share * (full - colour[c]);
                }
            }
        }
        if shift == [0.0; 3] && self.noise == 0.0 {
            return;
        }
        for colour in colours {
            for c in 0..3 {
                let noise = if self.noise > 0.0 { self.noise * normal(rng) } else { 0.0 };
                colour[c] = (colour[c] + shift[c] + noise).clamp(0.0, 1.0);
            }
        }
    }
}

const IDENTITY: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// Least and greatest coordinate along each axis; an inverted box if there is no point.
pub(crate) fn bounds(points: &[[f32; 3]]) -> ([f32; 3], [f32; 3]) {
    let (mut low, mut high) = ([f32::INFINITY; 3], [f32::NEG_INFINITY; 3]);
    for p in points {
        for c in 0..3 {
            low[c] = low[c].min(p[c]);
            high[c] = high[c].max(p[c]);
        }
    }
    (low, high)
}

/// Rodrigues' formula for a unit axis.
fn turn_about([x, y, z]: [f64; 3], angle: f64) -> [[f64; 3]; 3] {
    let (s, c) = angle.sin_cos();
    let t = 1.0 - c;
    [
        [c + t * x * x, t * x * y - s * z, t * x * z + s * y],
        [t * x * y + s * z, c + t * y * y, t * y * z - s * x],
        [t * x * z - s * y, t * y * z + s * x, c + t * z * z],
    ]
}

#[inline]
fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn product(a: [[f64; 3]; 3], b: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    a.map(|row| [0, 1, 2].map(|c| (0..3).map(|k| row[k] * b[k][c]).sum()))
}

/// A normal deviate (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (rng.random::<f32>() * std::f32::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn cloud() -> Cloud {
        let points: Vec<[f32; 3]> = (0..300)
            .map(|i| i as f32)
            .map(|i| [3.0 + (i * 0.37).sin(), -2.0 + (i * 0.11).cos() * 2.0, 1.0 + (i * 0.73).sin()])
            .collect();
        let colours = (0..300).map(|i| [i as f32 / 600.0, 0.25, 0.5 + i as f32 / 900.0]).collect();
        Cloud { points, colours, ..Cloud::default() }
    }

    fn moved(augment: &Augment3d, item: u64) -> Cloud {
        let mut moved = cloud();
        augment.apply(&mut moved, &mut stream(9, Purpose::Cloud, item));
        moved
    }

    fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
        (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>().sqrt()
    }

    #[test]
    fn none_changes_no_bit() {
        let same = moved(&Augment3d::none(), 0);
        assert_eq!(same.points, cloud().points);
        assert_eq!(same.colours, cloud().colours);
    }

    #[test]
    fn turning_and_mirroring_keep_distances_and_scaling_multiplies_them() {
        let pi = std::f32::consts::PI;
        let augment = Augment3d {
            yaw_rad: [-pi, pi],
            tilt_rad: [-pi, pi],
            flip: 0.5,
            translate_m: [1.0; 3],
            ..Augment3d::none()
        };
        let before = cloud().points;
        for item in 0..20 {
            for (augment, factor) in
                [(augment.clone(), 1.0), (Augment3d { scale: [0.8, 0.8], ..augment.clone() }, 0.8)]
            {
                let after = moved(&augment, item).points;
                for i in 1..before.len() {
                    let (was, is) = (distance(before[i], before[i / 2]), distance(after[i], after[i / 2]));
                    assert!((is - factor * was).abs() < 1e-5, "{was} {is}");
                }
            }
        }
    }

    #[test]
    fn yaw_keeps_heights() {
        let augment = Augment3d { yaw_rad: [-3.0, 3.0], ..Augment3d::none() };
        let after = moved(&augment, 3).points;
        assert!(after.iter().zip(cloud().points).all(|(a, b)| (a[2] - b[2]).abs() < 1e-5));
        assert!(distance(after[5], cloud().points[5]) > 0.01);
    }

    #[test]
    fn a_mirrored_cloud_is_no_turned_one() {
        let handed = |p: &[[f32; 3]]| {
            let [a, b, c] = [1, 2, 3].map(|i| [0, 1, 2].map(|k| p[i * 17][k] - p[0][k]));
            a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
                + a[2] * (b[0] * c[1] - b[1] * c[0])
        };
        let before = handed(&cloud().points);
        let after = |flip| {
            (0..40).map(move |item| handed(&moved(&Augment3d { flip, ..Augment3d::none() }, item).points))
        };
        assert!(after(0.0).all(|h| h * before > 0.0));
        let mirrored = after(0.5).filter(|h| h * before < 0.0).count();
        assert!((8..32).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn points_and_boxes_are_dropped() {
        let points = cloud().points;
        let mut rng = stream(1, Purpose::Cloud, 0);
        assert_eq!(Augment3d::none().draw_kept(&points, |_| true, &mut rng), None);
        let share = Augment3d { drop_points: [0.25, 0.25], ..Augment3d::none() };
        assert_eq!(share.draw_kept(&points, |_| true, &mut rng).unwrap().len(), 225);
        let all = Augment3d { drop_points: [1.0, 1.0], ..Augment3d::none() };
        assert_eq!(all.draw_kept(&points, |_| true, &mut rng).unwrap().len(), 1, "one point always stays");
        let boxes = Augment3d { drop_cuboids: 3, cuboid_share: 0.9, ..Augment3d::none() };
        let kept = boxes.draw_kept(&points, |_| true, &mut rng).unwrap();
        assert!(kept.len() < 300);
        let kept = boxes.draw_kept(&points, |_| false, &mut rng).unwrap();
        assert_eq!(kept.len(), 300, "boxes that cost too many pairs are put back");
        assert_eq!(boxes.draw_kept(&[], |_| true, &mut rng), None);
    }

    #[test]
    fn colours_stay_in_range() {
        let colour = CloudColour { auto_contrast: 1.0, shift: 0.4, noise: 0.3, drop: 0.0 };
        let after = moved(&Augment3d { colour, ..Augment3d::none() }, 1);
        assert!(after.colours.iter().flatten().all(|c| (0.0..=1.0).contains(c)));
        assert_ne!(after.colours, cloud().colours);
        assert_eq!(after.points, cloud().points);
        let colour = CloudColour { drop: 1.0, ..CloudColour::default() };
        let after = moved(&Augment3d { colour, ..Augment3d::none() }, 1);
        assert!(after.colours.iter().flatten().all(|c| *c == 0.5));
    }

    #[test]
    fn an_empty_cloud_is_no_trouble() {
        let mut empty = Cloud::default();
        let colour = CloudColour { auto_contrast: 1.0, shift: 0.1, noise: 0.1, drop: 0.0 };
        let augment = Augment3d { jitter_m: 0.1, colour, ..Augment3d::default() };
        augment.apply(&mut empty, &mut stream(1, Purpose::Cloud, 0));
        assert!(empty.points.is_empty());
    }
}
