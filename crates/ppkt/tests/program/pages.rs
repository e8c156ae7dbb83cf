//! The page of a run, on the command line.

use std::fs;

use crate::common::{assert_done, assert_fails, finish, ppkt};

#[test]
fn a_page_can_be_written_again_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.toml"), "steps = 2\n").unwrap();
    fs::write(dir.path().join("metrics.jsonl"), "{\"step\":0,\"loss\":1.5}\n{\"step\":1,\"lo").unwrap();
    let page = dir.path().join("elsewhere.html");
    let output = finish(ppkt().arg("report").arg(dir.path()).arg("--out").arg(&page).arg("--json"));
    assert_done(&output);
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["page"], page.to_string_lossy().as_ref());
    assert_eq!(printed["bytes"], fs::metadata(&page).unwrap().len());
    assert!(printed["notes"].to_string().contains("half written"));
    let output = finish(ppkt().arg("report").arg(dir.path()));
    assert_done(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("report.html"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("half written"));
}

#[test]
fn what_is_no_run_is_the_command_lines_fault_and_nonsense_is_not() {
    let dir = tempfile::tempdir().unwrap();
    assert_fails(&finish(ppkt().arg("report").arg(dir.path())), 2, &["no run folder", "config.toml"]);
    fs::write(dir.path().join("eval.json"), "{}").unwrap();
    assert_fails(&finish(ppkt().arg("report").arg(dir.path())), 1, &["eval.json", "cannot be understood"]);
}
