//! The driver of a comparison: trainings on labels, one after the other, each in a folder of its own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::config::ComparisonConfig;
use super::results::{Choice, Comparison, ComparisonRun, Side, Training, percent, table};
use crate::error::{Result, TrainError};
use crate::machine::{machine, today};
use crate::metrics::StepMetrics;
use crate::observer::Observer;
use crate::pretrain::{Summary, pretrain};
use crate::recipe::to_toml;
use crate::resume::Start;
use crate::run_folder::{RunFolder, read_json, write_json};
use crate::segmentation::{FinetuneConfig, FinetuneMetrics, Scores, finetune};
use crate::validation::Retrieval;

/// How a comparison went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonSummary {
    /// Its folder.
    pub run: PathBuf,
    /// Seconds of this sitting.
    pub seconds: f64,
    /// Trainings on labels that are complete, of all.
    pub runs: (usize, usize),
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// How the pretraining went, where it is part of the comparison.
    pub pretraining: Option<Summary>,
    /// What was found so far; none if not one training is complete.
    pub results: Option<Comparison>,
}

/// Runs (or resumes) a comparison in the folder `out`:
///
/// ```text
/// out/
///   config.toml                                  as resolved
///   run.json                                     version, machine, and the command that began it
///   pretrain/                                    the pretraining, where it is part of the comparison
///   runs/share-0.05/pretrained/lr-0.01/seed-1/   one training on labels each, without its checkpoints
///   results.json                                 written anew after every training
/// ```
///
/// For each share and each side the learning rate is chosen with the first seed, by the mean intersection over union on
/// the frames kept back; test frames play no part in it. `command` is what began it; `results.json` says
/// that it repeats it. Networks are on `device`.
///
/// # Errors
/// [`TrainError`]; trainings that are complete stay, and are not done again when the comparison is resumed.
pub fn compare(
    config: &ComparisonConfig,
    out: &Path,
    command: &str,
    start: Start,
    device: &Device,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<ComparisonSummary> {
    config.check()?;
    let begun = start.begun_before(config, out, "comparison", forgive)?;
    let folder = match begun {
        Some(folder) => folder,
        None => RunFolder::create(out, &to_toml(config)?)?,
    };
    let beginning = Beginning::of(&folder, command)?;
    let mut observer = SaysOnce { inner: observer, said: HashSet::new() };
    let mut comparing = Comparing {
        config,
        folder,
        command: beginning.command,
        pretraining: None,
        from: config.finetune.from.clone(),
        device,
        observer: &mut observer,
        stop,
        clock: Instant::now(),
        trained: (0, Duration::ZERO),
        complete: HashSet::new(),
        choices: Vec::new(),
        runs: Vec::new(),
        classes: Vec::new(),
    };
    let complete = comparing.all()?;
    Ok(ComparisonSummary {
        run: comparing.folder.root().to_owned(),
        seconds: comparing.clock.elapsed().as_secs_f64(),
        runs: (comparing.complete.len(), config.n_runs()),
        interrupted: !complete,
        results: (!comparing.runs.is_empty()).then(|| comparing.results()),
        pretraining: comparing.pretraining,
    })
}

/// Takes over what does not change a number, and so may be changed on the way.
fn forgive(config: &ComparisonConfig, there: &mut ComparisonConfig) {
    there.finetune.data.workers = config.finetune.data.workers;
    there.finetune.data.memory_mib = config.finetune.data.memory_mib;
}

/// How a comparison began: its `run.json`.
#[derive(Serialize, Deserialize)]
struct Beginning {
    /// Version of this program.
    ppkt: String,
    machine: String,
    date: String,
    command: String,
}

impl Beginning {
    /// Reads it, or writes it where the comparison begins now: what repeats a comparison is the command that began it,
    /// not the one that resumed it.
    fn of(folder: &RunFolder, command: &str) -> Result<Self> {
        let path = folder.provenance();
        if path.is_file() {
            return read_json(&path);
        }
        let beginning = Self {
            ppkt: env!("CARGO_PKG_VERSION").to_owned(),
            machine: machine(),
            date: today(),
            command: command.to_owned(),
        };
        write_json(&path, &beginning)?;
        Ok(beginning)
    }
}

/// Everything that lives through a comparison.
struct Comparing<'a, 'o> {
    config: &'a ComparisonConfig,
    folder: RunFolder,
    command: String,
    pretraining: Option<Summary>,
    /// The pretrained weights.
    from: String,
    device: &'a Device,
    observer: &'a mut SaysOnce<'o>,
    stop: &'a AtomicBool,
    clock: Instant,
    /// Trainings done in this sitting, and the time they took.
    trained: (u32, Duration),
    /// Folders of the trainings that are complete; that of the first seed and the chosen rate is met twice.
    complete: HashSet<PathBuf>,
    choices: Vec<Choice>,
    runs: Vec<ComparisonRun>,
    classes: Vec<String>,
}

impl Comparing<'_, '_> {
    /// Whether it came to its end.
    fn all(&mut self) -> Result<bool> {
        if let Some(config) = &self.config.pretrain {
            let place = self.folder.root().join("pretrain");
            let start = start_in(&place);
            self.observer.inner.message(&format!("pretraining, {} steps", config.steps));
            let summary = pretrain(config, &place, start, self.device, self.observer, self.stop)?;
            let interrupted = summary.interrupted;
            self.pretraining = Some(summary);
            if interrupted {
                return Ok(false);
            }
            self.from = place.to_string_lossy().into_owned();
        }
        for &share in &self.config.shares {
            for side in Side::BOTH {
                let Some(lr) = self.choose(share, side)? else { return Ok(false) };
                for &seed in &self.config.seeds {
                    let training = Training { share, side, lr, seed };
                    let Some((scores, _)) = self.trained(training)? else { return Ok(false) };
                    self.classes = scores.classes.iter().map(|c| c.name.clone()).collect();
                    self.runs.push(ComparisonRun::new(training, &scores));
                    write_json(&self.folder.root().join("results.json"), &self.results())?;
                }
            }
        }
        Ok(true)
    }

    /// The learning rate of a side at a share; `None` if the comparison was stopped.
    fn choose(&mut self, share: f64, side: Side) -> Result<Option<f64>> {
        let lrs = self.config.lrs(side);
        if let [lr] = lrs {
            return Ok(Some(*lr));
        }
        let seed = self.config.seeds[0];
        let mut tried: Vec<(f64, f64)> = Vec::new();
        for &lr in lrs {
            let training = Training { share, side, lr, seed };
            let Some((_, validation)) = self.trained(training)? else { return Ok(None) };
            let missing = || TrainError::Config("no frames were kept back to choose by".into());
            tried.push((lr, validation.ok_or_else(missing)?.miou));
        }
        // Of equals the first.
        let best = tried.iter().fold(tried[0], |best, t| if t.1 > best.1 { *t } else { best }).0;
        self.choices.extend(tried.iter().map(|&(lr, validation_miou)| Choice {
            share,
            side,
            lr,
            validation_miou,
            chosen: lr == best,
        }));
        Ok(Some(best))
    }

    /// The scores of one training on the test frames and on those kept back, from its folder where it is complete;
    /// `None` if it was stopped.
    fn trained(&mut self, training: Training) -> Result<Option<(Scores, Option<Scores>)>> {
        let place = self.folder.root().join(training.folder());
        let (scored, kept_back) = (place.join("eval.json"), place.join("validation.json"));
        let read = || -> Result<(Scores, Option<Scores>)> {
            Ok((read_json(&scored)?, kept_back.is_file().then(|| read_json(&kept_back)).transpose()?))
        };
        if scored.is_file() {
            let scores = read()?;
            self.complete.insert(place);
            return Ok(Some(scores));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.announce(training);
        let mut config: FinetuneConfig = self.config.finetune.clone();
        config.seed = training.seed;
        config.labels.share = training.share;
        config.optimizer.lr = training.lr;
        config.from = match training.side {
            Side::Scratch => String::new(),
            Side::Pretrained => self.from.clone(),
        };
        let began = Instant::now();
        let summary = finetune(&config, &place, start_in(&place), self.device, self.observer, self.stop)?;
        let Some(scores) = summary.scores else { return Ok(None) };
        self.trained = (self.trained.0 + 1, self.trained.1 + began.elapsed());
        // The run is complete, and its network in a file of its own; dozens of runs would fill a disk with the rest.
        let checkpoints = place.join("checkpoints");
        std::fs::remove_dir_all(&checkpoints)
            .map_err(|e| TrainError::io("remove the checkpoints of a complete run", &checkpoints, e))?;
        self.complete.insert(place);
        let kept = summary
            .validation
            .as_ref()
            .map_or(String::new(), |v| format!(", kept back {:.1} %", 100.0 * v.miou));
        let line = format!("  mIoU {:.1} %{kept}, {:.0} s", 100.0 * scores.miou, summary.seconds);
        self.observer.inner.message(&line);
        Ok(Some((scores, summary.validation)))
    }

    fn announce(&mut self, Training { share, side, lr, seed }: Training) {
        let n = self.config.n_runs();
        let left = match self.trained {
            (0, _) => String::new(),
            (trained, time) => {
                let minutes = (time / trained * (n - self.complete.len()) as u32).as_secs_f64() / 60.0;
                format!("; about {minutes:.0} min left")
            }
        };
        let text = format!(
            "training {} of {n}: {} % of the labels, {}, learning rate {lr}, seed {seed}{left}",
            self.complete.len() + 1,
            percent(share),
            side.name(),
        );
        self.observer.inner.message(&text);
    }

    fn results(&self) -> Comparison {
        Comparison {
            task: "segmentation".into(),
            metric: "miou".into(),
            classes: self.classes.clone(),
            settings: self.config.clone(),
            machine: machine(),
            date: today(),
            command: self.command.clone(),
            choices: self.choices.clone(),
            runs: self.runs.clone(),
            table: table(&self.config.shares, &self.runs),
        }
    }
}

/// A folder in which a run was begun is gone on with.
fn start_in(place: &Path) -> Start {
    if RunFolder::config_in(place).is_file() { Start::Resume } else { Start::Fresh }
}

/// Says to another observer whatever its runs say, but the same sentence only once: dozens of runs have the same notes.
struct SaysOnce<'o> {
    inner: &'o mut dyn Observer,
    said: HashSet<String>,
}

impl Observer for SaysOnce<'_> {
    fn message(&mut self, text: &str) {
        if self.said.insert(text.to_owned()) {
            self.inner.message(text);
        }
    }

    fn progress(&mut self, task: &str, done: u64, total: u64) {
        self.inner.progress(task, done, total);
    }

    fn progress_done(&mut self, task: &str) {
        self.inner.progress_done(task);
    }

    fn begin(&mut self, first_step: u64, steps: u64) {
        self.inner.begin(first_step, steps);
    }

    fn step(&mut self, metrics: &StepMetrics) {
        self.inner.step(metrics);
    }

    fn trained(&mut self, metrics: &FinetuneMetrics) {
        self.inner.trained(metrics);
    }

    fn validated(&mut self, steps_done: u64, retrieval: &Retrieval) {
        self.inner.validated(steps_done, retrieval);
    }

    fn checkpointed(&mut self, place: &Path) {
        self.inner.checkpointed(place);
    }

    fn end(&mut self) {
        self.inner.end();
    }
}
