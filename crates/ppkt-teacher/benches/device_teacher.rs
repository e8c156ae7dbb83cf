//! Frozen networks of random weights on an NVIDIA GPU: images a second, at the sizes that pretraining uses.
//!
//! Prints one JSON object. Without a GPU it fails: nothing is measured on the processor instead. Times are medians of calls
//! that the device has finished, from the bytes of a batch to its map.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Instant;

use ppkt_device::DeviceChoice;
use ppkt_teacher::{Images, TeacherOptions, TeacherUri, open_on};
use serde_json::json;

#[path = "../tests/common/mod.rs"]
mod common;

/// Images of a batch.
const IMAGES: usize = 16;

fn main() {
    let device = match DeviceChoice::Cuda(0).open() {
        Ok(device) => device,
        Err(error) => {
            eprintln!("this bench needs an NVIDIA GPU: {error}");
            std::process::exit(1);
        }
    };
    let about = ppkt_device::findings().into_iter().find(|f| f.device == "cuda").map(|f| f.about);
    let folder = tempfile::tempdir().unwrap();
    let mut networks = Vec::new();
    // ViT-S/14 with the positions of DINOv2.
    for (name, file) in [
        ("resnet50", common::resnet(&[3, 4, 6, 3], true, 64)),
        ("convnext-tiny", common::convnext(&[3, 3, 9, 3], 96)),
        ("vit-s14", common::vit(384, 12, 14, 37)),
    ] {
        let path = folder.path().join(format!("{name}.safetensors"));
        file.write(&path);
        let net = open_on(&TeacherUri::File(path), &TeacherOptions::default(), &device).unwrap();
        // Half of VGA, what RGB-D recipes feed a teacher with, and what driving recipes do.
        for (height, width) in [(240, 320), (224, 416)] {
            let rgb = (0..IMAGES * height * width * 3).map(|i| (i * 7919 % 251) as u8).collect();
            let images = Images::new(IMAGES, height, width, rgb).unwrap();
            let run = || {
                let start = Instant::now();
                let map = net.features(&images).unwrap();
                device.synchronize().unwrap();
                drop(map);
                start.elapsed().as_secs_f64()
            };
            for _ in 0..3 {
                run();
            }
            let mut all: Vec<f64> = (0..11).map(|_| run()).collect();
            all.sort_by(f64::total_cmp);
            networks.push(json!({
                "network": name,
                "height": height,
                "width": width,
                "images": IMAGES,
                "ms": all[5] * 1e3,
                "fastest_ms": all[0] * 1e3,
                "images_per_second": IMAGES as f64 / all[5],
            }));
        }
    }
    println!("{}", json!({ "bench": "teachers, f32", "device": about, "networks": networks }));
}
