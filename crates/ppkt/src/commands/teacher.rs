//! `ppkt teacher`: look at 2D networks, and fetch them for offline machines.

use std::path::Path;

use anyhow::{Context, Result};
use ppkt_teacher::{HubName, Inspection, TeacherOptions, TeacherUri};
use ppkt_train::TrainError;

use crate::bars::bar;
use crate::cli::Teacher;
use crate::output::say;

/// Runs one of the commands.
pub(crate) fn run(command: &Teacher, json: bool) -> Result<()> {
    match command {
        Teacher::Inspect { uri, stage, image, picture } => {
            let uri = parse(uri)?;
            let stages =
                stage.iter().map(|s| s.parse()).collect::<Result<_, _>>().map_err(TrainError::Config)?;
            let options = TeacherOptions { stages, ..Default::default() };
            prefetch(&uri)?;
            let inspection = ppkt_teacher::inspect(&uri, &options).map_err(TrainError::from)?;
            if let (Some(image), Some(picture)) = (image, picture) {
                draw(&uri, &options, image, picture)?;
            }
            if json {
                say!("{}", serde_json::to_string(&inspection)?);
            } else {
                show(&inspection)?;
            }
            Ok(())
        }
        Teacher::Fetch { uri } => {
            let uri = parse(uri)?;
            let TeacherUri::Hub(name) = &uri else {
                let problem =
                    format!("{uri} is not on the Hub and needs no fetching: name one as hf:org/name");
                return Err(TrainError::Config(problem).into());
            };
            let files = fetch(name)?;
            if json {
                let weights: Vec<String> = files.weights.iter().map(|p| p.display().to_string()).collect();
                say!("{}", serde_json::json!({ "weights": weights, "commit": files.commit }));
            } else {
                for file in &files.weights {
                    say!("{}", file.display());
                }
                say!("at commit {}; works offline now, with --teacher {uri}", files.commit);
            }
            Ok(())
        }
    }
}

/// Reads a teacher URI; a wrong one is a fault of the command line.
fn parse(text: &str) -> Result<TeacherUri> {
    Ok(text.parse::<TeacherUri>().map_err(TrainError::from)?)
}

/// Downloads a network of the Hub with a progress bar, so that opening it later finds it in the cache.
pub(crate) fn prefetch(uri: &TeacherUri) -> Result<()> {
    if let TeacherUri::Hub(name) = uri {
        fetch(name)?;
    }
    Ok(())
}

fn fetch(name: &HubName) -> Result<ppkt_teacher::HubFiles> {
    let bar = bar(Some(0), "{msg:24} {wide_bar} {bytes}/{total_bytes} · {bytes_per_sec} · {eta} left");
    let files = ppkt_teacher::fetch(name, &mut |progress| {
        bar.set_message(progress.file.to_owned());
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    files.with_context(|| format!("cannot fetch hf:{name}"))
}

fn draw(uri: &TeacherUri, options: &TeacherOptions, image: &Path, picture: &Path) -> Result<()> {
    let photo = image::open(image).with_context(|| format!("cannot read the image {image:?}"))?.to_rgb8();
    let teacher = ppkt_teacher::open(uri, options).map_err(TrainError::from)?;
    let drawing = ppkt_train::draw_features(teacher.as_ref(), &photo)?;
    drawing.save(picture).with_context(|| format!("cannot write the picture {picture:?}"))?;
    Ok(())
}

fn show(inspection: &Inspection) -> Result<()> {
    let spec = &inspection.spec;
    say!("{}", spec.name);
    say!("architecture   {} ({} names)", inspection.architecture, inspection.naming);
    say!("tensors        {} with {} numbers", inspection.n_tensors, inspection.n_parameters);
    say!("features       {} channels, one cell for {1}×{1} pixels", spec.channels, spec.stride);
    say!("stages");
    for stage in &inspection.stages {
        let blocks = if stage.blocks == 1 { "block" } else { "blocks" };
        say!(
            "  {:10} {:5} channels, stride {:2}, {} {blocks}",
            stage.stage,
            stage.channels,
            stage.stride,
            stage.blocks
        );
    }
    let p = &inspection.preprocessing;
    say!("normalised by  mean {:?}, std {:?} (from {})", p.mean, p.std, p.from);
    say!("sha256         {}", spec.fingerprint);
    if !inspection.unmatched.is_empty() {
        say!("not used       {}", inspection.unmatched.join(", "));
    }
    for note in &inspection.notes {
        say!("note           {note}");
    }
    Ok(())
}
