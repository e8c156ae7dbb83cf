//! Rules about everything that is linked, however far down: read from `Cargo.lock`, so no network is asked.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::{Faults, Workspace};

/// Which crate may not reach which, and why. A star is the end of a name.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("*", "openssl*", "TLS is rustls, so that nothing has to be installed"),
    ("*", "native-tls", "TLS is rustls, so that nothing has to be installed"),
    ("*", "pyo3*", "the program needs no Python"),
    ("ppkt-geometry", "candle-*", "geometry never sees a tensor"),
    ("ppkt-data", "candle-*", "data never sees candle"),
    ("ppkt-report", "candle-*", "the page reads files, and never sees a network"),
    ("ppkt-report", "ureq", "the page reads files, and never sees the network"),
];

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Nothing forbidden is reached by what is built for users; what only tests use is free.
pub(super) fn forbidden(workspace: &Workspace) -> Faults {
    let graph = locked(workspace);
    let mut faults = Vec::new();
    for member in &workspace.members {
        let direct =
            ["dependencies", "build-dependencies"].into_iter().flat_map(|kind| member.dependencies(kind));
        let reached = reach(&graph, direct.map(|(name, _)| name.as_str()));
        for (user, pattern, reason) in FORBIDDEN.iter().filter(|(user, ..)| matches(user, member.name())) {
            for (name, path) in reached.iter().filter(|(name, _)| matches(pattern, name)) {
                let _ = user;
                faults.push(format!("{} reaches {name} ({}): {reason}", member.name(), path.join(" → ")));
            }
        }
    }
    faults
}

type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Names and dependencies of all packages. Versions of one package are taken together, and so are the test
/// dependencies of our own crates, which therefore never appear in a path: a member's arrows come from its manifest.
fn locked(workspace: &Workspace) -> Graph<'_> {
    let mut graph = Graph::new();
    for package in workspace.lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = package.get("name").and_then(Value::as_str) else { continue };
        let entry = graph.entry(name).or_default();
        if let Some(member) = workspace.members.iter().find(|m| m.name() == name) {
            entry.extend(member.dependencies("dependencies").map(|(name, _)| name.as_str()));
            continue;
        }
        let listed = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        // "name", "name version" or "name version source".
        entry.extend(listed.filter_map(|d| d.as_str()?.split(' ').next()));
    }
    graph
}

/// Everything that can be reached, with one way to it.
fn reach<'a>(graph: &Graph<'a>, direct: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut reached = BTreeMap::new();
    let mut open: Vec<Vec<&str>> = direct.map(|name| vec![name]).collect();
    while let Some(path) = open.pop() {
        let Some(&name) = path.last() else { continue };
        if reached.contains_key(name) {
            continue;
        }
        for next in graph.get(name).into_iter().flatten() {
            open.push(path.iter().copied().chain([*next]).collect());
        }
        reached.insert(name, path);
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::workspace::Member;

    #[test]
    fn what_is_forbidden_is_found_far_down() {
        let lock = r#"
            [[package]]
            name = "ppkt-data"
            [[package]]
            name = "image"
            dependencies = ["web 1.0.0"]
            [[package]]
            name = "web"
            dependencies = ["openssl-sys"]
            [[package]]
            name = "openssl-sys"
        "#;
        let manifest = "[package]\nname = \"ppkt-data\"\n[dependencies]\nimage.workspace = true";
        let mut workspace = Workspace {
            root: "".into(),
            manifest: toml::Table::new(),
            lock: lock.parse().unwrap(),
            members: vec![Member { folder: "crates/ppkt-data".into(), manifest: manifest.parse().unwrap() }],
            texts: Vec::new(),
        };
        let faults = forbidden(&workspace);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("image → web → openssl-sys"), "{}", faults[0]);
        workspace.members[0].manifest = manifest.replace("[dep", "[dev-dep").parse().unwrap();
        assert_eq!(forbidden(&workspace), Faults::new(), "what only tests use is free");
    }
}
