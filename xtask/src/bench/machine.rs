//! What the figures were measured on, when, and with what.

use std::process::Command;

use serde::Serialize;

/// The machine and the program.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// Name of the processor.
    pub(super) processor: String,
    /// Cores that the process may use.
    pub(super) cores: usize,
    /// Instructions that the sparse kernels use.
    pub(super) simd: &'static str,
    /// Memory, GB (10⁹ bytes).
    pub(super) memory_gb: Option<f64>,
    /// Kind of system and architecture.
    pub(super) system: String,
    /// Commit of the workspace.
    pub(super) commit: String,
    /// Day, as YYYY-MM-DD, in UTC.
    pub(super) date: String,
    /// The command that was given.
    pub(super) command: String,
}

impl Machine {
    /// Looks around.
    pub(super) fn find() -> Self {
        let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|t| t.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        Self {
            processor: ppkt_train::processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            simd: ppkt_sparse::simd_path().unwrap_or("unknown"),
            memory_gb: kib.map(|k| k * 1024.0 / 1e9),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            commit: commit().unwrap_or_else(|| "unknown".into()),
            date: ppkt_train::today(),
            command: std::env::args().skip(1).fold("cargo xtask".to_owned(), |all, word| all + " " + &word),
        }
    }

    /// One line for a reader.
    pub(super) fn line(&self) -> String {
        let memory = self.memory_gb.map_or(String::new(), |gb| format!(", {gb:.0} GB"));
        format!(
            "{}, {} cores, {}{memory}, {}; commit {}, {}",
            self.processor, self.cores, self.simd, self.system, self.commit, self.date
        )
    }
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    Some(git(&["rev-parse", "--short", "HEAD"])? + if changed { " with changes" } else { "" })
}
