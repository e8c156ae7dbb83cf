//! Checkpoints: written beside their place, flushed, renamed; read back only if every byte is as it was written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Result, TrainError};
use crate::run_folder::{read_json, sync_folder, write_json};
use crate::validation::Retrieval;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where a run stands, beside its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Steps done; the next step has this number.
    pub steps_done: u64,
    /// Updates that the optimiser has made.
    pub updates: u64,
    /// Loss of the first step.
    pub first_loss: Option<f64>,
    /// Loss of the last step done.
    pub last_loss: Option<f64>,
    /// Retrieval before the first step.
    pub retrieval_before: Option<Retrieval>,
    /// Seconds of work of all sittings so far.
    pub seconds: f64,
    /// Frames left out so far because they were damaged.
    pub skipped: u64,
    /// SHA-256 of each file of the checkpoint.
    pub files: HashMap<String, String>,
}

impl RunState {
    /// Counts a step that is done: its loss, the optimiser's updates so far, and frames that it left out.
    pub(crate) fn stepped(&mut self, loss: f64, updates: u64, skipped: usize) {
        self.steps_done += 1;
        self.updates = updates;
        self.first_loss.get_or_insert(loss);
        self.last_loss = Some(loss);
        self.skipped += skipped as u64;
    }
}

/// The tensors and the state of a run at one step.
#[derive(Debug)]
pub struct Checkpoint {
    /// Parameters and buffers of student and projection.
    pub model: HashMap<String, Tensor>,
    /// State of the optimiser.
    pub optimizer: HashMap<String, Tensor>,
    /// Everything else.
    pub state: RunState,
}

impl Checkpoint {
    /// Writes the checkpoint into `folder` and keeps the newest `keep` there. A crash or a full disk at any point
    /// leaves the earlier ones as they were.
    pub fn save(mut self, folder: &Path, keep: usize) -> Result<PathBuf> {
        let place = folder.join(format!("{:06}", self.state.steps_done));
        let partial = folder.join(format!(".{:06}.partial", self.state.steps_done));
        let written = self.write(&partial);
        let moved = written.and_then(|()| {
            if place.exists() {
                fs::remove_dir_all(&place)
                    .map_err(|e| TrainError::io("replace the checkpoint", &place, e))?;
            }
            fs::rename(&partial, &place)
                .map_err(|e| TrainError::io("put the checkpoint in place", &place, e))?;
            sync_folder(folder).map_err(|e| TrainError::io("flush the checkpoint", folder, e))
        });
        if let Err(e) = moved {
            // A half-written checkpoint helps nobody and holds space.
            let _ = fs::remove_dir_all(&partial);
            return Err(e);
        }
        for old in list(folder)?.iter().rev().skip(keep.max(1)) {
            fs::remove_dir_all(old).map_err(|e| TrainError::io("remove an old checkpoint", old, e))?;
        }
        Ok(place)
    }

    fn write(&mut self, partial: &Path) -> Result<()> {
        if partial.exists() {
            fs::remove_dir_all(partial)
                .map_err(|e| TrainError::io("clear an unfinished checkpoint", partial, e))?;
        }
        fs::create_dir_all(partial)
            .map_err(|e| TrainError::io("make the checkpoint's folder", partial, e))?;
        for (name, tensors) in [(MODEL, &self.model), (OPTIMIZER, &self.optimizer)] {
            let path = partial.join(name);
            let bytes =
                safetensors::serialize(tensors.iter().map(|(k, v)| (k.as_str(), v)), None).map_err(|e| {
                    TrainError::Checkpoint { problem: format!("cannot serialise: {e}"), path: path.clone() }
                })?;
            let digest = hex(&Sha256::digest(&bytes));
            let written =
                File::create(&path).and_then(|mut f| f.write_all(&bytes).and_then(|()| f.sync_all()));
            written.map_err(|e| TrainError::io("write the checkpoint", &path, e))?;
            self.state.files.insert(name.to_owned(), digest);
        }
        write_json(&partial.join(STATE), &self.state)
    }

    /// Reads the newest checkpoint in `folder`; `None` where there is none yet.
    ///
    /// # Errors
    /// If the newest one is damaged: which file, and that removing its folder falls back to the one before.
    pub fn newest(folder: &Path) -> Result<Option<Self>> {
        match list(folder)?.last() {
            Some(place) => Self::load(place).map(Some),
            None => Ok(None),
        }
    }

    fn load(place: &Path) -> Result<Self> {
        let state: RunState = read_json(&place.join(STATE))?;
        let tensors = |name: &str| {
            let path = place.join(name);
            let mut bytes = Vec::new();
            File::open(&path)
                .and_then(|mut f| f.read_to_end(&mut bytes))
                .map_err(|e| TrainError::io("read the checkpoint", &path, e))?;
            if state.files.get(name) != Some(&hex(&Sha256::digest(&bytes))) {
                return Err(TrainError::Checkpoint {
                    problem:
                        "the file is not what was written (its checksum differs); remove this checkpoint's \
                              folder to resume from the one before"
                            .into(),
                    path,
                });
            }
            Ok(candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?)
        };
        Ok(Self { model: tensors(MODEL)?, optimizer: tensors(OPTIMIZER)?, state })
    }
}

/// Finished checkpoints in a folder, oldest first.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(TrainError::io("list the checkpoints", folder, e)),
    };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok().map(|step| (step, e.path())))
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let tensor = |v: f32| Tensor::from_vec(vec![v; 8], 8, &Device::Cpu).unwrap();
        Checkpoint {
            model: HashMap::from([("w".to_owned(), tensor(step as f32))]),
            optimizer: HashMap::from([("w.momentum".to_owned(), tensor(-1.0))]),
            state: RunState { steps_done: step, ..Default::default() },
        }
    }

    #[test]
    fn the_newest_comes_back_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Checkpoint::newest(dir.path()).unwrap().is_none());
        for step in [5, 10, 15] {
            checkpoint(step).save(dir.path(), 2).unwrap();
        }
        assert_eq!(list(dir.path()).unwrap().len(), 2);
        let newest = Checkpoint::newest(dir.path()).unwrap().unwrap();
        assert_eq!(newest.state.steps_done, 15);
        assert_eq!(newest.model["w"].to_vec1::<f32>().unwrap(), [15.0; 8]);
    }

    #[test]
    fn an_unfinished_checkpoint_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        checkpoint(5).save(dir.path(), 2).unwrap();
        fs::create_dir(dir.path().join(".000010.partial")).unwrap();
        assert_eq!(Checkpoint::newest(dir.path()).unwrap().unwrap().state.steps_done, 5);
        checkpoint(10).save(dir.path(), 2).unwrap();
        assert_eq!(Checkpoint::newest(dir.path()).unwrap().unwrap().state.steps_done, 10);
    }

    #[test]
    fn a_changed_or_cut_file_is_refused_by_name() {
        for damage in [|b: &mut Vec<u8>| b[70] ^= 1, |b: &mut Vec<u8>| b.truncate(20)] {
            let dir = tempfile::tempdir().unwrap();
            let place = checkpoint(5).save(dir.path(), 2).unwrap();
            let path = place.join(MODEL);
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let message = Checkpoint::newest(dir.path()).unwrap_err().to_string();
            assert!(message.contains("model.safetensors") && message.contains("the one before"), "{message}");
        }
    }
}
