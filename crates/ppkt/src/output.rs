//! The result of a command, on standard output.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes one line. A reader that has gone away (`ppkt … | head`) is no failure; a full disk is one.
pub(crate) fn line(text: Arguments<'_>) -> Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(e).context("cannot write the result to standard output")
        }
        _ => Ok(()),
    }
}

/// As `println!`, for functions that return a result.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))?
    };
}

pub(crate) use say;
