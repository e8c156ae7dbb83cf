//! Embeds a small cloud with a fresh network, saves the network, and reads it back.
//!
//! ```text
//! cargo run --release -p ppkt-student --example embed
//! ```

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ppkt_sparse::{LoadMode, SparseTensor, VarStore, rows_of_input};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig, load_state, save_state, unit_norm};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A floor and a wall, in voxels; the colour follows the position.
    let mut coords = Vec::new();
    for a in 0..64 {
        for b in 0..64 {
            coords.push([0, a, b, 0]);
            if b > 0 {
                coords.push([0, a, 0, b]);
            }
        }
    }
    let colours: Vec<f32> = coords.iter().flat_map(|c| [c[1], c[2], c[3]]).map(|v| v as f32 / 64.0).collect();
    let colours = Tensor::from_vec(colours, (coords.len(), 3), &Device::Cpu)?;
    let (voxels, order) = SparseTensor::new(&coords, colours)?;

    let config = MinkUNetConfig { arch: Arch::MinkUNet14Tiny, out_channels: 32, ..Default::default() };
    let store = VarStore::new(0);
    let net = MinkUNet::new(&config, store.builder(&Device::Cpu))?;
    println!("{} with {} parameters, {} voxels", config.arch, store.parameter_count(), voxels.len());

    // The first pass fills the running statistics, the second uses them.
    net.forward(&voxels, true)?;
    let embeddings = unit_norm(net.forward(&voxels, false)?.features())?;
    let row = rows_of_input(&order)[0];
    let first = embeddings.get(row as usize)?.to_vec1::<f32>()?;
    println!("voxel {:?} is at {:.3?} …", coords[0], &first[..4]);

    let path = std::env::temp_dir().join("ppkt-student-example.safetensors");
    let words = BTreeMap::from([("voxel_size".to_owned(), "0.025".to_owned())]);
    save_state(&path, &store.to_map()?, &config, &words)?;
    let state = load_state(&path)?;
    let (_, arch, config) = state.describe()?;
    println!("saved and read back: {}", arch.map_or("a network of its own".to_owned(), |a| a.to_string()));

    let again = VarStore::new(1);
    let net = MinkUNet::new(&config, again.builder(&Device::Cpu))?;
    state.load_into(&again, LoadMode::Strict)?;
    let same = unit_norm(net.forward(&voxels, false)?.features())?;
    let difference = (embeddings - same)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("largest difference of the embeddings: {difference}");
    std::fs::remove_file(&path)?;
    Ok(())
}
