//! Archives of arrays, as `numpy.savez` and `numpy.savez_compressed` write them.

use std::io::{Cursor, Read};

use flate2::Crc;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::npy::Array;
use super::{CloudFileOptions, MAX_BYTES, Table};

/// Names that points, colours and intensities go by.
const POINTS: [&str; 7] = ["points", "point", "xyz", "pos", "coord", "coords", "positions"];
const COLOURS: [&str; 5] = ["colors", "colours", "color", "colour", "rgb"];
const INTENSITY: [&str; 5] = ["intensity", "intensities", "reflectance", "remission", "strength"];

/// More arrays than this are no cloud.
const MOST_ARRAYS: usize = 1000;
/// Deflate makes nothing smaller than by this factor: an archive that promises more is a trap.
const MOST_DEFLATED: u64 = 1100;

/// The points of an archive.
pub(super) fn table(bytes: &[u8], options: &CloudFileOptions) -> Result<Table, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| format!("it is no archive of numpy, or cut off ({e})"))?;
    if archive.len() > MOST_ARRAYS {
        return Err(format!("it holds {} arrays, too many for a cloud", archive.len()));
    }
    let names = archive
        .file_names()
        .map(|name| name.map(|name| name.trim_end_matches(".npy").to_owned()))
        .collect::<Result<Vec<String>, _>>()
        .map_err(|e| format!("the names of its arrays cannot be read ({e})"))?;
    let place = |wanted: &str| names.iter().position(|name| name == wanted).unwrap_or(names.len());
    let find = |among: &[&str]| {
        names.iter().find(|name| among.iter().any(|known| name.eq_ignore_ascii_case(known))).cloned()
    };
    let points = match (find(&POINTS), names.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(format!(
                "which of its arrays are the points? it has {}; name one of them \"points\"",
                names.join(", ")
            ));
        }
    };
    let inside = |name: &str, problem: String| format!("in its array {name:?}: {problem}");
    let array = extract(&mut archive, place(&points), &points)?;
    let mut table = Array::parse(&array)
        .and_then(|array| array.table(options))
        .map_err(|problem| inside(&points, problem))?;
    drop(array);
    for (among, parts) in
        [(&COLOURS[..], &["red", "green", "blue"][..]), (&INTENSITY[..], &["intensity"][..])]
    {
        let Some(name) = find(among).filter(|name| *name != points) else { continue };
        let array = extract(&mut archive, place(&name), &name)?;
        let array = Array::parse(&array).map_err(|problem| inside(&name, problem))?;
        let n = table.len;
        let fits = match (array.shape.as_slice(), parts.len()) {
            (&[len], 1) | (&[len, 1], 1) => len == n,
            // A fourth channel is opacity, which no network takes.
            (&[len, 3 | 4], 3) => len == n,
            _ => false,
        };
        if !fits {
            return Err(format!(
                "its array {name:?} is {:?}, but its {n} points need [{n}, {}]",
                array.shape,
                parts.len()
            ));
        }
        for (i, part) in parts.iter().enumerate() {
            let column = array.column(i).map_err(|problem| inside(&name, problem))?;
            table.columns.retain(|(taken, _)| taken != part);
            table.columns.push(((*part).to_owned(), column));
        }
    }
    Ok(table)
}

/// The bytes of one array, with its checksum tested.
fn extract(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize, name: &str) -> Result<Vec<u8>, String> {
    let wrong = |problem: String| format!("its array {name:?} cannot be read: {problem}");
    let file = archive.by_index_raw(index).map_err(|e| wrong(e.to_string()))?;
    if file.encrypted() {
        return Err(wrong("it is encrypted".into()));
    }
    let (size, packed, crc, method) = (file.size(), file.compressed_size(), file.crc32(), file.compression());
    if size > MAX_BYTES || size / MOST_DEFLATED > packed {
        return Err(wrong(format!("it promises {size} bytes in {packed}")));
    }
    let mut values = Vec::new();
    // One byte more than promised shows a promise that is broken, and no more is read.
    let read = match method {
        CompressionMethod::STORE => file.take(size + 1).read_to_end(&mut values),
        CompressionMethod::DEFLATE => DeflateDecoder::new(file).take(size + 1).read_to_end(&mut values),
        other => return Err(wrong(format!("it is packed by {other}; save it with numpy.savez"))),
    };
    read.map_err(|e| wrong(format!("it is cut off or damaged ({e})")))?;
    let mut sum = Crc::new();
    sum.update(&values);
    match values.len() as u64 == size && sum.sum() == crc {
        true => Ok(values),
        false => Err(wrong("its bytes are not those that were saved".into())),
    }
}
