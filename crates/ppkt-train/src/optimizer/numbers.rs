//! What an update multiplies by, worked out once for all values of a parameter.

use super::config::OptimizerConfig;

/// What SGD multiplies by.
pub(crate) struct SgdNumbers {
    pub(crate) lr: f32,
    pub(crate) weight_decay: f32,
    pub(crate) momentum: f32,
    /// Share of the gradient that the momentum takes up.
    pub(crate) keep: f32,
    pub(crate) nesterov: bool,
}

/// What AdamW multiplies by.
pub(crate) struct AdamwNumbers {
    pub(crate) step_size: f32,
    /// What is left of a weight.
    pub(crate) decay: f32,
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    /// Root of the second moment's correction.
    pub(crate) root2: f32,
    pub(crate) eps: f32,
}

/// For update number `updates`, from 1.
pub(crate) fn sgd(c: &OptimizerConfig, lr: f64, updates: u64) -> SgdNumbers {
    SgdNumbers {
        lr: lr as f32,
        weight_decay: c.weight_decay as f32,
        momentum: c.momentum as f32,
        keep: if updates == 1 || c.momentum == 0.0 { 1.0 } else { (1.0 - c.dampening) as f32 },
        nesterov: c.nesterov,
    }
}

/// For update number `updates`, from 1.
pub(crate) fn adamw(c: &OptimizerConfig, lr: f64, updates: u64) -> AdamwNumbers {
    let [b1, b2] = c.betas;
    let t = updates.min(i32::MAX as u64) as i32;
    AdamwNumbers {
        step_size: (lr / (1.0 - b1.powi(t))) as f32,
        decay: (1.0 - lr * c.weight_decay) as f32,
        beta1: b1 as f32,
        beta2: b2 as f32,
        root2: (1.0 - b2.powi(t)).sqrt() as f32,
        eps: c.eps as f32,
    }
}
