//! Pictures and clouds of a run, brought to a size that a page can carry.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageReader, Limits};
use ppkt_data::SampleCloud;

use crate::error::{ReportError, Result};

/// All pictures together, bytes of JPEG.
const MOST_PICTURE_BYTES: usize = 1_500_000;
/// Wider pictures are made smaller: on a page of this width nobody sees more.
const MOST_WIDTH: u32 = 1_600;
/// What a decoder may allocate for one picture.
const MOST_DECODED_BYTES: u64 = 256 << 20;
const JPEG_QUALITY: u8 = 86;
/// Clouds of a page; each weighs up to half a megabyte in it.
pub(crate) const MOST_CLOUDS: usize = 4;

/// A picture, encoded for the page.
#[derive(Debug)]
pub(crate) struct Picture {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub jpeg: Vec<u8>,
}

/// A cloud with the name of its file.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub name: String,
    pub cloud: SampleCloud,
}

/// The PNG files of a folder, in order, as many as fit.
pub(crate) fn pictures(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<Picture>> {
    let mut paths = files(folder, "png")?;
    // It shows again what the others show.
    if paths.len() > 1 {
        paths.retain(|path| stem(path) != "overview");
    }
    let (mut pictures, mut left_out, mut bytes) = (Vec::new(), 0, 0);
    for path in paths {
        match encode(&path) {
            Ok(picture) if bytes + picture.jpeg.len() <= MOST_PICTURE_BYTES => {
                bytes += picture.jpeg.len();
                pictures.push(picture);
            }
            Ok(_) => left_out += 1,
            Err(problem) => {
                notes.push(format!("The picture {} was left out: {problem}.", file_name(&path)));
            }
        }
    }
    if left_out > 0 {
        notes.push(format!(
            "{left_out} more pictures are in pictures/: they were left out to keep this page small."
        ));
    }
    Ok(pictures)
}

fn encode(path: &Path) -> std::result::Result<Picture, image::ImageError> {
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_DECODED_BYTES);
    reader.limits(limits);
    let mut picture = reader.decode()?.into_rgb8();
    let (width, height) = picture.dimensions();
    if width > MOST_WIDTH {
        let height = (u64::from(height) * u64::from(MOST_WIDTH) / u64::from(width)).max(1) as u32;
        picture = image::imageops::resize(&picture, MOST_WIDTH, height, FilterType::Triangle);
    }
    let (width, height) = picture.dimensions();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(Cursor::new(&mut jpeg), JPEG_QUALITY).encode_image(&picture)?;
    Ok(Picture { name: frame_name(path), width, height, jpeg })
}

/// The PLY files of a folder, in order, at most so many.
pub(crate) fn clouds(folder: &Path, most: usize, notes: &mut Vec<String>) -> Result<Vec<Cloud>> {
    let paths = files(folder, "ply")?;
    if paths.len() > most {
        let more = paths.len() - most;
        notes
            .push(format!("{more} more clouds are in samples/: they were left out to keep this page small."));
    }
    let mut clouds = Vec::new();
    for path in paths.into_iter().take(most) {
        match SampleCloud::read(&path) {
            Ok(cloud) if cloud.points.is_empty() => {
                notes.push(format!("The cloud {} was left out: it has no point.", file_name(&path)));
            }
            Ok(cloud) => {
                let kept = thinned(cloud);
                clouds.push(Cloud { name: frame_name(&path), cloud: kept });
            }
            Err(e) => {
                // The error names the whole path, which is nobody's business who is shown the page.
                let problem = e.to_string();
                let problem = problem.rsplit_once(": \"").map_or(problem.as_str(), |(before, _)| before);
                notes.push(format!("The cloud {} was left out: {problem}.", file_name(&path)));
            }
        }
    }
    Ok(clouds)
}

/// A cloud of no more points than a page takes.
fn thinned(cloud: SampleCloud) -> SampleCloud {
    let kept = SampleCloud::thinned(cloud.points.len());
    if kept.len() == cloud.points.len() {
        return cloud;
    }
    fn pick<T: Copy>(list: &[T], kept: &[usize]) -> Vec<T> {
        kept.iter().map(|&i| list[i]).collect()
    }
    SampleCloud {
        points: pick(&cloud.points, &kept),
        colours: cloud.colours.map(|l| pick(&l, &kept)),
        teacher: cloud.teacher.map(|l| pick(&l, &kept)),
        student: cloud.student.map(|l| pick(&l, &kept)),
        label: cloud.label.map(|l| pick(&l, &kept)),
        prediction: cloud.prediction.map(|l| pick(&l, &kept)),
        viewpoint: cloud.viewpoint,
    }
}

/// The files of a folder with an ending, by name; none if there is no folder.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let fail = |source| ReportError::Read { what: "folder", path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e == ending) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The frame's name without the number that keeps files in order.
fn frame_name(path: &Path) -> String {
    let stem = stem(path);
    match stem.split_once('-') {
        Some((number, name))
            if number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() =>
        {
            name.to_owned()
        }
        _ => stem,
    }
}
