//! A toolkit without NVIDIA: a compiler that only names sources, and libraries that run on the processor.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};

use super::super::toolkit::{call, functions, package, symlink};
use crate::toolchain;

/// A library: its name, when linking and when running; its source, if it does anything; where cudarc declares its
/// functions and how their names begin; and the status that means "not supported".
type Library = (&'static str, &'static str, Option<&'static str>, &'static str, &'static str, u32);

const LIBRARIES: [Library; 6] = [
    ("libcuda.so", "libcuda.so.1", Some("driver.cpp"), "driver", "cu", 801),
    ("libcublas.so", "libcublas.so.13", Some("blas.cpp"), "cublas", "cublas", 15),
    ("libcublasLt.so", "libcublasLt.so.13", None, "cublaslt", "cublasLt", 15),
    ("libcurand.so", "libcurand.so.10", Some("rand.cpp"), "curand", "curand", 999),
    ("libnvrtc.so", "libnvrtc.so.13", None, "nvrtc", "nvrtc", 11),
    ("libcudart.so", "libcudart.so.13", None, "runtime", "none of them", 0),
];

/// candle's sources that are loaded and not linked, but for quantised networks, which ppkt has not.
const OF_CANDLE: [&str; 10] =
    ["affine", "binary", "cast", "conv", "fill", "indexing", "reduce", "sort", "ternary", "unary"];

/// The stand-in, as it lies in its folder.
pub(super) struct StandIn {
    folder: PathBuf,
}

impl StandIn {
    /// Makes what is missing or has changed.
    pub(super) fn make(root: &Path, folder: &Path) -> Result<Self> {
        let own = root.join("xtask/src/gpu/rehearse");
        let made = Self { folder: folder.join("toolkit") };
        for sub in ["bin", "include", "lib/kernels"] {
            std::fs::create_dir_all(made.folder.join(sub)).context("the folder of the stand-in")?;
        }
        made.compiler(&own)?;
        made.libraries(root, &own)?;
        made.kernels(root, &own)?;
        Ok(made)
    }

    /// What a build is told of it. One version of CUDA, as the libraries say.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let at = |path: &str| self.folder.join(path).into_os_string();
        vec![
            ("CUDA_HOME", self.folder.clone().into()),
            ("NVCC", at("bin/nvcc")),
            ("CUDARC_CUDA_VERSION", "13000".into()),
            ("CUDA_COMPUTE_CAP", "80".into()),
            ("LIBRARY_PATH", at("lib")),
        ]
    }

    /// Where programs find the libraries.
    pub(super) fn lib(&self) -> PathBuf {
        self.folder.join("lib")
    }

    fn compiler(&self, own: &Path) -> Result<()> {
        let text = std::fs::read_to_string(own.join("nvcc.sh")).context("the stand-in for nvcc")?;
        toolchain::stand_in(&self.folder.join("bin/nvcc"), &text)
    }

    fn libraries(&self, root: &Path, own: &Path) -> Result<()> {
        let declared = package(root, "cudarc")?.join("src");
        for (linked, run, source, module, prefix, status) in LIBRARIES {
            let source = source.map(|name| own.join(name));
            let text = source.as_ref().map(std::fs::read_to_string).transpose()?.unwrap_or_default();
            let module =
                std::fs::read_to_string(declared.join(module).join("sys/mod.rs")).unwrap_or_default();
            let mut rest = functions(&module, prefix);
            rest.retain(|name| !text.contains(&format!(" {name}(")));
            let rest = missing(&rest, status)?;
            let library = self.lib().join(run);
            let memory = std::fs::read_to_string(own.join("memory.h"))?;
            if is_made(&library, &[&text, &rest, &memory])? {
                continue;
            }
            let other = library.with_extension("rest.cpp");
            std::fs::write(&other, &rest)?;
            let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
            let mut command = Command::new(compiler);
            command.args(["-std=c++17", "-O2", "-Wall", "-fPIC", "-shared", "-fvisibility=hidden"]);
            command.arg(format!("-Wl,-soname,{run}")).arg("-o").arg(&library).arg(&other);
            command.args(&source);
            // What the others ask of the driver's stand-in.
            if source.is_some() && linked != "libcuda.so" {
                command.arg("-L").arg(self.lib()).arg("-lcuda");
            }
            call(command.arg("-ldl"))?;
            std::fs::remove_file(other)?;
            let link = self.lib().join(linked);
            if link.symlink_metadata().is_err() {
                symlink(run, &link)?;
            }
            done(&library, &[&text, &rest, &memory])?;
        }
        Ok(())
    }

    /// Kernels of the workspace and of candle, for the processor.
    fn kernels(&self, root: &Path, own: &Path) -> Result<()> {
        let mut sources = Vec::new();
        for krate in std::fs::read_dir(root.join("crates"))? {
            let folder = krate?.path().join("src/cuda");
            for file in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = file?.path();
                if path.extension().is_some_and(|e| e == "cu") {
                    sources.push(Source { text: path.clone(), path, of_candle: false });
                }
            }
        }
        let candle = package(root, "candle-kernels")?.join("src");
        let copies = self.folder.join("candle");
        copy_of_candle(&candle, &copies)?;
        sources.extend(OF_CANDLE.map(|stem| {
            let name = format!("{stem}.cu");
            Source { path: candle.join(&name), text: copies.join(&name), of_candle: true }
        }));
        let headers = [own.join("include"), root.join("crates/ppkt-nvcc/include")];
        let headers = headers.iter().map(|f| texts(f)).collect::<Result<Vec<_>>>()?.concat();
        let open = Mutex::new(sources.iter());
        let work = || -> Result<()> {
            while let Some(source) = open.lock().map_err(|_| anyhow!("a compiler's thread ended"))?.next() {
                self.kernel(source, own, &headers)?;
            }
            Ok(())
        };
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn kernel(&self, source: &Source, own: &Path, headers: &str) -> Result<()> {
        let path = source.path.canonicalize().with_context(|| format!("cannot find {:?}", source.path))?;
        let library = self.lib().join("kernels").join(library_of(&path));
        let text = texts(source.text.parent().unwrap_or(Path::new(".")))?;
        if is_made(&library, &[&text, headers])? {
            return Ok(());
        }
        // A folder for each: what lies beside the library is written while others are compiled.
        let work = tempfile::tempdir()?;
        let made = work.path().join("kernels.so");
        let include = own.join("include");
        let (before, include): (&str, &[&Path]) = if source.of_candle {
            // The least that candle builds bf16 for, and the version of the compiler that is stood in for.
            const CANDLE: &str = "#define __CUDA_ARCH__ 800\n#define __CUDACC_VER_MAJOR__ 13\n\
                                  #define __CUDACC_VER_MINOR__ 0\n#include \"candle.h\"\n";
            (CANDLE, &[&include])
        } else {
            ("", &[])
        };
        ppkt_nvcc::emulate_into(&source.text, before, include, &made)
            .map_err(|reason| anyhow!("{}: {reason}", source.path.display()))?;
        std::fs::copy(&made, &library).with_context(|| format!("cannot write {library:?}"))?;
        done(&library, &[&text, headers])
    }
}

/// Name of the library of a source's kernels, as `kernels_of` in driver.cpp has it.
fn library_of(source: &Path) -> String {
    format!("{}.so", source.display().to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

/// A source of kernels.
struct Source {
    /// As the stand-in for nvcc names it.
    path: PathBuf,
    /// What is compiled in its place.
    text: PathBuf,
    of_candle: bool,
}

/// Copies candle's sources with their one declaration that C++ has no like of in the words of `kernel.cuh`.
fn copy_of_candle(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from).with_context(|| format!("cannot list {from:?}"))? {
        let path = file?.path();
        if !path.extension().is_some_and(|e| e == "cu" || e == "cuh") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let lines = text.lines().map(|line| {
            let declared = line.trim().strip_prefix("extern __shared__ ").and_then(|d| d.strip_suffix("[];"));
            match declared.and_then(|d| d.rsplit_once(' ')) {
                Some((kind, name)) => format!("DYNAMIC_SHARED({kind}, {name});\n"),
                None => format!("{line}\n"),
            }
        });
        let text: String = lines.collect();
        let copy = to.join(path.file_name().context("a file has a name")?);
        if !std::fs::read_to_string(&copy).is_ok_and(|there| there == text) {
            std::fs::write(copy, text)?;
        }
    }
    Ok(())
}

/// Functions that say their name and fail.
fn missing(names: &BTreeSet<String>, status: u32) -> Result<String> {
    let mut text = String::from(
        "#include <stdio.h>\n#define API extern \"C\" __attribute__((visibility(\"default\")))\n\
         static long missing(const char* name, long status) {\n  \
         fprintf(stderr, \"the stand-in for a GPU has no %s\\n\", name);\n  return status;\n}\n",
    );
    for name in names {
        let words = ["String", "Name"].iter().any(|end| name.ends_with(end)) && !name.starts_with("cuGet");
        if words {
            writeln!(text, "API const char* {name}() {{ return \"a status of the stand-in for a GPU\"; }}")?;
        } else {
            writeln!(text, "API long {name}() {{ return missing(\"{name}\", {status}); }}")?;
        }
    }
    Ok(text)
}

/// The texts of the sources and headers of a folder and of those in it.
fn texts(folder: &Path) -> Result<String> {
    let mut paths = Vec::new();
    for file in std::fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))? {
        paths.push(file?.path());
    }
    paths.sort();
    let mut all = String::new();
    for path in paths {
        if path.is_dir() {
            all += &texts(&path)?;
        } else if path.extension().is_none_or(|e| e != "rs") {
            all += &std::fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
        }
    }
    Ok(all)
}

fn digest(inputs: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Whether a library is there, made of these inputs.
fn is_made(library: &Path, inputs: &[&str]) -> Result<bool> {
    let of = std::fs::read_to_string(library.with_extension("inputs"));
    Ok(library.is_file() && of.is_ok_and(|there| there == digest(inputs)))
}

fn done(library: &Path, inputs: &[&str]) -> Result<()> {
    ensure!(library.is_file(), "no library was made: {library:?}");
    std::fs::write(library.with_extension("inputs"), digest(inputs))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const KERNELS: &str = "#include \"kernel.cuh\"\n\
        extern \"C\" __global__ void fill(int* a, int n) { if (threadIdx.x < n) a[threadIdx.x] = threadIdx.x; }\n\
        extern \"C\" __global__ void wait(int* a, int n) { if (threadIdx.x < n) __syncthreads(); }\n";

    #[test]
    fn the_stand_ins_notice_what_a_gpu_would() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu/rehearse");
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().canonicalize().unwrap().join("kernels.cu");
        std::fs::write(&source, KERNELS).unwrap();
        let library = dir.path().join("kernels").join(library_of(&source));
        std::fs::create_dir(dir.path().join("kernels")).unwrap();
        if let Err(reason) = ppkt_nvcc::emulate_into(&source, "", &[], &library) {
            assert!(reason.contains("compiler"), "{reason}");
            eprintln!("SKIPPED: {reason}");
            return;
        }
        let program = dir.path().join("check");
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        let mut command = Command::new(compiler);
        command.args(["-std=c++17", "-O1", "-rdynamic", "-o"]).arg(&program);
        command.args(["check.cpp", "driver.cpp", "blas.cpp"].map(|name| own.join(name)));
        assert!(command.arg("-ldl").status().unwrap().success());
        for how in ["given-up", "beyond", "barrier"] {
            let output = Command::new(&program).arg(&source).arg(how).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{how}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn functions_that_are_missing_have_their_names() {
        let names = ["cuThis", "cublasGetStatusName"].map(str::to_owned).into();
        let text = missing(&names, 801).unwrap();
        assert!(
            text.contains("missing(\"cuThis\", 801)") && text.contains("const char* cublasGetStatusName()")
        );
    }
}
