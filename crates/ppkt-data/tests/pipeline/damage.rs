//! Damaged frames are named: they stop the batch, or others take their place.

use std::sync::Arc;

use ppkt_data::{Augment2d, Augment3d, Batch, BatchConfig, DataError, Loader, OnDamaged};

use crate::coded::{Coded, Fault};

fn loader(dataset: Coded, on_damaged: OnDamaged) -> Loader {
    let config =
        BatchConfig { frames_per_batch: 2, image_size: [24, 18], on_damaged, ..BatchConfig::default() };
    Loader::new(Arc::new(dataset), config, 5).unwrap()
}

const FAULTS: [Fault; 4] = [Fault::Unreadable, Fault::Panics, Fault::NoDepth, Fault::ColoursMissing];

#[test]
fn by_default_a_batch_fails_and_says_which_frame() {
    for fault in FAULTS {
        let loader = loader(Coded::with_faults(4, [(2, fault)]), OnDamaged::Fail);
        let results: Vec<_> = loader.stream(0, 2, 0).collect();
        let errors: Vec<&DataError> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        assert_eq!(errors.len(), 1, "{fault:?}");
        assert!(errors[0].to_string().contains("coded-2"), "{fault:?}: {}", errors[0]);
        assert!(!errors[0].is_configuration());
    }
}

#[test]
fn errors_come_in_their_place() {
    let kinds = |workers| -> Vec<Result<u64, String>> {
        let faults = [(1, Fault::Unreadable), (3, Fault::Panics)];
        let loader = loader(Coded::with_faults(6, faults), OnDamaged::Fail);
        loader.stream(0, 9, workers).map(|r| r.map(|b| b.step).map_err(|e| e.to_string())).collect()
    };
    let wanted = kinds(0);
    assert!((2..=6).contains(&wanted.iter().filter(|r| r.is_err()).count()));
    assert!(wanted.iter().enumerate().all(|(i, r)| r.as_ref().map_or(true, |&step| step == i as u64)));
    assert_eq!(kinds(1), wanted);
    assert_eq!(kinds(3), wanted);
}

#[test]
fn skipped_frames_are_named_and_replaced_by_the_next() {
    let faults = [(1, Fault::Unreadable), (3, Fault::Panics), (4, Fault::NoDepth)];
    let loader = loader(Coded::with_faults(6, faults), OnDamaged::Skip);
    let batches: Vec<Batch> = loader.stream(0, 3, 0).map(|b| b.unwrap()).collect();
    let mut skipped: Vec<&str> = Vec::new();
    for batch in &batches {
        assert_eq!(batch.frames.len(), 2);
        assert!(batch.frames.iter().all(|f| ["coded-0", "coded-2", "coded-5"].contains(&f.as_str())));
        skipped.extend(batch.skipped.iter().map(String::as_str));
    }
    for frame in ["coded-1", "coded-3", "coded-4"] {
        assert!(skipped.contains(&frame), "{frame} was dropped silently: {skipped:?}");
    }
    let alone: Vec<Batch> = (0..3).rev().map(|step| loader.batch(step).unwrap()).collect();
    assert!(alone.iter().rev().eq(&batches), "a step depends on itself alone");
}

#[test]
fn where_all_frames_are_damaged_it_ends() {
    let faults = (0..3).map(|i| (i, Fault::Unreadable));
    let error = loader(Coded::with_faults(3, faults), OnDamaged::Skip).batch(0).unwrap_err();
    assert!(matches!(error, DataError::TooManyDamaged { tried: 3, .. }), "{error}");
    assert!(error.to_string().contains("it is torn"), "{error}");
}

#[test]
fn a_point_that_is_no_number_is_left_out() {
    let loader = loader(Coded::with_faults(1, [(0, Fault::NotFinite)]), OnDamaged::Fail);
    let frame = loader.frame(0).unwrap();
    assert_eq!(frame.n_points, (crate::coded::WIDTH * crate::coded::HEIGHT) as usize - 1);
    assert_eq!(frame.pairs.len(), frame.n_points);
}

#[test]
fn a_cut_without_pairs_falls_back_to_the_whole_photograph() {
    // A hundredth of the photograph can never hold three quarters of the pairs.
    let augment2d = Augment2d { crop_area: [0.01, 0.01], min_pairs: 100_000, ..Augment2d::none() };
    let config = BatchConfig { augment2d, augment3d: Augment3d::none(), ..BatchConfig::default() };
    let batch = Loader::new(Arc::new(Coded::new(1)), config, 5).unwrap().batch(0).unwrap();
    assert_eq!(batch.pairs.len(), batch.n_points);
}

#[test]
fn impossible_settings_and_empty_datasets_are_refused() {
    let config = BatchConfig { voxel_size_m: -1.0, ..BatchConfig::default() };
    let error = Loader::new(Arc::new(Coded::new(1)), config, 0).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("voxel_size_m"), "{error}");
    let error = Loader::new(Arc::new(Coded::new(0)), BatchConfig::default(), 0).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("frames"), "{error}");
}
