//! What a comparison found: the file `results.json`.

use serde::{Deserialize, Serialize};

use super::config::ComparisonConfig;
use super::statistics::{PairedDifference, deviation, mean};
use crate::segmentation::Scores;

/// What a training on labels begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Random weights.
    Scratch,
    /// Pretrained weights.
    Pretrained,
}

impl Side {
    /// In the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Scratch, Self::Pretrained];

    /// `scratch` or `pretrained`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Pretrained => "pretrained",
        }
    }
}

/// What tells one training on labels from the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Training {
    pub(super) share: f64,
    pub(super) side: Side,
    pub(super) lr: f64,
    pub(super) seed: u64,
}

impl Training {
    /// Its folder, within that of the comparison.
    pub(super) fn folder(self) -> String {
        let Self { share, side, lr, seed } = self;
        format!("runs/share-{share}/{}/lr-{lr}/seed-{seed}", side.name())
    }
}

/// How one training on labels came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRun {
    /// Share of the labels.
    pub share: f64,
    /// Its seed.
    pub seed: u64,
    /// What it began with.
    pub side: Side,
    /// Its learning rate.
    pub lr: f64,
    /// Mean intersection over union on the test frames, 0 to 1.
    pub miou: f64,
    /// Mean accuracy of the classes, 0 to 1.
    pub macc: f64,
    /// Share of points that are right.
    pub accuracy: f64,
    /// Intersection over union of each class; none for a class that neither truth nor prediction has.
    pub iou: Vec<Option<f64>>,
    /// Its folder, within that of the comparison.
    pub folder: String,
}

impl ComparisonRun {
    pub(super) fn new(training: Training, scores: &Scores) -> Self {
        let Training { share, side, lr, seed } = training;
        Self {
            share,
            seed,
            side,
            lr,
            miou: scores.miou,
            macc: scores.macc,
            accuracy: scores.accuracy,
            iou: scores.classes.iter().map(|c| c.iou).collect(),
            folder: training.folder(),
        }
    }
}

/// A learning rate that was tried with the first seed, and how it did on the frames kept back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Share of the labels.
    pub share: f64,
    /// What the run began with.
    pub side: Side,
    /// The learning rate.
    pub lr: f64,
    /// Mean intersection over union on the frames kept back.
    pub validation_miou: f64,
    /// Whether it was the best of its share and side.
    pub chosen: bool,
}

/// The runs of one side at one share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideScores {
    /// The side.
    pub side: Side,
    /// Mean over the seeds.
    pub mean: f64,
    /// Standard deviation over the seeds (n − 1).
    pub std: Option<f64>,
    /// Number of seeds.
    pub n: usize,
}

/// A share in percent, as people write it: rounded, because 0.07 × 100 is not 7.
pub(crate) fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// The runs of one share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// Share of the labels.
    pub share: f64,
    /// Both sides, as far as there are runs.
    pub sides: Vec<SideScores>,
    /// Pretrained less scratch, seed by seed.
    pub difference: Option<PairedDifference>,
}

impl ComparisonRow {
    /// Share of the labels in percent, as people write it.
    pub fn percent(&self) -> f64 {
        percent(self.share)
    }
}

/// A comparison: the file `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `segmentation`.
    pub task: String,
    /// `miou`: what the table shows.
    pub metric: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The configuration.
    pub settings: ComparisonConfig,
    /// Processor, number of its cores, vector kernels.
    pub machine: String,
    /// Day on which it was finished, UTC.
    pub date: String,
    /// The command that repeats it.
    pub command: String,
    /// Learning rates that were tried.
    pub choices: Vec<Choice>,
    /// Every run with the chosen rate.
    pub runs: Vec<ComparisonRun>,
    /// The runs by share.
    pub table: Vec<ComparisonRow>,
}

/// The rows of the table, by share in the order of `shares`; shares without a run are left out.
pub(super) fn table(shares: &[f64], runs: &[ComparisonRun]) -> Vec<ComparisonRow> {
    let of = |share: f64, side: Side| -> Vec<(u64, f64)> {
        runs.iter().filter(|r| r.share == share && r.side == side).map(|r| (r.seed, r.miou)).collect()
    };
    let row = |&share: &f64| {
        let sides: Vec<SideScores> = Side::BOTH
            .into_iter()
            .filter_map(|side| {
                let values: Vec<f64> = of(share, side).into_iter().map(|(_, miou)| miou).collect();
                Some(SideScores { side, mean: mean(&values)?, std: deviation(&values), n: values.len() })
            })
            .collect();
        let scratch = of(share, Side::Scratch);
        let differences: Vec<f64> = of(share, Side::Pretrained)
            .into_iter()
            .filter_map(|(seed, miou)| Some(miou - scratch.iter().find(|(s, _)| *s == seed)?.1))
            .collect();
        let difference = PairedDifference::new(Side::Pretrained.name(), Side::Scratch.name(), &differences);
        (!sides.is_empty()).then_some(ComparisonRow { share, sides, difference })
    };
    shares.iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(share: f64, seed: u64, side: Side, miou: f64) -> ComparisonRun {
        ComparisonRun {
            share,
            seed,
            side,
            lr: 0.1,
            miou,
            macc: 0.0,
            accuracy: 0.0,
            iou: vec![],
            folder: String::new(),
        }
    }

    #[test]
    fn differences_are_taken_seed_by_seed() {
        let runs = [
            run(0.05, 1, Side::Scratch, 0.20),
            run(0.05, 2, Side::Scratch, 0.40),
            run(0.05, 2, Side::Pretrained, 0.45),
            run(0.05, 1, Side::Pretrained, 0.30),
            run(0.1, 1, Side::Scratch, 0.50),
        ];
        let table = table(&[0.01, 0.05, 0.1], &runs);
        assert_eq!(table.len(), 2, "no row for a share without runs");
        let first = table[0].difference.as_ref().unwrap();
        assert!((first.mean - 0.075).abs() < 1e-12 && first.n == 2);
        assert!(first.high.unwrap() - first.mean < 0.4, "as pairs they differ by little");
        assert!((table[0].sides[0].mean - 0.3).abs() < 1e-12 && table[0].sides[0].n == 2);
        assert_eq!((table[1].sides.len(), &table[1].difference), (1, &None));
    }
}
