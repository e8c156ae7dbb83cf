//! Recognising a network by the names of its tensors, whatever wraps it.

use super::table;
use crate::spec::Family;

/// Words in a wrapper that mark the copy of a network that is not the one to take: of a momentum pair the key encoder
/// (MoCo), of student and teacher the student (DINO).
const SECOND_CHOICE: &[&str] = &["encoder_k", "momentum_encoder", "student", "discriminator"];

/// Names that only one family has, in each scheme, with a second one to be sure. The first that fits counts.
const MARKS: &[(Family, &str, [&str; 2])] = &[
    (Family::ResNet, "torchvision", ["conv1.weight", "layer1.0.conv1.weight"]),
    (
        Family::ResNet,
        "transformers",
        ["embedder.embedder.convolution.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight"],
    ),
    (Family::ConvNext, "timm", ["stem.0.weight", "stages.0.blocks.0.conv_dw.weight"]),
    (Family::ConvNext, "original", ["downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"]),
    (Family::ConvNext, "torchvision", ["features.0.0.weight", "features.1.0.block.0.weight"]),
    (
        Family::ConvNext,
        "transformers",
        ["embeddings.patch_embeddings.weight", "encoder.stages.0.layers.0.dwconv.weight"],
    ),
    (
        Family::ConvNext,
        "transformers",
        ["stages.0.downsample_layers.0.weight", "stages.0.layers.0.depthwise_conv.weight"],
    ),
    (Family::VisionTransformer, "original", ["patch_embed.proj.weight", "storage_tokens"]),
    (Family::VisionTransformer, "original", ["patch_embed.proj.weight", "register_tokens"]),
    (Family::VisionTransformer, "original", ["patch_embed.proj.weight", "mask_token"]),
    (Family::VisionTransformer, "timm", ["patch_embed.proj.weight", "pos_embed"]),
    (Family::VisionTransformer, "timm", ["patch_embed.proj.weight", "reg_token"]),
    (
        Family::VisionTransformer,
        "transformers",
        ["embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings"],
    ),
    (
        Family::VisionTransformer,
        "transformers",
        ["embeddings.patch_embeddings.weight", "embeddings.register_tokens"],
    ),
    (
        Family::VisionTransformer,
        "transformers",
        ["embeddings.patch_embedding.weight", "embeddings.position_embedding.weight"],
    ),
];

/// How a file names its tensors.
pub(super) struct Found {
    pub(super) family: Family,
    pub(super) naming: &'static str,
    /// What stands before the names of the network's tensors.
    pub(super) prefix: String,
    /// What stands before those of its other copies in the file.
    pub(super) others: Vec<String>,
}

impl Found {
    /// Our name of a tensor.
    pub(super) fn canonical(&self, name: &str) -> String {
        let bare = name.strip_prefix(&self.prefix).unwrap_or(name);
        table::rows(self.family, self.naming)
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
        let mut prefixes: Vec<String> = complete.map(str::to_owned).collect();
        prefixes.sort_by_key(|p| {
            let second_choice = p.split('.').any(|word| SECOND_CHOICE.contains(&word));
            (second_choice, p.len(), p.clone())
        });
        let others = prefixes.split_off(1.min(prefixes.len()));
        Some(Found { family, naming, prefix: prefixes.pop()?, others })
    })
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
        result = result.replace(&format!("{{{hole}/2}}"), &(number / 2).to_string());
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
        assert_eq!(found.others, ["module.encoder_k."]);
        let names = ["student.backbone.", "teacher.backbone."]
            .map(|p| ["patch_embed.proj.weight", "pos_embed"].map(|leaf| format!("{p}{leaf}")));
        let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
        assert_eq!(recognise(&names).unwrap().prefix, "teacher.backbone.");
    }

    #[test]
    fn a_wrapper_that_is_not_listed_is_found_too() {
        let names = ["net.image.conv1.weight", "net.image.layer1.0.conv1.weight"];
        assert_eq!(recognise(&names).unwrap().canonical("net.image.bn1.bias"), "bn1.bias");
        assert!(recognise(&["conv1.weight", "conv2.weight"]).is_none());
    }
}
