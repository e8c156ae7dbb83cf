//! The published network by other people's libraries, on the same GPU, voxels and method as our own bench.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The program, which needs nothing of this workspace.
const PROGRAM: &str = include_str!("peers.py");

/// Where they are looked for.
#[derive(clap::Args)]
pub(super) struct Peers {
    /// Python 3 with PyTorch, which the network is measured with too
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Folder of Python packages, such as an unpacked spconv, beside those that this Python has
    #[arg(long, value_name = "DIR")]
    packages: Option<PathBuf>,
    /// Device that PyTorch is told
    #[arg(long, default_value = "cuda", hide = true)]
    peer_device: String,
    /// Leave them out
    #[arg(long)]
    no_peers: bool,
}

impl Peers {
    /// What they measured on the voxels of a file, or why they did not.
    pub(super) fn run(&self, voxels: &Path) -> Result<Value> {
        if self.no_peers {
            return Ok(json!({ "missing": "left out" }));
        }
        if !voxels.is_file() {
            return Ok(json!({ "missing": "the bench whose voxels they are to have did not run" }));
        }
        let dir = tempfile::tempdir()?;
        let program = dir.path().join("peers.py");
        std::fs::write(&program, PROGRAM).context("cannot write the program of the peers")?;
        let mut command = Command::new(&self.python);
        command.arg(&program).arg("--voxels").arg(voxels).args(["--device", &self.peer_device]);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = &self.packages {
            let others = std::env::var_os("PYTHONPATH").unwrap_or_default();
            let all = std::iter::once(packages.clone()).chain(std::env::split_paths(&others));
            command.env("PYTHONPATH", std::env::join_paths(all)?);
        }
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => return Ok(json!({ "missing": format!("{}: {error}", self.python.display()) })),
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        let object = printed.lines().next_back().and_then(|line| serde_json::from_str::<Value>(line).ok());
        Ok(object
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({ "missing": super::run::ending(&output) })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(python: &Path) -> Peers {
        Peers { python: python.to_owned(), packages: None, peer_device: "cuda".into(), no_peers: false }
    }

    #[test]
    fn what_is_missing_is_said_in_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let (voxels, nowhere) = (dir.path().join("voxels"), dir.path().join("python"));
        let said = |peers: &Peers| peers.run(&voxels).unwrap()["missing"].as_str().unwrap().to_owned();
        assert!(said(&peers(&nowhere)).contains("did not run"));
        std::fs::write(&voxels, [0; 16]).unwrap();
        assert!(said(&peers(&nowhere)).contains("python"));
        assert_eq!(said(&Peers { no_peers: true, ..peers(&nowhere) }), "left out");
    }

    #[cfg(unix)]
    #[test]
    fn the_last_line_is_the_result() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let voxels = dir.path().join("voxels");
        std::fs::write(&voxels, [0; 16]).unwrap();
        let python = |text: &str| {
            let path = dir.path().join("python");
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let found = peers(&python("echo words; echo '{\"voxels\": 1}'")).run(&voxels).unwrap();
        assert_eq!(found, json!({ "voxels": 1 }));
        let broken = peers(&python("echo it broke >&2; exit 1")).run(&voxels).unwrap();
        assert!(broken["missing"].as_str().unwrap().contains("it broke"));
    }
}
