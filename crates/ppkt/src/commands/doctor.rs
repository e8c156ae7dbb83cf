//! `ppkt doctor`: what this program found on this machine.

use crate::output::say;
use anyhow::Result;
use ppkt_teacher::HubSettings;
use serde::Serialize;

#[derive(Serialize)]
struct Findings {
    version: &'static str,
    system: String,
    devices: Vec<Device>,
    threads: usize,
    cores: usize,
    vector_instructions: Vec<&'static str>,
    kernels: String,
    memory_mib: Option<u64>,
    hub_cache: String,
    hub_offline: bool,
    log: &'static str,
}

/// What can be asked for with `--device`.
#[derive(Serialize)]
struct Device {
    name: String,
    usable: bool,
    about: String,
}

impl From<ppkt_device::Finding> for Device {
    fn from(found: ppkt_device::Finding) -> Self {
        Self { name: found.device, usable: found.usable, about: found.about }
    }
}

/// Prints the findings.
pub(crate) fn run(json: bool) -> Result<()> {
    let findings = look();
    if json {
        say!("{}", serde_json::to_string(&findings)?);
        return Ok(());
    }
    say!("ppkt {} on {}", findings.version, findings.system);
    for (n, device) in findings.devices.iter().enumerate() {
        let title = if n == 0 { "devices" } else { "" };
        let note = if device.usable { "" } else { "not usable: " };
        say!("{title:<20} {:<8} {note}{}", device.name, device.about);
    }
    say!("threads              {} of {} cores (--threads N)", findings.threads, findings.cores);
    say!(
        "vector instructions  {}; the sparse kernels use {}",
        findings.vector_instructions.join(", "),
        findings.kernels
    );
    if let Some(memory) = findings.memory_mib {
        say!("memory               {memory} MiB");
    }
    let offline = if findings.hub_offline { " (offline: HF_HUB_OFFLINE is set)" } else { "" };
    say!("Hub cache            {}{offline}", findings.hub_cache);
    say!("log                  {}", findings.log);
    Ok(())
}

fn look() -> Findings {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let hub = HubSettings::from_env();
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        devices: ppkt_device::findings().into_iter().map(Device::from).collect(),
        threads: rayon::current_num_threads(),
        cores,
        vector_instructions: vector_instructions(),
        kernels: ppkt_sparse::simd_path().map_or_else(|e| e.to_string(), str::to_owned),
        memory_mib: memory_mib(),
        hub_cache: hub.as_ref().map_or_else(|e| e.to_string(), |h| h.cache.display().to_string()),
        hub_offline: hub.is_ok_and(|h| h.offline),
        log: "set PPKT_LOG=info or debug for more",
    }
}

fn vector_instructions() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        for (there, name) in [
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "AVX2+FMA"),
            (is_x86_feature_detected!("avx512f"), "AVX-512"),
            (is_x86_feature_detected!("avx512bf16"), "AVX-512 BF16"),
        ] {
            if there {
                found.push(name);
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    found.push("NEON");
    if found.is_empty() {
        found.push("none that the kernels use");
    }
    found
}

fn memory_mib() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib / 1024)
}
