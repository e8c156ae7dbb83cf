//! ScanNet's labelled scans, written small in their own layout and read back, with every fault.

use std::fs;
use std::path::PathBuf;

use ppkt_data::{
    DataError, DataUri, LabelConfig, LabelUnit, Ply, PlyColumn, Severity, Split, inspect, verify,
};

/// Vertices of a scan.
const N: usize = 60;

/// A folder as the download script leaves it: four scans of three rooms.
struct Scans(tempfile::TempDir);

const SCANS: [&str; 4] = ["scene0000_00", "scene0000_01", "scene0001_00", "scene0002_00"];

impl Scans {
    fn new() -> Self {
        let scans = Self(tempfile::tempdir().unwrap());
        for name in SCANS {
            fs::create_dir_all(scans.0.path().join("scans").join(name)).unwrap();
            let xyz = |k: usize| PlyColumn::F32((0..N).map(|i| (i * (k + 1)) as f32 * 0.05).collect());
            let colour = |k: usize| PlyColumn::U8((0..N).map(|i| (i + 50 * k) as u8).collect());
            let mesh = Ply::new(N)
                .with("x", xyz(0))
                .with("y", xyz(1))
                .with("z", xyz(2))
                .with("red", colour(0))
                .with("green", colour(1))
                .with("blue", colour(2))
                .with("alpha", PlyColumn::U8(vec![255; N]));
            scans.write(name, "_vh_clean_2.ply", with_a_face(&mesh));
            // Of the NYU-40: wall, floor, nothing, refrigerator, ceiling (none of the 20), other furniture.
            scans.labels(name, |i| [1, 2, 0, 24, 22, 39][i / 10]);
            let segments: Vec<usize> = (0..N).map(|i| 7 * (i / 10)).collect();
            scans.write(
                name,
                "_vh_clean_2.0.010000.segs.json",
                serde_json::json!({"params": {"kThresh": "0.0001"}, "sceneId": name, "segIndices": segments})
                    .to_string(),
            );
            scans.write(
                name,
                ".aggregation.json",
                serde_json::json!({"sceneId": format!("scannet.{name}"), "segGroups": [
                    {"id": 0, "objectId": 0, "segments": [0, 14], "label": "wall"},
                    {"id": 1, "objectId": 1, "segments": [7, 14], "label": "couch"},
                    {"id": 2, "objectId": 2, "segments": [21], "label": "loveseat"},
                    {"id": 3, "objectId": 3, "segments": [28], "label": "rare thing"},
                ]})
                .to_string(),
            );
        }
        scans.list("scannetv2_train.txt", &["scene0000_00", "scene0000_01", "scene0001_00", "scene0099_00"]);
        scans.list("scannetv2_val.txt", &["scene0002_00"]);
        scans
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.0.path().join("scans").join(name).join(format!("{name}{ending}"))
    }

    fn write(&self, name: &str, ending: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name, ending), bytes).unwrap();
    }

    fn labels(&self, name: &str, number: impl Fn(usize) -> u16) {
        let labels = Ply::new(N).with("label", PlyColumn::U16((0..N).map(number).collect()));
        self.write(name, "_vh_clean_2.labels.ply", with_a_face(&labels));
    }

    fn list(&self, file: &str, scans: &[&str]) -> PathBuf {
        let path = self.0.path().join(file);
        fs::write(&path, scans.join("\n")).unwrap();
        path
    }

    /// The table, with a name for each of the 200 and two that share a class or have none.
    fn table(&self) {
        let known: toml::Table = include_str!("../../../../datasets/scannet/dataset.toml").parse().unwrap();
        let mut text = String::from("id\traw_category\tcategory\tcount\tnyu40id\n");
        for class in known["classes"]["scannet200"].as_array().unwrap() {
            text += &format!("{}\t{}\tx\t5\t3\n", class["id"], class["name"].as_str().unwrap());
        }
        text += "6\tloveseat\tcouch\t2\t6\n9999\trare thing\tx\t1\t40\n";
        fs::write(self.0.path().join("scannetv2-labels.combined.tsv"), text).unwrap();
    }

    fn uri(&self, query: &str) -> DataUri {
        format!("scannet:{}{query}", self.0.path().display()).parse().unwrap()
    }

    fn fault(&self, query: &str) -> DataError {
        self.uri(query).open(Split::Train).err().unwrap()
    }
}

/// What follows the vertices in a mesh.
fn with_a_face(ply: &Ply) -> Vec<u8> {
    let mut bytes = ply.to_bytes();
    let end = bytes.windows(10).position(|w| w == b"end_header").unwrap();
    bytes.splice(end..end, *b"element face 1\nproperty list uchar int vertex_indices\n");
    bytes.push(3);
    (0..3i32).for_each(|i| bytes.extend(i.to_le_bytes()));
    bytes
}

fn names(uri: &DataUri, split: Split) -> Vec<String> {
    let part = uri.open(split).unwrap();
    (0..part.len()).map(|i| part.frame_name(i)).collect()
}

#[test]
fn twenty_classes_are_those_of_the_benchmark() {
    let scans = Scans::new();
    let data = scans.uri("").open(Split::Train).unwrap();
    let classes = data.classes().unwrap();
    assert_eq!(classes.len_with_unlabelled(), 21);
    let scan = data.sample(1).unwrap();
    assert_eq!((scan.name.as_str(), scan.views.len(), scan.cloud.points.len()), ("scene0000_01", 0, N));
    assert_eq!(scan.cloud.points[10], [0.5, 1.0, 1.5]);
    assert_eq!(scan.cloud.colours[10], [10.0 / 255.0, 60.0 / 255.0, 110.0 / 255.0]);
    let labels = scan.cloud.classes.unwrap();
    let wanted = ["wall", "floor", "unlabelled", "refrigerator", "unlabelled", "otherfurniture"];
    for (i, label) in labels.iter().enumerate() {
        assert_eq!(classes.names()[usize::from(*label)], wanted[i / 10], "vertex {i}");
    }
}

#[test]
fn two_hundred_classes_come_from_what_annotators_wrote() {
    let scans = Scans::new();
    let question = scans.fault("?classes=200");
    assert!(question.is_configuration() && question.to_string().contains("combined.tsv"), "{question}");
    scans.table();
    let data = scans.uri("?classes=200").open(Split::Train).unwrap();
    let classes = data.classes().unwrap();
    assert_eq!(classes.len_with_unlabelled(), 201);
    let labels = data.sample(0).unwrap().cloud.classes.unwrap();
    // The later object has the segment that two claim; one name is none of the 200; one segment is of no object.
    let wanted = ["wall", "couch", "couch", "couch", "unlabelled", "unlabelled"];
    for (i, label) in labels.iter().enumerate() {
        assert_eq!(classes.names()[usize::from(*label)], wanted[i / 10], "vertex {i}");
    }
    // A name that is not in the table is told once the scan is read.
    let text = fs::read_to_string(scans.path("scene0000_00", ".aggregation.json")).unwrap();
    scans.write("scene0000_00", ".aggregation.json", text.replace("loveseat", "nameless"));
    let report = verify(&scans.uri("?classes=200"), None).unwrap();
    assert!(report.faults.iter().any(|f| f.message.contains("1 of its objects")), "{:?}", report.faults);
    // Without labels none of the files is needed.
    fs::remove_file(scans.path("scene0000_00", ".aggregation.json")).unwrap();
    fs::remove_file(scans.path("scene0000_00", "_vh_clean_2.labels.ply")).unwrap();
    let plain = scans.uri("?classes=none").open(Split::Train).unwrap();
    assert!(plain.classes().is_none() && plain.sample(0).unwrap().cloud.classes.is_none());
}

#[test]
fn lists_decide_what_is_trained_on() {
    let scans = Scans::new();
    assert_eq!(names(&scans.uri(""), Split::Train), SCANS[..3]);
    assert_eq!(names(&scans.uri(""), Split::Validation), SCANS[3..]);
    let notes = scans.uri("").open(Split::All).unwrap().notes().join("; ");
    assert!(notes.contains("3 of the 4 scans in scannetv2_train.txt"), "{notes}");
    // The list of the benchmark with fewer scans.
    let few = scans.list("scannet_20_scenes.txt", &["scene0001_00"]);
    let uri = scans.uri(&format!("?train={}", few.display()));
    assert_eq!(names(&uri, Split::Train), ["scene0001_00"]);
    assert_eq!(names(&uri, Split::Validation), ["scene0002_00"]);
    assert_eq!(names(&uri, Split::All).len(), 2);
    let notes = uri.open(Split::All).unwrap().notes().join("; ");
    assert!(notes.contains("2 scans are in no list"), "{notes}");
    // The folder `scans` itself will do: the lists are above it.
    let below: DataUri = format!("scannet:{}/scans", scans.0.path().display()).parse().unwrap();
    assert_eq!(names(&below, Split::Validation), SCANS[3..]);
    let both = scans.list("both.txt", &["scene0002_00"]);
    let error = scans.fault(&format!("?train={}", both.display())).to_string();
    assert!(error.contains("scene0002_00") && error.contains("too"), "{error}");
    let other = scans.list("other.txt", &["scene0777_00"]);
    let error = scans.fault(&format!("?train={}", other.display()));
    assert!(error.is_configuration() && error.to_string().contains("none of the scans"), "{error}");
    // Without lists whole rooms are held out.
    fs::remove_file(scans.0.path().join("scannetv2_train.txt")).unwrap();
    fs::remove_file(scans.0.path().join("scannetv2_val.txt")).unwrap();
    let part = names(&scans.uri("?holdout=0.5"), Split::Train);
    assert_eq!(part.contains(&SCANS[0].to_owned()), part.contains(&SCANS[1].to_owned()), "{part:?}");
    assert_eq!(names(&scans.uri("?every=3"), Split::All), ["scene0000_00", "scene0002_00"]);
}

#[test]
fn a_share_of_the_labels_by_scene_is_of_rooms() {
    let scans = Scans::new();
    let data = scans.uri("").open(Split::Train).unwrap();
    let rooms: Vec<String> = (0..3).map(|i| data.scene_name(i)).collect();
    assert_eq!(rooms, ["scene0000", "scene0000", "scene0001"]);
    let half = LabelConfig { share: 0.5, by: LabelUnit::Scene, ..LabelConfig::default() };
    let drawn: std::collections::BTreeSet<Vec<usize>> =
        (0..20).map(|seed| half.frames(&*data, seed)).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [vec![0, 1], vec![2]]);
}

#[test]
fn only_the_points_listed_are_learnt_from() {
    let scans = Scans::new();
    let list = scans.0.path().join("points20.json");
    let write = |text: &str| fs::write(&list, text).unwrap();
    let uri = scans.uri(&format!("?points={}", list.display()));
    write(r#"{"scene0000_00": [0, 15, 59], "scene0000_01": [3], "scene0001_00": [], "scene0500_00": [1]}"#);
    let labelled = |split, i| {
        let labels = uri.open(split).unwrap().sample(i).unwrap().cloud.classes.unwrap();
        (0..N).filter(|v| labels[*v] != 0).collect::<Vec<_>>()
    };
    assert_eq!(labelled(Split::Train, 0), [0, 15, 59]);
    assert_eq!(labelled(Split::Train, 1), [3]);
    assert_eq!(labelled(Split::Validation, 0).len(), 40, "held-out scans keep all");
    assert_ne!(
        uri.open(Split::All).unwrap().fingerprint().unwrap(),
        scans.uri("").open(Split::All).unwrap().fingerprint().unwrap()
    );
    write(r#"{"scene0000_00": [60], "scene0000_01": [3], "scene0001_00": []}"#);
    let error = uri.open(Split::Train).unwrap().sample(0).unwrap_err().to_string();
    assert!(error.contains("scene0000_00") && error.contains("vertex 60"), "{error}");
    write(r#"{"scene0000_00": [1]}"#);
    let error = uri.open(Split::Train).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("scene0000_01"), "{error}");
    write("scene0000_00 0 x");
    assert!(uri.open(Split::Train).err().unwrap().to_string().contains("line 1"));
}

#[test]
fn the_mistaken_numbers_of_the_published_files_are_told() {
    let scans = Scans::new();
    scans.labels("scene0001_00", |i| if i < 3 { 149 } else { 1 });
    let report = verify(&scans.uri(""), None).unwrap();
    assert!(report.is_good());
    let warning = report.faults.iter().find(|f| f.severity == Severity::Warning).unwrap();
    assert_eq!(warning.frame.as_deref(), Some("scene0001_00"));
    assert!(warning.message.contains("3 vertices"), "{warning:?}");
    let labels = scans.uri("").open(Split::Train).unwrap().sample(2).unwrap().cloud.classes.unwrap();
    assert_eq!(labels[..4], [0, 0, 0, 1]);
}

#[test]
fn every_fault_is_one_error_that_names_the_scan() {
    type Damage = fn(&Scans);
    const MESH: &str = "_vh_clean_2.ply";
    const LABELS: &str = "_vh_clean_2.labels.ply";
    const SEGMENTS: &str = "_vh_clean_2.0.010000.segs.json";
    let faults: [(&str, Damage, &str); 13] = [
        ("", |s| cut(s, MESH), "ends"),
        ("", |s| s.write("scene0001_00", MESH, [7; 900]), "begins"),
        ("", |s| s.write("scene0001_00", MESH, Ply::new(N).to_bytes()), "no property"),
        ("", |s| s.write("scene0001_00", MESH, Ply::new(0).to_bytes()), "property x"),
        ("", not_finite, "vertex 0"),
        ("", |s| cut(s, LABELS), "ends"),
        ("", |s| fs::remove_file(s.path("scene0001_00", LABELS)).unwrap(), "missing"),
        ("", |s| s.write("scene0001_00", LABELS, Ply::new(0).to_bytes()), "no property label"),
        ("", |s| s.labels("scene0001_00", |_| 900), "60 of its 60"),
        ("", fewer_labels, "3 vertices, the mesh 60"),
        ("?classes=200", |s| cut(s, SEGMENTS), "EOF"),
        ("?classes=200", |s| cut(s, ".aggregation.json"), "EOF"),
        ("?classes=200", |s| s.write("scene0001_00", SEGMENTS, r#"{"segIndices": [-1]}"#), "-1"),
    ];
    for (query, damage, words) in faults {
        let scans = Scans::new();
        scans.table();
        damage(&scans);
        let data = scans.uri(query).open(Split::Train).unwrap();
        let error = data.sample(2).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("scene0001_00"), "{words}: {text}");
        assert!(!error.is_configuration(), "{text}");
        data.sample(0).unwrap();
        let report = verify(&scans.uri(query), None).unwrap();
        assert_eq!((report.checked, report.good, report.errors()), (4, 3, 1), "{:?}", report.faults);
        assert_eq!(report.faults[0].frame.as_deref(), Some("scene0001_00"));
    }
}

fn cut(scans: &Scans, ending: &str) {
    let path = scans.path("scene0001_00", ending);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn fewer_labels(scans: &Scans) {
    let three = Ply::new(3).with("label", PlyColumn::U16(vec![1; 3]));
    scans.write("scene0001_00", "_vh_clean_2.labels.ply", three.to_bytes());
}

fn not_finite(scans: &Scans) {
    let mesh = ["x", "y", "z", "red", "green", "blue"]
        .into_iter()
        .fold(Ply::new(1), |ply, name| ply.with(name, PlyColumn::F32(vec![f32::NAN])));
    scans.write("scene0001_00", "_vh_clean_2.ply", mesh.to_bytes());
}

#[test]
fn a_table_that_is_none_is_named() {
    for (text, words) in [
        ("", "column"),
        ("raw_category\tname\n", "\"id\""),
        ("id\traw_category\n1\twall\n", "199 of the 200"),
        ("id\traw_category\n1\n", "line 2"),
        ("id\traw_category\none\twall\n", "line 2"),
    ] {
        let scans = Scans::new();
        fs::write(scans.0.path().join("scannetv2-labels.combined.tsv"), text).unwrap();
        let error = scans.fault("?classes=200").to_string();
        assert!(error.contains(words) && error.contains("combined.tsv"), "{error}");
    }
}

#[test]
fn requests_that_cannot_be_meant() {
    let scans = Scans::new();
    for (query, words) in [
        ("?classes=40", "20 or 200 or none"),
        ("?take=frames", "SCAN.sens"),
        ("?take=sweeps", "frames or scans"),
        ("?photos=full", "left out"),
        ("?max_depth=3", "left out"),
        ("?every=0", "from 1"),
        ("?holdout=3", "0 to 1"),
    ] {
        let error = scans.fault(query);
        assert!(error.is_configuration() && error.to_string().contains(words), "{query}: {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let uri: DataUri = format!("scannet:{}", empty.path().display()).parse().unwrap();
    let error = uri.open(Split::Train).err().unwrap();
    assert!(matches!(error, DataError::Empty { .. }) && error.to_string().contains("SCAN.sens"), "{error}");
    assert_eq!(verify(&uri, None).unwrap().errors(), 1);
}

#[test]
fn inspection_counts() {
    let inspection = inspect(&Scans::new().uri("")).unwrap();
    assert_eq!((inspection.train, inspection.validation, inspection.first.points), (3, 1, N));
}
