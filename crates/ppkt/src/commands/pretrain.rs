//! `ppkt pretrain`: from a recipe, frames and a teacher to a pretrained 3D network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use candle_core::Device;
use ppkt_train::{PretrainConfig, Recipe, RunFolder, Start, Summary, TrainError};
use serde::Serialize;

use crate::bars::Bars;
use crate::cli::Pretrain;
use crate::commands::{report, teacher};
use crate::output::{self, say};

/// Resolves the configuration and trains.
pub(crate) fn run(arguments: &Pretrain, json: bool) -> Result<()> {
    let config = resolve(arguments)?;
    if arguments.print_config {
        config.check()?;
        return print_config(&config, json);
    }
    let start = if arguments.resume { Start::Resume } else { Start::Fresh };
    train(&config, &arguments.out, start, &arguments.on.device.open()?, json)
}

/// The recipe with the flags and settings over it; a resumed run without a recipe has its own.
fn resolve(arguments: &Pretrain) -> Result<PretrainConfig> {
    let mut set = flags([
        ("data.train", arguments.data.as_ref()),
        ("teacher.uri", arguments.teacher.as_ref()),
        ("teacher.cache", arguments.cache.as_ref()),
        ("teacher.cache_limit", arguments.cache_limit.as_ref()),
        ("memory_limit", arguments.memory_limit.as_ref()),
    ]);
    set.extend(arguments.precision.map(|p| ("precision".to_owned(), quoted(p.name()))));
    set.extend(overrides(&arguments.set)?);
    let recipe = match &arguments.recipe {
        Some(recipe) => recipe.clone(),
        None => recipe_of_begun(&arguments.out, "run")?,
    };
    Ok(ppkt_train::resolve(&recipe, &set)?)
}

/// The settings that what lies in `out` was begun with: those of a resumption without a recipe. `what` is what it would
/// be: run, comparison.
pub(crate) fn recipe_of_begun(out: &Path, what: &str) -> Result<String, TrainError> {
    let config = RunFolder::config_in(out);
    if !config.is_file() {
        return Err(TrainError::Config(format!("there is no {what} to resume: {out:?}")));
    }
    Ok(config.to_string_lossy().into_owned())
}

/// Prints a resolved configuration as a recipe, or as JSON.
pub(crate) fn print_config<C: Recipe + Serialize>(config: &C, json: bool) -> Result<()> {
    match json {
        true => output::line(format_args!("{}", serde_json::to_string(config)?)),
        false => output::bytes(ppkt_train::to_toml(config)?.as_bytes()),
    }
}

/// A text as a setting has it: quoted.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Settings that have flags of their own, where these are given.
pub(crate) fn flags<const N: usize>(given: [(&str, Option<&String>); N]) -> Vec<(String, String)> {
    let mut set = Vec::new();
    for (key, value) in given {
        let Some(value) = value else { continue };
        set.push((key.to_owned(), quoted(value)));
        if key == "teacher.cache" {
            set.push(("batch.plain_images".to_owned(), "true".to_owned()));
        }
    }
    set
}

/// `key=value` texts as pairs.
pub(crate) fn overrides(set: &[String]) -> Result<Vec<(String, String)>, TrainError> {
    set.iter()
        .map(|text| {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                TrainError::Config(format!(
                    "--set {text:?} has no '=': write KEY=VALUE, such as optimizer.lr=0.1"
                ))
            })?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Trains with progress on standard error and the result on standard output.
fn train(config: &PretrainConfig, out: &Path, start: Start, device: &Device, json: bool) -> Result<()> {
    config.check()?;
    // With a progress bar, which the library has none of.
    teacher::prefetch(&config.teacher_uri()?)?;
    let stop = stop_on_ctrl_c()?;
    let summary = ppkt_train::pretrain(config, out, start, device, &mut Bars::new(), &stop)?;
    let page = report::of_finished_run(&summary.run);
    if json {
        say!("{}", serde_json::to_string(&Printed { summary: &summary, page })?);
    } else {
        show(&summary, page.as_deref())?;
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize)]
pub(crate) struct Printed<'a, S> {
    #[serde(flatten)]
    pub(crate) summary: &'a S,
    pub(crate) page: Option<PathBuf>,
}

/// A flag that the first Ctrl-C sets; the second ends the program at once.
pub(crate) fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

/// What pretraining did to loss and retrieval.
pub(crate) fn before_and_after(summary: &Summary) -> Result<()> {
    let percent = |share: f64| format!("{:5.1} %", 100.0 * share);
    let (at_1, at_5) = (summary.retrieval_at_1, summary.retrieval_at_5);
    say!("\n{} steps in {:.0} s", summary.steps, summary.seconds);
    say!("                          before       after");
    say!("loss of the batch     {:>10.3}  {:>10.3}", summary.loss.first, summary.loss.last);
    say!("held-out retrieval@1  {:>10}  {:>10}", percent(at_1.before), percent(at_1.after));
    say!("held-out retrieval@5  {:>10}  {:>10}", percent(at_5.before), percent(at_5.after));
    say!(
        "(how often a point finds its own pixel among {}; chance {:.1} %)",
        summary.candidates,
        100.0 / summary.candidates as f64
    );
    Ok(())
}

fn show(summary: &Summary, page: Option<&Path>) -> Result<()> {
    before_and_after(summary)?;
    if summary.skipped > 0 {
        say!("{} damaged frames were left out; metrics.jsonl names them", summary.skipped);
    }
    if let Some(cache) = &summary.cache {
        say!("feature cache: {cache}");
    }
    say!("\nrun folder  {}", summary.run.display());
    if let Some(overview) = summary.pictures.last() {
        say!("pictures    {}", overview.display());
    }
    if let Some(page) = page {
        say!("page        {}", page.display());
    }
    if summary.interrupted {
        say!("\nstopped early; go on with: ppkt pretrain --out {} --resume", summary.run.display());
    }
    Ok(())
}
