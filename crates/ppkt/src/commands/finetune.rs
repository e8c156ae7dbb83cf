//! `ppkt finetune` and `ppkt probe`: from labelled frames and a backbone to a network that names classes.

use anyhow::Result;
use ppkt_train::{FinetuneConfig, FinetuneSummary, Start};

use crate::bars::Bars;
use crate::cli::Finetune;
use crate::commands::pretrain::Printed;
use crate::commands::{eval, pretrain, report};
use crate::output::say;

/// Resolves the configuration, over the recipe `usual` where none is named, and trains.
pub(crate) fn run(arguments: &Finetune, usual: &str, json: bool) -> Result<()> {
    let config = resolve(arguments, usual)?;
    config.check()?;
    if arguments.print_config {
        return pretrain::print_config(&config, json);
    }
    let start = if arguments.resume { Start::Resume } else { Start::Fresh };
    let device = arguments.on.device.open()?;
    let stop = pretrain::stop_on_ctrl_c()?;
    let summary = ppkt_train::finetune(&config, &arguments.out, start, &device, &mut Bars::new(), &stop)?;
    let page = report::of_finished_run(&summary.run);
    if json {
        say!("{}", serde_json::to_string(&Printed { summary: &summary, page })?);
        return Ok(());
    }
    show(&summary)?;
    if let Some(page) = page {
        say!("page        {}", page.display());
    }
    Ok(())
}

/// The recipe, over it what the weights bring along, over that the flags; a resumed run without a recipe has its own.
fn resolve(arguments: &Finetune, usual: &str) -> Result<FinetuneConfig> {
    let recipe = match &arguments.recipe {
        Some(recipe) => recipe.clone(),
        None if arguments.resume => pretrain::recipe_of_begun(&arguments.out, "run")?,
        None => usual.to_owned(),
    };
    let mut set = Vec::new();
    if let Some(from) = &arguments.from {
        set.extend(ppkt_train::settings_of_weights(from)?);
        set.push(("from".to_owned(), pretrain::quoted(from)));
    }
    set.extend(arguments.data.iter().map(|data| ("data.train".to_owned(), pretrain::quoted(data))));
    set.extend(arguments.share.iter().map(|share| ("labels.share".to_owned(), share.to_string())));
    set.extend(arguments.precision.map(|p| ("precision".to_owned(), pretrain::quoted(p.name()))));
    let limit = arguments.memory_limit.iter();
    set.extend(limit.map(|limit| ("memory_limit".to_owned(), pretrain::quoted(limit))));
    set.extend(pretrain::overrides(&arguments.set)?);
    Ok(ppkt_train::resolve(&recipe, &set)?)
}

fn show(summary: &FinetuneSummary) -> Result<()> {
    let (frames, points) = summary.labelled;
    say!(
        "\n{} steps in {:.0} s on {frames} labelled frames ({points} points)",
        summary.steps,
        summary.seconds
    );
    say!("loss {:.3} at first, {:.3} at last\n", summary.loss.first, summary.loss.last);
    if let Some(scores) = &summary.scores {
        eval::show(scores)?;
    }
    say!("\nrun folder  {}", summary.run.display());
    if summary.interrupted {
        say!("\nstopped early; go on with: ppkt finetune --out {} --resume", summary.run.display());
    }
    Ok(())
}
