//! Reference vectors and comparisons for the tests of the workspace; not published.
//!
//! A reference test runs over *every* file of its kind: a kind is the first part of a file's name (`subm_`,
//! `ppnce_`, …), and sizes come from the file. The folder is `PPKT_REFERENCE`, or `../shared/reference` beside the
//! workspace; weights are looked for in `PPKT_WEIGHTS` (folders, separated as `PATH` is), or
//! `../shared/data/weights`. Where the default folder is absent a test prints that it is skipped; where the variable
//! is set, a kind without a file is a failure, so that a wrong path cannot look like a pass.

#[cfg(feature = "devices")]
mod bench;
#[cfg(feature = "devices")]
mod devices;
#[cfg(feature = "devices")]
mod emulated_gpu;

#[cfg(feature = "devices")]
pub use bench::{DeviceBench, Times};
#[cfg(feature = "devices")]
pub use devices::{devices, rows_allowed};
#[cfg(feature = "devices")]
pub use emulated_gpu::{EmulatedGpu, EmulatedMemory};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::tensor::{Dtype, SafeTensors};

/// The root of the workspace. Tests run in the folder of their crate, so a relative path from outside is taken from
/// here, where a user types it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder that may lie beside the workspace, with data, weights and reference numbers.
pub fn shared(relative: &str) -> PathBuf {
    root().join("../shared").join(relative)
}

/// A folder or file of the shared data, or `None` with a printed reason.
pub fn shared_or_skip(relative: &str) -> Option<PathBuf> {
    let path = shared(relative);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no {relative:?} in ../shared beside the workspace");
    None
}

/// Every reference file whose name begins with `kind`, at any depth, sorted; empty (with a printed reason) where
/// there is no reference folder.
///
/// # Panics
/// With `PPKT_REFERENCE` set, if no file of that kind is found.
pub fn reference_files(kind: &str) -> Vec<PathBuf> {
    let set = std::env::var_os("PPKT_REFERENCE").map(|path| root().join(path));
    let folder = set.clone().unwrap_or_else(|| shared("reference"));
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(kind)));
    files.sort();
    if files.is_empty() {
        assert!(set.is_none(), "PPKT_REFERENCE is set, but no {kind}*.safetensors is in {folder:?}");
        println!(
            "skipped: no {kind}*.safetensors in ../shared/reference (set PPKT_REFERENCE to a folder that has them)"
        );
    }
    files
}

/// The running test program once more, for what a process can do once: by way of the emulator with its arguments that
/// `PPKT_RUNNER` names, as `cargo xtask arm` does, or directly.
///
/// # Panics
/// If the system does not tell where the program is.
pub fn this_program() -> Command {
    let program = std::env::current_exe().expect("the path of the running program");
    let runner = std::env::var("PPKT_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            files.push(path);
        }
    }
}

/// The weights file `name` (without extension) in the folders of `PPKT_WEIGHTS` or in the default one.
///
/// # Panics
/// With `PPKT_WEIGHTS` set, if it is in none of them.
pub fn weights_file(name: &str) -> Option<PathBuf> {
    let set = std::env::var_os("PPKT_WEIGHTS");
    let folders: Vec<PathBuf> = match &set {
        Some(list) => std::env::split_paths(list).map(|path| root().join(path)).collect(),
        None => vec![shared("data/weights")],
    };
    let found = folders.iter().map(|f| f.join(format!("{name}.safetensors"))).find(|p| p.exists());
    if found.is_none() {
        assert!(set.is_none(), "PPKT_WEIGHTS is set, but {name}.safetensors is in none of {folders:?}");
        println!("skipped: no {name}.safetensors in ../shared/data/weights (set PPKT_WEIGHTS to its folder)");
    }
    found
}

/// The tensors and metadata of one reference file.
pub struct Vectors {
    path: PathBuf,
    bytes: Vec<u8>,
    meta: HashMap<String, String>,
}

impl Vectors {
    /// Reads a file.
    ///
    /// # Panics
    /// If it cannot be read or is no safetensors file.
    pub fn load(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{e}: {path:?}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| panic!("{e}: {path:?}"));
        let meta = header.metadata().clone().unwrap_or_default();
        Self { path: path.to_owned(), bytes, meta }
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        self.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("{e}: {:?}", self.path))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(String::from).collect();
        names.sort();
        names
    }

    /// Whether a tensor is in the file.
    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors()
            .tensor(name)
            .unwrap_or_else(|e| panic!("{e}: {name} in {:?}", self.path))
            .shape()
            .to_vec()
    }

    /// A tensor of any number type, widened to f64, row-major.
    pub fn f64s(&self, name: &str) -> Vec<f64> {
        let all = self.tensors();
        let t = all.tensor(name).unwrap_or_else(|e| panic!("{e}: {name} in {:?}", self.path));
        let b = t.data();
        match t.dtype() {
            Dtype::F64 => b.as_chunks().0.iter().map(|c| f64::from_le_bytes(*c)).collect(),
            Dtype::F32 => b.as_chunks().0.iter().map(|c| f64::from(f32::from_le_bytes(*c))).collect(),
            Dtype::F16 => b.as_chunks().0.iter().map(|c| half::f16::from_le_bytes(*c).to_f64()).collect(),
            Dtype::I64 => b.as_chunks().0.iter().map(|c| i64::from_le_bytes(*c) as f64).collect(),
            Dtype::I32 => b.as_chunks().0.iter().map(|c| f64::from(i32::from_le_bytes(*c))).collect(),
            Dtype::U8 | Dtype::BOOL => b.iter().map(|&c| f64::from(c)).collect(),
            other => panic!("{other:?} is not read: {name} in {:?}", self.path),
        }
    }

    /// As [`Self::f64s`], narrowed to f32 (exact for tensors stored as f32).
    pub fn f32s(&self, name: &str) -> Vec<f32> {
        self.f64s(name).into_iter().map(|v| v as f32).collect()
    }

    /// As [`Self::f64s`], as integers.
    pub fn i64s(&self, name: &str) -> Vec<i64> {
        self.f64s(name).into_iter().map(|v| v as i64).collect()
    }

    /// A metadata entry as it is written.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.meta.get(name).map(String::as_str)
    }

    /// A metadata entry as JSON (numbers, booleans, lists; plain words become strings), looked up by name.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn json(&self, name: &str) -> serde_json::Value {
        let text = self.meta(name).unwrap_or_else(|| panic!("no metadata {name:?} in {:?}", self.path));
        serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.to_owned()))
    }
}

/// The largest deviation of `got` from `want`, relative to the largest magnitude in `want`.
pub fn relative_deviation<T: Copy + Into<f64>>(got: &[T], want: &[f64]) -> f64 {
    let scale = want.iter().fold(0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    let mut worst = 0f64;
    for (g, w) in got.iter().zip(want) {
        let d = ((*g).into() - w).abs();
        // A NaN must not pass for zero, as `max` would let it.
        worst = if d.is_nan() { f64::NAN } else { worst.max(d) };
        if worst.is_nan() {
            return f64::NAN;
        }
    }
    worst / scale
}

/// Asserts that two tensors agree within `tolerance`, relative to the largest magnitude in `want`.
///
/// # Panics
/// If the lengths differ, a value is NaN, or a value deviates by more.
#[track_caller]
pub fn assert_close<T: Copy + Into<f64>>(what: &str, got: &[T], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let worst = relative_deviation(got, want);
    assert!(worst <= tolerance, "{what}: deviates by {worst:.3e}, more than {tolerance:.1e}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "deviates")]
    fn a_wrong_value_is_seen() {
        assert_close("x", &[1.0, 2.0], &[1.0, 2.1], 1e-3);
    }

    #[test]
    #[should_panic(expected = "deviates")]
    fn nan_is_seen() {
        assert_close("x", &[1.0, f64::NAN, 2.0], &[1.0, 2.0, 2.0], 1e-3);
    }

    #[test]
    fn equal_is_close() {
        assert_close("x", &[1.0f32, -2.0], &[1.0, -2.0], 0.0);
    }
}
