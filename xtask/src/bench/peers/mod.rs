//! Other people's libraries on the same inputs, in the same run: spconv, plain PyTorch, MinkowskiEngine where it is
//! installed, numpy, open3d, OpenCV and kornia.
//!
//! The scripts that run them lie beside the workspace, in `../shared/peers`, and are no part of it.

mod goals;
mod rows;
mod turns;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(super) use goals::{OwnGoal, own_goals, ratios};
pub(super) use rows::PeerTime;

use super::Section;

/// Whether and how to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Compare with other libraries (Python; set up from the package registry where they are not there)
    #[arg(long)]
    peers: bool,
    /// Compile MinkowskiEngine too when setting up: 10 to 25 minutes
    #[arg(long, requires = "peers")]
    with_minkowski: bool,
    /// The Python environment of the peers; made there if it does not exist
    #[arg(long, value_name = "DIR", requires = "peers")]
    venv: Option<PathBuf>,
}

/// The peers, ready to run.
pub(super) struct Peers {
    python: PathBuf,
    scripts: PathBuf,
    /// Inputs that both sides read.
    pub(super) data: PathBuf,
}

/// Inputs of the cases that are compared.
const WORKLOADS: [&str; 3] = ["room5cm_b1_20k", "room2cm_b1_100k", "points_300k"];

impl Options {
    /// Sets everything up that is not there yet; nothing if no comparison was asked for.
    pub(super) fn prepare(&self) -> Result<Option<Peers>> {
        if !self.peers {
            return Ok(None);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in a workspace")?;
        let scripts = scripts_beside(root)?;
        let venv = self.venv.clone().unwrap_or_else(|| root.join("target/peers/venv"));
        let venv = std::path::absolute(venv)?;
        let python = venv.join("bin/python");
        if !python.is_file() {
            eprintln!("setting up the peers, once, some minutes: {venv:?}");
            std::fs::create_dir_all(&venv)?;
            let mut setup = Command::new("bash");
            setup.arg(scripts.join("setup.sh")).arg(&venv);
            if !self.with_minkowski {
                setup.env("NO_ME", "1");
            }
            run(setup.env("PYTHONDONTWRITEBYTECODE", "1"), "setting up the peers")?;
        }
        let peers = Peers { python, scripts, data: root.join("target/peers/data") };
        for name in WORKLOADS {
            if !peers.data.join(name).with_extension("safetensors").is_file() {
                let mut make = peers.script("workloads.py");
                run(
                    make.arg(&peers.data).args(["--only", name]).stdout(std::process::Stdio::null()),
                    "making the inputs",
                )?;
            }
        }
        Ok(Some(peers))
    }
}

/// The folder of the comparison scripts.
fn scripts_beside(root: &Path) -> Result<PathBuf> {
    let scripts = root.join("../shared/peers");
    if !scripts.join("bench.py").is_file() {
        bail!("--peers needs the comparison scripts, which are no part of the workspace: {scripts:?}");
    }
    Ok(scripts.canonicalize()?)
}

impl Peers {
    /// Whether a section has anything to compare with.
    pub(super) fn has(&self, section: Section) -> bool {
        !matches!(section, Section::Linearity | Section::Profile)
    }

    /// A Python program of the peers' folder, which is left as it is.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn run(command: &mut Command, what: &str) -> Result<()> {
    let status =
        command.status().with_context(|| format!("{what}: {:?} cannot be started", command.get_program()))?;
    if !status.success() {
        bail!("{what} failed; the reason is above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_scripts_one_sentence_says_so() {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        let error = scripts_beside(&workspace).unwrap_err().to_string();
        assert!(
            error.starts_with("--peers needs the comparison scripts") && error.contains("shared/peers"),
            "{error}"
        );
        let scripts = root.path().join("shared/peers");
        std::fs::create_dir_all(&scripts).unwrap();
        std::fs::write(scripts.join("bench.py"), "").unwrap();
        assert_eq!(scripts_beside(&workspace).unwrap(), scripts.canonicalize().unwrap());
    }
}
