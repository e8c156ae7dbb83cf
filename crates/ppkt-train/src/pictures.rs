//! Pictures of what was learnt: photo, the teacher's features, the student's features on the points of the same view,
//! in the colours of one common space, so that equal colours mean equal embeddings.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_7X13;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use image::imageops::FilterType;
use image::{Rgb, RgbImage};
use ppkt_data::Pair;
use ppkt_teacher::{Images, Teacher};

use crate::error::{Result, TrainError};
use crate::inference::Inference;
use crate::model::{Model, Pass};
use crate::pca::ColourBasis;
use crate::run_folder::write_atomically;
use crate::validation::HeldOutFrame;

/// Height of the line of captions.
const CAPTION: u32 = 20;
/// Pixels between two panels.
const GAP: u32 = 6;
/// Narrower panels are drawn larger, by a whole factor.
const LEAST_WIDTH: u32 = 320;
/// Where no point was seen.
const UNSEEN: Rgb<u8> = Rgb([24, 24, 28]);
const PAPER: Rgb<u8> = Rgb([250, 250, 248]);

/// Rows that the common directions are found from, at most, over all frames.
const FIT_ROWS: usize = 20_000;

/// The first `count` frames that have something to show.
pub(crate) fn worth_drawing(frames: &[HeldOutFrame], count: usize) -> Vec<&HeldOutFrame> {
    frames.iter().filter(|f| !f.batch.pairs.is_empty()).take(count).collect()
}

/// Draws frames into `folder`, one picture each and `overview.png` with the first four.
pub(crate) fn draw(
    folder: &Path,
    frames: &[&HeldOutFrame],
    model: &Model,
    basis: &ColourBasis,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).map_err(|e| TrainError::io("make the folder of pictures", folder, e))?;
    let captions =
        ["photo", "2D teacher: features of the pixels (PCA)", "3D student: features of the points (PCA)"];
    let (mut written, mut first_rows) = (Vec::new(), Vec::new());
    let student = model.inference();
    // One frame after another: the embeddings of all pixels of a large frame take hundreds of megabytes.
    for (number, &frame) in frames.iter().enumerate() {
        let picture = row(frame, model, &student, basis)?;
        let path = folder.join(format!("{}.png", numbered(number, frame)));
        save(&captioned(std::slice::from_ref(&picture), &captions), &path)?;
        written.push(path);
        if first_rows.len() < 4 {
            first_rows.push(picture);
        }
    }
    let overview = folder.join("overview.png");
    save(&captioned(&first_rows, &captions), &overview)?;
    written.push(overview);
    Ok(written)
}

/// Name of the files that show a frame, without an ending: pictures and samples of one frame are named alike.
pub(crate) fn numbered(number: usize, frame: &HeldOutFrame) -> String {
    let name = frame.batch.frames.first().map_or("frame", String::as_str);
    format!("{number:02}-{}", file_name(name))
}

/// The directions of greatest variance of the pixels' embeddings, from pixels spread over all frames.
pub(crate) fn common_basis(frames: &[&HeldOutFrame], model: &Model) -> Result<Option<ColourBasis>> {
    let (mut rows, mut dimensions) = (Vec::new(), 0);
    for frame in frames {
        let all = every_pixel(frame);
        let step = (all.len() * frames.len()).div_ceil(FIT_ROWS).max(1);
        let some: Vec<Pair> = all.into_iter().step_by(step).collect();
        let embedded = ppkt_student::unit_norm(&model.at_pixels(&frame.map, &some, Pass::Infer)?)?;
        dimensions = embedded.dim(1)?;
        rows.extend(embedded.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(ColourBasis::fit(&rows, dimensions))
}

/// All pixels of a frame's photograph, row by row.
fn every_pixel(frame: &HeldOutFrame) -> Vec<Pair> {
    let (width, height) = frame.batch.images[0].dimensions();
    (0..height)
        .flat_map(|row| (0..width).map(move |col| (row, col)))
        .map(|(row, col)| Pair { view: 0, u: col as f32 + 0.5, v: row as f32 + 0.5, voxel: 0 })
        .collect()
}

/// A photograph and, beside it, the features of a teacher in the colours of their principal components.
///
/// # Errors
/// If the teacher cannot take the image, or its map has too few cells to find components.
pub fn draw_features(teacher: &dyn Teacher, photo: &RgbImage) -> Result<RgbImage> {
    let (width, height) = photo.dimensions();
    let map = teacher.features(&Images::new(1, height as usize, width as usize, photo.as_raw().clone())?)?;
    let (_, rows, columns, channels) = map.tokens.dims4()?;
    let features: Vec<f32> = map.tokens.flatten_all()?.to_vec1()?;
    let basis = ColourBasis::fit(&features, channels).ok_or_else(|| {
        TrainError::Config(format!(
            "a map of {columns}x{rows} cells is too small to draw: take a larger image"
        ))
    })?;
    let mut cells = RgbImage::new(columns as u32, rows as u32);
    for (cell, feature) in cells.pixels_mut().zip(features.chunks_exact(channels)) {
        *cell = Rgb(basis.colour(feature));
    }
    let mut picture = RgbImage::from_pixel(2 * width + GAP, height, PAPER);
    image::imageops::replace(&mut picture, photo, 0, 0);
    let cells = image::imageops::resize(&cells, width, height, FilterType::Nearest);
    image::imageops::replace(&mut picture, &cells, i64::from(width + GAP), 0);
    Ok(picture)
}

/// Photo, teacher and student side by side.
fn row(frame: &HeldOutFrame, model: &Model, student: &Inference, basis: &ColourBasis) -> Result<RgbImage> {
    let photo = &frame.batch.images[0];
    let (width, height) = photo.dimensions();
    let pixels = ppkt_student::unit_norm(&model.at_pixels(&frame.map, &every_pixel(frame), Pass::Infer)?)?;
    let dimensions = pixels.dim(1)?;
    let pixels: Vec<f32> = pixels.flatten_all()?.to_vec1()?;
    let mut teacher = RgbImage::new(width, height);
    for (pixel, embedding) in teacher.pixels_mut().zip(pixels.chunks_exact(dimensions)) {
        *pixel = Rgb(basis.colour(embedding));
    }
    let voxels = ppkt_student::unit_norm(student.forward(&frame.input.voxels)?.features())?;
    let points: Vec<f32> =
        Model::at_points(&voxels, &frame.input, &frame.batch.pairs)?.flatten_all()?.to_vec1()?;
    let mut student = RgbImage::from_pixel(width, height, UNSEEN);
    for (pair, embedding) in frame.batch.pairs.iter().zip(points.chunks_exact(dimensions)) {
        let (x, y) = (pair.u as u32, pair.v as u32);
        if x < width && y < height {
            student.put_pixel(x, y, Rgb(basis.colour(embedding)));
        }
    }
    let factor = LEAST_WIDTH.div_ceil(width).max(1);
    let mut picture = RgbImage::from_pixel(3 * width * factor + 2 * GAP, height * factor, PAPER);
    for (i, panel) in [photo, &teacher, &student].into_iter().enumerate() {
        let panel = image::imageops::resize(panel, width * factor, height * factor, FilterType::Nearest);
        image::imageops::replace(&mut picture, &panel, i64::from(i as u32 * (width * factor + GAP)), 0);
    }
    Ok(picture)
}

/// Rows below one line of captions.
fn captioned(rows: &[RgbImage], captions: &[&str; 3]) -> RgbImage {
    let width = rows.iter().map(RgbImage::width).max().unwrap_or(1);
    let height: u32 = rows.iter().map(|r| r.height() + GAP).sum();
    let mut canvas = Canvas(RgbImage::from_pixel(width, CAPTION + height, PAPER));
    let style = MonoTextStyle::new(&FONT_7X13, Rgb888::new(40, 40, 40));
    for (i, caption) in captions.iter().enumerate() {
        let x = i as u32 * (width + GAP) / 3 + 4;
        // Drawing on a canvas cannot fail; its error type has no values.
        let Ok(_) =
            Text::with_baseline(caption, Point::new(x as i32, 3), style, Baseline::Top).draw(&mut canvas);
    }
    let mut y = CAPTION;
    for row in rows {
        image::imageops::replace(&mut canvas.0, row, 0, i64::from(y));
        y += row.height() + GAP;
    }
    canvas.0
}

/// An image that text can be drawn on.
struct Canvas(RgbImage);

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = embedded_graphics::Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Self::Error> {
        for embedded_graphics::Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y))
                && x < self.0.width()
                && y < self.0.height()
            {
                self.0.put_pixel(x, y, Rgb([colour.r(), colour.g(), colour.b()]));
            }
        }
        Ok(())
    }
}

fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let encoded = picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png);
    encoded.map_err(|e| TrainError::io("encode the picture", path, std::io::Error::other(e)))?;
    write_atomically(path, |f| std::io::Write::write_all(f, &bytes))
}

/// A frame's name with everything that is not safe in a file name replaced.
pub fn file_name(frame: &str) -> String {
    let safe: String =
        frame.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    safe.trim_matches(['.', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_for_files() {
        assert_eq!(file_name("room 3/../frame:2"), "room_3_.._frame_2");
    }

    #[test]
    fn captions_are_drawn_above_the_rows() {
        let row = RgbImage::from_pixel(972, 10, Rgb([1, 2, 3]));
        let picture = captioned(&[row.clone(), row], &["a", "b", "c"]);
        assert_eq!(picture.dimensions(), (972, CAPTION + 2 * (10 + GAP)));
        assert_eq!(picture.get_pixel(0, CAPTION), &Rgb([1, 2, 3]));
        assert!(picture.rows().take(CAPTION as usize).flatten().any(|p| p == &Rgb([40, 40, 40])));
    }
}
