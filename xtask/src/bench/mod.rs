//! `cargo xtask bench`: how fast and how lean the workspace is, in seconds and in shares of what the machine can do.
//!
//! Every section runs in a process of its own for each number of threads, so that thread pools, allocator and peak
//! memory begin afresh; with `--peers`, other people's libraries take their turn between two passes of ours.

mod case;
mod clock;
mod geometry;
mod input;
mod machine;
mod net;
mod network;
mod objective;
mod peak;
mod peers;
mod profile;
mod report;
mod runner;
mod sparse;
mod table;
mod teacher;
mod weights;
mod worker;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

pub(crate) use worker::Worker;

use case::Message;
use input::Inputs;
use report::Report;

/// A group of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Section {
    /// Operations of the sparse network library: coordinates, kernel maps, convolutions, norms
    Sparse,
    /// Training step and inference of MinkUNet34C at 20k and 100k voxels
    Net,
    /// The training step from 20k to 1M voxels, on the most threads
    Linearity,
    /// Peak memory, a process for each case, on the most threads
    Memory,
    /// Where the time of a training step goes, on the most threads
    Profile,
    /// Back-projection, projection, voxelisation
    Geometry,
    /// Frozen 2D networks and the upsampling projection
    Teacher,
    /// The contrastive loss
    Objective,
}

impl Section {
    const ALL: [Self; 8] = [
        Self::Sparse,
        Self::Net,
        Self::Linearity,
        Self::Memory,
        Self::Profile,
        Self::Geometry,
        Self::Teacher,
        Self::Objective,
    ];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether the section says nothing new on fewer threads.
    fn on_most_threads(self) -> bool {
        matches!(self, Self::Linearity | Self::Memory | Self::Profile)
    }
}

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Sections to run; all by default
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Numbers of threads to compute with
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Fewer sizes and fewer, shorter samples
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write everything that was measured to this file, each sample included
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    peers: peers::Options,
}

impl Bench {
    /// Measures, and prints the tables.
    pub(crate) fn run(&self) -> Result<()> {
        let mut threads = self.threads.clone();
        threads.sort_unstable();
        threads.dedup();
        if threads.is_empty() || threads[0] == 0 {
            bail!("--threads needs numbers above 0, such as 1,2");
        }
        let sections = if self.sections.is_empty() { Section::ALL.to_vec() } else { self.sections.clone() };
        let peers = self.peers.prepare()?;
        let inputs = Inputs { folder: peers.as_ref().map(|p| p.data.clone()) };
        let most = *threads.last().unwrap_or(&1);
        let mut report = Report::new(machine::Machine::find(), most);
        let worker = |section: &str, threads, again| Worker {
            section: section.to_owned(),
            threads,
            quick: self.quick,
            only: self.only.clone(),
            again,
            data: inputs.folder.clone(),
        };
        for &threads in &threads {
            for message in worker("peak", threads, false).start(&mut |_| {})? {
                report.add(message);
            }
        }
        println!("{}\n{}", report.machine.line(), report.peaks_line());
        for section in sections {
            println!("\n── {}", section.name());
            for &threads in threads.iter().filter(|&&t| !section.on_most_threads() || t == most) {
                let pass = |again: bool, report: &mut Report| -> Result<()> {
                    let mut print = |message: &Message| {
                        if let (Message::Case(case), false) = (message, again) {
                            println!("{}", report.line(case));
                        }
                    };
                    let messages = worker(&section.name(), threads, again).start(&mut print)?;
                    messages.into_iter().for_each(|message| report.add(message));
                    Ok(())
                };
                pass(false, &mut report)?;
                if let Some(peers) = &peers
                    && peers.has(section)
                {
                    report.add_peers(peers.measure(section, threads, self.quick)?);
                    // The machine may have changed meanwhile: ours before and after, theirs between.
                    if !section.on_most_threads() {
                        pass(true, &mut report)?;
                    }
                }
            }
            self.write(&report)?;
        }
        println!("\n{}", report.text());
        Ok(())
    }

    /// The files that were asked for, with what is known by now: a run that is cut short leaves its finished sections.
    fn write(&self, report: &Report) -> Result<()> {
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(&report.json())?)?;
        }
        if let Some(path) = &self.markdown {
            std::fs::write(path, report.markdown())?;
        }
        Ok(())
    }
}
