//! The way from a dataset to a batch: pairs stay exact, the order depends on the seed alone, damage is named.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy lets only the test functions themselves")]

mod coded;
mod damage;
mod order;
mod pairs;
