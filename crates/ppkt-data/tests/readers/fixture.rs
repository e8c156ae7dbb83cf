//! Writes tiny folders of every layout: a box before a wall, seen by a camera that walks sideways.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use ppkt_data::DataUri;

/// The layouts, by scheme.
pub(crate) const LAYOUTS: [&str; 5] = ["nyuv2", "sevenscenes", "tum", "sunrgbd", "frames"];
/// Frames that a folder has.
pub(crate) const FRAMES: usize = 4;
/// The layouts' images are 640×480 where the dataset says so, and small where sizes are free.
pub(crate) fn size(layout: &str) -> (u32, u32) {
    if matches!(layout, "sunrgbd" | "frames") { (80, 60) } else { (640, 480) }
}

/// A folder of one layout.
pub(crate) struct Fixture {
    pub(crate) layout: &'static str,
    // Removed when dropped.
    folder: tempfile::TempDir,
}

impl Fixture {
    /// Writes a folder with [`FRAMES`] good frames.
    pub(crate) fn new(layout: &'static str) -> Self {
        let fixture = Self { layout, folder: tempfile::tempdir().unwrap() };
        fixture.write_description();
        for i in 0..FRAMES {
            fixture.write_frame(i);
        }
        fixture
    }

    /// An empty folder.
    pub(crate) fn empty(layout: &'static str) -> Self {
        Self { layout, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The URI of the folder, with the options that the layout needs.
    pub(crate) fn uri(&self) -> DataUri {
        let needed = if self.layout == "tum" { "?camera=ros" } else { "" };
        self.uri_with(needed)
    }

    pub(crate) fn uri_with(&self, query: &str) -> DataUri {
        format!("{}:{}{query}", self.layout, self.root().display()).parse().unwrap()
    }

    pub(crate) fn file(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.file(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Where the photo of a frame is.
    pub(crate) fn photo(&self, i: usize) -> PathBuf {
        self.file(&match self.layout {
            "nyuv2" => format!("image/{:06}.png", i + 1),
            "sevenscenes" => format!("frame-{i:06}.color.png"),
            "tum" => format!("rgb/{i}.png"),
            "sunrgbd" => format!("kv2/scene{i}/image/{i}.png"),
            _ => format!("colour/{i}.png"),
        })
    }

    /// Where the depth image of a frame is.
    pub(crate) fn depth(&self, i: usize) -> PathBuf {
        self.file(&match self.layout {
            "nyuv2" => format!("depth/{:06}.png", i + 1),
            "sevenscenes" => format!("frame-{i:06}.depth.png"),
            "tum" => format!("depth/{i}.png"),
            "sunrgbd" => format!("kv2/scene{i}/depth/{i}.png"),
            _ => format!("depth/{i}.png"),
        })
    }

    /// Where the pose of a frame is, for layouts that have a file for each.
    pub(crate) fn pose(&self, i: usize) -> Option<PathBuf> {
        match self.layout {
            "sevenscenes" => Some(self.file(&format!("frame-{i:06}.pose.txt"))),
            "sunrgbd" => Some(self.file(&format!("kv2/scene{i}/extrinsics/20140101000000.txt"))),
            "frames" => Some(self.file(&format!("pose/{i}.txt"))),
            _ => None,
        }
    }

    fn write_description(&self) {
        match self.layout {
            "nyuv2" => {
                self.write("train.txt", "000001\n000002\n000003\n");
                self.write("test.txt", "000004\n");
            }
            "sevenscenes" => {
                self.write("camera-intrinsics.txt", "585 0 320\n0 585 240\n0 0 1\n");
                self.write("color-calibration.json", CALIBRATION);
            }
            "tum" => {
                let list = |folder: &str, late: f64| {
                    let line = |i: usize| format!("{:.6} {folder}/{i}.png\n", 100.0 + i as f64 + late);
                    format!("# timestamp file\n{}", (0..FRAMES).map(line).collect::<String>())
                };
                self.write("rgb.txt", &list("rgb", 0.0));
                self.write("depth.txt", &list("depth", 0.012));
                let pose = |i: usize| {
                    format!(
                        "{:.4} {:.4} 0 1.5 -0.7071068 0 0 0.7071068\n",
                        99.0 + i as f64 / 20.0,
                        i as f64 * 0.0005
                    )
                };
                self.write("groundtruth.txt", &(0..120).map(pose).collect::<String>());
            }
            "frames" => self.write("frames.toml", FRAMES_TOML),
            _ => {}
        }
    }

    fn write_frame(&self, i: usize) {
        let (width, height) = size(self.layout);
        let key = |what: &str| format!("{} {what} {i}", self.layout);
        save_once(key("photo"), &self.photo(i), |path| photo(width, height, i).save(path).unwrap());
        let encode = self.units();
        save_once(key("depth"), &self.depth(i), |path| {
            let depth = ImageBuffer::<Luma<u16>, _>::from_fn(width, height, |x, y| {
                Luma([encode(metres(x, y, width, i))])
            });
            depth.save(path).unwrap();
        });
        if let Some(path) = self.pose(i) {
            let x = i as f64 * 0.01;
            let text = match self.layout {
                "sunrgbd" => "1 0 0 0\n0 1 0 0\n0 0 1 0\n".to_owned(),
                _ => format!("1 0 0 {x}\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"),
            };
            save(&path, |path| fs::write(path, &text).unwrap());
        }
        match self.layout {
            "nyuv2" => save_once(key("label"), &self.file(&format!("label40/{:06}.png", i + 1)), |path| {
                GrayImage::from_fn(width, height, |x, y| {
                    Luma([if metres(x, y, width, i) < 1.6 { 4 } else { 1 }])
                })
                .save(path)
                .unwrap();
            }),
            "sunrgbd" => self.write(&format!("kv2/scene{i}/intrinsics.txt"), "70 0 39.5 0 70 29.5 0 0 1\n"),
            _ => {}
        }
    }

    /// Metres to the 16 bits of the layout.
    fn units(&self) -> fn(f64) -> u16 {
        match self.layout {
            "tum" => |m| (m * 5000.0) as u16,
            "sunrgbd" => |m| ((m * 1000.0) as u16).rotate_left(3),
            _ => |m| (m * 1000.0) as u16,
        }
    }
}

fn save(path: &Path, write: impl Fn(&Path)) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(path);
}

/// As [`save`], but what was written once for `key` is copied from memory: encoding pictures is what takes the time.
fn save_once(key: String, path: &Path, write: impl Fn(&Path)) {
    static WRITTEN: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let known = WRITTEN.lock().unwrap().get(&key).cloned();
    match known {
        Some(bytes) => save(path, |path| fs::write(path, &bytes).unwrap()),
        None => {
            save(path, write);
            WRITTEN.lock().unwrap().insert(key, fs::read(path).unwrap());
        }
    }
}

/// A wall at 2 m and a box at 1.5 m in the middle; the camera of frame `i` stands `i` centimetres to the right.
pub(crate) fn metres(x: u32, _y: u32, width: u32, i: usize) -> f64 {
    let (x, width) = (f64::from(x), f64::from(width));
    let shift = 0.006 * i as f64 * width;
    let middle = (0.35 * width - shift)..(0.65 * width - shift);
    if middle.contains(&x) { 1.5 } else { 2.0 }
}

fn photo(width: u32, height: u32, i: usize) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let base = if metres(x, y, width, i) < 1.6 { [200, 60, 40] } else { [60, 90, 120] };
        Rgb(base.map(|c: u32| (c + i as u32 + (x * 7 + y * 13) % 16) as u8))
    })
}

/// The colour camera of the 7-Scenes fixture: the depth camera itself, so that the picture is easy to know.
const CALIBRATION: &str = r#"{
  "color": {"fx": 585.0, "fy": 585.0, "cx": 320.0, "cy": 240.0, "width": 640, "height": 480},
  "T_color_from_depth": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
}"#;

/// The description of the `frames:` fixture.
pub(crate) const FRAMES_TOML: &str = r#"
[colour]
files = "colour/*.png"
[colour.camera]
width = 80
height = 60
fx = 70.0
fy = 70.0
cx = 39.5
cy = 29.5
[depth]
files = "depth/*.png"
encoding = "millimetres"
[pose]
files = "pose/*.txt"
up = [0, -1, 0]
[split]
validation = 0.25
"#;
