//! The page: one file that needs no other.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{ReportError, Result};
use crate::run::Run;
use crate::section;

/// Name of the page in a run folder.
pub const PAGE: &str = "report.html";

const STYLE: &str = include_str!("assets/page.css");
const SCRIPTS: [&str; 2] = [include_str!("assets/reading.js"), include_str!("assets/cloud.js")];

/// A page that was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// What is missing in the run folder, or was left out; the page says it too.
    pub notes: Vec<String>,
}

/// Writes the page of a run folder, by default as [`PAGE`] into the folder itself.
///
/// The same folder gives the same page, byte for byte.
///
/// # Errors
/// If the folder holds no run, a file in it is nonsense (the error names it), or the page cannot be written.
pub fn write(folder: &Path, out: Option<&Path>) -> Result<Written> {
    let run = Run::read(folder)?;
    let page = out.map_or_else(|| folder.join(PAGE), Path::to_owned);
    let text = document(&run).into_string();
    replace(&page, text.as_bytes()).map_err(|source| ReportError::Write { path: page.clone(), source })?;
    Ok(Written { page, bytes: text.len(), notes: run.notes })
}

fn document(run: &Run) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // Nothing is fetched, and no script runs but ours: whatever a name in a file says, it stays text.
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (run.name) " · ppkt" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (section::all(run))
                footer { "Written by ppkt " (env!("CARGO_PKG_VERSION")) ". This page is one file and fetches nothing." }
                @for script in SCRIPTS { script { (PreEscaped(script)) } }
            }
        }
    }
}

/// What the browser may load: pictures inside the page, its own style, and scripts with these digests.
fn policy() -> String {
    let digests: Vec<String> =
        SCRIPTS.iter().map(|s| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(s)))).collect();
    format!("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {}", digests.join(" "))
}

/// Writes beside the place and renames, so that a reader sees the old page or the whole new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let written = (|| {
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    })();
    if written.is_err() {
        // The rest of a failed write is of no use to anybody.
        let _ = fs::remove_file(&partial);
    }
    written
}
