//! The choice of an objective by configuration.

use ppkt_objective::{CentredCosine, Cosine, InfoNce, L2, Objective};
use ppkt_teacher::AlignCorners;
use serde::{Deserialize, Serialize};

/// Which objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveKind {
    /// Contrastive: a point has to find its own pixel among those of all pairs (PPKT, arXiv 2104.04687).
    Ppnce,
    /// Mean Euclidean distance of the normalised embeddings (ScaLR, arXiv 2310.17504).
    L2,
    /// One minus the cosine (OpenScene, arXiv 2211.15654).
    Cosine,
    /// One minus the cosine after taking off each side's mean over the batch.
    CentredCosine,
}

/// What pulls pixels and points together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// ppnce, l2, cosine or centred-cosine.
    pub kind: ObjectiveKind,
    /// Channels of the common embedding space.
    pub dimensions: usize,
    /// Temperature of ppnce.
    pub temperature: f64,
    /// Whether pixels also have to find their points (ppnce); the paper has points look for pixels only.
    pub symmetric: bool,
    /// Pairs drawn without replacement from all pairs of a batch, for each step; fewer are used if there are fewer.
    pub pairs: usize,
    /// Whether the upsampling projection puts the corners of map and image on each other (SLidR does).
    pub align_corners: bool,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self {
            kind: ObjectiveKind::Ppnce,
            dimensions: 128,
            temperature: 0.04,
            symmetric: false,
            pairs: 4096,
            align_corners: true,
        }
    }
}

impl ObjectiveConfig {
    /// Explains what is wrong with these values, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.dimensions == 0 || self.pairs < 2 {
            return Some("objective.dimensions must be at least 1 and objective.pairs at least 2".into());
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Some(format!("objective.temperature is {}; it must be above 0", self.temperature));
        }
        None
    }

    /// Makes the objective.
    pub fn build(&self) -> Box<dyn Objective> {
        match self.kind {
            ObjectiveKind::Ppnce => {
                Box::new(InfoNce { temperature: self.temperature, symmetric: self.symmetric })
            }
            ObjectiveKind::L2 => Box::new(L2),
            ObjectiveKind::Cosine => Box::new(Cosine),
            ObjectiveKind::CentredCosine => Box::new(CentredCosine),
        }
    }

    /// The convention of the upsampling.
    pub fn corners(&self) -> AlignCorners {
        if self.align_corners { AlignCorners::True } else { AlignCorners::False }
    }
}
