//! The machine's C++ compiler.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// A C++ compiler that starts.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    program: OsString,
}

impl Compiler {
    /// `CXX`, or the first of the usual names that starts. The reason, where there is none.
    pub(crate) fn find() -> Result<&'static Self, String> {
        static FOUND: OnceLock<Result<Compiler, String>> = OnceLock::new();
        FOUND.get_or_init(Self::look).as_ref().map_err(Clone::clone)
    }

    fn look() -> Result<Self, String> {
        if !cfg!(target_os = "linux") {
            return Err("kernels are run on the CPU on Linux only".to_owned());
        }
        if let Some(program) = env::var_os("CXX").filter(|v| !v.is_empty()) {
            return if starts(&program) {
                Ok(Self { program })
            } else {
                Err(format!("CXX names no compiler that starts: {}", program.to_string_lossy()))
            };
        }
        let found = ["c++", "g++", "clang++"].map(OsString::from).into_iter().find(|name| starts(name));
        let reason = || "there is no C++ compiler (c++, g++ or clang++; CXX names another)".to_owned();
        found.map(|program| Self { program }).ok_or_else(reason)
    }

    fn command(&self, include: &[&Path]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-std=c++17", "-x", "c++", "-DPPKT_EMULATED", "-U_FORTIFY_SOURCE", "-w"]);
        for folder in include {
            command.arg("-I").arg(folder);
        }
        command
    }

    /// The text after the preprocessor.
    pub(crate) fn preprocess(&self, source: &Path, include: &[&Path]) -> Result<String, String> {
        run(self.command(include).arg("-E").arg("-P").arg(source))
    }

    /// A shared library of one source.
    ///
    /// Products and sums stay apart (`-ffp-contract=off`), so that results are those that the text says. Checks trap,
    /// which needs no library beside.
    pub(crate) fn library(&self, source: &Path, include: &[&Path], out: &Path) -> Result<(), String> {
        const OPTIONS: [&str; 9] = [
            "-shared",
            // A kernel may have the name of a function of the C library.
            "-Wl,-Bsymbolic",
            "-fPIC",
            "-O2",
            "-g1",
            "-fno-strict-aliasing",
            "-ffp-contract=off",
            "-fsanitize=alignment,bounds,shift",
            "-fsanitize-undefined-trap-on-error",
        ];
        run(self.command(include).args(OPTIONS).arg("-o").arg(out).arg(source)).map(drop)
    }
}

fn starts(program: &OsStr) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{e}: {command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}\n{command:?}", String::from_utf8_lossy(&output.stderr)))
}
