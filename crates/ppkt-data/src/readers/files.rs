//! Reading single files: photographs, depth and label pictures, texts; hostile ones too.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader, Limits, RgbImage};

use crate::DataError;

/// A picture's sides beyond this are refused before anything is allocated: larger ones exist in panoramas only,
/// and a damaged header easily claims billions of pixels.
const MAX_SIDE: u32 = 32_768;
/// What a decoder may allocate for one picture.
const MAX_PICTURE_BYTES: u64 = 1 << 30;
/// Files larger than this are not what they are said to be.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 30;
/// The same for texts: poses, lists, descriptors. The longest public trajectories have a few megabytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The same for clouds as text, of which rooms have many megabytes.
const MAX_CLOUD_BYTES: u64 = 8 << 30;

/// Bytes of a file that must be there, `what` naming it for messages.
pub(crate) fn read(path: &Path, what: &'static str, max_bytes: u64) -> Result<Vec<u8>, DataError> {
    let fail = |source| DataError::Read { what, path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(fail)?;
    if meta.is_dir() {
        return Err(fail(std::io::Error::other("it is a folder")));
    }
    if meta.len() > max_bytes {
        return Err(fail(std::io::Error::other(format!("{} bytes are too many for it", meta.len()))));
    }
    std::fs::read(path).map_err(fail)
}

/// Bytes of a large file: a cloud.
pub(crate) fn read_large(path: &Path, what: &'static str) -> Result<Vec<u8>, DataError> {
    read(path, what, MAX_CLOUD_BYTES)
}

/// Bytes of a file that was read to understand a folder.
pub(crate) fn read_description(path: &Path) -> Result<Vec<u8>, DataError> {
    read_large(path, "description of the dataset")
}

/// Text of a file, in UTF-8.
pub(crate) fn read_text(path: &Path, what: &'static str) -> Result<String, DataError> {
    let bytes = read(path, what, MAX_TEXT_BYTES)?;
    String::from_utf8(bytes).map_err(|e| DataError::Text {
        what,
        problem: format!("it is no UTF-8 text (byte {})", e.utf8_error().valid_up_to()),
        path: path.to_owned(),
    })
}

/// Decodes a photograph of any format that was compiled in, to 8-bit RGB. An orientation tag is not followed:
/// calibrations speak of the pixels as they are stored.
pub(crate) fn read_photo(path: &Path) -> Result<RgbImage, DataError> {
    Ok(decode(path, "photo")?.into_rgb8())
}

/// Decodes a photograph from its bytes; `path` is where they are from.
pub(crate) fn photo_of(bytes: &[u8], path: &Path) -> Result<RgbImage, DataError> {
    Ok(decode_bytes(bytes, path, "photo")?.into_rgb8())
}

/// Decodes a 16-bit grey picture: its width, height and values, row-major.
pub(crate) fn read_depth(path: &Path) -> Result<(u32, u32, Vec<u16>), DataError> {
    match decode(path, "depth image")? {
        DynamicImage::ImageLuma16(p) => Ok((p.width(), p.height(), p.into_raw())),
        other => Err(DataError::Image {
            what: "depth image",
            problem: format!("it is {}, but depth is 16-bit grey", kind(&other)),
            path: path.to_owned(),
        }),
    }
}

/// Decodes a grey picture of 8 or 16 bits: its width, height and values, row-major.
pub(crate) fn read_labels(path: &Path) -> Result<(u32, u32, Vec<u16>), DataError> {
    match decode(path, "label image")? {
        DynamicImage::ImageLuma8(p) => {
            Ok((p.width(), p.height(), p.into_raw().into_iter().map(u16::from).collect()))
        }
        DynamicImage::ImageLuma16(p) => Ok((p.width(), p.height(), p.into_raw())),
        other => Err(DataError::Image {
            what: "label image",
            problem: format!(
                "it is {}, but labels are 8-bit or 16-bit grey, one number a class",
                kind(&other)
            ),
            path: path.to_owned(),
        }),
    }
}

/// Width and height from a picture's header alone.
pub(crate) fn picture_size(path: &Path, what: &'static str) -> Result<(u32, u32), DataError> {
    let fail = |source| DataError::Read { what, path: path.to_owned(), source };
    let file = std::io::BufReader::new(std::fs::File::open(path).map_err(fail)?);
    let reader = ImageReader::new(file).with_guessed_format().map_err(fail)?;
    reader.into_dimensions().map_err(|e| undecodable(path, what, &e))
}

fn decode(path: &Path, what: &'static str) -> Result<DynamicImage, DataError> {
    decode_bytes(&read(path, what, MAX_FILE_BYTES)?, path, what)
}

fn decode_bytes(bytes: &[u8], path: &Path, what: &'static str) -> Result<DynamicImage, DataError> {
    if bytes.is_empty() {
        return Err(DataError::Image { what, problem: "it is empty".into(), path: path.to_owned() });
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| DataError::Read { what, path: path.to_owned(), source })?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_PICTURE_BYTES);
    reader.limits(limits);
    let format = reader.format();
    if format == Some(ImageFormat::Jpeg) && !jpeg_is_whole(bytes) {
        return Err(DataError::Image {
            what,
            problem: "the JPEG is truncated".into(),
            path: path.to_owned(),
        });
    }
    reader.decode().map_err(|e| undecodable(path, what, &e))
}

fn undecodable(path: &Path, what: &'static str, error: &image::ImageError) -> DataError {
    // The decoder's own words, without the line breaks that some of them have.
    let problem = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    DataError::Image { what, problem, path: path.to_owned() }
}

fn kind(picture: &DynamicImage) -> &'static str {
    match picture {
        DynamicImage::ImageLuma8(_) => "8-bit grey",
        DynamicImage::ImageLuma16(_) => "16-bit grey",
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => "8-bit colour (or a palette)",
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => "16-bit colour",
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => "32-bit colour",
        _ => "grey with transparency",
    }
}

/// Whether a JPEG reaches its end marker: the decoder fills what is missing with grey and says nothing.
///
/// Walks the segments instead of looking at the last two bytes, because cameras append data, and instead of
/// searching for the marker, because an embedded thumbnail has one too.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    const SCAN: u8 = 0xDA;
    let mut at = 2;
    while let (Some(0xFF), Some(&marker)) = (bytes.get(at), bytes.get(at + 1)) {
        match marker {
            END => return true,
            // Fill bytes, and markers that stand alone.
            0xFF => at += 1,
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            _ => {
                let (Some(&high), Some(&low)) = (bytes.get(at + 2), bytes.get(at + 3)) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                if marker == SCAN {
                    at = end_of_scan(bytes, at);
                }
            }
        }
    }
    false
}

/// The first marker after the compressed data that begins at `at` (a stuffed zero or a restart is none).
fn end_of_scan(bytes: &[u8], mut at: usize) -> usize {
    while at + 1 < bytes.len() {
        if bytes[at] == 0xFF && !matches!(bytes[at + 1], 0x00 | 0xD0..=0xD7 | 0xFF) {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, Luma};

    fn photo() -> RgbImage {
        RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * 4) as u8, (y * 5) as u8, (x * y) as u8]))
    }

    #[test]
    fn a_whole_jpeg_is_read_and_a_truncated_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        photo().save(&path).unwrap();
        assert_eq!(read_photo(&path).unwrap().dimensions(), (64, 48));
        let bytes = std::fs::read(&path).unwrap();
        for keep in [0, 1, 2, 3, 20, bytes.len() / 2, bytes.len() - 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let error = read_photo(&path).unwrap_err();
            assert!(matches!(error, DataError::Image { .. }), "{keep} bytes: {error}");
        }
        // What follows the end is no fault.
        std::fs::write(&path, [&bytes[..], b"appended"].concat()).unwrap();
        assert!(read_photo(&path).is_ok());
    }

    #[test]
    fn a_truncated_png_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        ImageBuffer::<Luma<u16>, _>::from_fn(64, 48, |x, y| Luma([(x * 100 + y * 7919) as u16]))
            .save(&path)
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(read_depth(&path).unwrap().2.len(), 64 * 48);
        for keep in [0, 1, 8, 30, bytes.len() / 2, bytes.len() * 9 / 10] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let error = read_depth(&path).unwrap_err();
            assert!(matches!(error, DataError::Image { .. }), "{keep} bytes: {error}");
        }
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        ImageBuffer::<Luma<u16>, _>::from_fn(16, 12, |x, y| Luma([(x * 100 + y) as u16]))
            .save(&path)
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5A;
            std::fs::write(&path, &damaged).unwrap();
            let _ = read_depth(&path);
        }
        let path = folder.path().join("a.jpg");
        photo().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(17) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xA5;
            std::fs::write(&path, &damaged).unwrap();
            let _ = read_photo(&path);
        }
    }

    #[test]
    fn a_header_that_claims_billions_of_pixels_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        std::fs::write(&path, png_claiming(2_000_000_000, 2_000_000_000)).unwrap();
        assert!(matches!(read_depth(&path).unwrap_err(), DataError::Image { .. }));
        // Within the sides allowed, but more memory than a picture may have.
        std::fs::write(&path, png_claiming(32_000, 32_000)).unwrap();
        assert!(matches!(read_depth(&path).unwrap_err(), DataError::Image { .. }));
    }

    /// A PNG of 16-bit grey with a right header, one small block of data, and nothing behind it.
    fn png_claiming(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = b"IHDR".to_vec();
        header.extend(width.to_be_bytes());
        header.extend(height.to_be_bytes());
        header.extend([16, 0, 0, 0, 0]);
        bytes.extend(13u32.to_be_bytes());
        bytes.extend(&header);
        bytes.extend(crc32(&header).to_be_bytes());
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 })
        })
    }

    #[test]
    fn the_kind_of_picture_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let grey = folder.path().join("grey.png");
        GrayImage::new(4, 4).save(&grey).unwrap();
        let error = read_depth(&grey).unwrap_err().to_string();
        assert!(error.contains("8-bit grey") && error.contains("16-bit"), "{error}");
        assert_eq!(read_labels(&grey).unwrap().2, [0; 16]);
        let colour = folder.path().join("colour.png");
        photo().save(&colour).unwrap();
        assert!(read_labels(&colour).unwrap_err().to_string().contains("palette"));
        std::fs::write(&colour, "not a picture").unwrap();
        assert!(matches!(read_photo(&colour).unwrap_err(), DataError::Image { .. }));
        assert!(matches!(read_photo(folder.path()).unwrap_err(), DataError::Read { .. }));
        assert!(matches!(read_photo(&folder.path().join("none")).unwrap_err(), DataError::Read { .. }));
    }

    #[test]
    fn sizes_come_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        photo().save(&path).unwrap();
        assert_eq!(picture_size(&path, "photo").unwrap(), (64, 48));
    }
}
