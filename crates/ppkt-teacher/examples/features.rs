//! Opens a teacher, says what it is, and times its features for an image of some size:
//!
//! ```text
//! cargo run --release -p ppkt-teacher --example features -- file:resnet50.safetensors 480 640
//! ```

use std::time::Instant;

use ppkt_teacher::{Images, TeacherOptions, TeacherUri, inspect, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let uri: TeacherUri = args.next().unwrap_or("builtin:tiny".to_owned()).parse()?;
    let height = args.next().unwrap_or("240".to_owned()).parse()?;
    let width = args.next().unwrap_or("320".to_owned()).parse()?;

    let options = TeacherOptions::default();
    let inspection = inspect(&uri, &options)?;
    println!("{}\n{}", inspection.spec.name, inspection.architecture);
    for note in &inspection.notes {
        println!("note: {note}");
    }

    let teacher = open(&uri, &options)?;
    let image = Images::new(1, height, width, vec![127; height * width * 3])?;
    let (mut best_secs, mut shape) = (f64::INFINITY, Vec::new());
    for _ in 0..10 {
        let start = Instant::now();
        let map = teacher.features(&image)?;
        best_secs = best_secs.min(start.elapsed().as_secs_f64());
        shape = map.tokens.dims().to_vec();
    }
    println!("{width}x{height}: features {shape:?} in {:.1} ms (best of 10)", best_secs * 1e3);
    Ok(())
}
