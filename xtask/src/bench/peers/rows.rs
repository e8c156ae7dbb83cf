//! What the peers' script writes, under the names of our cases.

use serde::Serialize;
use serde_json::Value;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::bench) enum Unit {
    /// Seconds of one call.
    Seconds,
    /// Most memory, 10⁶ bytes.
    Megabytes,
}

/// MB (10⁶ bytes) in a MiB, which the script counts in.
pub(super) const MIB: f64 = 1.048_576;

impl Unit {
    /// A figure for a reader.
    pub(in crate::bench) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => crate::bench::table::seconds(value),
            Self::Megabytes => format!("{value:.0} MB"),
        }
    }
}

/// What one peer needed for one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::bench) struct PeerTime {
    pub(super) section: String,
    pub(super) case: String,
    pub(super) threads: usize,
    pub(super) peer: String,
    pub(super) value: f64,
    pub(super) unit: Unit,
    /// Whether others used the machine during every sample; the value is then the least, which errs on the peer's side.
    pub(super) disturbed: bool,
}

impl PeerTime {
    pub(super) fn new(
        section: &str,
        case: String,
        threads: usize,
        peer: &str,
        value: f64,
        unit: Unit,
    ) -> Self {
        Self {
            section: section.to_owned(),
            case,
            threads,
            peer: peer.to_owned(),
            value,
            unit,
            disturbed: false,
        }
    }
}

/// Entries of a result that are bounds of the machine and no library.
const NO_PEERS: [&str; 2] = ["gemm-only", "proto-bound"];

/// The figures of a line of the script; none, if it has no counterpart here or the peer failed.
pub(super) fn read(line: &Value) -> Vec<PeerTime> {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let threads = line["threads"].as_u64().unwrap_or_default() as usize;
    let direction = |what: &str| if what.ends_with("fwd+bwd") { "forward+backward" } else { "forward" };
    let what = text("what");
    let mut times = Vec::new();
    for (name, result) in line["result"].as_object().into_iter().flatten() {
        if NO_PEERS.contains(&name.as_str()) {
            continue;
        }
        // Building a map is what a cold layer takes longer than a warm one.
        let key = if result["quiet_median_s"].is_null() { "build_min_s" } else { "build_s" };
        let built = result[key].as_f64();
        let (time, disturbed) = time(result);
        let (section, case, peer) = match text("section") {
            "maps" => {
                let map = match what {
                    "subm3_cold" => "27 offsets",
                    "subm5_cold" => "125 offsets",
                    "down2_cold" => "stride 2",
                    _ => continue,
                };
                ("sparse", format!("sort and kernel map, {map}"), name.as_str())
            }
            "conv" => ("sparse", format!("3×3×3 {0}→{0} {1}", line["ch"], direction(what)), name.as_str()),
            "strided" if what.starts_with("down") => {
                ("sparse", format!("strided 2×2×2 32→64 {}", direction(what)), name.as_str())
            }
            "strided" => ("sparse", format!("transposed 2×2×2 64→32 {}", direction(what)), name.as_str()),
            "net" => {
                let step = if what == "train" { "training step" } else { "inference" };
                let thousands = line["n"].as_u64().unwrap_or_default() / 1000;
                ("net", format!("34C {step}, {thousands}k"), name.as_str())
            }
            "dense2d" => {
                let case = match name.as_str() {
                    "resnet50_240x320" => "ResNet-50, 240×320",
                    "resnet50_480x640" => "ResNet-50, 480×640",
                    "vit_s14_224x308" => "ViT-S/14, 224×308",
                    _ => continue,
                };
                ("teacher", case.to_owned(), "PyTorch")
            }
            "infonce" => {
                ("objective", format!("InfoNCE, {} pairs, {}", line["m"], direction(name)), "PyTorch")
            }
            "voxel" if line["points"] == 300_000 => {
                let centimetres = line["voxel"].as_f64().unwrap_or_default() * 100.0;
                ("geometry", format!("voxelise 300,000 points at {centimetres:.0} cm"), name.as_str())
            }
            "geom" if what.starts_with("backproject") => {
                ("geometry", "back-projection to the world, 480×640".to_owned(), name.as_str())
            }
            _ => continue,
        };
        if let Some(value) = built.or(time).filter(|v| *v > 0.0) {
            let time = PeerTime::new(section, case, threads, peer, value, Unit::Seconds);
            times.push(PeerTime { disturbed, ..time });
        }
    }
    times
}

/// Median of the quiet samples; the least of all, and that it is disturbed, where none was quiet.
pub(super) fn time(result: &Value) -> (Option<f64>, bool) {
    match result["quiet_median_s"].as_f64() {
        Some(quiet) => (Some(quiet), false),
        None => (result["min_s"].as_f64(), true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_of_the_script_become_our_cases() {
        let line = json!({"section": "conv", "threads": 2, "ch": 64, "what": "fwd+bwd", "result": {
            "spconv": {"median_s": 0.5, "quiet_median_s": 0.4}, "ggs": {"median_s": 9.0, "min_s": 0.7, "quiet_median_s": null},
            "me": {"error": "not there"}, "gemm-only": {"median_s": 0.1, "quiet_median_s": 0.1}}});
        let times = read(&line);
        let case = "3×3×3 64→64 forward+backward".to_owned();
        let time = |peer, value| PeerTime::new("sparse", case.clone(), 2, peer, value, Unit::Seconds);
        assert_eq!(times, [PeerTime { disturbed: true, ..time("ggs", 0.7) }, time("spconv", 0.4)]);

        let line =
            json!({"section": "infonce", "threads": 1, "m": 4096, "result": {"fwd+bwd": {"min_s": 0.1}}});
        assert_eq!(read(&line)[0].case, "InfoNCE, 4096 pairs, forward+backward");
        let line = json!({"section": "maps", "what": "subm3_cold", "threads": 1,
            "result": {"spconv": {"quiet_median_s": 0.2, "build_s": 0.1, "build_min_s": 0.05}}});
        assert_eq!(
            (read(&line)[0].value, read(&line)[0].case.as_str()),
            (0.1, "sort and kernel map, 27 offsets")
        );
        assert_eq!(read(&json!({"section": "peak", "values": {}})), []);
    }
}
