//! Every fault that a folder can have, in every layout: one clear error, and a line in the report.

use std::fs;
use std::path::Path;

use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use ppkt_data::{DataError, DataUri, Report, Severity, Split, verify};

use crate::fixture::{FRAMES, Fixture, LAYOUTS, size};

fn report(fixture: &Fixture) -> Report {
    verify(&fixture.uri(), None).unwrap()
}

/// Exactly one frame is bad, the report says so with this kind, and the others can still be read.
#[track_caller]
fn one_bad_frame(fixture: &Fixture, frame: usize, kind: &str) -> DataError {
    let data = fixture.uri().open(Split::All).unwrap();
    let errors: Vec<(usize, DataError)> =
        (0..data.len()).filter_map(|i| data.sample(i).err().map(|e| (i, e))).collect();
    let layout = fixture.layout;
    assert_eq!(errors.len(), 1, "{layout}: {errors:?}");
    assert_eq!(errors[0].0, frame, "{layout}");
    let report = report(fixture);
    assert_eq!(
        (report.checked, report.good, report.errors()),
        (FRAMES, FRAMES - 1, 1),
        "{layout}: {:?}",
        report.faults
    );
    let fault = report.faults.iter().find(|f| f.severity == Severity::Error).unwrap();
    assert_eq!(fault.kind, kind, "{layout}: {fault:?}");
    assert_eq!(fault.frame.as_deref(), Some(data.frame_name(frame).as_str()), "{layout}");
    assert!(
        fault.path.as_ref().is_some_and(|p| fault.message.contains(&format!("{p:?}"))),
        "{layout}: {fault:?}"
    );
    let error = errors.into_iter().next().unwrap().1;
    assert!(!error.is_configuration(), "{layout}: {error}");
    error
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn truncated_photos() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        truncate(&fixture.photo(1));
        let error = one_bad_frame(&fixture, 1, "damaged image");
        assert!(error.to_string().contains("photo cannot be decoded"), "{error}");
    }
}

#[test]
fn truncated_depth() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        truncate(&fixture.depth(2));
        let error = one_bad_frame(&fixture, 2, "damaged image");
        assert!(error.to_string().contains("depth image cannot be decoded"), "{error}");
    }
}

#[test]
fn truncated_jpeg() {
    let fixture = Fixture::new("nyuv2");
    fs::remove_file(fixture.photo(0)).unwrap();
    let path = fixture.photo(0).with_extension("jpg");
    RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, 9])).save(&path).unwrap();
    assert!(fixture.uri().open(Split::All).unwrap().sample(0).is_ok());
    truncate(&path);
    let error = one_bad_frame(&fixture, 0, "damaged image");
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn depth_of_another_size() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        ImageBuffer::<Luma<u16>, _>::from_pixel(32, 24, Luma([1000u16])).save(fixture.depth(0)).unwrap();
        let error = one_bad_frame(&fixture, 0, "wrong size").to_string();
        let (width, height) = size(layout);
        assert!(error.contains("32×24") && error.contains(&format!("{width}×{height}")), "{error}");
    }
}

#[test]
fn photos_of_another_size() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        RgbImage::from_fn(100, 90, |x, _| image::Rgb([x as u8; 3])).save(fixture.photo(3)).unwrap();
        let error = one_bad_frame(&fixture, 3, "wrong size").to_string();
        // Where the camera has no size of its own, it is depth that does not fit the photo.
        assert!(error.contains("100×90"), "{error}");
    }
}

#[test]
fn depth_that_is_no_depth() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let (width, height) = size(layout);
        GrayImage::new(width, height).save(fixture.depth(0)).unwrap();
        let error = one_bad_frame(&fixture, 0, "damaged image");
        assert!(error.to_string().contains("16-bit"), "{error}");
    }
}

#[test]
fn files_that_are_not_there() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        fs::remove_file(fixture.photo(1)).unwrap();
        let error = one_bad_frame(&fixture, 1, "missing file");
        assert!(error.to_string().contains("photo of frame"), "{error}");
        let fixture = Fixture::new(layout);
        fs::remove_file(fixture.depth(1)).unwrap();
        let error = one_bad_frame(&fixture, 1, "missing file");
        assert!(error.to_string().contains("depth image of frame"), "{error}");
    }
}

#[test]
fn files_that_are_empty_or_something_else() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        fs::write(fixture.photo(1), "").unwrap();
        assert!(one_bad_frame(&fixture, 1, "damaged image").to_string().contains("empty"));
        fs::write(fixture.photo(1), "<html>404</html>").unwrap();
        one_bad_frame(&fixture, 1, "damaged image");
        fs::remove_file(fixture.photo(1)).unwrap();
        fs::create_dir(fixture.photo(1)).unwrap();
        one_bad_frame(&fixture, 1, "unreadable file");
    }
}

#[test]
fn poses_that_are_not_there() {
    for layout in ["sevenscenes", "sunrgbd", "frames"] {
        let fixture = Fixture::new(layout);
        fs::remove_file(fixture.pose(2).unwrap()).unwrap();
        let error = one_bad_frame(&fixture, 2, "missing file");
        assert!(error.to_string().contains("pose of frame"), "{error}");
    }
    let fixture = Fixture::new("tum");
    fs::remove_file(fixture.file("groundtruth.txt")).unwrap();
    let error = fixture.uri().open(Split::All).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("poses=none"), "{error}");
}

#[test]
fn poses_that_are_none() {
    for layout in ["sevenscenes", "sunrgbd", "frames"] {
        let fixture = Fixture::new(layout);
        for (matrix, part) in [
            ("nan nan nan nan nan nan nan nan nan nan nan nan", "finite"),
            ("1 0 0 0 0 1 0 -inf 0 0 1 0", "finite"),
            ("2 0 0 0 0 2 0 0 0 0 2 0", "rotation"),
            ("-1 0 0 0 0 1 0 0 0 0 1 0", "rotation"),
            ("0 0 0 0 0 0 0 0 0 0 0 0", "rotation"),
            ("1 0 0 0 0 1 0", "numbers"),
            ("tracking lost", "no number"),
            ("", "0 numbers"),
        ] {
            fs::write(fixture.pose(2).unwrap(), matrix).unwrap();
            let error = one_bad_frame(&fixture, 2, "bad pose");
            assert!(error.to_string().contains(part), "{layout} {matrix:?}: {error}");
        }
    }
}

#[test]
fn a_frame_with_two_faults_shows_both() {
    let fixture = Fixture::new("frames");
    fs::write(fixture.pose(1).unwrap(), "nan").unwrap();
    truncate(&fixture.photo(1));
    truncate(&fixture.depth(1));
    let report = report(&fixture);
    assert_eq!((report.errors(), report.good), (3, FRAMES - 1), "{:?}", report.faults);
}

#[test]
fn empty_folders_and_wrong_ones() {
    for layout in LAYOUTS {
        let fixture = Fixture::empty(layout);
        let error = fixture.uri().open(Split::All).err().unwrap();
        assert!(matches!(error, DataError::Empty { .. }) && error.is_configuration(), "{layout}: {error}");
        assert!(error.to_string().contains("no frame found"), "{error}");
        let found = report(&fixture);
        assert!(!found.is_good() && found.faults[0].kind == "empty", "{layout}: {:?}", found.faults);
        // Something else is in it.
        fixture.write("notes.txt", "nothing");
        fixture.write("picture.png", "nothing");
        assert!(matches!(fixture.uri().open(Split::All).err().unwrap(), DataError::Empty { .. }), "{layout}");
        // And where there is no folder at all.
        let nowhere: DataUri = format!("{layout}:{}/none", fixture.root().display()).parse().unwrap();
        let error = nowhere.open(Split::All).err().unwrap();
        assert!(matches!(error, DataError::NoFolder { .. }) && error.is_configuration(), "{layout}: {error}");
        assert!(verify(&nowhere, None).is_err());
        let file: DataUri = format!("{layout}:{}/notes.txt", fixture.root().display()).parse().unwrap();
        assert!(matches!(file.open(Split::All).err().unwrap(), DataError::NoFolder { .. }));
    }
}

#[test]
fn lists_that_are_broken() {
    let fixture = Fixture::new("nyuv2");
    fs::remove_file(fixture.file("test.txt")).unwrap();
    let error = fixture.uri().open(Split::Train).err().unwrap().to_string();
    assert!(error.contains("test.txt is missing"), "{error}");
    let tum = Fixture::new("tum");
    for (file, text) in [
        ("rgb.txt", "100.0\n"),
        ("rgb.txt", "yesterday rgb/0.png\n"),
        ("depth.txt", "nan depth/0.png\n"),
        ("groundtruth.txt", "100 0 0 0 0 0 1\n"),
        ("groundtruth.txt", "100 0 0 0 0 0 x 1\n"),
        ("groundtruth.txt", "# only a header\n"),
    ] {
        let before = fs::read(tum.file(file)).unwrap();
        tum.write(file, text);
        let error = tum.uri().open(Split::All).err().unwrap();
        assert!(matches!(error, DataError::Text { .. }), "{file} {text:?}: {error}");
        assert_eq!(report(&tum).faults[0].kind, "damaged text");
        fs::write(tum.file(file), before).unwrap();
    }
    fs::write(tum.file("rgb.txt"), [0xFF, 0xFE, 0x00]).unwrap();
    assert!(tum.uri().open(Split::All).err().unwrap().to_string().contains("UTF-8"));
}

#[test]
fn labels_beyond_the_classes() {
    let fixture = Fixture::new("nyuv2");
    GrayImage::from_pixel(640, 480, Luma([41])).save(fixture.file("label40/000002.png")).unwrap();
    let error = one_bad_frame(&fixture, 1, "bad labels");
    assert!(error.to_string().contains("number 41") && error.to_string().contains("end at 40"), "{error}");
    GrayImage::new(64, 48).save(fixture.file("label40/000002.png")).unwrap();
    one_bad_frame(&fixture, 1, "wrong size");
    fs::remove_file(fixture.file("label40/000002.png")).unwrap();
    one_bad_frame(&fixture, 1, "missing file");
    assert!(fixture.uri_with("?classes=none").open(Split::All).unwrap().sample(1).is_ok());
}

#[test]
fn frames_listed_twice() {
    let fixture = Fixture::new("nyuv2");
    fixture.write("train.txt", "000001\n000002\n000002\n000004\n");
    let report = report(&fixture);
    let messages: Vec<&str> = report.faults.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("twice") && messages[1].contains("not honest"), "{messages:?}");
    assert!(report.is_good());
}

#[test]
fn warnings_about_what_can_be_read() {
    let warn = |change: &dyn Fn(&Fixture)| {
        let fixture = Fixture::new("frames");
        change(&fixture);
        let report = report(&fixture);
        assert!(report.is_good(), "{:?}", report.faults);
        report.faults.iter().map(|f| f.kind).collect::<Vec<_>>()
    };
    let toml = |from: &'static str, to: &'static str| {
        move |f: &Fixture| f.write("frames.toml", &crate::fixture::FRAMES_TOML.replace(from, to))
    };
    let kinds = warn(&|f: &Fixture| fs::copy(f.photo(0), f.photo(1)).map(|_| ()).unwrap());
    assert_eq!(kinds, ["duplicate photo"]);
    let kinds = warn(&|f: &Fixture| RgbImage::new(80, 60).save(f.photo(1)).unwrap());
    assert_eq!(kinds, ["blank photo"]);
    let depth = |value: u16| {
        move |f: &Fixture| {
            ImageBuffer::<Luma<u16>, _>::from_pixel(80, 60, Luma([value])).save(f.depth(3)).unwrap()
        }
    };
    assert_eq!(warn(&depth(1000)), ["flat depth"]);
    let kinds = warn(&toml("encoding = \"millimetres\"", "metres_per_unit = 0.00001"));
    assert_eq!(kinds[0], "depth scale");
    let kinds = warn(&toml("encoding = \"millimetres\"", "metres_per_unit = 0.1"));
    assert_eq!(kinds[0], "depth scale");
}

#[test]
fn a_frame_without_depth_has_no_point() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let (width, height) = size(layout);
        ImageBuffer::<Luma<u16>, Vec<u16>>::new(width, height).save(fixture.depth(1)).unwrap();
        let error = fixture.uri().open(Split::All).unwrap().sample(1).unwrap_err();
        assert!(matches!(error, DataError::NoPoints { .. }), "{layout}: {error}");
        let report = report(&fixture);
        assert!(report.faults.iter().any(|f| f.kind == "no depth"), "{layout}: {:?}", report.faults);
    }
}

#[test]
fn sevenscenes_asks_for_its_calibration() {
    let fixture = Fixture::new("sevenscenes");
    fs::remove_file(fixture.file("color-calibration.json")).unwrap();
    let error = fixture.uri().open(Split::All).err().unwrap();
    assert!(error.is_configuration(), "{error}");
    for part in ["calibration=FILE", "calibration=estimated", "registered=yes"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(report(&fixture).faults[0].kind, "calibration missing");
    let registered = fixture.uri_with("?registered=yes").open(Split::All).unwrap();
    assert!(registered.notes().iter().any(|n| n.contains("22 pixels")));
    assert!(registered.sample(0).is_ok());
    // A calibration that is none.
    for text in [
        "{",
        "{\"color\": 1}",
        r#"{"color": {"fx": 0, "fy": 1, "cx": 1, "cy": 1, "width": 640, "height": 480},
            "T_color_from_depth": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}"#,
        r#"{"color": {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 640, "height": 480},
            "T_color_from_depth": [[2,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}"#,
    ] {
        fixture.write("cal.json", text);
        let uri = fixture.uri_with(&format!("?calibration={}", fixture.file("cal.json").display()));
        let error = uri.open(Split::All).err().unwrap();
        assert!(matches!(error, DataError::Descriptor { .. }), "{error}");
    }
}

#[test]
fn an_offset_the_wrong_way_round_is_noticed() {
    let fixture = Fixture::new("sevenscenes");
    let text = fs::read_to_string(fixture.file("color-calibration.json")).unwrap();
    // 30 m beside: millimetres taken for metres.
    fixture.write("color-calibration.json", &text.replacen("[[1, 0, 0, 0]", "[[1, 0, 0, 30]", 1));
    let report = report(&fixture);
    assert!(report.faults.iter().any(|f| f.kind == "no overlap"), "{:?}", report.faults);
}
