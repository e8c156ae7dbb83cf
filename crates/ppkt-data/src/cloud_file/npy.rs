//! Arrays of numpy. The header is read by `npyz`; what it promises is held against the file before memory is asked for.

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, TypeStr};

use super::{CloudFileOptions, Table, names_of_columns};
use crate::PlyColumn;

/// What numpy itself takes for a header, at most.
const MAX_HEADER: usize = 10_000;
/// Brackets within brackets that a header may have: the parser descends into each.
const MAX_DEPTH: usize = 16;

/// One array.
pub(super) struct Array<'a> {
    header: NpyHeader,
    /// Numbers along each axis.
    pub(super) shape: Vec<usize>,
    item: usize,
    values: &'a [u8],
}

/// The points of a file with one array.
pub(super) fn table(bytes: &[u8], options: &CloudFileOptions) -> Result<Table, String> {
    Array::parse(bytes)?.table(options)
}

impl<'a> Array<'a> {
    /// Reads the header and finds that the values are all there.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let begin = check_header(bytes)?;
        let header = NpyHeader::from_reader(bytes)
            .map_err(|e| format!("the header of its array cannot be understood ({e})"))?;
        if header.uses_pickled_array() {
            return Err("its array holds Python objects; save numbers, such as float32".into());
        }
        let item = header.dtype().num_bytes().unwrap_or(0);
        let axes = header.shape().iter().map(|&n| usize::try_from(n).ok());
        let shape: Option<Vec<usize>> = axes.collect();
        let product = |shape: &Vec<usize>| shape.iter().try_fold(item, |all, &n| all.checked_mul(n));
        let values = &bytes[begin..];
        match shape.as_ref().and_then(product) {
            // An axis of length zero would excuse any length of the others.
            Some(size) if size == values.len() => {}
            _ => {
                return Err(format!(
                    "its header promises an array of {:?} with {item} bytes each, and {} bytes follow; it is cut off \
                     or damaged",
                    header.shape(),
                    values.len()
                ));
            }
        }
        Ok(Self { header, shape: shape.unwrap_or_default(), item, values })
    }

    /// A table of an array `[n, columns]`, or `[n]` of a type with names.
    pub(super) fn table(&self, options: &CloudFileOptions) -> Result<Table, String> {
        let mut notes = Vec::new();
        let len = self.shape.first().copied().unwrap_or(0);
        let columns = match (self.header.dtype(), self.shape.as_slice()) {
            (DType::Record(fields), [_]) => {
                let mut begin = 0;
                let mut columns = Vec::new();
                for field in &fields {
                    // What is no plain number is not looked at.
                    if let DType::Plain(kind) = &field.dtype
                        && let Some(read) = Number::of(kind)
                    {
                        columns.push((field.name.clone(), read.column(self.values, self.item, begin, len)));
                    }
                    begin += field.dtype.num_bytes().unwrap_or(0);
                }
                columns
            }
            (DType::Plain(_), &[_, width]) => {
                let names = names_of_columns(width, options, &mut notes)?;
                let wanted = names.into_iter().enumerate().filter(|(_, name)| name != "_");
                wanted.map(|(i, name)| Ok((name, self.column(i)?))).collect::<Result<_, String>>()?
            }
            (_, shape) => {
                return Err(format!("its array is {shape:?}, but points are [n, columns]"));
            }
        };
        Ok(Table { len, columns, notes, intensity_max: None })
    }

    /// Column `i` of an array `[n, columns]`, or the whole of an array `[n]`.
    pub(super) fn column(&self, i: usize) -> Result<PlyColumn, String> {
        let DType::Plain(kind) = self.header.dtype() else {
            return Err("its array is no array of plain numbers".into());
        };
        let read = Number::of(&kind)
            .ok_or_else(|| format!("its array is of {kind}, but numbers are int, uint or float"))?;
        let width = self.shape.get(1).copied().unwrap_or(1);
        let len = self.shape.first().copied().unwrap_or(0);
        Ok(match self.header.order() {
            Order::C => read.column(self.values, self.item * width, self.item * i, len),
            Order::Fortran => read.column(self.values, self.item, self.item * i * len, len),
        })
    }
}

/// Where the values begin; refuses a header that would cost memory or stack to read.
fn check_header(bytes: &[u8]) -> Result<usize, String> {
    let none = || "it is no array of numpy: such a file begins with \\x93NUMPY".to_owned();
    let version = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(none)?.first().ok_or_else(none)?;
    let (begin, length) = match (version, bytes.get(8..12)) {
        (1, Some(&[a, b, ..])) => (10, usize::from(u16::from_le_bytes([a, b]))),
        (2 | 3, Some(&[a, b, c, d])) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(format!("its array is of version {version}, which is not known, or cut off")),
    };
    if length > MAX_HEADER {
        return Err(format!("the header of its array has {length} bytes, more than numpy itself reads"));
    }
    let text = bytes.get(begin..begin + length).ok_or("the header of its array is cut off")?;
    let mut depth = 0usize;
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err("the header of its array cannot be understood (brackets in brackets)".into());
        }
    }
    Ok(begin + length)
}

/// A type of numbers.
struct Number {
    kind: TypeChar,
    size: usize,
    big: bool,
}

impl Number {
    fn of(kind: &TypeStr) -> Option<Self> {
        let number = Self {
            kind: kind.type_char(),
            size: kind.num_bytes()?,
            big: kind.endianness() == Endianness::Big,
        };
        let known = match number.kind {
            TypeChar::Float => [4, 8].contains(&number.size),
            TypeChar::Int | TypeChar::Uint => [1, 2, 4, 8].contains(&number.size),
            _ => false,
        };
        known.then_some(number)
    }

    /// `len` numbers of `values`, the first at `begin`, each `stride` bytes after the one before.
    fn column(&self, values: &[u8], stride: usize, begin: usize, len: usize) -> PlyColumn {
        use TypeChar::{Float, Int};
        let (size, big) = (self.size, self.big);
        macro_rules! read {
            ($column:ident, $number:ty) => {
                read!($column, $number, |v| v)
            };
            ($column:ident, $number:ty, $convert:expr) => {
                PlyColumn::$column(
                    (0..len)
                        .map(|row| {
                            let mut bytes = [0; size_of::<$number>()];
                            let at = begin + row * stride;
                            bytes.copy_from_slice(&values[at..at + size]);
                            let value = if big {
                                <$number>::from_be_bytes(bytes)
                            } else {
                                <$number>::from_le_bytes(bytes)
                            };
                            $convert(value)
                        })
                        .collect(),
                )
            };
        }
        match (self.kind, size) {
            (Float, 4) => read!(F32, f32),
            (Float, _) => read!(F64, f64),
            (Int, 1) => read!(I8, i8),
            (Int, 2) => read!(I16, i16),
            (Int, 4) => read!(I32, i32),
            // numpy's usual whole numbers; beyond 53 bits they are no colours and no places.
            (Int, _) => read!(F64, i64, |v| v as f64),
            (_, 1) => read!(U8, u8),
            (_, 2) => read!(U16, u16),
            (_, 4) => read!(U32, u32),
            (_, _) => read!(F64, u64, |v| v as f64),
        }
    }
}
