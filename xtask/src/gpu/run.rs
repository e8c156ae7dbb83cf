//! On the machine with the GPU: no cargo, no network, perhaps no toolkit.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::libraries::{folders, missing};
use super::{DEVICE, Kind, LIST, Packed};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// The unpacked archive
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Where the results are written
    #[arg(long, value_name = "FILE", default_value = "results.json")]
    out: PathBuf,
    /// Only executables with this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Frames to pretrain on, on the processor and on the GPU, for 20 steps each
    #[arg(long, value_name = "URI", default_value = "synthetic:rooms?scenes=40")]
    data: String,
    /// The teacher of that pretraining
    #[arg(long, value_name = "URI", default_value = "builtin:tiny")]
    teacher: String,
}

/// Everything that was found, in one file.
#[derive(Serialize)]
struct Results {
    /// Names, memory and driver of the GPUs.
    gpus: Vec<String>,
    date: String,
    tests: Vec<Tests>,
    benches: Vec<Bench>,
    pretraining: Option<Pretraining>,
}

#[derive(Serialize)]
struct Tests {
    name: String,
    passed: usize,
    failed: usize,
    seconds: f64,
    /// The end of what was printed, where anything failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

#[derive(Serialize)]
struct Bench {
    name: String,
    seconds: f64,
    /// The object that it printed.
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

/// The same pretraining on both devices.
#[derive(Serialize)]
struct Pretraining {
    data: String,
    teacher: String,
    /// Losses of the steps.
    cpu: Vec<f64>,
    cuda: Vec<f64>,
    /// The largest difference of two losses of one step, relative to that of the processor.
    largest_difference: f64,
    within_1e3: bool,
}

const STEPS: usize = 20;

impl Run {
    pub(crate) fn run(&self) -> Result<()> {
        let list = std::fs::read(self.from.join(LIST))
            .with_context(|| format!("no packed archive was unpacked here: {:?}", self.from))?;
        let list: Vec<Packed> = serde_json::from_slice(&list).context("the list of executables")?;
        let folders = folders();
        let mut results = Results {
            gpus: gpus(),
            date: ppkt_train::today(),
            tests: Vec::new(),
            benches: Vec::new(),
            pretraining: None,
        };
        for packed in list.iter().filter(|p| p.name.contains(&self.only)) {
            let executable = self.from.join(&packed.name);
            let lacking = missing(&executable, &folders);
            ensure!(
                lacking.is_empty(),
                "{} needs {}, which is in none of {folders:?}; name its folder in LD_LIBRARY_PATH",
                packed.name,
                lacking.join(", ")
            );
            println!("── {:?} {}", packed.kind, packed.name);
            match packed.kind {
                Kind::Test => results.tests.push(test(&packed.name, &executable, &folders)?),
                Kind::Bench => results.benches.push(bench(&packed.name, &executable, &folders)?),
                Kind::Program => results.pretraining = Some(self.pretraining(&executable, &folders)?),
            }
            // After each, so that what is done stays if the machine is taken back.
            std::fs::write(&self.out, serde_json::to_string_pretty(&results)?)
                .with_context(|| format!("cannot write {:?}", self.out))?;
        }
        let failed: Vec<&str> = results.failures().collect();
        ensure!(failed.is_empty(), "failed: {}; see {:?}", failed.join(", "), self.out);
        println!("everything passed: {}", self.out.display());
        Ok(())
    }

    /// Twenty steps on each device, from the same weights and batches.
    fn pretraining(&self, program: &Path, folders: &[PathBuf]) -> Result<Pretraining> {
        let losses = |device: &str| -> Result<Vec<f64>> {
            let dir = tempfile::tempdir()?;
            let run = dir.path().join("run");
            let mut command = with_libraries(program, folders)?;
            command.args(["pretrain", "--recipe", "demo", "--device", device, "--data", &self.data]);
            command.args(["--teacher", &self.teacher, "--out"]).arg(&run);
            command.arg("--set").args([format!("steps={STEPS}"), format!("validation.every={STEPS}")]);
            let output = command.output().context("the program cannot be started")?;
            ensure!(output.status.success(), "ppkt pretrain --device {device} failed: {}", ending(&output));
            let metrics = std::fs::read_to_string(run.join("metrics.jsonl"))?;
            metrics
                .lines()
                .map(|line| {
                    serde_json::from_str::<Value>(line)?["loss"].as_f64().context("a step without a loss")
                })
                .collect()
        };
        let (cpu, cuda) = (losses("cpu")?, losses("cuda")?);
        ensure!(cpu.len() == STEPS && cuda.len() == STEPS, "a run ended early");
        let differences = cpu.iter().zip(&cuda).map(|(a, b)| (a - b).abs() / a.abs().max(1e-12));
        let largest_difference = differences.fold(0.0, f64::max);
        println!("   losses differ by at most {largest_difference:.1e} of their value");
        Ok(Pretraining {
            data: self.data.clone(),
            teacher: self.teacher.clone(),
            within_1e3: largest_difference <= 1e-3,
            cpu,
            cuda,
            largest_difference,
        })
    }
}

impl Results {
    /// Names of what did not pass.
    fn failures(&self) -> impl Iterator<Item = &str> {
        let tests = self.tests.iter().filter(|t| t.failed > 0 || t.passed == 0).map(|t| t.name.as_str());
        let benches = self.benches.iter().filter(|b| b.result.is_none()).map(|b| b.name.as_str());
        let apart = self.pretraining.iter().filter(|p| !p.within_1e3).map(|_| "pretraining");
        tests.chain(benches).chain(apart)
    }
}

/// Runs the tests over devices of an executable; a GPU that is not there is a failure.
fn test(name: &str, executable: &Path, folders: &[PathBuf]) -> Result<Tests> {
    let started = Instant::now();
    let output = with_libraries(executable, folders)?
        .args([DEVICE, "--include-ignored", "--test-threads=1"])
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    let (passed, mut failed) = counts(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() && failed == 0 {
        failed = 1;
    }
    println!("   {passed} passed, {failed} failed");
    let seconds = started.elapsed().as_secs_f64();
    let output = (failed > 0 || passed == 0).then(|| ending(&output));
    Ok(Tests { name: name.to_owned(), passed, failed, seconds, output })
}

/// The numbers of the last line of cargo's harness.
fn counts(printed: &str) -> (usize, usize) {
    let Some(line) = printed.lines().rev().find(|l| l.starts_with("test result:")) else { return (0, 0) };
    let number = |word: &str| {
        let before = line.split(word).next()?;
        before.split_whitespace().next_back()?.parse().ok()
    };
    (number(" passed").unwrap_or(0), number(" failed").unwrap_or(0))
}

fn bench(name: &str, executable: &Path, folders: &[PathBuf]) -> Result<Bench> {
    let started = Instant::now();
    let output = with_libraries(executable, folders)?
        .arg("--bench")
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let object = printed.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    let result: Option<Value> = object.filter(|o: &Value| o.is_object() && output.status.success());
    println!("   {}", if result.is_some() { "measured" } else { "FAILED" });
    let seconds = started.elapsed().as_secs_f64();
    let output = result.is_none().then(|| ending(&output));
    Ok(Bench { name: name.to_owned(), seconds, result, output })
}

fn with_libraries(executable: &Path, folders: &[PathBuf]) -> Result<Command> {
    let mut command = Command::new(executable);
    command.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
    command.envs([("PPKT_REQUIRE_GPU", "1"), ("RUST_BACKTRACE", "1")]);
    Ok(command)
}

/// The last part of what a command printed.
fn ending(output: &Output) -> String {
    const KEPT: usize = 4000;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let from = text.char_indices().rev().nth(KEPT).map_or(0, |(at, _)| at);
    text.split_off(from)
}

/// What nvidia-smi says.
fn gpus() -> Vec<String> {
    let query = ["--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader"];
    let Ok(output) = Command::new("nvidia-smi").args(query).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_last_result() {
        let text = "running 2 tests\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n\
                    test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 4 filtered out\n";
        assert_eq!(counts(text), (12, 3));
        assert_eq!(counts("no tests"), (0, 0));
    }

    #[test]
    fn nothing_that_did_not_run_has_passed() {
        let tests = |passed, failed| Tests { name: "t".into(), passed, failed, seconds: 0.0, output: None };
        let results = |tests| Results {
            gpus: Vec::new(),
            date: String::new(),
            tests: vec![tests],
            benches: Vec::new(),
            pretraining: None,
        };
        assert_eq!(results(tests(0, 0)).failures().count(), 1);
        assert_eq!(results(tests(3, 1)).failures().count(), 1);
        assert_eq!(results(tests(3, 0)).failures().count(), 0);
    }
}
