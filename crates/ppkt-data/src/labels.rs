//! How much of a dataset's labels a run may use, and which.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, stream, subset};
use crate::{DataError, Dataset, setting};

/// What a share of labels is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelUnit {
    /// Whole scenes: all frames of a scene are labelled, or none (ScanNet's "limited reconstructions").
    Scene,
    /// Whole frames.
    #[default]
    Frame,
    /// Points: of every frame the same share of the labelled points.
    Point,
}

/// How much of the labels is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelConfig {
    /// Share of the labels, above 0 and up to 1. A smaller share lies within a larger one of the same seed.
    pub share: f64,
    /// What is counted: scene, frame or point.
    pub by: LabelUnit,
    /// At most this many labelled points of each frame ("limited annotations"); 0 for all.
    pub points_per_frame: usize,
}

impl Default for LabelConfig {
    fn default() -> Self {
        Self { share: 1.0, by: LabelUnit::Frame, points_per_frame: 0 }
    }
}

/// A frame that may be learnt from, as it is listed with a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledFrame {
    /// Its name.
    pub frame: String,
    /// How many points carry a label that is used.
    pub labelled: usize,
    /// Which points, as numbers of the frame's own points (after the cut by distance); empty if all labelled ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<u32>,
}

impl LabelConfig {
    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// [`DataError::BadSetting`].
    pub fn check(&self) -> Result<(), DataError> {
        let fine = self.share > 0.0 && self.share <= 1.0;
        setting::require(fine, "labels.share", &self.share, "above 0 and at most 1 (0.05 for 5 %)")
    }

    /// The numbers of the frames whose labels are used, ascending; at least one.
    ///
    /// Scenes (or frames) are drawn by the seed, as many as the share of their number comes to, rounded to the
    /// nearest.
    pub fn frames(&self, dataset: &dyn Dataset, seed: u64) -> Vec<usize> {
        if self.by == LabelUnit::Point || self.share >= 1.0 {
            return (0..dataset.len()).collect();
        }
        let mut units = units_of(dataset, self.by);
        let wanted = ((self.share * units.len() as f64).round() as usize).max(1);
        shuffle(&mut units, stream(seed, Purpose::Labels, 0));
        let mut frames: Vec<usize> = units.into_iter().take(wanted).flatten().collect();
        frames.sort_unstable();
        frames
    }

    /// The points of one frame whose labels are used, ascending; `None` for all that have one.
    pub(crate) fn points(&self, classes: &[u16], frame: usize, seed: u64) -> Option<Vec<u32>> {
        let labelled: Vec<u32> = (0..classes.len() as u32).filter(|&i| classes[i as usize] != 0).collect();
        let mut wanted = match self.by {
            LabelUnit::Point if self.share < 1.0 => {
                ((self.share * labelled.len() as f64).round() as usize).max(1)
            }
            _ => labelled.len(),
        };
        if self.points_per_frame > 0 {
            wanted = wanted.min(self.points_per_frame);
        }
        if wanted >= labelled.len() {
            return None;
        }
        // Frame 0 is one further, because stream 0 is the draw of the frames.
        let mut rng = stream(seed, Purpose::Labels, frame as u64 + 1);
        Some(subset(&mut rng, labelled.len(), wanted).into_iter().map(|i| labelled[i as usize]).collect())
    }
}

/// Parts the frames of a dataset into those to train on and those that are kept back to choose settings by, both
/// ascending: whole scenes, as many as `share` of their number comes to, rounded to the nearest. The draw is always the
/// same, so that runs with different seeds are measured on the same frames; at least one scene is in each part.
///
/// # Errors
/// If the share is not from 0 to below 1, or there is only one scene.
pub fn keep_back(dataset: &dyn Dataset, share: f64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    const SETTING: &str = "data.validation_share";
    setting::require((0.0..1.0).contains(&share), SETTING, &share, "from 0 to below 1 (0.1 for 10 %)")?;
    if share == 0.0 {
        return Ok(((0..dataset.len()).collect(), Vec::new()));
    }
    let mut units = units_of(dataset, LabelUnit::Scene);
    setting::require(units.len() > 1, SETTING, &share, "0, because there is only one scene")?;
    let kept = ((share * units.len() as f64).round() as usize).clamp(1, units.len() - 1);
    shuffle(&mut units, stream(0, Purpose::KeptBack, 0));
    let mut train: Vec<usize> = units.split_off(kept).concat();
    let mut back = units.concat();
    train.sort_unstable();
    back.sort_unstable();
    Ok((train, back))
}

/// The frames of each scene (or of each frame), in the order of the dataset, so that a draw does not depend on how
/// names sort.
fn units_of(dataset: &dyn Dataset, by: LabelUnit) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut place = std::collections::HashMap::new();
    for i in 0..dataset.len() {
        let name = match by {
            LabelUnit::Scene => dataset.scene_name(i),
            LabelUnit::Frame | LabelUnit::Point => dataset.frame_name(i),
        };
        let at = *place.entry(name).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[at].push(i);
    }
    units
}

fn shuffle<T>(items: &mut [T], mut rng: impl rand::Rng) {
    for i in (1..items.len()).rev() {
        let j = (u128::from(rng.random::<u64>()) * (i as u128 + 1)) >> 64;
        items.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataUri, Split};

    fn rooms(n: usize) -> Box<dyn Dataset> {
        let uri: DataUri = format!("synthetic:rooms?scenes={n}").parse().unwrap();
        uri.open(Split::All).unwrap()
    }

    #[test]
    fn smaller_shares_lie_within_larger_ones() {
        let rooms = rooms(40);
        let of = |share, seed| LabelConfig { share, ..LabelConfig::default() }.frames(&*rooms, seed);
        let (few, more) = (of(0.1, 3), of(0.25, 3));
        assert_eq!((few.len(), more.len(), of(1.0, 3).len()), (4, 10, 40));
        assert!(few.iter().all(|f| more.contains(f)));
        assert_ne!(of(0.1, 3), of(0.1, 4));
        assert_eq!(of(0.001, 3).len(), 1, "never none");
    }

    #[test]
    fn whole_scenes_are_kept_back() {
        let uri: DataUri = "synthetic:rooms?scenes=20&views=3&holdout=0".parse().unwrap();
        let rooms = uri.open(Split::All).unwrap();
        let (train, back) = keep_back(&*rooms, 0.2).unwrap();
        assert_eq!((train.len(), back.len()), (48, 12));
        let scenes = |frames: &[usize]| -> std::collections::BTreeSet<String> {
            frames.iter().map(|&f| rooms.scene_name(f)).collect()
        };
        assert!(scenes(&train).is_disjoint(&scenes(&back)));
        assert_eq!(keep_back(&*rooms, 0.0).unwrap(), ((0..60).collect(), vec![]));
        for share in [1.0, -0.1, f64::NAN] {
            assert!(keep_back(&*rooms, share).unwrap_err().to_string().contains("validation_share"));
        }
    }

    #[test]
    fn points_are_drawn_of_the_labelled_ones() {
        let classes: Vec<u16> = (0..1000).map(|i| i % 4).collect();
        let half = LabelConfig { share: 0.5, by: LabelUnit::Point, points_per_frame: 0 };
        let drawn = half.points(&classes, 7, 1).unwrap();
        assert_eq!(drawn.len(), 375);
        assert!(drawn.iter().all(|&i| classes[i as usize] != 0));
        assert_eq!(half.points(&classes, 7, 1).unwrap(), drawn);
        assert_ne!(half.points(&classes, 8, 1).unwrap(), drawn);
        let twenty = LabelConfig { points_per_frame: 20, ..LabelConfig::default() };
        assert_eq!(twenty.points(&classes, 0, 1).unwrap().len(), 20);
        assert_eq!(LabelConfig::default().points(&classes, 0, 1), None);
    }

    #[test]
    fn a_share_of_nothing_or_more_than_all_is_refused() {
        for share in [0.0, -0.1, 1.5, f64::NAN] {
            let message = LabelConfig { share, ..LabelConfig::default() }.check().unwrap_err().to_string();
            assert!(message.contains("labels.share") && message.contains("0.05"), "{message}");
        }
    }
}
