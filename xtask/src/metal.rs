//! `cargo xtask metal`: whether the build for Apple's GPUs would compile, on a machine that is no Mac.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::rules::Workspace;
use crate::toolchain::{cargo, missing_library, stand_in};

const TARGET: &str = "aarch64-apple-darwin";

/// Checks the types of the whole workspace, tests and program, for Apple's GPUs: needs Rust's standard library for macOS
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say what is missing
    #[arg(long)]
    needs: bool,
    /// Clippy, with warnings denied, and not the compiler alone
    #[arg(long)]
    lints: bool,
}

/// Stands where a C compiler for macOS is looked for: says that it is Clang, and writes empty files. What is written in C
/// has no types that Rust would look at.
const COMPILER: &str = r#"#!/bin/sh
out=
while [ $# -gt 0 ]; do
  case "$1" in
    -E) echo '"clang"'; exit 0 ;;
    --version) echo 'clang version 17.0.0'; exit 0 ;;
    -o) out=$2; shift ;;
  esac
  shift
done
[ -z "$out" ] || : > "$out"
"#;

/// Stands where an archiver is looked for: the first file that it is given with the name of a library becomes one,
/// without members.
const ARCHIVER: &str = r#"#!/bin/sh
for file; do
  case "$file" in
    *.a) printf '!<arch>\n' > "$file"; exit 0 ;;
  esac
done
"#;

/// Runs the check; on a Mac with the tools that are there.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(missing) = missing()? {
        bail!("to check types for Apple's GPUs on this machine:\n  {missing}");
    }
    if options.needs {
        println!("nothing is missing");
        return Ok(());
    }
    check(&Workspace::find()?.root, if options.lints { "clippy" } else { "check" })?;
    println!("the build for Apple's GPUs has no wrong type; that its kernels do what they should, tests say");
    Ok(())
}

fn missing() -> Result<Option<String>> {
    if cfg!(target_os = "macos") { Ok(None) } else { missing_library(TARGET) }
}

/// Checks every target of the workspace with the feature `metal`.
fn check(root: &Path, with: &str) -> Result<()> {
    let mut command = Command::new(cargo());
    command.current_dir(root).arg(with).args(["--release", "--locked", "--workspace", "--all-targets"]);
    command.args(["--features", "ppkt/metal"]);
    if !cfg!(target_os = "macos") {
        let folder = root.join("target/metal-types");
        let (compiler, archiver) = (folder.join("clang"), folder.join("ar"));
        stand_in(&compiler, COMPILER)?;
        stand_in(&archiver, ARCHIVER)?;
        let name = TARGET.replace('-', "_");
        command.args(["--target", TARGET]);
        command.env(format!("CC_{name}"), &compiler).env(format!("CXX_{name}"), &compiler);
        command.env(format!("AR_{name}"), &archiver);
        // Else Apple's own tool is asked where its headers are.
        command.env("SDKROOT", &folder);
    }
    if with == "clippy" {
        command.args(["--", "-D", "warnings"]);
    }
    let status = command.status().context("cargo cannot be started")?;
    ensure!(status.success(), "the types of the Metal build are wrong; what cargo said is above");
    Ok(())
}

#[cfg(test)]
mod tests {
    /// No Mac is needed to know that a build for one would compile.
    #[test]
    fn the_metal_build_has_no_wrong_type() {
        if let Some(missing) = super::missing().unwrap() {
            println!("skipped: {missing}");
            return;
        }
        super::check(&crate::rules::Workspace::find().unwrap().root, "check").unwrap();
    }
}
