//! What `frames.toml` can say.

use std::fs;

use image::{GrayImage, ImageBuffer, Luma};
use ppkt_data::{DataError, Dataset, Split, verify};
use ppkt_geometry::{Point3, frame};

use crate::fixture::{FRAMES, FRAMES_TOML, Fixture};

/// A folder with a changed description: pairs of what is replaced and by what.
fn with(changes: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::new("frames");
    let text = changes.iter().fold(FRAMES_TOML.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the description");
        text.replacen(from, to, 1)
    });
    fixture.write("frames.toml", &text);
    fixture
}

fn open(fixture: &Fixture) -> Box<dyn Dataset> {
    fixture.uri().open(Split::All).unwrap()
}

fn refused(changes: &[(&str, &str)]) -> String {
    let error = with(changes).uri().open(Split::All).err().unwrap();
    assert!(error.is_configuration(), "{error}");
    assert!(matches!(error, DataError::Descriptor { .. }), "{error}");
    error.to_string()
}

const TWO_CAMERAS: (&str, &str) = (
    "encoding = \"millimetres\"",
    r#"encoding = "millimetres"
colour_from_depth = [[1, 0, 0, -0.05], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
[depth.camera]
width = 80
height = 60
fx = 70.0
fy = 70.0
cx = 39.5
cy = 29.5"#,
);
const OF_DEPTH: (&str, &str) = ("up = [0, -1, 0]", "up = [0, -1, 0]\nof = \"depth\"");

#[test]
fn two_cameras_see_the_same_points() {
    let fixture = with(&[TWO_CAMERAS, OF_DEPTH]);
    let one = open(&Fixture::new("frames")).sample(2).unwrap();
    let two = open(&fixture).sample(2).unwrap();
    // The colour camera stands 5 cm to the right of the depth camera, whose pose is the one given.
    let shift = two.views[0].world_from_camera.translation() - one.views[0].world_from_camera.translation();
    assert!((shift.x - 0.05).abs() < 1e-12 && shift.y.abs() + shift.z.abs() < 1e-12, "{shift}");
    // Points stay where the depth camera has them; those beside the photo or hidden are gone.
    let all: std::collections::BTreeSet<[u32; 3]> =
        one.cloud.points.iter().map(|p| p.map(f32::to_bits)).collect();
    assert!(two.cloud.points.iter().all(|p| all.contains(&p.map(f32::to_bits))));
    assert!((all.len() * 9 / 10..all.len()).contains(&two.cloud.points.len()), "{}", two.cloud.points.len());
    let depth = two.views[0].depth.as_ref().unwrap();
    let camera_from_world = two.views[0].world_from_camera.inverse();
    for p in &two.cloud.points {
        let p_camera = camera_from_world * Point3::<frame::World>::from_f32(*p);
        let pixel = two.views[0].camera.project(p_camera).unwrap();
        assert!((f64::from(depth.sample_nearest(pixel).unwrap()) - p_camera.z()).abs() < 0.1);
    }
}

#[test]
fn poses_of_either_camera() {
    let of_colour = with(&[TWO_CAMERAS, ("up = [0, -1, 0]", "up = [0, -1, 0]\nof = \"colour\"")]);
    let of_depth = with(&[TWO_CAMERAS, OF_DEPTH]);
    let x = |f: &Fixture| open(f).sample(3).unwrap().views[0].world_from_camera.translation().x;
    assert!((x(&of_colour) - 0.03).abs() < 1e-12);
    assert!((x(&of_depth) - 0.08).abs() < 1e-12);
    let error = refused(&[TWO_CAMERAS]);
    assert!(error.contains("whose poses"), "{error}");
}

#[test]
fn registered_depth_of_another_size() {
    let fixture = with(&[("encoding = \"millimetres\"", "encoding = \"millimetres\"\nsize = [40, 30]")]);
    for i in 0..FRAMES {
        ImageBuffer::<Luma<u16>, _>::from_pixel(40, 30, Luma([1500u16])).save(fixture.depth(i)).unwrap();
    }
    let scene = open(&fixture).sample(0).unwrap();
    assert_eq!(scene.cloud.points.len(), 40 * 30);
    // Each depth pixel covers four of the photo, without cracks.
    assert_eq!(scene.views[0].depth.as_ref().unwrap().n_valid(), 80 * 60);
}

#[test]
fn the_other_direction_of_poses() {
    let normal = Fixture::new("frames");
    let inverted = with(&[("up = [0, -1, 0]", "up = [0, -1, 0]\ndirection = \"camera_from_world\"")]);
    // Pure shifts: the inverse is the shift back.
    let x = |d: &dyn Dataset| d.sample(3).unwrap().views[0].world_from_camera.translation().x;
    assert!((x(&*open(&normal)) - 0.03).abs() < 1e-12);
    assert!((x(&*open(&inverted)) + 0.03).abs() < 1e-12);
    fs::write(inverted.pose(1).unwrap(), "nan").unwrap();
    assert!(matches!(open(&inverted).sample(1).unwrap_err(), DataError::Pose { .. }));
    fs::remove_file(inverted.pose(1).unwrap()).unwrap();
    assert!(matches!(open(&inverted).sample(1).unwrap_err(), DataError::Missing { .. }));
}

#[test]
fn poses_in_one_list() {
    let fixture = with(&[("files = \"pose/*.txt\"", "list = \"poses.txt\"")]);
    fixture.write(
        "poses.txt",
        "# name tx ty tz qx qy qz qw\n0 0 0 0 0 0 0 1\n1 0.5 0 0 0 0 0 1\n2 nan 0 0 0 0 0 1\n",
    );
    let data = open(&fixture);
    assert!((data.sample(1).unwrap().views[0].world_from_camera.translation().x - 0.5).abs() < 1e-12);
    let error = data.sample(2).unwrap_err().to_string();
    assert!(error.contains("line 4") && error.contains("finite"), "{error}");
    let error = data.sample(3).unwrap_err().to_string();
    assert!(error.contains("no line for it"), "{error}");
    fixture.write("poses.txt", "0 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n");
    assert!(fixture.uri().open(Split::All).err().unwrap().to_string().contains("again"));
    fixture.write("poses.txt", "0 0 0 0 1\n");
    assert!(fixture.uri().open(Split::All).err().unwrap().to_string().contains("not 7"));
}

#[test]
fn without_poses_cameras_are_level() {
    let fixture = with(&[("[pose]\nfiles = \"pose/*.txt\"\nup = [0, -1, 0]", "")]);
    let pose = open(&fixture).sample(2).unwrap().views[0].world_from_camera;
    assert_eq!(pose.translation().norm(), 0.0);
}

#[test]
fn labels_by_name_and_by_number() {
    let labels = "[labels]\nfiles = \"label/*.png\"\nclasses = ";
    let write = |fixture: &Fixture, value: u8| {
        fs::create_dir_all(fixture.file("label")).unwrap();
        for i in 0..FRAMES {
            GrayImage::from_pixel(80, 60, Luma([value]))
                .save(fixture.file(&format!("label/{i}.png")))
                .unwrap();
        }
    };
    let named = with(&[("[split]", &format!("{labels}[\"wall\", \"floor\"]\n[split]"))]);
    write(&named, 2);
    let data = open(&named);
    assert_eq!(data.classes().unwrap().names(), ["unlabelled", "wall", "floor"]);
    assert!(data.sample(0).unwrap().cloud.classes.unwrap().iter().all(|c| *c == 2));
    write(&named, 3);
    assert!(data.sample(0).unwrap_err().to_string().contains("number 3"));
    // Raw numbers of a larger list; what is not named is unlabelled.
    let classes =
        "[{ name = \"wall\", numbers = [1, 21] }, { name = \"floor\", numbers = [2], colour = [1, 2, 3] }]";
    let numbered = with(&[("[split]", &format!("{labels}{classes}\n[split]"))]);
    for (value, class) in [(21, 1), (2, 2), (77, 0), (0, 0)] {
        write(&numbered, value);
        assert!(
            open(&numbered).sample(0).unwrap().cloud.classes.unwrap().iter().all(|c| *c == class),
            "{value}"
        );
    }
    assert!(refused(&[("[split]", &format!("{labels}[]\n[split]"))]).contains("empty"));
    let twice = "[{ name = \"a\", numbers = [1] }, { name = \"b\", numbers = [1] }]";
    assert!(refused(&[("[split]", &format!("{labels}{twice}\n[split]"))]).contains("two classes"));
}

#[test]
fn splits_by_share_file_and_names() {
    let held_out = |fixture: &Fixture| {
        let part = fixture.uri().open(Split::Validation).unwrap();
        (0..part.len()).map(|i| part.frame_name(i)).collect::<Vec<_>>()
    };
    assert_eq!(held_out(&Fixture::new("frames")), ["3"]);
    assert_eq!(held_out(&with(&[("validation = 0.25", "validation = [\"0\", \"2\"]")])), ["0", "2"]);
    let by_file = with(&[("validation = 0.25", "validation = \"val.txt\"")]);
    by_file.write("val.txt", "# held out\n1\n");
    assert_eq!(held_out(&by_file), ["1"]);
    assert!(refused(&[("validation = 0.25", "validation = [\"9\"]")]).contains("\"9\""));
    assert!(refused(&[("validation = 0.25", "validation = 1.5")]).contains("from 0 to 1"));
    // Frames that the file does not name are left out of everything.
    let only = with(&[("[colour]", "only = \"only.txt\"\n[colour]")]);
    only.write("only.txt", "3\n1\n0\n");
    let data = open(&only);
    assert_eq!((0..data.len()).map(|i| data.frame_name(i)).collect::<Vec<_>>(), ["0", "1", "3"]);
}

const ONE_BY_ONE: &str = r#"
[[frame]]
name = "a"
colour = "colour/0.png"
depth = "depth/0.png"
pose = [[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
[[frame]]
colour = "colour/1.png"
depth = "depth/1.png"
pose = "pose/1.txt"
"#;

#[test]
fn frames_one_by_one() {
    let without =
        [("files = \"colour/*.png\"", ""), ("files = \"depth/*.png\"", ""), ("files = \"pose/*.txt\"\n", "")];
    let fixture = with(&without);
    let text = fs::read_to_string(fixture.file("frames.toml")).unwrap();
    fixture.write("frames.toml", &format!("{text}{ONE_BY_ONE}"));
    let data = open(&fixture);
    assert_eq!((0..data.len()).map(|i| data.frame_name(i)).collect::<Vec<_>>(), ["a", "1"]);
    let x = |i| data.sample(i).unwrap().views[0].world_from_camera.translation().x;
    assert!((x(0) - 0.5).abs() < 1e-12 && (x(1) - 0.01).abs() < 1e-12);
    // A frame without the pose that the section announces.
    let no_pose = ONE_BY_ONE.replace("pose = \"pose/1.txt\"\n", "");
    fixture.write("frames.toml", &format!("{text}{no_pose}"));
    assert!(fixture.uri().open(Split::All).err().unwrap().to_string().contains("has no pose"));
    // Patterns and frames at once.
    fixture.write("frames.toml", &format!("{FRAMES_TOML}{ONE_BY_ONE}"));
    assert!(fixture.uri().open(Split::All).err().unwrap().to_string().contains("not both"));
}

#[test]
fn mistakes_in_the_description_are_explained() {
    for (from, to, part) in [
        ("width = 80", "widht = 80", "widht"),
        ("fx = 70.0", "fx = 0.0", "focal"),
        ("fx = 70.0", "fx = nan", "focal"),
        ("width = 80", "width = 0", "no pixel"),
        ("fx = 70.0", "lens = \"fisheye\"\nfx = 70.0", "kannala-brandt"),
        ("fx = 70.0", "distortion = [0.1]\nfx = 70.0", "pinhole"),
        ("encoding = \"millimetres\"", "", "how depth is stored"),
        ("encoding = \"millimetres\"", "encoding = \"inches\"", "millimetres"),
        ("files = \"colour/*.png\"", "files = \"colour/a.png\"", "star"),
        ("files = \"colour/*.png\"", "", "needs files"),
        ("files = \"pose/*.txt\"", "", "[pose]"),
        ("up = [0, -1, 0]", "up = [0, 0, 0]", "direction"),
        ("encoding = \"millimetres\"", "encoding = \"millimetres\"\nsize = [0, 30]", "zero"),
        ("[split]", "[splits]", "splits"),
        ("[split]", "[split", "line"),
    ] {
        let error = refused(&[(from, to)]);
        assert!(error.contains(part), "{to:?}: {error}");
    }
    let no_offset = TWO_CAMERAS.1.replace("colour_from_depth", "# ");
    assert!(refused(&[(TWO_CAMERAS.0, &no_offset)]).contains("where it is"));
    let scaled = TWO_CAMERAS.1.replace("[[1, 0, 0, -0.05]", "[[1000, 0, 0, -50]");
    assert!(refused(&[(TWO_CAMERAS.0, &scaled), OF_DEPTH]).contains("rotation"));
}

#[test]
fn lens_distortion_is_undone() {
    let lens = "lens = \"brown-conrady\"\ndistortion = [0.1, -0.05, 0.001, -0.001, 0.01]\nfx = 70.0";
    let scene = open(&with(&[("fx = 70.0", lens)])).sample(0).unwrap();
    let view = &scene.views[0];
    let camera_from_world = view.world_from_camera.inverse();
    assert_eq!(scene.cloud.points.len(), 80 * 60);
    for (i, p) in scene.cloud.points.iter().enumerate() {
        let pixel = view.camera.project(camera_from_world * Point3::<frame::World>::from_f32(*p)).unwrap();
        let (u, v) = ((i % 80) as f64 + 0.5, (i / 80) as f64 + 0.5);
        assert!((pixel.u - u).abs() < 1e-3 && (pixel.v - v).abs() < 1e-3, "{pixel:?} is not {u}, {v}");
    }
}

#[test]
fn poses_that_disagree_with_depth_are_noticed() {
    let fixture = Fixture::new("frames");
    for i in 0..FRAMES {
        // Each frame 40 cm nearer than it is.
        fs::write(fixture.pose(i).unwrap(), format!("1 0 0 0\n0 1 0 0\n0 0 1 {}\n", 0.4 * i as f64)).unwrap();
    }
    let report = verify(&fixture.uri(), None).unwrap();
    assert!(report.neighbours_differ_m.unwrap() > 0.3, "{:?}", report.neighbours_differ_m);
    assert!(report.faults.iter().any(|f| f.kind == "poses disagree"), "{:?}", report.faults);
}

#[test]
fn a_list_says_which_scene_each_frame_is_of() {
    let fixture = with(&[("[colour]", "scenes = \"rooms.txt\"\n[colour]")]);
    fixture.write("rooms.txt", "# name and room\n0 kitchen\n1 kitchen\n2\tliving room\n3,hall\n");
    let all = open(&fixture);
    let scenes: Vec<String> = (0..FRAMES).map(|i| all.scene_name(i)).collect();
    assert_eq!(scenes, ["kitchen", "kitchen", "living room", "hall"]);
    let before = all.fingerprint().unwrap();
    fixture.write("rooms.txt", "0 a\n1 a\n2 a\n3 a\n");
    assert_ne!(open(&fixture).fingerprint().unwrap(), before);
    for (list, words) in [("0 a\n1 a\n2 a\n", "\"3\""), ("0 a\n1\n", "line 2")] {
        fixture.write("rooms.txt", list);
        let error = fixture.uri().open(Split::All).err().unwrap();
        assert!(error.to_string().contains(words) && error.to_string().contains("rooms.txt"), "{error}");
    }
}
