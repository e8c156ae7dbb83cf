//! The driver of a training on labels: frames with labels in, a network that names classes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Device;
use candle_core::backprop::GradStore;
use ppkt_data::{
    DataError, Dataset, LabelledBatch, LabelledFrame, LabelledFrames, Loader, RememberedClouds, Subset,
};
use ppkt_objective::{ClassLoss, ObjectiveError, SegmentationLoss};
use ppkt_sparse::Recompute;
use serde::{Deserialize, Serialize};

use super::config::{ClassWeights, FinetuneConfig, TrainingFrames};
use super::evaluation::{TestSet, classes_of};
use super::metrics::Scores;
use super::network::Segmenter;
use crate::checkpoint::{Checkpoint, RunState};
use crate::error::{Result, TrainError};
use crate::metrics::{Stopwatch, gpu_mib, resident_mib};
use crate::observer::Observer;
use crate::optimizer::Optimizer;
use crate::pretrain::FirstLast;
use crate::provenance::Provenance;
use crate::recipe::to_toml;
use crate::resume::Start;
use crate::run_folder::{MetricsLog, RunFolder, write_json};
use crate::tensorboard::EventLog;
use crate::weights::Weights;

/// Seconds of one step, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinetuneSeconds {
    /// Waiting for the batch.
    pub wait: f64,
    /// The network, forward.
    pub student: f64,
    /// The loss.
    pub objective: f64,
    /// Gradients.
    pub backward: f64,
    /// Checks, clipping and update.
    pub optimizer: f64,
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinetuneMetrics {
    /// Number of the step, from 0.
    pub step: u64,
    /// Value of the loss.
    pub loss: f64,
    /// Share of the labelled voxels of the batch whose class had the highest score.
    pub batch_accuracy: f64,
    /// Learning rate of the trunk.
    pub lr: f64,
    /// Euclidean norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Voxels that the network saw.
    pub voxels: usize,
    /// Voxels with a label.
    pub labelled: usize,
    /// Seconds by stage.
    pub seconds: FinetuneSeconds,
    /// Resident memory, MiB, where the system tells it.
    pub memory_mib: Option<u64>,
    /// The most memory of the GPU that was in use so far, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_mib: Option<u64>,
    /// Whether convolutions were run again in the backward pass, so that the step kept to the memory limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub convolutions_again: bool,
    /// Frames left out because they were damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinetuneSummary {
    /// The run folder.
    pub run: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// Seconds of work, all sittings together.
    pub seconds: f64,
    /// Loss of the first and the last step.
    pub loss: FirstLast,
    /// Frames whose labels were used, and their labelled points.
    pub labelled: (usize, usize),
    /// Whether the run was stopped before its last step.
    pub interrupted: bool,
    /// Scores on the held-out frames; none if the run was stopped.
    pub scores: Option<Scores>,
    /// Scores on the frames kept back (`data.validation_share`), if there are any.
    pub validation: Option<Scores>,
}

/// Runs (or resumes) a training on labels into the folder `out`; the network is on `device`.
///
/// The same configuration gives the same losses and scores for any number of threads, and whether or not the run was
/// stopped and resumed. The labelled share is listed in `labels.json`, scores are in `eval.json` (those on
/// the frames kept back in `validation.json`), the network is `student.safetensors`.
///
/// # Errors
/// [`TrainError`]; whatever happens, checkpoints written before stay as they are.
pub fn finetune(
    config: &FinetuneConfig,
    out: &Path,
    start: Start,
    device: &Device,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<FinetuneSummary> {
    config.check()?;
    let clock = Instant::now();
    let TrainingFrames { train: all, kept_back } = config.open_training()?;
    let measured = |frames| TestSet::new(frames, config.batch.clone(), config.measure.clone());
    let test = measured(config.open_test()?)?;
    let validation = kept_back.map(measured).transpose()?;
    let classes = classes_of(all.as_ref())?;
    if classes.names() != test.classes().names() {
        return Err(TrainError::Config(
            "the frames to measure on have other classes than those to train on".into(),
        ));
    }
    for note in all.notes() {
        observer.message(note);
    }
    let frames = LabelledFrames {
        cloud: config.batch.clone(),
        labels: config.labels.clone(),
        label_seed: config.seed,
        n_classes: classes.len_with_unlabelled(),
    };
    let weights = (!config.from.is_empty()).then(|| Weights::read(&config.from)).transpose()?;
    let provenance = Provenance::of_labels(all.as_ref(), test.dataset(), weights.as_ref(), device)?;
    let chosen = config.labels.frames(all.as_ref(), config.seed);
    let some = Arc::new(Subset::new(all, chosen, "the labelled share"));
    let memory = config.data.memory_mib.saturating_mul(1 << 20);
    let clouds = Arc::new(RememberedClouds::new(some, config.batch.max_depth_m, memory));
    let begun = start.begun_before(config, out, "run", forgive)?;
    if let Some(folder) = &begun {
        provenance.compare(folder, observer)?;
    }
    let (listed, counts) = read_labels(clouds.as_ref(), &frames, observer)?;
    let n_classes = classes.names().len() - 1;
    let mut network = Segmenter::new(&config.student, &config.batch, n_classes, config.seed, device)?
        .with_precision(config.precision)?
        .with_memory_limit(config.memory_limit)?;
    if let Some(weights) = weights {
        network.load(weights, &config.batch, &classes, observer)?;
    }
    let loader = Loader::new(clouds, frames, config.seed)?;
    let optimizer = Optimizer::with_factors(&config.optimizer, network.trainable(config))?;
    let folder = match begun {
        Some(folder) => folder,
        None => RunFolder::create(out, &to_toml(config)?)?,
    };
    provenance.write(&folder)?;
    write_json(&folder.root().join("labels.json"), &listed)?;
    let labelled = (listed.len(), listed.iter().map(|f| f.labelled).sum());
    let loss = SegmentationLoss {
        class_weights: match config.loss.class_weights {
            ClassWeights::Equal => Vec::new(),
            ClassWeights::Balanced => balanced(&counts),
        },
        label_smoothing: config.loss.label_smoothing,
        lovasz: config.loss.lovasz,
    };
    let state = RunState::default();
    let mut run =
        Run { config, folder, network, optimizer, loss, state, clock, seconds_before: 0.0, labelled };
    if start == Start::Resume {
        run.load_checkpoint(observer)?;
    }
    run.train(&loader, &test, validation.as_ref(), observer, stop)
}

/// Takes over what does not change a number, and so may be changed on the way.
fn forgive(config: &FinetuneConfig, there: &mut FinetuneConfig) {
    there.data.workers = config.data.workers;
    there.data.memory_mib = config.data.memory_mib;
    there.memory_limit = config.memory_limit;
    there.checkpoint = config.checkpoint.clone();
}

/// Reads every frame of the share once: which labels there are, and how many of each class.
fn read_labels(
    dataset: &dyn Dataset,
    frames: &LabelledFrames,
    observer: &mut dyn Observer,
) -> Result<(Vec<LabelledFrame>, Vec<u64>)> {
    const TASK: &str = "reading labels";
    let (mut listed, mut counts) = (Vec::new(), vec![0u64; frames.n_classes]);
    for index in 0..dataset.len() {
        observer.progress(TASK, index as u64, dataset.len() as u64);
        let read = dataset.sample(index).and_then(|mut scene| {
            let points = frames.choose_labels(&mut scene, index)?;
            Ok((scene, points))
        });
        let (scene, points) = match read {
            Err(e) if frames.cloud.on_damaged == ppkt_data::OnDamaged::Skip => {
                observer.message(&format!("a damaged frame is left out: {e}"));
                continue;
            }
            other => other?,
        };
        let classes = scene.cloud.classes.unwrap_or_default();
        classes.iter().for_each(|&c| counts[usize::from(c)] += 1);
        let labelled = classes.iter().filter(|c| **c != 0).count();
        listed.push(LabelledFrame { frame: scene.name, labelled, points: points.unwrap_or_default() });
    }
    observer.progress_done(TASK);
    if listed.iter().all(|f| f.labelled == 0) {
        return Err(TrainError::Config(format!(
            "none of the {} frames of the labelled share has a labelled point: take a larger labels.share or another seed",
            listed.len()
        )));
    }
    Ok((listed, counts))
}

/// The inverse root of each class's share, with a mean of 1 over the classes that have points; `counts` begins with
/// the unlabelled.
fn balanced(counts: &[u64]) -> Vec<f32> {
    let raw: Vec<f64> =
        counts[1..].iter().map(|&n| if n == 0 { 0.0 } else { 1.0 / (n as f64).sqrt() }).collect();
    let present = raw.iter().filter(|w| **w > 0.0).count().max(1) as f64;
    let mean = raw.iter().sum::<f64>() / present;
    raw.iter().map(|w| (w / mean) as f32).collect()
}

/// Everything that lives through a run.
struct Run<'a> {
    config: &'a FinetuneConfig,
    folder: RunFolder,
    network: Segmenter,
    optimizer: Optimizer,
    loss: SegmentationLoss,
    state: RunState,
    clock: Instant,
    /// Seconds of the sittings before.
    seconds_before: f64,
    labelled: (usize, usize),
}

impl Run<'_> {
    fn load_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(checkpoint) = Checkpoint::newest(&self.folder.checkpoints())? else {
            observer.message("no checkpoint yet: the run starts at its first step");
            return Ok(());
        };
        self.network.load_all(&checkpoint.model)?;
        self.optimizer.load_state(&checkpoint.optimizer, checkpoint.state.updates)?;
        self.state = checkpoint.state;
        self.seconds_before = self.state.seconds;
        observer.message(&format!("resumed after step {}", self.state.steps_done));
        Ok(())
    }

    fn train(
        &mut self,
        loader: &Loader<LabelledFrames>,
        test: &TestSet,
        validation: Option<&TestSet>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<FinetuneSummary> {
        let first = self.state.steps_done;
        let mut metrics = MetricsLog::open(&self.folder.metrics(), first)?;
        let mut events = EventLog::create(self.folder.root(), first)?;
        observer.begin(first, self.config.steps);
        let accumulate = u64::from(self.config.optimizer.accumulate);
        let batches = (self.config.steps - first.min(self.config.steps)) * accumulate;
        let mut stream = loader.stream(first * accumulate, batches, self.config.data.workers);
        while self.state.steps_done < self.config.steps && !stop.load(Ordering::Relaxed) {
            let line = self.step(&mut stream)?;
            metrics.push(&line)?;
            events.scalars(
                line.step,
                &[
                    ("train/loss", line.loss),
                    ("train/batch_accuracy", line.batch_accuracy),
                    ("train/lr", line.lr),
                    ("train/gradient_norm", line.gradient_norm),
                ],
            )?;
            observer.trained(&line);
            let done = self.state.steps_done;
            if done.is_multiple_of(self.config.checkpoint.every) && done < self.config.steps {
                self.save_checkpoint(&metrics, observer)?;
            }
        }
        drop(stream);
        observer.end();
        let interrupted = self.state.steps_done < self.config.steps;
        if self.state.steps_done > first || interrupted {
            self.save_checkpoint(&metrics, observer)?;
        }
        self.network.save(&self.folder.student(), &self.config.batch, test.classes())?;
        let (mut scores, mut kept_back) = (None, None);
        if !interrupted {
            let root = self.folder.root();
            if let Some(validation) = validation {
                let scores = validation.measure(&self.network, None, observer)?;
                write_json(&root.join("validation.json"), &scores)?;
                kept_back = Some(scores);
            }
            let measured = test.measure(&self.network, Some(&root.join("samples")), observer)?;
            // Last, so that whoever finds this file knows that the run is complete.
            write_json(&root.join("eval.json"), &measured)?;
            events.scalars(self.state.steps_done, &[("test/miou", measured.miou)])?;
            scores = Some(measured);
        }
        Ok(FinetuneSummary {
            run: self.folder.root().to_owned(),
            steps: self.state.steps_done,
            seconds: self.seconds(),
            loss: FirstLast {
                first: self.state.first_loss.unwrap_or_default(),
                last: self.state.last_loss.unwrap_or_default(),
            },
            labelled: self.labelled,
            interrupted,
            scores,
            validation: kept_back,
        })
    }

    /// One update of the parameters, from as many batches as are accumulated.
    fn step(
        &mut self,
        stream: &mut dyn Iterator<Item = std::result::Result<LabelledBatch, DataError>>,
    ) -> Result<FinetuneMetrics> {
        let step = self.state.steps_done;
        let accumulate = self.config.optimizer.accumulate;
        let mut line = FinetuneMetrics { step, ..Default::default() };
        let (mut sum, mut losses): (Option<GradStore>, _) = (None, Vec::new());
        for _ in 0..accumulate {
            let Some((grads, loss)) = self.gradients(stream, &mut line)? else { continue };
            losses.push(loss);
            match &mut sum {
                Some(sum) => sum.extend(grads)?,
                None => sum = Some(grads),
            }
        }
        let clock = Instant::now();
        let share = 1.0 / f64::from(accumulate);
        line.lr = self.config.optimizer.lr * self.config.schedule.factor(step, self.config.steps);
        if let Some(grads) = sum {
            self.update(&grads, share, &losses, &mut line)?;
        }
        line.seconds.optimizer = clock.elapsed().as_secs_f64();
        line.memory_mib = resident_mib();
        line.gpu_memory_mib = gpu_mib(self.network.device());
        self.state.stepped(line.loss, self.optimizer.updates(), line.skipped.len());
        Ok(line)
    }

    fn update(
        &mut self,
        grads: &GradStore,
        share: f64,
        losses: &[ClassLoss],
        line: &mut FinetuneMetrics,
    ) -> Result<()> {
        let step = line.step;
        let report = self.optimizer.clipped_step(grads, line.lr, share)?;
        // Only now: on a GPU each of these numbers waits for the whole step.
        for loss in losses {
            line.loss += f64::from(loss.value.to_scalar::<f32>()?);
            line.batch_accuracy += loss.accuracy()?;
        }
        line.loss *= share;
        line.batch_accuracy *= share;
        if !line.loss.is_finite() {
            let layer = "the scores of the network".into();
            return Err(TrainError::NotFinite { step, what: "loss", layer });
        }
        line.gradient_norm = self.optimizer.checked_norm(&report, grads, step, |_| 0)?;
        // Before anything is saved: a checkpoint that cannot be used is worse than none.
        match report.faulty_parameter()? {
            Some(false) => Ok(()),
            _ => self.check_parameters(step),
        }
    }

    fn check_parameters(&self, step: u64) -> Result<()> {
        match self.network.faulty_tensor()? {
            Some(layer) => Err(TrainError::NotFinite { step, what: "parameter", layer }),
            None => Ok(()),
        }
    }

    /// The gradients of one batch, and its loss; its figures are added to `line`. A batch in which no voxel has a label (a small
    /// share by points, strong thinning) teaches nothing and has none.
    fn gradients(
        &self,
        stream: &mut dyn Iterator<Item = std::result::Result<LabelledBatch, DataError>>,
        line: &mut FinetuneMetrics,
    ) -> Result<Option<(GradStore, ClassLoss)>> {
        let mut watch = Stopwatch::start();
        let Some(batch) = stream.next() else { return Err(TrainError::DataEnded { step: line.step }) };
        let batch = batch?;
        watch.lap(&mut line.seconds.wait);
        line.voxels += batch.coords.len();
        line.skipped.extend(batch.skipped.iter().cloned());
        if batch.class_of_voxel.iter().all(|&c| c == 0) {
            return Ok(None);
        }
        let (voxels, row_of_voxel) = self.network.input(&batch)?;
        let (scores, recompute) = self.network.train(&voxels, self.config.trunk)?;
        line.convolutions_again |= recompute == Recompute::Convolutions;
        watch.lap(&mut line.seconds.student);
        let mut targets = vec![0; batch.coords.len()];
        for (&row, &class) in row_of_voxel.iter().zip(&batch.class_of_voxel) {
            targets[row as usize] = class;
        }
        let mut loss = match self.loss.loss(&scores, &targets) {
            Err(ObjectiveError::NotFinite { .. }) => {
                let layer = "the scores of the network".into();
                return Err(TrainError::NotFinite { step: line.step, what: "loss", layer });
            }
            other => other?,
        };
        line.labelled += loss.n_labelled;
        watch.lap(&mut line.seconds.objective);
        let grads = ppkt_sparse::backward(&loss.value)?;
        // Without its graph, which holds all activations.
        loss.value = loss.value.detach();
        watch.lap(&mut line.seconds.backward);
        Ok(Some((grads, loss)))
    }

    fn save_checkpoint(&mut self, metrics: &MetricsLog, observer: &mut dyn Observer) -> Result<()> {
        metrics.flush()?;
        if !self.network.device().is_cpu() {
            // The step has looked at what it updates, and at no running statistics.
            self.check_parameters(self.state.steps_done)?;
        }
        self.state.seconds = self.seconds();
        let checkpoint = Checkpoint {
            model: self.network.tensors()?,
            optimizer: self.optimizer.state()?,
            state: self.state.clone(),
        };
        let place = checkpoint.save(&self.folder.checkpoints(), self.config.checkpoint.keep)?;
        observer.checkpointed(&place);
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.clock.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_weigh_more_and_absent_ones_nothing() {
        let weights = balanced(&[50, 100, 400, 0]);
        assert!((weights[0] / weights[1] - 2.0).abs() < 1e-6);
        assert_eq!(weights[2], 0.0);
        assert!((weights[0] + weights[1] - 2.0).abs() < 1e-6);
    }
}
