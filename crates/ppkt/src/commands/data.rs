//! `ppkt data`: look at, check and make data.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ppkt_data::{DataUri, Inspection, Report, Severity, Split};

use crate::bars::{Bars, bar};
use crate::cli::{Data, FillCache};
use crate::commands::{pretrain, teacher};
use crate::output::say;

/// Runs one of the commands.
pub(crate) fn run(command: &Data, json: bool) -> Result<()> {
    match command {
        Data::Inspect { uri } => {
            let inspection = ppkt_data::inspect(&uri.parse()?)?;
            if json {
                say!("{}", serde_json::to_string(&inspection)?);
            } else {
                show_inspection(&inspection)?;
            }
            Ok(())
        }
        Data::Verify { uri, pictures, frames } => verify(&uri.parse()?, pictures.as_deref(), *frames, json),
        Data::Cache(arguments) => cache(arguments, json),
        Data::Synth { out, rooms } => synth(&rooms.parse()?, out, json),
    }
}

fn show_inspection(i: &Inspection) -> Result<()> {
    say!("{} ({})", i.uri, i.title);
    say!("frames       {} to train on, {} held out", i.train, i.validation);
    match &i.classes {
        Some(classes) => {
            say!("classes      {}: {}", classes.names().len() - 1, classes.names()[1..].join(", "))
        }
        None => say!("classes      none"),
    }
    let extent = i.first.bounds_m.map(|[low, high]| high - low);
    say!(
        "first frame  {}: {} points in {:.2} × {:.2} × {:.2} m",
        i.first.name,
        i.first.points,
        extent[0],
        extent[1],
        extent[2]
    );
    for view in &i.first.views {
        let [fx, fy, cx, cy] = view.intrinsics;
        say!("  view       {}×{} pixels, {}", view.size[0], view.size[1], view.lens);
        say!("             fx {fx:.1}, fy {fy:.1}, cx {cx:.1}, cy {cy:.1} (first pixel's centre at 0.5)");
        if let (Some(share), Some([near, far])) = (view.depth, view.depth_m) {
            say!("             depth at {:.0} % of the pixels, {near:.2} to {far:.2} m", 100.0 * share);
        }
    }
    say!("licence      {}", i.licence);
    say!("fingerprint  {}", i.fingerprint);
    for note in &i.notes {
        say!("note         {note}");
    }
    Ok(())
}

fn verify(uri: &DataUri, pictures: Option<&Path>, frames: usize, json: bool) -> Result<()> {
    let spinner = bar(None, "{spinner} checking every frame · {elapsed}");
    spinner.enable_steady_tick(Duration::from_millis(120));
    let report = ppkt_data::verify(uri, None);
    spinner.finish_and_clear();
    let report = report?;
    let drawn = match pictures {
        Some(folder) => draw(uri, folder, frames)?,
        None => 0,
    };
    if json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        show_report(&report)?;
        if let (Some(folder), true) = (pictures, drawn > 0) {
            say!(
                "\n{drawn} pictures in {}: coloured lines are edges of depth, coloured dots points of a LiDAR;",
                folder.display()
            );
            say!("they must lie on the outlines of things in the photo, and on the things");
        }
    }
    match report.errors() {
        0 => Ok(()),
        1 => bail!("1 fault found in {uri}; it is listed above, with its remedy"),
        n => bail!("{n} faults found in {uri}; they are listed above, with their remedies"),
    }
}

/// Draws frames spread over the dataset; one that cannot be read is in the report already.
fn draw(uri: &DataUri, folder: &Path, frames: usize) -> Result<usize> {
    let Ok(dataset) = uri.open(Split::All) else { return Ok(0) };
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {folder:?}"))?;
    let wanted = frames.min(dataset.len());
    let mut drawn = 0;
    for i in 0..wanted {
        let index = i * dataset.len() / wanted;
        let Ok(scene) = dataset.sample(index) else { continue };
        let Some(picture) = ppkt_data::draw_registration(&scene) else { continue };
        let name = ppkt_train::file_name(&scene.name);
        let path = folder.join(format!("{i:02}-{name}.png"));
        picture.save(&path).with_context(|| format!("cannot write the picture {path:?}"))?;
        drawn += 1;
    }
    Ok(drawn)
}

fn show_report(r: &Report) -> Result<()> {
    say!("{} ({})", r.uri, r.title);
    say!("frames        {} to train on, {} held out", r.train, r.validation);
    say!("checked       {}, of which {} are good", r.checked, r.good);
    if let Some([width, height]) = r.image_size {
        say!("photos        {width}×{height} pixels");
    }
    if let Some(d) = &r.depth {
        say!("depth         {:.2} to {:.2} m, median {:.2} m", d.near_m, d.far_m, d.median_m);
        say!(
            "              {:.0} % of the pixels measured, {:.0} % of these seen by the photo",
            100.0 * d.valid,
            100.0 * d.seen
        );
    }
    if let Some(g) = &r.registration {
        let [right, down] = g.best_shift_px;
        say!(
            "registration  edges of depth and colour agree best when shifted by ({right}, {down}) pixels, {:.2} times \
             better than unshifted",
            g.gain
        );
    }
    if let Some(m) = r.neighbours_differ_m {
        say!("poses         neighbouring frames differ by {:.1} mm in depth (median)", 1000.0 * m);
    }
    if let Some(classes) = &r.classes {
        let shares: Vec<String> =
            classes.iter().map(|c| format!("{} {:.1} %", c.name, 100.0 * c.share)).collect();
        say!("classes       {}", shares.join(", "));
    }
    for note in &r.notes {
        say!("note          {note}");
    }
    if r.faults.is_empty() {
        say!("no fault found");
    }
    for fault in &r.faults {
        let severity = if fault.severity == Severity::Error { "FAULT" } else { "warning" };
        let frame = fault.frame.as_ref().map(|f| format!(" (frame {f})")).unwrap_or_default();
        say!("{severity}: {}{frame}: {}", fault.kind, fault.message);
    }
    Ok(())
}

/// Fills a cache of feature maps with the recipe and settings of a run.
fn cache(arguments: &FillCache, json: bool) -> Result<()> {
    let mut set = pretrain::flags([
        ("data.train", Some(&arguments.uri)),
        ("teacher.uri", arguments.teacher.as_ref()),
        ("teacher.cache", Some(&arguments.cache)),
        ("teacher.cache_limit", arguments.cache_limit.as_ref()),
    ]);
    set.extend(pretrain::overrides(&arguments.set)?);
    let config: ppkt_train::PretrainConfig = ppkt_train::resolve(&arguments.recipe, &set)?;
    config.check()?;
    teacher::prefetch(&config.teacher_uri()?)?;
    let stop = pretrain::stop_on_ctrl_c()?;
    let device = arguments.on.device.open()?;
    let report = ppkt_train::fill_cache(&config, &device, &mut Bars::new(), &stop)?;
    if json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        say!("{report}");
        say!("in {}; use it with: ppkt pretrain … --cache {0}", arguments.cache);
    }
    Ok(())
}

fn synth(rooms: &DataUri, out: &Path, json: bool) -> Result<()> {
    let bar = bar(Some(0), "rendering {wide_bar} {pos}/{len} · {per_sec} · {eta} left");
    let written = ppkt_data::write_frames(rooms, out, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let frames = written?;
    if json {
        say!("{}", serde_json::json!({ "frames": frames, "folder": out }));
    } else {
        say!("{frames} frames in {}; use them as frames:{}", out.display(), out.display());
    }
    Ok(())
}
