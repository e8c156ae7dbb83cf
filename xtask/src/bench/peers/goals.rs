//! Ratios to the fastest peer, and the goals that were set for them and for shares of the machine.

use serde::Serialize;

use super::rows::{PeerTime, Unit};
use crate::bench::case::{Case, Peak};

/// A case of ours beside the best peer on the same input and threads.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Ratio {
    pub(in crate::bench) case: String,
    pub(in crate::bench) threads: usize,
    pub(in crate::bench) unit: Unit,
    pub(in crate::bench) ours: f64,
    pub(in crate::bench) theirs: f64,
    pub(in crate::bench) peer: String,
    /// The least ratio that is wanted.
    pub(in crate::bench) goal: Option<f64>,
    /// Whether others used the machine during every sample of either side: then the least times are compared, and
    /// nothing can be said about the goal.
    pub(in crate::bench) disturbed: bool,
}

impl Ratio {
    /// How many times as much the best peer needs.
    pub(in crate::bench) fn value(&self) -> f64 {
        self.theirs / self.ours
    }

    /// Whether the goal is met, if there is one.
    pub(in crate::bench) fn met(&self) -> &'static str {
        self.goal.map_or("", |goal| verdict(self.value(), goal, self.disturbed))
    }
}

/// What a table says about a goal.
fn verdict(value: f64, goal: f64, disturbed: bool) -> &'static str {
    match (disturbed, value >= goal) {
        (true, _) => "disturbed",
        (false, true) => "yes",
        (false, false) => "no",
    }
}

/// Least ratios to the best peer, by section, name of the case, and a part of the name of the input.
const GOALS: &[(&str, &str, &str, f64)] = &[
    ("sparse", "3×3×3 32→32 forward+backward", "100k", 4.0),
    ("sparse", "3×3×3 64→64 forward+backward", "100k", 3.0),
    ("sparse", "3×3×3 128→128 forward+backward", "100k", 2.5),
    ("sparse", "sort and kernel map, 27 offsets", "100k", 8.0),
    ("net", "34C training step, 20k", "", 2.0),
    ("net", "34C training step, 100k", "", 3.0),
    ("net", "34C inference, 100k", "", 3.0),
    ("memory", "34C training step, 20k", "", 2.0),
    ("memory", "34C training step, 100k", "", 2.0),
    ("memory", "upsampling projection, 4,096 pairs, forward+backward", "", 50.0),
    ("geometry", "back-projection to the world, 480×640", "", 1.0),
    ("geometry", "voxelise 300,000 points at 2 cm", "", 1.0),
    ("geometry", "voxelise 300,000 points at 5 cm", "", 1.0),
    ("teacher", "ResNet-50, 240×320", "", 1.2),
    ("teacher", "ResNet-50, 480×640", "", 1.2),
    ("teacher", "ViT-S/14, 224×308", "", 1.0),
    ("teacher", "upsampling projection, 4,096 pairs, forward+backward", "", 50.0),
];

/// Every case that a peer has too.
pub(in crate::bench) fn ratios(cases: &[Case], peers: &[PeerTime]) -> Vec<Ratio> {
    let ratio = |case: &Case| {
        let same =
            |p: &&PeerTime| (&p.section, &p.case, p.threads) == (&case.section, &case.name, case.threads);
        let best = peers.iter().filter(same).min_by(|a, b| a.value.total_cmp(&b.value))?;
        let goal = GOALS.iter().find(|(section, name, input, _)| {
            *section == case.section && *name == case.name && case.input.contains(input)
        });
        let disturbed = best.unit == Unit::Seconds && (best.disturbed || case.disturbed());
        let ours = match (best.unit, disturbed) {
            (Unit::Seconds, false) => case.median(),
            (Unit::Seconds, true) => case.min(),
            (Unit::Megabytes, _) => case.peak_mb?,
        };
        let (threads, unit, theirs) = (case.threads, best.unit, best.value);
        let what = if unit == Unit::Megabytes { ": peak memory" } else { "" };
        let (case, peer) = (format!("{}{what}", case.name), best.peer.clone());
        Some(Ratio { case, threads, unit, ours, theirs, peer, goal: goal.map(|g| g.3), disturbed })
    };
    cases.iter().filter_map(ratio).collect()
}

/// A goal that needs no peer.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct OwnGoal {
    /// What is wanted.
    pub(in crate::bench) what: String,
    /// What was measured.
    pub(in crate::bench) value: f64,
    /// The least that is wanted.
    pub(in crate::bench) goal: f64,
    /// Whether others used the machine during every sample.
    pub(in crate::bench) disturbed: bool,
}

impl OwnGoal {
    /// Whether the goal is met.
    pub(in crate::bench) fn met(&self) -> &'static str {
        verdict(self.value, self.goal, self.disturbed)
    }
}

/// Shares of the peak, and what a second thread brings.
pub(in crate::bench) fn own_goals(cases: &[Case], peaks: &[Peak]) -> Vec<OwnGoal> {
    let mut goals = Vec::new();
    let find = |section: &str, name: &str, threads: usize| {
        cases.iter().find(|c| c.section == section && c.name == name && c.threads == threads)
    };
    let share = [
        ("sparse", "3×3×3 64→64 forward+backward", 0.85),
        ("sparse", "3×3×3 128→128 forward+backward", 0.85),
        ("net", "34C training step, 20k", 0.70),
        ("net", "34C training step, 100k", 0.70),
    ];
    for (section, name, goal) in share {
        for peak in peaks {
            if let Some(case) = find(section, name, peak.threads) {
                let value = case.work.flop / case.median() / 1e9 / peak.fma_gflops;
                goals.push(OwnGoal {
                    what: format!("{name}: share of the peak, threads: {}", peak.threads),
                    value,
                    goal,
                    disturbed: case.disturbed() || peak.disturbed,
                });
            }
        }
    }
    for bf16 in cases.iter().filter(|c| c.section == "net") {
        let f32 = bf16.name.strip_suffix(", bf16").and_then(|name| find("net", name, bf16.threads));
        if let Some(f32) = f32 {
            goals.push(OwnGoal {
                what: format!("{}: f32 / bf16, threads: {}", f32.name, f32.threads),
                value: f32.median() / bf16.median(),
                goal: 1.5,
                disturbed: f32.disturbed() || bf16.disturbed(),
            });
        }
    }
    // The cache is a matter of the teacher alone, on any number of threads.
    for computed in cases.iter().filter(|c| c.section == "teacher") {
        let read = format!("{}, read from the cache", computed.name);
        if let Some(read) = find("teacher", &read, computed.threads) {
            let what = format!("{}, computed / read, threads: {}", computed.name, computed.threads);
            let value = computed.median() / read.median();
            goals.push(OwnGoal {
                what,
                value,
                goal: 500.0,
                disturbed: computed.disturbed() || read.disturbed(),
            });
        }
    }
    for (section, name, _) in share {
        if let Some((one, two)) = find(section, name, 1).zip(find(section, name, 2)) {
            let value = one.median() / two.median();
            goals.push(OwnGoal {
                what: format!("{name}: 1 → 2 threads"),
                value,
                goal: 1.8,
                disturbed: one.disturbed() || two.disturbed(),
            });
        }
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::Work;
    use crate::bench::clock::Sample;

    fn case(name: &str, input: &str, seconds: f64) -> Case {
        let samples = vec![Sample { seconds, foreign: 0.0 }];
        let (section, name, input) = ("sparse".to_owned(), name.to_owned(), input.to_owned());
        Case { section, name, input, threads: 2, work: Work::default(), samples, peak_mb: None }
    }

    #[test]
    fn the_best_peer_of_the_same_threads_counts() {
        let name = "3×3×3 64→64 forward+backward";
        let cases = [case(name, "room2cm_b1_100k", 0.1), case("sort the voxels", "room2cm_b1_100k", 1.0)];
        let time =
            |threads, peer, value| PeerTime::new("sparse", name.into(), threads, peer, value, Unit::Seconds);
        let found = ratios(&cases, &[time(2, "a", 0.5), time(2, "b", 0.2), time(1, "c", 0.01)]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].peer.as_str(), found[0].value(), found[0].met()), ("b", 2.0, "no"));
        // The goal is for the large set alone.
        assert_eq!(ratios(&[case(name, "room5cm_b1_20k", 0.1)], &[time(2, "a", 0.5)])[0].met(), "");
        // Times of a busy machine decide nothing.
        let busy = PeerTime { disturbed: true, ..time(2, "a", 0.5) };
        assert_eq!(ratios(&cases, &[busy])[0].met(), "disturbed");
    }
}
