//! Kernels on the CPU, for tests.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, ptr};

use libloading::{Library, Symbol};

use crate::arg::{Arg, Kind};
use crate::compiler::Compiler;
use crate::headers;

/// Sources that were compiled for the CPU, and their kernels.
#[derive(Debug)]
pub struct Emulated {
    libraries: Vec<Library>,
    /// Which library has which kernel.
    kernels: HashMap<String, usize>,
}

/// Numbers of blocks or threads: along x, along x and y, or along all three axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dim([u32; 3]);

impl From<u32> for Dim {
    fn from(x: u32) -> Self {
        Self([x, 1, 1])
    }
}

impl From<(u32, u32)> for Dim {
    fn from((x, y): (u32, u32)) -> Self {
        Self([x, y, 1])
    }
}

impl From<(u32, u32, u32)> for Dim {
    fn from((x, y, z): (u32, u32, u32)) -> Self {
        Self([x, y, z])
    }
}

/// As `emulated::Launch` in `emulated.h`.
#[repr(C)]
struct Launch {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: usize,
    reverse: c_int,
    arguments: *mut *mut c_void,
    message: *mut c_char,
    message_bytes: usize,
}

/// Of the kernels, one is run at a time: a library has one of each of its shared arrays.
static RUNNING: Mutex<()> = Mutex::new(());

/// Elements of an array begin at multiples of this, as a GPU's allocations do.
const ALIGNMENT: usize = 256;
/// Bytes before and behind an array that nobody may write. As numbers they are NaN and -1.
const GUARD: u8 = 0xff;

impl Emulated {
    /// Compiles sources, given relative to the package; a folder's other files can be included.
    ///
    /// `None`, with the reason printed, on a machine that cannot.
    ///
    /// # Panics
    /// Where a source is not there, or not right.
    pub fn build(sources: &[impl AsRef<Path>]) -> Option<Self> {
        let compiler = match Compiler::find() {
            Ok(compiler) => compiler,
            Err(reason) => {
                eprintln!("SKIPPED: {reason}");
                return None;
            }
        };
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("ppkt-emulated-{}-{number}", process::id()));
        let fault = |what: String| -> ! { panic!("{what}") };
        let include = fs::create_dir_all(&folder).and_then(|()| headers::write(&folder));
        let include = include.unwrap_or_else(|e| fault(format!("{e}: {}", folder.display())));
        let mut built = Self { libraries: Vec::new(), kernels: HashMap::new() };
        for source in sources {
            if let Err(reason) = built.add(compiler, source.as_ref(), &include, &folder) {
                fault(format!("{}: {reason}", source.as_ref().display()));
            }
        }
        // The libraries stay mapped.
        let _ = fs::remove_dir_all(&folder);
        Some(built)
    }

    fn add(&mut self, compiler: &Compiler, source: &Path, include: &Path, out: &Path) -> Result<(), String> {
        let number = self.libraries.len();
        let library: PathBuf = out.join(format!("{number}.so"));
        let names = compile(compiler, source, "", &[include], &library)?;
        #[expect(unsafe_code, reason = "a library is loaded")]
        // SAFETY: it was made a moment ago of a source of this workspace; what it does when it is loaded is to set its
        // variables to their first values.
        let library = unsafe { Library::new(&library) }.map_err(|e| e.to_string())?;
        self.libraries.push(library);
        for name in names {
            if self.kernels.insert(name.clone(), number).is_some() {
                return Err(format!("two sources have a kernel {name:?}"));
            }
        }
        Ok(())
    }

    /// Names of the kernels, sorted.
    pub fn kernels(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.kernels.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Runs a kernel: with blocks and threads in their order, and again in the opposite one, from the same beginning.
    /// Both must give the same bytes.
    ///
    /// # Panics
    /// Where the arguments do not fit the kernel's parameters, and on everything that the emulation finds wrong.
    pub fn launch(
        &self,
        kernel: &str,
        grid: impl Into<Dim>,
        block: impl Into<Dim>,
        shared_bytes: usize,
        args: &mut [Arg<'_>],
    ) {
        let (grid, block) = (grid.into(), block.into());
        let forward = self.run(kernel, (grid, block, shared_bytes), args, false);
        let reverse = self.run(kernel, (grid, block, shared_bytes), args, true);
        for (i, (arg, (forward, reverse))) in args.iter_mut().zip(forward.iter().zip(&reverse)).enumerate() {
            if let Kind::Write(_, back) = &mut arg.0 {
                let at = forward.iter().zip(reverse).position(|(a, b)| a != b);
                assert_eq!(
                    at, None,
                    "{kernel}: argument {i} depends on the order of threads, from this byte on"
                );
                back(forward);
            }
        }
    }

    /// As [`Self::launch`], once, for a kernel whose result may depend on the order of threads.
    ///
    /// # Panics
    /// As [`Self::launch`].
    pub fn launch_once(
        &self,
        kernel: &str,
        grid: impl Into<Dim>,
        block: impl Into<Dim>,
        shared_bytes: usize,
        args: &mut [Arg<'_>],
    ) {
        let results = self.run(kernel, (grid.into(), block.into(), shared_bytes), args, false);
        for (arg, bytes) in args.iter_mut().zip(&results) {
            if let Kind::Write(_, back) = &mut arg.0 {
                back(bytes);
            }
        }
    }

    /// Runs a kernel on copies of its arguments, and returns what became of the arrays.
    fn run(
        &self,
        kernel: &str,
        (grid, block, shared_bytes): (Dim, Dim, usize),
        args: &[Arg<'_>],
        reverse: bool,
    ) -> Vec<Vec<u8>> {
        let Some(&library) = self.kernels.get(kernel) else {
            panic!("there is no kernel {kernel:?}, but {:?}", self.kernels());
        };
        let library = &self.libraries[library];
        check(library, kernel, args);
        let mut arrays: Vec<Option<Guarded>> = args
            .iter()
            .map(|arg| match &arg.0 {
                Kind::Read(bytes) | Kind::Write(bytes, _) => Some(Guarded::new(bytes)),
                Kind::Value(_) | Kind::Null => None,
            })
            .collect();
        // Room for the widest parameter, 8 bytes, aligned so.
        let mut values: Vec<u64> = Vec::with_capacity(args.len());
        for (arg, array) in args.iter().zip(&mut arrays) {
            let mut value = [0; 8];
            match (&arg.0, array) {
                (Kind::Value(bytes), _) => value[..bytes.len()].copy_from_slice(bytes),
                (_, Some(array)) => value = (array.start() as u64).to_ne_bytes(),
                (_, None) => {}
            }
            values.push(u64::from_ne_bytes(value));
        }
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| ptr::from_mut(v).cast()).collect();
        let mut message = [0u8; 512];
        let launch = Launch {
            grid: grid.0,
            block: block.0,
            shared_bytes,
            reverse: c_int::from(reverse),
            arguments: pointers.as_mut_ptr(),
            message: message.as_mut_ptr().cast(),
            message_bytes: message.len(),
        };
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(unsafe_code, reason = "a function of a loaded library is called")]
        // SAFETY: the function has this type (EMULATED_KERNEL in emulated.h); `check` has seen that the arguments are as
        // many and as wide as its parameters. Pointers lead to memory that lives until the end of this function, that
        // no one else has, and that is guarded; a kernel that goes further than the guards ends the test anyhow.
        let failed = unsafe {
            let name = format!("emulated_launch_{kernel}");
            let function: Result<Symbol<'_, unsafe extern "C" fn(*const Launch) -> c_int>, _> =
                library.get(name.as_bytes());
            function.map(|f| f(&launch))
        };
        drop(running);
        let said = CStr::from_bytes_until_nul(&message).unwrap_or_default().to_string_lossy();
        match failed {
            Ok(0) => {}
            Ok(_) => panic!("{kernel}: {said}"),
            Err(e) => panic!("{kernel}: {e}"),
        }
        let mut results = Vec::new();
        for (i, (arg, array)) in args.iter().zip(arrays).enumerate() {
            let Some(array) = array else {
                results.push(Vec::new());
                continue;
            };
            assert!(
                array.is_whole(),
                "{kernel}: wrote outside of argument {i}, an array of {} bytes",
                array.len
            );
            if let Kind::Read(before) = &arg.0 {
                assert!(array.bytes() == before, "{kernel}: wrote to argument {i}, which it may only read");
            }
            results.push(array.bytes().to_vec());
        }
        results
    }
}

/// Makes a shared library of a source's kernels for the processor, for programs that load it themselves: of each kernel
/// it has the functions that `EMULATED_KERNEL` of `emulated.h` defines. Returns the kernels' names.
///
/// `before` is text that stands before the source, and `include` are folders of headers, besides those of this crate and
/// the source's own. Beside `out` a file and a folder are written.
///
/// # Errors
/// Where there is no C++ compiler, or it refuses the source.
pub fn emulate_into(
    source: &Path,
    before: &str,
    include: &[&Path],
    out: &Path,
) -> Result<Vec<String>, String> {
    let own = headers::write(out.parent().unwrap_or(Path::new("."))).map_err(|e| e.to_string())?;
    let folders: Vec<&Path> = include.iter().copied().chain([own.as_path()]).collect();
    compile(Compiler::find()?, source, before, &folders, out)
}

fn compile(
    compiler: &Compiler,
    source: &Path,
    before: &str,
    include: &[&Path],
    out: &Path,
) -> Result<Vec<String>, String> {
    let source = source.canonicalize().map_err(|e| e.to_string())?;
    let folders: Vec<&Path> = include.iter().copied().chain(source.parent()).collect();
    let mut text = format!("{before}\n#include \"{}\"\n", source.display());
    let wrapper = out.with_extension("cpp");
    fs::write(&wrapper, &text).map_err(|e| e.to_string())?;
    let names = kernels_of(&compiler.preprocess(&wrapper, &folders)?);
    if names.is_empty() {
        return Err("it has no `extern \"C\" __global__ void` function".to_owned());
    }
    names.iter().for_each(|name| text.push_str(&format!("EMULATED_KERNEL({name})\n")));
    fs::write(&wrapper, text).map_err(|e| e.to_string())?;
    compiler.library(&wrapper, &folders, out)?;
    Ok(names)
}

/// Compares arguments with a kernel's parameters.
fn check(library: &Library, kernel: &str, args: &[Arg<'_>]) {
    let (mut bytes, mut pointers) = ([0usize; 64], [0u8; 64]);
    #[expect(unsafe_code, reason = "a function of a loaded library is called")]
    // SAFETY: the function has this type (EMULATED_KERNEL in emulated.h), and writes at most 64 elements to each array.
    let count = unsafe {
        let name = format!("emulated_describe_{kernel}");
        let function: Result<Symbol<'_, unsafe extern "C" fn(*mut usize, *mut u8) -> usize>, _> =
            library.get(name.as_bytes());
        function.map(|f| f(bytes.as_mut_ptr(), pointers.as_mut_ptr()))
    };
    let count = count.unwrap_or_else(|e| panic!("{kernel}: {e}"));
    assert!(
        count <= 64 && count == args.len(),
        "{kernel} has {count} parameters, and was given {}",
        args.len()
    );
    for (i, arg) in args.iter().enumerate() {
        let fits = match &arg.0 {
            Kind::Value(value) => pointers[i] == 0 && value.len() == bytes[i],
            _ => pointers[i] == 1,
        };
        let wanted = if pointers[i] == 1 { "an array" } else { "a number" };
        assert!(fits, "{kernel}: argument {i} must be {wanted} of {} bytes", bytes[i]);
    }
}

/// Names of all `extern "C" __global__ void` functions of a preprocessed text.
fn kernels_of(text: &str) -> Vec<String> {
    // As `__global__` is defined in emulated.h.
    const MARK: &str = "__attribute__((used))";
    let mut names = Vec::new();
    for (at, _) in text.match_indices(MARK) {
        if !text[..at].trim_end().ends_with("extern \"C\"") {
            continue;
        }
        let rest = &text[at + MARK.len()..];
        let Some((head, _)) = rest.split_once('(') else { continue };
        if let Some(name) = head.trim().strip_prefix("void") {
            names.push(name.trim().to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

/// An array between guards.
struct Guarded {
    memory: Vec<u8>,
    first: usize,
    len: usize,
}

impl Guarded {
    fn new(bytes: &[u8]) -> Self {
        let mut memory = vec![GUARD; bytes.len() + 3 * ALIGNMENT];
        let first = ALIGNMENT + memory.as_ptr().align_offset(ALIGNMENT);
        memory[first..first + bytes.len()].copy_from_slice(bytes);
        Self { memory, first, len: bytes.len() }
    }

    fn start(&mut self) -> *mut u8 {
        self.memory[self.first..].as_mut_ptr()
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.first..self.first + self.len]
    }

    fn is_whole(&self) -> bool {
        let (before, rest) = self.memory.split_at(self.first);
        before.iter().chain(&rest[self.len..]).all(|&b| b == GUARD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_in_the_text() {
        let text = "extern \"C\" __attribute__((used)) void a(int);\nextern \"C\"\n__attribute__((used))\nvoid  b (\n";
        assert_eq!(kernels_of(text), ["a", "b"]);
        assert_eq!(kernels_of("__attribute__((used)) void hidden();"), Vec::<String>::new());
    }
}
