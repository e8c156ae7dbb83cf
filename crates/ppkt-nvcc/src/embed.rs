//! The way to the GPU: `nvcc`, in a build script.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::headers;

/// Why a crate's kernels were not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// There is no `nvcc`.
    #[error(
        "the feature `cuda` needs nvcc of CUDA 12 or 13, which was not found: install the CUDA toolkit, then put its \
         folder `bin` on PATH or name it with CUDA_HOME (or name nvcc itself with NVCC)"
    )]
    NoNvcc,
    /// A variable names an `nvcc` that is not there.
    #[error("{variable} names no program: {}", path.display())]
    NotAProgram {
        /// The variable.
        variable: &'static str,
        /// What it leads to.
        path: PathBuf,
    },
    /// `nvcc` refused a source.
    #[error("nvcc refused a source: {}\n{output}", source_file.display())]
    Refused {
        /// The source.
        source_file: PathBuf,
        /// What nvcc said.
        output: String,
    },
    /// A folder without sources.
    #[error("no .cu file in the folder: {}", folder.display())]
    NoSources {
        /// The folder.
        folder: PathBuf,
    },
    /// Outside a build script.
    #[error("{0} is not set: only a build script, which cargo starts, can embed kernels")]
    NotABuildScript(&'static str),
    /// The operating system's word.
    #[error("{error}: {}", path.display())]
    Io {
        /// What it said.
        error: io::Error,
        /// Of which file.
        path: PathBuf,
    },
}

/// Machine code for both families that are of use, and PTX for those that come later.
const TARGETS: [&str; 3] = [
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_80,code=compute_80",
];

/// In a build script: compiles each `STEM.cu` of `folder`, relative to the package, to `OUT_DIR/STEM.fatbin`.
///
/// On a failure cargo shows the reason, and the build ends.
pub fn embed(folder: &str) {
    let out = env::var_os("OUT_DIR").ok_or(EmbedError::NotABuildScript("OUT_DIR"));
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed={folder}");
    if let Err(error) = out.and_then(|out| embed_into(Path::new(folder), Path::new(&out))) {
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

/// As [`embed`], from and to folders that are named. Returns the stems.
///
/// # Errors
/// [`EmbedError`]
pub fn embed_into(folder: &Path, out: &Path) -> Result<Vec<String>, EmbedError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| EmbedError::Io { error, path }
    };
    let mut sources = Vec::new();
    for entry in folder.read_dir().map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|e| e == "cu") {
            sources.push(path);
        }
    }
    sources.sort();
    if sources.is_empty() {
        return Err(EmbedError::NoSources { folder: folder.to_owned() });
    }
    let nvcc = find_nvcc()?;
    let include = headers::write(out).map_err(at(out))?;
    let stem = |source: &Path| source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let compile = |source: &Path| {
        let mut command = Command::new(&nvcc);
        command.args(["--fatbin", "-std=c++17", "-O3", "--expt-relaxed-constexpr"]).args(TARGETS);
        command.arg("-I").arg(&include).arg("-I").arg(folder);
        command.arg("-o").arg(out.join(stem(source)).with_extension("fatbin")).arg(source);
        let output = command.output().map_err(at(&nvcc))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned()).concat();
        Err(EmbedError::Refused { source_file: source.to_owned(), output: said })
    };

    // One nvcc for each core, or for each job that cargo has been given.
    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok());
    let jobs = jobs.or(thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).min(sources.len());
    let open = Mutex::new(sources.iter());
    let work = || {
        loop {
            let Some(source) = open.lock().ok().and_then(|mut open| open.next()) else { return Ok(()) };
            compile(source)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(sources.iter().map(|source| stem(source)).collect())
}

/// The compiler, as NVIDIA's own tools look for it.
fn find_nvcc() -> Result<PathBuf, EmbedError> {
    let name = format!("nvcc{}", env::consts::EXE_SUFFIX);
    if let Some(path) = env::var_os("NVCC").filter(|v| !v.is_empty()).map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        // A bare name is looked for on the path, as a shell does.
        let found = on_path(&path).filter(|_| path.components().count() == 1);
        return found.ok_or(EmbedError::NotAProgram { variable: "NVCC", path });
    }
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = env::var_os(variable).filter(|v| !v.is_empty()) {
            let path = Path::new(&home).join("bin").join(&name);
            return if path.is_file() { Ok(path) } else { Err(EmbedError::NotAProgram { variable, path }) };
        }
    }
    let usual = || Some(Path::new("/usr/local/cuda/bin").join(&name)).filter(|p| p.is_file());
    on_path(Path::new(&name)).or_else(usual).ok_or(EmbedError::NoNvcc)
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}
