//! Checkpoints of PyTorch (`.pth`, `.pt`, `.bin`): a pickle that describes tensors, and records with their numbers.
//!
//! Since PyTorch 1.6 the two are parts of an uncompressed zip file; before, they followed one another. Both are read, and
//! of both the tensors only.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use candle_core::pickle::Object;
use zip::{CompressionMethod, ZipArchive};

use super::entry::Entry;
use super::pickle::{self, Described};
use crate::error::TeacherError;

/// How a file of before PyTorch 1.6 begins: a pickle of the number 0x1950a86a20f9469cfc6c.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Where the numbers of each record lie in the file.
type Records = HashMap<String, Range<usize>>;

/// Whether the bytes begin as some file of PyTorch does, and so are no safetensors file.
pub(super) fn looks_like_one(bytes: &[u8]) -> bool {
    // Any other pickle; a safetensors header may begin with the same two bytes, but has a brace in the ninth place.
    let pickle =
        bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|v| *v < 6) && bytes.get(8) != Some(&b'{');
    bytes.starts_with(b"PK\x03\x04") || pickle || bytes.get(257..262) == Some(b"ustar")
}

/// All tensors of file number `file`.
pub(super) fn entries(bytes: &[u8], path: &Path, file: usize) -> Result<Vec<Entry>, TeacherError> {
    let read = if bytes.starts_with(b"PK") {
        read_zip(bytes)
    } else if bytes.starts_with(OLD) {
        read_old(bytes)
    } else if bytes.first() == Some(&0x80) {
        Err("it is a pickle that torch.save has not written".to_owned())
    } else {
        Err("it is an archive, as PyTorch wrote before 2017".to_owned())
    };
    let wrong = |reason: String| TeacherError::NotCheckpoint { reason, path: path.to_owned() };
    let (object, records) = read.map_err(wrong)?;
    let tensors = pickle::tensors(&object);
    if let (true, Some(class)) = (tensors.is_empty(), pickle::class_of(&object)) {
        return Err(wrong(format!("it holds a Python object of class {class}, which only Python can open")));
    }
    let entry = |(name, tensor)| place(name, tensor, &records, file).map_err(wrong);
    tensors.into_iter().map(entry).collect()
}

/// A tensor's place in the file.
fn place(name: String, tensor: Described, records: &Records, file: usize) -> Result<Entry, String> {
    let Described { dtype, record, record_len, offset, shape, strides } = tensor;
    let size = dtype.bitsize() / 8;
    let cut = || format!("tensor {name:?} reaches beyond its data");
    let data = records.get(&record).ok_or_else(|| format!("the data of tensor {name:?} are missing"))?;
    let empty = shape.contains(&0);
    let last = shape
        .iter()
        .zip(&strides)
        .try_fold(0usize, |last, (d, s)| last.checked_add(d.saturating_sub(1).checked_mul(*s)?));
    let len = if empty { Some(0) } else { last.and_then(|last| last.checked_add(1)) };
    let end = len.and_then(|len| offset.checked_add(len)).filter(|end| *end <= record_len).ok_or_else(cut)?;
    if data.len() / size < end {
        return Err(cut());
    }
    let bytes = data.start + offset * size..data.start + end * size;
    let rows = shape
        .iter()
        .zip(&strides)
        .rev()
        .try_fold(1, |next, (&d, &s)| (d == 1 || s == next).then(|| next * d));
    let strides = if empty || rows.is_some() { None } else { Some(strides) };
    Ok(Entry { name, dtype, shape, strides, file, bytes })
}

/// A zip file: `NAME/data.pkl`, and `NAME/data/0`, `NAME/data/1`, … with the numbers.
fn read_zip(bytes: &[u8]) -> Result<(Object, Records), String> {
    let damaged = |_| "it is cut off or no zip file".to_owned();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let (mut parts, mut program) = (Records::new(), false);
    for i in 0..archive.len() {
        let part = archive.by_index_raw(i).map_err(damaged)?;
        // The first folder has the name of the file when it was saved.
        let name = part.name().map_err(damaged)?;
        let name = name.split_once('/').map_or(&*name, |(_, name)| name).to_owned();
        program |= name.starts_with("code/");
        if part.compression() != CompressionMethod::Stored || part.encrypted() {
            return Err(format!("its part {name:?} is compressed, which torch.save never does"));
        }
        let whole = |start: u64| {
            let (start, len) = (usize::try_from(start).ok()?, usize::try_from(part.size()).ok()?);
            start.checked_add(len).filter(|end| *end <= bytes.len()).map(|end| start..end)
        };
        let range =
            part.data_start().and_then(whole).ok_or_else(|| format!("its part {name:?} is cut off"))?;
        parts.insert(name, range);
    }
    if program {
        return Err("it is a TorchScript program; its state_dict can be saved from Python".to_owned());
    }
    if parts.get("byteorder").is_some_and(|range| &bytes[range.clone()] != b"little") {
        return Err("its numbers have their largest byte first".to_owned());
    }
    let described = parts.get("data.pkl").ok_or("it is a zip file without data.pkl, the list of tensors")?;
    let object = pickle::read(&mut &bytes[described.clone()])?;
    let record =
        |(name, range): (String, Range<usize>)| Some((name.strip_prefix("data/")?.to_owned(), range));
    Ok((object, parts.into_iter().filter_map(record).collect()))
}

/// A file of before PyTorch 1.6: pickles of a magic number, a version, the machine's numbers, the tensors, and the names
/// of the records; then for each record its length and its numbers.
fn read_old(bytes: &[u8]) -> Result<(Object, Records), String> {
    let mut rest = &bytes[OLD.len()..];
    let _version = pickle::read(&mut rest)?;
    let machine = pickle::read(&mut rest)?;
    let little = |(key, value): &(Object, Object)| {
        *key == Object::Unicode("little_endian".to_owned()) && *value == Object::Bool(false)
    };
    if matches!(&machine, Object::Dict(items) if items.iter().any(little)) {
        return Err("its numbers have their largest byte first".to_owned());
    }
    let object = pickle::read(&mut rest)?;
    let Object::List(names) = pickle::read(&mut rest)? else {
        return Err("the names of its records are no list".to_owned());
    };
    let sizes: HashMap<String, usize> =
        pickle::tensors(&object).into_iter().map(|(_, t)| (t.record, t.dtype.bitsize() / 8)).collect();
    let mut records = Records::new();
    for name in names {
        let Object::Unicode(name) = name else { return Err("a record has no name".to_owned()) };
        let cut = || format!("it ends before or within record {name:?}");
        let (len, numbers) = rest.split_first_chunk().ok_or_else(cut)?;
        // The length is in numbers, and only a tensor says how long these are.
        let size =
            sizes.get(&name).ok_or_else(|| format!("record {name:?} belongs to no tensor that is read"))?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok().and_then(|n| n.checked_mul(*size));
        let start = bytes.len() - numbers.len();
        let end =
            len.and_then(|len| start.checked_add(len)).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        records.insert(name, start..end);
        rest = &bytes[end..];
    }
    Ok((object, records))
}
