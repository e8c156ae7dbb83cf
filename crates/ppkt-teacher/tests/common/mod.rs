//! Networks with random weights, written as safetensors files.
#![allow(dead_code, clippy::unwrap_used, reason = "each test and bench uses a part, and fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

/// Tensors and metadata of a file.
#[derive(Clone, Default)]
pub(crate) struct File {
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Numbers that look random and are the same everywhere (xorshift).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Between -1 and 1.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

impl File {
    /// Adds a tensor of values around `centre`, seeded by its name.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize], centre: f32, spread: f32) {
        let seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let mut numbers = Numbers::new(seed);
        let n = shape.iter().product();
        let values = (0..n).map(|_| centre + spread * numbers.next()).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    pub(crate) fn conv(&mut self, name: &str, out: usize, inner: usize, k: usize) {
        // Uniform with the variance 2 / fan-in, so that activations keep their size.
        self.add(&format!("{name}.weight"), &[out, inner, k, k], 0.0, (6.0 / (inner * k * k) as f32).sqrt());
    }

    pub(crate) fn batch_norm(&mut self, name: &str, channels: usize) {
        self.add(&format!("{name}.weight"), &[channels], 0.7, 0.2);
        self.add(&format!("{name}.bias"), &[channels], 0.0, 0.2);
        self.add(&format!("{name}.running_mean"), &[channels], 0.0, 0.2);
        self.add(&format!("{name}.running_var"), &[channels], 1.0, 0.3);
    }

    pub(crate) fn linear(&mut self, name: &str, out: usize, inner: usize) {
        self.add(&format!("{name}.weight"), &[out, inner], 0.0, (3.0 / inner as f32).sqrt());
        self.add(&format!("{name}.bias"), &[out], 0.0, 0.1);
    }

    pub(crate) fn layer_norm(&mut self, name: &str, channels: usize) {
        self.add(&format!("{name}.weight"), &[channels], 1.0, 0.2);
        self.add(&format!("{name}.bias"), &[channels], 0.0, 0.2);
    }

    /// The same with other names; `None` leaves a tensor out.
    pub(crate) fn renamed(&self, rename: impl Fn(&str) -> Option<String>) -> Self {
        let tensors = self.tensors.iter().filter_map(|(n, t)| Some((rename(n)?, t.clone()))).collect();
        Self { tensors, metadata: self.metadata.clone() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let data: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(n, (s, v))| (n, s, v.iter().flat_map(|x| x.to_le_bytes()).collect()))
            .collect();
        let views = data.iter().map(|(n, s, b)| (*n, TensorView::new(Dtype::F32, s.to_vec(), b).unwrap()));
        let metadata = self.metadata.clone().into_iter().collect();
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}

/// A ResNet with torchvision's names: blocks of each stage, kind of block, channels of the stem.
pub(crate) fn resnet(depths: &[usize], bottleneck: bool, width: usize) -> File {
    let mut file = File::default();
    file.conv("conv1", width, 3, 7);
    file.batch_norm("bn1", width);
    let mut inner = width;
    for (s, &depth) in depths.iter().enumerate() {
        let mid = width << s;
        let out = if bottleneck { 4 * mid } else { mid };
        for b in 0..depth {
            let name = format!("layer{}.{b}", s + 1);
            let convs = match bottleneck {
                true => vec![(mid, inner, 1), (mid, mid, 3), (out, mid, 1)],
                false => vec![(mid, inner, 3), (out, mid, 3)],
            };
            for (i, (out, inner, k)) in convs.into_iter().enumerate() {
                file.conv(&format!("{name}.conv{}", i + 1), out, inner, k);
                file.batch_norm(&format!("{name}.bn{}", i + 1), out);
            }
            if b == 0 && (s > 0 || inner != out) {
                file.conv(&format!("{name}.downsample.0"), out, inner, 1);
                file.batch_norm(&format!("{name}.downsample.1"), out);
            }
            inner = out;
        }
    }
    file
}

/// A ViT with timm's names and a class token, heads of 64 channels.
pub(crate) fn vit(channels: usize, depth: usize, patch: usize, grid: usize) -> File {
    let mut file = File::default();
    file.conv("patch_embed.proj", channels, 3, patch);
    file.add("patch_embed.proj.bias", &[channels], 0.0, 0.1);
    file.add("cls_token", &[1, 1, channels], 0.0, 0.5);
    file.add("pos_embed", &[1, 1 + grid * grid, channels], 0.0, 0.5);
    for i in 0..depth {
        let name = format!("blocks.{i}");
        file.layer_norm(&format!("{name}.norm1"), channels);
        file.linear(&format!("{name}.attn.qkv"), 3 * channels, channels);
        file.linear(&format!("{name}.attn.proj"), channels, channels);
        file.layer_norm(&format!("{name}.norm2"), channels);
        file.linear(&format!("{name}.mlp.fc1"), 4 * channels, channels);
        file.linear(&format!("{name}.mlp.fc2"), channels, 4 * channels);
    }
    file.layer_norm("norm", channels);
    file
}

/// A ConvNeXt with timm's names: blocks of each stage, channels of the first.
pub(crate) fn convnext(depths: &[usize], width: usize) -> File {
    let mut file = File::default();
    let conv = |file: &mut File, name: &str, out: usize, inner: usize, k: usize| {
        file.conv(name, out, inner, k);
        file.add(&format!("{name}.bias"), &[out], 0.0, 0.1);
    };
    conv(&mut file, "stem.0", width, 3, 4);
    file.layer_norm("stem.1", width);
    for (s, &depth) in depths.iter().enumerate() {
        let channels = width << s;
        if s > 0 {
            file.layer_norm(&format!("stages.{s}.downsample.0"), channels / 2);
            conv(&mut file, &format!("stages.{s}.downsample.1"), channels, channels / 2, 2);
        }
        for b in 0..depth {
            let name = format!("stages.{s}.blocks.{b}");
            conv(&mut file, &format!("{name}.conv_dw"), channels, 1, 7);
            file.layer_norm(&format!("{name}.norm"), channels);
            file.linear(&format!("{name}.mlp.fc1"), 4 * channels, channels);
            file.linear(&format!("{name}.mlp.fc2"), channels, 4 * channels);
            file.add(&format!("{name}.gamma"), &[channels], 0.1, 0.05);
        }
    }
    file
}
