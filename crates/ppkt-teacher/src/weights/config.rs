//! What a model's own files say beyond its tensors.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Text;
use crate::error::TeacherError;

/// The settings of a network that its tensors do not show. Each is the first one found of: metadata of the weights
/// file, `preprocessor_config.json`, `config.json`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// Name of the architecture.
    pub(crate) arch: Option<String>,
    pub(crate) mean: Option<[f32; 3]>,
    pub(crate) std: Option<[f32; 3]>,
    /// Where mean and standard deviation are from.
    pub(crate) normalisation_from: Option<String>,
    /// Height and width that the network was trained with.
    pub(crate) input_size: Option<[usize; 2]>,
    /// Interpolation that its images were resized with.
    pub(crate) interpolation: Option<String>,
    pub(crate) stride_in_1x1: Option<bool>,
    /// Whether the first stage halves the map too.
    pub(crate) stride_in_first_stage: Option<bool>,
    /// Blocks in each stage.
    pub(crate) depths: Vec<usize>,
    pub(crate) bn_eps: Option<f64>,
    pub(crate) ln_eps: Option<f64>,
    pub(crate) heads: Option<usize>,
    pub(crate) stem_stride: Option<usize>,
    pub(crate) stem_pool: Option<bool>,
    /// Names of activation functions that are unknown are refused by the networks.
    pub(crate) activation: Option<(String, PathBuf)>,
    /// `transformers`' name of the kind of network, of the image half where there is a text half too.
    pub(crate) model_type: Option<String>,
    /// Base of the angles of rotary positions.
    pub(crate) rope_theta: Option<f64>,
    /// What was corrected, one sentence each.
    pub(crate) notes: Vec<String>,
}

impl Config {
    /// From the metadata of a weights file, whose values are JSON written as text.
    pub(super) fn from_metadata(metadata: Text, path: &Path) -> Result<Self, TeacherError> {
        // Plain words are not quoted there.
        let values = metadata.into_iter().map(|(k, v)| {
            let value = serde_json::from_str(&v).unwrap_or(Value::String(v));
            (k, value)
        });
        let from = Source { value: Value::Object(values.collect()), path };
        let mut config = Self {
            arch: from.text("arch"),
            stride_in_1x1: from.flag("stride_in_1x1")?,
            bn_eps: from.positive("bn_eps")?,
            ln_eps: from.positive("ln_eps")?,
            heads: from.count("heads")?,
            stem_stride: from.count("stem_stride")?,
            stem_pool: from.flag("stem_pool")?,
            depths: from.value.get("layers").map(numbers).unwrap_or_default(),
            ..Self::default()
        };
        config.set_normalisation(&from, "mean", "std", "metadata of the weights file")?;
        Ok(config)
    }

    /// Adds what `preprocessor_config.json` and `config.json` say.
    pub(super) fn add(
        &mut self,
        preprocessor: Option<&Path>,
        config: Option<&Path>,
    ) -> Result<(), TeacherError> {
        if let Some(from) = preprocessor.map(Source::read).transpose()?.flatten()
            && from.flag("do_normalize")? != Some(false)
        {
            self.set_normalisation(&from, "image_mean", "image_std", "preprocessor_config.json")?;
        }
        if let Some(from) = config.map(Source::read).transpose()?.flatten() {
            self.add_model_config(&from)?;
        }
        Ok(())
    }

    fn add_model_config(&mut self, from: &Source<'_>) -> Result<(), TeacherError> {
        // timm keeps its preprocessing in a table of its own.
        let timm =
            Source { value: from.value.get("pretrained_cfg").cloned().unwrap_or_default(), path: from.path };
        self.set_normalisation(&timm, "mean", "std", "config.json")?;
        self.interpolation = self.interpolation.take().or(timm.text("interpolation"));
        let input: Vec<usize> = timm.value.get("input_size").map(numbers).unwrap_or_default();
        if let [3, height, width] = input[..] {
            self.input_size = Some([height, width]);
        }
        // Networks of images and text keep the image half's settings in a table of their own.
        let vision = from.value.get("vision_config").cloned().unwrap_or_default();
        let from = if vision.is_object() { &Source { value: vision, path: from.path } } else { from };
        self.model_type = from.text("model_type");
        self.arch = self.arch.take().or(from.text("architecture")).or(self.model_type.clone());
        // `downsample_in_bottleneck` is how transformers says that the stride is in the first 1×1.
        self.stride_in_1x1 = self.stride_in_1x1.or(from.flag("downsample_in_bottleneck")?);
        if self.depths.is_empty() {
            self.depths = from.value.get("depths").map(numbers).unwrap_or_default();
        }
        self.stride_in_first_stage = from.flag("downsample_in_first_stage")?;
        self.ln_eps = self.ln_eps.or(from.positive("layer_norm_eps")?);
        self.heads = self.heads.or(from.count("num_attention_heads")?);
        self.rope_theta = from.positive("rope_theta")?;
        self.activation = from.text("hidden_act").map(|name| (name, from.path.to_owned()));
        Ok(())
    }

    fn set_normalisation(
        &mut self,
        from: &Source<'_>,
        mean: &str,
        std: &str,
        name: &str,
    ) -> Result<(), TeacherError> {
        if self.mean.is_some() {
            return Ok(());
        }
        let (mean, std) = (from.colours(mean)?, from.colours(std)?);
        if mean.is_some() != std.is_some() {
            return Err(from.wrong("mean and std are given without each other"));
        }
        if let Some(zero) = std.and_then(|s| s.into_iter().find(|v| *v <= 0.0)) {
            return Err(from.wrong(&format!("a standard deviation of {zero} is not positive")));
        }
        if mean.is_some() {
            (self.mean, self.std, self.normalisation_from) = (mean, std, Some(name.to_owned()));
        }
        Ok(())
    }
}

fn numbers(list: &Value) -> Vec<usize> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|v| usize::try_from(v.as_u64()?).ok()).collect()
}

/// A table of settings and the file that it is from.
struct Source<'a> {
    value: Value,
    path: &'a Path,
}

impl<'a> Source<'a> {
    /// A JSON file, or `None` where there is none.
    fn read(path: &'a Path) -> Result<Option<Self>, TeacherError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TeacherError::Read { source, path: path.to_owned() }),
        };
        let value = serde_json::from_slice(&bytes).map_err(|e| TeacherError::Config {
            what: format!("it is no JSON ({e})"),
            path: path.to_owned(),
        })?;
        Ok(Some(Self { value, path }))
    }

    fn wrong(&self, what: &str) -> TeacherError {
        TeacherError::Config { what: what.to_owned(), path: self.path.to_owned() }
    }

    /// A setting that is there and not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.value.get(name).filter(|v| !v.is_null())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, TeacherError> {
        let wrong = |v: &Value| self.wrong(&format!("entry {name:?} is {v} and not true or false"));
        self.get(name).map(|v| v.as_bool().ok_or_else(|| wrong(v))).transpose()
    }

    fn count(&self, name: &str) -> Result<Option<usize>, TeacherError> {
        let wrong = |v: &Value| self.wrong(&format!("entry {name:?} is {v} and not a number from 1 on"));
        let count = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        self.get(name).map(|v| count(v).ok_or_else(|| wrong(v))).transpose()
    }

    fn positive(&self, name: &str) -> Result<Option<f64>, TeacherError> {
        let wrong = |v: &Value| self.wrong(&format!("entry {name:?} is {v} and not a positive number"));
        self.get(name).map(|v| v.as_f64().filter(|n| *n > 0.0).ok_or_else(|| wrong(v))).transpose()
    }

    fn colours(&self, name: &str) -> Result<Option<[f32; 3]>, TeacherError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list: Vec<f32> = match value.as_array() {
            Some(list) => list.iter().filter_map(Value::as_f64).map(|v| v as f32).collect(),
            None => Vec::new(),
        };
        match <[f32; 3]>::try_from(list) {
            Ok(colours) if colours.iter().all(|v| v.is_finite()) => Ok(Some(colours)),
            _ => Err(self.wrong(&format!("entry {name:?} is {value} and not three numbers"))),
        }
    }
}
