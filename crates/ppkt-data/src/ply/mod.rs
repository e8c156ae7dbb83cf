//! PLY files of points: the vertices with whatever properties they have, read and written.
//!
//! The format is Greg Turk's (Stanford, 1994): a text header that names elements and their properties, then the values,
//! as text or as binary of either byte order. Only the element `vertex` is kept; what stands before it is stepped over,
//! faces included, and what follows is not read.

mod header;
mod sample;
mod values;

use std::path::Path;

use crate::DataError;
use crate::readers::read_bytes;

pub use sample::SampleCloud;

/// Files larger than this are not what they are said to be.
const MAX_BYTES: u64 = 4 << 30;

/// The vertices of a PLY file: named columns of numbers, all of one length.
///
/// ```
/// use ppkt_data::{Ply, PlyColumn};
///
/// let ply = Ply::new(2)
///     .with("x", PlyColumn::F32(vec![0.0, 1.5]))
///     .with("label", PlyColumn::U16(vec![3, 0]));
/// let read = Ply::parse(&ply.to_bytes()).unwrap();
/// assert_eq!(read.column("label"), Some(&PlyColumn::U16(vec![3, 0])));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ply {
    len: usize,
    columns: Vec<(String, PlyColumn)>,
    comments: Vec<String>,
}

/// One property of all vertices, in the type that the file has it in.
#[derive(Clone, Debug, PartialEq)]
pub enum PlyColumn {
    /// `char`
    I8(Vec<i8>),
    /// `uchar`
    U8(Vec<u8>),
    /// `short`
    I16(Vec<i16>),
    /// `ushort`
    U16(Vec<u16>),
    /// `int`
    I32(Vec<i32>),
    /// `uint`
    U32(Vec<u32>),
    /// `float`
    F32(Vec<f32>),
    /// `double`
    F64(Vec<f64>),
}

/// Does the same with the values of a column, whatever their type.
macro_rules! each {
    ($column:expr, $values:ident => $body:expr) => {
        match $column {
            $crate::ply::PlyColumn::I8($values) => $body,
            $crate::ply::PlyColumn::U8($values) => $body,
            $crate::ply::PlyColumn::I16($values) => $body,
            $crate::ply::PlyColumn::U16($values) => $body,
            $crate::ply::PlyColumn::I32($values) => $body,
            $crate::ply::PlyColumn::U32($values) => $body,
            $crate::ply::PlyColumn::F32($values) => $body,
            $crate::ply::PlyColumn::F64($values) => $body,
        }
    };
}

impl PlyColumn {
    /// Number of values.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as 64-bit numbers, in which every type of the format is exact.
    #[expect(clippy::useless_conversion, reason = "one arm of eight is 64-bit already")]
    pub fn to_f64(&self) -> Vec<f64> {
        each!(self, values => values.iter().map(|&v| f64::from(v)).collect())
    }

    /// The values as whole numbers of 0 to 65535; `None` if one of them is not.
    #[expect(clippy::useless_conversion, reason = "one arm of eight is 64-bit already")]
    pub fn to_u16(&self) -> Option<Vec<u16>> {
        let whole = |v: f64| (v.fract() == 0.0 && (0.0..=65_535.0).contains(&v)).then_some(v as u16);
        each!(self, values => values.iter().map(|&v| whole(f64::from(v))).collect())
    }
}

impl Ply {
    /// `len` vertices without any property yet.
    pub fn new(len: usize) -> Self {
        Self { len, columns: Vec::new(), comments: Vec::new() }
    }

    /// Adds a property.
    ///
    /// # Panics
    /// If the column has another length than there are vertices, the name is taken, or it is not one word.
    #[must_use]
    pub fn with(mut self, name: &str, column: PlyColumn) -> Self {
        assert_eq!(column.len(), self.len, "property {name} of {} vertices", self.len);
        assert!(self.column(name).is_none(), "property {name} is there already");
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()), "property {name:?}");
        self.columns.push((name.to_owned(), column));
        self
    }

    /// Adds a line that means nothing to the format.
    ///
    /// # Panics
    /// If it is more than one line.
    #[must_use]
    pub fn with_comment(mut self, text: &str) -> Self {
        assert!(!text.contains(['\r', '\n']), "a comment is one line, not {text:?}");
        self.comments.push(text.trim().to_owned());
        self
    }

    /// The comments of the header.
    pub fn comments(&self) -> &[String] {
        &self.comments
    }

    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A property by its name.
    pub fn column(&self, name: &str) -> Option<&PlyColumn> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, column)| column)
    }

    /// All properties, in the order of the file.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &PlyColumn)> {
        self.columns.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// All properties, in the order of the file, to keep.
    pub(crate) fn into_columns(self) -> Vec<(String, PlyColumn)> {
        self.columns
    }

    /// Reads the vertices of a file.
    ///
    /// # Errors
    /// If the file cannot be read, or is no PLY file, or ends too early; the error names it.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = read_bytes(path, "point cloud", MAX_BYTES)?;
        Self::parse(&bytes).map_err(|problem| DataError::Text {
            what: "point cloud",
            problem,
            path: path.to_owned(),
        })
    }

    /// The vertices of a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (header, body) = header::parse(bytes)?;
        values::vertices(&header, body)
    }

    /// The file, binary and little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = String::from("ply\nformat binary_little_endian 1.0\n");
        for comment in &self.comments {
            bytes += &format!("comment {comment}\n");
        }
        bytes += &format!("element vertex {}\n", self.len);
        for (name, column) in &self.columns {
            bytes += &format!("property {} {name}\n", header::Scalar::of(column).name());
        }
        bytes += "end_header\n";
        let mut bytes = bytes.into_bytes();
        for row in 0..self.len {
            for (_, column) in &self.columns {
                each!(column, values => bytes.extend(values[row].to_le_bytes()));
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> Ply {
        Ply::new(2)
            .with("a", PlyColumn::I8(vec![-128, 127]))
            .with("b", PlyColumn::U8(vec![0, 255]))
            .with("c", PlyColumn::I16(vec![-32_768, 32_767]))
            .with("d", PlyColumn::U16(vec![0, 65_535]))
            .with("e", PlyColumn::I32(vec![i32::MIN, i32::MAX]))
            .with("f", PlyColumn::U32(vec![0, u32::MAX]))
            .with("g", PlyColumn::F32(vec![-0.1, f32::MAX]))
            .with("h", PlyColumn::F64(vec![-0.1, f64::MAX]))
            .with_comment("of two points")
    }

    #[test]
    fn what_is_written_is_read() {
        let ply = every_type();
        assert_eq!(Ply::parse(&ply.to_bytes()).unwrap(), ply);
        assert_eq!(Ply::parse(&Ply::new(0).to_bytes()).unwrap(), Ply::new(0));
    }

    /// By hand, in the three forms, with other elements before and after and the other names of the types.
    #[test]
    fn three_forms_of_one_file() {
        let header = |format: &str| {
            format!(
                "ply\r\nformat {format} 1.0\r\ncomment made by hand\r\nobj_info x\r\nelement face 2\r\n\
                 property list uint8 int32 vertex_indices\r\nproperty uchar flags\r\nelement vertex 2\r\n\
                 property float32 x\r\nproperty uint16 label\r\nelement rest 1\r\nproperty double t\r\nend_header\r\n"
            )
            .into_bytes()
        };
        let expected = Ply::new(2)
            .with("x", PlyColumn::F32(vec![0.5, -2.0]))
            .with("label", PlyColumn::U16(vec![258, 7]))
            .with_comment("made by hand");

        let text = [header("ascii"), b"3 0 1 2 9\n0 9\n0.5 258\n-2e0 7\n1.0\n".to_vec()].concat();
        assert_eq!(Ply::parse(&text).unwrap(), expected);

        let mut little = header("binary_little_endian");
        let mut big = header("binary_big_endian");
        for (bytes, reverse) in [(&mut little, false), (&mut big, true)] {
            let mut put = |value: &[u8]| match reverse {
                true => bytes.extend(value.iter().rev()),
                false => bytes.extend(value),
            };
            put(&[3]);
            (0..3i32).for_each(|i| put(&i.to_le_bytes()));
            put(&[9]);
            put(&[0]);
            put(&[9]);
            for (x, label) in [(0.5f32, 258u16), (-2.0, 7)] {
                put(&x.to_le_bytes());
                put(&label.to_le_bytes());
            }
        }
        assert_eq!(Ply::parse(&little).unwrap(), expected);
        assert_eq!(Ply::parse(&big).unwrap(), expected);
    }

    #[test]
    fn a_file_that_ends_anywhere_is_an_error_not_a_panic() {
        let whole = every_type().to_bytes();
        for end in 0..whole.len() {
            assert!(Ply::parse(&whole[..end]).is_err(), "cut to {end} bytes");
        }
    }

    #[test]
    fn nonsense_is_named() {
        let fault = |text: &str| Ply::parse(text.as_bytes()).unwrap_err();
        assert!(fault("solid stl").contains("begins"));
        assert!(fault("ply\nformat ascii 2.0\nend_header\n").contains("format"));
        assert!(fault("ply\nformat ascii 1.0\nend_header\n").contains("vertex"));
        assert!(fault("ply\nelement vertex 1\nproperty float x\nend_header\n").contains("format"));
        assert!(fault("ply\nformat ascii 1.0\nelement vertex -3\nend_header\n").contains("-3"));
        assert!(fault("ply\nformat ascii 1.0\nproperty float x\nend_header\n").contains("element"));
        assert!(
            fault("ply\nformat ascii 1.0\nelement vertex 1\nproperty half x\nend_header\n").contains("half")
        );
        let twice =
            "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n1 1";
        assert!(fault(twice).contains("twice"));
        let list = "ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n0";
        assert!(fault(list).contains("list"));
        let word = "ply\nformat ascii 1.0\nelement vertex 1\nproperty uchar x\nend_header\n300\n";
        assert!(fault(word).contains("300"));
    }

    /// A header that promises more than there is must not make the reader ask for memory.
    #[test]
    fn a_count_beyond_the_file_is_refused() {
        for format in ["ascii", "binary_little_endian"] {
            for count in ["18446744073709551615", "4000000000000"] {
                let text = format!(
                    "ply\nformat {format} 1.0\nelement vertex {count}\nproperty double x\nend_header\n1"
                );
                assert!(Ply::parse(text.as_bytes()).unwrap_err().contains("ends"), "{format} {count}");
            }
        }
        let text = "ply\nformat binary_little_endian 1.0\nelement f 99999999999\nelement vertex 1\nproperty uchar x\nend_header\n1";
        assert_eq!(Ply::parse(text.as_bytes()).unwrap().len(), 1);
        let text = "ply\nformat ascii 1.0\nelement vertex 99999999999999\nend_header\n";
        assert!(Ply::parse(text.as_bytes()).unwrap_err().contains("no property"));
    }

    #[test]
    fn columns_convert() {
        assert_eq!(PlyColumn::F64(vec![3.0, 65_535.0]).to_u16(), Some(vec![3, 65_535]));
        assert_eq!(PlyColumn::F64(vec![3.5]).to_u16(), None);
        assert_eq!(PlyColumn::I8(vec![-1]).to_u16(), None);
        assert_eq!(PlyColumn::F32(vec![f32::NAN]).to_u16(), None);
        assert_eq!(PlyColumn::I8(vec![-1]).to_f64(), [-1.0]);
    }
}
