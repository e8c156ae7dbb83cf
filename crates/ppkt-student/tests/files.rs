//! State dicts on disk: whole, foreign, and broken ones.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;

use candle_core::{DType, Device, Tensor};
use ppkt_sparse::{LoadMode, VarStore};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig, State, load_state, save_state};

use common::{tiny, values, voxels};

fn words() -> BTreeMap<String, String> {
    let pairs = [("voxel_size", "0.025"), ("features", "rgb"), ("quoted", "a \"b\" \\ é")];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn a_network_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.safetensors");
    let (config, store, net) = tiny(8);
    let x = voxels(16, 1, 3);
    net.forward(&x, true).unwrap();
    save_state(&path, &store.to_map().unwrap(), &config, &words()).unwrap();

    let state = load_state(&path).unwrap();
    for (key, value) in words() {
        assert_eq!(state.metadata.get(&key), Some(&value));
    }
    assert_eq!(state.metadata["arch"], "MinkUNet14Tiny");
    let (_, arch, read) = state.describe().unwrap();
    assert_eq!((arch, read), (Some(Arch::MinkUNet14Tiny), config));
    assert_eq!(state.parameter_count(), store.parameter_count());

    let other = VarStore::new(99);
    let again = MinkUNet::new(&read, other.builder(&Device::Cpu)).unwrap();
    let report = state.load_into(&other, LoadMode::Strict).unwrap();
    assert!(report.missing.is_empty() && report.loaded.len() == store.all().len());
    let bits = |n: &MinkUNet| values(n.forward(&x, false).unwrap().features());
    assert_eq!(bits(&net), bits(&again));

    // Nothing but the file is left, and the same contents are the same bytes.
    let second = folder.path().join("second.safetensors");
    save_state(&second, &other.to_map().unwrap(), &read, &words()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&second).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_file_also_makes_a_frozen_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.safetensors");
    let (config, store, net) = tiny(8);
    save_state(&path, &store.to_map().unwrap(), &config, &words()).unwrap();
    let tensors = load_state(&path).unwrap().tensors;
    let vb = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let frozen = MinkUNet::new(&config, vb).unwrap();
    let x = voxels(16, 1, 3);
    let y = frozen.forward(&x, false).unwrap();
    assert_eq!(values(y.features()), values(net.forward(&x, false).unwrap().features()));
    assert!(!y.features().track_op());
}

#[test]
fn prefixes_of_wrappers_are_taken_away() {
    let (_, store, _) = tiny(8);
    for prefix in ["module.", "model.", "model.module.", "module.model."] {
        let map = store.to_map().unwrap();
        let wrapped: HashMap<String, Tensor> =
            map.into_iter().map(|(k, v)| (format!("{prefix}{k}"), v)).collect();
        let report = State::new(wrapped, "memory").load_into(&store, LoadMode::Strict).unwrap();
        assert_eq!(report.loaded.len(), store.all().len(), "{prefix}");
    }
}

#[test]
fn half_precision_files_are_widened() {
    let (_, store, _) = tiny(8);
    let half = |t: Tensor| if t.dtype() == DType::F32 { t.to_dtype(DType::F16).unwrap() } else { t };
    let map: HashMap<String, Tensor> =
        store.to_map().unwrap().into_iter().map(|(k, v)| (k, half(v))).collect();
    let other = VarStore::new(3);
    MinkUNet::new(
        &MinkUNetConfig { arch: Arch::MinkUNet14Tiny, out_channels: 8, ..Default::default() },
        other.builder(&Device::Cpu),
    )
    .unwrap();
    State::new(map.clone(), "memory").load_into(&other, LoadMode::Strict).unwrap();
    let (name, var) = other.trainable().remove(0);
    assert_eq!(values(&var), values(&map[&name].to_dtype(DType::F32).unwrap()));
}

#[test]
fn another_head_loads_leniently_and_not_strictly() {
    let (_, store, _) = tiny(8);
    let (_, other, _) = tiny(20);
    let state = State::new(store.to_map().unwrap(), "pretrained.safetensors");
    let before = other.to_map().unwrap();

    let error = state.load_into(&other, LoadMode::Strict).unwrap_err().to_string();
    for word in ["final.kernel", "[32, 20]", "[32, 8]", "nothing was loaded", "pretrained.safetensors"] {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
    for (name, var) in other.trainable() {
        assert_eq!(values(&var), values(&before[&name]), "{name} changed");
    }
    let report = state.load_into(&other, LoadMode::Lenient).unwrap();
    let names: Vec<_> = report.shape_mismatch.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["final.bias", "final.kernel"]);
}

#[test]
fn another_first_kernel_is_named() {
    let (_, store, _) = tiny(8);
    let config =
        MinkUNetConfig { arch: Arch::MinkUNet14Tiny, out_channels: 8, first_kernel: 5, ..Default::default() };
    let five = VarStore::new(0);
    MinkUNet::new(&config, five.builder(&Device::Cpu)).unwrap();
    let state = State::new(five.to_map().unwrap(), "me.safetensors");
    assert_eq!(state.describe().unwrap().2.first_kernel, 5);
    for mode in [LoadMode::Strict, LoadMode::Lenient] {
        let error = state.load_into(&store, mode).unwrap_err().to_string();
        assert!(error.contains("set first_kernel = 5") && error.contains("me.safetensors"), "{error}");
    }
}

#[test]
fn broken_files_give_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.safetensors");
    let (config, store, _) = tiny(8);
    save_state(&path, &store.to_map().unwrap(), &config, &words()).unwrap();
    let whole = fs::read(&path).unwrap();

    let broken = folder.path().join("broken.safetensors");
    let cases: [&[u8]; 6] = [
        b"",
        b"1234",
        b"<!DOCTYPE html><html>404</html>",
        &whole[..100],
        &whole[..whole.len() - 1],
        &[&u64::MAX.to_le_bytes()[..], &whole[8..200]].concat(),
    ];
    for bytes in cases {
        fs::write(&broken, bytes).unwrap();
        let error = load_state(&broken).unwrap_err().to_string();
        assert!(error.contains("not a whole safetensors file"), "{error}");
        assert!(error.ends_with("broken.safetensors\""), "{error}");
    }
    let error = load_state(&folder.path().join("absent.safetensors")).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("absent"), "{error}");
}

#[test]
fn a_file_of_something_else_is_no_network() {
    let tensor = Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap();
    let state = State::new(HashMap::from([("conv1.weight".to_owned(), tensor)]), "resnet.safetensors");
    let error = state.describe().unwrap_err().to_string();
    assert!(error.contains("conv0p1s1.kernel") && error.contains("resnet.safetensors"), "{error}");
    assert!(error.contains("conv1.weight"), "what is there instead: {error}");
    assert!(State::new(HashMap::new(), "empty").describe().is_err());
}

#[test]
fn a_network_of_other_sizes_is_held_against_the_nearest_of_the_family() {
    let mut plan = Arch::MinkUNet14A.plan();
    plan.planes[6] = 80;
    let store = VarStore::new(0);
    MinkUNet::with_plan(&plan, &MinkUNetConfig::default(), store.builder(&Device::Cpu)).unwrap();
    let state = State::new(store.to_map().unwrap(), "own.safetensors");
    assert_eq!(state.describe().unwrap().0, plan);
    let error = state.member().unwrap_err().to_string();
    for word in ["128, 128, 80, 96", "MinkUNet14A", "128, 128, 96, 96", "own.safetensors"] {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
    let (config, store, _) = tiny(8);
    assert_eq!(State::new(store.to_map().unwrap(), "tiny").member().unwrap().arch, config.arch);
}

#[test]
fn a_failed_save_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (config, store, _) = tiny(8);
    let nowhere = folder.path().join("absent/student.safetensors");
    let error = save_state(&nowhere, &store.to_map().unwrap(), &config, &words()).unwrap_err().to_string();
    assert!(error.contains("cannot write"), "{error}");

    // A folder in the file's place cannot be replaced by a file.
    let taken = folder.path().join("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    save_state(&taken, &store.to_map().unwrap(), &config, &words()).unwrap_err();
    assert!(taken.join("inside").is_dir());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left behind");
}
