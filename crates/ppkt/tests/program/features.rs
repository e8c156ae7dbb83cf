//! Features of points: files as a user has them, and everything that can be wrong with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use ppkt_data::{DataUri, Ply, PlyColumn, Scene, Split};

use crate::common::{assert_done, assert_fails, finish, ppkt, small_run};

const ROOMS: &str = "synthetic:rooms?scenes=12&width=64&height=48";

fn features(input: &str, from: &Path, more: &[&str]) -> Output {
    finish(ppkt().args(["features", input, "--from"]).arg(from).args(more))
}

fn room() -> Scene {
    ROOMS.parse::<DataUri>().unwrap().open(Split::All).unwrap().sample(4).unwrap()
}

/// The cloud of a room as a scanner's program would write it.
fn ply_of(scene: &Scene, colour: bool) -> Vec<u8> {
    let axis = |k: usize| PlyColumn::F64(scene.cloud.points.iter().map(|p| f64::from(p[k])).collect());
    let mut ply = Ply::new(scene.cloud.points.len()).with("x", axis(0)).with("y", axis(1)).with("z", axis(2));
    for (k, name) in ["red", "green", "blue"].into_iter().enumerate().filter(|_| colour) {
        let bytes = scene.cloud.colours.iter().map(|c| (c[k] * 255.0).round() as u8);
        ply = ply.with(name, PlyColumn::U8(bytes.collect()));
    }
    ply.to_bytes()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_frame_and_its_points_in_a_file_have_the_same_features() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| -> PathBuf { dir.path().join(name) };
    let run = place("run");
    assert_done(&finish(ppkt().args(small_run(&run))));
    let scene = room();

    let of = |name: &str, input: &str, more: &[&str]| {
        let (out, ply) = (text(&place(&format!("{name}.npy"))), text(&place(&format!("{name}-seen.ply"))));
        let all = [&["--out", &out, "--ply", &ply, "--json"][..], more].concat();
        let output = features(input, &run, &all);
        assert_done(&output);
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed["points"], scene.cloud.points.len());
        assert_eq!((&printed["dimensions"], &printed["layer"]), (&16.into(), &"head".into()));
        (fs::read(out).unwrap(), fs::read(ply).unwrap())
    };
    let frame = of("frame", ROOMS, &["--frame", "4"]);
    let file = place("room.ply");
    fs::write(&file, ply_of(&scene, true)).unwrap();
    assert!(of("file", &text(&file), &["--threads", "1"]) == frame, "the same bytes");
    assert!(frame.0.len() > 64 * scene.cloud.points.len());

    let seen = Ply::read(&place("frame-seen.ply")).unwrap();
    let places: Vec<f32> = scene.cloud.points.iter().map(|p| p[1]).collect();
    assert_eq!(seen.column("y"), Some(&PlyColumn::F32(places)));
    let Some(PlyColumn::U8(red)) = seen.column("red") else { panic!("no colours") };
    assert!(red.iter().max().unwrap() - red.iter().min().unwrap() > 100, "one colour says nothing");

    // In parts, and of the layer before: another file of as many rows.
    let out = text(&place("parts.safetensors"));
    let more = ["--out", &out, "--layer", "backbone", "--max-voxels", "500"];
    assert_done(&features(&text(&file), &run, &more));
    let bytes = fs::read(&out).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("features").unwrap().shape(), [scene.cloud.points.len(), 32]);
}

#[test]
fn what_cannot_be_is_said_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| text(&dir.path().join(name));
    let run = dir.path().join("run");
    let mut few = small_run(&run);
    few.extend(["steps=1".to_owned(), "pictures.frames=0".to_owned()]);
    assert_done(&finish(ppkt().args(few)));
    let out = place("out.npy");
    let to = ["--out", out.as_str()];
    let fails = |input: &str, more: &[&str], code: i32, words: &[&str]| {
        assert_fails(&features(input, &run, &[&to[..], more].concat()), code, words);
        assert!(!Path::new(&out).exists(), "nothing is left behind");
    };
    let scene = room();
    let plain = place("plain.ply");
    fs::write(&plain, ply_of(&scene, false)).unwrap();
    fails(&plain, &[], 2, &["takes colour", "plain.ply"]);
    let cut = place("cut.ply");
    let whole = ply_of(&scene, true);
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    fails(&cut, &[], 1, &["ends", "cut.ply"]);
    fails(&place("none.ply"), &[], 1, &["none.ply"]);
    fails("nyuv3:x", &[], 2, &["nyuv3"]);
    fails(ROOMS, &[], 2, &["12 frames", "--frame"]);
    fails(ROOMS, &["--frame", "12"], 2, &["12 frames", "counted from 0"]);
    fails(&plain, &["--frame", "1"], 2, &["--frame"]);
    fails(ROOMS, &["--frame", "1", "--columns", "x,y,z"], 2, &["--columns"]);
    fails(&plain, &["--layer", "neck"], 2, &["backbone and head"]);
    fails(ROOMS, &["--frame", "1", "--point-features", "colour"], 2, &["rgb, ones"]);
    fails(ROOMS, &["--frame", "1", "--voxel-size", "0"], 2, &["voxel_size_m"]);
    fails(ROOMS, &["--frame", "1", "--ply", "no/folder/a.ply"], 2, &["no such folder"]);
    fails(ROOMS, &["--frame", "1", "--ply", "a.obj"], 2, &[".ply"]);
    // Not over what is read.
    let whole = place("whole.ply");
    fs::write(&whole, ply_of(&scene, true)).unwrap();
    fails(&whole, &["--ply", &whole], 2, &["overwrite"]);
    assert_fails(&features(&whole, &run, &["--out", &place("a.txt")]), 2, &[".npy or .safetensors"]);
    assert_fails(&features(&whole, dir.path(), &to), 2, &["no student.safetensors"]);
    assert_fails(&features(&whole, Path::new(&plain), &to), 1, &["safetensors", "plain.ply"]);
    assert_fails(&features(&whole, &run, &[]), 2, &["--out"]);
}
