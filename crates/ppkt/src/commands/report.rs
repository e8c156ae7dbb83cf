//! `ppkt report`: the page of a run.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::Report;
use crate::output::say;

/// Writes the page of a run folder and says where it is and what it lacks.
pub(crate) fn run(arguments: &Report, json: bool) -> Result<()> {
    let written = ppkt_report::write(&arguments.run, arguments.out.as_deref())?;
    if json {
        say!("{}", serde_json::to_string(&written)?);
        return Ok(());
    }
    for note in &written.notes {
        eprintln!("{note}");
    }
    say!("page        {}  ({:.1} MB)", written.page.display(), written.bytes as f64 / 1e6);
    Ok(())
}

/// Writes the page at the end of a command that made a run folder. The run is done whether or not it has a page, so a
/// failure is said and no more.
pub(crate) fn of_finished_run(folder: &Path) -> Option<PathBuf> {
    match ppkt_report::write(folder, None) {
        Ok(written) => Some(written.page),
        Err(error) => {
            let error = anyhow::Error::from(error);
            eprintln!("the run is complete, but its page could not be written: {error:#}");
            None
        }
    }
}
