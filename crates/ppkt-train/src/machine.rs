//! Where and when a result was made, as it is written beside it.

/// Processor, number of cores and vector kernels of this machine, in one line.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let simd = ppkt_sparse::simd_path().unwrap_or("unknown");
    format!("{}, {cores} cores, {simd}", processor())
}

/// The processor by its name, where the system tells it.
pub fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    name.map_or_else(
        || format!("unknown {} processor", std::env::consts::ARCH),
        |(_, name)| name.trim().to_owned(),
    )
}

/// Today, UTC, as YYYY-MM-DD.
pub fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_day_is_written_as_a_sorted_list_needs_it() {
        let today = super::today();
        let parts: Vec<u32> = today.split('-').map(|p| p.parse().unwrap()).collect();
        assert!(today.len() == 10 && parts[0] > 2025 && (1..=12).contains(&parts[1]), "{today}");
    }
}
