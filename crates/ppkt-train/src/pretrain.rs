//! The pretraining driver: scenes in, a pretrained 3D network out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Device;
use candle_core::backprop::GradStore;
use ppkt_data::{Loader, Pair};
use ppkt_objective::{Embeddings, Loss, Objective, ObjectiveError, sample_without_replacement};
use ppkt_sparse::Recompute;
use ppkt_teacher::{CacheReport, FeatureCache, FeatureMap, Teacher};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::ahead::{Seen, SeenBatches};
use crate::checkpoint::{Checkpoint, RunState};
use crate::config::PretrainConfig;
use crate::error::{Result, TrainError};
use crate::metrics::{StageSeconds, StepMetrics, Stopwatch, gpu_mib, resident_mib};
use crate::model::{Input, Model, Pass};
use crate::observer::Observer;
use crate::optimizer::Optimizer;
use crate::pictures;
use crate::provenance::Provenance;
use crate::recipe::to_toml;
use crate::resume::Start;
use crate::rows_at::rows_at;
use crate::run_folder::{MetricsLog, RunFolder};
use crate::samples;
use crate::teacher::OpenTeacher;
use crate::tensorboard::EventLog;
use crate::validation::{Retrieval, ValidationSet};

/// Mixed into the seed of the draw of pairs, so that it shares no random number with initial weights or augmentation.
const PAIRS_SALT: u64 = 0x7061_6972_735f_6472;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run folder.
    pub run: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// Seconds of work, all sittings together.
    pub seconds: f64,
    /// Loss of the first and the last step.
    pub loss: FirstLast,
    /// Share of points that find their own pixel as the nearest of the candidates.
    pub retrieval_at_1: BeforeAfter,
    /// Share of points that find their own pixel among the five nearest.
    pub retrieval_at_5: BeforeAfter,
    /// Candidates of the retrieval; chance is one in so many.
    pub candidates: usize,
    /// Frames left out because they were damaged.
    pub skipped: u64,
    /// What was read from the cache of feature maps and written to it in this sitting, if there is one.
    pub cache: Option<CacheReport>,
    /// Whether the run was stopped before its last step.
    pub interrupted: bool,
    /// The pictures, if the run is finished.
    pub pictures: Vec<PathBuf>,
}

/// A value at the first and at the last step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstLast {
    /// At the first step.
    pub first: f64,
    /// At the last step.
    pub last: f64,
}

/// A value before and after the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// Before the first step.
    pub before: f64,
    /// After the last step.
    pub after: f64,
}

/// Runs (or resumes) a pretraining into the folder `out`; the networks, the teacher too, are on `device`.
///
/// The same configuration gives the same losses, step for step, for any number of threads, and whether or not the run
/// was stopped and resumed. When `stop` becomes true the run ends after the step it is in, with a checkpoint.
///
/// # Errors
/// [`TrainError`]; whatever happens, checkpoints written before stay as they are.
pub fn pretrain(
    config: &PretrainConfig,
    out: &Path,
    start: Start,
    device: &Device,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Summary> {
    config.check()?;
    let clock = Instant::now();
    let training: Arc<dyn ppkt_data::Dataset> = Arc::from(config.open_training()?);
    let validation: Arc<dyn ppkt_data::Dataset> = Arc::from(config.open_validation()?);
    for note in training.notes() {
        observer.message(note);
    }
    let teacher = Arc::new(OpenTeacher::of(config, device)?);
    let provenance =
        Provenance::of_pretraining(training.as_ref(), validation.as_ref(), teacher.spec(), device)?;
    let begun = start.begun_before(config, out, "run", forgive)?;
    if let Some(folder) = &begun {
        provenance.compare(folder, observer)?;
    }
    let loader = Loader::new(training, config.batch.clone(), config.seed)?;
    let model = Model::new(config, teacher.spec(), device)?;
    let optimizer = Optimizer::new(&config.optimizer, model.store().trainable())?;
    let held_out = ValidationSet::new(config, validation, teacher.as_ref(), device, observer)?;
    teacher.tell(observer);
    // Only now, so that a run that cannot begin leaves no folder behind.
    let folder = match begun {
        Some(folder) => folder,
        None => RunFolder::create(out, &to_toml(config)?)?,
    };
    provenance.write(&folder)?;
    let objective = config.objective.build();
    let state = RunState { skipped: held_out.skipped, ..RunState::default() };
    let mut run =
        Run { config, folder, teacher, model, optimizer, objective, state, clock, seconds_before: 0.0 };
    if start == Start::Resume {
        run.load_checkpoint(observer)?;
    }
    run.train(&loader, &held_out, observer, stop)
}

/// Takes over what does not change a number, and so may be changed on the way.
fn forgive(config: &PretrainConfig, there: &mut PretrainConfig) {
    there.data.workers = config.data.workers;
    there.checkpoint = config.checkpoint.clone();
    there.pictures = config.pictures.clone();
    there.teacher.cache_limit = config.teacher.cache_limit;
    there.memory_limit = config.memory_limit;
    // Where maps are kept does not matter, but whether they are does: it rounds them.
    if !there.teacher.cache.is_empty() && !config.teacher.cache.is_empty() {
        there.teacher.cache.clone_from(&config.teacher.cache);
    }
}

/// A batch that was passed forward, kept until its loss is known to be a number.
struct Passed {
    loss: Loss,
    input: Input,
    map: FeatureMap,
}

/// Everything that lives through a run.
struct Run<'a> {
    config: &'a PretrainConfig,
    folder: RunFolder,
    teacher: Arc<OpenTeacher>,
    model: Model,
    optimizer: Optimizer,
    objective: Box<dyn Objective>,
    state: RunState,
    /// Started with this sitting.
    clock: Instant,
    /// Seconds of the sittings before.
    seconds_before: f64,
}

impl Run<'_> {
    fn load_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(checkpoint) = Checkpoint::newest(&self.folder.checkpoints())? else {
            observer.message("no checkpoint yet: the run starts at its first step");
            return Ok(());
        };
        self.model.load(&checkpoint.model)?;
        self.optimizer.load_state(&checkpoint.optimizer, checkpoint.state.updates)?;
        self.state = checkpoint.state;
        self.seconds_before = self.state.seconds;
        observer.message(&format!("resumed after step {}", self.state.steps_done));
        Ok(())
    }

    fn train(
        &mut self,
        loader: &Loader,
        held_out: &ValidationSet,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Summary> {
        let first = self.state.steps_done;
        let mut metrics = MetricsLog::open(&self.folder.metrics(), first)?;
        let mut events = EventLog::create(self.folder.root(), first)?;
        let mut last_validation = None;
        if first == 0 {
            let before = self.validate(held_out, observer, &mut events)?;
            self.state.retrieval_before = Some(before);
            last_validation = Some((0, before));
        }
        observer.begin(first, self.config.steps);
        let accumulate = u64::from(self.config.optimizer.accumulate);
        let batches = (self.config.steps - first.min(self.config.steps)) * accumulate;
        let stream = loader.stream(first * accumulate, batches, self.config.data.workers);
        let cached = self.teacher.cache.is_some();
        let mut stream = SeenBatches::new(stream, self.teacher.clone(), self.model.device(), cached)?;
        while self.state.steps_done < self.config.steps && !stop.load(Ordering::Relaxed) {
            let line = self.step(&mut stream)?;
            self.record(&line, &mut metrics, &mut events)?;
            observer.step(&line);
            self.teacher.tell(observer);
            let done = self.state.steps_done;
            if done.is_multiple_of(self.config.validation.every) && done < self.config.steps {
                last_validation = Some((done, self.validate(held_out, observer, &mut events)?));
            }
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
        let after = match last_validation {
            Some((at, retrieval)) if at == self.state.steps_done => retrieval,
            _ => self.validate(held_out, observer, &mut events)?,
        };
        self.model.save_student(&self.folder.student(), self.config, self.teacher.spec())?;
        let pictures = if interrupted { Vec::new() } else { self.show(held_out)? };
        Ok(self.summary(after, interrupted, pictures))
    }

    /// Draws held-out frames, and leaves the clouds of the first of them for the page.
    fn show(&self, held_out: &ValidationSet) -> Result<Vec<PathBuf>> {
        let frames = pictures::worth_drawing(&held_out.frames, self.config.pictures.frames);
        let Some(basis) = pictures::common_basis(&frames, &self.model)? else { return Ok(Vec::new()) };
        samples::of_pretraining(&self.folder.samples(), &frames, &held_out.loader, &self.model, &basis)?;
        pictures::draw(&self.folder.pictures(), &frames, &self.model, &basis)
    }

    /// One update of the parameters, from as many batches as are accumulated.
    fn step(&mut self, stream: &mut dyn Iterator<Item = Result<Seen>>) -> Result<StepMetrics> {
        let step = self.state.steps_done;
        let accumulate = self.config.optimizer.accumulate;
        let mut line = StepMetrics { step, ..Default::default() };
        let mut sum: Option<GradStore> = None;
        let mut parts = Vec::new();
        for part in 0..accumulate {
            let (grads, passed) = self.gradients(stream, u64::from(part), &mut line)?;
            parts.push(passed);
            match &mut sum {
                Some(sum) => sum.extend(grads)?,
                None => sum = Some(grads),
            }
        }
        let Some(grads) = sum else { return Err(TrainError::Config("optimizer.accumulate is 0".into())) };
        let share = 1.0 / f64::from(accumulate);
        let clock = Instant::now();
        line.lr = self.config.optimizer.lr * self.config.schedule.factor(step, self.config.steps);
        let rank = |name: &str| self.model.rank(name);
        let report = self.optimizer.clipped_step(&grads, line.lr, share)?;
        // Only now: on a GPU each of these numbers waits for the whole step.
        for part in &parts {
            line.loss += self.finite_loss(part, step)?;
            line.batch_retrieval_at_1 += f64::from(part.loss.retrieval_at_1()?);
        }
        line.loss *= share;
        line.batch_retrieval_at_1 *= share;
        line.gradient_norm = self.optimizer.checked_norm(&report, &grads, step, rank)?;
        // Before anything is saved: a checkpoint that cannot be used is worse than none.
        if report.faulty_parameter()? != Some(false) {
            self.check_parameters(step)?;
        }
        line.seconds.optimizer = clock.elapsed().as_secs_f64();
        line.memory_mib = resident_mib();
        line.gpu_memory_mib = gpu_mib(self.model.device());
        self.state.stepped(line.loss, self.optimizer.updates(), line.skipped.len());
        Ok(line)
    }

    /// The gradients of one batch, and what was passed through on the way to them; its figures are added to `line`.
    fn gradients(
        &self,
        stream: &mut dyn Iterator<Item = Result<Seen>>,
        part: u64,
        line: &mut StepMetrics,
    ) -> Result<(GradStore, Passed)> {
        let mut watch = Stopwatch::start();
        let seconds: &mut StageSeconds = &mut line.seconds;
        let Some(seen) = stream.next() else { return Err(TrainError::DataEnded { step: line.step }) };
        let Seen { batch, input, map, teacher_seconds } = seen?;
        watch.lap(&mut seconds.wait);
        seconds.wait -= teacher_seconds;
        seconds.teacher += teacher_seconds;
        // Before the student's pass, so that a GPU has all of the step when it begins.
        let pairs = self.draw_pairs(&batch.pairs, line.step, part);
        let rows = input.rows(&pairs)?;
        let pixel = self.model.at_pixels(&map, &pairs, Pass::Train)?;
        watch.lap(&mut seconds.objective);
        let (voxels, recompute) = self.model.train_voxels(&input.voxels)?;
        line.convolutions_again |= recompute == Recompute::Convolutions;
        watch.lap(&mut seconds.student);
        let point = rows_at(&voxels, &rows)?;
        let loss = match self.objective.loss(&Embeddings { point, pixel }) {
            Ok(loss) => loss,
            Err(ObjectiveError::NotFinite { .. }) => return Err(self.not_finite(line.step, &input, &map)),
            Err(e) => return Err(e.into()),
        };
        let mut passed = Passed { loss, input, map };
        if self.model.device().is_cpu() {
            self.finite_loss(&passed, line.step)?;
        }
        watch.lap(&mut seconds.objective);
        let grads = ppkt_sparse::backward(&passed.loss.value)?;
        // Without its graph, which holds all activations.
        passed.loss.value = passed.loss.value.detach();
        watch.lap(&mut seconds.backward);
        line.pairs += pairs.len();
        line.points += batch.n_points;
        line.voxels += batch.coords.len();
        line.skipped.extend(batch.skipped);
        Ok((grads, passed))
    }

    /// The value of a loss, or why it is none.
    fn finite_loss(&self, passed: &Passed, step: u64) -> Result<f64> {
        let value = f64::from(passed.loss.value.to_scalar::<f32>()?);
        if value.is_finite() { Ok(value) } else { Err(self.not_finite(step, &passed.input, &passed.map)) }
    }

    fn check_parameters(&self, step: u64) -> Result<()> {
        match self.model.faulty_tensor()? {
            Some(layer) => Err(TrainError::NotFinite { step, what: "parameter", layer }),
            None => Ok(()),
        }
    }

    /// Says where in the forward pass values stopped being finite.
    fn not_finite(&self, step: u64, input: &Input, map: &FeatureMap) -> TrainError {
        match self.model.first_not_finite(input, map) {
            Ok(layer) => TrainError::NotFinite { step, what: "loss", layer },
            Err(e) => e,
        }
    }

    /// Pairs of this step, drawn without replacement from all of the batch.
    fn draw_pairs(&self, pairs: &[Pair], step: u64, part: u64) -> Vec<Pair> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed ^ PAIRS_SALT);
        rng.set_stream(step * u64::from(self.config.optimizer.accumulate) + part);
        let wanted = self.config.objective.pairs.min(pairs.len());
        sample_without_replacement(pairs.len(), wanted, &mut rng)
            .into_iter()
            .map(|i| pairs[i as usize])
            .collect()
    }

    fn validate(
        &mut self,
        held_out: &ValidationSet,
        observer: &mut dyn Observer,
        events: &mut EventLog,
    ) -> Result<Retrieval> {
        let done = self.state.steps_done;
        let retrieval = match held_out.evaluate(&self.model, self.objective.as_ref(), observer) {
            Err(TrainError::Objective(ObjectiveError::NotFinite { what, .. })) => {
                let layer = format!("the {what} embeddings of held-out frames");
                return Err(TrainError::NotFinite { step: done, what: "validation", layer });
            }
            other => other?,
        };
        // Opened anew, so that a measurement that is made again after a resumption takes the place of the first.
        MetricsLog::open(&self.folder.validation(), done)?.push(&Measured { step: done, retrieval })?;
        events.scalars(
            done,
            &[
                ("validation/loss", retrieval.loss),
                ("validation/retrieval_at_1", retrieval.at_1),
                ("validation/retrieval_at_5", retrieval.at_5),
            ],
        )?;
        observer.validated(done, &retrieval);
        Ok(retrieval)
    }

    fn record(&self, line: &StepMetrics, metrics: &mut MetricsLog, events: &mut EventLog) -> Result<()> {
        metrics.push(line)?;
        events.scalars(
            line.step,
            &[
                ("train/loss", line.loss),
                ("train/batch_retrieval_at_1", line.batch_retrieval_at_1),
                ("train/lr", line.lr),
                ("train/gradient_norm", line.gradient_norm),
                ("speed/seconds_a_step", line.seconds.total()),
                ("speed/voxels", line.voxels as f64),
            ],
        )
    }

    fn save_checkpoint(&mut self, metrics: &MetricsLog, observer: &mut dyn Observer) -> Result<()> {
        // The steps of a checkpoint must be on record wherever the checkpoint is.
        metrics.flush()?;
        if !self.model.device().is_cpu() {
            // The step has looked at what it updates, and at no running statistics.
            self.check_parameters(self.state.steps_done)?;
        }
        self.state.seconds = self.seconds();
        let checkpoint = Checkpoint {
            model: self.model.tensors()?,
            optimizer: self.optimizer.state()?,
            state: self.state.clone(),
        };
        let place = checkpoint.save(&self.folder.checkpoints(), self.config.checkpoint.keep)?;
        observer.checkpointed(&place);
        Ok(())
    }

    /// Seconds of work of all sittings.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.clock.elapsed().as_secs_f64()
    }

    fn summary(&self, after: Retrieval, interrupted: bool, pictures: Vec<PathBuf>) -> Summary {
        let state = &self.state;
        let before = state.retrieval_before.unwrap_or(after);
        Summary {
            run: self.folder.root().to_owned(),
            steps: state.steps_done,
            seconds: self.seconds(),
            loss: FirstLast {
                first: state.first_loss.unwrap_or(after.loss),
                last: state.last_loss.unwrap_or(after.loss),
            },
            retrieval_at_1: BeforeAfter { before: before.at_1, after: after.at_1 },
            retrieval_at_5: BeforeAfter { before: before.at_5, after: after.at_5 },
            candidates: after.candidates,
            skipped: state.skipped,
            cache: self.teacher.cache.as_ref().map(FeatureCache::report),
            interrupted,
            pictures,
        }
    }
}

/// One line of `validation.jsonl`.
#[derive(Serialize)]
struct Measured {
    /// Steps done before it.
    step: u64,
    #[serde(flatten)]
    retrieval: Retrieval,
}
