//! What can be wrong with what a user gives: each one clear error, with the remedy and the planned exit code.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{assert_done, assert_fails, finish, ppkt, small_run};
use image::{DynamicImage, ImageBuffer, Luma, RgbImage};

const LEVEL: &str = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n";

/// A small folder in the layout of 7-Scenes: a wall two metres away.
fn seven_scenes(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    for i in 0..10 {
        let name = |kind: &str| folder.join(format!("frame-{i:06}.{kind}"));
        RgbImage::from_fn(640, 480, |x, y| image::Rgb([(x / 3) as u8, (y / 2) as u8, i as u8 * 20]))
            .save(name("color.png"))
            .unwrap();
        save_depth(&name("depth.png"), 640, 480);
        fs::write(name("pose.txt"), LEVEL).unwrap();
    }
    folder.to_owned()
}

fn save_depth(path: &Path, width: u32, height: u32) {
    let depth: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(width, height, |x, _| Luma([2000 + (x / 8) as u16]));
    DynamicImage::ImageLuma16(depth).save(path).unwrap();
}

/// A short run on that folder; nothing is wrong with it unless the test breaks something.
fn run_on(folder: &Path, out: &Path) -> std::process::Output {
    let data = format!("data.train=sevenscenes:{}?registered=yes", folder.display());
    finish(ppkt().args(small_run(out)).args([&data, "steps=6", "validation.candidates=8"]))
}

#[test]
fn the_folder_that_the_faults_are_put_into_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let folder = seven_scenes(&dir.path().join("data"));
    assert_done(&run_on(&folder, &dir.path().join("run")));
}

#[test]
fn damaged_frames_are_named() {
    type Damage = fn(&Path);
    let faults: [(&str, Damage, &[&str]); 5] = [
        ("truncated colour", |d| truncate(&d.join("frame-000003.color.png")), &["frame-000003.color.png"]),
        ("truncated depth", |d| truncate(&d.join("frame-000003.depth.png")), &["frame-000003.depth.png"]),
        (
            "wrong-size depth",
            |d| save_depth(&d.join("frame-000003.depth.png"), 30, 20),
            &["frame-000003", "30", "640"],
        ),
        (
            "missing pose",
            |d| fs::remove_file(d.join("frame-000003.pose.txt")).unwrap(),
            &["frame-000003", "pose"],
        ),
        (
            "NaN pose",
            |d| fs::write(d.join("frame-000003.pose.txt"), LEVEL.replacen('1', "nan", 1)).unwrap(),
            &["frame-000003.pose.txt"],
        ),
    ];
    for (name, damage, words) in faults {
        let dir = tempfile::tempdir().unwrap();
        let folder = seven_scenes(&dir.path().join("data"));
        damage(&folder);
        println!("{name}");
        assert_fails(&run_on(&folder, &dir.path().join("run")), 1, words);
        let verify = finish(
            ppkt().args(["data", "verify"]).arg(format!("sevenscenes:{}?registered=yes", folder.display())),
        );
        let said =
            String::from_utf8_lossy(&verify.stdout).into_owned() + &String::from_utf8_lossy(&verify.stderr);
        assert_eq!(verify.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("frame-000003"), "{name}: {said}");
    }
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn an_empty_or_missing_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for scheme in ["nyuv2", "sevenscenes", "tum", "sunrgbd", "s3dis", "scannet", "frames"] {
        for folder in [&empty, &dir.path().join("nowhere")] {
            let data = format!("{scheme}:{}", folder.display());
            let output =
                finish(ppkt().args(small_run(&dir.path().join("run"))).arg(format!("data.train={data}")));
            let name = folder.file_name().unwrap().to_string_lossy();
            assert_fails(&output, 2, &[&name]);
        }
    }
}

#[test]
fn clouds_without_photographs_are_no_data_to_pretrain_on() {
    let dir = tempfile::tempdir().unwrap();
    let room = dir.path().join("rooms/Area_1/office_1/Annotations");
    fs::create_dir_all(&room).unwrap();
    fs::write(room.join("wall_1.txt"), "0 0 0 1 2 3\n1 1 1 4 5 6\n").unwrap();
    let out = dir.path().join("run");
    let data = format!("s3dis:{}", dir.path().join("rooms").display());
    let output = finish(ppkt().args(small_run(&out)).arg(format!("data.train={data}")));
    assert_fails(&output, 2, &[&data, "no photographs", "2D-3D-S", "take=frames", "ppkt finetune"]);
}

#[test]
fn wrong_settings_are_configuration_errors() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let cases: [(&str, &[&str]); 8] = [
        ("optimizer.learning_rate=1", &["optimizer.learning_rate", "`lr`"]),
        ("batch.voxel=1", &["batch.voxel", "voxel_size_m"]),
        ("batch.voxel_size_m=-1", &["voxel_size_m"]),
        ("steps=0", &["steps"]),
        ("steps=several", &["steps", "several"]),
        ("student.arch=MinkUNet99", &["MinkUNet99", "MinkUNet34C"]),
        ("teacher.uri=builtin:huge", &["builtin:huge", "builtin:tiny"]),
        ("data.train=kinect:x", &["kinect", "nyuv2"]),
    ];
    for (set, words) in cases {
        let output = finish(ppkt().args(small_run(&out)).arg(set));
        assert_fails(&output, 2, words);
    }
    let output = finish(ppkt().args(["pretrain", "--recipe", "ppkt-rgb", "--out"]).arg(&out));
    assert_fails(&output, 2, &["ppkt-rgb", "ppkt-rgbd"]);
    let file = dir.path().join("mine.toml");
    fs::write(&file, "steps = 5\n[optimizer]\nlearningrate = 1\n").unwrap();
    let output = finish(ppkt().args(["pretrain", "--recipe"]).arg(&file).arg("--out").arg(&out));
    assert_fails(&output, 2, &["mine.toml", "learningrate", "line 3"]);
    assert!(!out.exists());
}

#[test]
fn weights_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let asset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ppkt-teacher/assets/tiny.safetensors");
    let good = fs::read(asset).unwrap();
    let with = |name: &str, bytes: &[u8], words: &[&str]| {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let output = finish(ppkt().args(small_run(&out)).arg(format!("teacher.uri=file:{}", file.display())));
        assert_fails(&output, 1, words);
    };
    with("text.safetensors", b"this is no network", &["text.safetensors"]);
    with("page.safetensors", b"<!DOCTYPE html><html>not found</html>", &["page.safetensors"]);
    with("cut.safetensors", &good[..good.len() / 2], &["cut.safetensors"]);
    // The same tensors, one of another shape.
    let all = safetensors::SafeTensors::deserialize(&good).unwrap();
    let reshaped: Vec<(String, safetensors::tensor::TensorView<'_>)> = all
        .tensors()
        .into_iter()
        .map(|(name, t)| {
            let mut shape = t.shape().to_vec();
            if name == "layer1.0.conv1.weight" {
                shape.reverse();
                shape.swap(0, 1);
            }
            let view = safetensors::tensor::TensorView::new(t.dtype(), shape, t.data()).unwrap();
            (name, view)
        })
        .collect();
    let bytes = safetensors::serialize(reshaped, None).unwrap();
    with("shape.safetensors", &bytes, &["layer1.0.conv1.weight", "shape.safetensors"]);
    let missing = finish(ppkt().args(small_run(&out)).arg("teacher.uri=file:nowhere.safetensors"));
    assert_fails(&missing, 1, &["nowhere.safetensors"]);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let diverge = ["optimizer.kind=sgd", "optimizer.lr=1e30", "optimizer.clip_norm=0"];
    for every in ["1", "100"] {
        let run = out.join(every);
        let often = [format!("checkpoint.every={every}"), format!("validation.every={every}")];
        let output = finish(ppkt().args(small_run(&run)).args(diverge).args(often));
        assert_fails(&output, 1, &["not finite", "step 0", "model_", "another run"]);
        // Nothing that came of the bad step was saved.
        assert!(!run.join("checkpoints").exists());
    }
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let folder = seven_scenes(&dir.path().join("data"));
    let out = dir.path().join("run");
    let held_out = folder.join("frame-000009.depth.png");
    let good = fs::read(&held_out).unwrap();
    truncate(&held_out);
    assert_fails(&run_on(&folder, &out), 1, &["frame-000009.depth.png"]);
    assert!(!out.exists());
    fs::write(held_out, good).unwrap();
    assert_done(&run_on(&folder, &out));
}

#[test]
fn a_device_that_is_not_there_is_said_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let on = |device: &str| finish(ppkt().args(small_run(&out)).args(["--device", device]));
    assert_fails(&on("gpu"), 2, &["gpu", "cuda:1", "metal"]);
    #[cfg(not(feature = "cuda"))]
    assert_fails(&on("cuda"), 2, &["--features cuda", "--device cpu"]);
    #[cfg(not(feature = "metal"))]
    assert_fails(&on("metal"), 2, &["--features metal"]);
    assert!(!out.exists());
    let doctor = finish(ppkt().arg("doctor"));
    assert_done(&doctor);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("devices") && told.contains("cuda"), "{told}");
}

#[cfg(target_os = "linux")]
/// More than there is room for is said before it is tried; a run that is resumed may have more.
#[test]
fn a_memory_limit_that_is_too_low_names_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let limited = |limit: &str, more: &[&str]| {
        finish(ppkt().args(small_run(&out)).arg("steps=2").args(["--memory-limit", limit]).args(more))
    };
    assert_fails(&limited("plenty", &[]), 2, &["memory_limit", "512MiB"]);
    assert!(!out.exists());
    assert_fails(
        &limited("1MB", &[]),
        1,
        &["voxels needs", "MiB", "--precision bf16", "optimizer.accumulate"],
    );
    assert_done(&limited("64GB", &["--resume"]));
}

#[test]
fn a_full_standard_output_is_an_error_and_a_closed_one_is_none() {
    let full = |arguments: &str| {
        let script = format!("exec \"$0\" {arguments} > /dev/full");
        finish(std::process::Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_ppkt")]))
    };
    for arguments in ["doctor", "completions bash", "pretrain --recipe demo --out x --print-config"] {
        assert_fails(&full(arguments), 1, &["standard output"]);
    }
    let script = "\"$0\" completions bash | true";
    assert_done(&finish(std::process::Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_ppkt")])));
}
