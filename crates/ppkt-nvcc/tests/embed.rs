//! Compiling for a GPU: what is asked of nvcc, and what is said where there is none.
//!
//! The compiler is a small script of the test, so that nothing of CUDA is needed. Variables are of the process:
//! everything is in one test.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ppkt_nvcc::{EmbedError, embed_into};

fn script(path: &Path, text: &str) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn set(variable: &str, value: Option<&Path>) {
    #[expect(unsafe_code, reason = "the environment is the process's")]
    // SAFETY: the one test of this program, and no thread of it runs now.
    unsafe {
        match value {
            Some(value) => std::env::set_var(variable, value),
            None => std::env::remove_var(variable),
        }
    }
}

#[test]
fn nvcc_is_found_and_asked() {
    let root = std::env::temp_dir().join(format!("ppkt-embed-{}", std::process::id()));
    let (sources, out) = (root.join("cuda"), root.join("out"));
    fs::create_dir_all(&sources).unwrap();
    fs::create_dir_all(&out).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    // Writes its arguments where the result should be.
    let good = "#!/bin/sh\nall=\"$*\"\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && o=$2; shift; done\necho \"$all\" > \"$o\"\n";

    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        set(variable, None);
    }
    assert!(matches!(embed_into(&sources, &out), Err(EmbedError::NoSources { .. })));
    fs::write(sources.join("b.cu"), "").unwrap();
    fs::write(sources.join("a.cu"), "").unwrap();
    fs::write(sources.join("a.rs"), "").unwrap();

    set("NVCC", Some(&root.join("absent")));
    let error = embed_into(&sources, &out).unwrap_err().to_string();
    assert!(error.contains("NVCC names no program"), "{error}");

    script(&root.join("home/bin/nvcc"), good).unwrap();
    set("NVCC", None);
    set("CUDA_HOME", Some(&root.join("home")));
    assert_eq!(embed_into(&sources, &out).unwrap(), ["a", "b"]);
    let asked = fs::read_to_string(out.join("a.fatbin")).unwrap();
    for part in ["--fatbin", "code=sm_80", "code=sm_90a", "code=compute_80", "cuda/a.cu"] {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(out.join("ppkt-nvcc-include/kernel.cuh").is_file());

    script(&root.join("bad"), "#!/bin/sh\necho 'line 3: no such thing' >&2\nexit 2\n").unwrap();
    set("NVCC", Some(&root.join("bad")));
    let error = embed_into(&sources, &out).unwrap_err().to_string();
    assert!(error.contains("no such thing") && error.contains(".cu"), "{error}");

    set("NVCC", None);
    set("CUDA_HOME", None);
    set("PATH", Some(&root));
    if !Path::new("/usr/local/cuda/bin/nvcc").is_file() {
        let error = embed_into(&sources, &out).unwrap_err().to_string();
        assert!(error.contains("CUDA_HOME") && error.contains("NVCC"), "{error}");
    }
    set("PATH", Some(Path::new(&path)));
    fs::remove_dir_all(&root).unwrap();
}
