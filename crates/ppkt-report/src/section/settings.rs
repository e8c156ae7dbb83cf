//! What a run was made from: versions, fingerprints, settings.

use maud::{Markup, html};
use serde_json::Value;

use super::pairs;
use crate::run::Run;

pub(super) fn section(run: &Run) -> Markup {
    let provenance = run.provenance.as_ref().map(flat_json).unwrap_or_default();
    let labelled = run.labelled.as_ref().map(flat_json).unwrap_or_default();
    let groups = run.config.as_ref().map(groups).unwrap_or_default();
    html! {
        @if !provenance.is_empty() {
            section aria-labelledby="provenance" {
                h2 #provenance { "Provenance" }
                (pairs(provenance.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
            }
        }
        @if !labelled.is_empty() {
            section aria-labelledby="labelled" {
                h2 #labelled { "Labels that were used" }
                (pairs(labelled.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
            }
        }
        @if !groups.is_empty() {
            section aria-labelledby="settings" {
                h2 #settings { "Settings" }
                details {
                    summary { "All settings of the run" }
                    div.settings {
                        @for (name, rows) in &groups {
                            div {
                                h3 { @if name.is_empty() { "run" } @else { (name) } }
                                (pairs(rows.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Settings by table: first those of none, then each table with its path.
fn groups(config: &toml::Table) -> Vec<(String, Vec<(String, String)>)> {
    let mut groups = Vec::new();
    collect("", config, &mut groups);
    groups
}

fn collect(path: &str, table: &toml::Table, groups: &mut Vec<(String, Vec<(String, String)>)>) {
    let rows: Vec<_> = table
        .iter()
        .filter(|(_, value)| !value.is_table())
        .map(|(key, value)| (key.clone(), written(value)))
        .collect();
    if !rows.is_empty() {
        groups.push((path.to_owned(), rows));
    }
    for (key, value) in table {
        if let Some(table) = value.as_table() {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(&inner, table, groups);
        }
    }
}

fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) if text.is_empty() => "—".into(),
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(written).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// More entries of a list than this are counted, not written.
const MOST_ITEMS: usize = 8;

/// Every value with its path.
pub(super) fn flat_json(value: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    rows
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let name = key.replace('_', " ");
                let inner = if path.is_empty() { name } else { format!("{path} {name}") };
                flatten(&inner, value, rows);
            }
        }
        Value::Null => {}
        other => rows.push((path.to_owned(), words(other))),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.len() > MOST_ITEMS => {
            let first: Vec<String> = items.iter().take(MOST_ITEMS).map(words).collect();
            format!("{} entries: {}, …", items.len(), first.join(", "))
        }
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_groups_with_their_path() {
        let config: toml::Table =
            "seed = 1\n[data]\ntrain = \"\"\n[data.more]\nlist = [1, 2]".parse().unwrap();
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            groups(&config),
            [
                (String::new(), vec![pair("seed", "1")]),
                ("data".to_owned(), vec![pair("train", "—")]),
                ("data.more".to_owned(), vec![pair("list", "1, 2")]),
            ]
        );
    }

    #[test]
    fn long_lists_are_counted() {
        let rows = flat_json(&serde_json::json!({"a": {"b_c": (0..20).collect::<Vec<_>>()}, "none": null}));
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].0, "a b c");
        assert!(rows[0].1.starts_with("20 entries: 0, 1"));
    }
}
