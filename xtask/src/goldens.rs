//! `cargo xtask goldens`: makes the fixtures of the teacher's tests anew, with the libraries that they stand for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::rules::Workspace;

/// Where script, lock file and fixtures are, below the root.
const FOLDER: &str = "crates/ppkt-teacher/tests/goldens";

/// What to make the fixtures with.
#[derive(clap::Args)]
pub(crate) struct Goldens {
    /// Python 3.11 or newer, to make an environment with
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// An environment that has the packages of requirements.txt; by default target/goldens-venv, which is made from the
    /// package registry where it is absent (some 7 GB, most of it PyTorch's libraries for GPUs)
    #[arg(long)]
    environment: Option<PathBuf>,
    /// Change nothing, and fail if any file would change
    #[arg(long)]
    check: bool,
}

impl Goldens {
    /// Runs the script into a temporary folder, and takes over the files that differ.
    pub(crate) fn run(&self) -> Result<()> {
        let root = Workspace::find()?.root;
        let fixtures = root.join(FOLDER);
        let python = match &self.environment {
            Some(environment) => python_of(environment),
            None => self.make_environment(&root.join("target/goldens-venv"), &fixtures)?,
        };
        let fresh = tempfile::tempdir()?;
        call(Command::new(python).arg(fixtures.join("make.py")).arg(fresh.path()))?;
        let (mut same, mut changed) = (0, Vec::new());
        for case in sorted(fresh.path())? {
            for file in sorted(&case)? {
                let name = file.strip_prefix(fresh.path()).context("a file of the folder")?.to_owned();
                let new = std::fs::read(&file)?;
                if std::fs::read(fixtures.join(&name)).is_ok_and(|old| old == new) {
                    same += 1;
                } else {
                    changed.push((name, new));
                }
            }
        }
        ensure!(same + changed.len() > 0, "the script made no file");
        println!("{same} files are as they were");
        for (name, new) in &changed {
            println!("{} {}", if self.check { "would change" } else { "changed" }, name.display());
            if !self.check {
                let path = fixtures.join(name);
                std::fs::create_dir_all(path.parent().context("a case is a folder")?)?;
                std::fs::write(path, new)?;
            }
        }
        ensure!(!self.check || changed.is_empty(), "{} files would change", changed.len());
        if !changed.is_empty() {
            println!("now run: cargo test --release -p ppkt-teacher --test goldens");
        }
        Ok(())
    }

    /// The environment's Python, with exactly the packages of the lock file.
    fn make_environment(&self, environment: &Path, fixtures: &Path) -> Result<PathBuf> {
        let python = python_of(environment);
        if !python.exists() {
            println!("making {} with the packages of {FOLDER}/requirements.txt", environment.display());
            call(Command::new(&self.python).args(["-m", "venv"]).arg(environment))?;
        }
        // Where all are installed already, this takes a second.
        let lock = fixtures.join("requirements.txt");
        call(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(lock))?;
        Ok(python)
    }
}

fn python_of(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

fn call(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{program} cannot be started"))?;
    ensure!(status.success(), "{program} failed ({status}): {command:?}");
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect();
    let mut entries = entries?;
    entries.sort();
    Ok(entries)
}
