//! What is said about a transformer.

use super::arch::{Arch, PositionKind};
use super::mlp::Gate;
use crate::inspection::{Inspection, Preprocessing, StageInfo};
use crate::options::Stage;
use crate::preprocess::Normaliser;
use crate::spec::{Family, TeacherSpec};
use crate::weights::Weights;

/// What a user wants to know; `channels` leave the network.
pub(super) fn inspection(
    arch: &Arch,
    channels: usize,
    weights: &Weights,
    normaliser: &Normaliser,
) -> Inspection {
    let config = &weights.config;
    let stage = |i: usize| StageInfo {
        stage: Stage::Block(i as u16).to_string(),
        blocks: 1,
        channels: arch.channels,
        stride: arch.patch,
    };
    let mut notes = arch.notes.clone();
    notes.extend(weights.wrapper_note());
    if !weights.has("norm.weight") {
        notes.push("there is no last norm; features are taken without".to_owned());
    }
    let trained = match arch.positions {
        PositionKind::Learned { grid, .. } => Some(grid * arch.patch),
        PositionKind::Rotary { .. } => None,
    };
    let positions = match trained {
        Some(side) => format!("positions for {side}x{side}"),
        None => "rotary positions".to_owned(),
    };
    let registers = match arch.registers {
        0 => String::new(),
        n => format!(" {n} registers,"),
    };
    let gate = if arch.mlp.gate == Gate::None { "" } else { " with a gate" };
    let name = config.arch.clone().unwrap_or_else(|| {
        format!("vit of {} channels, {} blocks, patch {}", arch.channels, arch.blocks_present, arch.patch)
    });
    let mut taken: Vec<String> = arch.chosen.iter().map(|i| format!("block{i}")).collect();
    if arch.mask_clip {
        taken = vec!["mask_clip".to_owned()];
    }
    let raw = if arch.last_norm { "" } else { " before the last norm" };
    let (n_tensors, n_parameters) = weights.sizes();
    Inspection {
        spec: TeacherSpec {
            name: format!("{name} {}{raw}", taken.join("+")),
            family: Family::VisionTransformer,
            channels,
            stride: arch.patch,
            mean: normaliser.mean,
            std: normaliser.std,
            fingerprint: weights.fingerprint.clone(),
        },
        naming: weights.naming.to_owned(),
        architecture: format!(
            "{} {name}: patch {}, {} channels, {} heads, {} blocks,{registers} hidden layers of {}{gate}, {positions}",
            arch.kind, arch.patch, arch.channels, arch.heads, arch.blocks_present, arch.mlp.hidden
        ),
        stages: (0..arch.blocks_present).map(stage).collect(),
        preprocessing: Preprocessing::of(normaliser, config, trained),
        n_tensors,
        n_parameters,
        unmatched: weights.unmatched(),
        notes,
    }
}
