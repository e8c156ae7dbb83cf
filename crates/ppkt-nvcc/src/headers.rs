//! The headers that come with the crate.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Names and texts; what `kernel.cuh` includes on a GPU is CUDA's own.
const HEADERS: [(&str, &str); 3] = [
    ("kernel.cuh", include_str!("../include/kernel.cuh")),
    ("emulated.h", include_str!("../include/emulated.h")),
    ("emulated_intrinsics.h", include_str!("../include/emulated_intrinsics.h")),
];

/// Writes the headers to a new folder of `parent`, and returns the folder.
pub(crate) fn write(parent: &Path) -> io::Result<PathBuf> {
    let folder = parent.join("ppkt-nvcc-include");
    fs::create_dir_all(&folder)?;
    for (name, text) in HEADERS {
        fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}
