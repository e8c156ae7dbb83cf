//! Checking the types of a CUDA build where NVIDIA's compiler is not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::rules::Workspace;
use crate::toolchain::{cargo, stand_in};

/// What to check with.
#[derive(clap::Args)]
pub(crate) struct Types {
    /// Clippy, with warnings denied, and not the compiler alone
    #[arg(long)]
    lints: bool,
}

/// Stands where nvcc is looked for, tells a version and writes empty files: enough for everything but code.
const STAND_IN: &str = r#"#!/bin/sh
out=
folder=.
end=o
source=
while [ $# -gt 0 ]; do
  case "$1" in
    --version) echo 'Cuda compilation tools, release 13.0, V13.0.88'; exit 0 ;;
    --list-gpu-code) printf 'sm_80\nsm_90\n'; exit 0 ;;
    -o) out=$2; shift ;;
    --output-directory) folder=$2; shift ;;
    --ptx) end=ptx ;;
    *.cu) source=$1 ;;
  esac
  shift
done
[ -n "$out" ] || out="$folder/$(basename "$source" .cu).$end"
: > "$out"
"#;

impl Types {
    pub(crate) fn run(&self) -> Result<()> {
        check(&Workspace::find()?.root, if self.lints { "clippy" } else { "check" })
    }
}

/// Checks every target of the workspace with the feature `cuda`.
fn check(root: &Path, with: &str) -> Result<()> {
    // In one place, so that candle's kernels are not "compiled" anew each time.
    let nvcc = root.join("target/gpu-types/nvcc");
    stand_in(&nvcc, STAND_IN)?;
    let mut command = Command::new(cargo());
    command.current_dir(root).arg(with).args(["--release", "--locked", "--workspace", "--all-targets"]);
    command.args(["--features", "ppkt/cuda"]);
    command.env("NVCC", &nvcc).env("CUDARC_CUDA_VERSION", "13000").env("CUDA_COMPUTE_CAP", "80");
    if with == "clippy" {
        command.args(["--", "-D", "warnings"]);
    }
    let status = command.status().context("cargo cannot be started")?;
    ensure!(status.success(), "the types of the CUDA build are wrong; what cargo said is above");
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    /// Nothing of a CUDA build runs here, but that it would compile is known before anyone has a GPU.
    #[test]
    fn the_cuda_build_has_no_wrong_type() {
        super::check(&crate::rules::Workspace::find().unwrap().root, "check").unwrap();
    }
}
