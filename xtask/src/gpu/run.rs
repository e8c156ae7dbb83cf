//! On the machine with the GPU: no cargo, no network, perhaps no toolkit.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::libraries::{folders, missing};
use super::peers::Peers;
use super::results::{Bench, Pretraining, Results, Tests};
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
    /// Frames to pretrain on, on the processor and on the GPU, one after the other
    #[arg(long, value_name = "URI", default_value = "synthetic:rooms?scenes=40")]
    data: String,
    /// The teacher of that pretraining
    #[arg(long, value_name = "URI", default_value = "builtin:tiny")]
    teacher: String,
    /// Steps of that pretraining, on each device
    #[arg(long, value_name = "N", default_value_t = 20)]
    steps: usize,
    /// Settings of that pretraining, beside the recipe `demo`
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    set: Vec<String>,
    /// Divides the sizes of benches, for a rehearsal; the results say so
    #[arg(long, value_name = "N", default_value_t = 1)]
    divide: usize,
    #[command(flatten)]
    peers: Peers,
}

impl Run {
    pub(crate) fn run(&self) -> Result<()> {
        let list = std::fs::read(self.from.join(LIST))
            .with_context(|| format!("no packed archive was unpacked here: {:?}", self.from))?;
        let list: Vec<Packed> = serde_json::from_slice(&list).context("the list of executables")?;
        let list: Vec<Packed> = list.into_iter().filter(|p| p.name.contains(&self.only)).collect();
        ensure!(!list.is_empty(), "no executable of the archive has {:?} in its name", self.only);
        let folders = folders();
        let mut results = Results { gpus: gpus(), date: ppkt_train::today(), ..Results::default() };
        results.problem = self.problem(&list, &folders);
        let voxels = tempfile::NamedTempFile::new()?.into_temp_path();
        std::fs::remove_file(&voxels)?;
        self.write(&results)?;
        for packed in list.iter().filter(|_| results.problem.is_none()) {
            let executable = self.from.join(&packed.name);
            println!("── {:?} {}", packed.kind, packed.name);
            match packed.kind {
                Kind::Test => results.tests.push(test(&packed.name, &executable, &folders)?),
                Kind::Bench => {
                    results.benches.push(self.bench(&packed.name, &executable, &folders, &voxels)?);
                }
                Kind::Program => results.pretraining = Some(self.pretraining(&executable, &folders)),
            }
            // After each, so that what is done stays if the machine is taken back.
            self.write(&results)?;
        }
        if results.problem.is_none() && list.iter().any(|p| p.kind == Kind::Bench) {
            println!("── the same network by others");
            let peers = self.peers.run(&voxels)?;
            println!("   {}", peers["missing"].as_str().unwrap_or("measured"));
            results.peers = Some(peers);
            self.write(&results)?;
        }
        let failed: Vec<&str> = results.failures().collect();
        ensure!(failed.is_empty(), "failed: {}; see {:?}", failed.join(", "), self.out);
        println!("everything passed: {}", self.out.display());
        Ok(())
    }

    fn write(&self, results: &Results) -> Result<()> {
        std::fs::write(&self.out, serde_json::to_string_pretty(results)?)
            .with_context(|| format!("cannot write {:?}", self.out))
    }

    /// Why nothing here can run: libraries that are missing, or no GPU that can be used.
    fn problem(&self, list: &[Packed], folders: &[PathBuf]) -> Option<String> {
        for packed in list {
            let lacking = missing(&self.from.join(&packed.name), folders);
            if !lacking.is_empty() {
                let (name, lacking) = (&packed.name, lacking.join(", "));
                return Some(format!(
                    "{name} needs {lacking}, which is in none of {folders:?}; name its folder in LD_LIBRARY_PATH"
                ));
            }
        }
        let program = list.iter().find(|p| p.kind == Kind::Program)?;
        let doctor = with_libraries(&self.from.join(&program.name), folders);
        let output = match doctor.and_then(|mut c| Ok(c.args(["doctor", "--json"]).output()?)) {
            Ok(output) => output,
            Err(error) => return Some(format!("{} cannot be started: {error}", program.name)),
        };
        unusable(&output)
    }

    /// The same steps on each device, from the same weights and batches.
    fn pretraining(&self, program: &Path, folders: &[PathBuf]) -> Pretraining {
        let mut found = Pretraining {
            data: self.data.clone(),
            teacher: self.teacher.clone(),
            cpu: Vec::new(),
            cuda: Vec::new(),
            largest_difference: None,
            within_1e3: false,
            problem: None,
        };
        match self
            .losses(program, folders, "cpu")
            .and_then(|l| Ok((l, self.losses(program, folders, "cuda")?)))
        {
            Ok((cpu, cuda)) => {
                let differences = cpu.iter().zip(&cuda).map(|(a, b)| (a - b).abs() / a.abs().max(1e-12));
                let largest = differences.fold(0.0, f64::max);
                found.within_1e3 = largest <= 1e-3;
                found.largest_difference = Some(largest);
                println!("   losses differ by at most {largest:.1e} of their value");
                (found.cpu, found.cuda) = (cpu, cuda);
            }
            Err(error) => {
                println!("   FAILED: {error:#}");
                found.problem = Some(format!("{error:#}"));
            }
        }
        found
    }

    /// The losses of the steps on one device.
    fn losses(&self, program: &Path, folders: &[PathBuf], device: &str) -> Result<Vec<f64>> {
        let dir = tempfile::tempdir()?;
        let run = dir.path().join("run");
        let mut command = with_libraries(program, folders)?;
        command.args(["pretrain", "--recipe", "demo", "--device", device, "--data", &self.data]);
        command.args(["--teacher", &self.teacher, "--out"]).arg(&run);
        command.arg("--set").args(&self.set);
        command.args([format!("steps={}", self.steps), format!("validation.every={}", self.steps)]);
        let output = command.output().context("the program cannot be started")?;
        ensure!(output.status.success(), "ppkt pretrain --device {device} failed: {}", ending(&output));
        let losses = losses_of(&run)?;
        ensure!(losses.len() == self.steps, "the run on {device} ended after {} steps", losses.len());
        Ok(losses)
    }

    /// Runs a bench, which may leave its voxels for others.
    fn bench(&self, name: &str, executable: &Path, folders: &[PathBuf], voxels: &Path) -> Result<Bench> {
        let started = Instant::now();
        let mut command = with_libraries(executable, folders)?;
        command.arg("--bench").env("PPKT_BENCH_VOXELS", voxels);
        if self.divide > 1 {
            command.env("PPKT_BENCH_DIVIDE", self.divide.to_string());
        }
        let output = command.output().with_context(|| format!("{name} cannot be started"))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let object = printed.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
        let result: Option<Value> = object.filter(|o: &Value| o.is_object() && output.status.success());
        println!("   {}", if result.is_some() { "measured" } else { "FAILED" });
        let seconds = started.elapsed().as_secs_f64();
        let output = result.is_none().then(|| ending(&output));
        Ok(Bench { name: name.to_owned(), seconds, result, output })
    }
}

/// The losses of all steps of a run.
pub(super) fn losses_of(run: &Path) -> Result<Vec<f64>> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).context("the metrics of a run")?;
    let steps = metrics.lines().map(serde_json::from_str::<Value>);
    steps.map(|step| step?["loss"].as_f64().context("a step without a loss")).collect()
}

/// Why no GPU can be used, by what `ppkt doctor --json` says.
fn unusable(doctor: &Output) -> Option<String> {
    let Ok(found) = serde_json::from_slice::<Value>(&doctor.stdout) else {
        return Some(format!("ppkt doctor failed: {}", ending(doctor)));
    };
    let devices = found["devices"].as_array().cloned().unwrap_or_default();
    let gpus = || devices.iter().filter(|d| d["name"].as_str().is_some_and(|n| n.starts_with("cuda")));
    if gpus().any(|d| d["usable"] == true) {
        return None;
    }
    let why: Vec<&str> = gpus().filter_map(|d| d["about"].as_str()).collect();
    Some(if why.is_empty() { "the program was built without CUDA".into() } else { why.join("; ") })
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

fn with_libraries(executable: &Path, folders: &[PathBuf]) -> Result<Command> {
    let mut command = Command::new(executable);
    command.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
    command.envs([("PPKT_REQUIRE_GPU", "1"), ("RUST_BACKTRACE", "1")]);
    Ok(command)
}

/// The last part of what a command printed.
pub(super) fn ending(output: &Output) -> String {
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

    #[cfg(unix)]
    #[test]
    fn a_machine_without_a_usable_gpu_is_known_by_what_doctor_says() {
        use std::os::unix::process::ExitStatusExt;
        let says = |text: &str| {
            let status = std::process::ExitStatus::from_raw(0);
            unusable(&Output { status, stdout: text.into(), stderr: Vec::new() })
        };
        let with = |usable| {
            format!(
                r#"{{"devices":[{{"name":"cpu","usable":true,"about":""}},{{"name":"cuda","usable":{usable},"about":"no driver"}}]}}"#
            )
        };
        assert_eq!(says(&with(true)), None);
        assert_eq!(says(&with(false)).as_deref(), Some("no driver"));
        assert!(says(r#"{"devices":[]}"#).is_some_and(|p| p.contains("without CUDA")));
        assert!(says("it fell over").is_some_and(|p| p.contains("it fell over")));
    }
}
