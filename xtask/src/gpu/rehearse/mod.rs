//! `cargo xtask gpu rehearse`: what `gpu run` does on a machine with a GPU, on the processor, with stand-ins for
//! NVIDIA's driver and libraries.
//!
//! | file | what |
//! |---|---|
//! | `stand_in.rs` | makes the stand-ins and compiles all kernels for the processor |
//! | `nvcc.sh` | the compiler: writes the name of a source where machine code is expected |
//! | `driver.cpp`, `memory.h` | the driver: memory that is watched, and launches of kernels |
//! | `blas.cpp`, `rand.cpp` | matrix products and random numbers |
//! | `program.rs` | the program: pretraining, labels, and errors |
//! | `check.cpp` | a test of the stand-ins |
//! | `include` | what candle's own kernels need of CUDA's headers |
//!
//! So candle's CUDA back end and everything of ours under the feature `cuda` runs as it is: storages, layouts, types,
//! launches, modules, the program. It is slow, and says nothing of a GPU's speed or of the order in which its threads see
//! memory.

mod program;
mod stand_in;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use self::program::Program;
use self::stand_in::StandIn;
use super::pack::{benches, build, tests};
use super::toolkit::symlink;
use super::{Kind, LIST, Packed};
use crate::rules::Workspace;

/// What to rehearse.
#[derive(clap::Args)]
pub(crate) struct Rehearse {
    /// Only executables with this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// The most rows that a test over devices takes (PPKT_DEVICE_ROWS)
    #[arg(long, value_name = "N", default_value_t = 2000)]
    rows: usize,
    /// The benches too, with sizes divided by this: whether they run, never how fast a GPU is
    #[arg(long, value_name = "N")]
    benches: Option<usize>,
    /// Only makes the stand-ins and the executables, and prints the folder of the libraries
    #[arg(long)]
    build: bool,
}

impl Rehearse {
    pub(crate) fn run(&self) -> Result<()> {
        let root = Workspace::find()?.root;
        let folder = root.join("target/gpu-rehearsal");
        println!("── stand-ins and kernels for the processor");
        let stand_in = StandIn::make(&root, &folder)?;
        println!("── the program and tests over devices, with CUDA");
        let stage = folder.join("stage");
        executables(&root, &folder, &stand_in, &stage, self.benches.is_some())?;
        if self.build {
            println!("{}", stand_in.lib().display());
            return Ok(());
        }
        let runner = std::env::current_exe().context("the path of this program")?;
        let results = folder.join("results.json");
        let status = Command::new(runner)
            .args(["gpu", "run", "--only", &self.only, "--data", program::DATA, "--steps", "4"])
            .arg("--out")
            .arg(&results)
            .arg("--from")
            .arg(&stage)
            .args(["--divide", &self.benches.unwrap_or(1).to_string()])
            .arg("--set")
            .args(program::PRETRAINING)
            .env("LD_LIBRARY_PATH", stand_in.lib())
            .env("PPKT_DEVICE_ROWS", self.rows.to_string())
            .status()
            .context("cannot start this program again")?;
        let mut failed = usize::from(!status.success());
        if PROGRAM.contains(&self.only) {
            println!("── the program: labels, bf16, errors");
            failed += Program { path: stage.join(PROGRAM), lib: &stand_in.lib() }.rehearse()?;
        }
        ensure!(failed == 0, "something failed on the stand-in for a GPU: see above, and {results:?}");
        println!("everything passed, on a stand-in for a GPU that runs on the processor");
        Ok(())
    }
}

/// Name of the program among the executables.
const PROGRAM: &str = "ppkt";

/// Builds what `gpu pack` packs, and links it into a folder as an unpacked archive has it.
fn executables(
    root: &Path,
    folder: &Path,
    stand_in: &StandIn,
    stage: &Path,
    with_benches: bool,
) -> Result<()> {
    let target = folder.join("build");
    let prepare = |command: &mut Command| {
        command.envs(stand_in.environment()).arg("--target-dir").arg(&target);
    };
    // An integration test of the program brings the program, with the same features as everything else.
    let mut arguments = [tests(root)?, vec!["--test".to_owned(), "program".to_owned()]].concat();
    for (krate, bench) in benches(root)?.into_iter().filter(|_| with_benches) {
        arguments.extend(["--package".to_owned(), krate, "--bench".to_owned(), bench]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut list = Vec::new();
    let _ = std::fs::remove_dir_all(stage);
    std::fs::create_dir_all(stage)?;
    let mut put = |kind, name: String, executable: &Path| -> Result<()> {
        symlink(&executable.display().to_string(), &stage.join(&name))?;
        list.push(Packed { kind, name });
        Ok(())
    };
    for built in build(root, &arguments, prepare)? {
        if built.is_program() {
            put(Kind::Program, PROGRAM.to_owned(), built.path())?;
        } else if built.is_bench() {
            put(Kind::Bench, built.label(), built.path())?;
        } else if built.is_over_devices()? {
            put(Kind::Test, built.label(), built.path())?;
        }
    }
    ensure!(list.iter().any(|p| p.kind == Kind::Program), "the program was not built");
    // Tests first: what they find is easier to understand than what the program says.
    list.sort_by_key(|p| (p.kind == Kind::Program, p.name.clone()));
    std::fs::write(stage.join(LIST), serde_json::to_string_pretty(&list)?)?;
    Ok(())
}
