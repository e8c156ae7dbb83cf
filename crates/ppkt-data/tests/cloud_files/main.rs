//! Clouds in files: every format as others write it, and everything that can be wrong with one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damage;
mod formats;

use std::path::{Path, PathBuf};

use ppkt_data::{CloudFile, CloudFileOptions, DataError};

/// A file that numpy wrote.
fn numpy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud_files/numpy").join(name)
}

/// Reads bytes under a name.
fn read_with(name: &str, bytes: &[u8], options: &CloudFileOptions) -> Result<CloudFile, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let read = CloudFile::read(&path, options);
    if let Err(error) = &read {
        assert_eq!(error.path(), Some(path.as_path()), "{error}");
    }
    read
}

fn read(name: &str, bytes: &[u8]) -> Result<CloudFile, DataError> {
    read_with(name, bytes, &CloudFileOptions::default())
}

fn columns(names: &str) -> CloudFileOptions {
    CloudFileOptions { columns: names.split(',').map(str::to_owned).collect(), ..Default::default() }
}

/// A `.npy` of 32-bit numbers, its header written out.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    npy_of(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"), &floats(values))
}

fn npy_of(header: &str, values: &[u8]) -> Vec<u8> {
    let mut header = header.as_bytes().to_vec();
    header.resize((header.len() + 11).next_multiple_of(64) - 11, b' ');
    header.push(b'\n');
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, &header, values].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
