//! Scenes written as a `frames:` folder: rendered rooms for other programs, or an example of the layout.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageBuffer, ImageError, Luma};
use ppkt_geometry::{CameraModel, Lens};
use serde::Serialize;

use crate::{DataError, DataUri, Dataset, Split, View};

/// The list of which room each frame is of.
const SCENES: &str = "scenes.txt";

/// Writes every frame of a dataset of single views as a `frames:` folder that keeps its held-out part.
///
/// Colour, depth (millimetres, registered to colour) and labels become PNG, poses 4×4 matrices in text, `scenes.txt` says
/// which room each is of and `frames.toml` where all is; it is written last, so that a folder with one is whole.
/// `progress` is called with the number of frames written and of all.
///
/// # Errors
/// If the folder is there already and not empty, if it cannot be written, or if the frames are not alike: one view
/// each, with depth, all by the same pinhole.
pub fn write_frames(
    uri: &DataUri,
    folder: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, DataError> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(DataError::BadSetting {
            setting: "folder".into(),
            value: format!("{folder:?}"),
            expected: "new or empty: nothing is overwritten".into(),
        });
    }
    let all = uri.open(Split::All)?;
    for kind in ["colour", "depth", "label", "pose"] {
        let place = folder.join(kind);
        fs::create_dir_all(&place).map_err(|source| cannot_write("folder", &place, source))?;
    }
    let mut camera = None;
    for index in 0..all.len() {
        progress(index, all.len());
        let scene = all.sample(index)?;
        let [view] = scene.views.as_slice() else { return Err(unlike(&scene.name, "it has not one view")) };
        let first = camera.get_or_insert(view.camera);
        if *first != view.camera {
            return Err(unlike(&scene.name, "its camera is not that of the first frame"));
        }
        write_view(view, &scene.name, folder, &file_stem(&scene.name))?;
    }
    let Some(camera) = camera else { return Ok(0) };
    let held_out = uri.open(Split::Validation)?;
    let line = |i| format!("{} {}\n", file_stem(&all.frame_name(i)), all.scene_name(i));
    let path = folder.join(SCENES);
    fs::write(&path, (0..all.len()).map(line).collect::<String>())
        .map_err(|source| cannot_write("list of scenes", &path, source))?;
    let text = describe(&camera, all.as_ref(), held_out.as_ref())?;
    let path = folder.join("frames.toml");
    fs::write(&path, text).map_err(|source| cannot_write("description of the frames", &path, source))?;
    progress(all.len(), all.len());
    Ok(all.len())
}

fn write_view(view: &View, name: &str, folder: &Path, stem: &str) -> Result<(), DataError> {
    let place = |kind: &str, extension: &str| folder.join(kind).join(format!("{stem}.{extension}"));
    let (width, height) = view.image.dimensions();
    save("photo", place("colour", "png"), |path| view.image.save(path))?;
    let depth = view.depth.as_ref().ok_or_else(|| unlike(name, "it has no depth"))?;
    // NaN, which is no measurement, becomes 0.
    let millimetres = depth.metres().iter().map(|m| (m * 1000.0).round().clamp(0.0, 65_535.0) as u16);
    save("depth", place("depth", "png"), |path| grey(width, height, millimetres.collect(), path))?;
    if let Some(classes) = &view.classes {
        save("labels", place("label", "png"), |path| grey(width, height, classes.clone(), path))?;
    }
    let pose = view.world_from_camera.to_matrix4();
    let rows: Vec<String> = (0..4)
        .map(|r| (0..4).map(|c| format!("{:.17e}", pose[(r, c)])).collect::<Vec<_>>().join(" ") + "\n")
        .collect();
    let path = place("pose", "txt");
    fs::write(&path, rows.concat()).map_err(|source| cannot_write("pose", &path, source))
}

fn grey(width: u32, height: u32, values: Vec<u16>, path: &Path) -> Result<(), ImageError> {
    match ImageBuffer::<Luma<u16>, _>::from_raw(width, height, values) {
        Some(image) => image.save(path),
        None => Err(ImageError::IoError(std::io::Error::other("the map is not of the photo's size"))),
    }
}

fn save(
    what: &'static str,
    path: PathBuf,
    write: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<(), DataError> {
    write(&path).map_err(|e| match e {
        ImageError::IoError(source) => cannot_write(what, &path, source),
        other => cannot_write(what, &path, std::io::Error::other(other)),
    })
}

fn cannot_write(what: &'static str, path: &Path, source: std::io::Error) -> DataError {
    DataError::Write { what, path: path.to_owned(), source }
}

fn unlike(frame: &str, problem: &str) -> DataError {
    DataError::BadScene { frame: frame.to_owned(), problem: problem.to_owned() }
}

/// A frame's name as the name of its files.
fn file_stem(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect()
}

#[derive(Serialize)]
struct Description<'a> {
    scenes: &'static str,
    colour: Colour,
    depth: Files,
    pose: Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Labels<'a>>,
    split: SplitEntry,
}

#[derive(Serialize)]
struct Colour {
    files: &'static str,
    camera: Camera,
}

#[derive(Serialize)]
struct Camera {
    width: u32,
    height: u32,
    fx: f64,
    fy: f64,
    cx: f64,
    cy: f64,
}

#[derive(Serialize)]
struct Files {
    files: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'static str>,
}

#[derive(Serialize)]
struct Labels<'a> {
    files: &'static str,
    classes: &'a [String],
}

#[derive(Serialize)]
struct SplitEntry {
    validation: Vec<String>,
}

fn describe(camera: &CameraModel, all: &dyn Dataset, held_out: &dyn Dataset) -> Result<String, DataError> {
    if !matches!(camera.lens(), Lens::Pinhole) {
        return Err(unlike(&all.frame_name(0), "its camera is no pinhole"));
    }
    let [fx, fy, cx, cy] = camera.intrinsics_opencv();
    let (width, height) = (camera.width(), camera.height());
    let description = Description {
        scenes: SCENES,
        colour: Colour { files: "colour/*.png", camera: Camera { width, height, fx, fy, cx, cy } },
        depth: Files { files: "depth/*.png", encoding: Some("millimetres"), of: None },
        pose: Files { files: "pose/*.txt", encoding: None, of: Some("colour") },
        labels: all.classes().map(|c| Labels { files: "label/*.png", classes: &c.names()[1..] }),
        split: SplitEntry {
            validation: (0..held_out.len()).map(|i| file_stem(&held_out.frame_name(i))).collect(),
        },
    };
    toml::to_string(&description).map_err(|e| unlike(all.name(), &format!("it cannot be described: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_that_were_written_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let uri: DataUri = "synthetic:rooms?scenes=5&width=48&height=36".parse().unwrap();
        assert_eq!(write_frames(&uri, &dir.path().join("rooms"), &mut |_, _| {}).unwrap(), 5);
        let written: DataUri = format!("frames:{}/rooms", dir.path().display()).parse().unwrap();
        for split in [Split::Train, Split::Validation] {
            let (there, here) = (uri.open(split).unwrap(), written.open(split).unwrap());
            assert_eq!(here.len(), there.len());
            assert_eq!(here.classes().unwrap().names(), there.classes().unwrap().names());
            for i in 0..here.len() {
                let (a, b) = (there.sample(i).unwrap(), here.sample(i).unwrap());
                assert_eq!(there.scene_name(i), here.scene_name(i));
                assert_eq!(a.views[0].image, b.views[0].image);
                assert_eq!(a.views[0].classes, b.views[0].classes);
                assert_eq!(a.cloud.points.len(), b.cloud.points.len());
                for (p, q) in a.cloud.points.iter().zip(&b.cloud.points) {
                    // Depth was rounded to millimetres.
                    assert!((0..3).all(|k| (p[k] - q[k]).abs() < 2e-3), "{p:?} {q:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine.txt"), "mine").unwrap();
        let uri: DataUri = "synthetic:rooms?scenes=5&width=48&height=36".parse().unwrap();
        assert!(write_frames(&uri, dir.path(), &mut |_, _| {}).unwrap_err().is_configuration());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
