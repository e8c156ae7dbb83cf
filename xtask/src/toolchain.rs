//! What tasks for another machine than this one ask of the toolchain.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The cargo that runs this task.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What brings the standard library of a target, where it is not there.
pub(crate) fn missing_library(target: &str) -> Result<Option<String>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .context("rustc cannot be started")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim());
    Ok((!folder.is_dir()).then(|| format!("the standard library of {target}: rustup target add {target}")))
}

/// Puts a script in the place of a program that a check of types does not need.
pub(crate) fn stand_in(program: &Path, script: &str) -> Result<()> {
    // Written only once: what has used it is built again where it is newer.
    if std::fs::read_to_string(program).is_ok_and(|there| there == script) {
        return Ok(());
    }
    if let Some(folder) = program.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {folder:?}"))?;
    }
    std::fs::write(program, script).with_context(|| format!("cannot write {program:?}"))?;
    executable(program)
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {path:?} a program"))
}

#[cfg(not(unix))]
fn executable(path: &Path) -> Result<()> {
    anyhow::bail!("what stands in for a compiler is a script of a Unix shell: {path:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named_with_what_brings_it() {
        let missing = missing_library("m68k-unknown-linux-gnu").unwrap().unwrap();
        assert!(missing.ends_with("rustup target add m68k-unknown-linux-gnu"), "{missing}");
    }

    #[cfg(unix)]
    #[test]
    fn a_stand_in_runs_and_is_left_alone_once_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bin/cc");
        stand_in(&program, "#!/bin/sh\nexit 7\n").unwrap();
        assert_eq!(Command::new(&program).status().unwrap().code(), Some(7));
        let written = || std::fs::metadata(&program).unwrap().modified().unwrap();
        let before = written();
        stand_in(&program, "#!/bin/sh\nexit 7\n").unwrap();
        assert_eq!(written(), before);
    }
}
