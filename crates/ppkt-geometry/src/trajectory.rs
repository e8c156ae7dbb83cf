//! Poses over time.

use std::fmt;

use crate::{PoseError, Rigid3};

/// Time-stamped poses, and the pose at any time between them.
///
/// A sensor rarely fires exactly when a pose was measured. [`Self::at`] interpolates (see [`Rigid3::interpolate`]),
/// which holds for fractions of a second of smooth motion; a gap longer than `max_gap_s` is an error and not a guess.
pub struct Trajectory<Dst, Src> {
    // Strictly ascending in time.
    poses: Vec<(f64, Rigid3<Dst, Src>)>,
    max_gap_s: f64,
}

impl<Dst, Src> Trajectory<Dst, Src> {
    /// From stamps in seconds with their poses, in any order; `max_gap_s` may be infinite.
    ///
    /// # Errors
    /// [`PoseError::NoPoses`], [`PoseError::BadTime`], [`PoseError::NotFinite`], or [`PoseError::SameTime`] for two
    /// poses at one time.
    pub fn new(mut poses: Vec<(f64, Rigid3<Dst, Src>)>, max_gap_s: f64) -> Result<Self, PoseError> {
        if poses.is_empty() {
            return Err(PoseError::NoPoses);
        }
        if max_gap_s.is_nan() {
            return Err(PoseError::BadTime { time_s: max_gap_s });
        }
        for (time_s, pose) in &poses {
            if !time_s.is_finite() {
                return Err(PoseError::BadTime { time_s: *time_s });
            }
            if !pose.is_finite() {
                return Err(PoseError::NotFinite);
            }
        }
        poses.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(pair) = poses.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PoseError::SameTime { time_s: pair[0].0 });
        }
        Ok(Self { poses, max_gap_s })
    }

    /// The pose at a time, seconds.
    ///
    /// # Errors
    /// [`PoseError::OutsideTrajectory`] before the first and after the last pose, [`PoseError::Gap`] where the poses
    /// around are further apart than allowed, [`PoseError::BadTime`].
    pub fn at(&self, time_s: f64) -> Result<Rigid3<Dst, Src>, PoseError> {
        if !time_s.is_finite() {
            return Err(PoseError::BadTime { time_s });
        }
        let after = self.poses.partition_point(|(t, _)| *t < time_s);
        match self.poses.get(after) {
            // A measured pose needs no neighbour.
            Some((t, pose)) if *t == time_s => Ok(*pose),
            Some((t, pose)) if after > 0 => {
                let (t_before, before) = &self.poses[after - 1];
                let gap_s = t - t_before;
                if gap_s > self.max_gap_s {
                    return Err(PoseError::Gap { time_s, gap_s, max_gap_s: self.max_gap_s });
                }
                Ok(before.interpolate(pose, (time_s - t_before) / gap_s))
            }
            _ => {
                let (first_s, last_s) = self.range_s();
                Err(PoseError::OutsideTrajectory { time_s, first_s, last_s })
            }
        }
    }

    /// The measured pose nearest in time, with its stamp, if it is at most `within_s` away.
    pub fn nearest(&self, time_s: f64, within_s: f64) -> Option<(f64, Rigid3<Dst, Src>)> {
        let after = self.poses.partition_point(|(t, _)| *t < time_s);
        let around = &self.poses[after.saturating_sub(1)..(after + 1).min(self.poses.len())];
        let nearest = around.iter().min_by(|a, b| (a.0 - time_s).abs().total_cmp(&(b.0 - time_s).abs()))?;
        ((nearest.0 - time_s).abs() <= within_s).then_some(*nearest)
    }

    /// First and last time stamp, seconds.
    pub fn range_s(&self) -> (f64, f64) {
        (self.poses[0].0, self.poses[self.poses.len() - 1].0)
    }

    /// All stamps with their poses, ascending in time.
    pub fn poses(&self) -> &[(f64, Rigid3<Dst, Src>)] {
        &self.poses
    }
}

impl<Dst, Src> Clone for Trajectory<Dst, Src> {
    fn clone(&self) -> Self {
        Self { poses: self.poses.clone(), max_gap_s: self.max_gap_s }
    }
}

impl<Dst, Src> fmt::Debug for Trajectory<Dst, Src> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trajectory").field("poses", &self.poses).field("max_gap_s", &self.max_gap_s).finish()
    }
}
