//! Runs with a cache of feature maps: the same losses whatever is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::common::{assert_done, assert_fails, finish, losses, ppkt, small_run};

/// A small run with a cache, and its summary.
fn cached_run(out: &Path, cache: &Path, more: &[&str]) -> serde_json::Value {
    let mut command = ppkt();
    command.args(small_run(out)).args(more).arg("--json").arg("--cache").arg(cache);
    let output = finish(&mut command);
    assert_done(&output);
    let stdout = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// Fills a cache for the small run; `ppkt data cache` with its settings.
fn fill(cache: &Path, more: &[&str]) -> Command {
    let mut command = ppkt();
    let run = small_run(Path::new("unused"));
    let set = run.iter().skip_while(|a| *a != "--set").skip(1).filter(|a| !a.starts_with("data.train"));
    command.args(["data", "cache", "synthetic:rooms?scenes=12&width=64&height=48", "--recipe", "demo"]);
    command.arg("--cache").arg(cache).args(more).arg("--json").arg("--set").args(set);
    command
}

fn count(summary: &serde_json::Value, what: &str) -> u64 {
    summary.pointer(&format!("/cache/{what}")).and_then(serde_json::Value::as_u64).unwrap()
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(cache).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let mut all: Vec<PathBuf> =
        shards.flat_map(|s| fs::read_dir(s).unwrap().map(|e| e.unwrap().path())).collect();
    all.sort();
    all
}

fn student(run: &Path) -> Vec<u8> {
    fs::read(run.join("student.safetensors")).unwrap()
}

#[test]
fn losses_are_the_same_with_an_empty_a_full_and_a_damaged_cache() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| dir.path().join(name);
    let cache = run("cache");
    let cold = cached_run(&run("cold"), &cache, &[]);
    // Ten rooms to train on, two held out; each seen by the teacher once, in 12 steps of 2 batches of 2.
    assert_eq!((count(&cold, "misses"), count(&cold, "hits"), count(&cold, "added")), (12, 38, 12));
    assert_eq!(entries(&cache).len(), 12);
    let warm = cached_run(&run("warm"), &cache, &["--threads", "1"]);
    assert_eq!((count(&warm, "misses"), count(&warm, "hits"), count(&warm, "added")), (0, 50, 0));
    for (i, entry) in entries(&cache).iter().enumerate().filter(|(i, _)| i % 3 == 0) {
        let mut bytes = fs::read(entry).unwrap();
        bytes.truncate(bytes.len() - i);
        bytes[70 + i] ^= 1;
        fs::write(entry, bytes).unwrap();
    }
    let damaged = cached_run(&run("damaged"), &cache, &[]);
    assert_eq!((count(&damaged, "misses"), count(&damaged, "damaged"), count(&damaged, "added")), (4, 4, 4));
    // With room for some of the maps only: said once, and no other loss.
    let room = fs::metadata(&entries(&cache)[0]).unwrap().len() * 9 / 2;
    let mut command = ppkt();
    command.args(small_run(&run("limited"))).arg("--cache").arg(run("small"));
    command.args(["--cache-limit", &room.to_string()]);
    let output = finish(&mut command);
    assert_done(&output);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.matches("it is full").count(), 1, "{stderr}");
    assert!(stderr.contains("--cache-limit"), "{stderr}");
    let kept = entries(&run("small"));
    assert_eq!(kept.len(), 4);

    let whole = losses(&run("cold"));
    assert_eq!(whole.len(), 12);
    for other in ["warm", "damaged", "limited"] {
        assert_eq!(losses(&run(other)), whole, "{other}");
        assert!(student(&run(other)) == student(&run("cold")), "{other}");
    }
    let config = fs::read_to_string(run("cold").join("config.toml")).unwrap();
    assert!(config.contains("plain_images = true") && config.contains("cache_limit = \"20GB\""), "{config}");
}

#[test]
fn killed_at_any_moment_and_resumed_with_a_cache_it_is_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, killed, cache] = ["whole", "killed", "cache"].map(|name| dir.path().join(name));
    cached_run(&whole, &dir.path().join("other"), &[]);
    let mut kills = 0;
    for wait_ms in (10..).step_by(35) {
        let mut command = ppkt();
        command.args(small_run(&killed)).arg("--resume").arg("--cache").arg(&cache);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(wait_ms));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    assert_eq!(losses(&killed), losses(&whole));
    assert!(student(&killed) == student(&whole));
}

#[test]
fn a_run_is_resumed_with_a_cache_exactly_if_it_began_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let [cached, plain, cache] = ["cached", "plain", "cache"].map(|name| dir.path().join(name));
    cached_run(&cached, &cache, &[]);
    // Another folder and another limit change no number.
    let elsewhere = dir.path().join("elsewhere");
    cached_run(&cached, &elsewhere, &["--resume", "--cache-limit", "1GB"]);
    let output = finish(ppkt().args(small_run(&cached)).arg("--resume"));
    assert_fails(&output, 2, &["plain_images", "other settings"]);
    assert_done(&finish(ppkt().args(small_run(&plain))));
    let output = finish(ppkt().args(small_run(&plain)).arg("--resume").arg("--cache").arg(&cache));
    assert_fails(&output, 2, &["plain_images", "other settings"]);
}

#[test]
fn a_cache_is_filled_ahead_by_several_processes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let children: Vec<_> = (0..3)
        .map(|_| fill(&cache, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    let mut added = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_done(&output);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let report: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        assert_eq!(report["hits"].as_u64().unwrap() + report["misses"].as_u64().unwrap(), 12, "{report}");
        assert_eq!(report["damaged"], 0);
        added += report["added"].as_u64().unwrap();
    }
    assert_eq!((added, entries(&cache).len()), (12, 12));
    // The run finds every map.
    let summary = cached_run(&dir.path().join("run"), &cache, &[]);
    assert_eq!((count(&summary, "misses"), count(&summary, "hits")), (0, 50));
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_cache_and_not_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let (run, cache) = (dir.path().join("run"), dir.path().join("cache"));
    // A limit on the size of files stands in for a disk without space: maps of 24 × 32 cells do not fit, the rest does.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let mut filling = Command::new("sh");
    filling.args(["-c", script]).arg(env!("CARGO_BIN_EXE_ppkt"));
    filling.args(fill(&cache, &[]).get_args());
    let output = finish(&mut filling);
    assert_done(&output);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.matches("cannot be written").count(), 1, "{stderr}");
    assert_eq!(entries(&cache), Vec::<PathBuf>::new(), "nothing unfinished is left");
    cached_run(&run, &cache, &[]);
    assert_eq!(entries(&cache).len(), 12);
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (run, file) = (dir.path().join("run"), dir.path().join("file"));
    fs::write(&file, "").unwrap();
    let fails = |more: &[&str], code: i32, words: &[&str]| {
        assert_fails(&finish(ppkt().args(small_run(&run)).args(more)), code, words);
        assert!(!run.exists());
    };
    let place = file.to_string_lossy().into_owned();
    fails(&["--cache", &place], 1, &["cache", "--cache", "file"]);
    fails(&["--cache", "x", "--cache-limit", "many"], 2, &["cache_limit", "20GB"]);
    fails(&["teacher.cache=x"], 2, &["batch.plain_images=true"]);
    fails(&["--cache", "x", "--set", "batch.augment2d.colour.hue=0.1"], 2, &["augment2d.colour"]);
}
