//! `cargo xtask gpu`: what has to be done on a machine with an NVIDIA GPU, prepared on one without.
//!
//! | file | what |
//! |---|---|
//! | `toolkit.rs` | NVIDIA's compiler and libraries from the Python package registry, for machines that have none |
//! | `pack.rs` | tests, benches and the program, built with CUDA and packed into one small archive |
//! | `run.rs` | on the other machine, which has neither cargo nor a network: runs them, and writes one JSON |
//! | `results.rs` | what that JSON holds, and what counts as failed |
//! | `peers.rs`, `peers.py` | the published network by other people's libraries, where that machine has them |
//! | `table.rs` | from that JSON to the table of goals in `docs/benchmarks/gpu.md` |
//! | `types.rs` | whether a CUDA build would compile, without NVIDIA's compiler |
//! | `rehearse` | all of it on the processor, with stand-ins for NVIDIA's driver and libraries |
//! | `libraries.rs` | where CUDA's libraries are there |

mod libraries;
mod pack;
mod peers;
mod rehearse;
mod results;
mod run;
mod table;
mod toolkit;
mod types;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Gpu {
    /// Fetches a CUDA toolkit from the Python package registry, and prints the environment to build with
    Toolkit(toolkit::Toolkit),
    /// Checks the types of the CUDA build, without NVIDIA's compiler
    Types(types::Types),
    /// Builds tests, benches and the program with CUDA, and packs them for a machine with a GPU
    Pack(pack::Pack),
    /// Runs it all on the processor, with stand-ins for NVIDIA's driver and libraries
    Rehearse(rehearse::Rehearse),
    /// Runs what was packed, on the machine with the GPU, and writes one JSON
    Run(run::Run),
    /// Prints the table of goals, in Markdown, from what a run has written
    Table(table::Table),
}

impl Gpu {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Toolkit(task) => task.run(),
            Self::Types(task) => task.run(),
            Self::Pack(task) => task.run(),
            Self::Rehearse(task) => task.run(),
            Self::Run(task) => task.run(),
            Self::Table(task) => task.run(),
        }
    }
}

/// What a packed executable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Tests over devices, by cargo's test harness.
    Test,
    /// A bench that prints one JSON object as its last line.
    Bench,
    /// The program.
    Program,
}

/// One executable of the archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Packed {
    kind: Kind,
    /// Name of the file, and of the crate and target that it comes from.
    name: String,
}

/// Name of the list of executables in the archive.
const LIST: &str = "list.json";
/// Name of the program that runs them.
const RUNNER: &str = "run";
/// How the names of tests over devices begin.
const DEVICE: &str = "device_";
