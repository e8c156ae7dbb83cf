//! Checks a dataset, prints the report as JSON, and draws depth edges over a photo:
//! `cargo run --release -p ppkt-data --example verify -- nyuv2:DIR edges.png`

use ppkt_data::{DataUri, Split, draw_registration, verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let uri: DataUri = arguments.next().ok_or("a data URI is needed, such as nyuv2:DIR")?.parse()?;
    let report = verify(&uri, None)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    if let Some(path) = arguments.next() {
        let data = uri.open(Split::All)?;
        let scene = data.sample(data.len() / 2)?;
        draw_registration(&scene).ok_or("the scene has no depth")?.save(path)?;
    }
    Ok(())
}
