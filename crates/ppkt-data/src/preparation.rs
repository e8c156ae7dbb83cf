//! How scenes become batches: the seam between the order of frames, which is one, and what a task takes from them.

use crate::batch::{Batch, BatchConfig, OnDamaged};
use crate::frame::{Draws, prepare};
use crate::{DataError, Scene};

/// A frame's place in a run: what its random numbers are drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the frame in its dataset: the same in every epoch.
    pub frame: usize,
    /// Place in the order of all epochs: another each time the frame comes.
    pub place: u64,
}

/// What a task makes of scenes. [`BatchConfig`] makes pairs of pixels and points for pretraining,
/// [`LabelledFrames`](crate::LabelledFrames) voxels with classes for training on labels.
pub trait Preparation: Clone + Send + Sync + 'static {
    /// What one frame, or several together, become.
    type Batch: Send + 'static;

    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// [`DataError::BadSetting`] with the first one.
    fn check(&self) -> Result<(), DataError>;

    /// Frames in a batch.
    fn frames_per_batch(&self) -> usize;

    /// What happens to a frame that cannot be used.
    fn on_damaged(&self) -> OnDamaged;

    /// The same sizes and features, with nothing left to chance and nothing left out.
    #[must_use]
    fn plain(&self) -> Self;

    /// A batch of one frame, numbered from zero: a pure function of its arguments.
    ///
    /// # Errors
    /// If the frame cannot be used.
    fn prepare(&self, scene: Scene, slot: Slot) -> Result<Self::Batch, DataError>;

    /// Puts frames together, in order; `skipped` names damaged frames in whose place others were taken.
    fn join(&self, step: u64, parts: Vec<Self::Batch>, skipped: Vec<String>) -> Self::Batch;
}

impl Preparation for BatchConfig {
    type Batch = Batch;

    fn check(&self) -> Result<(), DataError> {
        BatchConfig::check(self)
    }

    fn frames_per_batch(&self) -> usize {
        self.frames_per_batch
    }

    fn on_damaged(&self) -> OnDamaged {
        self.on_damaged
    }

    fn plain(&self) -> Self {
        Self { max_points: 0, max_pairs: 0, ..self.clone() }.without_augmentation()
    }

    fn prepare(&self, scene: Scene, slot: Slot) -> Result<Batch, DataError> {
        prepare(scene, self, Draws::new(slot.seed, slot.place))
    }

    fn join(&self, step: u64, parts: Vec<Batch>, skipped: Vec<String>) -> Batch {
        Batch { skipped, ..Batch::join(step, self.channels(), parts) }
    }
}
