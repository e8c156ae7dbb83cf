//! One table of foreign names.
//!
//! Inside the house a tensor has the name that torchvision (ResNet) and timm (ViT) give it; the module tree of this
//! crate follows these names. A transformer's projections may also be apart, as `attn.q`, `attn.k`, `attn.v`.

use crate::spec::Family;

/// A foreign name, and ours. `{a}` stands for a number, `{a+1}` for the next one, a final `*` for one last part.
const TABLE: &[(&str, &str)] = &[
    // transformers, ResNet
    ("embedder.embedder.convolution.*", "conv1.*"),
    ("embedder.embedder.normalization.*", "bn1.*"),
    ("encoder.stages.{a}.layers.{b}.layer.{c}.convolution.*", "layer{a+1}.{b}.conv{c+1}.*"),
    ("encoder.stages.{a}.layers.{b}.layer.{c}.normalization.*", "layer{a+1}.{b}.bn{c+1}.*"),
    ("encoder.stages.{a}.layers.{b}.shortcut.convolution.*", "layer{a+1}.{b}.downsample.0.*"),
    ("encoder.stages.{a}.layers.{b}.shortcut.normalization.*", "layer{a+1}.{b}.downsample.1.*"),
    ("classifier.1.*", "fc.*"),
    // transformers, ViT and DeiT
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.distillation_token", "dist_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
    ("encoder.layer.{a}.layernorm_before.*", "blocks.{a}.norm1.*"),
    ("encoder.layer.{a}.layernorm_after.*", "blocks.{a}.norm2.*"),
    ("encoder.layer.{a}.attention.attention.query.*", "blocks.{a}.attn.q.*"),
    ("encoder.layer.{a}.attention.attention.key.*", "blocks.{a}.attn.k.*"),
    ("encoder.layer.{a}.attention.attention.value.*", "blocks.{a}.attn.v.*"),
    ("encoder.layer.{a}.attention.output.dense.*", "blocks.{a}.attn.proj.*"),
    ("encoder.layer.{a}.intermediate.dense.*", "blocks.{a}.mlp.fc1.*"),
    ("encoder.layer.{a}.output.dense.*", "blocks.{a}.mlp.fc2.*"),
    // transformers, DINOv2
    ("encoder.layer.{a}.norm1.*", "blocks.{a}.norm1.*"),
    ("encoder.layer.{a}.norm2.*", "blocks.{a}.norm2.*"),
    ("encoder.layer.{a}.mlp.fc1.*", "blocks.{a}.mlp.fc1.*"),
    ("encoder.layer.{a}.mlp.fc2.*", "blocks.{a}.mlp.fc2.*"),
    ("encoder.layer.{a}.layer_scale1.lambda1", "blocks.{a}.ls1.gamma"),
    ("encoder.layer.{a}.layer_scale2.lambda1", "blocks.{a}.ls2.gamma"),
    ("embeddings.mask_token", "mask_token"),
    // the same three, as transformers 5 names them
    ("layers.{a}.layernorm_before.*", "blocks.{a}.norm1.*"),
    ("layers.{a}.layernorm_after.*", "blocks.{a}.norm2.*"),
    ("layers.{a}.attention.q_proj.*", "blocks.{a}.attn.q.*"),
    ("layers.{a}.attention.k_proj.*", "blocks.{a}.attn.k.*"),
    ("layers.{a}.attention.v_proj.*", "blocks.{a}.attn.v.*"),
    ("layers.{a}.attention.o_proj.*", "blocks.{a}.attn.proj.*"),
    ("layers.{a}.mlp.fc1.*", "blocks.{a}.mlp.fc1.*"),
    ("layers.{a}.mlp.fc2.*", "blocks.{a}.mlp.fc2.*"),
    ("encoder.layer.{a}.attention.q_proj.*", "blocks.{a}.attn.q.*"),
    ("encoder.layer.{a}.attention.k_proj.*", "blocks.{a}.attn.k.*"),
    ("encoder.layer.{a}.attention.v_proj.*", "blocks.{a}.attn.v.*"),
    ("encoder.layer.{a}.attention.o_proj.*", "blocks.{a}.attn.proj.*"),
    // all of these
    ("layernorm.*", "norm.*"),
    ("classifier.*", "head.*"),
];

/// Wrappers that checkpoints come in, in order of preference: of the two networks of a momentum pair the one that
/// is trained (MoCo), of teacher and student the teacher (DINO).
const PREFIXES: &[&str] = &[
    "",
    "module.",
    "encoder.",
    "backbone.",
    "model.",
    "resnet.",
    "vit.",
    "deit.",
    "module.encoder_q.",
    "encoder_q.",
    "base_encoder.",
    "module.base_encoder.",
    "teacher.backbone.",
    "module.backbone.",
];

/// Names that only one family has, in each scheme, with a second one to be sure.
const MARKS: &[(Family, &str, [&str; 2])] = &[
    (Family::ResNet, "torchvision", ["conv1.weight", "layer1.0.conv1.weight"]),
    (
        Family::ResNet,
        "transformers",
        ["embedder.embedder.convolution.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight"],
    ),
    (Family::VisionTransformer, "timm", ["patch_embed.proj.weight", "pos_embed"]),
    (
        Family::VisionTransformer,
        "transformers",
        ["embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings"],
    ),
];

/// How a file names its tensors.
pub(super) struct Found {
    pub(super) family: Family,
    pub(super) naming: &'static str,
    prefix: String,
}

impl Found {
    /// Our name of a tensor.
    pub(super) fn canonical(&self, name: &str) -> String {
        let bare = name.strip_prefix(&self.prefix).unwrap_or(name);
        if self.naming != "transformers" {
            return bare.to_owned();
        }
        TABLE
            .iter()
            .find_map(|(theirs, ours)| translate(bare, theirs, ours))
            .unwrap_or_else(|| bare.to_owned())
    }
}

/// Finds the family, the naming and the wrapper.
pub(super) fn recognise(names: &[&str]) -> Option<Found> {
    MARKS.iter().find_map(|&(family, naming, [first, second])| {
        let wrappers = names.iter().filter_map(|n| n.strip_suffix(first));
        let complete = wrappers.filter(|p| {
            (p.is_empty() || p.ends_with('.')) && names.contains(&format!("{p}{second}").as_str())
        });
        let prefix = complete.min_by_key(|p| (preference(p), p.len(), p.to_string()))?;
        Some(Found { family, naming, prefix: prefix.to_owned() })
    })
}

fn preference(prefix: &str) -> usize {
    PREFIXES.iter().position(|known| *known == prefix).unwrap_or(PREFIXES.len())
}

/// `name` by one row of the table, if it fits.
fn translate(name: &str, theirs: &str, ours: &str) -> Option<String> {
    let (mut numbers, mut last) = (Vec::new(), "");
    let (mut parts, mut pattern) = (name.split('.'), theirs.split('.'));
    loop {
        match (parts.next(), pattern.next()) {
            (None, None) => break,
            (Some(part), Some("*")) => last = part,
            (Some(part), Some(hole)) if hole.starts_with('{') => {
                numbers.push((hole.trim_matches(['{', '}']), part.parse::<usize>().ok()?));
            }
            (Some(part), Some(word)) if part == word => {}
            _ => return None,
        }
    }
    let mut result = ours.replace('*', last);
    for (hole, number) in numbers {
        result = result.replace(&format!("{{{hole}}}"), &number.to_string());
        result = result.replace(&format!("{{{hole}+1}}"), &(number + 1).to_string());
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformers_names_become_torchvisions() {
        let names = [
            "resnet.embedder.embedder.convolution.weight",
            "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight",
        ];
        let found = recognise(&names).unwrap();
        assert_eq!((found.family, found.naming), (Family::ResNet, "transformers"));
        for (theirs, ours) in [
            ("resnet.embedder.embedder.normalization.running_var", "bn1.running_var"),
            ("resnet.encoder.stages.2.layers.5.layer.1.convolution.weight", "layer3.5.conv2.weight"),
            ("resnet.encoder.stages.3.layers.0.shortcut.normalization.bias", "layer4.0.downsample.1.bias"),
            ("classifier.1.weight", "fc.weight"),
            ("something.else", "something.else"),
        ] {
            assert_eq!(found.canonical(theirs), ours);
        }
    }

    #[test]
    fn both_namings_of_transformers_become_timms() {
        for (prefix, block, attention, output) in [
            ("vit.", "encoder.layer.", "attention.attention.query", "attention.output.dense"),
            ("", "layers.", "attention.q_proj", "attention.o_proj"),
            ("", "encoder.layer.", "attention.q_proj", "attention.o_proj"),
        ] {
            let mark = |leaf: &str| format!("{prefix}embeddings.{leaf}");
            let names = [mark("patch_embeddings.projection.weight"), mark("position_embeddings")];
            let found = recognise(&names.each_ref().map(String::as_str)).unwrap();
            let ours = |leaf: &str| found.canonical(&format!("{prefix}{block}11.{leaf}"));
            assert_eq!(ours(&format!("{attention}.bias")), "blocks.11.attn.q.bias");
            assert_eq!(ours(&format!("{output}.weight")), "blocks.11.attn.proj.weight");
            assert_eq!(ours("mlp.fc1.weight"), "blocks.11.mlp.fc1.weight");
            assert_eq!(found.canonical(&format!("{prefix}layernorm.bias")), "norm.bias");
        }
    }

    #[test]
    fn wrappers_are_taken_off_and_the_trained_one_is_preferred() {
        let names = [
            "module.encoder_k.conv1.weight",
            "module.encoder_k.layer1.0.conv1.weight",
            "module.encoder_q.conv1.weight",
            "module.encoder_q.layer1.0.conv1.weight",
        ];
        let found = recognise(&names).unwrap();
        assert_eq!(found.canonical("module.encoder_q.layer1.0.conv1.weight"), "layer1.0.conv1.weight");
        assert_eq!(found.canonical("module.encoder_k.conv1.weight"), "module.encoder_k.conv1.weight");
    }

    #[test]
    fn a_wrapper_that_is_not_listed_is_found_too() {
        let names = ["net.image.conv1.weight", "net.image.layer1.0.conv1.weight"];
        assert_eq!(recognise(&names).unwrap().canonical("net.image.bn1.bias"), "bn1.bias");
        assert!(recognise(&["conv1.weight", "conv2.weight"]).is_none());
    }
}
