//! Draws a batch: each photograph as the teacher sees it, and beside it the voxels' colours at the pixels of the
//! pairs. Where links and augmentation are right the two agree.
//!
//! `cargo run --release -p ppkt-data --example batch_sheet -- synthetic:rooms sheet.png`

use std::time::Instant;

use image::{Rgb, RgbImage, imageops};
use ppkt_data::{BatchConfig, DataUri, Loader, Split};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, uri, file] = arguments.as_slice() else {
        return Err("give a data URI and a PNG to write".into());
    };
    let dataset = uri.parse::<DataUri>()?.open(Split::All)?;
    let loader = Loader::new(dataset.into(), BatchConfig::default(), 1)?;

    let started = Instant::now();
    let batch = loader.batch(0)?;
    println!(
        "{} frames in {:.0} ms: {:?}",
        batch.frames.len(),
        started.elapsed().as_secs_f64() * 1e3,
        batch.frames
    );
    println!("{} points, {} voxels, {} pairs", batch.n_points, batch.coords.len(), batch.pairs.len());

    let [width, height] = loader.config().image_size;
    let mut sheet = RgbImage::new(2 * width, height * batch.images.len() as u32);
    for (row, image) in batch.images.iter().enumerate() {
        imageops::replace(&mut sheet, image, 0, (row as u32 * height).into());
    }
    for pair in &batch.pairs {
        // The default features are red, green and blue less a half.
        let colour = &batch.features[pair.voxel as usize * batch.channels..][..3];
        let bytes = [0, 1, 2].map(|c| ((colour[c] + 0.5) * 255.0) as u8);
        sheet.put_pixel(width + pair.u as u32, pair.view * height + pair.v as u32, Rgb(bytes));
    }
    sheet.save(file)?;
    Ok(())
}
