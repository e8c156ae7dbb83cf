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
        let of_file = |file: &str, key: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            Some(text.lines().find(|l| l.starts_with(key))?.split_once(':')?.1.trim().to_owned())
        };
        let memory = of_file("/proc/meminfo", "MemTotal");
        let kib = memory.and_then(|m| m.strip_suffix("kB")?.trim().parse::<f64>().ok());
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            processor: of_file("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            simd: ppkt_sparse::simd_path().unwrap_or("unknown"),
            memory_gb: kib.map(|k| k * 1024.0 / 1e9),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            commit: commit().unwrap_or_else(|| "unknown".into()),
            date: date(seconds.map_or(0, |s| s.as_secs())),
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

/// The day of a number of seconds since 1970, by the calendar's 400-year cycle of 146,097 days that begins in March.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = (if month < 10 { month + 3 } else { month - 9 }, year + 400 * era);
    format!("{:04}-{month:02}-{day:02}", if month <= 2 { year + 1 } else { year })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(951_868_800), "2000-03-01");
        assert_eq!(date(1_798_675_199), "2026-12-30");
    }
}
