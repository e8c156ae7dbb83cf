//! The peers' turn in a section: their script runs, and its lines are read.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::rows::{MIB, PeerTime, Unit, read, time};
use super::{Peers, run};
use crate::bench::Section;
use crate::bench::teacher::PROJECTION;

/// Correct sparse libraries that the script knows; those that are not installed are left out by it.
const SPARSE: &str = "spconv,ggs,me";
/// Sizes of the networks, by the names of their files and of our cases.
const SETS: [(&str, &str); 2] = [("room5cm_b1_20k", "20k"), ("room2cm_b1_100k", "100k")];
/// 1×1 convolution, upsampling and picking in PyTorch, for which the peers' folder has no script.
const UPSAMPLE: &str = include_str!("upsample.py");

impl Peers {
    /// Lets the peers compute what a section of ours computes.
    pub(in crate::bench) fn measure(
        &self,
        section: Section,
        threads: usize,
        quick: bool,
    ) -> Result<Vec<PeerTime>> {
        let large = SETS[1].0;
        let set = if quick { SETS[0].0 } else { large };
        let both = SETS.map(|s| s.0).join(",");
        let nets = if quick { set } else { both.as_str() };
        let rounds = if quick { "2" } else { "5" };
        let few = if quick { "2" } else { "3" };
        let runs: &[(&str, &[&str])] = match section {
            Section::Sparse => &[
                ("maps", &["--sets", set, "--rounds", rounds]),
                ("conv", &["--sets", set, "--rounds", rounds]),
                ("strided", &["--sets", set, "--rounds", rounds]),
            ],
            // Some seconds a step.
            Section::Net => &[("net", &["--sets", nets, "--rounds", few, "--k0", "5"])],
            Section::Geometry => &[("geom", &["--rounds", rounds]), ("voxel", &["--rounds", few])],
            Section::Teacher => &[("dense2d", &["--rounds", rounds])],
            Section::Objective => &[("infonce", &["--rounds", rounds])],
            Section::Memory => return self.memory(threads, quick),
            Section::Linearity | Section::Profile => &[],
        };
        let mut times = Vec::new();
        for (part, arguments) in runs {
            times.extend(self.bench(part, threads, arguments)?);
        }
        if section == Section::Teacher {
            times.push(self.upsample("teacher", threads)?);
        }
        Ok(times)
    }

    /// One section of the peers' script.
    fn bench(&self, part: &str, threads: usize, arguments: &[&str]) -> Result<Vec<PeerTime>> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("lines.jsonl");
        eprintln!("   the peers' turn: {part}, {threads} threads");
        let mut command = self.script("bench.py");
        command.arg(part).args(["--threads", &threads.to_string(), "--peers", SPARSE]).args(arguments);
        command.arg("--data").arg(&self.data).arg("--out").arg(&out);
        // A library that takes the script down with it leaves the lines that were written before.
        if let Err(error) = run(command.stdout(Stdio::null()), "the peers' script") {
            eprintln!("   {error:#}; going on with what {part} had measured until then");
        }
        let text = std::fs::read_to_string(&out)
            .with_context(|| format!("the peers' script wrote nothing: {out:?}"))?;
        let mut times = Vec::new();
        for line in text.lines() {
            let line: Value =
                serde_json::from_str(line).with_context(|| format!("the peers' script wrote {line:?}"))?;
            times.extend(read(&line));
        }
        if times.is_empty() {
            bail!("none of the peers could run {part}; is the environment whole? {:?}", self.python);
        }
        Ok(times)
    }

    /// Peak memory of a training step and of the projection, a process for each.
    fn memory(&self, threads: usize, quick: bool) -> Result<Vec<PeerTime>> {
        let mut times = Vec::new();
        for (set, size) in SETS.iter().take(if quick { 1 } else { 2 }) {
            for peer in SPARSE.split(',') {
                let mut command = self.script("bench.py");
                command.args([
                    "mem",
                    "--threads",
                    &threads.to_string(),
                    "--mem-case",
                    &format!("{peer}:{set}:train"),
                ]);
                command.arg("--data").arg(&self.data).arg("--out").arg("/dev/null").stderr(Stdio::null());
                // A peer that is not installed ends with an error.
                let Ok(value) = last_line(&mut command) else { continue };
                let Some((base, peak)) = value["base_mb"].as_f64().zip(value["peak_mb"].as_f64()) else {
                    continue;
                };
                let case = format!("34C training step, {size}");
                let value = (peak - base) * MIB;
                times.push(PeerTime::new("memory", case, threads, peer, value, Unit::Megabytes));
            }
        }
        times.push(self.upsample("memory", threads)?);
        Ok(times)
    }

    /// The projection of a whole upsampled map: seconds for the section `teacher`, MB for `memory`.
    fn upsample(&self, section: &str, threads: usize) -> Result<PeerTime> {
        let mut command = Command::new(&self.python);
        command.arg("-c").arg(UPSAMPLE).arg(threads.to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
        // For its clock, the same as that of the other peers.
        command.env("PYTHONPATH", &self.scripts).env("OMP_NUM_THREADS", threads.to_string());
        let said = last_line(&mut command)?;
        let (value, unit, disturbed) = if section == "memory" {
            (said["peak_mb"].as_f64(), Unit::Megabytes, false)
        } else {
            let (value, disturbed) = time(&said);
            (value, Unit::Seconds, disturbed)
        };
        let value = value.with_context(|| format!("the script said {said}"))?;
        let peer = "PyTorch 1×1, upsample, gather";
        let time = PeerTime::new(section, PROJECTION.to_owned(), threads, peer, value, unit);
        Ok(PeerTime { disturbed, ..time })
    }
}

/// The JSON that a program prints last.
fn last_line(command: &mut Command) -> Result<Value> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("a script of the peers failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.trim().lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("a script of the peers said {line:?}"))
}
