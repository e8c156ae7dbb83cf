//! Building with CUDA, and packing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{DEVICE, Kind, LIST, Packed, RUNNER};
use crate::rules::Workspace;

/// What to pack.
#[derive(clap::Args)]
pub(crate) struct Pack {
    /// The archive to write [default: target/gpu/gpu.tar.xz]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the benches out
    #[arg(long)]
    no_benches: bool,
}

/// What cargo says of something that it built.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

impl Pack {
    pub(crate) fn run(&self) -> Result<()> {
        let root = Workspace::find()?.root;
        let out = self.out.clone().unwrap_or_else(|| root.join("target/gpu/gpu.tar.xz"));
        let folder = tempfile::tempdir()?;
        let mut list = Vec::new();
        println!("── the program");
        for built in build(&root, &["build", "--package", "ppkt", "--features", "cuda"], |_| ())? {
            take(&built, Kind::Program, "ppkt", folder.path(), &mut list)?;
        }
        println!("── tests over devices");
        let arguments = tests(&root)?;
        for built in build(&root, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), |_| ())? {
            if built.is_over_devices()? {
                take(&built, Kind::Test, &built.label(), folder.path(), &mut list)?;
            }
        }
        if !self.no_benches {
            println!("── benches of devices");
            let benches = benches(&root)?;
            // With the program's features, so that nothing is built twice.
            let mut arguments = vec!["test", "--no-run", "--package", "ppkt", "--features", "ppkt/cuda"];
            for (krate, bench) in &benches {
                arguments.extend(["--package", krate, "--bench", bench]);
            }
            for built in build(&root, &arguments, |_| ())? {
                take(&built, Kind::Bench, &built.label(), folder.path(), &mut list)?;
            }
            ensure!(
                list.iter().filter(|p| p.kind == Kind::Bench).count() == benches.len(),
                "not every bench of devices was built: {benches:?}"
            );
        }
        ensure!(list.iter().any(|p| p.kind == Kind::Test), "no test over devices was built");
        let runner = std::env::current_exe().context("the path of this program")?;
        std::fs::copy(runner, folder.path().join(RUNNER)).context("cannot copy this program")?;
        strip(&folder.path().join(RUNNER))?;
        std::fs::write(folder.path().join(LIST), serde_json::to_string_pretty(&list)?)?;
        archive(folder.path(), &out)?;
        let mib = std::fs::metadata(&out)?.len() as f64 / (1 << 20) as f64;
        for packed in &list {
            println!("{:?} {}", packed.kind, packed.name);
        }
        println!("{mib:.1} MiB: {}", out.display());
        println!(
            "on the machine with the GPU: mkdir gpu && tar -C gpu -xJf gpu.tar.xz && gpu/run gpu run --from gpu --out results.json"
        );
        Ok(())
    }
}

/// An executable and where it comes from.
pub(super) struct Built {
    krate: String,
    target: Target,
    executable: PathBuf,
    folder: PathBuf,
}

impl Built {
    /// A name of its own: a crate may have a test and a bench of one name.
    pub(super) fn label(&self) -> String {
        let kind = if self.is_bench() { "bench" } else { "test" };
        format!("{kind}--{}--{}", self.krate, self.target.name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.executable
    }

    /// Whether it is the program; its own tests are not asked for anywhere.
    pub(super) fn is_program(&self) -> bool {
        self.krate == "ppkt" && self.target.kind.iter().any(|k| k == "bin")
    }

    pub(super) fn is_bench(&self) -> bool {
        self.target.kind.iter().any(|k| k == "bench")
    }

    /// Whether the sources of the target have a test whose name says that it is over devices.
    pub(super) fn is_over_devices(&self) -> Result<bool> {
        let is_unit = self.target.kind.iter().any(|k| k == "lib" || k == "bin");
        let sources = if is_unit { self.folder.join("src") } else { self.target.src_path.clone() };
        has_device_test(&sources)
    }
}

/// What cargo is told to build the tests over devices, and few others.
pub(super) fn tests(root: &Path) -> Result<Vec<String>> {
    let mut arguments: Vec<String> =
        ["test", "--no-run", "--package", "ppkt", "--features", "ppkt/cuda"].map(Into::into).into();
    let mut units = false;
    for entry in std::fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name =
            |path: &Path| path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut found = Vec::new();
        for test in std::fs::read_dir(folder.join("tests")).into_iter().flatten() {
            let path = test?.path();
            let main = if path.is_dir() { path.join("main.rs") } else { path.clone() };
            if main.is_file() && has_device_test(&path)? {
                found.extend(["--test".to_owned(), name(&path)]);
            }
        }
        let has_units = has_device_test(&folder.join("src"))?;
        if has_units || !found.is_empty() {
            arguments.extend(["--package".to_owned(), name(&folder)]);
            arguments.append(&mut found);
            units |= has_units;
        }
    }
    if units {
        arguments.push("--lib".to_owned());
    }
    Ok(arguments)
}

/// Whether a file, or a file of a folder, has a test over devices. The modules of an integration test lie in a folder
/// beside it, which is looked at too.
fn has_device_test(path: &Path) -> Result<bool> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {path:?}"))? {
            if has_device_test(&entry?.path())? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if path.extension().is_none_or(|e| e != "rs") {
        return Ok(false);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    Ok(text.contains(&format!("fn {DEVICE}")))
}

/// Runs cargo, with what `prepare` adds, and gives the executables that it made of the workspace.
pub(super) fn build(
    root: &Path,
    arguments: &[&str],
    prepare: impl FnOnce(&mut Command),
) -> Result<Vec<Built>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(arguments).args(["--release", "--locked"]);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    prepare(&mut command);
    let output = command.output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!(
            "the build with CUDA failed: cargo {}; it needs NVIDIA's toolkit (`cargo xtask gpu toolkit` fetches one)",
            arguments.join(" ")
        );
    }
    let mut built = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Message>(line) else { continue };
        let (Some(target), Some(executable), Some(manifest)) =
            (message.target, message.executable, message.manifest_path)
        else {
            continue;
        };
        if message.reason != "compiler-artifact" {
            continue;
        }
        let folder = manifest.parent().context("a manifest lies in a folder")?.to_owned();
        let krate = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        built.push(Built { krate, target, executable, folder });
    }
    Ok(built)
}

/// Benches of devices, as crate and name: those whose name begins with `device`.
pub(super) fn benches(root: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let krate = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Ok(benches) = std::fs::read_dir(folder.join("benches")) else { continue };
        for bench in benches {
            let path = bench?.path();
            let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if stem.starts_with("device") && path.extension().is_some_and(|e| e == "rs") {
                found.push((krate.clone(), stem));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies an executable without what only a debugger needs.
fn take(built: &Built, kind: Kind, name: &str, folder: &Path, list: &mut Vec<Packed>) -> Result<()> {
    let path = folder.join(name);
    ensure!(!path.exists(), "two executables are called {name}, and one of them would be lost");
    std::fs::copy(&built.executable, &path)
        .with_context(|| format!("cannot copy {}", built.executable.display()))?;
    strip(&path)?;
    list.push(Packed { kind, name: name.to_owned() });
    Ok(())
}

fn strip(path: &Path) -> Result<()> {
    let status = Command::new("strip").arg("-s").arg(path).status().context("strip cannot be started")?;
    ensure!(status.success(), "strip failed on {path:?}");
    Ok(())
}

/// candle's kernels are 30 MB of every executable: a dictionary longer than one executable stores them once.
fn archive(folder: &Path, out: &Path) -> Result<()> {
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let partial = out.with_extension("partial");
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .args(["--sort=name", "-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("tar cannot be started")?;
    let packed = tar.stdout.take().context("the archive of tar")?;
    let status = Command::new("xz")
        .args(["-T1", "--lzma2=preset=6,dict=192MiB"])
        .stdin(packed)
        .stdout(std::fs::File::create(&partial).with_context(|| format!("cannot write {partial:?}"))?)
        .status()
        .context("xz cannot be started")?;
    ensure!(tar.wait()?.success() && status.success(), "the archive could not be made: {partial:?}");
    std::fs::rename(&partial, out).with_context(|| format!("cannot write {out:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_and_a_bench_of_one_name_stay_two() {
        let built = |kind: &str| Built {
            krate: "crate".into(),
            target: Target { name: "same".into(), kind: vec![kind.into()], src_path: PathBuf::new() },
            executable: PathBuf::new(),
            folder: PathBuf::new(),
        };
        assert_ne!(built("test").label(), built("bench").label());
    }

    #[test]
    fn only_sources_with_a_test_over_devices_are_packed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let with = file("a/with.rs", &format!("#[test]\nfn {DEVICE}conv() {{}}\n"));
        let without = file("b/without.rs", "#[test]\nfn conv_on_devices() {}\n");
        assert!(has_device_test(&with).unwrap() && !has_device_test(&without).unwrap());
        assert!(has_device_test(dir.path()).unwrap());
        assert!(!has_device_test(&dir.path().join("b")).unwrap());
    }
}
