//! From the JSON of a run to the table of goals.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::results::Results;

/// What to print.
#[derive(clap::Args)]
pub(crate) struct Table {
    /// What `gpu run` has written
    #[arg(value_name = "FILE")]
    results: PathBuf,
}

/// What stands where there is no figure.
const NONE: &str = "not measured";

impl Table {
    pub(crate) fn run(&self) -> Result<()> {
        let text = std::fs::read(&self.results).with_context(|| format!("cannot read {:?}", self.results))?;
        let results = serde_json::from_slice(&text).context("this is not what `gpu run` writes")?;
        print!("{}", markdown(&results));
        Ok(())
    }
}

/// The table of goals, and the figures behind it.
fn markdown(results: &Results) -> String {
    let bench =
        |name: &str| results.benches.iter().find(|b| b.name.ends_with(name)).and_then(|b| b.result.as_ref());
    let (conv, maps) = (bench("device_conv"), bench("device_kernel_map"));
    let (step, whole) = (bench("device_step"), bench("device_pretrain"));
    let mut text = format!("{}; {}\n\n", results.gpus.first().map_or("no GPU", String::as_str), results.date);
    if [conv, maps, step, whole].into_iter().flatten().any(|b| b.get("rehearsal_divided_by").is_some()) {
        text += "**A rehearsal with small sizes: no figure here means anything.**\n\n";
    }
    text += "| work | goal | measured |\n|---|---|---|\n";
    for channels in [64, 128] {
        for pass in ["forward", "gradient by features", "gradient by weight"] {
            let row = conv.and_then(|c| {
                found(
                    c,
                    "rows",
                    &[("channels", channels.into()), ("precision", "bf16".into()), ("pass", pass.into())],
                )
            });
            let goal = if channels == 128 { "≥ 35 % of dense bf16" } else { "" };
            let told = row.map(|r| {
                format!(
                    "{:.1} TFLOP/s, {:.0} %",
                    number(r, "tflops"),
                    100.0 * number(r, "share_of_dense_bf16")
                )
            });
            line(&mut text, &format!("convolution {channels}→{channels}, 3×3×3, bf16, {pass}"), goal, told);
        }
    }
    let ours = step.and_then(|s| found(s, "steps", &[("precision", "bf16".into())]));
    let best = results.peers.as_ref().and_then(fastest_peer);
    let told = ours.filter(|r| r.get("error").is_none()).map(|row| {
        let mut told = format!("{:.1} ms", number(row, "new_maps_ms"));
        match &best {
            Some((peer, ms)) => {
                write!(told, "; {peer} {ms:.1} ms, {:.2} times", ms / number(row, "new_maps_ms"))
            }
            None => write!(told, "; no peer ran"),
        }
        .unwrap_or_default();
        told
    });
    line(
        &mut text,
        "MinkUNet34C, forward and backward, 4 × 100k voxels, bf16",
        "ahead of the fastest peer",
        told,
    );
    let map = maps.and_then(|m| m["rows"].as_array()?.iter().rfind(|r| r["kernel"] == "3x3x3"));
    let told = map.map(|r| format!("{:.3} ms of {} voxels", number(r, "from_keys_ms"), r["voxels"]));
    line(&mut text, "kernel map, 400k voxels, 27 offsets", "under 1 ms", told);
    for precision in ["bf16", "f32"] {
        let row = whole.and_then(|w| found(w, "rows", &[("precision", precision.into())]));
        let row = row.filter(|r| r.get("error").is_none());
        let told = row.map(|r| {
            format!("{:.0} % of {:.1} ms", 100.0 * number(r, "student_share"), number(r, "step_ms"))
        });
        line(&mut text, &format!("the student's part of a pretraining step, {precision}"), "≥ 80 %", told);
        let told =
            row.map(|r| format!("{:.1} ms of {:.1} ms", number(r, "handed_over_ms"), number(r, "step_ms")));
        line(&mut text, &format!("handing a step over, {precision}"), "no wait in it", told);
    }
    let told = results.pretraining.as_ref().and_then(|p| p.largest_difference).map(|d| format!("{d:.1e}"));
    line(&mut text, "losses of 20 steps, f32, GPU against CPU", "within 1e-3", told);
    let (passed, failed) = results.tests.iter().fold((0, 0), |(p, f), t| (p + t.passed, f + t.failed));
    writeln!(text, "\nTests over devices: {passed} passed, {failed} failed.").unwrap_or_default();
    text
}

fn line(text: &mut String, work: &str, goal: &str, told: Option<String>) {
    writeln!(text, "| {work} | {goal} | {} |", told.as_deref().unwrap_or(NONE)).unwrap_or_default();
}

/// The first of the objects in `list` whose fields have these values.
fn found<'a>(of: &'a Value, list: &str, fields: &[(&str, Value)]) -> Option<&'a Value> {
    of[list].as_array()?.iter().find(|row| fields.iter().all(|(key, value)| row[*key] == *value))
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or(f64::NAN)
}

/// The fastest of the others in half precision, with new maps, and its milliseconds.
fn fastest_peer(peers: &Value) -> Option<(String, f64)> {
    let rows = peers["peers"].as_array()?.iter().flat_map(|peer| {
        let steps = peer["steps"].as_array().into_iter().flatten();
        steps.filter_map(move |row| {
            let (precision, ms) = (row["precision"].as_str()?, row["new_maps_ms"].as_f64()?);
            let half = precision.starts_with("bf16") || precision.starts_with("f16");
            half.then(|| (format!("{}, {precision}", peer["peer"].as_str().unwrap_or_default()), ms))
        })
    });
    rows.min_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::super::results::Bench;
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_not_measured_says_so() {
        let text = markdown(&Results::default());
        assert_eq!(text.matches(NONE).count(), text.matches("\n| ").count() - 1, "{text}");
    }

    #[test]
    fn figures_stand_in_their_rows() {
        let bench = |name: &str, result| Bench {
            name: format!("crate--{name}"),
            seconds: 1.0,
            result: Some(result),
            output: None,
        };
        let results = Results {
            benches: vec![
                bench("device_step", json!({ "steps": [{ "precision": "bf16", "new_maps_ms": 50.0 }] })),
                bench(
                    "device_kernel_map",
                    json!({ "rows": [
                    { "voxels": 1, "kernel": "3x3x3", "from_keys_ms": 0.1 },
                    { "voxels": 4, "kernel": "3x3x3", "from_keys_ms": 0.4321 },
                ], "rehearsal_divided_by": 2 }),
                ),
            ],
            peers: Some(json!({ "peers": [
                { "peer": "plain", "steps": [{ "precision": "f16", "new_maps_ms": 200.0 }] },
                { "peer": "spconv", "steps": [{ "precision": "f32", "new_maps_ms": 1.0 },
                    { "precision": "bf16", "error": "none" }, { "precision": "f16", "new_maps_ms": 100.0 }] },
            ] })),
            ..Results::default()
        };
        let text = markdown(&results);
        assert!(text.contains("50.0 ms; spconv, f16 100.0 ms, 2.00 times"), "{text}");
        assert!(text.contains("0.432 ms of 4 voxels") && text.contains("A rehearsal"), "{text}");
    }
}
