//! Rules about manifests: inheritance, dependencies, floors.

use toml::Value;

use super::{Faults, Workspace};

/// Which crates stand on which floor; a crate uses only crates on lower ones (docs/ARCHITECTURE.md).
const FLOORS: &[(&str, u8)] = &[
    ("ppkt-geometry", 0),
    ("ppkt-device", 0),
    ("ppkt-nvcc", 0),
    ("ppkt-sparse", 1),
    ("ppkt-teacher", 2),
    ("ppkt-student", 2),
    ("ppkt-objective", 2),
    ("ppkt-data", 2),
    ("ppkt-train", 3),
    ("ppkt-report", 3),
    ("ppkt", 4),
];
/// For tests alone: never a dependency of anything that is built for a user.
const TEST_ONLY: [&str; 2] = ["ppkt-testkit", "ppkt-wgsl"];
/// Stands beside the floors, and may use them all.
const BESIDE: &str = "xtask";
/// What `ppkt-geometry` may be built from.
const GEOMETRY_MAY_USE: [&str; 4] = ["nalgebra", "thiserror", "serde", "rayon"];

const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|v| v.get("workspace")).and_then(Value::as_bool) == Some(true)
}

/// Version, edition, licence and lints come from the root, and a folder has the name of its crate.
pub(super) fn inheritance(workspace: &Workspace) -> Faults {
    let mut faults = Vec::new();
    for member in &workspace.members {
        let manifest = format!("{}/Cargo.toml", member.folder);
        for key in ["version", "edition", "rust-version", "license", "authors"] {
            if !inherits(member.manifest.get("package").and_then(|p| p.get(key))) {
                faults.push(format!("write `{key}.workspace = true`: {manifest}"));
            }
        }
        if !inherits(member.manifest.get("lints")) {
            faults.push(format!("write `[lints] workspace = true`, or no lint applies: {manifest}"));
        }
        if member.folder.rsplit('/').next() != Some(member.name()) {
            faults.push(format!("the crate is named {:?}, unlike its folder: {manifest}", member.name()));
        }
    }
    faults
}

/// Members name dependencies, the root says which; what nobody names is not kept.
pub(super) fn dependencies_at_the_root(workspace: &Workspace) -> Faults {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for member in &workspace.members {
        for kind in KINDS {
            for (name, value) in member.dependencies(kind) {
                used.push(name.as_str());
                if !inherits(Some(value)) {
                    let file = format!("{}/Cargo.toml", member.folder);
                    faults
                        .push(format!("write `{name}.workspace = true` and its version at the root: {file}"));
                }
            }
        }
    }
    let root = workspace.manifest.get("workspace").and_then(|w| w.get("dependencies"));
    for (name, _) in root.and_then(Value::as_table).into_iter().flatten() {
        if !used.contains(&name.as_str()) {
            faults.push(format!("no member uses {name}; remove it: Cargo.toml"));
        }
    }
    faults
}

/// Arrows point downward.
pub(super) fn floors(workspace: &Workspace) -> Faults {
    let floor = |name: &str| FLOORS.iter().find(|(n, _)| *n == name).map(|(_, floor)| *floor);
    let is_ours = |name: &str| workspace.members.iter().any(|m| m.name() == name);
    let mut faults = Vec::new();
    for member in workspace.members.iter().filter(|m| m.name() != BESIDE) {
        let name = member.name();
        // What is for tests alone stands on the ground floor, and is used by all.
        let own = if TEST_ONLY.contains(&name) { Some(1) } else { floor(name) };
        if own.is_none() {
            faults.push(format!("{name} has no floor; give it one in xtask/src/rules/manifests.rs"));
        }
        for kind in KINDS {
            for (used, _) in member.dependencies(kind).filter(|(used, _)| is_ours(used)) {
                let allowed = match used.as_str() {
                    used if TEST_ONLY.contains(&used) => kind == "dev-dependencies",
                    _ => floor(used).zip(own).is_some_and(|(theirs, own)| theirs < own),
                };
                if !allowed {
                    faults.push(format!("{name} may not use {used}: {}/Cargo.toml", member.folder));
                }
            }
        }
    }
    faults
}

/// A robotics team takes this crate without taking a framework.
pub(super) fn geometry_alone(workspace: &Workspace) -> Faults {
    let geometry = workspace.members.iter().find(|m| m.name() == "ppkt-geometry");
    let used = geometry.into_iter().flat_map(|m| m.dependencies("dependencies"));
    let strangers = used.filter(|(name, _)| !GEOMETRY_MAY_USE.contains(&name.as_str()));
    strangers.map(|(name, _)| format!("{name} is too much for it: crates/ppkt-geometry/Cargo.toml")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::workspace::Member;

    fn broken(folder: &str, manifest: &str) -> Workspace {
        let member =
            |folder: &str, text: &str| Member { folder: folder.into(), manifest: text.parse().unwrap() };
        let sparse = member("crates/ppkt-sparse", "[package]\nname = \"ppkt-sparse\"");
        let testkit = member("crates/ppkt-testkit", "[package]\nname = \"ppkt-testkit\"");
        Workspace {
            root: "".into(),
            manifest: "[workspace.dependencies]\nserde = \"1\"".parse().unwrap(),
            lock: toml::Table::new(),
            members: vec![member(folder, manifest), sparse, testkit],
            texts: Vec::new(),
        }
    }

    #[test]
    fn a_lower_crate_may_not_use_a_higher_one() {
        let text = "[package]\nname = \"ppkt-geometry\"\n[dependencies]\nppkt-sparse.workspace = true";
        assert_eq!(floors(&broken("crates/ppkt-geometry", text)).len(), 1);
        let text = "[package]\nname = \"ppkt-data\"\n[dependencies]\nppkt-sparse.workspace = true";
        assert_eq!(floors(&broken("crates/ppkt-data", text)), Faults::new());
    }

    #[test]
    fn the_testkit_is_for_tests() {
        let text = "[package]\nname = \"ppkt-data\"\n[dependencies]\nppkt-testkit.workspace = true";
        assert_eq!(floors(&broken("crates/ppkt-data", text)).len(), 1);
        let text = "[package]\nname = \"ppkt-data\"\n[dev-dependencies]\nppkt-testkit.workspace = true";
        assert_eq!(floors(&broken("crates/ppkt-data", text)), Faults::new());
    }

    #[test]
    fn versions_and_lints_belong_to_the_root() {
        let text = "[package]\nname = \"ppkt-data\"\nversion = \"1.0.0\"\n[dependencies]\nserde = \"1\"";
        let workspace = broken("crates/other", text);
        let faults = inheritance(&workspace).join("\n");
        assert!(
            faults.contains("version") && faults.contains("lints") && faults.contains("unlike its folder")
        );
        assert!(dependencies_at_the_root(&workspace).join("\n").contains("serde.workspace"));
    }

    #[test]
    fn geometry_takes_no_framework() {
        let text = "[package]\nname = \"ppkt-geometry\"\n[dependencies]\ncandle-core.workspace = true";
        assert_eq!(geometry_alone(&broken("crates/ppkt-geometry", text)).len(), 1);
    }
}
