//! The header of a PLY file.

use super::PlyColumn;

/// A header longer than this is none.
const MAX_HEADER: usize = 64 << 10;

/// How the values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Ascii,
    LittleEndian,
    BigEndian,
}

/// The type of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
}

/// The type of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar(Scalar),
    List { count: Scalar, item: Scalar },
}

#[derive(Debug)]
pub(super) struct Element {
    pub name: String,
    pub len: usize,
    pub properties: Vec<(String, Kind)>,
}

#[derive(Debug)]
pub(super) struct Header {
    pub format: Format,
    pub elements: Vec<Element>,
    pub comments: Vec<String>,
}

impl Scalar {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "char" | "int8" => Self::I8,
            "uchar" | "uint8" => Self::U8,
            "short" | "int16" => Self::I16,
            "ushort" | "uint16" => Self::U16,
            "int" | "int32" => Self::I32,
            "uint" | "uint32" => Self::U32,
            "float" | "float32" => Self::F32,
            "double" | "float64" => Self::F64,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::I8 => "char",
            Self::U8 => "uchar",
            Self::I16 => "short",
            Self::U16 => "ushort",
            Self::I32 => "int",
            Self::U32 => "uint",
            Self::F32 => "float",
            Self::F64 => "double",
        }
    }

    pub(super) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    pub(super) fn of(column: &PlyColumn) -> Self {
        match column {
            PlyColumn::I8(_) => Self::I8,
            PlyColumn::U8(_) => Self::U8,
            PlyColumn::I16(_) => Self::I16,
            PlyColumn::U16(_) => Self::U16,
            PlyColumn::I32(_) => Self::I32,
            PlyColumn::U32(_) => Self::U32,
            PlyColumn::F32(_) => Self::F32,
            PlyColumn::F64(_) => Self::F64,
        }
    }
}

/// The header, and the bytes that follow it.
pub(super) fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    let mut lines = Lines(bytes);
    if lines.next().map(str::trim_end) != Some("ply") {
        return Err("it is no PLY file: such a file begins with a line `ply`".into());
    }
    let mut format = None;
    let mut elements: Vec<Element> = Vec::new();
    let mut comments = Vec::new();
    loop {
        let rest = lines.0.len();
        if bytes.len() - rest > MAX_HEADER {
            return Err(format!("its header has no `end_header` within {MAX_HEADER} bytes"));
        }
        let line = lines.next().ok_or("its header ends before `end_header`")?.trim();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["comment", ..] => comments.push(line["comment".len()..].trim().to_owned()),
            [] | ["obj_info", ..] => {}
            ["format", name, "1.0"] => format = Some(format_named(name)?),
            ["format", ..] => return Err(format!("its format is not known: {line:?}")),
            ["element", name, len] => {
                let len = len.parse().map_err(|_| format!("it has {len:?} of element {name}"))?;
                elements.push(Element { name: (*name).to_owned(), len, properties: Vec::new() });
            }
            ["property", "list", count, item, name] => {
                let kind = Kind::List { count: scalar(count)?, item: scalar(item)? };
                add(&mut elements, name, kind)?;
            }
            ["property", kind, name] => add(&mut elements, name, Kind::Scalar(scalar(kind)?))?,
            ["end_header"] => break,
            _ => return Err(format!("its header has a line that is not understood: {line:?}")),
        }
    }
    let format = format.ok_or("its header names no format")?;
    Ok((Header { format, elements, comments }, lines.0))
}

fn format_named(name: &str) -> Result<Format, String> {
    match name {
        "ascii" => Ok(Format::Ascii),
        "binary_little_endian" => Ok(Format::LittleEndian),
        "binary_big_endian" => Ok(Format::BigEndian),
        _ => Err(format!("its format is not known: {name:?}")),
    }
}

fn scalar(name: &str) -> Result<Scalar, String> {
    Scalar::from_name(name).ok_or_else(|| format!("its header names a type that is not known: {name:?}"))
}

fn add(elements: &mut [Element], name: &str, kind: Kind) -> Result<(), String> {
    let element = elements.last_mut().ok_or("its header has a property before any element")?;
    if element.properties.iter().any(|(n, _)| n == name) {
        return Err(format!("its header names the property {name:?} twice"));
    }
    element.properties.push((name.to_owned(), kind));
    Ok(())
}

/// Lines of text from the front of bytes.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.iter().take(MAX_HEADER).position(|&b| b == b'\n')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(line).ok()
    }
}
