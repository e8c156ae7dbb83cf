//! Where the libraries of CUDA are on a machine that was not set up for us.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that may hold libraries of CUDA, best first: what the user's environment names, those of Python's packages
/// (as PyTorch brings them), and where toolkits and containers put them.
pub(super) fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("LD_LIBRARY_PATH").map(|v| std::env::split_paths(&v).collect()).unwrap_or_default();
    folders.extend(of_python());
    for home in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os) {
        folders.extend(["lib64", "lib"].map(|l| Path::new(&home).join(l)));
    }
    folders.extend(
        ["/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib"].map(Into::into),
    );
    folders.retain(|f| f.is_dir());
    let mut seen = std::collections::HashSet::new();
    folders.retain(|f| seen.insert(f.clone()));
    folders
}

/// The folders of libraries of Python's `nvidia` packages.
fn of_python() -> Vec<PathBuf> {
    const PROGRAM: &str =
        "import glob, nvidia\nfor p in nvidia.__path__: print('\\n'.join(sorted(glob.glob(p + '/*/lib'))))";
    let Ok(output) = Command::new("python3").args(["-c", PROGRAM]).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

/// Libraries that an executable needs and that are not found in `folders` either.
pub(super) fn missing(executable: &Path, folders: &[PathBuf]) -> Vec<String> {
    let Ok(path) = std::env::join_paths(folders) else { return Vec::new() };
    let Ok(output) = Command::new("ldd").arg(executable).env("LD_LIBRARY_PATH", path).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| line.contains("not found"));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
