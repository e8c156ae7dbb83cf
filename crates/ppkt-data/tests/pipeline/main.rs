//! The way from a dataset to a batch: pairs stay exact, the order depends on the seed alone, damage is named.

mod coded;
mod damage;
mod order;
mod pairs;
