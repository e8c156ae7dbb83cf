//! Frames in an order that depends on the seed alone, put together to batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;

use crate::batch::{Batch, BatchConfig, OnDamaged};
use crate::frame::{Draws, SeenPoints, prepare_and_place};
use crate::preparation::{Preparation, Slot};
use crate::random::{Purpose, stream};
use crate::stream::BatchStream;
use crate::{DataError, Dataset, setting};

/// Makes the batches of a run.
///
/// [`Self::batch`] is a pure function of the seed and the step: whichever thread asks, in whatever order, a step has
/// the same batch, and a run that is resumed at step k sees what it would have seen. Each epoch has an order of its
/// own in which every frame comes once; a batch may reach from one epoch into the next. Clones share everything.
pub struct Loader<P: Preparation = BatchConfig>(Arc<Inner<P>>);

impl<P: Preparation> Clone for Loader<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<P> {
    dataset: Arc<dyn Dataset>,
    config: P,
    seed: u64,
    /// Orders of the epochs asked for last; only saves time.
    orders: Mutex<Vec<(u64, Arc<[u32]>)>>,
}

impl<P: Preparation> Loader<P> {
    /// A loader over all frames of a dataset.
    ///
    /// # Errors
    /// If a setting cannot be meant, or the dataset has no frame.
    pub fn new(dataset: Arc<dyn Dataset>, config: P, seed: u64) -> Result<Self, DataError> {
        config.check()?;
        let fine = (1..=u32::MAX as usize).contains(&dataset.len());
        setting::require(
            fine,
            "number of frames",
            &dataset.len(),
            "at least 1: choose another dataset or split",
        )?;
        Ok(Self(Arc::new(Inner { dataset, config, seed, orders: Mutex::default() })))
    }

    /// The dataset.
    pub fn dataset(&self) -> &dyn Dataset {
        &*self.0.dataset
    }

    /// The settings.
    pub fn config(&self) -> &P {
        &self.0.config
    }

    /// Steps until every frame has come once.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.0.dataset.len() as u64).div_ceil(self.0.config.frames_per_batch() as u64)
    }

    /// The order of an epoch: every frame number once.
    pub fn order(&self, epoch: u64) -> Arc<[u32]> {
        let mut orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(e, _)| *e == epoch) {
            return order.clone();
        }
        let order = permutation(self.0.dataset.len() as u32, self.0.seed, epoch);
        // Workers straddle the border between two epochs at most.
        if orders.len() >= 2 {
            orders.remove(0);
        }
        orders.push((epoch, order.clone()));
        order
    }

    /// The batch of a step.
    ///
    /// # Errors
    /// If a frame is damaged and [`OnDamaged::Fail`] is set, or as many frames in a row are damaged as there are.
    pub fn batch(&self, step: u64) -> Result<P::Batch, DataError> {
        let Inner { dataset, config, seed, .. } = &*self.0;
        let n_slots = config.frames_per_batch() as u64;
        let first = step * n_slots;
        // Frames after the batch's own stand in for damaged ones. They come again in their own place: only so does a
        // step not depend on what was damaged before it.
        let mut substitute = first + n_slots;
        let (mut parts, mut skipped) = (Vec::new(), Vec::new());
        for slot in first..first + n_slots {
            let (mut place, mut tried) = (slot, 0);
            loop {
                let frame_idx = self.frame_at(place);
                let error = match self.prepared(config, Slot { seed: *seed, frame: frame_idx, place }) {
                    Ok(part) => break parts.push(part),
                    Err(error) => error,
                };
                if config.on_damaged() == OnDamaged::Fail || error.is_configuration() {
                    return Err(error);
                }
                let name = dataset.frame_name(frame_idx);
                tracing::warn!(step, frame = name, "skipped: {error}");
                skipped.push(name);
                tried += 1;
                if tried >= dataset.len() {
                    return Err(DataError::TooManyDamaged { tried, last: Box::new(error) });
                }
                place = substitute;
                substitute += 1;
            }
        }
        Ok(config.join(step, parts, skipped))
    }

    /// One frame by its number in the dataset, without augmentation and with all its points and pairs: for
    /// pictures and for validation.
    ///
    /// # Errors
    /// If the frame is damaged, whatever [`BatchConfig::on_damaged`] says.
    pub fn frame(&self, index: usize) -> Result<P::Batch, DataError> {
        let config = self.0.config.plain();
        let part = self.prepared(&config, Slot { seed: self.0.seed, frame: index, place: 0 })?;
        Ok(config.join(0, vec![part], Vec::new()))
    }

    /// The batches of `n_steps` steps from `first_step` on, in order, made ahead of time by `workers` threads; with
    /// no worker each is made when it is asked for. The number of workers changes nothing but the speed.
    ///
    /// An error takes the place of its batch, and the stream goes on after it. Dropping the stream stops its
    /// threads, at the latest when they have finished the batches they are at.
    pub fn stream(&self, first_step: u64, n_steps: u64, workers: usize) -> BatchStream<P> {
        BatchStream::new(self.clone(), first_step, n_steps, workers)
    }

    /// The frame number at a place in the order of all epochs.
    fn frame_at(&self, place: u64) -> usize {
        let n_frames = self.0.dataset.len() as u64;
        self.order(place / n_frames)[(place % n_frames) as usize] as usize
    }

    /// A frame read and prepared, or what is wrong with it. A decoder that panics over a damaged file must not take
    /// the run with it.
    fn prepared(&self, config: &P, slot: Slot) -> Result<P::Batch, DataError> {
        let dataset = &self.0.dataset;
        let work = || dataset.sample(slot.frame).and_then(|scene| config.prepare(scene, slot));
        without_panic(work, || dataset.frame_name(slot.frame))
    }

    /// As [`Self::batch`], for threads: whatever a dataset does, a result comes back.
    pub(crate) fn batch_or_panic_message(&self, step: u64) -> Result<P::Batch, DataError> {
        without_panic(|| self.batch(step), || format!("of step {step}"))
    }
}

impl Loader<BatchConfig> {
    /// As [`Self::frame`], with the places of the points of its pairs: for pictures of clouds.
    ///
    /// # Errors
    /// If the frame is damaged, whatever [`BatchConfig::on_damaged`] says.
    pub fn frame_with_points(&self, index: usize) -> Result<(Batch, SeenPoints), DataError> {
        let (dataset, config) = (&self.0.dataset, self.0.config.plain());
        let mut points = SeenPoints::default();
        let work = || {
            let place = |of_pairs| points = of_pairs;
            prepare_and_place(dataset.sample(index)?, &config, Draws::new(self.0.seed, 0), place)
        };
        let part = without_panic(work, || dataset.frame_name(index))?;
        Ok((config.join(0, vec![part], Vec::new()), points))
    }
}

/// Runs `work`; a panic becomes an error that names the frame.
pub(crate) fn without_panic<T>(
    work: impl FnOnce() -> Result<T, DataError>,
    frame: impl FnOnce() -> String,
) -> Result<T, DataError> {
    // What is shared across the border is only read, or a cache that is whole at any moment.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message =
            text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned();
        Err(DataError::Panicked { frame: frame(), message })
    })
}

/// The numbers below `n` in a random order (Fisher and Yates). Written out, because a library's shuffle may change
/// with its version, and a resumed run must not.
fn permutation(n: u32, seed: u64, epoch: u64) -> Arc<[u32]> {
    let mut rng = stream(seed, Purpose::Order, epoch);
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..order.len()).rev() {
        let j = (u128::from(rng.random::<u64>()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
    order.into()
}
