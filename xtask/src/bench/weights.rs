//! Files of teachers with random weights, and the multiplications that an image costs them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::input::Noise;

/// Tensors of a network under the names of its reference.
#[derive(Default)]
pub(super) struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Multiplications and additions of a forward pass.
    pub(super) flop: f64,
}

impl Weights {
    /// Writes a safetensors file.
    pub(super) fn write(self, path: &Path) -> Result<()> {
        let mut tensors = std::collections::HashMap::new();
        for (name, (shape, values)) in self.tensors {
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(candle_core::safetensors::save(&tensors, path)?)
    }

    fn add(&mut self, name: &str, shape: &[usize], centre: f32, spread: f32) {
        let mut noise = Noise::new(self.tensors.len() as u64);
        let values = (0..shape.iter().product()).map(|_| centre + spread * noise.next()).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    /// A convolution and its norm, on a map of `places` cells.
    fn conv(&mut self, [conv, norm]: [&str; 2], (cin, cout, kernel): (usize, usize, usize), places: usize) {
        // Activations keep their size: variance 2 / fan-in.
        let spread = (6.0 / (cin * kernel * kernel) as f32).sqrt();
        self.add(&format!("{conv}.weight"), &[cout, cin, kernel, kernel], 0.0, spread);
        for (part, centre) in [("weight", 0.7), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            self.add(&format!("{norm}.{part}"), &[cout], centre, 0.2);
        }
        self.flop += (2 * cin * cout * kernel * kernel * places) as f64;
    }

    fn linear(&mut self, name: &str, cin: usize, cout: usize, rows: usize) {
        self.add(&format!("{name}.weight"), &[cout, cin], 0.0, (3.0 / cin as f32).sqrt());
        self.add(&format!("{name}.bias"), &[cout], 0.0, 0.1);
        self.flop += (2 * cin * cout * rows) as f64;
    }

    fn layer_norm(&mut self, name: &str, channels: usize) {
        self.add(&format!("{name}.weight"), &[channels], 1.0, 0.2);
        self.add(&format!("{name}.bias"), &[channels], 0.0, 0.2);
    }
}

/// ResNet-50 with torchvision's names, for an image of this size (He et al. 2016, arXiv 1512.03385; stride in the 3×3).
pub(super) fn resnet50(height: usize, width: usize) -> Weights {
    let mut net = Weights::default();
    let places = |stride: usize| height.div_ceil(stride) * width.div_ceil(stride);
    net.conv(["conv1", "bn1"], (3, 64, 7), places(2));
    let (mut cin, mut stride) = (64, 4);
    for (stage, depth) in [3, 4, 6, 3].into_iter().enumerate() {
        let (mid, cout) = (64 << stage, 256 << stage);
        for block in 0..depth {
            let before = places(stride);
            if block == 0 && stage > 0 {
                stride *= 2;
            }
            let after = places(stride);
            let name = format!("layer{}.{block}", stage + 1);
            let shapes = [((cin, mid, 1), before), ((mid, mid, 3), after), ((mid, cout, 1), after)];
            for (i, (shape, places)) in shapes.into_iter().enumerate() {
                let names = [format!("{name}.conv{}", i + 1), format!("{name}.bn{}", i + 1)];
                net.conv([&names[0], &names[1]], shape, places);
            }
            if block == 0 {
                let names = [format!("{name}.downsample.0"), format!("{name}.downsample.1")];
                net.conv([&names[0], &names[1]], (cin, cout, 1), after);
            }
            cin = cout;
        }
    }
    net
}

/// ViT-S/14 with timm's names, for an image of this size (Dosovitskiy et al. 2021, arXiv 2010.11929).
pub(super) fn vit_s14(height: usize, width: usize) -> Weights {
    const CHANNELS: usize = 384;
    const PATCH: usize = 14;
    /// Patches along an edge of the images that the position embeddings are for.
    const GRID: usize = 37;
    let mut net = Weights::default();
    let tokens = 1 + (height / PATCH) * (width / PATCH);
    net.add("patch_embed.proj.weight", &[CHANNELS, 3, PATCH, PATCH], 0.0, 0.1);
    net.add("patch_embed.proj.bias", &[CHANNELS], 0.0, 0.1);
    net.flop += (2 * 3 * PATCH * PATCH * CHANNELS * (tokens - 1)) as f64;
    net.add("cls_token", &[1, 1, CHANNELS], 0.0, 0.5);
    net.add("pos_embed", &[1, 1 + GRID * GRID, CHANNELS], 0.0, 0.5);
    for block in 0..12 {
        let name = format!("blocks.{block}");
        net.layer_norm(&format!("{name}.norm1"), CHANNELS);
        net.linear(&format!("{name}.attn.qkv"), CHANNELS, 3 * CHANNELS, tokens);
        // Queries times keys, and the scores times values, over all heads.
        net.flop += (4 * tokens * tokens * CHANNELS) as f64;
        net.linear(&format!("{name}.attn.proj"), CHANNELS, CHANNELS, tokens);
        net.layer_norm(&format!("{name}.norm2"), CHANNELS);
        net.linear(&format!("{name}.mlp.fc1"), CHANNELS, 4 * CHANNELS, tokens);
        net.linear(&format!("{name}.mlp.fc2"), 4 * CHANNELS, CHANNELS, tokens);
    }
    net.layer_norm("norm", CHANNELS);
    net
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4.09 thousand million multiply-adds, as published for torchvision's `resnet50` at 224². By hand for ViT-S/14
    /// there: 12 blocks of 12 · 384² products a token and 2 · 257 · 384 for attention, 257 tokens, and the patches.
    #[test]
    fn the_count_of_operations_is_the_published_one() {
        assert!((resnet50(224, 224).flop / 2e9 - 4.09).abs() < 0.02, "{}", resnet50(224, 224).flop);
        let vit = vit_s14(224, 224).flop / 2e9;
        assert!((vit - 6.12).abs() < 0.02, "{vit}");
    }
}
