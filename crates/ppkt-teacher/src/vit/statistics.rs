//! Networks whose files state a normalisation that they were not trained with.

use std::path::Path;

use super::kind::Kind;
use crate::options::TeacherOptions;
use crate::preprocess::Statistics;
use crate::weights::Weights;

/// DINO was trained with ImageNet's mean and standard deviation (`main_dino.py`), but its conversions for `transformers`,
/// such as `facebook/dino-vits16`, were published with the preprocessor of Google's ViT: one half each. Where names say
/// that it is DINO, that is corrected; where only the shape fits, it is said.
pub(super) fn correct(weights: &mut Weights, kind: Kind, options: &TeacherOptions, notes: &mut Vec<String>) {
    let half = Some([0.5; 3]);
    let by_user = options.mean.is_some() || options.std.is_some();
    // Google's have a pooler or a classifier, and DINO has neither.
    let shape_fits = kind == Kind::Plain
        && weights.naming == "transformers"
        && !weights.has("head.weight")
        && !weights.has("pooler.dense.weight");
    if by_user || !shape_fits || weights.config.mean != half || weights.config.std != half {
        return;
    }
    if named_dino(weights.path()) {
        let Statistics { mean, std, .. } = Statistics::IMAGENET;
        (weights.config.mean, weights.config.std) = (Some(mean), Some(std));
        let stated = weights.config.normalisation_from.take().unwrap_or_default();
        weights.config.normalisation_from = Some("ImageNet's, as DINO was trained".to_owned());
        notes.push(format!("{stated} states a mean and standard deviation of 0.5, but DINO was trained with ImageNet's, which were taken"));
    } else {
        notes.push("its files state a mean and standard deviation of 0.5; if it is DINO, that is wrong, and ImageNet's have to be given as options".to_owned());
    }
}

/// Whether the file, its folder, or its repository in the Hub's cache (`models--org--name`) is called after DINO.
fn named_dino(path: &Path) -> bool {
    let dino = |name: &str| {
        name.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "dino")
    };
    let names = path.components().rev().map(|part| part.as_os_str().to_string_lossy());
    names.enumerate().any(|(i, name)| (i < 2 || name.starts_with("models--")) && dino(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dino() {
        for (path, is) in [
            ("/hub/models--facebook--dino-vits16/snapshots/0123/model.safetensors", true),
            ("dino-vitb8/model.safetensors", true),
            ("weights/DINO_vits8.safetensors", true),
            ("dino/weights/vit/model.safetensors", false),
            ("/hub/models--google--vit-base-patch16-224/snapshots/0123/model.safetensors", false),
            ("dinosaurs/model.safetensors", false),
        ] {
            assert_eq!(named_dino(Path::new(path)), is, "{path}");
        }
    }
}
