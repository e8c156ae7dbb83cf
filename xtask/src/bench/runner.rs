//! Runs the cases of a section and tells what came out.

use anyhow::{Context, Result};

use super::case::{Case, Message, Work};
use super::clock::{self, Effort};
use super::input::Inputs;

/// What a section needs to run its cases.
pub(super) struct Runner {
    section: String,
    effort: Effort,
    only: Option<String>,
    again: bool,
    /// Fewer sizes and shorter samples.
    pub(super) quick: bool,
    /// Where the inputs come from.
    pub(super) inputs: Inputs,
    input: String,
}

impl Runner {
    /// `only`: a part of the names of the cases to run; `again`: leave out what no peer is compared with.
    pub(super) fn new(section: &str, quick: bool, only: Option<String>, again: bool, inputs: Inputs) -> Self {
        let (section, input) = (section.to_owned(), String::new());
        Self { section, effort: Effort::new(quick), only, again, quick, inputs, input }
    }

    /// Names the input of the cases that follow.
    pub(super) fn on(&mut self, input: &str) {
        input.clone_into(&mut self.input);
    }

    /// Whether a case is to be run: to ask before its input is made.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// As [`Self::wants`], for a case that has no counterpart among the peers: once a run is enough.
    pub(super) fn wants_alone(&self, name: &str) -> bool {
        !self.again && self.wants(name)
    }

    /// Runs a case, if it is wanted.
    pub(super) fn case<T>(&mut self, name: &str, work: Work, call: impl FnMut() -> Result<T>) -> Result<()> {
        if self.wants(name) { self.run(name, work, call) } else { Ok(()) }
    }

    /// Runs a case that has no counterpart among the peers, if it is wanted.
    pub(super) fn alone<T>(&mut self, name: &str, work: Work, call: impl FnMut() -> Result<T>) -> Result<()> {
        if self.wants_alone(name) { self.run(name, work, call) } else { Ok(()) }
    }

    fn run<T>(&mut self, name: &str, work: Work, call: impl FnMut() -> Result<T>) -> Result<()> {
        let samples =
            clock::sample(self.effort, call).with_context(|| format!("the case {name:?} failed"))?;
        self.tell(Case {
            section: self.section.clone(),
            name: name.to_owned(),
            input: self.input.clone(),
            threads: rayon::current_num_threads(),
            work,
            samples,
            peak_mb: None,
        })
    }

    /// Runs a case once, and tells the memory that it took at most beyond what the process has now.
    pub(super) fn memory<T>(&mut self, name: &str, call: impl FnOnce() -> Result<T>) -> Result<()> {
        let before = most_memory_mb();
        std::hint::black_box(call().with_context(|| format!("the case {name:?} failed"))?);
        let peak_mb = before.zip(most_memory_mb()).map(|(before, after)| after - before);
        self.tell(Case {
            section: self.section.clone(),
            name: name.to_owned(),
            input: self.input.clone(),
            threads: rayon::current_num_threads(),
            work: Work::default(),
            samples: Vec::new(),
            peak_mb,
        })
    }

    fn tell(&self, case: Case) -> Result<()> {
        say(&Message::Case(case))
    }
}

/// A line for the process that started this one.
pub(super) fn say(message: &Message) -> Result<()> {
    println!("{}", serde_json::to_string(message)?);
    Ok(())
}

/// Most memory that this process has had in RAM, in MB (10⁶ bytes), where Linux tells.
fn most_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
