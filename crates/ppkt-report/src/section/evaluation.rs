//! How well classes are told apart: scores of each class and the confusion matrix.

use maud::{Markup, html};

use crate::plot::{grouped, percent};
use crate::run::Run;
use crate::run::evaluation::{ClassScore, Evaluation};

pub(super) fn section(run: &Run) -> Markup {
    html! { @if let Some(evaluation) = &run.evaluation { (scores(evaluation, of_many(run))) (confusion(evaluation)) } }
}

/// A style for a class's colour; numbers only, so nothing of a file can leave it.
pub(super) fn swatch(colour: [u8; 3]) -> Markup {
    let [r, g, b] = colour;
    html! { span.swatch aria-hidden="true" style={ "background:rgb(" (r) " " (g) " " (b) ")" } {} }
}

/// Which of a comparison's runs is shown.
fn of_many(run: &Run) -> Option<String> {
    let (shown, _) = run.results.as_ref()?.shown()?;
    Some(format!("{}, {}, seed {}", shown.side, super::labels::share(shown.share), shown.seed))
}

fn scores(evaluation: &Evaluation, of: Option<String>) -> Markup {
    let looked_at = [
        of,
        Some(format!("{} frames", grouped(evaluation.frames))).filter(|_| evaluation.frames > 0),
        Some(format!("{} points", grouped(evaluation.points))).filter(|_| evaluation.points > 0),
        Some(format!("part “{}”", evaluation.split)).filter(|_| !evaluation.split.is_empty()),
    ];
    let looked_at: Vec<String> = looked_at.into_iter().flatten().collect();
    let mean = |value: Option<f64>| value.map_or("—".into(), |v| percent(v, 1));
    html! {
        section aria-labelledby="classes" {
            h2 #classes { "Classes" }
            @if !looked_at.is_empty() { p.lead { (looked_at.join(", ")) "; scores are per point." } }
            div.scroll tabindex="0" role="region" aria-labelledby="classes" {
                table.classes {
                    thead { tr {
                        th scope="col" { "class" }
                        th scope="col" { "IoU" }
                        th aria-hidden="true" {}
                        th scope="col" { "accuracy" }
                        th scope="col" { "points" }
                    } }
                    tbody { @for class in &evaluation.classes { (row(class)) } }
                    tfoot { tr {
                        th scope="row" { "mean" }
                        td.number { (mean(evaluation.miou)) }
                        td aria-hidden="true" {}
                        td.number { (mean(evaluation.macc)) }
                        td.number { (grouped(evaluation.points)) }
                    } }
                }
            }
            @if evaluation.classes.iter().any(|c| c.iou.is_none()) {
                p.note { "— : a class that occurs neither in truth nor in prediction is left out of the mean." }
            }
        }
    }
}

fn row(class: &ClassScore) -> Markup {
    html! {
        tr {
            th scope="row" { (swatch(class.colour)) (class.name) }
            td.number { (class.iou.map_or("—".into(), |v| percent(v, 1))) }
            td.bar aria-hidden="true" {
                @if let Some(iou) = class.iou { span style={ "width:" (format!("{:.1}", 100.0 * iou)) "%" } {} }
            }
            td.number { (class.accuracy.map_or("—".into(), |v| percent(v, 1))) }
            td.number { (grouped(class.points)) }
        }
    }
}

/// Rows are true classes; a cell is the share of the row's points.
fn confusion(evaluation: &Evaluation) -> Markup {
    html! {
        @if !evaluation.confusion.is_empty() && !evaluation.classes.is_empty() {
            section aria-labelledby="confusion" {
                h2 #confusion { "Confusion" }
                p.lead { "Each row is a true class; a cell says which percentage of its points was taken for the class of the column." }
                div.scroll tabindex="0" role="region" aria-labelledby="confusion" {
                    table.confusion {
                        thead { tr {
                            th scope="col" { "truth" }
                            @for class in &evaluation.classes { th.column scope="col" { span { (class.name) } } }
                        } }
                        tbody {
                            @for (number, (class, counts)) in evaluation.classes.iter().zip(&evaluation.confusion).enumerate() {
                                tr {
                                    th scope="row" { (swatch(class.colour)) (class.name) }
                                    @for (column, count) in counts.iter().enumerate() {
                                        (cell(*count, counts, number == column))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(count: u64, row: &[u64], right: bool) -> Markup {
    let total: f64 = row.iter().map(|&c| c as f64).sum();
    let share = if total > 0.0 { count as f64 / total } else { 0.0 };
    // A share below a half percent would be written 0 and is nothing to look at.
    let text = if share >= 0.005 { format!("{:.0}", 100.0 * share) } else { String::new() };
    let class = if right { "cell right" } else { "cell" };
    html! {
        td class=(class) style={ "--share:" (format!("{share:.3}")) } data-strong[share > 0.55] title={ (grouped(count)) " points" } { (text) }
    }
}
