//! The values after the header of a PLY file.

use super::header::{Element, Format, Header, Kind, Scalar};
use super::{Ply, PlyColumn};

/// The vertices of a file, from its header and what follows that.
pub(super) fn vertices(header: &Header, body: &[u8]) -> Result<Ply, String> {
    let mut source: Box<dyn Source> = match header.format {
        Format::Ascii => {
            // What follows the vertices is not looked at, and may be anything.
            Box::new(Words(body))
        }
        Format::LittleEndian => Box::new(Binary { bytes: body, big: false }),
        Format::BigEndian => Box::new(Binary { bytes: body, big: true }),
    };
    for element in &header.elements {
        if element.name == "vertex" {
            let ply = read(element, source.as_mut())?;
            return Ok(Ply { comments: header.comments.clone(), ..ply });
        }
        skip(element, source.as_mut())?;
    }
    Err("it has no element `vertex`".into())
}

fn read(element: &Element, source: &mut dyn Source) -> Result<Ply, String> {
    if element.len > 0 && element.properties.is_empty() {
        return Err("its vertices have no property".into());
    }
    let mut scalars = Vec::with_capacity(element.properties.len());
    for (name, kind) in &element.properties {
        match kind {
            Kind::Scalar(scalar) => scalars.push(*scalar),
            Kind::List { .. } => return Err(format!("the property {name:?} of its vertices is a list")),
        }
    }
    // Before any memory is asked for: a damaged header promises what it likes.
    let row = scalars.iter().map(|s| source.least_bytes(*s)).fold(0, usize::saturating_add);
    if element.len.saturating_mul(row) > source.left().saturating_add(1) {
        return Err(format!("it ends before the last of its {} vertices", element.len));
    }
    let mut columns: Vec<PlyColumn> = scalars.iter().map(|s| empty(*s, element.len)).collect();
    for _ in 0..element.len {
        for column in &mut columns {
            source.push_to(column).map_err(|problem| at_a_vertex(&problem, element.len))?;
        }
    }
    let names = element.properties.iter().map(|(name, _)| name.clone());
    Ok(Ply { len: element.len, columns: names.zip(columns).collect(), comments: Vec::new() })
}

fn at_a_vertex(problem: &str, len: usize) -> String {
    format!("{problem} before the last of its {len} vertices")
}

/// Steps over an element that is not wanted.
fn skip(element: &Element, source: &mut dyn Source) -> Result<(), String> {
    // Nothing stands for an element without properties, however many there are.
    let len = if element.properties.is_empty() { 0 } else { element.len };
    for _ in 0..len {
        for (_, kind) in &element.properties {
            match kind {
                Kind::Scalar(scalar) => source.skip(*scalar, 1)?,
                Kind::List { count, item } => {
                    let mut one = empty(*count, 1);
                    source.push_to(&mut one)?;
                    let count = one.to_f64().first().copied().unwrap_or(0.0);
                    if count.is_nan() || count < 0.0 || count > source.left() as f64 {
                        return Err(format!("an element {:?} has a list of {count}", element.name));
                    }
                    source.skip(*item, count as usize)?;
                }
            }
        }
    }
    Ok(())
}

fn empty(scalar: Scalar, len: usize) -> PlyColumn {
    match scalar {
        Scalar::I8 => PlyColumn::I8(Vec::with_capacity(len)),
        Scalar::U8 => PlyColumn::U8(Vec::with_capacity(len)),
        Scalar::I16 => PlyColumn::I16(Vec::with_capacity(len)),
        Scalar::U16 => PlyColumn::U16(Vec::with_capacity(len)),
        Scalar::I32 => PlyColumn::I32(Vec::with_capacity(len)),
        Scalar::U32 => PlyColumn::U32(Vec::with_capacity(len)),
        Scalar::F32 => PlyColumn::F32(Vec::with_capacity(len)),
        Scalar::F64 => PlyColumn::F64(Vec::with_capacity(len)),
    }
}

/// Where numbers come from, one after another.
trait Source {
    /// Bytes that are left.
    fn left(&self) -> usize;
    /// Bytes that a number takes at least.
    fn least_bytes(&self, scalar: Scalar) -> usize;
    /// Steps over numbers.
    fn skip(&mut self, scalar: Scalar, count: usize) -> Result<(), String>;
    /// Appends the next number.
    fn push_to(&mut self, column: &mut PlyColumn) -> Result<(), String>;
}

struct Binary<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Binary<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (first, rest) = self.bytes.split_first_chunk::<N>().ok_or("it ends")?;
        self.bytes = rest;
        let mut value = *first;
        if self.big {
            value.reverse();
        }
        Ok(value)
    }
}

impl Source for Binary<'_> {
    fn left(&self) -> usize {
        self.bytes.len()
    }

    fn least_bytes(&self, scalar: Scalar) -> usize {
        scalar.size()
    }

    fn skip(&mut self, scalar: Scalar, count: usize) -> Result<(), String> {
        self.bytes = self.bytes.get(count.saturating_mul(scalar.size())..).ok_or("it ends too early")?;
        Ok(())
    }

    fn push_to(&mut self, column: &mut PlyColumn) -> Result<(), String> {
        match column {
            PlyColumn::I8(values) => values.push(i8::from_le_bytes(self.take()?)),
            PlyColumn::U8(values) => values.push(u8::from_le_bytes(self.take()?)),
            PlyColumn::I16(values) => values.push(i16::from_le_bytes(self.take()?)),
            PlyColumn::U16(values) => values.push(u16::from_le_bytes(self.take()?)),
            PlyColumn::I32(values) => values.push(i32::from_le_bytes(self.take()?)),
            PlyColumn::U32(values) => values.push(u32::from_le_bytes(self.take()?)),
            PlyColumn::F32(values) => values.push(f32::from_le_bytes(self.take()?)),
            PlyColumn::F64(values) => values.push(f64::from_le_bytes(self.take()?)),
        }
        Ok(())
    }
}

/// Words of a text, in any number of lines.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let text = self.0.trim_ascii_start();
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        match word.is_empty() {
            true => Err("it ends".into()),
            false => std::str::from_utf8(word).map_err(|_| "something is no text".into()),
        }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("{word:?} stands for a number of another type"))
    }
}

impl Source for Words<'_> {
    fn left(&self) -> usize {
        self.0.len()
    }

    fn least_bytes(&self, _: Scalar) -> usize {
        // A digit and what parts it from the next.
        2
    }

    fn skip(&mut self, _: Scalar, count: usize) -> Result<(), String> {
        (0..count).try_for_each(|_| self.next().map(|_| ()))
    }

    fn push_to(&mut self, column: &mut PlyColumn) -> Result<(), String> {
        match column {
            PlyColumn::I8(values) => values.push(self.number()?),
            PlyColumn::U8(values) => values.push(self.number()?),
            PlyColumn::I16(values) => values.push(self.number()?),
            PlyColumn::U16(values) => values.push(self.number()?),
            PlyColumn::I32(values) => values.push(self.number()?),
            PlyColumn::U32(values) => values.push(self.number()?),
            PlyColumn::F32(values) => values.push(self.number()?),
            PlyColumn::F64(values) => values.push(self.number()?),
        }
        Ok(())
    }
}
