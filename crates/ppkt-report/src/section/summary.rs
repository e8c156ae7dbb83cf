//! The head of the page: which run this is, and what came out, at a glance.

use maud::{Markup, html};

use crate::plot::{grouped, percent, significant};
use crate::run::Run;
use crate::run::metrics::Measured;

/// One figure.
struct Fact {
    name: String,
    value: String,
    /// What it is to be compared with.
    beside: String,
}

impl Fact {
    fn new(name: impl Into<String>, value: impl Into<String>, beside: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), beside: beside.into() }
    }
}

pub(super) fn header(run: &Run) -> Markup {
    let facts = facts(run);
    html! {
        header.top {
            p.kind { "ppkt · " (run.kind()) }
            h1 { (run.name) }
            @if let Some(line) = about(run) { p.about { (line) } }
            @if !facts.is_empty() {
                dl.facts {
                    @for fact in facts {
                        div {
                            dt { (fact.name) }
                            dd { (fact.value) }
                            @if !fact.beside.is_empty() { dd.beside { (fact.beside) } }
                        }
                    }
                }
            }
        }
    }
}

/// Who learns from whom on what.
fn about(run: &Run) -> Option<String> {
    if let Some(results) = &run.results {
        let sides: Vec<&str> = results.sides().into_iter().rev().collect();
        return Some(format!("{}: what labels are worth", sides.join(" against ")));
    }
    let data = run.text("data.train");
    let student = run.text("student.arch");
    let teacher = run.provenance.as_ref().and_then(|p| p.get("teacher")).and_then(serde_json::Value::as_str);
    match (student, teacher.or_else(|| run.text("teacher.uri")), data) {
        (Some(student), Some(teacher), Some(data)) => {
            Some(format!("{student} learns from {teacher} on {data}"))
        }
        (Some(student), None, Some(data)) => Some(format!("{student} on {data}")),
        (_, _, Some(data)) => Some(data.to_owned()),
        _ => None,
    }
}

fn facts(run: &Run) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(results) = &run.results {
        facts.extend(results.table.iter().filter_map(|row| {
            let difference = row.difference.as_ref()?;
            let points = format!("{:+.1} points", 100.0 * difference.mean).replace('-', "−");
            let interval = difference.low.zip(difference.high).map(|(low, high)| {
                format!("95 % from {:+.1} to {:+.1}", 100.0 * low, 100.0 * high).replace('-', "−")
            });
            let name = format!("{} at {}", results.metric_name(), super::labels::share(row.share));
            Some(Fact::new(name, points, interval.unwrap_or_default()))
        }));
    }
    if let Some(evaluation) = run.evaluation.as_ref().filter(|_| run.results.is_none()) {
        for (name, value) in
            [("mIoU", evaluation.miou), ("mAcc", evaluation.macc), ("accuracy", evaluation.accuracy)]
        {
            facts.extend(value.map(|v| Fact::new(name, percent(v, 1), "")));
        }
    } else {
        facts.extend(retrieval(run));
    }
    let losses: Vec<f64> = run.steps.iter().filter_map(|s| s.loss).collect();
    if let [first, .., last] = losses.as_slice() {
        facts.push(Fact::new(
            "loss, last step",
            significant(*last, 4),
            format!("first {}", significant(*first, 4)),
        ));
    }
    if let Some(last) = run.steps.last() {
        let seconds: f64 = run.steps.iter().flat_map(|s| s.seconds.values()).sum();
        let time = if seconds > 0.0 { format!("{} in steps", duration(seconds)) } else { String::new() };
        facts.push(Fact::new("steps", grouped(last.step.saturating_add(1)), time));
    }
    facts
}

/// Retrieval on held-out frames, and what it was before training.
fn retrieval(run: &Run) -> Vec<Fact> {
    let of = |name: &str, value: &str| {
        let known: Vec<f64> = run.measured.iter().filter_map(|m: &Measured| m.value(value)).collect();
        let [before, .., after] = known.as_slice() else { return None };
        Some(Fact::new(name, percent(*after, 1), format!("before {}", percent(*before, 1))))
    };
    [of("held-out retrieval@1", "at_1"), of("held-out retrieval@5", "at_5")].into_iter().flatten().collect()
}

/// 42 s, 12 min, 3 h 05 min.
pub(super) fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0..2 => format!("{seconds:.0} s"),
        2..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(duration(41.6), "42 s");
        assert_eq!(duration(120.0), "2 min");
        assert_eq!(duration(3.0 * 3600.0 + 300.0), "3 h 05 min");
    }
}
