//! Run folders made for tests, in the formats that the drivers write.

use std::f32::consts::TAU;
use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use ppkt_data::SampleCloud;
use serde_json::json;

/// Steps on record.
pub(crate) const STEPS: u64 = 40;
/// What the loss is at a step.
pub(crate) fn loss(step: u64) -> f64 {
    4.0 + 4.0 / (1.0 + step as f64)
}

fn json_lines(lines: impl Iterator<Item = serde_json::Value>) -> String {
    lines.map(|line| format!("{line}\n")).collect()
}

/// A finished pretraining, with a picture and two clouds.
pub(crate) fn pretraining(folder: &Path) {
    let seconds = json!({"wait": 0.001, "teacher": 0.01, "student": 0.03, "objective": 0.01, "backward": 0.04, "optimizer": 0.002});
    let steps =
        (0..STEPS).map(|step| json!({"step": step, "loss": loss(step), "lr": 0.1, "seconds": seconds}));
    let measured = [0u64, 20, 40].map(|step| {
        json!({"step": step, "at_1": 0.001 + 0.002 * step as f64, "at_5": 0.005 + 0.01 * step as f64, "candidates": 1024, "loss": 5.0})
    });
    fs::write(folder.join("metrics.jsonl"), json_lines(steps)).unwrap();
    fs::write(folder.join("validation.jsonl"), json_lines(measured.into_iter())).unwrap();
    let config = format!(
        "seed = 1\nsteps = {STEPS}\n[data]\ntrain = \"synthetic:rooms?scenes=4\"\n[student]\narch = \"MinkUNet14Tiny\"\n"
    );
    fs::write(folder.join("config.toml"), config).unwrap();
    let provenance = json!({"ppkt": "0.1.0", "system": "linux x86_64", "teacher": "tiny layer2", "training": {"name": "rooms", "frames": 4}});
    fs::write(folder.join("run.json"), provenance.to_string()).unwrap();
    fs::create_dir_all(folder.join("pictures")).unwrap();
    for name in ["00-room00001.png", "01-room00002.png", "overview.png"] {
        RgbImage::from_fn(96, 24, |x, y| Rgb([(2 * x) as u8, (8 * y) as u8, 90]))
            .save(folder.join("pictures").join(name))
            .unwrap();
    }
    sample(folder, "00-room00001", &cloud(false));
    sample(folder, "01-room00002", &cloud(false));
}

/// A fine-tuning with scores of two classes.
pub(crate) fn finetuning(folder: &Path) {
    pretraining(folder);
    fs::remove_dir_all(folder.join("samples")).unwrap();
    sample(folder, "00-room00001", &cloud(true));
    let classes = json!([
        {"name": "wall", "colour": [174, 199, 232], "iou": 0.5, "accuracy": 0.8, "points": 900},
        {"name": "floor", "colour": [152, 223, 138], "iou": 0.25, "accuracy": 0.4, "points": 100},
        {"name": "bed", "colour": [255, 187, 120], "iou": null, "accuracy": null, "points": 0},
    ]);
    let evaluation = json!({
        "task": "segmentation", "split": "validation", "frames": 3, "points": 1000,
        "miou": 0.375, "macc": 0.6, "accuracy": 0.76, "classes": classes,
        "confusion": [[720, 180, 0], [60, 40, 0], [0, 0, 0]],
    });
    fs::write(folder.join("eval.json"), evaluation.to_string()).unwrap();
    fs::write(folder.join("labels.json"), json!({"share": 0.05, "frames": ["a", "b"]}).to_string()).unwrap();
}

/// A comparison over two shares of labels.
pub(crate) fn comparison(folder: &Path) {
    let row = |share: f64, scratch: f64, pretrained: f64| {
        json!({"share": share,
            "sides": [{"side": "scratch", "mean": scratch, "std": 0.012, "n": 5}, {"side": "pretrained", "mean": pretrained, "std": 0.009, "n": 5}],
            "difference": {"of": "pretrained", "to": "scratch", "mean": pretrained - scratch, "low": 0.02, "high": 0.09, "n": 5}})
    };
    let run = |seed: u64| json!({"share": 0.05, "seed": seed, "side": "scratch", "lr": 0.1, "miou": 0.2, "macc": 0.3, "accuracy": 0.6, "iou": [0.1, null]});
    let results = json!({
        "task": "segmentation", "metric": "miou", "classes": ["wall", "bed"], "settings": {"steps": 300},
        "machine": "two cores", "date": "2026-01-02", "command": "ppkt bench-labels",
        "runs": [run(1), run(2)], "table": [row(0.1, 0.31, 0.35), row(0.05, 0.2, 0.26)],
    });
    fs::write(folder.join("results.json"), results.to_string()).unwrap();
}

/// A floor and a wall; classes 1 and 2, one prediction in ten is wrong.
fn cloud(labelled: bool) -> SampleCloud {
    let n = 3000;
    let points: Vec<[f32; 3]> = (0..n)
        .map(|i| {
            let (a, b) = ((i % 60) as f32 / 15.0, (i / 60) as f32 / 25.0);
            if i % 2 == 0 { [a, 2.0 * b, 0.0] } else { [a, 4.0, b] }
        })
        .collect();
    let wave = |k: f32| -> Vec<[u8; 3]> {
        points
            .iter()
            .map(|p| [0, 1, 2].map(|c| (127.0 + 120.0 * (TAU * (k * p[c] + 0.3)).sin()) as u8))
            .collect()
    };
    let label: Vec<u16> = (0..n).map(|i| 2 - (i % 2) as u16).collect();
    let prediction = label.iter().enumerate().map(|(i, l)| if i % 10 == 0 { 3 - l } else { *l }).collect();
    SampleCloud {
        colours: Some(wave(0.1)),
        teacher: (!labelled).then(|| wave(0.2)),
        student: (!labelled).then(|| wave(0.3)),
        label: labelled.then_some(label),
        prediction: labelled.then_some(prediction),
        viewpoint: Some([2.0, -3.0, 1.5]),
        points,
    }
}

/// Writes a cloud as a driver does.
pub(crate) fn sample(folder: &Path, name: &str, cloud: &SampleCloud) {
    fs::create_dir_all(folder.join("samples")).unwrap();
    fs::write(folder.join("samples").join(format!("{name}.ply")), cloud.to_ply().to_bytes()).unwrap();
}
