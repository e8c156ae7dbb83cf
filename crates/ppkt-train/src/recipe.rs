//! Recipes: configurations by name, and the way from a recipe and `--set` to a resolved configuration.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::PretrainConfig;
use crate::error::{Result, TrainError};

/// A configuration that has recipes by name.
pub trait Recipe: Serialize + DeserializeOwned + Clone + PartialEq {
    /// Recipes inside the program: name, and the TOML that says it.
    const BUILTIN: &'static [(&'static str, &'static str)];
}

impl Recipe for PretrainConfig {
    const BUILTIN: &'static [(&'static str, &'static str)] = &[
        ("ppkt-rgbd", include_str!("../recipes/ppkt-rgbd.toml")),
        ("ppkt-outdoor", include_str!("../recipes/ppkt-outdoor.toml")),
        ("demo", include_str!("../recipes/demo.toml")),
    ];
}

/// Names of the recipes inside the program.
pub fn recipe_names<C: Recipe>() -> impl Iterator<Item = &'static str> {
    C::BUILTIN.iter().map(|(name, _)| *name)
}

/// The text of a recipe inside the program.
fn recipe_text<C: Recipe>(name: &str) -> Option<&'static str> {
    C::BUILTIN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// Resolves a recipe (a name, or a TOML file such as a run's `config.toml`) with values set over it.
///
/// Each override is a dotted key and a TOML value (`optimizer.lr`, `0.1`); a value that is no TOML is taken as a
/// string, so that `teacher.uri` needs no quotes. Keys are applied in order.
///
/// # Errors
/// An unknown recipe, an unreadable file, an unknown key or a value of the wrong type: each names what is known.
pub fn resolve<C: Recipe>(recipe: &str, overrides: &[(String, String)]) -> Result<C> {
    let text = match recipe_text::<C>(recipe) {
        Some(text) => text.to_owned(),
        None => read::<C>(recipe)?,
    };
    let (table, config) = parse::<C>(&text).map_err(|e| {
        TrainError::Config(format!("recipe {recipe:?} cannot be understood: {}", e.trim_end()))
    })?;
    set_all(table, config, overrides)
}

/// The same configuration with values set over it, as by [`resolve`].
///
/// # Errors
/// An unknown key or a value of the wrong type.
pub fn with_settings<C: Recipe>(config: &C, overrides: &[(String, String)]) -> Result<C> {
    let table = Table::try_from(config)
        .map_err(|e| TrainError::Config(format!("the configuration cannot be written as TOML: {e}")))?;
    set_all(table, config.clone(), overrides)
}

fn set_all<C: Recipe>(mut table: Table, mut config: C, overrides: &[(String, String)]) -> Result<C> {
    for (key, value) in overrides {
        let problem =
            |e: String| TrainError::Config(format!("cannot set {key:?} to {value:?}: {}", e.trim_end()));
        set(&mut table, key, value).map_err(problem)?;
        // After each one, so that the message can say which it was.
        config = table.clone().try_into().map_err(|e: toml::de::Error| problem(e.message().to_owned()))?;
    }
    Ok(config)
}

/// The text that repeats a configuration.
pub fn to_toml<C: Recipe>(config: &C) -> Result<String> {
    toml::to_string_pretty(config)
        .map_err(|e| TrainError::Config(format!("the configuration cannot be written as TOML: {e}")))
}

/// The first key in which two configurations differ, with both values; `None` if they are equal.
pub fn first_difference<C: Recipe>(a: &C, b: &C) -> Option<String> {
    if a == b {
        return None;
    }
    let (a, b) = (Table::try_from(a).ok()?, Table::try_from(b).ok()?);
    difference(&Value::Table(a), &Value::Table(b), "")
}

fn difference(a: &Value, b: &Value, key: &str) -> Option<String> {
    let (Value::Table(a), Value::Table(b)) = (a, b) else {
        return (a != b).then(|| format!("{key} is {a} there and {b} here"));
    };
    let path = |k: &str| if key.is_empty() { k.to_owned() } else { format!("{key}.{k}") };
    a.keys().chain(b.keys()).find_map(|k| match (a.get(k), b.get(k)) {
        (Some(x), Some(y)) => difference(x, y, &path(k)),
        (Some(x), None) => Some(format!("{} is {x} there and not set here", path(k))),
        (None, _) => Some(format!("{} is not set there and is set here", path(k))),
    })
}

fn read<C: Recipe>(recipe: &str) -> Result<String> {
    let path = Path::new(recipe);
    if !path.exists() {
        let known: Vec<&str> = recipe_names::<C>().collect();
        return Err(TrainError::Config(format!(
            "no recipe {recipe:?}: inside the program are {}; or give the path of a TOML file",
            known.join(", ")
        )));
    }
    std::fs::read_to_string(path).map_err(|e| TrainError::io("read the recipe", path, e))
}

fn parse<C: Recipe>(text: &str) -> std::result::Result<(Table, C), String> {
    let config = toml::from_str(text).map_err(|e| e.to_string())?;
    let table = toml::from_str(text).map_err(|e| e.to_string())?;
    Ok((table, config))
}

fn set(table: &mut Table, key: &str, value: &str) -> std::result::Result<(), String> {
    let (path, last) = match key.rsplit_once('.') {
        Some((path, last)) => (path.split('.').collect(), last),
        None => (Vec::new(), key),
    };
    let mut place = table;
    for part in path {
        let entry = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("{part:?} is a value, not a section"))?;
    }
    let parsed = toml::from_str::<Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
    place.insert(last.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::ComparisonConfig;
    use crate::segmentation::FinetuneConfig;

    fn resolve(recipe: &str, overrides: &[(String, String)]) -> Result<PretrainConfig> {
        super::resolve(recipe, overrides)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_recipe_is_understood_and_repeats_itself() {
        assert!(recipe_names::<PretrainConfig>().count() > 0);
        for name in recipe_names::<PretrainConfig>() {
            let config = resolve(name, &pairs(&[("data.train", "synthetic:rooms")])).unwrap();
            config.check().unwrap();
            let again: PretrainConfig = toml::from_str(&to_toml(&config).unwrap()).unwrap();
            assert_eq!(again, config, "{name}");
        }
    }

    #[test]
    fn recipes_for_labels_are_understood_and_repeat_themselves() {
        assert!(recipe_names::<FinetuneConfig>().count() > 1);
        for name in recipe_names::<FinetuneConfig>() {
            let data = pairs(&[("data.train", "synthetic:rooms")]);
            let config: FinetuneConfig = super::resolve(name, &data).unwrap();
            config.check().unwrap();
            let again: FinetuneConfig = toml::from_str(&to_toml(&config).unwrap()).unwrap();
            assert_eq!(again, config, "{name}");
        }
    }

    #[test]
    fn recipes_for_comparisons_are_understood_and_repeat_themselves() {
        for name in recipe_names::<ComparisonConfig>() {
            let mut config: ComparisonConfig =
                super::resolve(name, &pairs(&[("finetune.data.train", "synthetic:rooms")])).unwrap();
            let pretrain = config.pretrain.take().unwrap_or(resolve("demo", &[]).unwrap());
            let set = pairs(&[("pretrain.data.train", "synthetic:rooms"), ("seeds", "[1, 7]")]);
            config.pretrain = Some(pretrain);
            let config = with_settings(&config, &set).unwrap().settled();
            config.check().unwrap();
            assert_eq!(config.seeds, [1, 7]);
            let again: ComparisonConfig = toml::from_str(&to_toml(&config).unwrap()).unwrap();
            assert_eq!(again, config, "{name}");
        }
    }

    #[test]
    fn the_papers_values_are_in_its_recipe() {
        let c = resolve("ppkt-rgbd", &[]).unwrap();
        assert_eq!((c.steps, c.batch.frames_per_batch, c.batch.voxel_size_m), (60_000, 24, 0.025));
        assert_eq!((c.objective.dimensions, c.objective.temperature, c.objective.pairs), (128, 0.04, 4096));
        assert_eq!((c.optimizer.lr, c.optimizer.weight_decay), (0.5, 1e-4));
        assert!(!c.objective.symmetric);
    }

    #[test]
    fn slidrs_values_are_in_the_outdoor_recipe() {
        let c: PretrainConfig = resolve("ppkt-outdoor", &[]).unwrap();
        assert_eq!((c.batch.frames_per_batch, c.batch.voxel_size_m, c.batch.voxel_angle_deg), (4, 0.1, 1.0));
        assert_eq!(c.batch.coordinates, ppkt_data::Coordinates::Cylindrical);
        assert_eq!((c.batch.channels(), c.batch.features[0]), (1, ppkt_data::PointFeature::Intensity));
        assert_eq!((c.objective.dimensions, c.objective.temperature, c.objective.pairs), (64, 0.07, 4096));
        assert_eq!((c.optimizer.lr, c.optimizer.momentum, c.optimizer.dampening), (0.5, 0.9, 0.1));
        let (width, height) = (c.batch.image_size[0] as f32, c.batch.image_size[1] as f32);
        let aspects = c.batch.augment2d.crop_aspect.map(|a| a * 16.0 / 9.0);
        assert_eq!((width, height), (416.0, 224.0));
        assert!((aspects[0] - 14.0 / 9.0).abs() < 1e-6 && (aspects[1] - 17.0 / 9.0).abs() < 1e-6);
        assert!(c.batch.augment3d.about_origin && c.batch.augment3d.drop_cuboids == 1);
    }

    #[test]
    fn values_are_set_over_a_recipe() {
        let set = [("optimizer.lr", "0.05"), ("steps", "7"), ("teacher.uri", "file:w.safetensors")];
        let c = resolve("ppkt-rgbd", &pairs(&set)).unwrap();
        assert_eq!((c.optimizer.lr, c.steps, c.teacher.uri.as_str()), (0.05, 7, "file:w.safetensors"));
    }

    #[test]
    fn unknown_recipes_keys_and_types_are_named() {
        let no_recipe = resolve("ppkt-rgb", &[]).unwrap_err().to_string();
        assert!(no_recipe.contains("ppkt-rgbd"), "{no_recipe}");
        let no_key = resolve("demo", &pairs(&[("optimizer.learning_rate", "1")])).unwrap_err().to_string();
        assert!(no_key.contains("optimizer.learning_rate") && no_key.contains("`lr`"), "{no_key}");
        let no_number = resolve("demo", &pairs(&[("steps", "many")])).unwrap_err();
        assert!(no_number.is_config() && no_number.to_string().contains("steps"), "{no_number}");
    }

    #[test]
    fn differences_are_named() {
        let a = resolve("demo", &[]).unwrap();
        let b = resolve("demo", &pairs(&[("optimizer.lr", "0.123")])).unwrap();
        assert_eq!(first_difference(&a, &a), None);
        assert!(first_difference(&a, &b).unwrap().starts_with("optimizer.lr"));
    }
}
