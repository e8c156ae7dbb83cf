//! Runs the program as a user does.

use std::path::Path;
use std::process::{Command, Output};

/// The program, quiet and off the network; on the processor, unless `PPKT_DEVICE` names another device.
pub(crate) fn ppkt() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ppkt"));
    command.env("HF_HUB_OFFLINE", "1");
    if std::env::var_os("PPKT_DEVICE").is_none() {
        command.env("PPKT_DEVICE", "cpu");
    }
    command
}

/// Arguments of a pretraining that takes a second or two: rendered rooms, a small student, twelve steps.
pub(crate) fn small_run(out: &Path) -> Vec<String> {
    let set = [
        "data.train=synthetic:rooms?scenes=12&width=64&height=48",
        "data.workers=1",
        "batch.image_size=[64,48]",
        "batch.frames_per_batch=2",
        "batch.voxel_size_m=0.15",
        "objective.pairs=128",
        "objective.dimensions=16",
        "optimizer.accumulate=2",
        "optimizer.clip_norm=0.5",
        "validation.frames=4",
        "validation.candidates=64",
        "validation.every=5",
        "checkpoint.every=2",
        "pictures.frames=1",
        "steps=12",
    ];
    let mut arguments: Vec<String> = ["pretrain", "--recipe", "demo", "--out"].map(String::from).to_vec();
    arguments.push(out.to_string_lossy().into_owned());
    arguments.push("--set".into());
    arguments.extend(set.map(String::from));
    arguments
}

/// Runs to the end and gives what was printed.
pub(crate) fn finish(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// Asserts success, showing standard error otherwise.
#[track_caller]
pub(crate) fn assert_done(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "exit {:?}: {stderr}", output.status.code());
}

/// Asserts that the program failed with `code` and one error that holds each of `words`, and did not panic.
#[track_caller]
pub(crate) fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

/// The losses of a run as they are written, by step.
pub(crate) fn losses(run: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics are there");
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
            (value["step"].as_u64().expect("a step"), value["loss"].as_f64().expect("a loss"))
        })
        .collect()
}
