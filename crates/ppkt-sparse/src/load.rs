//! What happens when a state dict meets a network.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use candle_core::{Tensor, Var};

/// How much a state dict must agree with a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadMode {
    /// All names and shapes.
    Strict,
    /// Whatever agrees is loaded: a backbone into a network with another head, say.
    Lenient,
}

/// A tensor whose shape in the file is not the network's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// Name of the tensor.
    pub name: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub got: Vec<usize>,
}

/// What was loaded and what was not; names in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Tensors that were set (in a strict load that fails: that would have been).
    pub loaded: Vec<String>,
    /// Tensors of the network that the state dict lacks.
    pub missing: Vec<String>,
    /// Tensors of the state dict that the network lacks.
    pub unexpected: Vec<String>,
    /// Tensors of both, with different shapes.
    pub shape_mismatch: Vec<ShapeMismatch>,
}

impl LoadReport {
    /// Whether names and shapes agree; counters of batches, which no result depends on, may be missing.
    pub fn is_complete(&self) -> bool {
        self.unexpected.is_empty()
            && self.shape_mismatch.is_empty()
            && self.missing.iter().all(|n| n.ends_with("num_batches_tracked"))
    }
}

/// Longer lists are cut: an error is to fit on one screen.
const SHOWN: usize = 5;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors fit", self.loaded.len())?;
        let mismatches: Vec<String> = self
            .shape_mismatch
            .iter()
            .map(|m| format!("{:?} (expected {:?}, got {:?})", m.name, m.expected, m.got))
            .collect();
        let quoted = |names: &[String]| names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>();
        list(f, "with another shape", &mismatches)?;
        list(f, "missing", &quoted(&self.missing))?;
        list(f, "unexpected", &quoted(&self.unexpected))
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let rest = if items.len() > SHOWN { ", …" } else { "" };
    write!(f, ", {} {what}: {}{rest}", items.len(), items[..items.len().min(SHOWN)].join(", "))
}

/// Compares names and shapes.
pub(crate) fn plan_load(vars: &BTreeMap<String, Var>, state: &HashMap<String, Tensor>) -> LoadReport {
    let mut report = LoadReport::default();
    for (name, var) in vars {
        match state.get(name) {
            None => report.missing.push(name.clone()),
            Some(t) if t.shape() == var.shape() => report.loaded.push(name.clone()),
            Some(t) => report.shape_mismatch.push(ShapeMismatch {
                name: name.clone(),
                expected: var.dims().to_vec(),
                got: t.dims().to_vec(),
            }),
        }
    }
    report.unexpected = state.keys().filter(|n| !vars.contains_key(*n)).cloned().collect();
    report.unexpected.sort();
    report
}
