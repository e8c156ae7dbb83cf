//! House rules that are checked by reading files. Each also runs as a test, so that `cargo test` keeps the house.

mod dependencies;
mod manifests;
mod markdown;
mod sources;
mod workspace;

pub(crate) use workspace::{Member, Workspace};

/// What breaks a rule: one sentence, with the remedy, and the file last.
pub(crate) type Faults = Vec<String>;

/// A rule: its name, and what looks for faults.
pub(crate) type Rule = (&'static str, fn(&Workspace) -> Faults);

/// All rules, in the order in which a newcomer would meet them.
pub(crate) const RULES: &[Rule] = &[
    ("members inherit what is written once at the root", manifests::inheritance),
    ("dependencies are written once at the root, and all are used", manifests::dependencies_at_the_root),
    ("crates use only crates on the floors below", manifests::floors),
    ("geometry stays small enough to be taken alone", manifests::geometry_alone),
    ("nothing forbidden is linked", dependencies::forbidden),
    ("every source file says what it is", sources::module_docs),
    ("no source file is too long", sources::length),
    ("no path of one machine is written down", sources::machine_paths),
    ("the README shows the two commands, and CI runs the second", markdown::commands),
    ("every library and every dataset has a README", markdown::readmes),
    ("links between files lead somewhere", markdown::links),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// One test over all rules, so that a new rule cannot be forgotten.
    #[test]
    fn the_house_is_in_order() {
        let workspace = Workspace::find().unwrap();
        let broken: Vec<String> = RULES
            .iter()
            .flat_map(|(rule, faults)| faults(&workspace).into_iter().map(move |f| format!("{rule}: {f}")))
            .collect();
        assert!(broken.is_empty(), "{} house rules are broken:\n{}", broken.len(), broken.join("\n"));
    }
}
