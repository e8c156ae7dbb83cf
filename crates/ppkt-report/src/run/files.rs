//! Reading files that may not be there.

use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{ReportError, Result};

/// Texts beyond this are not what they are said to be.
const MOST_BYTES: u64 = 256 << 20;

/// The bytes of a file, `None` if there is none.
pub(crate) fn bytes(path: &Path, what: &'static str) -> Result<Option<Vec<u8>>> {
    let fail = |source| ReportError::Read { what, path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(fail(std::io::Error::other(format!("it has more than {MOST_BYTES} bytes"))));
    }
    Ok(Some(bytes))
}

/// The text of a file, `None` if there is none.
pub(crate) fn text(path: &Path, what: &'static str) -> Result<Option<String>> {
    let Some(bytes) = bytes(path, what)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|e| {
        ReportError::damaged(what, path, format!("no text at byte {}", e.utf8_error().valid_up_to()))
    })?;
    Ok(Some(text))
}

/// A JSON file, `None` if there is none.
pub(crate) fn json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<Option<T>> {
    let Some(text) = text(path, what)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| ReportError::damaged(what, path, e))
}

/// A TOML file, `None` if there is none.
pub(crate) fn toml(path: &Path, what: &'static str) -> Result<Option<toml::Table>> {
    let Some(text) = text(path, what)? else { return Ok(None) };
    // The message of the parser has several lines with a drawing; one sentence is wanted.
    let problem = |e: toml::de::Error| {
        let line = e.span().map_or(1, |span| {
            1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&b| b == b'\n').count()
        });
        ReportError::damaged(what, path, format!("line {line}: {}", e.message()))
    };
    text.parse::<toml::Table>().map(Some).map_err(problem)
}
