//! Datasets, augmentation and batching: scenes in, batches out.
