//! `cargo xtask arm`: tests of the kernels for 64-bit ARM, on this machine or emulated on another.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::rules::Workspace;
use crate::toolchain::{cargo, missing_library};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian has the C library of the other architecture.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// What cargo tests: the crates with kernels of their own; of the teachers the engine, as whole networks take minutes
/// in an emulator.
const TESTS: [&str; 2] =
    ["--package ppkt-sparse --package ppkt-objective --tests", "--package ppkt-teacher --lib engine::"];

/// Tests the kernels for 64-bit ARM (NEON), elsewhere in an emulator: needs a cross linker and qemu
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say what is missing
    #[arg(long)]
    needs: bool,
}

/// Runs the tests; natively on a 64-bit ARM machine.
pub(crate) fn run(options: &Options) -> Result<()> {
    let native = cfg!(all(target_arch = "aarch64", target_os = "linux"));
    if !native {
        let missing = missing()?;
        if !missing.is_empty() {
            bail!("to test for 64-bit ARM on this machine:\n  {}", missing.join("\n  "));
        }
    }
    if options.needs {
        println!("nothing is missing");
        return Ok(());
    }
    let workspace = Workspace::find()?;
    for tests in TESTS {
        let mut command = Command::new(cargo());
        command.current_dir(&workspace.root).args(["test", "--release", "--locked"]);
        if !native {
            command.args(["--target", TARGET]);
            let name = TARGET.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{name}_LINKER"), LINKER);
            let runner = format!("{EMULATOR} -L {LIBRARIES}");
            command.env(format!("CARGO_TARGET_{name}_RUNNER"), &runner).env("PPKT_RUNNER", runner);
        }
        command.args(tests.split(' '));
        println!("── cargo test {tests}");
        if !command.status().context("cargo cannot be started")?.success() {
            bail!("tests for {TARGET} failed: {tests}");
        }
    }
    println!(
        "the kernels for 64-bit ARM agree with the plain ones{}",
        if native { "" } else { ", emulated" }
    );
    Ok(())
}

/// What is not there, with the command that brings it.
fn missing() -> Result<Vec<String>> {
    let mut missing: Vec<String> = missing_library(TARGET)?.into_iter().collect();
    for (program, what, package) in [
        (LINKER, "a linker", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
        (EMULATOR, "an emulator", "qemu-user"),
    ] {
        if Command::new(program).arg("--version").output().is_err() {
            missing.push(format!("{what}, {program}; on Debian: apt-get install {package}"));
        }
    }
    Ok(missing)
}
