//! Held-out frames: loss and retrieval of pixels by points.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use ppkt_data::{Batch, Dataset, Loader, OnDamaged, Pair};
use ppkt_objective::{Embeddings, Objective, retrieval, sample_without_replacement};
use ppkt_teacher::{FeatureMap, Teacher};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::config::PretrainConfig;
use crate::error::{Result, TrainError};
use crate::model::{Input, Model, Pass, images_of};
use crate::observer::Observer;

/// Stream of the random numbers that choose candidates, apart from those of the training.
const CANDIDATE_STREAM: u64 = u64::MAX;

/// How well points find their own pixels among candidates of held-out frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Share of points whose own pixel is the nearest of all candidates.
    pub at_1: f64,
    /// Share of points whose own pixel is among the five nearest.
    pub at_5: f64,
    /// Candidates; chance is one in so many.
    pub candidates: usize,
    /// The objective over the candidates.
    pub loss: f64,
}

/// One held-out frame, ready for the networks.
pub(crate) struct HeldOutFrame {
    /// Its number in the dataset.
    pub index: usize,
    pub batch: Batch,
    pub input: Input,
    pub map: FeatureMap,
    pub candidates: Vec<Pair>,
}

/// Held-out frames with the candidates drawn from them: the same in every validation of a run.
///
/// A candidate is a pixel that sees a point; of each cell of the teacher's map at most one is taken, since pixels of
/// one cell have nearly the same feature and nothing could tell them apart.
pub(crate) struct ValidationSet {
    pub frames: Vec<HeldOutFrame>,
    /// Reads them again, with what only pictures need.
    pub loader: Loader,
    /// Frames that were left out because they are damaged.
    pub skipped: u64,
}

impl ValidationSet {
    /// Reads frames until there are enough candidates, runs the teacher on them, and draws the candidates.
    pub(crate) fn new(
        config: &PretrainConfig,
        dataset: Arc<dyn Dataset>,
        teacher: &dyn Teacher,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        if dataset.is_empty() {
            return Err(TrainError::Config(format!(
                "no held-out frame in {}: name other frames with --set data.validation=URI",
                dataset.name()
            )));
        }
        let loader = Loader::new(dataset, config.batch.clone(), config.seed)?;
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        rng.set_stream(CANDIDATE_STREAM);
        let (mut frames, mut found, mut skipped) = (Vec::new(), 0, 0);
        let order = loader.order(0);
        let usual = config.validation.frames.min(order.len()) as u64;
        for (done, &index) in order.iter().enumerate() {
            if frames.len() >= config.validation.frames && found >= config.validation.candidates {
                break;
            }
            observer.progress("held-out frames", done as u64, usual);
            let batch = match loader.frame(index as usize) {
                Err(e) if config.batch.on_damaged == OnDamaged::Skip => {
                    observer.message(&format!("a damaged held-out frame is left out: {e}"));
                    skipped += 1;
                    continue;
                }
                other => other?,
            };
            let input = Input::new(&batch, device)?;
            let map = teacher.features(&images_of(&batch)?)?;
            // They are kept for the whole run, and the memory of a GPU is for what it trains.
            let map = FeatureMap { tokens: map.tokens.to_device(&Device::Cpu)?, ..map };
            let candidates = one_per_cell(&batch.pairs, &map, &mut rng)?;
            found += candidates.len();
            frames.push(HeldOutFrame { index: index as usize, batch, input, map, candidates });
        }
        observer.progress_done("held-out frames");
        if found < 2 {
            return Err(TrainError::Config(
                "the held-out frames have no pixel that sees a point: check the depth with `ppkt data verify`".into(),
            ));
        }
        if found < config.validation.candidates {
            observer.message(&format!(
                "the held-out frames have only {found} candidates of the {} asked for; retrieval is measured among these",
                config.validation.candidates
            ));
        }
        keep(&mut frames, found, config.validation.candidates.min(found), &mut rng);
        Ok(Self { frames, loader, skipped })
    }

    /// Loss and retrieval, with the networks in inference mode.
    pub(crate) fn evaluate(
        &self,
        model: &Model,
        objective: &dyn Objective,
        observer: &mut dyn Observer,
    ) -> Result<Retrieval> {
        let (mut points, mut pixels) = (Vec::new(), Vec::new());
        let student = model.inference();
        for (done, frame) in self.frames.iter().enumerate() {
            observer.progress("validation", done as u64, self.frames.len() as u64);
            if frame.candidates.is_empty() {
                continue;
            }
            let voxels = student.forward(&frame.input.voxels)?;
            points.push(Model::at_points(voxels.features(), &frame.input, &frame.candidates)?);
            pixels.push(model.at_pixels(&frame.map, &frame.candidates, Pass::Infer)?);
        }
        observer.progress_done("validation");
        let (point, pixel) = (Tensor::cat(&points, 0)?, Tensor::cat(&pixels, 0)?);
        let (candidates, dimensions) = point.dims2()?;
        let rows = |t: &Tensor| -> Result<Vec<f32>> {
            Ok(ppkt_student::unit_norm(t)?.flatten_all()?.to_vec1::<f32>()?)
        };
        let shares = retrieval(&rows(&point)?, &rows(&pixel)?, dimensions, &[1, 5])?;
        let loss = objective.loss(&Embeddings { point, pixel })?.value.to_scalar::<f32>()?;
        Ok(Retrieval { at_1: shares[0], at_5: shares[1], candidates, loss: f64::from(loss) })
    }
}

/// One random pair of each cell of the teacher's map that has any.
fn one_per_cell(pairs: &[Pair], map: &FeatureMap, rng: &mut ChaCha8Rng) -> Result<Vec<Pair>> {
    let (_, rows, columns, _) = map.tokens.dims4()?;
    let (height, width) = map.image_size;
    let (per_v, per_u) = (rows as f32 / height as f32, columns as f32 / width as f32);
    let mut cells: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for (index, pair) in pairs.iter().enumerate() {
        cells.entry(((pair.v * per_v) as u32, (pair.u * per_u) as u32)).or_default().push(index);
    }
    Ok(cells.values().map(|all| pairs[all[rng.random_range(0..all.len())]]).collect())
}

/// Keeps `wanted` of the `found` candidates of all frames, at random.
fn keep(frames: &mut [HeldOutFrame], found: usize, wanted: usize, rng: &mut ChaCha8Rng) {
    let mut kept = vec![false; found];
    for index in sample_without_replacement(found, wanted, rng) {
        kept[index as usize] = true;
    }
    let mut kept = kept.into_iter();
    for frame in frames {
        frame.candidates.retain(|_| kept.next().unwrap_or(false));
    }
}
