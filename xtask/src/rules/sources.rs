//! Rules about source files.

use super::{Faults, Workspace};

/// Past this a file holds more than one idea.
const MOST_LINES: usize = 600;

/// Folders that exist on one machine only. Joined from pieces, so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!(":\\", "Users\\"),
];

/// A file opens with `//!`, or takes its documentation from a README. Inner attributes may come first.
pub(super) fn module_docs(workspace: &Workspace) -> Faults {
    let undocumented = workspace.files(".rs").filter(|(_, text)| !is_documented(text));
    undocumented.map(|(path, _)| format!("say in a `//!` line at the top what it is: {path}")).collect()
}

fn is_documented(text: &str) -> bool {
    let mut opening = text.lines().take_while(|line| line.starts_with("//!") || line.starts_with("#!["));
    opening.any(|line| {
        line.strip_prefix("//!").is_some_and(|doc| !doc.trim().is_empty())
            || line.starts_with("#![doc = include_str!(")
    })
}

/// One idea a file.
pub(super) fn length(workspace: &Workspace) -> Faults {
    let long = workspace.files(".rs").filter(|(_, text)| text.lines().count() > MOST_LINES);
    long.map(|(path, text)| format!("{} lines, split it at {MOST_LINES}: {path}", text.lines().count()))
        .collect()
}

/// What is written down must be true for everyone.
pub(super) fn machine_paths(workspace: &Workspace) -> Faults {
    let mut faults = Vec::new();
    for (path, text) in &workspace.texts {
        for (i, line) in text.lines().enumerate() {
            // An invented user in an example is nobody's machine.
            let line = line.replace(concat!("/ho", "me/someone"), "");
            if let Some(place) = MACHINE_PATHS.iter().find(|p| line.contains(*p)) {
                faults.push(format!("{place} is a place on one machine: {path}:{}", i + 1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_comes_first() {
        assert!(is_documented("//! A file.\nfn f() {}"));
        assert!(is_documented("#![forbid(unsafe_code)]\n//! A file."));
        assert!(is_documented("#![doc = include_str!(\"../README.md\")]"));
        assert!(!is_documented("fn f() {}\n//! too late"));
        assert!(!is_documented("//!\nfn f() {}"));
        assert!(!is_documented("#![forbid(unsafe_code)]\nfn f() {}"));
        assert!(!is_documented(""));
    }
}
