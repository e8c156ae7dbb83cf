//! What a dataset is: a numbered list of scenes.

use std::path::Path;

use crate::{DataError, Scene};

/// Frames or scans by number. Implement this for your own data, or describe it in a `frames:` folder.
///
/// `sample` is a pure function of `index`, and may be called from many threads at once.
pub trait Dataset: Send + Sync {
    /// The dataset, as in the URI it was opened from.
    fn name(&self) -> &str;

    /// How many scenes there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a scene, as a user finds it on disk; known without reading it.
    fn frame_name(&self, index: usize) -> String;

    /// The room, sequence or scan that a frame was taken in: frames of one scene show the same things. Every frame is
    /// a scene of its own where the dataset does not tell.
    fn scene_name(&self, index: usize) -> String {
        self.frame_name(index)
    }

    /// Reads (or makes) a scene.
    ///
    /// # Errors
    /// If the frame is damaged or incomplete, or `index` is not below [`Self::len`].
    fn sample(&self, index: usize) -> Result<Scene, DataError>;

    /// Whether scenes come with photographs, which pretraining cannot do without.
    fn has_photographs(&self) -> bool {
        true
    }

    /// The classes of the labels, `None` without labels.
    fn classes(&self) -> Option<&Classes> {
        None
    }

    /// Hexadecimal digest of what the dataset is: other frames, options, calibration or file sizes give another.
    ///
    /// # Errors
    /// If a file's size cannot be asked for.
    fn fingerprint(&self) -> Result<String, DataError>;

    /// What a user should know about how the data was read (assumptions, frames left out), one sentence each.
    fn notes(&self) -> &[String] {
        &[]
    }
}

/// Which part of a dataset: every dataset has a held-out part that its own documentation describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    #[default]
    Train,
    /// Held out.
    Validation,
    /// Both.
    All,
}

impl Split {
    /// `train`, `validation` or `all`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::All => "all",
        }
    }

    /// Numbers of the frames that belong to the part, by whether each is held out.
    ///
    /// # Errors
    /// [`DataError::EmptySplit`], with the remedy of the layout, where there are none.
    pub(crate) fn choose(
        self,
        held_out: impl Iterator<Item = bool>,
        remedy: &'static str,
        folder: &Path,
    ) -> Result<Vec<usize>, DataError> {
        let wanted = |held_out: bool| match self {
            Self::Train => !held_out,
            Self::Validation => held_out,
            Self::All => true,
        };
        let chosen: Vec<usize> = held_out.enumerate().filter(|(_, h)| wanted(*h)).map(|(i, _)| i).collect();
        if chosen.is_empty() {
            let (split, path) = (self.name(), folder.to_owned());
            return Err(DataError::EmptySplit { split, remedy: remedy.into(), path });
        }
        Ok(chosen)
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Split {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        [Self::Train, Self::Validation, Self::All].into_iter().find(|s| s.name() == text).ok_or_else(|| {
            DataError::BadSetting {
                setting: "split".into(),
                value: format!("{text:?}"),
                expected: "train, validation or all".into(),
            }
        })
    }
}

/// Names and colours of the classes of a dataset. Class 0 is always "unlabelled", and is ignored by every loss.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Classes {
    names: Vec<String>,
    colours: Vec<[u8; 3]>,
}

impl Classes {
    /// From the names of classes 1, 2, …, and a colour for each; class 0 is added (black).
    ///
    /// # Panics
    /// If the two lists differ in length.
    pub fn new(names: Vec<String>, colours: Vec<[u8; 3]>) -> Self {
        assert_eq!(names.len(), colours.len(), "one colour for each class");
        let names = std::iter::once("unlabelled".to_owned()).chain(names).collect();
        let colours = std::iter::once([0; 3]).chain(colours).collect();
        Self { names, colours }
    }

    /// From names alone; colours are spread over the hues, light and dark in turn.
    pub fn with_spread_colours(names: Vec<String>) -> Self {
        let colours = (0..names.len()).map(spread_colour).collect();
        Self::new(names, colours)
    }

    /// Names, entry 0 being "unlabelled".
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Colours (sRGB), entry 0 being black.
    pub fn colours(&self) -> &[[u8; 3]] {
        &self.colours
    }

    /// How many entries there are, "unlabelled" included: every class number is below this.
    pub fn len_with_unlabelled(&self) -> usize {
        self.names.len()
    }
}

/// The `i`-th of an endless list of colours that differ: hues by the golden ratio, three levels of lightness.
fn spread_colour(i: usize) -> [u8; 3] {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let hue = (i as f64 * GOLDEN).fract() * 6.0;
    let (value, saturation) = [(0.95, 0.65), (0.70, 0.80), (0.85, 0.40)][i % 3];
    let channel = |shift: f64| {
        let k = (shift + hue) % 6.0;
        let level = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (level * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_zero_is_unlabelled() {
        let classes = Classes::with_spread_colours(vec!["wall".into(), "floor".into()]);
        assert_eq!(classes.names(), ["unlabelled", "wall", "floor"]);
        assert_eq!(classes.colours()[0], [0, 0, 0]);
        assert_eq!(classes.len_with_unlabelled(), 3);
    }

    #[test]
    fn spread_colours_differ() {
        let classes = Classes::with_spread_colours((0..41).map(|i| i.to_string()).collect());
        let mut colours = classes.colours().to_vec();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 42);
    }

    #[test]
    fn splits_are_read_by_name() {
        for split in [Split::Train, Split::Validation, Split::All] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
        }
        assert!("test".parse::<Split>().unwrap_err().is_configuration());
    }
}
