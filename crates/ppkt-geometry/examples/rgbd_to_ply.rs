//! An RGB-D pair becomes a coloured point cloud, in a file that MeshLab, CloudCompare and Blender open.
//!
//! ```text
//! cargo run --release -p ppkt-geometry --example rgbd_to_ply -- COLOUR DEPTH.png FX FY CX CY OUT.ply [UNITS_PER_METRE]
//! ```
//!
//! Colour and depth must be registered (taken by one camera, or made so: see `DepthMap::seen_by`).

use std::error::Error;
use std::fmt::Write as _;

use ppkt_geometry::{CameraModel, DepthEncoding, DepthMap, Direction3, frame};

const USAGE: &str = "usage: rgbd_to_ply COLOUR DEPTH.png FX FY CX CY OUT.ply [UNITS_PER_METRE]
  COLOUR           photograph, png or jpeg
  DEPTH.png        16-bit depth, registered to the photograph; 0 and 65535 are no measurement
  FX FY CX CY      intrinsics in pixels, as calibration files have them (first pixel's centre at 0, 0)
  OUT.ply          the cloud, overwritten
  UNITS_PER_METRE  1000 unless given; 5000 for the TUM sets";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !(7..=8).contains(&args.len()) {
        eprintln!("{USAGE}");
        std::process::exit(2);
    }
    let number = |i: usize| args[i].parse::<f64>().map_err(|e| format!("{e}: {:?}\n{USAGE}", args[i]));

    let colour = image::open(&args[0]).map_err(|e| format!("{e}: {}", args[0]))?.into_rgb8();
    let depth = image::open(&args[1]).map_err(|e| format!("{e}: {}", args[1]))?.into_luma16();
    if colour.dimensions() != depth.dimensions() {
        return Err(
            format!("colour is {:?} and depth {:?} pixels", colour.dimensions(), depth.dimensions()).into()
        );
    }
    let units_per_metre = if args.len() == 8 { number(7)? } else { 1000.0 };
    let encoding =
        DepthEncoding { invalid: vec![0, u16::MAX], ..DepthEncoding::with_unit(units_per_metre.recip()) };

    let (width, height) = colour.dimensions();
    let camera = CameraModel::pinhole_opencv(width, height, number(2)?, number(3)?, number(4)?, number(5)?)?;
    let map = DepthMap::from_u16(width, height, depth.as_raw(), &encoding)?;
    let normals = map.normals::<frame::Camera>(&camera);
    let cloud = map.lift::<frame::Camera>(&camera);

    let mut ply = String::from("ply\nformat ascii 1.0\n");
    writeln!(ply, "element vertex {}", cloud.len())?;
    for property in ["float x", "float y", "float z", "float nx", "float ny", "float nz"] {
        writeln!(ply, "property {property}")?;
    }
    ply.push_str("property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n");
    for lifted in &cloud {
        let [x, y, z] = lifted.point.to_f32();
        // Viewers take a zero normal for none.
        let normal = normals[lifted.pixel.index(width)].unwrap_or(Direction3::new(0.0, 0.0, 0.0));
        let [nx, ny, nz] = normal.to_f32();
        let [r, g, b] = colour.get_pixel(lifted.pixel.col, lifted.pixel.row).0;
        writeln!(ply, "{x} {y} {z} {nx:.3} {ny:.3} {nz:.3} {r} {g} {b}")?;
    }
    std::fs::write(&args[6], ply).map_err(|e| format!("{e}: {}", args[6]))?;
    println!("{} points: {}", cloud.len(), args[6]);
    Ok(())
}
