//! What was recorded of each step and of each measurement.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files;
use crate::error::{ReportError, Result};

/// One step, from `metrics.jsonl`; other entries are not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Step {
    /// Number of the step, from 0.
    pub step: u64,
    /// Value of the objective.
    pub loss: Option<f64>,
    /// Seconds by stage.
    #[serde(default)]
    pub seconds: BTreeMap<String, f64>,
}

/// One measurement on held-out frames, from `validation.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Measured {
    /// Steps done before it.
    pub step: u64,
    #[serde(flatten)]
    values: BTreeMap<String, Value>,
}

impl Measured {
    /// A value by its name.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }
}

/// All steps, in order; what was written twice counts as it was written last.
pub(crate) fn steps(path: &Path, notes: &mut Vec<String>) -> Result<Vec<Step>> {
    let lines: Vec<Step> = lines(path, "record of steps", notes)?;
    Ok(by_step(lines, |line| line.step))
}

/// All measurements, in order.
pub(crate) fn measured(path: &Path, notes: &mut Vec<String>) -> Result<Vec<Measured>> {
    let lines: Vec<Measured> = lines(path, "record of measurements", notes)?;
    Ok(by_step(lines, |line| line.step))
}

fn by_step<T>(lines: Vec<T>, step: impl Fn(&T) -> u64) -> Vec<T> {
    let ordered: BTreeMap<u64, T> = lines.into_iter().map(|line| (step(&line), line)).collect();
    ordered.into_values().collect()
}

/// One JSON object a line. A last line that a killed run left half-written is noted and left out; any other that is
/// not understood is an error.
fn lines<T: DeserializeOwned>(path: &Path, what: &'static str, notes: &mut Vec<String>) -> Result<Vec<T>> {
    // Bytes, because a killed run may leave half a character.
    let Some(bytes) = files::bytes(path, what)? else { return Ok(Vec::new()) };
    let whole = bytes.ends_with(b"\n") || bytes.is_empty();
    let mut read = Vec::new();
    let mut rest = bytes.split(|&b| b == b'\n').enumerate().peekable();
    while let Some((index, line)) = rest.next() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(entry) => read.push(entry),
            Err(_) if rest.peek().is_none() && !whole && !read.is_empty() => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                notes.push(format!("The last line of {name} is only half written and was left out."));
            }
            Err(e) => return Err(ReportError::damaged(what, path, format!("line {}: {e}", index + 1))),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (Result<Vec<Step>>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut notes = Vec::new();
        (steps(&path, &mut notes), notes)
    }

    #[test]
    fn steps_come_in_order_and_once() {
        let (steps, notes) =
            read(b"{\"step\":1,\"loss\":2.0}\n{\"step\":0,\"loss\":null}\n{\"step\":1,\"loss\":3.0}\n");
        let steps = steps.unwrap();
        assert_eq!(steps.iter().map(|s| (s.step, s.loss)).collect::<Vec<_>>(), [(0, None), (1, Some(3.0))]);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_half_written_line_is_noted_and_nonsense_is_an_error() {
        let (steps, notes) = read("{\"step\":0}\n{\"step\":1,\"ü".as_bytes());
        assert_eq!(steps.unwrap().len(), 1);
        assert!(notes[0].contains("half written"), "{notes:?}");
        let (_, notes) = read(&b"{\"step\":0}\n{\"step\":1,\"\xc3"[..]);
        assert_eq!(notes.len(), 1, "half a character");
        for nonsense in
            ["{\"step\":0}\nhello\n{\"step\":2}\n", "\u{0}\u{1}png", "{\"loss\":1}\n", "{\"step\":-1}\n"]
        {
            let error = read(nonsense.as_bytes()).0.unwrap_err().to_string();
            assert!(error.contains("metrics.jsonl") && error.contains("line "), "{error}");
        }
    }
}
