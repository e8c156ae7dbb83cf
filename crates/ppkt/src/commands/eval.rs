//! `ppkt eval`: how right a network is on labelled frames.

use anyhow::Result;
use ppkt_train::{EvalConfig, MeasureConfig, Scores};

use crate::bars::Bars;
use crate::cli::Eval;
use crate::output::say;

/// Measures, and prints a table or JSON.
pub(crate) fn run(arguments: &Eval, json: bool) -> Result<()> {
    let config = EvalConfig {
        from: arguments.from.clone(),
        data: arguments.data.clone(),
        split: arguments.split.parse()?,
        measure: MeasureConfig { votes: usize::from(arguments.votes), frames: 0 },
    };
    let device = arguments.on.device.open()?;
    let scores = ppkt_train::evaluate(&config, arguments.samples.as_deref(), &device, &mut Bars::new())?;
    if json {
        say!("{}", serde_json::to_string(&scores)?);
        return Ok(());
    }
    show(&scores)
}

/// The table of scores.
pub(crate) fn show(scores: &Scores) -> Result<()> {
    let percent = |share: Option<f64>| share.map_or("–".to_owned(), |s| format!("{:.1}", 100.0 * s));
    let width = scores.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(5);
    say!("{:width$}  {:>7}  {:>9}  {:>10}", "class", "IoU %", "found %", "points");
    for class in &scores.classes {
        let (iou, found) = (percent(class.iou), percent(class.accuracy));
        say!("{:width$}  {iou:>7}  {found:>9}  {:>10}", class.name, class.points);
    }
    let (miou, macc) = (percent(Some(scores.miou)), percent(Some(scores.macc)));
    say!("{:width$}  {miou:>7}  {macc:>9}  {:>10}", "mean", scores.points);
    say!("{} of all points of {} frames are right", percent(Some(scores.accuracy)) + " %", scores.frames);
    Ok(())
}
