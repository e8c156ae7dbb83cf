//! A contact sheet of rendered rooms: colour, depth and class of some frames, side by side.
//!
//! ```text
//! cargo run --release -p ppkt-data --example rooms_sheet -- sheet.png [frames] [seed] [width]
//! ```

use std::error::Error;
use std::time::Instant;

use image::{Rgb, RgbImage};
use ppkt_data::{Dataset, Rooms, RoomsConfig, Split, View};

/// Frames beside each other.
const COLUMNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().cloned().unwrap_or_else(|| "rooms.png".into());
    let number = |i: usize, default: u64| arguments.get(i).map_or(Ok(default), |a| a.parse());
    let (frames, seed, width) = (number(1, 12)? as usize, number(2, 1)?, number(3, 240)? as u32);
    let height = width * 3 / 4;
    let config = RoomsConfig { seed, rooms: frames.max(2), width, height, ..RoomsConfig::default() };
    let rooms = Rooms::new(config, Split::All)?;

    let start = Instant::now();
    let rows = frames.div_ceil(COLUMNS) as u32;
    let mut sheet = RgbImage::new(COLUMNS as u32 * 3 * width, rows * height);
    for i in 0..frames {
        let scene = rooms.sample(i)?;
        let view = &scene.views[0];
        let (left, top) = ((i % COLUMNS) as u32 * 3 * width, (i / COLUMNS) as u32 * height);
        for (k, picture) in
            [view.image.clone(), depth_picture(view), class_picture(view, &rooms)].iter().enumerate()
        {
            image::imageops::replace(&mut sheet, picture, i64::from(left + k as u32 * width), i64::from(top));
        }
    }
    println!("{frames} frames of {width}×{height} in {:.2} s", start.elapsed().as_secs_f64());
    sheet.save(&path)?;
    Ok(())
}

/// Near is light, 6 m and more is dark, nothing measured is red.
fn depth_picture(view: &View) -> RgbImage {
    let depth = view.depth.as_ref().map(|d| d.metres()).unwrap_or_default();
    let (w, h) = view.image.dimensions();
    RgbImage::from_fn(w, h, |x, y| {
        let z = depth[(y * w + x) as usize];
        let level = (255.0 * (1.0 - z / 6.0)).clamp(0.0, 255.0) as u8;
        if z.is_nan() { Rgb([120, 0, 0]) } else { Rgb([level; 3]) }
    })
}

fn class_picture(view: &View, rooms: &Rooms) -> RgbImage {
    let classes = view.classes.as_deref().unwrap_or_default();
    let colours = rooms.classes().map(|c| c.colours()).unwrap_or_default();
    let (w, h) = view.image.dimensions();
    RgbImage::from_fn(w, h, |x, y| Rgb(colours[classes[(y * w + x) as usize] as usize]))
}
