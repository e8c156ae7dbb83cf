//! ScanNet's frames, in a recording and exported, written small in both layouts and read back, with every fault.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{ImageBuffer, Luma, Rgb, RgbImage};
use ppkt_data::{DataError, DataUri, Dataset, Scene, Split, verify};
use ppkt_geometry::{Point3, frame};

use crate::fixture::metres;

const SCAN: &str = "scene0012_01";
/// Depth images are half as large as photographs.
const DEPTH: (u32, u32) = (80, 60);
const COLOUR: (u32, u32) = (160, 120);
/// What stands before the first frame: all fields, and a name of five bytes.
const HEADER: usize = 4 + 8 + 5 + 4 * 64 + 2 * 4 + 4 * 4 + 4 + 8;

/// A recording to be written, with whatever is wrong with it.
#[derive(Clone)]
struct Recording {
    version: u32,
    name_len: u64,
    colour_kind: i32,
    depth_kind: i32,
    colour_size: (u32, u32),
    depth_size: (u32, u32),
    units: f32,
    n_frames: Option<u64>,
    frames: Vec<Frame>,
}

#[derive(Clone)]
struct Frame {
    pose: [f32; 16],
    colour: Vec<u8>,
    depth: Vec<u8>,
    /// Other sizes than those of the data.
    sizes: Option<(u64, u64)>,
}

fn intrinsics(side: f32) -> [f32; 16] {
    let (f, cx, cy) = (70.0 * side, 40.0 * side - 0.5, 30.0 * side - 0.5);
    [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
}

const IDENTITY: [f32; 16] = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];

/// A camera that looks along y, `i` centimetres to the right.
fn pose(i: usize) -> [f32; 16] {
    [1.0, 0.0, 0.0, i as f32 * 0.01, 0.0, 0.0, 1.0, 2.0, 0.0, -1.0, 0.0, 1.5, 0.0, 0.0, 0.0, 1.0]
}

fn photo(i: usize) -> RgbImage {
    RgbImage::from_fn(COLOUR.0, COLOUR.1, |x, y| {
        let base = if metres(x / 2, y / 2, DEPTH.0, i) < 1.6 { [220, 60, 40] } else { [60, 90, 120] };
        Rgb(base.map(|c: u32| (c + (x / 2 * 7 + y / 2 * 13) % 16) as u8))
    })
}

fn millimetres(i: usize) -> Vec<u16> {
    let at = |p: u32| (metres(p % DEPTH.0, p / DEPTH.0, DEPTH.0, i) * 1000.0) as u16;
    (0..DEPTH.0 * DEPTH.1).map(|p| if p == 5 { 0 } else { at(p) }).collect()
}

fn little_endian(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn jpeg(photo: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    photo.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

impl Recording {
    /// JPEG and zlib, as published.
    fn new(n: usize) -> Self {
        let frame = |i: usize| Frame {
            pose: pose(i),
            colour: jpeg(&photo(i)),
            depth: zlib(&little_endian(&millimetres(i))),
            sizes: None,
        };
        Self {
            version: 4,
            name_len: 5,
            colour_kind: 2,
            depth_kind: 1,
            colour_size: COLOUR,
            depth_size: DEPTH,
            units: 1000.0,
            n_frames: None,
            frames: (0..n).map(frame).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.version.to_le_bytes().to_vec();
        bytes.extend(self.name_len.to_le_bytes());
        bytes.extend(b"Struc");
        for matrix in [intrinsics(2.0), IDENTITY, intrinsics(1.0), IDENTITY] {
            bytes.extend(matrix.map(f32::to_le_bytes).as_flattened());
        }
        bytes.extend(self.colour_kind.to_le_bytes());
        bytes.extend(self.depth_kind.to_le_bytes());
        for side in [self.colour_size.0, self.colour_size.1, self.depth_size.0, self.depth_size.1] {
            bytes.extend(side.to_le_bytes());
        }
        bytes.extend(self.units.to_le_bytes());
        bytes.extend(self.n_frames.unwrap_or(self.frames.len() as u64).to_le_bytes());
        for frame in &self.frames {
            bytes.extend(frame.pose.map(f32::to_le_bytes).as_flattened());
            bytes.extend([17u64.to_le_bytes(), 18u64.to_le_bytes()].as_flattened());
            let sizes = frame.sizes.unwrap_or((frame.colour.len() as u64, frame.depth.len() as u64));
            bytes.extend([sizes.0.to_le_bytes(), sizes.1.to_le_bytes()].as_flattened());
            bytes.extend(&frame.colour);
            bytes.extend(&frame.depth);
        }
        // The inertial sensor's.
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([9; 40]);
        bytes
    }

    fn write(&self) -> Written {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("scans").join(SCAN)).unwrap();
        let written = Written(folder);
        fs::write(written.sens(), self.bytes()).unwrap();
        written
    }

    /// As the dataset's exporter writes the frames.
    fn export(&self) -> Written {
        let folder = tempfile::tempdir().unwrap();
        let scan = folder.path().join(SCAN);
        for name in ["color", "depth", "pose", "intrinsic"] {
            fs::create_dir_all(scan.join(name)).unwrap();
        }
        for (i, frame) in self.frames.iter().enumerate() {
            fs::write(scan.join(format!("color/{i}.jpg")), &frame.colour).unwrap();
            ImageBuffer::<Luma<u16>, _>::from_raw(DEPTH.0, DEPTH.1, millimetres(i))
                .unwrap()
                .save(scan.join(format!("depth/{i}.png")))
                .unwrap();
            fs::write(scan.join(format!("pose/{i}.txt")), text(&frame.pose)).unwrap();
        }
        fs::write(scan.join("intrinsic/intrinsic_color.txt"), text(&intrinsics(2.0))).unwrap();
        fs::write(scan.join("intrinsic/intrinsic_depth.txt"), text(&intrinsics(1.0))).unwrap();
        fs::write(scan.join("intrinsic/extrinsic_depth.txt"), text(&IDENTITY)).unwrap();
        Written(folder)
    }
}

fn text(matrix: &[f32; 16]) -> String {
    matrix.chunks(4).map(|row| row.iter().map(|v| format!("{v} ")).collect::<String>() + "\n").collect()
}

struct Written(tempfile::TempDir);

impl Written {
    fn sens(&self) -> PathBuf {
        self.0.path().join(format!("scans/{SCAN}/{SCAN}.sens"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(SCAN).join(name)
    }

    fn uri(&self, query: &str) -> DataUri {
        format!("scannet:{}{query}", self.0.path().display()).parse().unwrap()
    }

    fn all(&self, query: &str) -> Box<dyn Dataset> {
        self.uri(query).open(Split::All).unwrap()
    }
}

fn same(a: &Scene, b: &Scene) {
    assert_eq!(a.name, b.name);
    assert_eq!(a.cloud.points.len(), b.cloud.points.len());
    // Numbers were rounded when they were written as text.
    let near = |p: &[f32; 3], q: &[f32; 3]| (0..3).all(|k| (p[k] - q[k]).abs() < 1e-5);
    assert!(a.cloud.points.iter().zip(&b.cloud.points).all(|(p, q)| near(p, q)));
    assert!(a.cloud.colours == b.cloud.colours && a.views[0].image == b.views[0].image);
    assert_eq!(a.views[0].camera, b.views[0].camera);
}

#[test]
fn recorded_and_exported_frames_are_the_same() {
    let recording = Recording::new(12);
    let (recorded, exported) = (recording.write(), recording.export());
    let (a, b) = (recorded.all("?every=1"), exported.all(""));
    assert_eq!((a.len(), b.len()), (12, 12));
    for i in [0, 2, 11] {
        same(&a.sample(i).unwrap(), &b.sample(i).unwrap());
    }
    assert_eq!(a.frame_name(10), format!("{SCAN}/10"), "numbers in their order");
    assert_eq!(a.scene_name(3), "scene0012");
    for written in [&recorded, &exported] {
        let report = verify(&written.uri("?every=3&holdout=0"), None).unwrap();
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert_eq!((report.checked, report.good, report.image_size), (4, 4, Some([80, 60])));
        let print = |query| written.all(query).fingerprint().unwrap();
        assert_eq!(print("?every=2"), print("?every=2"));
        assert_ne!(print("?every=2"), print("?every=3"));
    }
    // Without being told a recording is thinned, as in the paper, and says so.
    let thinned = Recording::new(27).write();
    let data = thinned.all("");
    assert_eq!((data.len(), data.frame_name(1)), (2, format!("{SCAN}/25")));
    assert!(data.notes().iter().any(|n| n.contains("each 25th")), "{:?}", data.notes());
}

/// What the colour camera's pixel shows is what the depth camera measured there; up is up.
#[test]
fn colours_and_geometry_belong_together() {
    let mut recording = Recording::new(3);
    recording.colour_kind = 0;
    recording.depth_kind = 0;
    for (i, frame) in recording.frames.iter_mut().enumerate() {
        frame.colour = photo(i).into_raw();
        frame.depth = little_endian(&millimetres(i));
    }
    let written = recording.write();
    for (query, size) in [("?every=1", DEPTH), ("?every=1&photos=full", COLOUR)] {
        let scene = written.all(query).sample(2).unwrap();
        let view = &scene.views[0];
        assert_eq!(view.image.dimensions(), size);
        assert_eq!((view.camera.width(), view.camera.height()), size);
        assert_eq!(scene.cloud.points.len(), (DEPTH.0 * DEPTH.1) as usize - 1, "one pixel has no depth");
        let camera_from_world = view.world_from_camera.inverse();
        for (p, colour) in scene.cloud.points.iter().zip(&scene.cloud.colours) {
            let near = (camera_from_world * Point3::<frame::World>::from_f32(*p)).z() < 1.75;
            assert_eq!(near, colour[0] > 0.5, "{query} {p:?}");
            // The camera at (0.02, 2, 1.5) looks along y.
            assert!((p[1] - if near { 3.5 } else { 4.0 }).abs() < 1e-4, "{p:?}");
        }
        let heights = scene.cloud.points.iter().map(|p| p[2]);
        assert!(heights.clone().fold(f32::MAX, f32::min) < 1.0 && heights.fold(0.0, f32::max) > 2.0);
    }
}

#[test]
fn frames_without_a_pose_are_left_out_and_counted() {
    let mut recording = Recording::new(5);
    recording.frames[1].pose = [f32::NEG_INFINITY; 16];
    recording.frames[4].pose = [f32::NEG_INFINITY; 16];
    for data in [recording.write().all("?every=1"), recording.export().all("")] {
        let names: Vec<String> = (0..data.len()).map(|i| data.frame_name(i)).collect();
        assert_eq!(names, [0, 2, 3].map(|i| format!("{SCAN}/{i}")));
        let notes = data.notes().join("; ");
        assert!(notes.contains("2 of 5 frames have no pose"), "{notes}");
    }
    // A pose that is there but no motion is a fault of that frame.
    recording.frames[2].pose = [3.0; 16];
    for data in [recording.write().all("?every=1"), recording.export().all("")] {
        let error = data.sample(1).unwrap_err();
        assert!(matches!(error, DataError::Pose { .. }), "{error}");
        data.sample(2).unwrap();
    }
}

/// Where depth has a camera beside the colour camera's, extrinsics lead from it to the colour camera.
#[test]
fn extrinsics_lead_from_depth_to_colour() {
    let written = Recording::new(1).export();
    let mut beside = IDENTITY;
    beside[3] = 0.1;
    fs::write(written.file("intrinsic/extrinsic_depth.txt"), text(&beside)).unwrap();
    let middle = |scene: &Scene| {
        let wall: Vec<f32> = scene.cloud.points.iter().filter(|p| p[1] < 3.6).map(|p| p[0]).collect();
        wall.iter().sum::<f32>() / wall.len() as f32
    };
    let plain = Recording::new(1).export();
    let moved = middle(&written.all("").sample(0).unwrap()) - middle(&plain.all("").sample(0).unwrap());
    assert!((moved - 0.1).abs() < 0.01, "{moved}");
}

#[test]
fn the_smaller_download_has_labels() {
    let written = Recording::new(4).export();
    for name in ["color", "depth"] {
        fs::rename(
            written.file(&format!("intrinsic/intrinsic_{name}.txt")),
            written.file(&format!("intrinsics_{name}.txt")),
        )
        .unwrap();
    }
    assert!(written.all("").classes().is_none());
    let error = written.uri("?classes=20").open(Split::All).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("label/"), "{error}");
    fs::create_dir(written.file("label")).unwrap();
    for i in 0..4 {
        // Refrigerator on the box, a number of NYU-40 that is none of the 20 on the wall; at the size of the photos.
        image::GrayImage::from_fn(COLOUR.0, COLOUR.1, |x, y| {
            Luma([if metres(x / 2, y / 2, DEPTH.0, i) < 1.6 { 24 } else { 22 }])
        })
        .save(written.file(&format!("label/{i}.png")))
        .unwrap();
    }
    let data = written.all("");
    let scene = data.sample(3).unwrap();
    for (p, class) in scene.cloud.points.iter().zip(scene.cloud.classes.as_ref().unwrap()) {
        let name = data.classes().unwrap().names()[usize::from(*class)].as_str();
        assert_eq!(name, if p[1] < 3.75 { "refrigerator" } else { "unlabelled" });
    }
    assert_eq!(scene.views[0].classes.as_ref().unwrap().len(), (DEPTH.0 * DEPTH.1) as usize);
    assert!(written.all("?classes=none").classes().is_none());
    let error = written.uri("?classes=200").open(Split::All).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("take=scans"), "{error}");
    image::GrayImage::new(30, 90).save(written.file("label/2.png")).unwrap();
    assert!(matches!(data.sample(2).unwrap_err(), DataError::WrongSize { .. }));
    image::GrayImage::from_pixel(80, 60, Luma([41])).save(written.file("label/1.png")).unwrap();
    assert!(matches!(data.sample(1).unwrap_err(), DataError::Label { number: 41, .. }));
}

/// A file that ends anywhere: what is whole before its end can be used, the first frame that is not says so.
#[test]
fn a_recording_that_ends_anywhere_says_so() {
    let mut recording = Recording::new(2);
    for frame in &mut recording.frames {
        frame.colour = vec![1; 40];
        frame.depth = vec![2; 30];
    }
    let whole = recording.bytes();
    let written = recording.write();
    let frame = 96 + 70;
    assert_eq!(whole.len(), HEADER + 2 * frame + 48);
    for end in 0..HEADER + 2 * frame {
        fs::write(written.sens(), &whole[..end]).unwrap();
        let data = written.all("?every=1");
        let n_whole = end.saturating_sub(HEADER) / frame;
        assert_eq!(data.len(), n_whole + 1, "cut to {end} bytes");
        let error = data.sample(n_whole).unwrap_err();
        assert!(error.to_string().contains("ends within"), "cut to {end} bytes: {error}");
        assert!(!error.is_configuration() && error.path().is_some());
    }
    fs::write(written.sens(), &whole[..HEADER + 2 * frame]).unwrap();
    assert_eq!(written.all("?every=1").len(), 2);
}

#[test]
fn nonsense_in_a_recording_is_named_before_memory_is_asked_for() {
    type Damage = fn(&mut Recording);
    let faults: [(Damage, &str); 18] = [
        (|r| r.version = 5, "version 5"),
        (|r| r.name_len = u64::MAX, "damaged"),
        (|r| r.name_len = 4000, "ends within"),
        (|r| r.colour_kind = 7, "compressed"),
        (|r| r.depth_kind = -1, "compressed"),
        (|r| r.depth_kind = 2, "zlib"),
        (|r| r.colour_size = (0, 5), "0×5"),
        (|r| r.depth_size = (u32::MAX, 5), "damaged"),
        (|r| r.units = 0.0, "units"),
        (|r| r.units = f32::NAN, "units"),
        (|r| r.n_frames = Some(0), "no frame"),
        (|r| r.frames[0].sizes = Some((u64::MAX, 1)), "ends within"),
        (|r| r.frames[0].sizes = Some((1, u64::MAX)), "ends within"),
        (|r| r.frames[0].depth.truncate(9), "frame 0"),
        (|r| r.frames[0].depth = zlib(&[1, 2, 3]), "only 3 bytes"),
        (|r| r.frames[0].depth = zlib(&[0; 80 * 60 * 2 + 1]), "more than 9600"),
        (|r| r.depth_size = (8_000, 8_000), "cannot hold"),
        (|r| r.frames[0].colour.truncate(300), "truncated"),
    ];
    for (damage, words) in faults {
        let mut recording = Recording::new(1);
        damage(&mut recording);
        let written = recording.write();
        let data = written.all("?every=1");
        let error = data.sample(0).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(".sens"), "{words}: {error}");
        let report = verify(&written.uri("?every=1"), None).unwrap();
        assert_eq!((report.checked, report.good, report.errors()), (1, 0, 1), "{words}: {:?}", report.faults);
    }
    // More frames promised than there are.
    let mut recording = Recording::new(2);
    recording.n_frames = Some(u64::MAX);
    let data = recording.write().all("?every=1");
    assert_eq!(data.len(), 3);
    assert!(data.sample(2).unwrap_err().to_string().contains("ends within"));
    // A photograph of another size than the header says.
    let mut recording = Recording::new(1);
    recording.colour_size = (320, 240);
    let error = recording.write().all("").sample(0).unwrap_err();
    assert!(matches!(error, DataError::WrongSize { got_width: 160, .. }), "{error}");
}

#[test]
fn flipped_bytes_never_panic() {
    let mut recording = Recording::new(1);
    recording.frames[0].depth = zlib(&vec![0; 9600]);
    let whole = recording.bytes();
    let written = recording.write();
    let places = (0..HEADER + 96).chain((HEADER + 96..whole.len()).step_by(37));
    for at in places {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xA5;
        fs::write(written.sens(), &damaged).unwrap();
        if let Ok(data) = written.uri("?every=1").open(Split::All) {
            (0..data.len()).for_each(|i| _ = data.sample(i));
        }
    }
}

#[test]
fn faults_of_exported_frames_name_the_file() {
    type Damage = fn(&Path);
    let one: [(Damage, &str); 5] = [
        (|s| fs::remove_file(s.join("color/1.jpg")).unwrap(), "1.jpg"),
        (|s| fs::remove_file(s.join("depth/1.png")).unwrap(), "1.png"),
        (|s| fs::remove_file(s.join("pose/1.txt")).unwrap(), "1.txt"),
        (|s| fs::write(s.join("pose/1.txt"), "1 2 3").unwrap(), "3 numbers"),
        (|s| fs::write(s.join("color/1.jpg"), [0xFF, 0xD8, 0xFF]).unwrap(), "1.jpg"),
    ];
    for (damage, words) in one {
        let written = Recording::new(3).export();
        damage(&written.0.path().join(SCAN));
        let data = written.all("");
        assert_eq!(data.len(), 3);
        let error = data.sample(1).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        data.sample(2).unwrap();
    }
    let whole: [(Damage, &str); 4] = [
        (|s| fs::remove_file(s.join("intrinsic/intrinsic_color.txt")).unwrap(), "intrinsic_color.txt"),
        (|s| fs::write(s.join("intrinsic/intrinsic_depth.txt"), "1 2").unwrap(), "16"),
        (|s| fs::write(s.join("intrinsic/intrinsic_depth.txt"), "70 70 700 700").unwrap(), "principal point"),
        (|s| fs::write(s.join("intrinsic/extrinsic_depth.txt"), "0").unwrap(), "extrinsic_depth.txt"),
    ];
    for (damage, words) in whole {
        let written = Recording::new(2).export();
        damage(&written.0.path().join(SCAN));
        let error = written.all("").sample(1).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn both_kinds_in_one_folder_are_asked_about() {
    let written = Recording::new(2).write();
    let mesh = written.0.path().join(format!("scans/{SCAN}/{SCAN}_vh_clean_2.ply"));
    fs::write(mesh, "ply").unwrap();
    let error = written.uri("").open(Split::All).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("take=scans"), "{error}");
    assert_eq!(written.all("?take=frames&every=1").len(), 2);
    assert_eq!(written.all("?take=scans").len(), 1);
    let error = written.uri("?take=frames&points=x").open(Split::All).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("left out"), "{error}");
}
