//! What a run on a machine with a GPU found, in one file.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that was found.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Results {
    /// Why nothing could run at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    /// Names, memory and driver of the GPUs.
    pub(super) gpus: Vec<String>,
    pub(super) date: String,
    pub(super) tests: Vec<Tests>,
    pub(super) benches: Vec<Bench>,
    /// The published network by other libraries, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peers: Option<Value>,
    pub(super) pretraining: Option<Pretraining>,
}

/// The tests over devices of one executable.
#[derive(Serialize, Deserialize)]
pub(super) struct Tests {
    pub(super) name: String,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) seconds: f64,
    /// The end of what was printed, where anything failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
}

/// One bench.
#[derive(Serialize, Deserialize)]
pub(super) struct Bench {
    pub(super) name: String,
    pub(super) seconds: f64,
    /// The object that it printed.
    pub(super) result: Option<Value>,
    /// The end of what was printed, where it printed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
}

/// The same pretraining on both devices.
#[derive(Serialize, Deserialize)]
pub(super) struct Pretraining {
    pub(super) data: String,
    pub(super) teacher: String,
    /// Losses of the steps.
    pub(super) cpu: Vec<f64>,
    pub(super) cuda: Vec<f64>,
    /// The largest difference of two losses of one step, relative to that of the processor.
    pub(super) largest_difference: Option<f64>,
    pub(super) within_1e3: bool,
    /// Why there are no losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

impl Results {
    /// Names of what did not pass. Peers are not among it: a machine may have none.
    pub(super) fn failures(&self) -> impl Iterator<Item = &str> {
        let whole = self.problem.iter().map(String::as_str);
        let tests = self.tests.iter().filter(|t| t.failed > 0 || t.passed == 0).map(|t| t.name.as_str());
        let benches = self.benches.iter().filter(|b| b.result.is_none()).map(|b| b.name.as_str());
        let apart = self.pretraining.iter().filter(|p| !p.within_1e3).map(|_| "pretraining");
        whole.chain(tests).chain(benches).chain(apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_did_not_run_has_passed() {
        let tests = |passed, failed| Results {
            tests: vec![Tests { name: "t".into(), passed, failed, seconds: 0.0, output: None }],
            ..Results::default()
        };
        assert_eq!(tests(0, 0).failures().count(), 1);
        assert_eq!(tests(3, 1).failures().count(), 1);
        assert_eq!(tests(3, 0).failures().count(), 0);
        let problem = Results { problem: Some("no GPU".into()), ..tests(3, 0) };
        assert_eq!(problem.failures().collect::<Vec<_>>(), ["no GPU"]);
        let bench = Bench { name: "b".into(), seconds: 0.0, result: None, output: None };
        assert_eq!(Results { benches: vec![bench], ..tests(3, 0) }.failures().collect::<Vec<_>>(), ["b"]);
    }
}
