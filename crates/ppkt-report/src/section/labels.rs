//! What labels are worth with and without pretraining: plot, table, every run.

use maud::{Markup, html};

use super::pairs;
use super::settings::flat_json;
use crate::plot::{OfPage, labels_plot, percent};
use crate::run::Run;
use crate::run::labels::{Difference, LabelResults, ShareRow};

/// A share of labels in words.
pub(super) fn share(share: f64) -> String {
    let digits = [1.0, 0.1]
        .iter()
        .position(|unit| ((100.0 * share / unit).round() - 100.0 * share / unit).abs() < 1e-6);
    format!("{} of labels", percent(share, digits.unwrap_or(2)))
}

pub(super) fn section(run: &Run) -> Markup {
    html! { @if let Some(results) = &run.results { (comparison(results)) } }
}

fn comparison(results: &LabelResults) -> Markup {
    let sides = results.sides();
    let facts = [("machine", &results.machine), ("date", &results.date), ("command", &results.command)];
    let settings = flat_json(&results.settings);
    html! {
        section aria-labelledby="labels" {
            h2 #labels { "Label efficiency" }
            figure.labels {
                div.plot.wide { (labels_plot(results, OfPage::Wide)) }
                div.plot.narrow { (labels_plot(results, OfPage::Narrow)) }
                figcaption {
                    (results.metric_name()) " on held-out frames by the share of labels (logarithmic). "
                    "Marks are means over seeds, bars one standard deviation."
                }
            }
            div.scroll tabindex="0" role="region" aria-labelledby="labels" {
                table.shares {
                    thead { tr {
                        th scope="col" { "labels" }
                        @for side in &sides { th scope="col" { (side) } }
                        th scope="col" { "difference" }
                        th scope="col" { "95 % interval" }
                        th scope="col" { "seeds" }
                    } }
                    tbody { @for row in &results.table { (share_row(row, &sides)) } }
                }
            }
            p.note { (results.metric_name()) " in percent, ± standard deviation; differences are paired by seed, in points." }
            (pairs(facts.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k, v.as_str()))))
            @if !results.runs.is_empty() { (every_run(results)) }
            @if !settings.is_empty() {
                details {
                    summary { "Settings of both sides" }
                    (pairs(settings.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
                }
            }
        }
    }
}

fn share_row(row: &ShareRow, sides: &[&str]) -> Markup {
    let seeds = row.sides.iter().map(|s| s.n).max().unwrap_or(0);
    let interval = |d: &Difference| {
        let (low, high) = d.low.zip(d.high)?;
        Some(signed(low) + " to " + &signed(high))
    };
    html! {
        tr {
            th scope="row" { (crate::plot::percent(row.share, if (100.0 * row.share).fract().abs() < 1e-9 { 0 } else { 1 })) }
            @for side in sides {
                td.number {
                    @match row.side(side) {
                        Some(s) => {
                            (format!("{:.1}", 100.0 * s.mean))
                            @if let Some(std) = s.std { span.spread { (format!(" ± {:.1}", 100.0 * std)) } }
                        },
                        None => "—",
                    }
                }
            }
            td.number.main { (row.difference.as_ref().map_or("—".into(), |d| signed(d.mean))) }
            td.number { (row.difference.as_ref().and_then(interval).unwrap_or_else(|| "—".into())) }
            td.number { (seeds) }
        }
    }
}

/// Points with their sign, and a true minus.
fn signed(share: f64) -> String {
    format!("{:+.1}", 100.0 * share).replace('-', "−")
}

fn every_run(results: &LabelResults) -> Markup {
    let score = |value: Option<f64>| value.map_or("—".into(), |v| format!("{:.1}", 100.0 * v));
    html! {
        details {
            summary { "Each of " (results.runs.len()) " runs" }
            div.scroll tabindex="0" role="region" aria-label="Each run" {
                table.runs {
                    thead { tr {
                        @for name in ["labels", "side", "seed", "learning rate", "mIoU", "mAcc", "accuracy"] {
                            th scope="col" { (name) }
                        }
                    } }
                    tbody {
                        @for run in &results.runs {
                            tr {
                                th scope="row" { (percent(run.share, 1)) }
                                td { (run.side) }
                                td.number { (run.seed) }
                                td.number { (run.lr.map_or("—".into(), |lr| lr.to_string())) }
                                td.number { (score(run.miou)) }
                                td.number { (score(run.macc)) }
                                td.number { (score(run.accuracy)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_written_out() {
        assert_eq!(signed(0.031), "+3.1");
        assert_eq!(signed(-0.005), "−0.5");
        assert_eq!(share(0.05), "5\u{202f}% of labels");
        assert_eq!(share(0.005), "0.5\u{202f}% of labels");
    }
}
