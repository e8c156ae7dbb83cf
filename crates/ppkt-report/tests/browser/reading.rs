//! What a reader does with a page.

use std::path::Path;

use serde_json::{Value, json};

use crate::chrome::{Chrome, find};
use crate::folders;

/// Colours of the canvas, as the reader sees them: how many pixels are drawn, and their mean colour.
const DRAWN: &str = "(() => {
  const canvas = document.getElementById('cloud');
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext('2d');
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, copy.width, copy.height);
  const sum = [0, 0, 0];
  let n = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 200) continue;
    n += 1;
    for (let k = 0; k < 3; k += 1) sum[k] += data[i + k];
  }
  return { share: n / (copy.width * copy.height), mean: sum.map((s) => s / Math.max(n, 1)) };
})()";
/// Two frames later everything that was asked for is drawn.
const SETTLED: &str =
    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))";

/// Runs a test in a browser, or says why not.
fn in_browser(make: fn(&Path), flags: &[&str], test: impl FnOnce(&mut Chrome)) {
    let Some(browser) = find() else {
        eprintln!("skipped: no Chromium or Chrome on the path, and none named by PPKT_BROWSER");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let written = ppkt_report::write(dir.path(), None).unwrap();
    let mut chrome = Chrome::start(&browser, flags);
    chrome.open(&written.page);
    chrome.wait_until(SETTLED);
    test(&mut chrome);
    let complaints = chrome.complaints();
    // What a browser without a graphics card has to say of itself, and of a context that it refuses, is no fault of
    // the page.
    let of_the_browser = |c: &str| {
        c.contains("GPU stall due to ReadPixels") || flags.contains(&NO_WEBGL) && c.contains("WebGL")
    };
    let complaints: Vec<_> = complaints.iter().filter(|c| !of_the_browser(c)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

const NO_WEBGL: &str = "--disable-3d-apis";

fn drawn(chrome: &mut Chrome) -> (f64, Vec<f64>) {
    chrome.value(SETTLED);
    let Value::Object(drawn) = chrome.value(DRAWN) else { panic!("no pixels") };
    let mean = drawn["mean"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    (drawn["share"].as_f64().unwrap(), mean)
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

fn the_cloud_is_drawn_turned_and_recoloured(chrome: &mut Chrome) {
    let (share, photo) = drawn(chrome);
    assert!((0.05..0.9).contains(&share), "{share} of the canvas is drawn");

    chrome.click("input[value=student]");
    chrome.wait_until("document.getElementById('cloud').dataset.colouring === 'student'");
    let (_, student) = drawn(chrome);
    assert!(apart(&photo, &student) > 2.0, "a click changes the colours: {photo:?} {student:?}");
    assert!(
        chrome.value("document.querySelector('.about-colour').textContent").to_string().contains("student")
    );

    let (x, y) = chrome.middle("#cloud");
    chrome.mouse("mousePressed", (x, y));
    chrome.mouse("mouseMoved", (x + 150.0, y));
    chrome.mouse("mouseReleased", (x + 150.0, y));
    let (turned, _) = drawn(chrome);
    assert!((turned - share).abs() > 0.005, "turning changes what is seen: {share} {turned}");
}

#[test]
fn the_cloud_answers_by_webgl() {
    in_browser(folders::pretraining, &[], |chrome| {
        let webgl = chrome.value("Boolean(document.getElementById('cloud').getContext('webgl'))");
        assert_eq!(webgl, json!(true), "this browser has WebGL, and the page uses it");
        the_cloud_is_drawn_turned_and_recoloured(chrome);
    });
}

#[test]
fn the_cloud_answers_without_webgl() {
    in_browser(folders::pretraining, &[NO_WEBGL], |chrome| {
        let plain = chrome.value("Boolean(document.getElementById('cloud').getContext('2d'))");
        assert_eq!(plain, json!(true), "this browser has no WebGL");
        the_cloud_is_drawn_turned_and_recoloured(chrome);
    });
}

#[test]
fn plots_answer_pointer_and_keyboard() {
    in_browser(folders::pretraining, &[], |chrome| {
        const TIP: &str = "document.querySelector('figure.curves .tip').textContent";
        assert_eq!(chrome.value(TIP), json!(""));
        let place = chrome.middle("figure.curves .plot.wide svg");
        chrome.mouse("mouseMoved", place);
        let tip = chrome.value(TIP).to_string();
        assert!(tip.contains("step 1") || tip.contains("step 2"), "{tip}");
        let step: u64 = tip.trim_matches('"').split([' ', ':']).nth(1).unwrap().parse().unwrap();
        assert!(tip.contains(&format!("{:.3}", folders::loss(step))), "{tip}");
        chrome.value("document.querySelector('figure.curves').focus()");
        chrome.call("Input.dispatchKeyEvent", json!({"type": "keyDown", "key": "Home"}));
        assert!(chrome.value(TIP).to_string().contains("step 0: 8.000"));
        assert_eq!(
            chrome.value("getComputedStyle(document.querySelector('.tip')).visibility"),
            json!("visible")
        );
    });
}

#[test]
fn labels_predictions_and_errors_have_a_legend() {
    in_browser(folders::finetuning, &[], |chrome| {
        const LEGEND: &str = "document.querySelector('.clouds .legend').textContent";
        chrome.click("input[value=label]");
        chrome.wait_until("document.getElementById('cloud').dataset.colouring === 'label'");
        let legend = chrome.value(LEGEND).to_string();
        assert!(legend.contains("wall 50.0 %") && legend.contains("floor 50.0 %"), "{legend}");
        let (_, label) = drawn(chrome);
        // By keyboard: the arrow goes on to the next colouring.
        chrome.value("document.querySelector('input[value=prediction]').focus()");
        chrome.click("input[value=error]");
        chrome.wait_until("document.getElementById('cloud').dataset.colouring === 'error'");
        let legend = chrome.value(LEGEND).to_string();
        assert!(legend.contains("right 90.0 %") && legend.contains("wrong 10.0 %"), "{legend}");
        let (_, error) = drawn(chrome);
        assert!(apart(&label, &error) > 2.0, "{label:?} {error:?}");
        for key in ["keyDown", "keyUp"] {
            let arrow =
                json!({"type": key, "key": "ArrowLeft", "code": "ArrowLeft", "windowsVirtualKeyCode": 37});
            chrome.call("Input.dispatchKeyEvent", arrow);
        }
        chrome.wait_until("document.getElementById('cloud').dataset.colouring === 'prediction'");
    });
}

/// On a phone nothing may stand out to the side: the page itself does not scroll sideways.
#[test]
fn a_phone_shows_the_whole_width() {
    let make = |folder: &Path| {
        folders::finetuning(folder);
        folders::comparison(folder);
    };
    in_browser(make, &[], |chrome| {
        for width in [320, 390, 1200] {
            let metrics =
                json!({"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": width < 500});
            chrome.call("Emulation.setDeviceMetricsOverride", metrics);
            chrome.value(SETTLED);
            let wide = chrome.value("document.documentElement.scrollWidth").as_i64().unwrap();
            // What is too wide, and does not lie in a part that scrolls by itself.
            let too_wide = format!(
                "[...document.querySelectorAll('body *')]
                .filter((e) => !e.parentElement.closest('.scroll') && e.getBoundingClientRect().right > {width} + 1)
                .map((e) => `${{e.tagName}}.${{e.className}}`).join(' ')"
            );
            assert!(wide <= width, "{wide} pixels of content on {width}: {}", chrome.value(&too_wide));
            let (share, _) = drawn(chrome);
            assert!(share > 0.05, "the cloud is drawn at {width}: {share}");
        }
    });
}

/// What is printed holds the cloud as a still.
#[test]
fn it_can_be_printed() {
    in_browser(folders::pretraining, &[], |chrome| {
        let pdf = chrome.call("Page.printToPDF", json!({"printBackground": false}));
        assert!(pdf["data"].as_str().unwrap().len() > 20_000);
    });
}
