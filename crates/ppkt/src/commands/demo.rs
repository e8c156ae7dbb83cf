//! `ppkt demo`: the whole way, small and offline.

use std::path::PathBuf;

use anyhow::Result;
use ppkt_train::Start;

use crate::cli::Demo;
use crate::commands::pretrain;
use crate::output::say;

/// Runs the recipe `demo` and shows what came out.
pub(crate) fn run(arguments: &Demo, json: bool) -> Result<()> {
    let overrides = pretrain::overrides(&arguments.set)?;
    let config = ppkt_train::resolve("demo", &overrides)?;
    let out = arguments.out.clone().unwrap_or_else(free_folder);
    if !json {
        say!("A small 3D network learns from a 2D one: no labels, only which pixel sees which point.");
        say!("Rooms are rendered as they are needed; held-out rooms are never trained on.\n");
    }
    pretrain::train(&config, &out, Start::Fresh, json)
}

fn free_folder() -> PathBuf {
    let numbered = (2..).map(|i| PathBuf::from(format!("runs/demo-{i}")));
    std::iter::once(PathBuf::from("runs/demo")).chain(numbered).find(|p| !p.exists()).unwrap_or_default()
}
