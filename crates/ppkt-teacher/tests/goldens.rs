//! Networks of random weights against torchvision, timm and transformers: kinds of blocks, dilation, strides, every naming, other
//! grids of positions. The folder `goldens` holds the files, what made them, and its versions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use ppkt_teacher::{Images, TeacherOptions, TeacherUri, inspect, open};
use ppkt_testkit::{Vectors, assert_close};

/// f32 against f64.
const TOLERANCE: f64 = 1e-5;

#[test]
fn features_are_those_of_timm_and_transformers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let case = entry.unwrap().path();
        if !case.join("expected.safetensors").exists() {
            continue;
        }
        let what = case.file_name().unwrap().to_string_lossy().into_owned();
        let options: TeacherOptions =
            serde_json::from_slice(&std::fs::read(case.join("options.json")).unwrap()).unwrap();
        let model = ["model.safetensors", "model.pth"].map(|name| case.join(name));
        let uri = TeacherUri::File(model.into_iter().find(|path| path.exists()).unwrap());
        let teacher = open(&uri, &options).unwrap_or_else(|e| panic!("{what}: {e}"));

        let expected = Vectors::load(&case.join("expected.safetensors"));
        let shape = expected.shape("image");
        let rgb = expected.f64s("image").into_iter().map(|v| v as u8).collect();
        let map = teacher.features(&Images::new(1, shape[1], shape[2], rgb).unwrap()).unwrap();
        assert_eq!(map.tokens.dims(), expected.shape("features"), "{what}");
        let got: Vec<f32> = map.tokens.flatten_all().unwrap().to_vec1().unwrap();
        assert_close(&what, &got, &expected.f64s("features"), TOLERANCE);

        // Parts that make no features: of training, and the text half of a pair.
        const OTHERS: [&str; 16] = [
            "pooler",
            "mask_token",
            "text_",
            "visual_projection",
            "logit_",
            "vision_model.head.",
            "projection_head.",
            "prototypes.",
            "encoder_k.",
            "module.queue",
            "optimizer.",
            "model_points.",
            "decoder.",
            "student.",
            "teacher.head.",
            "dino_loss.",
        ];
        let unmatched = inspect(&uri, &options).unwrap().unmatched;
        assert!(
            unmatched.iter().all(|n| OTHERS.iter().any(|part| n.contains(part))),
            "{what}: {unmatched:?}"
        );
        cases += 1;
    }
    assert_eq!(cases, 32, "a case is lost");
}
