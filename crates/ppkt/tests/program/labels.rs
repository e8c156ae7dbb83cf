//! Training on labels, end to end: a backbone from `pretrain`, classes from `finetune` and `probe`, scores from `eval`.

use std::fs;
use std::path::Path;

use crate::common::{assert_done, assert_fails, finish, losses, ppkt, small_run};

const ROOMS: &str = "synthetic:rooms?scenes=12&width=64&height=48";

fn arguments(command: &str, out: &Path, more: &[&str]) -> Vec<String> {
    let set = [
        "batch.frames_per_batch=2",
        "batch.voxel_size_m=0.15",
        "optimizer.lr=0.01",
        "optimizer.kind=adamw",
        "measure.frames=3",
        "checkpoint.every=4",
        "steps=10",
    ];
    let out = out.to_string_lossy();
    let mut all: Vec<String> = [command, "--data", ROOMS, "--out", &out].map(String::from).to_vec();
    all.extend(more.iter().map(|m| (*m).to_owned()));
    all.push("--set".into());
    all.extend(set.map(String::from));
    all
}

fn scratch(out: &Path, more: &[&str]) -> Vec<String> {
    let mut all = arguments("finetune", out, more);
    all.extend(["student.arch=MinkUNet14Tiny", "data.workers=1"].map(String::from));
    all
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_pretrained_backbone_learns_classes_and_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (pretrained, tuned) = (dir.path().join("pretrained"), dir.path().join("tuned"));
    assert_done(&finish(ppkt().args(small_run(&pretrained))));
    let from = pretrained.to_string_lossy();
    let output = finish(
        ppkt().args(arguments("finetune", &tuned, &["--from", &from, "--share", "0.3"])).arg("--json"),
    );
    assert_done(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("weights from") && said.contains("2 missing"), "the head alone is new: {said}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["steps"], &summary["interrupted"]), (&10.into(), &false.into()));
    let listed = read(&tuned.join("labels.json"));
    assert_eq!(listed.as_array().unwrap().len(), summary["labelled"][0].as_u64().unwrap() as usize);
    let scores = read(&tuned.join("eval.json"));
    assert_eq!(scores, summary["scores"]);
    let rows = scores["confusion"].as_array().unwrap();
    let counted: u64 = rows.iter().flat_map(|r| r.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(counted, scores["points"].as_u64().unwrap());
    assert_eq!(rows.len(), scores["classes"].as_array().unwrap().len());
    let sample = fs::read_dir(tuned.join("samples")).unwrap().next().unwrap().unwrap().path();
    let cloud = ppkt_data::SampleCloud::read(&sample).unwrap();
    assert!(cloud.label.is_some() && cloud.prediction.unwrap().iter().all(|p| *p > 0));
    assert!(cloud.viewpoint.is_some(), "the page looks from where the photograph was taken");
    let made = read(&tuned.join("run.json"));
    let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
    assert!(text("weights").ends_with("student.safetensors") && text("weights_sha256").len() == 64, "{made}");
    assert!(!made["training"]["fingerprint"].as_str().unwrap().is_empty(), "{made}");
    assert!(made["command"].as_array().unwrap().contains(&"finetune".into()), "{made}");
    assert!(made.get("teacher").is_none(), "{made}");
    assert!(fs::read_to_string(tuned.join("report.html")).unwrap().contains("mIoU"));

    // The file alone says what it takes to measure it again; one look gives the same scores, more looks others.
    let eval = |votes: &str| {
        let from = tuned.to_string_lossy().into_owned();
        let output =
            finish(ppkt().args(["eval", "--json", "--from", &from, "--data", ROOMS, "--votes", votes]));
        assert_done(&output);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let (one, four) = (eval("1"), eval("4"));
    assert_eq!(one["points"], four["points"]);
    assert_ne!(one["confusion"], four["confusion"]);

    let probe = dir.path().join("probe");
    assert_done(&finish(ppkt().args(arguments("probe", &probe, &["--from", &from]))));
    let trunk = |run: &Path| {
        let tensors = ppkt_student::load_state(&run.join("student.safetensors")).unwrap().tensors;
        let of = |name: &str| tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        [of("conv0p1s1.kernel"), of("block8.0.norm1.bn.running_mean")]
    };
    assert_eq!(trunk(&probe), trunk(&pretrained), "a probe leaves the backbone alone");
    assert_ne!(trunk(&tuned), trunk(&pretrained));
}

#[test]
fn threads_workers_and_a_pause_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| dir.path().join(name);
    assert_done(&finish(ppkt().args(scratch(&of("whole"), &["--share", "0.5"]))));
    let mut other = scratch(&of("other"), &["--share", "0.5", "--threads", "1"]);
    other.push("data.workers=2".into());
    other.push("data.memory_mib=0".into());
    assert_done(&finish(ppkt().args(other)));
    // A run that ended at its last checkpoint but one, as a kill leaves it.
    let paused = of("paused");
    assert_done(&finish(ppkt().args(scratch(&paused, &["--share", "0.5"]))));
    fs::remove_dir_all(paused.join("checkpoints/000010")).unwrap();
    fs::remove_file(paused.join("student.safetensors")).unwrap();
    let out = paused.to_string_lossy();
    assert_done(&finish(ppkt().args(["finetune", "--resume", "--out", &out])));
    for run in [of("other"), paused.clone()] {
        assert_eq!(losses(&run), losses(&of("whole")), "{run:?}");
        assert_eq!(read(&run.join("eval.json")), read(&of("whole").join("eval.json")), "{run:?}");
        let weights = |run: &Path| fs::read(run.join("student.safetensors")).unwrap();
        assert_eq!(weights(&run), weights(&of("whole")), "{run:?}");
    }
}

#[test]
fn what_cannot_be_is_said_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let fails = |more: &[&str], set: &[&str], code: i32, words: &[&str]| {
        let mut all = scratch(&run, more);
        all.extend(set.iter().map(|s| (*s).to_owned()));
        assert_fails(&finish(ppkt().args(all)), code, words);
        assert!(!run.exists(), "nothing is left behind");
    };
    fails(&["--share", "1.5"], &[], 2, &["labels.share", "0.05"]);
    fails(&["--share", "0"], &[], 2, &["labels.share"]);
    fails(&["--from", "no/such/file.safetensors"], &[], 1, &["no/such/file.safetensors"]);
    let other =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../ppkt-teacher/tests/goldens/hf_deit/model.safetensors");
    fails(&["--from", other], &[], 1, &["no MinkUNet", "student.safetensors of a run", "hf_deit"]);
    fails(&["--from", env!("CARGO_MANIFEST_DIR")], &[], 2, &["holds no student.safetensors"]);
    fails(&[], &["labels.by=room"], 2, &["labels.by", "scene"]);
    fails(&[], &["measure.votes=0"], 2, &["measure.votes"]);
    fails(&[], &["head_lr=-1"], 2, &["head_lr"]);
    let trained = dir.path().join("trained");
    assert_done(&finish(ppkt().args(scratch(&trained, &[]))));
    let from = trained.to_string_lossy();
    fails(&["--from", &from], &["batch.features=[\"ones\"]"], 2, &["features a voxel", "batch.features"]);
    fails(&["--from", &from], &["batch.features=[\"xyz\"]"], 2, &["\"rgb\"", "\"xyz\""]);
    fails(&["--from", &from], &["student.arch=MinkUNet14A"], 2, &["student.arch=MinkUNet14Tiny"]);
    let other_size = dir.path().join("other-size");
    let output = finish(ppkt().args(scratch(&other_size, &["--from", &from])).arg("batch.voxel_size_m=0.2"));
    assert_done(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--set batch.voxel_size_m=0.15"));
    let pretrained = dir.path().join("pretrained");
    assert_done(&finish(ppkt().args(small_run(&pretrained))));
    let eval = |from: &Path| {
        let from = from.to_string_lossy().into_owned();
        finish(ppkt().args(["eval", "--from", &from, "--data", ROOMS]))
    };
    assert_fails(&eval(&pretrained), 2, &["classes", "ppkt finetune"]);
}
