//! Names that would like to be a script.

use std::fs;

use crate::folders;

const SCRIPT: &str = "<script>alert(1)</script>";
const ATTRIBUTE: &str = "\" onload=\"alert(2)";
const END: &str = "</script><script>alert(3)</script><!--";

#[test]
fn no_text_of_a_file_becomes_markup() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join(format!("run {}", ATTRIBUTE.replace('/', "")));
    fs::create_dir(&root).unwrap();
    folders::finetuning(&root);
    folders::comparison(&root);
    let hostile = format!("{SCRIPT}{ATTRIBUTE}{END}");
    // Each file with each of its words made hostile, keys included.
    for (file, word) in [
        ("run.json", "tiny layer2"),
        ("run.json", "system"),
        ("eval.json", "wall"),
        ("eval.json", "validation"),
        ("labels.json", "share"),
        ("results.json", "scratch"),
        ("results.json", "two cores"),
        ("results.json", "ppkt bench-labels"),
        ("results.json", "\"steps\""),
        ("metrics.jsonl", "teacher"),
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let quoted = serde_json::to_string(&hostile).unwrap();
        let replacement = if word.starts_with('"') { quoted } else { quoted.trim_matches('"').to_owned() };
        assert!(text.contains(word), "{word} in {file}");
        fs::write(root.join(file), text.replace(word, &replacement)).unwrap();
    }
    let config =
        format!("steps = 40\n[data]\ntrain = '''{hostile}'''\n['{}']\nkey = '''{hostile}'''\n", SCRIPT);
    fs::write(root.join("config.toml"), config).unwrap();
    // File systems allow all but a slash.
    let name = hostile.replace('/', "|");
    fs::rename(root.join("samples/00-room00001.ply"), root.join("samples").join(format!("00-{}.ply", name)))
        .unwrap();
    fs::rename(
        root.join("pictures/00-room00001.png"),
        root.join("pictures").join(format!("00-{}.png", name)),
    )
    .unwrap();
    fs::write(root.join("pictures").join(format!("{}.png", &name[..60])), "no picture").unwrap();

    let written = ppkt_report::write(&root, Some(&dir.path().join("page.html"))).unwrap();
    let page = fs::read_to_string(written.page).unwrap();
    assert!(page.matches("alert(1)").count() > 10, "the words are there, as text");
    assert!(!page.contains(SCRIPT) && !page.contains("<script>alert"));
    // Within the data of the clouds a quotation mark is escaped as in any JSON, and is no end of an attribute.
    let (before, data) = page.split_once(" type=\"application/json\">").unwrap();
    let (data, after) = data.split_once("</script>").unwrap();
    assert!(!before.contains("\" onload") && !after.contains("\" onload"), "no attribute is left");
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["clouds"][0]["name"], name.as_str());
    // Two scripts of ours, and the data, which is no script.
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(page.matches("</script").count(), 3);
    assert_eq!(page.matches("<!--").count(), 0);
}
