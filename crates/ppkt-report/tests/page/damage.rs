//! Folders that are half-written or hold nonsense.

use std::fs;
use std::path::Path;

use crate::folders;

fn notes_of(damage: impl FnOnce(&Path)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    folders::finetuning(dir.path());
    damage(dir.path());
    ppkt_report::write(dir.path(), None).unwrap().notes
}

#[test]
fn what_is_missing_is_said() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 6] = [
        ("no config.toml", |f| fs::remove_file(f.join("config.toml")).unwrap()),
        ("no run.json", |f| fs::remove_file(f.join("run.json")).unwrap()),
        ("No step is on record", |f| fs::remove_file(f.join("metrics.jsonl")).unwrap()),
        ("no cloud to show", |f| fs::remove_dir_all(f.join("samples")).unwrap()),
        ("stopped after 1 of 40 steps", |f| {
            fs::write(f.join("metrics.jsonl"), "{\"step\":0,\"loss\":1}\n").unwrap()
        }),
        ("half written", |f| {
            let text = fs::read_to_string(f.join("metrics.jsonl")).unwrap();
            fs::write(f.join("metrics.jsonl"), &text[..text.len() - 9]).unwrap();
        }),
    ];
    for (said, damage) in cases {
        let notes = notes_of(damage);
        assert!(notes.iter().any(|n| n.contains(said)), "{said} is not in {notes:?}");
    }
}

#[test]
fn pictures_and_clouds_cut_anywhere_are_left_out_by_name() {
    for file in ["pictures/00-room00001.png", "samples/00-room00001.ply"] {
        for share in [0.0, 0.01, 0.5, 0.8] {
            let notes = notes_of(|f| {
                let bytes = fs::read(f.join(file)).unwrap();
                fs::write(f.join(file), &bytes[..(share * bytes.len() as f64) as usize]).unwrap();
            });
            let name = file.rsplit('/').next().unwrap();
            assert!(
                notes.iter().any(|n| n.contains(name) && n.contains("left out")),
                "{share} of {file}: {notes:?}"
            );
        }
    }
}

/// A picture whose header promises billions of pixels must not take the memory of the machine.
#[test]
fn a_picture_that_promises_too_much_is_left_out() {
    let notes = notes_of(|f| {
        let path = f.join("pictures/00-room00001.png");
        let mut bytes = fs::read(&path).unwrap();
        bytes[16..24].copy_from_slice(&[0, 1, 134, 160, 0, 1, 134, 160]);
        // With a right checksum, so that only the size is wrong.
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        fs::write(&path, bytes).unwrap();
    });
    assert!(notes.iter().any(|n| n.contains("00-room00001.png") && n.contains("exceed")), "{notes:?}");
}

/// The checksum of PNG's chunks (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn nonsense_is_one_error_that_names_the_file() {
    let cases = [
        ("config.toml", "steps = = 3\n", "line 1"),
        ("run.json", "{", "EOF"),
        ("metrics.jsonl", "loss goes down\n", "line 1"),
        ("validation.jsonl", "[1,2]\n", "line 1"),
        ("eval.json", "{\"task\":\"segmentation\"}", "classes"),
        ("eval.json", "{\"task\":\"s\",\"miou\":37.5,\"classes\":[]}", "37.5"),
        ("eval.json", "{\"task\":\"s\",\"classes\":[],\"confusion\":[[1]]}", "confusion"),
        ("eval.json", "{\"task\":\"s\",\"classes\":[{\"name\":\"a\",\"colour\":[256,0,0]}]}", "256"),
        ("labels.json", "\u{0}", "expected"),
        ("results.json", "{\"task\":\"s\",\"metric\":\"miou\",\"table\":[{\"share\":5,\"sides\":[]}]}", "5"),
        (
            "results.json",
            "{\"task\":\"s\",\"metric\":\"miou\",\"table\":[{\"share\":0.5,\"sides\":[{\"side\":\"a\",\"mean\":40,\"n\":1}]}]}",
            "40",
        ),
    ];
    for (file, text, said) in cases {
        let dir = tempfile::tempdir().unwrap();
        folders::finetuning(dir.path());
        fs::write(dir.path().join(file), text).unwrap();
        let error = ppkt_report::write(dir.path(), None).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(file) && message.contains(said), "{message}");
        assert!(!message.contains('\n') && !error.is_config(), "{message}");
        assert!(!dir.path().join("report.html").exists());
    }
    // Text that is none.
    let dir = tempfile::tempdir().unwrap();
    folders::pretraining(dir.path());
    fs::write(dir.path().join("config.toml"), [0xff, 0xfe]).unwrap();
    assert!(ppkt_report::write(dir.path(), None).unwrap_err().to_string().contains("config.toml"));
}

#[test]
fn a_folder_without_a_run_is_the_callers_mistake() {
    let dir = tempfile::tempdir().unwrap();
    for folder in [dir.path().to_owned(), dir.path().join("absent")] {
        let error = ppkt_report::write(&folder, None).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("no run folder"), "{error}");
    }
}

#[test]
fn a_page_that_cannot_be_written_leaves_no_rest() {
    let dir = tempfile::tempdir().unwrap();
    folders::pretraining(dir.path());
    let out = dir.path().join("absent/page.html");
    let error = ppkt_report::write(dir.path(), Some(&out)).unwrap_err().to_string();
    assert!(error.contains("--out") && error.contains("page.html"), "{error}");
    // A folder stands in the way: the page is written beside it, and cannot take its place.
    fs::create_dir(dir.path().join("report.html")).unwrap();
    assert!(ppkt_report::write(dir.path(), None).is_err());
    let rest = fs::read_dir(dir.path())
        .unwrap()
        .flatten()
        .any(|e| e.path().extension().is_some_and(|x| x == "partial"));
    assert!(!rest);
}
