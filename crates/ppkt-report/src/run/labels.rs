//! `results.json`: what labels are worth with and without pretraining.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files;
use crate::error::{ReportError, Result};

/// A comparison over shares of labels, sides and seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelResults {
    /// `segmentation`.
    pub task: String,
    /// What is compared: `miou`, `macc` or `accuracy`; a share of 0 to 1.
    pub metric: String,
    /// Names of the classes.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Settings of both sides.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// Where it was run.
    #[serde(default)]
    pub machine: String,
    /// When it was run.
    #[serde(default)]
    pub date: String,
    /// What repeats it.
    #[serde(default)]
    pub command: String,
    /// Each run.
    #[serde(default)]
    pub runs: Vec<LabelRun>,
    /// The runs by share of labels.
    pub table: Vec<ShareRow>,
}

/// One run of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelRun {
    /// Share of labels, above 0 and up to 1.
    pub share: f64,
    /// Its seed.
    pub seed: u64,
    /// What it began with, such as `scratch`.
    pub side: String,
    /// Its learning rate.
    pub lr: Option<f64>,
    /// Mean over classes of intersection over union, 0 to 1.
    pub miou: Option<f64>,
    /// Mean over classes of accuracy, 0 to 1.
    pub macc: Option<f64>,
    /// Share of points that are right, 0 to 1.
    pub accuracy: Option<f64>,
    /// Intersection over union of each class.
    #[serde(default)]
    pub iou: Vec<Option<f64>>,
    /// Its folder, within that of the comparison.
    #[serde(default)]
    pub folder: Option<String>,
}

/// The runs of one share of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareRow {
    /// Share of labels, above 0 and up to 1.
    pub share: f64,
    /// Mean and spread of each side.
    pub sides: Vec<SideScore>,
    /// One side less the other, seed by seed.
    pub difference: Option<Difference>,
}

/// The runs of one side at one share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideScore {
    /// Its name.
    pub side: String,
    /// Mean over the seeds, 0 to 1.
    pub mean: f64,
    /// Standard deviation over the seeds, where there are two or more.
    pub std: Option<f64>,
    /// Number of seeds.
    pub n: usize,
}

/// A paired difference with its 95 % confidence interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The side that is hoped to be better.
    pub of: String,
    /// The side it is compared to.
    pub to: String,
    /// Mean over the seeds.
    pub mean: f64,
    /// Lower end of the interval, where there are two or more seeds.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Number of seeds.
    pub n: usize,
}

const WHAT: &str = "label-efficiency results";

impl LabelResults {
    /// Reads the results of a comparison.
    ///
    /// # Errors
    /// If the file is not there or does not hold such results; the error names it.
    pub fn read(path: &Path) -> Result<Self> {
        let missing = || ReportError::Read {
            what: WHAT,
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        Self::read_if_there(path)?.ok_or_else(missing)
    }

    pub(crate) fn read_if_there(path: &Path) -> Result<Option<Self>> {
        let Some(mut read) = files::json::<Self>(path, WHAT)? else { return Ok(None) };
        if let Some(problem) = read.problem() {
            return Err(ReportError::damaged(WHAT, path, problem));
        }
        read.table.sort_by(|a, b| a.share.total_cmp(&b.share));
        Ok(Some(read))
    }

    fn problem(&self) -> Option<String> {
        for row in &self.table {
            if !(row.share > 0.0 && row.share <= 1.0) {
                return Some(format!("{} is no share of labels", row.share));
            }
            if let Some(side) = row.sides.iter().find(|s| !(0.0..=1.0).contains(&s.mean)) {
                return Some(format!("{} is no {} of 0 to 1", side.mean, self.metric));
            }
        }
        let mut shares: Vec<f64> = self.table.iter().map(|r| r.share).collect();
        shares.sort_by(f64::total_cmp);
        shares.windows(2).find(|w| w[0] == w[1]).map(|w| format!("the share {} comes twice", w[0]))
    }

    /// The run that stands for the others on a page: the last side's first one at the smallest share, with the path of
    /// its folder. `None` if there is none, or its folder lies outside the comparison's.
    pub(crate) fn shown(&self) -> Option<(&LabelRun, &Path)> {
        let (side, share) = (*self.sides().last()?, self.table.first()?.share);
        let run = self.runs.iter().find(|r| r.side == side && r.share == share)?;
        let folder = Path::new(run.folder.as_ref()?);
        let within = folder.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        within.then_some((run, folder))
    }

    /// The sides, in the order in which the table first names them.
    pub(crate) fn sides(&self) -> Vec<&str> {
        let mut sides = Vec::new();
        for side in self.table.iter().flat_map(|row| &row.sides) {
            if !sides.contains(&side.side.as_str()) {
                sides.push(side.side.as_str());
            }
        }
        sides
    }

    /// The metric's name as people write it.
    pub(crate) fn metric_name(&self) -> &str {
        match self.metric.as_str() {
            "miou" => "mIoU",
            "macc" => "mAcc",
            other => other,
        }
    }
}

impl ShareRow {
    pub(crate) fn side(&self, name: &str) -> Option<&SideScore> {
        self.sides.iter().find(|s| s.side == name)
    }
}
