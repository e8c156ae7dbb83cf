//! Numbers in text files: matrices, poses, intrinsics.

use std::path::Path;

use ppkt_geometry::Rigid3;

use super::files::read_text;
use crate::DataError;

/// All numbers of a text, separated by white space or commas; lines that begin with `#` are comments.
///
/// What C libraries print for "not a number" is read as NaN, so that a later check can name it.
pub(crate) fn numbers(text: &str) -> Result<Vec<f64>, String> {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
    lines.flat_map(|l| l.split([' ', '\t', ',', ';', '\r'])).filter(|t| !t.is_empty()).map(number).collect()
}

/// One number.
pub(crate) fn number(token: &str) -> Result<f64, String> {
    let lower = token.to_ascii_lowercase();
    if lower.contains("nan") || lower.contains("#ind") || lower.contains("#qn") {
        return Ok(f64::NAN);
    }
    token.parse().map_err(|_| format!("{token:?} is no number"))
}

/// Exactly `N` numbers from a file.
pub(crate) fn read_numbers<const N: usize>(path: &Path, what: &'static str) -> Result<[f64; N], DataError> {
    let wrong = |problem| DataError::Text { what, problem, path: path.to_owned() };
    let list = numbers(&read_text(path, what)?).map_err(wrong)?;
    let n = list.len();
    list.try_into().map_err(|_| wrong(format!("it has {n} numbers, but should have {N}")))
}

/// fx, fy, cx, cy from a file with a 3×3 or 4×4 matrix, or with just these four numbers.
pub(crate) fn read_intrinsics(path: &Path) -> Result<[f64; 4], DataError> {
    const WHAT: &str = "camera intrinsics";
    let wrong =
        |problem: &str| DataError::Text { what: WHAT, problem: problem.into(), path: path.to_owned() };
    let list = numbers(&read_text(path, WHAT)?).map_err(|p| wrong(&p))?;
    match *list.as_slice() {
        [fx, fy, cx, cy] => Ok([fx, fy, cx, cy]),
        [fx, skew, cx, a, fy, cy, b, c, one] => {
            let zero = [skew, a, b, c].iter().all(|v| v.abs() < 1e-6);
            if !zero || (one - 1.0).abs() > 1e-6 {
                return Err(wrong("it is no matrix of the form fx 0 cx, 0 fy cy, 0 0 1"));
            }
            Ok([fx, fy, cx, cy])
        }
        _ if list.len() == 16 => intrinsics_of(&list).map_err(|p| wrong(&p)),
        _ => Err(wrong("it should have nine numbers (a 3×3 matrix), 16 (4×4) or four (fx fy cx cy)")),
    }
}

/// fx, fy, cx, cy from the 16 numbers of a 4×4 matrix, row by row.
pub(crate) fn intrinsics_of(m: &[f64]) -> Result<[f64; 4], String> {
    let &[fx, skew, cx, a, b, fy, cy, c, d, e, one, f, g, h, i, last] = m else {
        return Err(format!("it has {} numbers, but a 4×4 matrix has 16", m.len()));
    };
    let zero = [skew, a, b, c, d, e, f, g, h, i].iter().all(|v| v.abs() < 1e-6);
    if !zero || (one - 1.0).abs() > 1e-6 || (last - 1.0).abs() > 1e-6 {
        return Err("it is no matrix of the form fx 0 cx 0, 0 fy cy 0, 0 0 1 0, 0 0 0 1".into());
    }
    Ok([fx, fy, cx, cy])
}

/// A pose from a file with a 4×4 matrix, row by row (three rows are enough).
pub(crate) fn read_pose<Dst, Src>(path: &Path, frame: &str) -> Result<Rigid3<Dst, Src>, DataError> {
    let wrong = |problem: String| DataError::Pose { frame: frame.into(), problem, path: path.to_owned() };
    let list = numbers(&read_text(path, "pose")?).map_err(wrong)?;
    pose_of_rows(&list).map_err(wrong)
}

/// A pose from the 16 (or 12) numbers of a matrix, row by row.
pub(crate) fn pose_of_rows<Dst, Src>(m: &[f64]) -> Result<Rigid3<Dst, Src>, String> {
    if m.len() != 16 && m.len() != 12 {
        return Err(format!("it has {} numbers, but a 4×4 matrix has 16", m.len()));
    }
    if let Some(last) = m.get(12..16)
        && last.iter().zip([0.0, 0.0, 0.0, 1.0]).any(|(got, want)| (got - want).abs() > 1e-6)
    {
        return Err(format!("the last row of the matrix is {last:?}, not 0 0 0 1; is it transposed?"));
    }
    let rows = [[m[0], m[1], m[2]], [m[4], m[5], m[6]], [m[8], m[9], m[10]]];
    Rigid3::from_rotation_rows(rows, [m[3], m[7], m[11]]).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppkt_geometry::frame::{Camera, World};

    fn pose(text: &str) -> Result<Rigid3<World, Camera>, String> {
        pose_of_rows(&numbers(text)?)
    }

    #[test]
    fn poses_are_read() {
        let m = "1 0 0 0.5\n0 0 -1 1.5\n0 1 0 2.5\n0 0 0 1\n";
        assert_eq!(pose(m).unwrap().to_tum()[..3], [0.5, 1.5, 2.5]);
        assert!(pose("1,0,0,0.5\r\n0,0,-1,1.5\r\n0,1,0,2.5\r\n").is_ok());
    }

    #[test]
    fn poses_that_are_none_say_why() {
        let nan = "nan nan nan nan -nan(ind) 1.#QNAN nan nan nan nan nan nan 0 0 0 1";
        assert!(pose(nan).unwrap_err().contains("finite"));
        assert!(pose("-inf 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1").unwrap_err().contains("finite"));
        assert!(pose("2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1").unwrap_err().contains("rotation"));
        assert!(pose("-1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1").unwrap_err().contains("rotation"));
        assert!(pose("1 0 0 0 0 1 0 0 0 0 1 0 5 6 7 1").unwrap_err().contains("transposed"));
        assert!(pose("1 2 3").unwrap_err().contains("3 numbers"));
        assert!(pose("one").unwrap_err().contains("no number"));
        assert!(pose("").is_err());
    }

    #[test]
    fn intrinsics_of_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.txt");
        for text in [
            "500 0 320\n0 501 240\n0 0 1\n",
            "500 0 320 0\n0 501 240 0\n0 0 1 0\n0 0 0 1\n",
            "# fx fy cx cy\n500 501 320 240",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_intrinsics(&path).unwrap(), [500.0, 501.0, 320.0, 240.0]);
        }
        for text in [
            "",
            "500 0 320 0 501 240 0 0 2",
            "500 3 320 0 501 240 0 0 1",
            "1 2 3",
            "5 0 3 0 0 5 2 0 0 0 1 0 0 0 9 1",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read_intrinsics(&path).unwrap_err(), DataError::Text { .. }), "{text}");
        }
    }
}
