//! What several tests need.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use candle_core::{Device, Tensor};
use ppkt_sparse::{SparseTensor, VarStore};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};

/// Numbers in (-1, 1), a function of the seed.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The voxels of a bent sheet in a box of edge `edge`, one batch item after the other.
pub fn surface(edge: i32, batch: i32) -> Vec<[i32; 4]> {
    let mut coords = Vec::new();
    for b in 0..batch {
        for x in 0..edge {
            for y in 0..edge {
                let bend = (f64::from(x) / 9.0 + f64::from(b)).sin() * 4.0 + (f64::from(y) / 7.0).cos() * 3.0;
                coords.push([b, x - edge / 2, y - edge / 2, bend.floor() as i32]);
            }
        }
    }
    coords
}

pub fn voxels(edge: i32, batch: i32, channels: usize) -> SparseTensor {
    let coords = surface(edge, batch);
    let features = numbers(coords.len() * channels, 5);
    let features = Tensor::from_vec(features, (coords.len(), channels), &Device::Cpu).unwrap();
    SparseTensor::new(&coords, features).unwrap().0
}

pub fn tiny(out_channels: usize) -> (MinkUNetConfig, VarStore, MinkUNet) {
    let config = MinkUNetConfig { arch: Arch::MinkUNet14Tiny, out_channels, ..Default::default() };
    let store = VarStore::new(11);
    let net = MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
    (config, store, net)
}

pub fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}
