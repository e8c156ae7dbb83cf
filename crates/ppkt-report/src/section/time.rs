//! Where the seconds went.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::summary::duration;
use crate::plot::{percent, significant};
use crate::run::Run;

/// Stages in the order of a step, with what they are; others follow by name.
const STAGES: [(&str, &str); 6] = [
    ("wait", "waiting for the batch"),
    ("teacher", "teacher"),
    ("student", "student, forward"),
    ("objective", "projection and loss"),
    ("backward", "gradients"),
    ("optimizer", "update"),
];

pub(super) fn section(run: &Run) -> Markup {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (stage, seconds) in run.steps.iter().flat_map(|s| &s.seconds) {
        if seconds.is_finite() && *seconds >= 0.0 {
            *sums.entry(stage).or_default() += seconds;
        }
    }
    let total: f64 = sums.values().sum();
    let known = STAGES.into_iter().filter_map(|(key, name)| Some((name, sums.remove(key)?)));
    let mut rows: Vec<(&str, f64)> = known.collect();
    rows.extend(sums);
    let steps = run.steps.len() as f64;
    html! {
        @if total > 0.0 {
            section aria-labelledby="time" {
                h2 #time { "Seconds by stage" }
                div.scroll tabindex="0" role="region" aria-labelledby="time" { table.time {
                    thead { tr { th scope="col" { "stage" } th scope="col" { "of a step" } th.number scope="col" { "share" } th aria-hidden="true" {} } }
                    tbody {
                        @for (name, seconds) in rows {
                            tr {
                                th scope="row" { (name) }
                                td.number { (milliseconds(seconds / steps)) }
                                td.number { (percent(seconds / total, 1)) }
                                td.bar aria-hidden="true" { span style={ "width:" (format!("{:.1}", 100.0 * seconds / total)) "%" } {} }
                            }
                        }
                    }
                    tfoot { tr { th scope="row" { "whole step" } td.number { (milliseconds(total / steps)) } td.number { (duration(total)) } td aria-hidden="true" {} } }
                } }
            }
        }
    }
}

fn milliseconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{} ms", significant(1e3 * seconds, 3)) } else { format!("{seconds:.1} s") }
}
