//! A CUDA toolkit from the Python package registry: enough to build with on a machine that has no GPU, no driver and
//! nothing of NVIDIA's.
//!
//! The registry has compiler, headers and libraries as wheels, but no driver to link against, and the libraries are
//! half a gigabyte; so stand-ins are made for what is only linked: shared libraries of the right name in which every
//! function says that it is not available. A program that was linked with them loads the real ones where it runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::rules::Workspace;

/// What to fetch, and where to.
#[derive(clap::Args)]
pub(crate) struct Toolkit {
    /// Folder of the toolkit [default: target/cuda]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The real cuBLAS, cuRAND and NVRTC too (650 MB more), for a machine that has a driver
    #[arg(long)]
    libraries: bool,
    /// Compute capability of the GPUs that candle's own kernels are built for: 80 runs on every later one too
    #[arg(long, default_value_t = 80, value_name = "N")]
    compute_capability: u32,
    /// Python 3 with pip
    #[arg(long, default_value = "python3")]
    python: PathBuf,
}

/// Compiler and headers: the versions that PyTorch 2.11 was released with, and that cudarc knows.
const COMPILER: [&str; 5] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
];
/// Libraries of the same release.
const LIBRARIES: [&str; 3] =
    ["nvidia-cublas==13.1.0.3", "nvidia-cuda-nvrtc==13.0.88", "nvidia-curand==10.4.0.35"];

/// A library that is stood in for: its name when linking and when running, where cudarc declares its functions and
/// how their names begin, and the status that means "not available".
const STAND_INS: [(&str, &str, &str, &str, u32); 6] = [
    ("libcuda.so", "libcuda.so.1", "driver", "cu", 34),
    ("libcublas.so", "libcublas.so.13", "cublas", "cublas", 1),
    ("libcublasLt.so", "libcublasLt.so.13", "cublaslt", "cublasLt", 1),
    ("libcurand.so", "libcurand.so.10", "curand", "curand", 203),
    ("libnvrtc.so", "libnvrtc.so.13", "nvrtc", "nvrtc", 7),
    ("libcudnn.so", "libcudnn.so.9", "cudnn", "cudnn", 1001),
];

impl Toolkit {
    pub(crate) fn run(&self) -> Result<()> {
        let root = Workspace::find()?.root;
        let folder = self.dir.clone().unwrap_or_else(|| root.join("target/cuda"));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder:?}"))?;
        let folder = folder.canonicalize()?;
        let home = folder.join("nvidia/cu13");
        let mut packages = COMPILER.to_vec();
        if self.libraries {
            packages.extend(LIBRARIES);
        }
        eprintln!("fetching {} packages into {}", packages.len(), folder.display());
        call(
            Command::new(&self.python)
                .args(["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--only-binary=:all:"])
                .args(["--disable-pip-version-check", "--root-user-action=ignore", "--target"])
                .arg(&folder)
                .args(&packages),
        )?;
        let libraries = home.join("lib");
        link_unversioned(&libraries)?;
        let declared = package(&root, "cudarc")?.join("src");
        let stand_ins = home.join("lib/stubs");
        std::fs::create_dir_all(&stand_ins)?;
        for (linked, run, module, prefix, status) in STAND_INS {
            if !libraries.join(linked).exists() {
                let functions =
                    functions(&std::fs::read_to_string(declared.join(module).join("sys/mod.rs"))?, prefix);
                ensure!(functions.len() > 10, "cudarc declares no functions of {linked} any more");
                stand_in(&stand_ins, linked, run, &functions, status)?;
            }
        }
        call(Command::new(home.join("bin/nvcc")).arg("--version").stdout(std::io::stderr()))?;
        println!("{}", self.environment(&home));
        Ok(())
    }

    /// What a shell has to be told before cargo.
    fn environment(&self, home: &Path) -> String {
        let home = home.display();
        format!(
            "export CUDA_HOME='{home}' CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP={}\n\
             export NVCC='{home}/bin/nvcc' LIBRARY_PATH='{home}/lib:{home}/lib/stubs'\n\
             # only to start a program on a machine without a driver, where it will say that there is none:\n\
             export CUDA_STAND_INS='{home}/lib:{home}/lib/stubs'",
            self.compute_capability
        )
    }
}

/// Wheels hold `libx.so.13` alone; linkers look for `libx.so`.
fn link_unversioned(libraries: &Path) -> Result<()> {
    for entry in std::fs::read_dir(libraries).with_context(|| format!("cannot list {libraries:?}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((stem, _)) = name.split_once(".so.") {
            let link = libraries.join(format!("{stem}.so"));
            if link.symlink_metadata().is_err() {
                symlink(&name, &link)?;
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
pub(super) fn symlink(to: &str, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, link).with_context(|| format!("cannot make the link {link:?}"))
}

#[cfg(not(unix))]
pub(super) fn symlink(_: &str, link: &Path) -> Result<()> {
    anyhow::bail!("the toolkit is for Linux alone: {link:?}")
}

/// The folder of a package in the version that the workspace is locked to.
pub(super) fn package(root: &Path, name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--locked", "--features", "ppkt/cuda"])
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = all["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|p| p["name"] == name)
        .find_map(|p| p["manifest_path"].as_str())
        .with_context(|| format!("the workspace uses no {name}"))?;
    Ok(Path::new(manifest).parent().context("a manifest lies in a folder")?.to_owned())
}

/// Names of the functions that a module of declarations calls.
pub(super) fn functions(source: &str, prefix: &str) -> BTreeSet<String> {
    let declared = source.split("fn ").skip(1).map(|rest| rest.split('(').next().unwrap_or_default().trim());
    declared
        .filter(|name| {
            name.starts_with(prefix) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
        .map(str::to_owned)
        .collect()
}

/// Makes a library in which every function gives `status`, and those that give words say what it is.
fn stand_in(folder: &Path, linked: &str, run: &str, functions: &BTreeSet<String>, status: u32) -> Result<()> {
    let mut source = String::from("/* for linking alone */\n");
    for name in functions {
        let words = ["String", "Name"].iter().any(|end| name.ends_with(end)) && !name.starts_with("cuGet");
        if words {
            writeln!(source, "const char *{name}(void) {{ return \"a library for linking alone\"; }}")?;
        } else {
            writeln!(source, "long {name}(void) {{ return {status}; }}")?;
        }
    }
    let file = folder.join(format!("{linked}.c"));
    std::fs::write(&file, source)?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let library = folder.join(run);
    call(
        Command::new(compiler)
            .args(["-O1", "-w", "-shared", "-fPIC"])
            .arg(format!("-Wl,-soname,{run}"))
            .arg("-o")
            .arg(&library)
            .arg(&file),
    )?;
    std::fs::remove_file(&file)?;
    let link = folder.join(linked);
    if link.symlink_metadata().is_err() {
        symlink(run, &link)?;
    }
    Ok(())
}

pub(super) fn call(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{name} cannot be started"))?;
    ensure!(status.success(), "{name} failed; what it said is above");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_one_library() {
        let source = "pub unsafe fn cuInit(flags: u32) {} fn cublasCreate_v2 (x: i32) fn cuGetErrorString(e: i32) fn other()";
        let names: Vec<String> = functions(source, "cu").into_iter().collect();
        assert_eq!(names, ["cuGetErrorString", "cuInit", "cublasCreate_v2"]);
        assert!(functions(source, "nvrtc").is_empty());
    }
}
