//! Several datasets as one.

use std::fmt;
use std::str::FromStr;

use crate::fingerprint::Fingerprint;
use crate::{Classes, DataError, DataUri, Dataset, Scene, Split};

/// One data URI, or several with ` + ` between them: `nyuv2:DIR + sevenscenes:DIR`.
///
/// Their frames follow each other. Where there are several, names of frames and scenes begin with the number of their
/// dataset, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataUris(Vec<DataUri>);

const BETWEEN: &str = " + ";

impl DataUris {
    /// Opens the same part of each.
    ///
    /// # Errors
    /// Those of [`DataUri::open`].
    pub fn open(&self, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        let mut all = self.0.iter().map(|uri| uri.open(split)).collect::<Result<Vec<_>, _>>()?;
        match all.len() {
            1 => Ok(all.remove(0)),
            _ => Ok(Box::new(Joined::new(all))),
        }
    }
}

impl FromStr for DataUris {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        text.split(BETWEEN).map(|uri| uri.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for DataUris {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(DataUri::to_string).collect();
        f.write_str(&texts.join(BETWEEN))
    }
}

/// The frames of several datasets, one after the other.
struct Joined {
    parts: Vec<Box<dyn Dataset>>,
    name: String,
    notes: Vec<String>,
    /// Those of every part, if they are the same.
    classes: Option<Classes>,
}

impl Joined {
    fn new(parts: Vec<Box<dyn Dataset>>) -> Self {
        let names: Vec<&str> = parts.iter().map(|p| p.name()).collect();
        let notes = parts.iter().flat_map(|p| p.notes().iter().map(|n| format!("{}: {n}", p.name())));
        let first = parts.first().and_then(|p| p.classes());
        let alike = parts.iter().all(|p| p.classes() == first);
        let (name, notes) = (names.join(BETWEEN), notes.collect());
        let classes = first.filter(|_| alike).cloned();
        Self { parts, name, notes, classes }
    }

    /// The dataset of a frame: its number from 0, and the number of the frame within it.
    fn place(&self, index: usize) -> Option<(usize, usize)> {
        let mut rest = index;
        for (number, part) in self.parts.iter().enumerate() {
            match rest.checked_sub(part.len()) {
                None => return Some((number, rest)),
                Some(further) => rest = further,
            }
        }
        None
    }

    fn named(&self, index: usize, name: impl Fn(&dyn Dataset, usize) -> String) -> String {
        match self.place(index) {
            Some((part, at)) => format!("{}/{}", part + 1, name(&*self.parts[part], at)),
            None => format!("frame {index} of {}", self.len()),
        }
    }
}

impl Dataset for Joined {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|p| p.len()).sum()
    }

    fn frame_name(&self, index: usize) -> String {
        self.named(index, |part, at| part.frame_name(at))
    }

    fn scene_name(&self, index: usize) -> String {
        self.named(index, |part, at| part.scene_name(at))
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        let beyond = || DataError::OutOfRange { index, len: self.len(), dataset: self.name.clone() };
        let (part, at) = self.place(index).ok_or_else(beyond)?;
        let mut scene = self.parts[part].sample(at)?;
        scene.name = format!("{}/{}", part + 1, scene.name);
        if self.classes.is_none() {
            // Numbers of different lists of classes mean different things.
            scene.cloud.classes = None;
        }
        Ok(scene)
    }

    fn has_photographs(&self) -> bool {
        self.parts.iter().all(|p| p.has_photographs())
    }

    fn classes(&self) -> Option<&Classes> {
        self.classes.as_ref()
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        let mut all = Fingerprint::default();
        for part in &self.parts {
            all.add_plain(part.fingerprint()?);
        }
        Ok(all.finish())
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "synthetic:rooms?scenes=3&width=32&height=24&holdout=0";

    fn joined(text: &str) -> Box<dyn Dataset> {
        text.parse::<DataUris>().unwrap().open(Split::All).unwrap()
    }

    #[test]
    fn frames_follow_each_other_under_names_of_their_own() {
        let one: DataUri = SMALL.parse().unwrap();
        let (one, two) = (one.open(Split::All).unwrap(), joined(&format!("{SMALL} + {SMALL}&seed=2")));
        assert_eq!((two.len(), two.frame_name(2)), (6, format!("1/{}", one.frame_name(2))));
        assert_eq!(two.sample(1).unwrap().cloud.points, one.sample(1).unwrap().cloud.points);
        let names: std::collections::BTreeSet<String> = (0..6).map(|i| two.frame_name(i)).collect();
        assert_eq!(names.len(), 6);
        assert_eq!(two.sample(4).unwrap().name, two.frame_name(4));
        assert!(two.classes().is_some() && two.sample(0).unwrap().cloud.classes.is_some());
        assert!(matches!(two.sample(6), Err(DataError::OutOfRange { index: 6, len: 6, .. })));
        assert_ne!(two.fingerprint().unwrap(), one.fingerprint().unwrap());
    }

    #[test]
    fn one_uri_is_that_dataset() {
        assert_eq!(
            joined(SMALL).frame_name(0),
            SMALL.parse::<DataUri>().unwrap().open(Split::All).unwrap().frame_name(0)
        );
    }

    #[test]
    fn the_text_repeats_itself_and_each_part_is_checked() {
        let text = format!("{SMALL} + synthetic:rooms");
        let uris: DataUris = text.parse().unwrap();
        assert_eq!(uris.to_string().parse::<DataUris>().unwrap(), uris);
        assert!("synthetic:rooms + nonsense".parse::<DataUris>().is_err());
        assert!("synthetic:rooms + ".parse::<DataUris>().is_err());
    }
}
