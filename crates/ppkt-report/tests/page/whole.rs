//! What a page of a whole folder says.

use std::fs;
use std::path::Path;

use crate::folders::{self, STEPS, loss};

fn page(make: fn(&Path)) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let written = ppkt_report::write(dir.path(), None).unwrap();
    assert_eq!(written.page, dir.path().join("report.html"));
    let text = fs::read_to_string(&written.page).unwrap();
    assert_eq!(text.len(), written.bytes);
    (text, written.notes)
}

#[test]
fn a_pretraining_is_shown_whole() {
    let (page, notes) = page(folders::pretraining);
    assert_eq!(notes, Vec::<String>::new());
    for said in [
        "MinkUNet14Tiny learns from tiny layer2 on synthetic:rooms?scenes=4",
        "Loss of the training batches",
        "Retrieval on held-out frames",
        "8.1\u{202f}%",
        "Seconds by stage",
        "93.0 ms",
        "room00002",
        "linux x86_64",
        "MinkUNet14Tiny",
        "2D teacher",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains(&format!("step {}: {:.3}", STEPS - 1, loss(STEPS - 1))), "hover tells each step");
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 2, "the overview repeats the others");
    for absent in ["Confusion", "Label efficiency", "value=\"label\""] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn a_finetuning_has_scores_and_a_confusion_matrix() {
    let (page, notes) = page(folders::finetuning);
    assert_eq!(notes, Vec::<String>::new());
    for said in [
        "ppkt · fine-tuning",
        "37.5\u{202f}%",
        "wall",
        "rgb(174 199 232)",
        "Confusion",
        "Labels that were used",
        "value=\"error\"",
    ] {
        assert!(page.contains(said), "{said}");
    }
    // 720 of 900 points of the wall are right, 60 of 100 of the floor were taken for the wall.
    assert!(page.contains("--share:0.800") && page.contains("--share:0.600"));
    assert!(page.contains("left out of the mean"), "the bed is absent");
    assert!(!page.contains("value=\"teacher\""), "no colouring without colours");
}

#[test]
fn a_comparison_has_a_plot_and_a_table() {
    let (page, notes) = page(folders::comparison);
    assert_eq!(notes, Vec::<String>::new(), "it has no steps of its own");
    for said in [
        "ppkt · label efficiency",
        "26.0",
        "± 0.9",
        "+6.0 points",
        "+2.0 to +9.0",
        "ppkt bench-labels",
        "Each of 2 runs",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(
        page.find("<th scope=\"row\">5\u{202f}%").unwrap()
            < page.find("<th scope=\"row\">10\u{202f}%").unwrap()
    );
}

#[test]
fn nothing_is_fetched_and_the_same_folder_gives_the_same_page() {
    let dir = tempfile::tempdir().unwrap();
    folders::finetuning(dir.path());
    folders::comparison(dir.path());
    let write = |name: &str| {
        let out = dir.path().join(name);
        ppkt_report::write(dir.path(), Some(&out)).unwrap();
        fs::read_to_string(out).unwrap()
    };
    let page = write("a.html");
    assert_eq!(page, write("b.html"));
    for fetching in ["http://", "https://", "<link", "@import", "url(", "src=\"/", "fetch(", "XMLHttp"] {
        // Names of XML's own vocabulary look like addresses and are none.
        let rest = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!rest.contains(fetching), "{fetching}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_large_run_stays_below_five_megabytes() {
    let dir = tempfile::tempdir().unwrap();
    folders::finetuning(dir.path());
    // Noise is the worst that a picture can be.
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    for i in 0..6 {
        let picture = image::RgbImage::from_fn(1940, 500, |_, _| image::Rgb([noise(), noise(), noise()]));
        picture.save(dir.path().join(format!("pictures/{i:02}-large.png"))).unwrap();
    }
    let n = 25_000;
    let colours: Vec<[u8; 3]> = (0..n).map(|_| [noise(), noise(), noise()]).collect();
    let cloud = ppkt_data::SampleCloud {
        points: (0..n).map(|_| [noise(), noise(), noise()].map(f32::from)).collect(),
        colours: Some(colours.clone()),
        teacher: Some(colours.clone()),
        student: Some(colours),
        label: Some((0..n).map(|_| noise().into()).collect()),
        prediction: Some((0..n).map(|_| noise().into()).collect()),
        viewpoint: None,
    };
    (0..6).for_each(|i| folders::sample(dir.path(), &format!("{i:02}-large"), &cloud));
    let lines: String = (0..60_000).map(|i| format!("{{\"step\":{i},\"loss\":{}}}\n", noise())).collect();
    fs::write(dir.path().join("metrics.jsonl"), lines).unwrap();
    let written = ppkt_report::write(dir.path(), None).unwrap();
    assert!(written.bytes < 5_000_000, "{} bytes", written.bytes);
    let notes = written.notes.join(" ");
    assert!(notes.contains("more pictures") && notes.contains("3 more clouds"), "{notes}");
}

#[test]
fn a_comparison_shows_its_pretraining_and_one_of_its_runs() {
    let (whole, _) = page(|folder| {
        folders::comparison(folder);
        let inner = |name: &str| {
            let place = folder.join(name);
            fs::create_dir_all(&place).unwrap();
            place
        };
        folders::pretraining(&inner("pretrain"));
        folders::finetuning(&inner("runs/first"));
        let path = folder.join("results.json");
        let mut results: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        results["runs"][1]["side"] = "pretrained".into();
        results["runs"][1]["folder"] = "runs/first".into();
        fs::write(&path, results.to_string()).unwrap();
    });
    for said in
        ["Label efficiency", "Curves", "Confusion", "pretrained, 5\u{202f}% of labels, seed 2", "2D teacher"]
    {
        assert!(whole.contains(said), "{said}");
    }
    assert!(whole.contains("value=\"label\""), "clouds of the run that is shown");
}

#[test]
fn a_comparison_reads_nothing_outside_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
    for place in [&inside.join("runs/first"), &outside] {
        fs::create_dir_all(place).unwrap();
        folders::finetuning(place);
    }
    for (place, shown) in
        [("runs/first", true), ("../outside", false), (outside.to_string_lossy().as_ref(), false)]
    {
        folders::comparison(&inside);
        let path = inside.join("results.json");
        let mut results: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        results["runs"][1]["side"] = "pretrained".into();
        results["runs"][1]["folder"] = place.into();
        fs::write(&path, results.to_string()).unwrap();
        let written = ppkt_report::write(&inside, None).unwrap();
        assert_eq!(fs::read_to_string(written.page).unwrap().contains("Confusion"), shown, "{place}");
    }
}
