//! A run folder, read: whatever is in it, and what is missing.

pub(crate) mod evaluation;
pub(crate) mod files;
pub(crate) mod labels;
pub(crate) mod media;
pub(crate) mod metrics;

use std::path::Path;

use serde_json::Value;

use crate::error::{ReportError, Result};
use evaluation::Evaluation;
use labels::LabelResults;
use media::{Cloud, Picture};
use metrics::{Measured, Step};

/// Everything that a page shows.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Name of the folder.
    pub name: String,
    pub config: Option<toml::Table>,
    /// `run.json`: versions and fingerprints.
    pub provenance: Option<Value>,
    /// `metrics.jsonl`, by step.
    pub steps: Vec<Step>,
    /// `validation.jsonl`, by step.
    pub measured: Vec<Measured>,
    pub pictures: Vec<Picture>,
    pub clouds: Vec<Cloud>,
    pub evaluation: Option<Evaluation>,
    /// `labels.json`: the share of labels that was trained on.
    pub labelled: Option<Value>,
    pub results: Option<LabelResults>,
    /// What is missing or was left out, one sentence each.
    pub notes: Vec<String>,
}

/// The folder of a comparison that holds the pretraining.
const PRETRAINING: &str = "pretrain";

impl Run {
    /// Reads a folder.
    ///
    /// A file that is missing or half-written is noted; one that is nonsense is an error that names it. Pictures and
    /// clouds are only noted in either case: the page says more without them than an error does.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let results = LabelResults::read_if_there(&folder.join("results.json"))?;
        // A comparison has no steps of its own, but may hold the pretraining that it is about.
        let pretraining = folder.join(PRETRAINING);
        let trained = if results.is_some() && pretraining.is_dir() { pretraining } else { folder.to_owned() };
        let mut run = Self { name: name_of(folder), results, ..Self::default() };
        run.config = files::toml(&folder.join("config.toml"), "settings")?;
        run.provenance = files::json(&trained.join("run.json"), "provenance")?;
        run.steps = metrics::steps(&trained.join("metrics.jsonl"), &mut run.notes)?;
        run.measured = metrics::measured(&trained.join("validation.jsonl"), &mut run.notes)?;
        run.evaluation = Evaluation::read_if_there(&trained.join("eval.json"))?;
        run.labelled = files::json(&trained.join("labels.json"), "list of labels")?;
        run.pictures = media::pictures(&trained.join("pictures"), &mut run.notes)?;
        run.clouds = media::clouds(&trained.join("samples"), media::MOST_CLOUDS, &mut run.notes)?;
        run.read_shown(folder)?;
        if run.is_empty() {
            return Err(ReportError::NoRun { path: folder.to_owned() });
        }
        run.note_what_is_missing();
        Ok(run)
    }

    /// Scores and clouds of the run that stands for the others of a comparison.
    fn read_shown(&mut self, folder: &Path) -> Result<()> {
        let Some((_, place)) = self.results.as_ref().and_then(LabelResults::shown) else { return Ok(()) };
        let place = folder.join(place);
        self.evaluation = Evaluation::read_if_there(&place.join("eval.json"))?;
        // Half of the page's clouds are of one, half of the other, where both have some.
        let clouds = media::clouds(&place.join("samples"), media::MOST_CLOUDS / 2, &mut Vec::new())?;
        self.clouds.truncate(media::MOST_CLOUDS - clouds.len());
        self.clouds.splice(0..0, clouds);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.config.is_none() && self.steps.is_empty() && self.evaluation.is_none() && self.results.is_none()
    }

    fn note_what_is_missing(&mut self) {
        if self.results.is_some() {
            // What a comparison lacks it need not have.
            return;
        }
        if self.config.is_none() {
            self.notes.push("The settings are missing: there is no config.toml.".into());
        }
        if self.provenance.is_none() {
            self.notes.push("Versions and fingerprints are missing: there is no run.json.".into());
        }
        if self.steps.is_empty() {
            self.notes.push("No step is on record in metrics.jsonl.".into());
        }
        let wanted =
            self.setting("steps").and_then(toml::Value::as_integer).and_then(|n| u64::try_from(n).ok());
        if let Some((wanted, last)) = wanted.zip(self.steps.last())
            && last.step + 1 < wanted
        {
            self.notes.push(format!("The run stopped after {} of {wanted} steps.", last.step + 1));
        }
        if self.measured.is_empty() && !self.steps.is_empty() && self.evaluation.is_none() {
            self.notes.push("No measurement on held-out frames is on record in validation.jsonl.".into());
        }
        if self.clouds.is_empty() {
            self.notes.push("There is no cloud to show: samples/ holds no readable PLY file.".into());
        }
    }

    /// A setting by its path, such as `data.train`.
    pub(crate) fn setting(&self, path: &str) -> Option<&toml::Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        let mut value = self.config.as_ref()?.get(first)?;
        for key in rest.into_iter().flat_map(|r| r.split('.')) {
            value = value.get(key)?;
        }
        Some(value)
    }

    /// A setting that is a text and not empty.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.setting(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// What kind of run this is, in a word or two.
    pub(crate) fn kind(&self) -> &'static str {
        match (&self.results, &self.evaluation, self.steps.is_empty()) {
            (Some(_), ..) => "label efficiency",
            (_, Some(_), true) => "evaluation",
            (_, Some(_), false) => "fine-tuning",
            _ => "pretraining",
        }
    }
}

/// The folder's own name, also for `.` and `runs/..`.
fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
}
