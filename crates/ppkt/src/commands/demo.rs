//! `ppkt demo`: the whole way, small and offline.

use std::path::PathBuf;

use anyhow::Result;
use ppkt_train::{ComparisonConfig, PretrainConfig, Start};

use crate::cli::Demo;
use crate::commands::{bench_labels, pretrain};
use crate::output::say;

/// Runs the recipes `demo` and `labels-demo` and shows what came out.
pub(crate) fn run(arguments: &Demo, json: bool) -> Result<()> {
    let mut config: ComparisonConfig = ppkt_train::resolve("labels-demo", &[])?;
    config.pretrain = Some(ppkt_train::resolve::<PretrainConfig>("demo", &[])?);
    let config = ppkt_train::with_settings(&config, &pretrain::overrides(&arguments.set)?)?.settled();
    let out = arguments.out.clone().unwrap_or_else(free_folder);
    if !json {
        say!("A small 3D network learns from a 2D one: no labels, only which pixel sees which point.");
        say!("Then it learns to name things from a few labelled rooms, and so does one that begins anew.");
        say!("Rooms are rendered as they are needed; those that are measured on were never trained on.\n");
    }
    bench_labels::compare(&config, &out, Start::Fresh, &arguments.on.device.open()?, json)
}

fn free_folder() -> PathBuf {
    let numbered = (2..).map(|i| PathBuf::from(format!("runs/demo-{i}")));
    std::iter::once(PathBuf::from("runs/demo")).chain(numbered).find(|p| !p.exists()).unwrap_or_default()
}
