//! Runs that are stopped, resumed, and repeated give the same numbers.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::common::{assert_done, finish, losses, ppkt, small_run};

fn uninterrupted(out: &Path) {
    assert_done(&finish(ppkt().args(small_run(out))));
}

#[test]
fn a_run_writes_its_folder_and_prints_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let output = finish(ppkt().args(small_run(&run)).arg("--json"));
    assert_done(&output);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(summary["steps"], 12);
    assert_eq!(summary["run"], run.to_string_lossy().as_ref());
    for value in ["/seconds", "/loss/first", "/loss/last", "/retrieval_at_1/before", "/retrieval_at_1/after"]
    {
        assert!(summary.pointer(value).is_some_and(serde_json::Value::is_number), "{value} in {summary}");
    }
    for file in [
        "config.toml",
        "run.json",
        "metrics.jsonl",
        "student.safetensors",
        "pictures/overview.png",
        "report.html",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let steps: Vec<u64> = losses(&run).iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (0..12).collect::<Vec<_>>());
    assert_eq!(summary["page"], run.join("report.html").to_string_lossy().as_ref());
    let text = fs::read_to_string(run.join("validation.jsonl")).unwrap();
    let validated: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let steps: Vec<u64> = validated.iter().map(|v| v["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 5, 10, 12]);
    assert_eq!(validated[3]["at_1"], summary["retrieval_at_1"]["after"]);
    let sample = fs::read_dir(run.join("samples")).unwrap().next().unwrap().unwrap().path();
    let cloud = ppkt_data::SampleCloud::read(&sample).unwrap();
    assert!(cloud.points.len() > 500 && cloud.teacher.is_some() && cloud.student.is_some());
    let checkpoints: Vec<_> = fs::read_dir(run.join("checkpoints")).unwrap().flatten().collect();
    assert_eq!(checkpoints.len(), 3);
    let events = fs::read_dir(&run).unwrap().flatten();
    assert!(events.into_iter().any(|e| e.file_name().to_string_lossy().starts_with("events.out.tfevents.")));
}

#[test]
fn threads_and_workers_do_not_change_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [("1", "0"), ("2", "2"), ("3", "1")].map(|(threads, workers)| {
        let run = dir.path().join(format!("run-{threads}"));
        let set = format!("data.workers={workers}");
        assert_done(&finish(ppkt().args(small_run(&run)).arg(set).args(["--threads", threads])));
        (losses(&run), fs::read(run.join("student.safetensors")).unwrap())
    });
    assert_eq!(runs[0].0.len(), 12);
    assert!(runs[0] == runs[1] && runs[0] == runs[2], "{:?}\n{:?}\n{:?}", runs[0].0, runs[1].0, runs[2].0);
}

#[test]
fn killed_at_any_moment_and_resumed_it_is_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    uninterrupted(&whole);
    // Longer each time, so that every phase is hit once, and the run ends at some time.
    let mut kills = 0;
    for wait_ms in (10..).step_by(35) {
        let mut child = ppkt()
            .args(small_run(&killed))
            .arg("--resume")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(wait_ms));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{:?}", finish(ppkt().args(small_run(&killed)).arg("--resume")));
            break;
        }
        // On Unix this is SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    assert_eq!(losses(&killed), losses(&whole));
    let validation = |run: &Path| fs::read_to_string(run.join("validation.jsonl")).unwrap();
    assert_eq!(validation(&killed), validation(&whole));
    let student = |run: &Path| fs::read(run.join("student.safetensors")).unwrap();
    assert!(student(&killed) == student(&whole));
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    uninterrupted(&whole);
    let child = ppkt()
        .args(small_run(&stopped))
        .args(["checkpoint.every=1000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once the first steps are on record.
    while fs::read_to_string(stopped.join("metrics.jsonl")).unwrap_or_default().lines().count() < 2 {
        sleep(Duration::from_millis(5));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_done(&output);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    if summary["interrupted"] == true {
        let steps = summary["steps"].as_u64().unwrap();
        assert!(stopped.join(format!("checkpoints/{steps:06}/state.json")).is_file());
    }
    assert_done(&finish(ppkt().args(["pretrain", "--resume", "--out"]).arg(&stopped)));
    assert_eq!(losses(&stopped), losses(&whole));
}

#[test]
fn a_run_is_not_resumed_with_other_settings() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    uninterrupted(&run);
    let output = finish(ppkt().args(small_run(&run)).args(["optimizer.lr=0.9", "--resume"]));
    crate::common::assert_fails(&output, 2, &["optimizer.lr", "0.9"]);
    let output = finish(ppkt().args(small_run(&run)));
    crate::common::assert_fails(&output, 2, &["not empty", "--resume"]);
    // What changes no number may change.
    let output =
        finish(ppkt().args(small_run(&run)).args(["data.workers=0", "checkpoint.keep=1", "--resume"]));
    assert_done(&output);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_earlier_checkpoints_intact() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    uninterrupted(&run);
    let whole = losses(&run);
    for later in ["000010", "000012"] {
        fs::remove_dir_all(run.join("checkpoints").join(later)).unwrap();
    }
    // A limit on the size of files stands in for a disk without space: the write fails in the middle.
    let resume = |limit: &str| {
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" pretrain --resume --out \"$1\"");
        finish(
            std::process::Command::new("sh").args(["-c", &script]).arg(env!("CARGO_BIN_EXE_ppkt")).arg(&run),
        )
    };
    crate::common::assert_fails(&resume("64"), 1, &["checkpoint", "free space", "--resume", "000010"]);
    let left: Vec<_> =
        fs::read_dir(run.join("checkpoints")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["000008"]);
    assert_done(&resume("unlimited"));
    assert_eq!(losses(&run), whole);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    uninterrupted(&run);
    let whole = losses(&run);
    let newest = run.join("checkpoints/000012");
    let mut bytes = fs::read(newest.join("model.safetensors")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(newest.join("model.safetensors"), bytes).unwrap();
    let resume = || finish(ppkt().args(["pretrain", "--resume", "--out"]).arg(&run));
    crate::common::assert_fails(&resume(), 1, &["checksum", "the one before", "model.safetensors"]);
    fs::remove_dir_all(newest).unwrap();
    assert_done(&resume());
    assert_eq!(losses(&run), whole);
}
