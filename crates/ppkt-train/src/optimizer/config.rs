//! Which optimiser, and its settings.

use serde::{Deserialize, Serialize};

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum, as in PyTorch.
    Sgd,
    /// AdamW (arXiv 1711.05101): weight decay apart from the gradient.
    Adamw,
}

/// The optimiser of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// sgd or adamw.
    pub kind: OptimizerKind,
    /// Peak learning rate; the schedule multiplies it.
    pub lr: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Share of each new gradient that SGD's momentum leaves out (SLidR and PointContrast use 0.1).
    pub dampening: f64,
    /// Nesterov momentum for SGD; needs dampening 0.
    pub nesterov: bool,
    /// Weight decay: added to the gradient by SGD, applied to the weight by AdamW. Applies to every parameter.
    pub weight_decay: f64,
    /// AdamW's decay rates of the two moments.
    pub betas: [f64; 2],
    /// AdamW's addend to the root of the second moment.
    pub eps: f64,
    /// Gradients are scaled down to this Euclidean norm over all parameters; 0 switches clipping off.
    pub clip_norm: f64,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: u32,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Sgd,
            lr: 0.5,
            momentum: 0.9,
            dampening: 0.1,
            nesterov: false,
            weight_decay: 1e-4,
            betas: [0.9, 0.999],
            eps: 1e-8,
            clip_norm: 0.0,
            accumulate: 1,
        }
    }
}

impl OptimizerConfig {
    /// Explains what is wrong with these values, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Some(format!("optimizer.lr is {}; it must be above 0", self.lr));
        }
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Some("optimizer.nesterov needs a momentum above 0 and a dampening of 0".into());
        }
        let shares = [self.momentum, self.dampening, self.betas[0], self.betas[1]];
        if shares.iter().any(|s| !(0.0..1.0).contains(s)) {
            return Some("optimizer.momentum, dampening and betas must lie from 0 to below 1".into());
        }
        if !(self.weight_decay >= 0.0 && self.eps > 0.0 && self.clip_norm >= 0.0) {
            return Some(
                "optimizer.weight_decay and clip_norm must not be negative, eps must be above 0".into(),
            );
        }
        if self.accumulate == 0 {
            return Some("optimizer.accumulate is 0; it must be at least 1".into());
        }
        None
    }
}
