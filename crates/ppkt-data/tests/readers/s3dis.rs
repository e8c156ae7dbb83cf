//! S3DIS, written small in its own layout and read back, with every fault.

use std::fs;
use std::path::{Path, PathBuf};

use ppkt_data::{DataError, DataUri, Severity, Split, inspect, verify};

/// A folder of two areas with two rooms each: a floor, two walls, stairs and a chair, 4 m wide.
struct Rooms(tempfile::TempDir);

impl Rooms {
    fn new() -> Self {
        let rooms = Self(tempfile::tempdir().unwrap());
        for (area, room) in [(1, "office_1"), (1, "hallway_2"), (5, "hallway_6"), (5, "WC_1")] {
            let folder = rooms.0.path().join(format!("Area_{area}/{room}"));
            fs::create_dir_all(folder.join("Annotations")).unwrap();
            let mut whole = String::new();
            for (name, x, colour) in [
                ("floor_1", 0.0, "200 100 50"),
                ("wall_1", 1.0, "10 20 30"),
                ("wall_2", 2.0, "10 20 30"),
                ("stairs_1", 3.0, "255 255 255"),
                ("chair_11", 4.0, "1.000000 2.000000 3.000000"),
            ] {
                let lines: String = (0..20).map(|i| format!("{x:.3} {i}.250 -0.500 {colour}\n")).collect();
                fs::write(folder.join(format!("Annotations/{name}.txt")), &lines).unwrap();
                whole += &lines;
            }
            fs::write(folder.join(format!("{room}.txt")), whole).unwrap();
        }
        // What the archive and file managers leave behind.
        fs::write(rooms.0.path().join("Area_5/Area_5_alignmentAngle.txt"), "## \n").unwrap();
        fs::write(rooms.object("Area_1/office_1", ".DS_Store"), "x").unwrap();
        rooms
    }

    fn object(&self, room: &str, name: &str) -> PathBuf {
        self.0.path().join(room).join("Annotations").join(name)
    }

    fn uri(&self, query: &str) -> DataUri {
        format!("s3dis:{}{query}", self.0.path().display()).parse().unwrap()
    }
}

fn names(uri: &DataUri, split: Split) -> Vec<String> {
    let part = uri.open(split).unwrap();
    (0..part.len()).map(|i| part.frame_name(i)).collect()
}

#[test]
fn rooms_are_read_with_their_classes() {
    let rooms = Rooms::new();
    let data = rooms.uri("").open(Split::All).unwrap();
    let classes = data.classes().unwrap();
    assert_eq!(classes.len_with_unlabelled(), 14);
    assert_eq!(classes.names()[13], "clutter");
    let room = data.sample(1).unwrap();
    assert_eq!(room.name, "Area_1/office_1");
    assert!(room.views.is_empty());
    assert_eq!((room.cloud.points.len(), room.cloud.colours.len()), (100, 100));
    let labels = room.cloud.classes.unwrap();
    for (point, (colour, label)) in room.cloud.points.iter().zip(room.cloud.colours.iter().zip(&labels)) {
        let (name, red) = match point[0] as usize {
            0 => ("floor", 200.0),
            1 | 2 => ("wall", 10.0),
            3 => ("clutter", 255.0),
            _ => ("chair", 1.0),
        };
        assert_eq!(classes.names()[usize::from(*label)], name);
        assert_eq!(colour[0], red / 255.0);
        assert_eq!(point[2], -0.5);
    }
    assert!(data.notes().iter().any(|n| n.contains("stairs") && n.contains("clutter")), "{:?}", data.notes());
}

#[test]
fn an_area_is_held_out() {
    let rooms = Rooms::new();
    assert_eq!(names(&rooms.uri(""), Split::Train), ["Area_1/hallway_2", "Area_1/office_1"]);
    assert_eq!(names(&rooms.uri(""), Split::Validation), ["Area_5/WC_1", "Area_5/hallway_6"]);
    assert_eq!(names(&rooms.uri("?area=1"), Split::Train), ["Area_5/WC_1", "Area_5/hallway_6"]);
    assert_eq!(names(&rooms.uri("?area=none"), Split::Train).len(), 4);
    assert_eq!(names(&rooms.uri("?every=2"), Split::All).len(), 2);
    for query in ["?area=none", "?area=2"] {
        let error = rooms.uri(query).open(Split::Validation).err().unwrap();
        assert!(error.is_configuration() && error.to_string().contains("area"), "{error}");
    }
    let error = rooms.uri("?area=7").open(Split::Train).err().unwrap().to_string();
    assert!(error.contains("area") && error.contains('7'), "{error}");
}

#[test]
fn the_folder_of_the_archive_and_the_one_above_are_the_same() {
    let rooms = Rooms::new();
    let above = tempfile::tempdir().unwrap();
    fs::rename(rooms.0.path(), above.path().join("Stanford3dDataset_v1.2_Aligned_Version")).unwrap();
    let uri: DataUri = format!("s3dis:{}", above.path().display()).parse().unwrap();
    assert_eq!(names(&uri, Split::All).len(), 4);
    let area = above.path().join("Stanford3dDataset_v1.2_Aligned_Version/Area_5");
    let error =
        format!("s3dis:{}", area.display()).parse::<DataUri>().unwrap().open(Split::All).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("above"), "{error}");
}

#[test]
fn the_fingerprint_follows_files_and_options() {
    let rooms = Rooms::new();
    let print = |query: &str| rooms.uri(query).open(Split::All).unwrap().fingerprint().unwrap();
    let before = print("");
    assert_eq!(before, print(""));
    assert_ne!(before, print("?area=1"));
    add(&rooms.object("Area_1/office_1", "wall_1.txt"), "1 2 3 4 5 6\n");
    assert_ne!(before, print(""));
}

fn add(path: &Path, text: &str) {
    let whole = fs::read_to_string(path).unwrap() + text;
    fs::write(path, whole).unwrap();
}

#[test]
fn the_damaged_line_of_the_published_files_is_repaired_and_told() {
    let rooms = Rooms::new();
    let path = rooms.object("Area_5/hallway_6", "floor_1.txt");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"22.348 6.692 3.048 185\x10187 182\n");
    fs::write(&path, bytes).unwrap();
    let data = rooms.uri("").open(Split::Validation).unwrap();
    let room = data.sample(1).unwrap();
    assert_eq!(room.cloud.points.len(), 101);
    assert!(room.cloud.points.contains(&[22.348, 6.692, 3.048]));
    let report = verify(&rooms.uri(""), None).unwrap();
    assert!(report.is_good());
    let warning = report.faults.iter().find(|f| f.severity == Severity::Warning).unwrap();
    assert_eq!(warning.frame.as_deref(), Some("Area_5/hallway_6"));
    assert!(warning.message.contains("floor_1.txt") && warning.message.contains("line 21"), "{warning:?}");
}

#[test]
fn every_fault_is_one_error_that_names_the_room() {
    type Damage = fn(&Rooms);
    let faults: [(&str, Damage, &str); 5] = [
        (
            "a cut file",
            |r| {
                let path = r.object("Area_1/office_1", "wall_1.txt");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, &text[..text.len() - 9]).unwrap();
            },
            "wall_1.txt",
        ),
        (
            "another file",
            |r| fs::write(r.object("Area_1/office_1", "wall_1.txt"), [0xFF; 999]).unwrap(),
            "wall_1.txt",
        ),
        (
            "a missing file",
            |r| fs::remove_dir_all(r.0.path().join("Area_1/office_1/Annotations")).unwrap(),
            "Annotations",
        ),
        (
            "a folder in place of a file",
            |r| {
                fs::remove_file(r.object("Area_1/office_1", "wall_1.txt")).unwrap();
                fs::create_dir(r.object("Area_1/office_1", "wall_1.txt")).unwrap();
            },
            "wall_1.txt",
        ),
        (
            "empty files",
            |r| {
                for name in ["floor_1", "wall_1", "wall_2", "stairs_1", "chair_11"] {
                    fs::write(r.object("Area_1/office_1", &format!("{name}.txt")), "").unwrap();
                }
            },
            "office_1",
        ),
    ];
    for (what, damage, word) in faults {
        let rooms = Rooms::new();
        damage(&rooms);
        let data = rooms.uri("").open(Split::Train).unwrap();
        let error = data.sample(1).unwrap_err();
        assert!(error.to_string().contains(word), "{what}: {error}");
        assert!(!error.is_configuration(), "{what}: {error}");
        data.sample(0).unwrap();
        let report = verify(&rooms.uri(""), None).unwrap();
        assert_eq!((report.checked, report.good, report.errors()), (4, 3, 1), "{what}: {:?}", report.faults);
        assert_eq!(report.faults[0].frame.as_deref(), Some("Area_1/office_1"), "{what}");
    }
}

#[test]
fn folders_without_rooms_say_what_is_expected() {
    let empty = tempfile::tempdir().unwrap();
    let uri: DataUri = format!("s3dis:{}", empty.path().display()).parse().unwrap();
    let error = uri.open(Split::Train).err().unwrap();
    assert!(matches!(error, DataError::Empty { .. }) && error.to_string().contains("Area_1"), "{error}");
    let report = verify(&uri, None).unwrap();
    assert_eq!(report.errors(), 1);
}

#[test]
fn inspection_and_report_count() {
    let rooms = Rooms::new();
    let inspection = inspect(&rooms.uri("")).unwrap();
    assert_eq!((inspection.train, inspection.validation), (2, 2));
    assert_eq!(inspection.first.points, 100);
    let report = verify(&rooms.uri(""), None).unwrap();
    let share = |name: &str| report.classes.as_ref().unwrap().iter().find(|c| c.name == name).unwrap().share;
    assert!((share("wall") - 0.4).abs() < 1e-9 && share("unlabelled") == 0.0);
    // A room in millimetres is noticed.
    let path = rooms.object("Area_1/office_1", "wall_1.txt");
    fs::write(path, "4000 1 1 1 1 1\n0 0 0 1 1 1\n").unwrap();
    let report = verify(&rooms.uri(""), None).unwrap();
    assert!(report.faults.iter().any(|f| f.kind == "size" && f.message.contains("metres")));
}
