//! Rules about what people read first.

use std::path::Path;

use super::Faults;
use super::workspace::{Member, Workspace};

/// What a newcomer types first.
const DEMO: &str = "cargo run --release -- demo";
/// What a newcomer types second, and CI.
const TEST: &str = "cargo test --release --workspace";

/// The README shows both commands on lines of their own, and `.ci/run` runs the second and nothing else.
pub(super) fn commands(workspace: &Workspace) -> Faults {
    let mut faults = Vec::new();
    for command in [DEMO, TEST] {
        if !workspace.text("README.md").lines().any(|line| line == command) {
            faults.push(format!("the command `{command}` is missing: README.md"));
        }
    }
    let script = workspace.text(".ci/run").lines().map(str::trim);
    let commands: Vec<&str> =
        script.filter(|l| !(l.is_empty() || l.starts_with('#') || is_setup(l))).collect();
    if commands != [TEST] {
        faults.push(format!("it should run `{TEST}` and nothing else, but runs {commands:?}: .ci/run"));
    }
    faults
}

/// What may come before it: a place, and a browser and a Vulkan device for the tests that can do without.
fn is_setup(line: &str) -> bool {
    let setup = ["cd ", "command -v chromium ", "ls /usr/share/vulkan/"];
    line == "set -euo pipefail" || setup.iter().any(|start| line.starts_with(start))
}

/// A library can be taken alone, and a dataset be found and read, by what stands in its own folder.
pub(super) fn readmes(workspace: &Workspace) -> Faults {
    // The program's README is the one at the root; what is never published needs none.
    let published = |m: &&Member| m.manifest.get("package").and_then(|p| p.get("publish")).is_none();
    let libraries = workspace.libraries();
    let crates = workspace.members.iter().filter(|m| libraries.contains(&m.name())).filter(published);
    let crates = crates.map(|m| m.folder.clone());
    let datasets = std::fs::read_dir(workspace.root.join("datasets")).into_iter().flatten().flatten();
    let datasets = datasets
        .filter(|e| e.path().is_dir())
        .map(|e| format!("datasets/{}", e.file_name().to_string_lossy()));
    let files = crates.chain(datasets).map(|folder| format!("{folder}/README.md"));
    files
        .filter(|f| workspace.text(f).trim().is_empty())
        .map(|f| format!("it is missing or empty: {f}"))
        .collect()
}

/// Links to files of the repository.
pub(super) fn links(workspace: &Workspace) -> Faults {
    let mut faults = Vec::new();
    for (path, text) in workspace.files(".md") {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        for target in targets(text) {
            if !workspace.root.join(folder).join(target).exists() {
                faults.push(format!("the link to {target} leads nowhere: {path}"));
            }
        }
    }
    faults
}

/// Targets of inline links that are paths: no address, no place on the page, no item of the documentation.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| {
        let target = rest.split([')', '#', ' ']).next()?;
        let is_path =
            !target.is_empty() && !target.contains("://") && !target.contains("::") && !target.contains('`');
        // `[word](Item)` names an item of the crate; paths have a slash or an ending.
        (is_path && target.contains(['/', '.'])).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found() {
        let text = "See [a](docs/a.md), [b](https://x.y/z) and ![p](p.png#top), [c](crate::C), [d](#here).\n\
                    ```\n[e](none.md)\n```\n[f](../f/)";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["docs/a.md", "p.png", "../f/"]);
    }
}
