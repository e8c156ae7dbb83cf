//! Going on with a run that was begun before.

use std::path::Path;

use crate::error::{Result, TrainError};
use crate::recipe::{Recipe, first_difference, resolve};
use crate::run_folder::RunFolder;

/// Whether a run begins or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A new run in a new folder.
    Fresh,
    /// From the newest checkpoint of the folder; from the beginning if there is none yet.
    Resume,
}

impl Start {
    /// The folder to go on with, if it is to be resumed and a run was begun there. Its settings must be the same where
    /// they decide results; `forgive` takes over from the first the others, which change no number. `what` is what the
    /// folder holds: run, comparison.
    pub(crate) fn begun_before<C: Recipe>(
        self,
        config: &C,
        out: &Path,
        what: &str,
        forgive: impl FnOnce(&C, &mut C),
    ) -> Result<Option<RunFolder>> {
        if self == Self::Fresh {
            return Ok(None);
        }
        let Some(folder) = RunFolder::open(out)? else { return Ok(None) };
        let mut there: C = resolve(&folder.config().to_string_lossy(), &[])?;
        forgive(config, &mut there);
        match first_difference(&there, config) {
            Some(difference) => Err(TrainError::Config(format!(
                "the {what} to resume was begun with other settings: {difference}; resume it without settings, or \
                 begin another with --out: {out:?}"
            ))),
            None => Ok(Some(folder)),
        }
    }
}
