//! The folder of a run: what is in it, and how it is written so that nothing is lost or half-written.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, TrainError};

/// The folder of a run.
///
/// ```text
/// run/
///   config.toml            as resolved; `ppkt pretrain --recipe run/config.toml …` repeats it
///   run.json               versions, fingerprints of data and weights
///   metrics.jsonl          one line a step
///   validation.jsonl       one line for each measurement on held-out frames
///   events.out.tfevents.*  the same for TensorBoard
///   checkpoints/000500/    model.safetensors, optimizer.safetensors, state.json
///   student.safetensors    the backbone alone: what a user takes away
///   pictures/*.png
///   samples/*.ply          clouds for the page, see `ppkt_data::SampleCloud`
/// ```
///
/// As long as the value lives, no other process can open the folder.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    /// Held for its lock alone, which the system lifts when the process ends, however it ends.
    _lock: File,
}

/// What may lie in a folder in which no run was begun: the lock, and the beginning of a first file whose writer was
/// killed.
const REMNANTS: [&str; 2] = [".lock", "config.partial"];

impl RunFolder {
    /// Makes a new run folder that holds `config`.
    ///
    /// # Errors
    /// If the folder exists and is not empty (a run is never overwritten), cannot be written, or is in use.
    pub fn create(root: &Path, config: &str) -> Result<Self> {
        let occupied = match fs::read_dir(root) {
            Ok(entries) => entries.flatten().any(|e| REMNANTS.iter().all(|r| e.file_name() != *r)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(TrainError::io("read the run folder", root, e)),
        };
        if occupied {
            return Err(TrainError::Config(format!(
                "the run folder is not empty: choose another with --out, or continue its run with --resume: {root:?}"
            )));
        }
        fs::create_dir_all(root).map_err(|e| TrainError::io("make the run folder", root, e))?;
        let folder = Self::lock(root)?;
        write_atomically(&folder.config(), |f| f.write_all(config.as_bytes()))?;
        Ok(folder)
    }

    /// Opens a run folder and clears what a killed run left half-written; `None` if no run was ever begun there.
    ///
    /// # Errors
    /// If another process has it open, or it cannot be written.
    pub fn open(root: &Path) -> Result<Option<Self>> {
        if !Self::config_in(root).is_file() {
            return Ok(None);
        }
        let folder = Self::lock(root)?;
        for place in [folder.root.clone(), folder.checkpoints()] {
            let Ok(entries) = fs::read_dir(&place) else { continue };
            for path in entries.flatten().map(|e| e.path()) {
                if path.extension().is_some_and(|e| e == "partial" || e == "part") {
                    // What is left is only clutter, so a failure to remove it is no reason to stop.
                    let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                }
            }
        }
        Ok(Some(folder))
    }

    fn lock(root: &Path) -> Result<Self> {
        let path = root.join(".lock");
        let lock = File::create(&path).map_err(|e| TrainError::io("lock the run folder", &path, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(TrainError::Config(format!(
                "another process is writing this run: wait for it, or choose another folder with --out: {root:?}"
            ))),
            Err(fs::TryLockError::Error(e)) => Err(TrainError::io("lock the run folder", &path, e)),
        }
    }

    /// The configuration of the run in `root`, whether or not there is one.
    pub fn config_in(root: &Path) -> PathBuf {
        root.join("config.toml")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        Self::config_in(&self.root)
    }

    /// Versions and fingerprints.
    pub fn provenance(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// One JSON object a line and step.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// One JSON object a line and measurement on held-out frames; `step` is the number of steps done before it.
    pub fn validation(&self) -> PathBuf {
        self.root.join("validation.jsonl")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The trained backbone.
    pub fn student(&self) -> PathBuf {
        self.root.join("student.safetensors")
    }

    /// The folder of the pictures.
    pub fn pictures(&self) -> PathBuf {
        self.root.join("pictures")
    }

    /// The folder of the clouds that the page shows.
    pub fn samples(&self) -> PathBuf {
        self.root.join("samples")
    }
}

/// Writes a file beside its place, flushes it to the disk and renames it: a reader sees the old file or the whole
/// new one, whatever happens in between.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<()> {
    replace_whole(path, write).map_err(|e| TrainError::io("write", path, e))
}

/// Writes a file that belongs to no run, so that it appears whole or not at all.
///
/// # Errors
/// [`TrainError::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_whole(path, |file| file.write_all(bytes)).map_err(|e| TrainError::output("write", path, e))
}

/// As [`write_atomically`], with the system's own error.
pub(crate) fn replace_whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let result = (|| {
        let mut file = File::create(&partial)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))
    })();
    if result.is_err() {
        // The rest of a failed write is of no use to anybody and may hold the very space that is missing.
        let _ = fs::remove_file(&partial);
    }
    result
}

/// Flushes a folder's entries, so that a rename survives a power cut.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Writes a value as JSON, atomically.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| TrainError::Config(format!("cannot express {path:?} as JSON: {e}")))?;
    write_atomically(path, |f| writeln!(f, "{text}"))
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| TrainError::io("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| TrainError::Checkpoint {
        problem: format!(
            "this file is damaged ({e}); remove the folder that it is in to fall back to an earlier one"
        ),
        path: path.to_owned(),
    })
}

/// The growing list of a run's metrics, one JSON object a line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the list and drops every line from `first_step` on, and a last line that a killed run left half-written:
    /// the resumed run will write them again.
    pub fn open(path: &Path, first_step: u64) -> Result<Self> {
        let kept = Self::lines_before(path, first_step)?;
        write_atomically(path, |f| f.write_all(kept.as_bytes()))?;
        let file = fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|e| TrainError::io("open the metrics", path, e))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn lines_before(path: &Path, first_step: u64) -> Result<String> {
        let mut kept = String::new();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
            Err(e) => return Err(TrainError::io("read the metrics", path, e)),
        };
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| TrainError::io("read the metrics", path, e))?;
            let step = serde_json::from_str::<serde_json::Value>(&line).ok().and_then(|v| v["step"].as_u64());
            if step.is_some_and(|s| s < first_step) {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
        Ok(kept)
    }

    /// Brings all lines to the disk.
    pub fn flush(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| TrainError::io("write the metrics", &self.path, e))
    }

    /// Adds one line.
    pub fn push(&mut self, entry: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(entry)
            .map_err(|e| TrainError::Config(format!("cannot express metrics as JSON: {e}")))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|e| TrainError::io("write the metrics", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run");
        RunFolder::create(&root, "seed = 1\n").unwrap();
        let error = RunFolder::create(&root, "seed = 2\n").unwrap_err();
        assert!(error.is_config() && error.to_string().contains("--resume"));
        assert_eq!(fs::read_to_string(root.join("config.toml")).unwrap(), "seed = 1\n");
    }

    #[test]
    fn a_run_that_was_killed_before_its_first_file_can_begin_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.partial"), "see").unwrap();
        assert!(RunFolder::open(dir.path()).unwrap().is_none());
        drop(RunFolder::create(dir.path(), "seed = 1\n").unwrap());
        assert!(RunFolder::open(dir.path()).unwrap().is_some());
    }

    #[test]
    fn a_run_folder_is_open_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = RunFolder::create(dir.path(), "seed = 1\n").unwrap();
        assert!(RunFolder::open(dir.path()).unwrap_err().to_string().contains("another process"));
        drop(first);
        assert!(RunFolder::open(dir.path()).unwrap().is_some());
    }

    #[test]
    fn what_a_killed_run_left_half_written_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        drop(RunFolder::create(dir.path(), "seed = 1\n").unwrap());
        fs::create_dir_all(dir.path().join("checkpoints/.000010.partial")).unwrap();
        fs::write(dir.path().join("student.safetensors.77.part"), "x").unwrap();
        drop(RunFolder::open(dir.path()).unwrap());
        assert!(!dir.path().join("checkpoints/.000010.partial").exists());
        assert!(!dir.path().join("student.safetensors.77.part").exists());
    }

    #[test]
    fn metrics_from_the_resumed_step_on_are_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":0}\n{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"lo").unwrap();
        let mut log = MetricsLog::open(&path, 2).unwrap();
        log.push(&serde_json::json!({"step": 2, "again": true})).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":0}\n{\"step\":1}\n{\"again\":true,\"step\":2}\n");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, "old").unwrap();
        let full = write_atomically(&path, |_| Err(std::io::Error::from(std::io::ErrorKind::StorageFull)));
        assert!(full.unwrap_err().to_string().contains("free space"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
