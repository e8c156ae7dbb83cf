//! The architecture of a residual network, read from its tensors.

use crate::engine::ConvGeometry;
use crate::error::TeacherError;
use crate::inspection::{Inspection, Preprocessing, StageInfo};
use crate::options::{Stage, TeacherOptions};
use crate::preprocess::Normaliser;
use crate::spec::{Family, TeacherSpec};
use crate::weights::Weights;

/// What a stage is made of.
pub(super) struct StagePlan {
    pub(super) blocks: Vec<BlockPlan>,
    pub(super) channels: usize,
}

/// The geometry of one residual block.
pub(super) struct BlockPlan {
    /// Of each convolution, in order: two (basic) or three (bottleneck).
    pub(super) convs: Vec<ConvGeometry>,
    /// Stride of the whole block, which its shortcut takes.
    pub(super) stride: usize,
}

/// A residual network without its numbers.
pub(super) struct Arch {
    pub(super) stem: ConvGeometry,
    pub(super) stem_channels: usize,
    pub(super) stem_pool: bool,
    /// Up to the stage that is asked for.
    pub(super) stages: Vec<StagePlan>,
    pub(super) bottleneck: bool,
    pub(super) stride_in_1x1: bool,
    pub(super) bn_eps: f64,
    /// Stages whose maps are features, in the order of their channels, counted from 0.
    pub(super) chosen: Vec<usize>,
    /// Groups of the 3×3 convolutions (ResNeXt, arXiv 1611.05431).
    groups: usize,
    /// Channels of each group in the first stage; those of the whole where there is one group.
    group_width: usize,
    /// Blocks and channels of all stages in the file.
    present: Vec<(usize, usize)>,
    /// Of all stages in the file.
    pub(super) strides: Vec<usize>,
}

impl Arch {
    pub(super) fn read(weights: &Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        let config = &weights.config;
        if weights.family != Family::ResNet {
            return Err(TeacherError::Config {
                what: format!("a ResNet was asked for, but the file holds a {}", weights.family),
                path: weights.path().to_owned(),
            });
        }
        options.refuse(&["features", "last_norm"], "it is a residual network")?;
        if let Some((name, path)) = config.activation.as_ref().filter(|(name, _)| name != "relu") {
            let what = format!("activation {name:?} is not read, only \"relu\"");
            return Err(TeacherError::Config { what, path: path.clone() });
        }
        let (stem, stem_channels) = read_stem(weights)?;
        let bottleneck = weights.has("layer1.0.conv3.weight");
        let present = read_stages(weights, bottleneck)?;
        let chosen = options.chosen_layers(present.len(), weights.path())?;
        let n_stages = chosen.iter().max().map_or(present.len(), |last| last + 1);
        let (groups, group_width) = if bottleneck { read_groups(weights)? } else { (1, 0) };
        let stride_in_1x1 = options.stride_in_1x1.or(config.stride_in_1x1).unwrap_or(false);
        if options.stride_in_1x1 == Some(true) && !bottleneck {
            return Err(TeacherError::Option {
                option: "stride_in_1x1",
                why: "its blocks have no 1×1 convolution; leave the option out".to_owned(),
            });
        }
        let stem_pool = config.stem_pool.unwrap_or(true);
        let first_stride = if config.stride_in_first_stage == Some(true) { 2 } else { 1 };
        let replaced = |stage: usize| stage > 0 && options.replace_stride_with_dilation[stage - 1];
        let (mut stages, mut strides) = (Vec::new(), Vec::new());
        let (mut dilation, mut stride) = (1, stem.stride * if stem_pool { 2 } else { 1 });
        for (i, &(n_blocks, channels)) in present.iter().enumerate() {
            // As in torchvision: the first block still has the dilation before.
            let first_dilation = dilation;
            let mut step = if i == 0 { first_stride } else { 2 };
            if replaced(i) {
                dilation *= step;
                step = 1;
            }
            stride *= step;
            strides.push(stride);
            if i < n_stages {
                let block = |b| match (b, bottleneck) {
                    (0, true) => bottleneck_block(step, first_dilation, groups, stride_in_1x1),
                    (_, true) => bottleneck_block(1, dilation, groups, stride_in_1x1),
                    (0, false) => basic_block(step, first_dilation, dilation),
                    (_, false) => basic_block(1, dilation, dilation),
                };
                stages.push(StagePlan { blocks: (0..n_blocks).map(block).collect(), channels });
            }
        }
        let bn_eps = config.bn_eps.unwrap_or(1e-5);
        Ok(Self {
            stem,
            stem_channels,
            stem_pool,
            stages,
            bottleneck,
            stride_in_1x1,
            bn_eps,
            chosen,
            groups,
            group_width,
            present,
            strides,
        })
    }

    /// Whether the features are what the last stage in the file gives.
    pub(super) fn complete(&self) -> bool {
        self.chosen == [self.present.len() - 1]
    }

    /// Channels of a feature.
    pub(super) fn channels(&self) -> usize {
        self.chosen.iter().map(|i| self.present[*i].1).sum()
    }

    /// Pixels for one cell of the features' map: the finest of the stages'.
    pub(super) fn stride(&self) -> usize {
        self.chosen.iter().map(|i| self.strides[*i]).min().unwrap_or(1)
    }

    fn name(&self) -> String {
        let depths: Vec<usize> = self.present.iter().map(|p| p.0).collect();
        let known: &[(&str, bool, [usize; 4])] = &[
            ("resnet18", false, [2, 2, 2, 2]),
            ("resnet34", false, [3, 4, 6, 3]),
            ("resnet50", true, [3, 4, 6, 3]),
            ("resnet101", true, [3, 4, 23, 3]),
            ("resnet152", true, [3, 8, 36, 3]),
        ];
        // Fewer than three stages fit several networks.
        let widths_fit = self.present[0].1 == if self.bottleneck { 256 } else { 64 };
        let fits = |d: &[usize; 4]| widths_fit && depths.len() >= 3 && d.starts_with(&depths);
        let name = known.iter().find(|(_, b, d)| *b == self.bottleneck && fits(d)).map_or_else(
            || format!("resnet-{}", depths.iter().map(ToString::to_string).collect::<Vec<_>>().join("-")),
            |(name, ..)| (*name).to_owned(),
        );
        // As torchvision names them: 64 channels in the 3×3 convolutions of the first stage are the usual.
        match (self.groups, 4 * self.group_width) {
            (1, width) if width > self.present[0].1 => format!("wide_{name}_{}", width / self.present[0].1),
            (1, _) => name,
            (groups, _) => format!("{}_{groups}x{}d", name.replace("resnet", "resnext"), self.group_width),
        }
    }

    /// What a user wants to know.
    pub(super) fn inspection(&self, weights: &Weights, normaliser: &Normaliser) -> Inspection {
        let config = &weights.config;
        let stages = self.present.iter().zip(&self.strides).enumerate();
        let stages = stages.map(|(i, (&(blocks, channels), &stride))| StageInfo {
            stage: Stage::Layer(i as u8 + 1).to_string(),
            blocks,
            channels,
            stride,
        });
        let mut notes = config.notes.clone();
        notes.extend(weights.wrapper_note());
        if self.bottleneck {
            let place = if self.stride_in_1x1 { "first 1×1" } else { "3×3" };
            let why = match config.stride_in_1x1 {
                Some(stated) if stated == self.stride_in_1x1 => "as its files say",
                None if !self.stride_in_1x1 => "as in torchvision; its files do not say",
                _ => "as the option says",
            };
            notes.push(format!("the stride of a stage is in the {place} convolution, {why}"));
        }
        let (n_tensors, n_parameters) = weights.sizes();
        let block = if self.bottleneck { "bottleneck" } else { "basic" };
        let name = self.name();
        let taken: Vec<String> = self.chosen.iter().map(|i| format!("layer{}", i + 1)).collect();
        let stated = config.arch.as_ref().map_or(String::new(), |a| format!("; its files call it {a:?}"));
        Inspection {
            spec: TeacherSpec {
                name: format!("{name} {}", taken.join("+")),
                family: Family::ResNet,
                channels: self.channels(),
                stride: self.stride(),
                mean: normaliser.mean,
                std: normaliser.std,
                fingerprint: weights.fingerprint.clone(),
            },
            naming: weights.naming.to_owned(),
            architecture: format!("{name}, {block} blocks{stated}"),
            stages: stages.collect(),
            preprocessing: Preprocessing::of(normaliser, config, None),
            n_tensors,
            n_parameters,
            unmatched: weights.unmatched(),
            notes,
        }
    }
}

fn read_stem(weights: &Weights) -> Result<(ConvGeometry, usize), TeacherError> {
    let name = "conv1.weight";
    match weights.shape(name) {
        Some(&[channels, 3, kernel, k2]) if kernel == k2 && kernel % 2 == 1 && channels > 0 => {
            let stride = weights.config.stem_stride.unwrap_or(2);
            Ok((ConvGeometry { kernel, stride, padding: kernel / 2, dilation: 1, groups: 1 }, channels))
        }
        Some(_) => Err(weights.wrong_shape(name, "[channels, 3, k, k] with k odd")),
        None => Err(weights.missing(name, "it is the stem")),
    }
}

/// Blocks and channels of every stage in the file.
fn read_stages(weights: &Weights, bottleneck: bool) -> Result<Vec<(usize, usize)>, TeacherError> {
    let n_stages = weights.count("layer", 1, "0.conv1.weight")?;
    if n_stages > 4 {
        let what = format!("it has {n_stages} stages, and a residual network has four at most");
        return Err(TeacherError::Config { what, path: weights.path().to_owned() });
    }
    let last = if bottleneck { "conv3.weight" } else { "conv2.weight" };
    let stage = |i: usize| {
        let n_blocks = weights.count(&format!("layer{i}."), 0, last)?;
        if let Some(&stated) = weights.config.depths.get(i - 1).filter(|d| **d != n_blocks) {
            let what = format!(
                "layer{i} should have {stated} blocks as its files say, but has tensors of {n_blocks}"
            );
            return Err(TeacherError::Config { what, path: weights.path().to_owned() });
        }
        let name = format!("layer{i}.0.{last}");
        match weights.shape(&name) {
            Some(&[channels, _, _, _]) if channels > 0 => Ok((n_blocks, channels)),
            _ => Err(weights.wrong_shape(&name, "[out, in, k, k]")),
        }
    };
    (1..=n_stages).map(stage).collect()
}

/// Groups of the 3×3 convolutions, and the channels of each, as the first one has them.
fn read_groups(weights: &Weights) -> Result<(usize, usize), TeacherError> {
    let (first, second) = ("layer1.0.conv1.weight", "layer1.0.conv2.weight");
    let inner = weights.shape(first).and_then(|shape| shape.first()).copied().unwrap_or(0);
    match weights.shape(second) {
        Some(&[out, width, ..])
            if width > 0 && inner > 0 && inner.is_multiple_of(width) && out.is_multiple_of(inner / width) =>
        {
            Ok((inner / width, width))
        }
        Some(_) => Err(weights.wrong_shape(second, format!("[out, {inner} or a part of it, 3, 3]"))),
        None => Err(weights.missing(second, "every block has one")),
    }
}

fn basic_block(stride: usize, first_dilation: usize, dilation: usize) -> BlockPlan {
    BlockPlan { convs: vec![three(stride, first_dilation, 1), three(1, dilation, 1)], stride }
}

fn bottleneck_block(stride: usize, dilation: usize, groups: usize, stride_in_1x1: bool) -> BlockPlan {
    let (in_1x1, in_3x3) = if stride_in_1x1 { (stride, 1) } else { (1, stride) };
    let first = ConvGeometry { stride: in_1x1, ..ConvGeometry::POINTWISE };
    BlockPlan { convs: vec![first, three(in_3x3, dilation, groups), ConvGeometry::POINTWISE], stride }
}

fn three(stride: usize, dilation: usize, groups: usize) -> ConvGeometry {
    ConvGeometry { kernel: 3, stride, padding: dilation, dilation, groups }
}
