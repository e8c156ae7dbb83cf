//! The whole configuration of a comparison.

use serde::{Deserialize, Serialize};

use super::results::Side;
use crate::config::PretrainConfig;
use crate::error::{Result, TrainError};
use crate::recipe::Recipe;
use crate::segmentation::FinetuneConfig;

/// A comparison, complete: what is written into its folder repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComparisonConfig {
    /// Shares of the labels, each above 0 and up to 1.
    pub shares: Vec<f64>,
    /// Seeds of the runs at each share. A seed decides for both sides alike which labels are used, the head's weights,
    /// the order of frames and their augmentation, so that runs are compared in pairs.
    pub seeds: Vec<u64>,
    /// Learning rates that are tried from random weights.
    pub scratch_lrs: Vec<f64>,
    /// Learning rates that are tried from pretrained weights.
    pub pretrained_lrs: Vec<f64>,
    /// The pretraining, where `finetune.from` names no weights: it is the first part of the comparison, and decides the
    /// network, the voxels and the features of both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<PretrainConfig>,
    /// The training on labels; `seed`, `labels.share` and `optimizer.lr` are those of each run, and `from` is left out
    /// for the runs from random weights.
    pub finetune: FinetuneConfig,
}

impl Default for ComparisonConfig {
    fn default() -> Self {
        Self {
            shares: vec![0.01, 0.05, 0.1],
            seeds: vec![1, 2, 3],
            scratch_lrs: vec![0.01, 0.03, 0.1],
            pretrained_lrs: vec![0.01, 0.03, 0.1],
            pretrain: None,
            finetune: FinetuneConfig::default(),
        }
    }
}

impl Recipe for ComparisonConfig {
    const BUILTIN: &'static [(&'static str, &'static str)] = &[
        ("labels-rooms", include_str!("../../recipes/labels-rooms.toml")),
        ("labels-rgbd", include_str!("../../recipes/labels-rgbd.toml")),
        ("labels-demo", include_str!("../../recipes/labels-demo.toml")),
    ];
}

impl ComparisonConfig {
    /// The same with the network, voxels and features of the pretraining on both sides, where it is part of it.
    pub fn settled(mut self) -> Self {
        if let Some(pretrain) = &self.pretrain {
            let (student, batch) = (&mut self.finetune.student, &mut self.finetune.batch);
            student.arch = pretrain.student.arch;
            student.first_kernel = pretrain.student.first_kernel;
            batch.voxel_size_m = pretrain.batch.voxel_size_m;
            batch.features.clone_from(&pretrain.batch.features);
        }
        self
    }

    /// Learning rates of a side.
    pub(super) fn lrs(&self, side: Side) -> &[f64] {
        match side {
            Side::Scratch => &self.scratch_lrs,
            Side::Pretrained => &self.pretrained_lrs,
        }
    }

    /// How many trainings on labels it takes.
    pub(super) fn n_runs(&self) -> usize {
        let of_side = |side| self.lrs(side).len() + self.seeds.len() - 1;
        self.shares.len() * Side::BOTH.map(of_side).iter().sum::<usize>()
    }

    /// Checks what can be checked without opening anything.
    ///
    /// # Errors
    /// [`TrainError::Config`] that names the key and says what it may be.
    pub fn check(&self) -> Result<()> {
        if let Some(problem) = self.own_problem() {
            return Err(TrainError::Config(problem));
        }
        if let Some(pretrain) = &self.pretrain {
            pretrain.check()?;
        }
        self.finetune.check()
    }

    fn own_problem(&self) -> Option<String> {
        let fine =
            |lists: &[f64], upto: f64| !lists.is_empty() && lists.iter().all(|&v| v > 0.0 && v <= upto);
        let repeated = |list: &[f64]| list.iter().enumerate().any(|(i, v)| list[..i].contains(v));
        if !fine(&self.shares, 1.0) || repeated(&self.shares) {
            return Some(
                "shares must be different numbers above 0 and at most 1, such as [0.01, 0.05]".into(),
            );
        }
        if self.seeds.is_empty() || self.seeds.iter().enumerate().any(|(i, s)| self.seeds[..i].contains(s)) {
            return Some("seeds must be different whole numbers, at least one; intervals need two".into());
        }
        for (side, key) in [(Side::Scratch, "scratch_lrs"), (Side::Pretrained, "pretrained_lrs")] {
            let lrs = self.lrs(side);
            if !fine(lrs, f64::MAX) || repeated(lrs) {
                return Some(format!("{key} must be different numbers above 0, at least one"));
            }
            if lrs.len() > 1 && self.finetune.data.validation_share == 0.0 {
                return Some(format!(
                    "{key} has several learning rates and nothing to choose by: set finetune.data.validation_share, \
                     such as 0.1, or name one rate"
                ));
            }
        }
        match (&self.pretrain, self.finetune.from.is_empty()) {
            (Some(_), false) => {
                Some("there are weights (finetune.from) and a [pretrain] section: leave one of them out".into())
            }
            (None, true) => Some(
                "nothing is compared with random weights: name a pretrained run with --from, or write a [pretrain] \
                 section"
                    .into(),
            ),
            _ => None,
        }
    }
}
