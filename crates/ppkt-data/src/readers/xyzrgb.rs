//! Clouds as text: `x y z r g b` a line, metres and 0 to 255.
//!
//! A published dataset can have a few damaged lines that every user trips over (a stray byte in place of a space, or
//! within a number). A line that has one sensible reading is repaired, another left out; both are told. Many damaged
//! lines mean another kind of file, and are an error.

use std::path::Path;

use crate::DataError;

/// Damaged lines that are passed over: a file may have this many, or this share of its lines, whichever is more.
const FEW_LINES: usize = 10;
const FEW_SHARE: f64 = 1e-4;
/// Powers of ten that f64 holds exactly.
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The points of a text.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PointText {
    /// Metres.
    pub(crate) points: Vec<[f32; 3]>,
    /// Red, green, blue, 0 to 1.
    pub(crate) colours: Vec<[f32; 3]>,
    /// Numbers of damaged lines that have one sensible reading, from 1.
    pub(crate) repaired: Vec<usize>,
    /// Numbers of damaged lines that have none, from 1.
    pub(crate) left_out: Vec<usize>,
}

impl PointText {
    /// What a user should know of damaged lines.
    pub(crate) fn remark(&self, path: &Path) -> Option<String> {
        let file = path.file_name().unwrap_or_default();
        let of = |lines: &[usize], what: &str| {
            let first: Vec<String> = lines.iter().take(3).map(usize::to_string).collect();
            let more = if lines.len() > 3 { ", …" } else { "" };
            format!("{} damaged line(s) {what} (line {}{more})", lines.len(), first.join(", "))
        };
        let parts: Vec<String> = [(&self.repaired, "repaired"), (&self.left_out, "left out")]
            .into_iter()
            .filter(|(lines, _)| !lines.is_empty())
            .map(|(lines, what)| of(lines, what))
            .collect();
        (!parts.is_empty()).then(|| format!("{} in {file:?}", parts.join(" and ")))
    }
}

/// Reads all points of a text.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<PointText, DataError> {
    let wrong = |problem: String| DataError::Text { what: "cloud", problem, path: path.to_owned() };
    // Lines are rarely shorter than 30 bytes; a file of nonsense must not reserve more than it has.
    let guess = bytes.len() / 30 + 1;
    let mut text = PointText {
        points: Vec::with_capacity(guess),
        colours: Vec::with_capacity(guess),
        ..PointText::default()
    };
    let mut lines = bytes.split(|b| *b == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let row = match fast(line) {
            Some(row) => row,
            None if line.iter().all(u8::is_ascii_whitespace) => continue,
            None if lines.peek().is_none() => {
                return Err(wrong(format!(
                    "it ends in the middle of line {}; fetch or unpack it again",
                    index + 1
                )));
            }
            None => match repair(line) {
                Some(row) => {
                    text.repaired.push(index + 1);
                    row
                }
                None => {
                    text.left_out.push(index + 1);
                    let many = text.left_out.len() > FEW_LINES;
                    if many && text.left_out.len() as f64 > FEW_SHARE * bytes.len() as f64 / 30.0 {
                        return Err(wrong(format!(
                            "line {} and others are not x y z r g b, in metres and 0 to 255",
                            text.left_out[0]
                        )));
                    }
                    continue;
                }
            },
        };
        text.points.push([row[0] as f32, row[1] as f32, row[2] as f32]);
        text.colours.push([3, 4, 5].map(|c| (row[c] / 255.0) as f32));
    }
    // A short file of nothing but nonsense has no point to judge by.
    if text.points.is_empty() && !text.left_out.is_empty() {
        return Err(wrong(format!("line {} is not x y z r g b, in metres and 0 to 255", text.left_out[0])));
    }
    Ok(text)
}

/// Six numbers, if the line is just these and they are sensible.
fn fast(line: &[u8]) -> Option<[f64; 6]> {
    let mut row = [0f64; 6];
    let mut at = 0;
    for (column, value) in row.iter_mut().enumerate() {
        while matches!(line.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        let end =
            at + line[at..].iter().position(|b| matches!(b, b' ' | b'\t' | b'\r')).unwrap_or(line.len() - at);
        *value = number(&line[at..end])?;
        if column >= 3 && !(0.0..=255.0).contains(value) {
            return None;
        }
        at = end;
    }
    line[at..].iter().all(u8::is_ascii_whitespace).then_some(row)
}

/// A finite number. Up to 15 digits are exact in an f64, and so is the power of ten: one rounding, as it should be.
fn number(token: &[u8]) -> Option<f64> {
    let (negative, digits) = match token {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, token),
    };
    let (mut mantissa, mut n, mut point) = (0u64, 0usize, None);
    for &b in digits {
        match b {
            b'0'..=b'9' if n < 15 => {
                mantissa = mantissa * 10 + u64::from(b - b'0');
                n += 1;
            }
            b'.' if point.is_none() => point = Some(n),
            // An exponent, more digits, or no number at all.
            _ => return std::str::from_utf8(token).ok()?.parse().ok().filter(|v: &f64| v.is_finite()),
        }
    }
    if n == 0 {
        return None;
    }
    let value = mantissa as f64 / TENS[n - point.unwrap_or(n)];
    Some(if negative { -value } else { value })
}

/// The one sensible reading of a damaged line: stray bytes as spaces, or taken away, or a space lost between two
/// colours. `None` where there is none, or more than one.
fn repair(line: &[u8]) -> Option<[f64; 6]> {
    let fine = |b: &u8| b.is_ascii_digit() || matches!(b, b' ' | b'\t' | b'\r' | b'.' | b'-' | b'+');
    let as_spaces: Vec<u8> = line.iter().map(|b| if fine(b) { *b } else { b' ' }).collect();
    let without: Vec<u8> = line.iter().copied().filter(fine).collect();
    let readings = [fast(&as_spaces), fast(&without), fast(&split_colours(&without)?)];
    let mut readings = readings.into_iter().flatten();
    let first = readings.next()?;
    readings.all(|r| r == first).then_some(first)
}

/// Puts the space back that was lost between two colours written as whole numbers, where there is one place for it;
/// any other line as it is.
fn split_colours(line: &[u8]) -> Option<Vec<u8>> {
    let tokens: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|t| !t.is_empty()).collect();
    let digits = |t: &[u8]| t.len() > 3 && t.iter().all(u8::is_ascii_digit);
    let Some(joined) = tokens.iter().position(|t| digits(t)).filter(|at| *at >= 3 && tokens.len() == 5)
    else {
        return Some(line.to_vec());
    };
    let colour = |t: &[u8]| (t.len() == 1 || t[0] != b'0') && number(t).is_some_and(|v| v <= 255.0);
    let token = tokens[joined];
    let mut places = (1..token.len()).filter(|at| colour(&token[..*at]) && colour(&token[*at..]));
    let place = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let mut parts = tokens.clone();
    parts.splice(joined..=joined, [&token[..place], &token[place..]]);
    Some(parts.join(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<PointText, DataError> {
        parse(text, Path::new("ceiling_1.txt"))
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for text in [
            "0",
            "-0.0",
            "22.348",
            "-15.609",
            "+3.5",
            ".5",
            "5.",
            "1e3",
            "-2.5E-3",
            "123456789012345",
            "0.1",
            "1234567890123456789.125",
            "255.000000",
            "39.505000000000003",
        ] {
            let want: f64 = text.parse().unwrap();
            assert_eq!(number(text.as_bytes()).map(f64::to_bits), Some(want.to_bits()), "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "nan", "inf", "1e999", "12a", "--1", "0x10"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lines_of_both_published_forms_are_read() {
        let text = read(b"22.348 -6.692 3.048 185 187 182\n\n1.0 2.0 3.0 0.000000 255.000000 51.000000\r\n")
            .unwrap();
        assert_eq!(text.points, [[22.348, -6.692, 3.048], [1.0, 2.0, 3.0]]);
        assert_eq!(text.colours[1], [0.0, 1.0, 0.2]);
        assert_eq!(text.remark(Path::new("x")), None);
        // The last line needs no end.
        assert_eq!(read(b"1 2 3 4 5 6").unwrap().points.len(), 1);
    }

    #[test]
    fn damaged_lines_are_repaired_where_there_is_one_reading() {
        for line in [
            &b"22.348 6.692 3.048 185\x10187 182"[..],
            b"22.348 6.692 3.048 185187 182",
            b"22.34\x108 6.692 3.048 185 187 182",
            b"22.348 6.692 3.048 185 1\xC3\xA987 182",
        ] {
            let text = read(&[b"1 2 3 4 5 6\n", line, b"\n1 2 3 4 5 6\n"].concat()).unwrap();
            assert_eq!(text.repaired, [2], "{line:?}");
            assert_eq!(text.points[1], [22.348, 6.692, 3.048]);
            assert_eq!(text.colours[1], [185.0, 187.0, 182.0].map(|c: f32| c / 255.0));
            let remark = text.remark(Path::new("a/ceiling_1.txt")).unwrap();
            assert!(remark.contains("repaired (line 2)") && remark.contains("ceiling_1.txt"), "{remark}");
        }
    }

    #[test]
    fn lines_without_one_reading_are_left_out_and_told() {
        for line in [
            &b"22.348 6.692 3.048 1212 182"[..],
            b"22.348 6.692",
            b"22.348 6.692 3.048 285 187 182",
            b"22.348 nan 3.048 185 187 182",
            b"1 2 3 4 5 6 7",
            b"name",
        ] {
            let text = read(&[b"1 2 3 4 5 6\n", line, b"\n1 2 3 4 5 6\n"].concat()).unwrap();
            assert_eq!((text.points.len(), text.left_out.as_slice()), (2, &[2][..]), "{line:?}");
            assert!(text.remark(Path::new("f")).unwrap().contains("left out (line 2)"));
        }
    }

    #[test]
    fn other_files_and_cut_ones_are_errors() {
        let cut = read(b"1 2 3 4 5 6\n1 2 3 4").unwrap_err().to_string();
        assert!(cut.contains("middle of line 2") && cut.contains("ceiling_1.txt"), "{cut}");
        let other = read("a b c\n".repeat(50).as_bytes()).unwrap_err().to_string();
        assert!(other.contains("line 1"), "{other}");
        assert!(read(b"solid cube\n").is_err());
        assert!(read(&[0xFF; 4096]).is_err());
        assert!(read(b"").unwrap().points.is_empty());
    }
}
