//! The cloud that a reader can turn, and the data its script draws.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use ppkt_data::SampleCloud;
use serde_json::{Value, json};

use crate::run::Run;
use crate::run::media::Cloud;

/// What a cloud can be coloured by: key, name, and what it tells.
const COLOURINGS: [(&str, &str, &str); 6] = [
    ("photo", "photo", "Colours of the photograph."),
    (
        "teacher",
        "2D teacher",
        "The 2D teacher’s features of the pixels that see the points, as colours (PCA).",
    ),
    ("student", "3D student", "The 3D student’s features of the points alone, in the same colours."),
    ("label", "label", "True classes."),
    ("prediction", "prediction", "Predicted classes."),
    ("error", "error", "Where the prediction is wrong."),
];

pub(super) fn section(run: &Run) -> Markup {
    let there: Vec<_> =
        COLOURINGS.into_iter().filter(|(key, ..)| run.clouds.iter().any(|c| has(&c.cloud, key))).collect();
    html! {
        @if !run.clouds.is_empty() {
            section.clouds aria-labelledby="clouds" {
                h2 #clouds { "Point cloud" }
                div.controls {
                    fieldset {
                        legend { "Colour by" }
                        div.segments {
                            @for (number, (key, name, about)) in there.iter().enumerate() {
                                label title=(about) {
                                    input type="radio" name="colouring" value=(key) checked[number == 0] data-about=(about);
                                    span { (name) }
                                }
                            }
                        }
                    }
                    @if run.clouds.len() > 1 {
                        label.choice { "Frame "
                            select name="cloud" {
                                @for (number, cloud) in run.clouds.iter().enumerate() {
                                    option value=(number) { (cloud.name) }
                                }
                            }
                        }
                    }
                }
                div.stage {
                    canvas #cloud tabindex="0" role="img" aria-label="Point cloud" {}
                    noscript { "The cloud is drawn by a script, and scripts are off." }
                }
                p.about-colour aria-live="polite" {}
                ul.legend {}
                p.hint { "Drag to turn, scroll or pinch to zoom, drag with two fingers or with Shift to move. On the keyboard: arrows, + and −, 0 to start over." }
                script type="application/json" #cloud-data { (embedded(&data(run))) }
            }
        }
    }
}

fn has(cloud: &SampleCloud, key: &str) -> bool {
    match key {
        "photo" => cloud.colours.is_some(),
        "teacher" => cloud.teacher.is_some(),
        "student" => cloud.student.is_some(),
        "label" => cloud.label.is_some(),
        "prediction" => cloud.prediction.is_some(),
        _ => cloud.label.is_some() && cloud.prediction.is_some(),
    }
}

/// JSON inside a `script` element: no text in it can end the element or begin a comment.
fn embedded(value: &Value) -> PreEscaped<String> {
    PreEscaped(value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

fn data(run: &Run) -> Value {
    let classes: Vec<Value> = run
        .evaluation
        .iter()
        .flat_map(|e| &e.classes)
        .map(|c| json!({"name": c.name, "colour": c.colour}))
        .collect();
    json!({ "classes": classes, "clouds": run.clouds.iter().map(packed).collect::<Vec<_>>() })
}

/// One cloud: places as 16-bit steps in its bounding box (below a millimetre in a room), all lists as base64.
fn packed(cloud: &Cloud) -> Value {
    let SampleCloud { points, colours, teacher, student, label, prediction, viewpoint } = &cloud.cloud;
    let axis = |k: usize| points.iter().map(move |p| f64::from(p[k]));
    let low = [0, 1, 2].map(|k| axis(k).fold(f64::INFINITY, f64::min));
    let high = [0, 1, 2].map(|k| axis(k).fold(f64::NEG_INFINITY, f64::max));
    let step = [0, 1, 2].map(|k| (high[k] - low[k]) / f64::from(u16::MAX));
    let place =
        |value: f64, k: usize| if step[k] > 0.0 { ((value - low[k]) / step[k]).round() as u16 } else { 0 };
    let mut xyz = Vec::with_capacity(6 * points.len());
    for point in points {
        (0..3).for_each(|k| xyz.extend(place(f64::from(point[k]), k).to_le_bytes()));
    }
    let rgb = |list: &Option<Vec<[u8; 3]>>| list.as_ref().map(|l| STANDARD.encode(l.as_flattened()));
    let classes = |list: &Option<Vec<u16>>| {
        list.as_ref().map(|l| STANDARD.encode(l.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>()))
    };
    json!({
        "name": cloud.name,
        "low": low,
        "step": step,
        "viewpoint": viewpoint,
        "xyz": STANDARD.encode(&xyz),
        "photo": rgb(colours),
        "teacher": rgb(teacher),
        "student": rgb(student),
        "label": classes(label),
        "prediction": classes(prediction),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_the_packing() {
        let points = vec![[0.0, -1.0, 5.0], [4.0, 1.0, 5.0], [1.234_5, 0.3, 5.0]];
        let cloud =
            Cloud { name: "a".into(), cloud: SampleCloud { points: points.clone(), ..Default::default() } };
        let packed = packed(&cloud);
        let bytes = STANDARD.decode(packed["xyz"].as_str().unwrap()).unwrap();
        for (i, point) in points.iter().enumerate() {
            for (k, value) in point.iter().enumerate() {
                let at = 6 * i + 2 * k;
                let steps = f64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
                let back = packed["low"][k].as_f64().unwrap() + steps * packed["step"][k].as_f64().unwrap();
                assert!((back - f64::from(*value)).abs() < 1e-4, "{back} {value}");
            }
        }
    }

    #[test]
    fn nothing_in_a_name_ends_the_script() {
        let text = embedded(&json!({"name": "</script><!--<script>&"})).into_string();
        assert!(!text.contains(['<', '>', '&']));
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["name"], "</script><!--<script>&");
    }
}
