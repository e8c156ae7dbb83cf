//! Files that are cut off, promise too much, or are something else: one error that names the file, and no panic.

use std::fs;
use std::time::{Duration, Instant};

use ppkt_data::{CloudFile, CloudFileOptions, DataError, Ply, PlyColumn};

use crate::{columns, floats, npy, npy_of, numpy, read, read_with};

#[track_caller]
fn refused(name: &str, bytes: &[u8], words: &str) {
    let error = read(name, bytes).expect_err(words);
    assert!(matches!(error, DataError::Text { .. }), "{error}");
    assert!(error.to_string().contains(words), "{words}: {error}");
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let axis = || PlyColumn::F32(vec![0.0, 1.0, 2.0]);
    let ply = Ply::new(3).with("x", axis()).with("y", axis()).with("z", axis()).to_bytes();
    let kitti = floats(&[1.0, 2.0, 3.0, 0.5]);
    for (name, whole) in [
        ("a.npy", fs::read(numpy("record.npy")).unwrap()),
        ("a.npz", fs::read(numpy("compressed.npz")).unwrap()),
        ("a.npz", fs::read(numpy("fortran.npz")).unwrap()),
        ("a.ply", ply),
        ("a.bin", kitti),
    ] {
        assert!(read(name, &whole).is_ok(), "{name}");
        for keep in 0..whole.len() {
            let error = read(name, &whole[..keep]).expect_err("a part is no whole");
            assert!(matches!(error, DataError::Text { .. }), "{name} {keep}: {error}");
        }
    }
}

#[test]
fn flipped_bits_are_refused_or_read_and_never_panic() {
    for name in ["compressed.npz", "fortran.npz", "record.npy"] {
        let whole = fs::read(numpy(name)).unwrap();
        let good = read(name, &whole).unwrap();
        for at in 0..whole.len() {
            for bit in [0, 3, 7] {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(cloud) = read(name, &damaged) {
                    // An archive has checksums: what is still read, is right, but for names and order of axes.
                    assert!(!name.ends_with('z') || cloud.points == good.points, "{name} {at} {bit}");
                }
            }
        }
    }
}

#[test]
fn promises_are_held_against_the_file_before_memory_is_asked_for() {
    let begun = Instant::now();
    let of = |shape: &str| npy(shape, &[1.0, 2.0, 3.0]);
    assert!(read("a.npy", &of("(1, 3)")).is_ok());
    for shape in [
        "(2, 3)",
        "(1000000000000, 3)",
        "(18446744073709551615, 18446744073709551615)",
        "(4611686018427387904, 4, 3)",
        "(99999999999999999999999, 3)",
        "(-1, 3)",
        "(1.5, 3)",
        "3",
    ] {
        assert!(read("a.npy", &of(shape)).is_err(), "{shape}");
    }
    refused("a.npy", &of("(3,)"), "[n, columns]");
    refused("a.npy", &of("(1, 1, 3)"), "[n, columns]");
    refused("a.npy", &npy("(0, 3)", &[]), "no points");
    // A header of four gigabytes, by its own account.
    let long = [&b"\x93NUMPY\x02\x00"[..], &u32::MAX.to_le_bytes(), b"{'descr'"].concat();
    refused("a.npy", &long, "more than numpy");
    refused("a.npy", b"\x93NUMPY\x07\x00\x10\x00{}", "version 7");
    // Brackets within brackets, each a call of the parser.
    let deep = npy_of(&format!("{{'descr': {}", "(".repeat(9_000)), &[]);
    refused("a.npy", &deep, "brackets");
    let vertices = "ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\nproperty float x\n\
                    property float y\nproperty float z\nend_header\n";
    refused("a.ply", vertices.as_bytes(), "ends before");
    // An entry that says it holds 60 GiB in 300 bytes.
    let mut bomb = fs::read(numpy("fortran.npz")).unwrap();
    let central = bomb.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bomb[central + 24..central + 28].copy_from_slice(&0xFFFF_FFF0u32.to_le_bytes());
    refused("a.npz", &bomb, "4294967280");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn nonsense_is_named() {
    for name in ["a.ply", "a.npy", "a.npz"] {
        refused(name, b"not a cloud at all", "it is no ");
        refused(name, b"", "it is no ");
    }
    refused("a.txt", b"1 2 3", "its name");
    refused("a", b"1 2 3", "its name");
    refused("a.bin", b"abc", "no multiple");
    refused("a.bin", b"", "no points");
    refused("a.bin", &floats(&[1.0, 2.0, 1e6, 0.5]), "which no sensor sees");
    refused("a.bin", &floats(&[1.0, f32::NAN, 3.0, 0.5]), "which no sensor sees");
    refused("a.npy", &npy("(2, 3)", &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]), "y of point 1");
    refused("a.npy", &npy("(1, 3)", &[0.0, 1.0, f32::INFINITY]), "z of point 0");
    refused("a.npy", &npy("(1, 6)", &[0.0, 1.0, 2.0, 0.5, 300.0, 0.0]), "colour of point 0");
    refused("a.npy", &npy("(1, 6)", &[0.0, 1.0, 2.0, 0.5, -0.1, 0.0]), "colour of point 0");
    refused("a.npy", &npy("(2, 3)", &[0.0, 1.0, 2.0, 3e6, 1.0, 2.0]), "metres");
    let text = npy_of("{'descr': '<U2', 'fortran_order': False, 'shape': (1, 3), }", &[0; 24]);
    refused("a.npy", &text, "numbers are");
    let objects = npy_of("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }", &[0; 24]);
    refused("a.npy", &objects, "Python objects");
    let axis = || PlyColumn::F32(vec![0.0]);
    refused("a.ply", &Ply::new(1).with("x", axis()).with("z", axis()).to_bytes(), "have no y");
    let missing = CloudFile::read(std::path::Path::new("no/such.ply"), &CloudFileOptions::default());
    assert!(matches!(missing, Err(DataError::Read { .. })));
    for (names, words) in [("x,y", "2 were named"), ("x,y,w", "\"w\" is no column"), ("x,x,z", "named twice")]
    {
        let error = read_with("a.npy", &npy("(1, 3)", &[1.0; 3]), &columns(names)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
