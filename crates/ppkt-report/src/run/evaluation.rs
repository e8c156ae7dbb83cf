//! `eval.json`: how well classes are told apart.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files;
use crate::error::{ReportError, Result};

/// How well the points of held-out frames are told apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// `segmentation`.
    pub task: String,
    /// Which part of the data.
    #[serde(default)]
    pub split: String,
    /// Frames that were looked at.
    #[serde(default)]
    pub frames: u64,
    /// Points with a label in them.
    #[serde(default)]
    pub points: u64,
    /// Mean over classes of intersection over union, 0 to 1.
    pub miou: Option<f64>,
    /// Mean over classes of accuracy, 0 to 1.
    pub macc: Option<f64>,
    /// Share of points that are right, 0 to 1.
    pub accuracy: Option<f64>,
    /// Each class; "unlabelled" is not among them.
    pub classes: Vec<ClassScore>,
    /// Points by true class (row) and predicted class (column).
    #[serde(default)]
    pub confusion: Vec<Vec<u64>>,
}

/// How well one class is told from the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Its name.
    pub name: String,
    /// Its display colour, sRGB.
    pub colour: [u8; 3],
    /// Intersection over union, 0 to 1; none if the class occurs neither in truth nor in prediction.
    pub iou: Option<f64>,
    /// Share of its points that are right, 0 to 1.
    pub accuracy: Option<f64>,
    /// Points that have it as their true class.
    #[serde(default)]
    pub points: u64,
}

impl Evaluation {
    pub(crate) fn read_if_there(path: &Path) -> Result<Option<Self>> {
        const WHAT: &str = "evaluation";
        let Some(read) = files::json::<Self>(path, WHAT)? else { return Ok(None) };
        match read.problem() {
            Some(problem) => Err(ReportError::damaged(WHAT, path, problem)),
            None => Ok(Some(read)),
        }
    }

    fn problem(&self) -> Option<String> {
        let shares = [self.miou, self.macc, self.accuracy];
        let of_classes = self.classes.iter().flat_map(|c| [c.iou, c.accuracy]);
        if let Some(wrong) = shares.into_iter().chain(of_classes).flatten().find(|s| !(0.0..=1.0).contains(s))
        {
            return Some(format!("{wrong} is no share of 0 to 1"));
        }
        let n = self.classes.len();
        let square = self.confusion.is_empty()
            || self.confusion.len() == n && self.confusion.iter().all(|row| row.len() == n);
        (!square)
            .then(|| format!("the confusion matrix does not have one row and column for each of {n} classes"))
    }
}
