//! The order of frames is a function of the seed alone.

use std::sync::Arc;
use std::time::Duration;

use ppkt_data::{Batch, BatchConfig, Loader};

use crate::coded::Coded;

fn loader(n_frames: usize, frames_per_batch: usize, seed: u64) -> Loader {
    let config =
        BatchConfig { frames_per_batch, image_size: [24, 18], max_points: 200, ..BatchConfig::default() };
    Loader::new(Arc::new(Coded::new(n_frames)), config, seed).unwrap()
}

fn all(stream: impl Iterator<Item = Result<Batch, ppkt_data::DataError>>) -> Vec<Batch> {
    stream.map(|b| b.unwrap()).collect()
}

#[test]
fn every_frame_comes_once_an_epoch() {
    let loader = loader(7, 3, 11);
    assert_eq!(loader.steps_per_epoch(), 3);
    let names: Vec<String> = all(loader.stream(0, 14, 0)).into_iter().flat_map(|b| b.frames).collect();
    assert_eq!(names.len(), 42);
    let mut orders = Vec::new();
    for epoch in names.chunks(7) {
        orders.push(epoch.to_vec());
        let mut sorted = epoch.to_vec();
        sorted.sort();
        assert_eq!(sorted, (0..7).map(|i| format!("coded-{i}")).collect::<Vec<_>>());
    }
    orders.sort();
    orders.dedup();
    assert!(orders.len() >= 5, "epochs have orders of their own");
}

#[test]
fn seeds_give_other_orders() {
    assert_ne!(loader(50, 1, 1).order(0), loader(50, 1, 2).order(0));
    assert_eq!(loader(50, 1, 1).order(3), loader(50, 4, 1).order(3));
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let wanted = all(loader(5, 2, 3).stream(4, 12, 0));
    assert_eq!(wanted.iter().map(|b| b.step).collect::<Vec<_>>(), (4..16).collect::<Vec<_>>());
    for workers in 1..=3 {
        assert_eq!(all(loader(5, 2, 3).stream(4, 12, workers)), wanted, "{workers} workers");
    }
}

#[test]
fn a_resumed_run_sees_what_it_would_have_seen() {
    let whole = all(loader(5, 2, 3).stream(0, 10, 1));
    assert_eq!(all(loader(5, 2, 3).stream(6, 4, 2)), whole[6..]);
    assert_eq!(loader(5, 2, 3).batch(9).unwrap(), whole[9]);
}

#[test]
fn the_same_frame_is_augmented_anew_each_epoch() {
    let loader = loader(1, 1, 3);
    let (a, b) = (loader.batch(0).unwrap(), loader.batch(1).unwrap());
    assert_eq!(a.frames, b.frames);
    assert_ne!(a.coords, b.coords);
}

#[test]
fn a_frame_by_number_is_whole_and_plain() {
    let frame = loader(4, 2, 3).frame(2).unwrap();
    assert_eq!(frame.frames, ["coded-2"]);
    assert_eq!(frame.pairs.len(), frame.n_points);
    assert_eq!(frame, loader(4, 3, 99).frame(2).unwrap(), "nothing is left to chance");
}

#[test]
fn a_dropped_stream_stops_its_threads() {
    for workers in 1..=3 {
        let dataset = Arc::new(Coded { delay: Duration::from_millis(2), ..Coded::new(3) });
        let loader = Loader::new(dataset.clone(), BatchConfig::default(), 1).unwrap();
        let mut stream = loader.stream(0, u64::MAX / 2, workers);
        stream.next().unwrap().unwrap();
        drop(stream);
        drop(loader);
        // Threads that were still alive would hold the dataset.
        assert_eq!(Arc::strong_count(&dataset), 1);
    }
}

#[test]
fn a_stream_of_nothing_ends_at_once() {
    for workers in 0..=2 {
        assert!(loader(2, 1, 1).stream(5, 0, workers).next().is_none());
    }
}
