//! Checkpoints of PyTorch that are damaged, or no weights at all: one clear error each, and never a crash.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Cursor, Write};
use std::path::Path;

use ppkt_teacher::{TeacherError, TeacherOptions, TeacherUri, open};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

mod common;
use common::Numbers;

/// A file that PyTorch wrote: a zip file, or of the old kind.
fn written_by_pytorch(case: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    std::fs::read(folder.join(case).join("model.pth")).unwrap()
}

const CASES: [&str; 2] = ["timm_dino", "torchvision_swav_old"];

fn attempt(bytes: &[u8]) -> Result<(), TeacherError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    std::fs::write(&path, bytes).unwrap();
    open(&TeacherUri::File(path), &TeacherOptions::default()).map(|_| ())
}

/// The message for a file that is refused as a checkpoint.
fn refusal(bytes: &[u8]) -> String {
    let error = attempt(bytes).expect_err("it is refused");
    let message = error.to_string();
    assert!(matches!(error, TeacherError::NotCheckpoint { .. }), "{message}");
    assert!(message.contains("weights.pth") && message.contains("download it again"), "{message}");
    message
}

fn zip(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in parts {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn cut_anywhere() {
    for case in CASES {
        let bytes = written_by_pytorch(case);
        attempt(&bytes).unwrap();
        for keep in (16..bytes.len()).step_by(bytes.len() / 97).chain([bytes.len() - 1]) {
            refusal(&bytes[..keep]);
        }
    }
}

#[test]
fn any_damage_is_an_error_or_another_network_and_never_a_crash() {
    let mut numbers = Numbers::new(3);
    let mut below = |n: usize| ((numbers.next() + 1.0) / 2.0 * n as f32) as usize;
    for case in CASES {
        let bytes = written_by_pytorch(case);
        // The list of tensors is where a wrong byte means most: at the front of both kinds.
        for (range, times) in [(15_000.min(bytes.len()), 600), (bytes.len(), 200)] {
            for _ in 0..times {
                let mut damaged = bytes.clone();
                damaged[below(range)] = below(256) as u8;
                let _ = attempt(&damaged);
            }
        }
    }
}

#[test]
fn files_that_hold_no_tensors_say_what_they_are() {
    let pickle = |what: &[u8]| [&b"\x80\x02"[..], what, b"."].concat();
    let program = zip(&[("net/code/__torch__.py", b"x"), ("net/data.pkl", &pickle(b"N"))]);
    assert!(refusal(&program).contains("TorchScript"));
    assert!(refusal(&zip(&[("word/document.xml", b"<x/>")])).contains("data.pkl"));
    let whole = pickle(b"ctorchvision.models.resnet\nResNet\n)\x81}b");
    assert!(refusal(&zip(&[("net/data.pkl", &whole)])).contains("torchvision.models.resnet.ResNet"));
    let big = zip(&[("net/data.pkl", &pickle(b"}")), ("net/byteorder", b"big")]);
    assert!(refusal(&big).contains("largest byte first"));
    assert!(refusal(&zip(&[("net/data.pkl", b"cos\nsystem\nX\x04\0\0\0trueR.")])).contains("os.system"));
    assert!(refusal(&zip(&[("net/data.pkl", b"\x80\x04\x95nonsense")])).contains("makes no sense"));
    assert!(refusal(b"\x80\x04\x95\x10\0\0\0\0\0\0\0 some other pickle").contains("torch.save"));
    assert!(refusal(b"PK\x03\x04 a zip file, or what is left of it").contains("cut off"));
    let mut archive = vec![0u8; 512];
    archive[257..262].copy_from_slice(b"ustar");
    assert!(refusal(&archive).contains("2017"));
    // No tensors, but a dictionary: then as any file without a network.
    let error = attempt(&zip(&[("net/data.pkl", &pickle(b"}"))])).unwrap_err();
    assert!(matches!(error, TeacherError::UnknownFamily { n_tensors: 0, .. }), "{error}");
}

#[test]
fn a_part_that_is_compressed_is_refused() {
    let mut bytes = zip(&[("net/data.pkl", b"}.")]);
    let at = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bytes[at + 10] = 8;
    assert!(refusal(&bytes).contains("compressed"));
}

#[test]
fn a_tensor_stays_within_its_data() {
    // `conv1.weight` of one row of numbers: how many it has, where it begins, its size, its stride.
    let file = |numbers: u8, offset: u8, size: u8, stride: u8, data: &[u8]| {
        let mut p =
            b"}X\x0c\0\0\0conv1.weightctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage".to_vec();
        p.extend(b"ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK");
        p.extend([numbers, b't', b'Q', b'K', offset, b'K', size, 0x85, b'K', stride, 0x85, 0x89]);
        p.extend(b"tRs.");
        zip(&[("net/data.pkl", &p), ("net/data/0", data)])
    };
    let fits = attempt(&file(4, 1, 3, 1, &[0; 16])).unwrap_err();
    assert!(matches!(fits, TeacherError::UnknownFamily { n_tensors: 1, .. }), "{fits}");
    for (numbers, offset, size, stride, bytes) in
        [(4, 2, 3, 1, 16), (4, 0, 3, 2, 16), (4, 1, 3, 1, 15), (255, 0, 255, 255, 16)]
    {
        let message = refusal(&file(numbers, offset, size, stride, &vec![0; bytes]));
        assert!(message.contains("conv1.weight"), "{message}");
    }
    let without = zip(&[("net/data.pkl", b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((NcX\nFloatStorage\nX\x01\0\0\x009NK\x01tQK\0)))t.")]);
    assert!(attempt(&without).is_err());
}
