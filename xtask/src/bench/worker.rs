//! The process that measures one section on one number of threads.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::case::Message;
use super::input::Inputs;
use super::runner::{Runner, say};
use super::{geometry, net, objective, peak, profile, sparse, teacher};

/// Measures one section, and prints a line of JSON for each case: `bench` starts it.
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// A section, `peak`, or a case of the section `memory`
    pub(super) section: String,
    #[arg(long)]
    pub(super) threads: usize,
    #[arg(long)]
    pub(super) quick: bool,
    #[arg(long)]
    pub(super) only: Option<String>,
    /// The second pass: only what the peers have too
    #[arg(long)]
    pub(super) again: bool,
    /// Folder of the peers' inputs
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
}

/// Cases of the section `memory`, which need a process each.
const MEMORY: [&str; 3] = ["memory-20k", "memory-100k", "memory-projection"];

impl Worker {
    /// Measures in this process.
    pub(crate) fn run(self) -> Result<()> {
        if rayon::current_num_threads() != self.threads {
            bail!(
                "the variable RAYON_NUM_THREADS should be {}, as `cargo xtask bench` sets it",
                self.threads
            );
        }
        let inputs = Inputs { folder: self.data };
        let section = if self.section.starts_with("memory") { "memory" } else { &self.section };
        let mut runner = Runner::new(section, self.quick, self.only, self.again, inputs);
        match self.section.as_str() {
            "peak" => say(&Message::Peak(peak::measure())),
            "sparse" => sparse::run(&mut runner),
            "net" => net::run(&mut runner),
            "linearity" => net::linearity(&mut runner),
            "memory-20k" => net::memory(&mut runner, 20_000),
            "memory-100k" => net::memory(&mut runner, 100_000),
            "memory-projection" => teacher::memory(&mut runner),
            "profile" => {
                let voxels = if self.quick { 20_000 } else { 100_000 };
                say(&Message::Profile(profile::measure(&runner.inputs, voxels)?))
            }
            "geometry" => geometry::run(&mut runner),
            "teacher" => teacher::run(&mut runner),
            "objective" => objective::run(&mut runner),
            other => bail!("there is no section {other:?}"),
        }
    }

    /// Starts a process that measures, and gathers what it tells; `see` is shown each message as it comes.
    pub(super) fn start(&self, see: &mut dyn FnMut(&Message)) -> Result<Vec<Message>> {
        if self.section != "memory" {
            return self.process(&self.section, see);
        }
        let mut all = Vec::new();
        for case in MEMORY.iter().filter(|c| !self.quick || **c != "memory-100k") {
            all.extend(self.process(case, see)?);
        }
        Ok(all)
    }

    fn process(&self, section: &str, see: &mut dyn FnMut(&Message)) -> Result<Vec<Message>> {
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command.args(["bench-worker", section, "--threads", &self.threads.to_string()]);
        command.args(self.quick.then_some("--quick")).args(self.again.then_some("--again"));
        for (name, value) in [("--only", self.only.as_ref().map(Into::into)), ("--data", self.data.clone())] {
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
        // Our kernels take all threads; candle's own would spin beside them. Pages are kept, as the program keeps them.
        command.env("RAYON_NUM_THREADS", self.threads.to_string()).env("CANDLE_NUM_THREADS", "1");
        command.env("MIMALLOC_PURGE_DELAY", "-1").stdout(Stdio::piped());
        let mut child = command.spawn().context("a process for measuring cannot be started")?;
        let output = child.stdout.take().context("the process has no output")?;
        let mut messages = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            let message =
                serde_json::from_str(&line).with_context(|| format!("the process said {line:?}"))?;
            see(&message);
            messages.push(message);
        }
        if !child.wait()?.success() {
            bail!("measuring {section} failed; the reason is above");
        }
        Ok(messages)
    }
}
