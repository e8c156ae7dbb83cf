//! `ppkt bench-labels`: what labels are worth with and without pretraining.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use ppkt_report::LabelResults;
use ppkt_train::{ComparisonConfig, ComparisonRow, ComparisonSummary, Start};

use crate::bars::Bars;
use crate::cli::BenchLabels;
use crate::commands::pretrain::Printed;
use crate::commands::{pretrain, report, teacher};
use crate::output::say;

/// Resolves the configuration and compares.
pub(crate) fn run(arguments: &BenchLabels, json: bool) -> Result<()> {
    let config = resolve(arguments)?;
    config.check()?;
    if arguments.print_config {
        return pretrain::print_config(&config, json);
    }
    let start = if arguments.resume { Start::Resume } else { Start::Fresh };
    compare(&config, &arguments.out, start, &arguments.on.device.open()?, json)
}

/// Compares, with progress on standard error and the table on standard output.
pub(crate) fn compare(
    config: &ComparisonConfig,
    out: &Path,
    start: Start,
    device: &Device,
    json: bool,
) -> Result<()> {
    if let Some(config) = &config.pretrain {
        teacher::prefetch(&config.teacher_uri()?)?;
    }
    let stop = pretrain::stop_on_ctrl_c()?;
    let command = std::env::args().skip(1).fold("ppkt".to_owned(), |all, word| all + " " + &quoted(&word));
    let summary = ppkt_train::compare(config, out, &command, start, device, &mut Bars::new(), &stop)?;
    if summary.results.is_some() {
        draw(&summary.run)?;
    }
    let page = report::of_finished_run(&summary.run);
    if json {
        say!("{}", serde_json::to_string(&Printed { summary: &summary, page })?);
        return Ok(());
    }
    show(&summary, page)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The recipe, over it what the weights bring along, over that the flags; a resumed comparison without a recipe has its
/// own.
fn resolve(arguments: &BenchLabels) -> Result<ComparisonConfig> {
    let recipe = match &arguments.recipe {
        Some(recipe) => recipe.clone(),
        None => pretrain::recipe_of_begun(&arguments.out, "comparison")?,
    };
    let mut set = Vec::new();
    if let Some(from) = &arguments.from {
        let settings = ppkt_train::settings_of_weights(from)?;
        set.extend(settings.into_iter().map(|(key, value)| (format!("finetune.{key}"), value)));
        set.push(("finetune.from".to_owned(), pretrain::quoted(from)));
    }
    set.extend(arguments.data.iter().map(|data| ("finetune.data.train".to_owned(), pretrain::quoted(data))));
    if arguments.from.is_none() {
        let unlabelled = arguments.unlabelled.as_ref().or(arguments.data.as_ref());
        set.extend(unlabelled.map(|data| ("pretrain.data.train".to_owned(), pretrain::quoted(data))));
        set.extend(
            arguments.teacher.as_ref().map(|uri| ("pretrain.teacher.uri".to_owned(), pretrain::quoted(uri))),
        );
    }
    if let Some(limit) = &arguments.memory_limit {
        set.push(("finetune.memory_limit".to_owned(), pretrain::quoted(limit)));
        if arguments.from.is_none() {
            set.push(("pretrain.memory_limit".to_owned(), pretrain::quoted(limit)));
        }
    }
    set.extend(pretrain::overrides(&arguments.set)?);
    let mut config: ComparisonConfig = ppkt_train::resolve(&recipe, &set)?;
    if arguments.from.is_some() {
        config.pretrain = None;
    }
    if let Some(precision) = arguments.precision {
        config.finetune.precision = precision;
        config.pretrain.iter_mut().for_each(|pretrain| pretrain.precision = precision);
    }
    Ok(config.settled())
}

/// Draws the plot beside the results.
fn draw(folder: &Path) -> Result<()> {
    let results = LabelResults::read(&folder.join("results.json"))?;
    let plot = ppkt_report::labels_svg(&results);
    ppkt_train::write_whole(&folder.join("labels.svg"), plot.as_bytes()).context("cannot write the plot")
}

fn show(summary: &ComparisonSummary, page: Option<PathBuf>) -> Result<()> {
    if let Some(pretraining) = summary.pretraining.as_ref().filter(|p| !p.interrupted) {
        pretrain::before_and_after(pretraining)?;
    }
    if let Some(results) = &summary.results {
        say!("\nmIoU on test frames, mean ± standard deviation over the seeds, in %\n");
        say!("{:>7}  {:>14}  {:>14}  {:>24}", "labels", "scratch", "pretrained", "difference (95 %)");
        for row in &results.table {
            say!("{}", line(row));
        }
    }
    let (done, all) = summary.runs;
    say!("\n{done} of {all} trainings in {:.0} s", summary.seconds);
    say!("folder      {}", summary.run.display());
    if let Some(page) = page {
        say!("page        {}", page.display());
    }
    if summary.interrupted {
        say!("\nstopped early; go on with: ppkt bench-labels --out {} --resume", summary.run.display());
    }
    Ok(())
}

/// A row of the table.
fn line(row: &ComparisonRow) -> String {
    let side = |name: &str| {
        let Some(s) = row.sides.iter().find(|s| s.side.name() == name) else { return "–".to_owned() };
        let spread = s.std.map_or(String::new(), |std| format!(" ± {:.1}", 100.0 * std));
        format!("{:.1}{spread}", 100.0 * s.mean)
    };
    let difference = row.difference.as_ref().map_or("–".to_owned(), |d| {
        let interval = d
            .low
            .zip(d.high)
            .map_or(String::new(), |(low, high)| format!(" ({:+.1} to {:+.1})", 100.0 * low, 100.0 * high));
        format!("{:+.1}{interval}", 100.0 * d.mean)
    });
    let share = format!("{} %", row.percent());
    format!("{share:>7}  {:>14}  {:>14}  {difference:>24}", side("scratch"), side("pretrained"))
}
