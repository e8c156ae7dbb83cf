//! Every layout, written small and read back.

use ppkt_data::{DataError, Split, inspect, verify};
use ppkt_geometry::{Point3, frame};

use crate::fixture::{FRAMES, Fixture, LAYOUTS, size};

#[test]
fn every_layout_is_read() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let all = fixture.uri().open(Split::All).unwrap();
        assert_eq!(all.len(), FRAMES, "{layout}");
        for index in 0..all.len() {
            let scene = all.sample(index).unwrap();
            assert_eq!(scene.name, all.frame_name(index), "{layout}");
            assert!(!scene.cloud.points.is_empty(), "{layout}");
            assert_eq!(scene.cloud.points.len(), scene.cloud.colours.len());
            let view = &scene.views[0];
            if layout != "nyuv2" {
                assert_eq!(view.image.dimensions(), size(layout), "{layout}");
            }
            // Colours and geometry belong together: the box is red and near.
            let camera_from_world = view.world_from_camera.inverse();
            for (p, colour) in scene.cloud.points.iter().zip(&scene.cloud.colours) {
                let near = (camera_from_world * Point3::<frame::World>::from_f32(*p)).z() < 1.75;
                assert_eq!(near, colour[0] > 0.5, "{layout}");
            }
        }
    }
}

#[test]
fn frames_of_one_scene_have_its_name_where_the_data_tell() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let all = fixture.uri().open(Split::All).unwrap();
        let scenes: Vec<String> = (0..all.len()).map(|i| all.scene_name(i)).collect();
        let folder = fixture.root().file_name().unwrap().to_string_lossy();
        match layout {
            // A sequence, or frames in one world.
            "sevenscenes" | "tum" | "frames" => assert!(scenes.iter().all(|s| *s == folder), "{scenes:?}"),
            _ => assert!(scenes.iter().enumerate().all(|(i, s)| *s == all.frame_name(i)), "{scenes:?}"),
        }
    }
    let sequences = Fixture::new("sevenscenes");
    for sequence in ["seq-01", "seq-02"] {
        std::fs::create_dir(sequences.file(sequence)).unwrap();
    }
    for i in 0..FRAMES {
        for ending in ["color.png", "depth.png", "pose.txt"] {
            let name = format!("frame-{i:06}.{ending}");
            let to = format!("seq-0{}/{name}", 1 + i % 2);
            std::fs::rename(sequences.file(&name), sequences.file(&to)).unwrap();
        }
    }
    let all = sequences.uri().open(Split::All).unwrap();
    let scenes: Vec<String> = (0..FRAMES).map(|i| all.scene_name(i)).collect();
    assert_eq!(scenes, ["seq-01", "seq-01", "seq-02", "seq-02"]);
    // The part of SUN RGB-D that has a folder for each room.
    let rooms = Fixture::new("sunrgbd");
    let room = "xtion/sun3ddata/hotel_mr/scan1";
    std::fs::create_dir_all(rooms.file(room)).unwrap();
    for i in 0..2 {
        std::fs::rename(rooms.file(&format!("kv2/scene{i}")), rooms.file(&format!("{room}/{i}"))).unwrap();
    }
    let all = rooms.uri().open(Split::All).unwrap();
    let scenes: Vec<String> = (0..FRAMES).map(|i| all.scene_name(i)).collect();
    assert_eq!(scenes, ["kv2/scene2", "kv2/scene3", room, room]);
}

#[test]
fn every_world_has_z_up() {
    for layout in LAYOUTS {
        let scene = Fixture::new(layout).uri().open(Split::All).unwrap().sample(0).unwrap();
        let view = &scene.views[0];
        // Row 0 of the image is above the last row.
        let height = |row: u32| {
            let pixel = ppkt_geometry::PixelIdx { row, col: view.image.width() / 2 }.centre();
            (view.world_from_camera * view.camera.unproject_to_depth(pixel, 1.5).unwrap()).z()
        };
        assert!(height(0) > height(view.image.height() - 1) + 0.3, "{layout}");
    }
}

#[test]
fn parts_do_not_overlap_and_make_the_whole() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let uri = if matches!(layout, "nyuv2" | "frames") {
            fixture.uri()
        } else {
            fixture.uri().with_option("holdout", "0.5").unwrap()
        };
        let names = |split| {
            let part = uri.open(split).unwrap();
            (0..part.len()).map(|i| part.frame_name(i)).collect::<Vec<_>>()
        };
        let (train, validation, mut all) = (names(Split::Train), names(Split::Validation), names(Split::All));
        assert!(train.iter().all(|n| !validation.contains(n)), "{layout}");
        let mut both = [train, validation].concat();
        both.sort();
        all.sort();
        assert_eq!(both, all, "{layout}");
    }
}

#[test]
fn a_part_without_frames_says_how_to_get_some() {
    for layout in ["sevenscenes", "tum", "sunrgbd", "frames"] {
        let fixture = Fixture::new(layout);
        let uri = fixture.uri().with_option("holdout", "0").unwrap();
        let error = uri.open(Split::Validation).err().unwrap();
        assert!(error.is_configuration() && error.to_string().contains("holdout"), "{layout}: {error}");
        assert_eq!(uri.open(Split::Train).unwrap().len(), FRAMES);
    }
}

#[test]
fn options_of_all_folders() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let open = |key: &str, value: &str| fixture.uri().with_option(key, value).unwrap().open(Split::All);
        assert_eq!(open("every", "3").unwrap().len(), 2, "{layout}");
        let near = open("max_depth", "1.75").unwrap().sample(1).unwrap();
        assert!(near.cloud.colours.iter().all(|c| c[0] > 0.5), "{layout}");
        let far = open("min_depth", "1.75").unwrap().sample(1).unwrap();
        assert!(far.cloud.colours.iter().all(|c| c[0] < 0.5), "{layout}");
        for (key, value) in [("every", "0"), ("every", "x"), ("max_depth", "-1"), ("min_depth", "nan")] {
            let error = open(key, value).err().unwrap();
            assert!(matches!(error, DataError::BadOption { .. }), "{layout} {key}={value}: {error}");
            assert!(error.is_configuration());
        }
    }
}

#[test]
fn the_fingerprint_tells_folders_apart() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let print = |uri: ppkt_data::DataUri| uri.open(Split::All).unwrap().fingerprint().unwrap();
        let first = print(fixture.uri());
        assert_eq!(first.len(), 64);
        assert_eq!(first, print(fixture.uri()), "{layout}");
        assert_ne!(first, print(fixture.uri().with_option("every", "2").unwrap()), "{layout}");
        let photo = std::fs::read(fixture.photo(1)).unwrap();
        std::fs::write(fixture.photo(1), [&photo[..], b"x"].concat()).unwrap();
        assert_ne!(first, print(fixture.uri()), "{layout}");
    }
}

#[test]
fn a_good_folder_has_no_fault() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let report = verify(&fixture.uri(), None).unwrap();
        assert!(report.faults.is_empty(), "{layout}: {:?}", report.faults);
        assert_eq!((report.checked, report.good), (FRAMES, FRAMES), "{layout}");
        assert!(report.is_good());
        let depth = report.depth.unwrap();
        assert!((depth.near_m - 1.5).abs() < 0.01 && (depth.far_m - 2.0).abs() < 0.01, "{layout}: {depth:?}");
        assert!(depth.valid > 0.99 && depth.seen > 0.9, "{layout}: {depth:?}");
        let text = serde_json::to_string(&verify(&fixture.uri(), Some(2)).unwrap()).unwrap();
        assert!(text.contains("\"checked\":2"), "{text}");
    }
}

#[test]
fn inspection_counts() {
    for layout in LAYOUTS {
        let fixture = Fixture::new(layout);
        let found = inspect(&fixture.uri()).unwrap();
        assert_eq!(found.train + found.validation, FRAMES, "{layout}");
        assert_eq!(found.classes.is_some(), layout == "nyuv2");
        assert!(found.first.points > 1000 && found.first.views.len() == 1, "{layout}");
        assert!(found.first.bounds_m.iter().all(|b| b[0] <= b[1]));
        assert!(serde_json::to_string(&found).unwrap().contains("fingerprint"));
    }
}

#[test]
fn a_frame_beyond_the_end_is_an_error() {
    let fixture = Fixture::new("frames");
    let data = fixture.uri().open(Split::All).unwrap();
    assert!(matches!(data.sample(FRAMES).unwrap_err(), DataError::OutOfRange { len: FRAMES, .. }));
}

#[test]
fn nyuv2_groups_its_classes() {
    let fixture = Fixture::new("nyuv2");
    let classes = |query: &str| {
        let data = fixture.uri_with(query).open(Split::All).unwrap();
        let scene = data.sample(0).unwrap();
        let mut found = scene.cloud.classes.clone().unwrap_or_default();
        found.sort_unstable();
        found.dedup();
        let names: Vec<String> = data.classes().map(|c| c.names().to_vec()).unwrap_or_default();
        found.iter().map(|c| names[usize::from(*c)].clone()).collect::<Vec<_>>()
    };
    assert_eq!(classes("?classes=40"), ["wall", "bed"]);
    assert_eq!(classes(""), ["bed", "wall"]);
    assert!(classes("?classes=none").is_empty());
    // The folder's own table wins.
    fixture.write("classes40.csv", "id40,name40,id13,name13\n0,unlabelled,0,unlabelled\n1,wall,12,wall\n2,floor,5,floor\n3,c,6,f\n4,chair,4,chair\n");
    assert_eq!(classes("?classes=40"), ["wall", "chair"]);
    assert_eq!(classes(""), ["chair", "wall"]);
}

#[test]
fn sequences_of_sevenscenes_follow_the_official_split() {
    let fixture = Fixture::new("sevenscenes");
    let inner = tempfile::tempdir().unwrap();
    for seq in ["seq-01", "seq-02"] {
        std::fs::create_dir(inner.path().join(seq)).unwrap();
        for entry in std::fs::read_dir(fixture.root()).unwrap().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("frame-") {
                std::fs::copy(entry.path(), inner.path().join(seq).join(name)).unwrap();
            }
        }
    }
    std::fs::write(inner.path().join("TestSplit.txt"), "sequence2\n").unwrap();
    let uri: ppkt_data::DataUri =
        format!("sevenscenes:{}?calibration=estimated", inner.path().display()).parse().unwrap();
    let held_out = uri.open(Split::Validation).unwrap();
    assert_eq!(held_out.len(), FRAMES);
    assert_eq!(held_out.frame_name(1), "seq-02/frame-000001");
    assert_eq!(uri.open(Split::Train).unwrap().frame_name(0), "seq-01/frame-000000");
    assert!(held_out.sample(0).unwrap().cloud.points.len() > 200_000);
    assert!(held_out.notes().iter().any(|n| n.contains("estimate")));
}

#[test]
fn tum_frames_without_a_pose_are_counted() {
    let fixture = Fixture::new("tum");
    fixture.write(
        "groundtruth.txt",
        "# t x y z qx qy qz qw\n99.95 0 0 0 0 0 0 1\n100.04 0 0 0.09 0 0 0 1\n100.99 nan nan nan 0 0 0 0\n102.0 0 0 7 0 0 0 1\n",
    );
    let data = fixture.uri().open(Split::All).unwrap();
    let names: Vec<String> = (0..data.len()).map(|i| data.frame_name(i)).collect();
    assert_eq!(names, ["100.000000", "102.000000"]);
    assert!(data.notes().iter().any(|n| n.contains("2 frames have no pose")), "{:?}", data.notes());
    assert!(data.notes().iter().any(|n| n.contains("1 lines")), "{:?}", data.notes());
    // Between two poses, at its own time.
    let z = data.sample(0).unwrap().views[0].world_from_camera.translation().z;
    assert!((z - 0.05).abs() < 1e-9, "{z}");
    // Without poses all four frames are there.
    assert_eq!(fixture.uri_with("?camera=freiburg1&poses=none").open(Split::All).unwrap().len(), FRAMES);
}

#[test]
fn tum_cameras_are_named() {
    let fixture = Fixture::new("tum");
    let open = |query: &str| fixture.uri_with(query).open(Split::All);
    let error = open("").err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("camera=freiburg1"), "{error}");
    let fx = |query: &str| open(query).unwrap().sample(0).unwrap().views[0].camera.fx();
    assert_eq!(fx("?camera=freiburg2"), 520.9);
    assert_eq!(fx("?camera=500,501,320,240"), 500.0);
    assert!(open("?camera=500,501").err().unwrap().is_configuration());
    // By the folder's name.
    let named = fixture.root().join("rgbd_dataset_freiburg3_office");
    std::fs::create_dir(&named).unwrap();
    for name in ["rgb.txt", "depth.txt", "groundtruth.txt"] {
        let text = std::fs::read_to_string(fixture.file(name)).unwrap();
        std::fs::write(named.join(name), text.replace("rgb/", "../rgb/").replace("depth/", "../depth/"))
            .unwrap();
    }
    let uri: ppkt_data::DataUri = format!("tum:{}", named.display()).parse().unwrap();
    assert_eq!(uri.open(Split::All).unwrap().sample(0).unwrap().views[0].camera.fx(), 535.4);
}
