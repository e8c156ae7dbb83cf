//! Everything that was measured in a run, and its tables.

use serde_json::{Value, json};

use super::case::{Case, Limit, Message, Peak};
use super::machine::Machine;
use super::peers::{OwnGoal, PeerTime, own_goals, ratios};
use super::profile::{Profile, Row};
use super::table::{Table, digits, percent, seconds};

/// A run.
pub(super) struct Report {
    /// What it ran on.
    pub(super) machine: Machine,
    most_threads: usize,
    peaks: Vec<Peak>,
    cases: Vec<Case>,
    peers: Vec<PeerTime>,
    profiles: Vec<Profile>,
}

impl Report {
    /// An empty run.
    pub(super) fn new(machine: Machine, most_threads: usize) -> Self {
        let (peaks, cases, peers, profiles) = Default::default();
        Self { machine, most_threads, peaks, cases, peers, profiles }
    }

    /// Takes in what a worker told; samples of a case that is known already join its others.
    pub(super) fn add(&mut self, message: Message) {
        match message {
            Message::Peak(peak) => self.peaks.push(peak),
            Message::Profile(profile) => self.profiles.push(profile),
            Message::Case(case) => match self.cases.iter_mut().find(|c| c.is(&case)) {
                Some(known) => known.samples.extend(case.samples),
                None => self.cases.push(case),
            },
        }
    }

    /// Takes in what peers needed.
    pub(super) fn add_peers(&mut self, times: Vec<PeerTime>) {
        self.peers.extend(times);
    }

    /// The limits of the machine, for a reader.
    pub(super) fn peaks_line(&self) -> String {
        let one = |p: &Peak| {
            format!(
                "{}: {}{:.0} GFLOP/s of f32 multiply-adds in {} bits, {:.1} GB/s of memory read and written",
                threads(p.threads),
                if p.disturbed { "disturbed, at least " } else { "" },
                p.fma_gflops,
                p.vector_bits,
                p.memory_gbs
            )
        };
        self.peaks.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn peak(&self, threads: usize) -> Option<&Peak> {
        self.peaks.iter().find(|p| p.threads == threads)
    }

    /// A case on one line, for who watches.
    pub(super) fn line(&self, case: &Case) -> String {
        let cells = self.cells(case);
        let names = ["", "", "median", "min", "GFLOP/s", "of peak", "GB/s", "of memory", "peak MB"];
        let shown = cells.iter().zip(names).skip(2).filter(|(cell, _)| !cell.is_empty());
        let shown: Vec<String> = shown.map(|(cell, name)| format!("{cell} {name}")).collect();
        format!("{}, {}: {}", cells[0], cells[1], shown.join(", "))
    }

    /// Name, threads, median, least, GFLOP/s, share of peak, GB/s, share of memorying, memory.
    fn cells(&self, case: &Case) -> [String; 9] {
        let timed = !case.samples.is_empty();
        let text = |wanted: bool, text: String| if wanted { text } else { String::new() };
        let (median, peak) = (case.median(), self.peak(case.threads));
        let (gflops, gbs) = (case.work.flop / median / 1e9, case.work.bytes / median / 1e9);
        let mark = if case.disturbed() { " ~" } else { "" };
        [
            format!("{} ({})", case.name, case.input),
            threads(case.threads),
            text(timed, seconds(median) + mark),
            text(timed, seconds(case.min())),
            text(timed && case.work.flop > 0.0, digits(gflops)),
            text(
                timed && case.work.flop > 0.0,
                peak.map_or(String::new(), |p| percent(gflops / p.fma_gflops)),
            ),
            text(timed && case.work.bytes > 0.0, digits(gbs)),
            text(timed && case.work.bytes > 0.0, peak.map_or(String::new(), |p| percent(gbs / p.memory_gbs))),
            case.peak_mb.map_or(String::new(), |mb| format!("{mb:.0}")),
        ]
    }

    fn sections(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for case in &self.cases {
            if !names.contains(&case.section.as_str()) {
                names.push(&case.section);
            }
        }
        names
    }

    /// All tables, with headings of the third level.
    pub(super) fn markdown(&self) -> String {
        let mut text =
            format!("{}.\n\n{}.\n\n`{}`\n", self.machine.line(), self.peaks_line(), self.machine.command);
        let mut add = |title: &str, table: &Table| {
            if !table.is_empty() {
                text += &format!("\n### {title}\n\n{table}");
            }
        };
        add("Against the peers", &self.ratio_table());
        add("Goals without a peer", &self.goal_table());
        for section in self.sections() {
            let headings =
                ["case", "threads", "median", "min", "GFLOP/s", "of peak", "GB/s", "of memory", "peak MB"];
            let mut table = Table::new(&headings);
            for case in self.cases.iter().filter(|c| c.section == section) {
                table.row(self.cells(case));
            }
            add(&capital(section), &table);
            add(&format!("{}: what more threads bring", capital(section)), &self.scaling(section));
        }
        add("Linearity: time a voxel", &self.linearity());
        for profile in &self.profiles {
            let title = format!(
                "A training step of MinkUNet34C on {}, {}: {}",
                profile.input,
                threads(profile.threads),
                seconds(profile.whole),
            );
            add(&format!("{title}. By operation"), &self.profile_table(profile, |r| r.operation.clone()));
            add("The same by stage", &self.profile_table(profile, |r| r.stage.clone()));
            add("The same by what limits it", &self.limits(profile));
        }
        text
    }

    /// What is printed at the end: the tables that no single line told.
    pub(super) fn text(&self) -> String {
        self.markdown().replace("### ", "")
    }

    /// Time on the fewest threads over time on the most.
    fn scaling(&self, section: &str) -> Table {
        let mut table = Table::new(&["case", "threads", "faster by"]);
        let cases = self.cases.iter().filter(|c| c.section == section && !c.samples.is_empty());
        for most in cases.clone().filter(|c| c.threads == self.most_threads) {
            let Some(one) = cases.clone().find(|c| c.name == most.name && c.threads < most.threads) else {
                continue;
            };
            table.row([
                most.name.clone(),
                format!("{} → {}", one.threads, most.threads),
                format!("{:.2}", one.median() / most.median()),
            ]);
        }
        table
    }

    /// Microseconds a voxel, and operations a second, from size to size.
    fn linearity(&self) -> Table {
        let mut table = Table::new(&["case", "µs a voxel", "against the first", "GFLOP a voxel", "GFLOP/s"]);
        let mut first = None;
        for case in self.cases.iter().filter(|c| c.section == "linearity") {
            let Some(voxels) = case.input.split(' ').next().and_then(|n| n.parse::<f64>().ok()) else {
                continue;
            };
            let each = case.median() / voxels;
            let flop = case.work.flop;
            table.row([
                case.name.clone(),
                digits(each * 1e6),
                format!("{:.2}", each / *first.get_or_insert(each)),
                format!("{:.4}", flop / voxels / 1e9),
                digits(flop / case.median() / 1e9),
            ]);
        }
        table
    }

    fn profile_table(&self, profile: &Profile, group: impl Fn(&Row) -> String) -> Table {
        let mut table = Table::new(&[
            "",
            "seconds",
            "of the step",
            "GFLOP/s",
            "of peak",
            "GB/s",
            "of memory",
            "limit",
            "of the limit",
        ]);
        let mut groups: Vec<Row> = Vec::new();
        for row in &profile.rows {
            let operation = group(row);
            match groups.iter_mut().find(|g| g.operation == operation) {
                Some(known) => {
                    known.seconds += row.seconds;
                    known.work = known.work + row.work;
                }
                None => groups.push(Row { operation, ..row.clone() }),
            }
        }
        let Some(peak) = self.peak(profile.threads) else { return table };
        for Row { operation, seconds: time, work, .. } in groups {
            let (roof, limit) = work.roof(peak);
            let (gflops, gbs) = (work.flop / time / 1e9, work.bytes / time / 1e9);
            let arithmetic = work.flop > 0.0;
            table.row([
                operation,
                seconds(time),
                percent(time / profile.whole),
                if arithmetic { digits(gflops) } else { String::new() },
                if arithmetic { percent(gflops / peak.fma_gflops) } else { String::new() },
                if work.is_counted() { digits(gbs) } else { String::new() },
                if work.is_counted() { percent(gbs / peak.memory_gbs) } else { String::new() },
                if work.is_counted() { limit_name(limit).to_owned() } else { String::new() },
                if work.is_counted() { percent(roof / time) } else { String::new() },
            ]);
        }
        table
    }

    /// Which share of the step multiply-adds limit, and which memory.
    fn limits(&self, profile: &Profile) -> Table {
        let mut table = Table::new(&["limit", "seconds", "of the step", "least possible"]);
        let Some(peak) = self.peak(profile.threads) else { return table };
        let mut rest = profile.whole;
        for limit in [Limit::Compute, Limit::Memory] {
            let of_it = profile.rows.iter().filter(|r| r.work.is_counted() && r.work.roof(peak).1 == limit);
            let time: f64 = of_it.clone().map(|r| r.seconds).sum();
            let least: f64 = of_it.map(|r| r.work.roof(peak).0).sum();
            rest -= time;
            table.row([
                limit_name(limit).to_owned(),
                seconds(time),
                percent(time / profile.whole),
                seconds(least),
            ]);
        }
        let rest = rest.max(0.0);
        table.row([
            "neither: graph, gradient of the loss, memory freed".to_owned(),
            seconds(rest),
            percent(rest / profile.whole),
            String::new(),
        ]);
        table
    }

    fn ratio_table(&self) -> Table {
        let mut table = Table::new(&["case", "threads", "ours", "best peer", "peer", "ratio", "goal", "met"]);
        for ratio in ratios(&self.cases, &self.peers) {
            table.row([
                ratio.case.clone(),
                ratio.threads.to_string(),
                ratio.unit.show(ratio.ours),
                ratio.unit.show(ratio.theirs),
                ratio.peer.clone(),
                format!("{:.2}", ratio.value()),
                ratio.goal.map_or(String::new(), |g| format!("≥ {g}")),
                ratio.met().to_owned(),
            ]);
        }
        table
    }

    fn goal_table(&self) -> Table {
        let mut table = Table::new(&["goal", "measured", "wanted", "met"]);
        for found in own_goals(&self.cases, &self.peaks) {
            let OwnGoal { value, goal, .. } = found;
            let met = found.met().to_owned();
            table.row([found.what, format!("{value:.2}"), format!("≥ {goal}"), met]);
        }
        table
    }

    /// Everything, each sample included.
    pub(super) fn json(&self) -> Value {
        json!({
            "machine": self.machine,
            "peaks": self.peaks,
            "cases": self.cases,
            "peers": self.peers,
            "profiles": self.profiles,
            "ratios": ratios(&self.cases, &self.peers),
            "goals": own_goals(&self.cases, &self.peaks),
        })
    }
}

fn threads(n: usize) -> String {
    if n == 1 { "1 thread".to_owned() } else { format!("{n} threads") }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Compute => "multiply-adds",
        Limit::Memory => "memory",
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
