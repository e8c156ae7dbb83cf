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

impl Run {
    /// Reads a folder.
    ///
    /// A file that is missing or half-written is noted; one that is nonsense is an error that names it. Pictures and
    /// clouds are only noted in either case: the page says more without them than an error does.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut run = Self { name: name_of(folder), ..Self::default() };
        run.config = files::toml(&folder.join("config.toml"), "settings")?;
        run.provenance = files::json(&folder.join("run.json"), "provenance")?;
        run.steps = metrics::steps(&folder.join("metrics.jsonl"), &mut run.notes)?;
        run.measured = metrics::measured(&folder.join("validation.jsonl"), &mut run.notes)?;
        run.evaluation = Evaluation::read_if_there(&folder.join("eval.json"))?;
        run.labelled = files::json(&folder.join("labels.json"), "list of labels")?;
        run.results = LabelResults::read_if_there(&folder.join("results.json"))?;
        run.pictures = media::pictures(&folder.join("pictures"), &mut run.notes)?;
        run.clouds = media::clouds(&folder.join("samples"), &mut run.notes)?;
        if run.is_empty() {
            return Err(ReportError::NoRun { path: folder.to_owned() });
        }
        run.note_what_is_missing();
        Ok(run)
    }

    fn is_empty(&self) -> bool {
        self.config.is_none() && self.steps.is_empty() && self.evaluation.is_none() && self.results.is_none()
    }

    fn note_what_is_missing(&mut self) {
        if self.results.is_some() && self.steps.is_empty() {
            // A comparison has no steps of its own.
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
            (Some(_), _, true) => "label efficiency",
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
