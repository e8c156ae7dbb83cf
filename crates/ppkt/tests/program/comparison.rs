//! `ppkt bench-labels`, end to end: a table of both sides, what is complete is not done again, nothing is lost.

use std::fs;
use std::path::Path;

use crate::common::{assert_done, assert_fails, finish, ppkt};

/// A comparison of a few seconds: pretraining, two rates on one side, two seeds.
fn comparison(out: &Path, set: &[&str]) -> Vec<String> {
    let small = [
        "shares=[0.3]",
        "seeds=[1,3]",
        "scratch_lrs=[0.01]",
        "pretrained_lrs=[0.01,0.003]",
        "pretrain.data.train=synthetic:rooms?scenes=12&width=64&height=48",
        "pretrain.batch.image_size=[64,48]",
        "pretrain.batch.frames_per_batch=2",
        "pretrain.batch.voxel_size_m=0.15",
        "pretrain.objective.pairs=64",
        "pretrain.validation.candidates=32",
        "pretrain.steps=4",
        "finetune.data.train=synthetic:rooms?scenes=12&width=64&height=48",
        "finetune.data.validation_share=0.2",
        "finetune.batch.frames_per_batch=2",
        "finetune.steps=4",
    ];
    let out = out.to_string_lossy();
    let mut all: Vec<String> = ["bench-labels", "--json", "--recipe", "labels-rooms", "--out", &out, "--set"]
        .map(String::from)
        .to_vec();
    all.extend(small.iter().chain(set).map(|s| (*s).to_owned()));
    all
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn both_sides_are_compared_and_a_comparison_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("labels");
    let output = finish(ppkt().args(comparison(&out, &[])));
    assert_done(&output);
    let printed: serde_json::Value =
        serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap();
    let results = read(&out.join("results.json"));
    assert_eq!(printed["results"], results);
    assert_eq!(printed["runs"], serde_json::json!([5, 5]));

    // The rate that did best on the frames kept back is the one of all seeds.
    let choices = results["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    let best = choices
        .iter()
        .max_by(|a, b| a["validation_miou"].as_f64().partial_cmp(&b["validation_miou"].as_f64()).unwrap());
    let chosen = choices.iter().find(|c| c["chosen"] == true).unwrap();
    assert_eq!(best.unwrap()["validation_miou"], chosen["validation_miou"]);
    let runs = results["runs"].as_array().unwrap();
    let of = |side: &str| runs.iter().filter(|r| r["side"] == side).collect::<Vec<_>>();
    assert_eq!((of("scratch").len(), of("pretrained").len()), (2, 2));
    assert!(of("pretrained").iter().all(|r| r["lr"] == chosen["lr"]));

    // Table and runs agree, and a seed has the same labels on both sides.
    let row = &results["table"][0];
    let mean = |side: &str| of(side).iter().map(|r| r["miou"].as_f64().unwrap()).sum::<f64>() / 2.0;
    let difference = row["difference"]["mean"].as_f64().unwrap();
    assert!((difference - (mean("pretrained") - mean("scratch"))).abs() < 1e-12);
    let folder = |r: &serde_json::Value| out.join(r["folder"].as_str().unwrap());
    for (s, p) in of("scratch").iter().zip(of("pretrained")) {
        assert_eq!(s["seed"], p["seed"]);
        assert_eq!(read(&folder(s).join("labels.json")), read(&folder(p).join("labels.json")));
        assert_eq!(read(&folder(s).join("eval.json"))["miou"], s["miou"]);
        assert!(!folder(s).join("checkpoints").exists() && folder(s).join("student.safetensors").is_file());
    }
    let differ = |seed: usize| read(&folder(&runs[seed]).join("labels.json"));
    assert_ne!(differ(0), differ(1), "another seed has other labels");
    assert!(fs::read_to_string(out.join("labels.svg")).unwrap().contains("<svg"));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for part in ["Label efficiency", "Curves", "Classes", "Point cloud"] {
        assert!(page.contains(part), "the page has no {part}");
    }

    // One training is lost: it alone is done again, with the same result.
    let lost = folder(of("pretrained")[1]);
    let kept = folder(of("scratch")[0]).join("eval.json");
    let before = fs::metadata(&kept).unwrap().modified().unwrap();
    fs::remove_dir_all(&lost).unwrap();
    let resume = ["bench-labels", "--resume", "--out", &out.to_string_lossy()].map(String::from);
    assert_done(&finish(ppkt().args(resume)));
    let again = read(&out.join("results.json"));
    assert_eq!((&again["runs"], &again["command"]), (&results["runs"], &results["command"]));
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), before);

    let other = finish(ppkt().args(comparison(&out, &["finetune.steps=5"])).arg("--resume"));
    assert_fails(&other, 2, &["finetune.steps", "--out"]);
}

#[test]
fn the_demo_ends_with_what_labels_are_worth() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("demo");
    let rooms = "synthetic:rooms?scenes=12&width=64&height=48";
    let set = [
        &format!("pretrain.data.train={rooms}"),
        &format!("finetune.data.train={rooms}"),
        "pretrain.batch.image_size=[64,48]",
        "pretrain.batch.voxel_size_m=0.15",
        "pretrain.objective.pairs=64",
        "pretrain.validation.candidates=32",
        "pretrain.steps=3",
        "finetune.steps=2",
        "shares=[0.2]",
    ];
    let output = finish(ppkt().args(["demo", "--out", &out.to_string_lossy(), "--set"]).args(set));
    assert_done(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["held-out retrieval@1", "scratch", "pretrained", "20 %", "report.html"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(out.join("report.html").is_file() && out.join("pretrain/student.safetensors").is_file());
}

#[test]
fn what_cannot_be_compared_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("labels");
    for (set, told) in [
        ("shares=[0.0]", "shares"),
        ("seeds=[]", "seeds"),
        ("seeds=[3,3]", "seeds"),
        ("scratch_lrs=[]", "scratch_lrs"),
        ("finetune.data.validation_share=0.0", "validation_share"),
        ("finetune.from=there.safetensors", "leave one of them out"),
    ] {
        let output = finish(ppkt().args(comparison(&out, &[set])));
        assert_fails(&output, 2, &[told]);
    }
    let nothing = finish(ppkt().args(["bench-labels", "--resume", "--out", &out.to_string_lossy()]));
    assert_fails(&nothing, 2, &["no comparison to resume"]);
    assert!(!out.exists());
}
