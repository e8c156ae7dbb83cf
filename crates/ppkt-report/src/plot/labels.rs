//! The label-efficiency plot: a metric over the share of labels, one line a side, with the spread over seeds.

use maud::{Markup, PreEscaped, html};

use super::scale::{Scale, percent};
use super::{Unit, px};
use crate::run::labels::{LabelResults, SideScore};

/// Colours and letters of a plot that stands alone; the page has its own.
const ALONE: &str = include_str!("../assets/plot.css");

/// What differs between a plot of the page and one that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfPage {
    Wide,
    Narrow,
}

/// The plot as a file of its own: readable in light and dark, with no font or style from elsewhere.
///
/// The metric's axis begins at zero; shares are on a logarithmic axis, because 1, 5 and 10 % are as far apart to a
/// reader as 10, 50 and 100 %. Bars are one standard deviation over the seeds to each side.
pub fn labels_svg(results: &LabelResults) -> String {
    let (width, height) = (640.0, 400.0);
    let drawing = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (px(width)) " " (px(height)) } width=(px(width))
            height=(px(height)) role="img" aria-label=(about(results)) {
            title { (about(results)) }
            style { (PreEscaped(ALONE)) }
            rect.paper width="100%" height="100%" {}
            (body(results, width, height))
        }
    };
    drawing.into_string()
}

/// The plot within the page.
pub(crate) fn labels_plot(results: &LabelResults, of: OfPage) -> Markup {
    let (width, height) = if of == OfPage::Wide { (720.0, 380.0) } else { (340.0, 280.0) };
    html! {
        svg viewBox={ "0 0 " (px(width)) " " (px(height)) } role="img" aria-label=(about(results)) {
            (body(results, width, height))
        }
    }
}

fn about(results: &LabelResults) -> String {
    format!("{} over the share of labels: {}", results.metric_name(), results.sides().join(" and "))
}

fn body(results: &LabelResults, width: f64, height: f64) -> Markup {
    let sides = results.sides();
    let longest = sides.iter().map(|s| s.chars().count()).max().unwrap_or(0);
    let (left, right, top, bottom) = (52.0, width - 18.0 - 7.0 * longest as f64, 30.0, height - 46.0);
    let shares: Vec<f64> = results.table.iter().map(|row| row.share).collect();
    let place = places(&shares, left + 14.0, right - 8.0);
    let reach = |s: &SideScore| s.mean + s.std.unwrap_or(0.0);
    let values = results.table.iter().flat_map(|row| row.sides.iter().map(reach)).chain([0.0]);
    let y = Scale::round(values, 4, (bottom, top));
    html! {
        g.ticks { text x=(px(left - 8.0)) y="16" text-anchor="end" { (results.metric_name()) } }
        g.grid {
            @for tick in y.ticks() {
                line x1=(px(left)) x2=(px(right)) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
            }
        }
        g.ticks {
            @for tick in y.ticks() {
                text x=(px(left - 8.0)) y=(px(y.at(tick) + 4.0)) text-anchor="end" {
                    (Unit::Percent.tick(tick, y.step))
                }
            }
            @for (share, x) in shares.iter().zip(&place) {
                text x=(px(*x)) y=(px(bottom + 18.0)) text-anchor="middle" { (share_name(*share)) }
            }
            text x=(px((left + right) / 2.0)) y=(px(height - 6.0)) text-anchor="middle" { "labels used" }
        }
        @for (number, side) in sides.iter().enumerate() {
            (line(results, side, Look::of(number, sides.len()), &place, &y))
        }
        @for (side, class, at) in names(results, &sides, &y) {
            text class=(class) x=(px(right + 6.0)) y=(px(at + 4.0)) { (side) }
        }
    }
}

/// How a side is drawn: the last one is the one that a reader should look at, the others differ by their dashes.
#[derive(Clone, Copy)]
struct Look {
    main: bool,
    dashes: &'static str,
    /// Pixels to the side, so that the bars of two sides do not cover each other.
    aside: f64,
}

impl Look {
    fn of(number: usize, sides: usize) -> Self {
        let main = number + 1 == sides;
        let dashes = if main { "" } else { ["7 4", "2 3", "9 3 2 3"][number % 3] };
        Self { main, dashes, aside: 5.0 * (number as f64 - (sides as f64 - 1.0) / 2.0) }
    }

    fn class(self, of: &'static str) -> String {
        if self.main { format!("{of} main") } else { of.to_owned() }
    }
}

fn line(results: &LabelResults, side: &str, look: Look, place: &[f64], y: &Scale) -> Markup {
    let scores: Vec<(f64, &SideScore)> = results
        .table
        .iter()
        .zip(place)
        .filter_map(|(row, &x)| Some((x + look.aside, row.side(side)?)))
        .collect();
    let points: Vec<String> =
        scores.iter().map(|(x, s)| format!("{},{}", px(*x), px(y.at(s.mean)))).collect();
    html! {
        polyline class=(look.class("curve")) stroke-dasharray=(look.dashes) points=(points.join(" ")) {}
        @for (x, score) in &scores {
            @if let Some(std) = score.std.filter(|s| *s > 0.0) {
                path class=(look.class("bar")) d=(error_bar(*x, y.at(score.mean - std), y.at(score.mean + std))) {}
            }
            circle class=(look.class("curve")) cx=(px(*x)) cy=(px(y.at(score.mean))) r="3" {
                title { (words(results, side, score)) }
            }
        }
    }
}

fn words(results: &LabelResults, side: &str, score: &SideScore) -> String {
    let spread = score.std.map_or(String::new(), |std| format!(" ± {:.1}", 100.0 * std));
    let mean = percent(score.mean, 1);
    format!("{side}: {} {mean}{spread}, {} seeds", results.metric_name(), score.n)
}

fn error_bar(x: f64, low: f64, high: f64) -> String {
    let (a, b) = (px(x - 5.0), px(x + 5.0));
    let (x, low, high) = (px(x), px(low), px(high));
    format!("M{a} {high}H{b}M{x} {high}V{low}M{a} {low}H{b}")
}

/// Where shares stand on a logarithmic axis.
fn places(shares: &[f64], left: f64, right: f64) -> Vec<f64> {
    let logs: Vec<f64> = shares.iter().map(|s| s.ln()).collect();
    let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let span = high - low;
    let share = |log: f64| if span > 0.0 { (log - low) / span } else { 0.5 };
    logs.into_iter().map(|log| left + share(log) * (right - left)).collect()
}

/// 5 %, 0.5 %, 100 %.
pub(crate) fn share_name(share: f64) -> String {
    let hundredths = (10_000.0 * share).round() as u64;
    let digits =
        if hundredths.is_multiple_of(100) { 0 } else { 1 + usize::from(!hundredths.is_multiple_of(10)) };
    percent(share, digits)
}

/// Names at the ends of lines, apart from each other.
fn names<'a>(results: &LabelResults, sides: &[&'a str], y: &Scale) -> Vec<(&'a str, &'static str, f64)> {
    let ends = sides.iter().enumerate().filter_map(|(number, side)| {
        let last = results.table.iter().rev().find_map(|row| row.side(side))?;
        Some((*side, if number + 1 == sides.len() { "name main" } else { "name" }, y.at(last.mean)))
    });
    let mut names: Vec<_> = ends.collect();
    names.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut floor = f64::INFINITY;
    for (.., at) in &mut names {
        *at = at.min(floor - 16.0);
        floor = *at;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(sides: &[&str]) -> LabelResults {
        let row = |share: f64, mean: f64| {
            let sides: Vec<_> = sides
                .iter()
                .enumerate()
                .map(|(i, side)| serde_json::json!({"side": side, "mean": mean + 0.05 * i as f64, "std": 0.01, "n": 5}))
                .collect();
            serde_json::json!({"share": share, "sides": sides})
        };
        let table = [row(0.01, 0.1), row(0.05, 0.2), row(1.0, 0.4)];
        serde_json::from_value(serde_json::json!({"task": "segmentation", "metric": "miou", "table": table}))
            .unwrap()
    }

    #[test]
    fn each_side_has_a_line_with_a_mark_and_a_bar_for_each_share() {
        let svg = labels_svg(&results(&["scratch", "pretrained"]));
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert_eq!(svg.matches("<path class=\"bar").count(), 6);
        assert!(svg.contains("mIoU") && svg.contains("1\u{202f}%") && svg.contains("pretrained"));
    }

    #[test]
    fn a_name_cannot_become_markup() {
        let svg = labels_svg(&results(&["</text><script>alert(1)</script>"]));
        assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;"));
    }

    #[test]
    fn an_empty_table_draws_no_nan() {
        let mut empty = results(&["a"]);
        empty.table.truncate(1);
        assert!(!labels_svg(&empty).contains("NaN"));
        empty.table.clear();
        assert!(!labels_svg(&empty).contains("NaN"));
    }

    #[test]
    fn shares_have_names() {
        assert_eq!(share_name(0.05), "5\u{202f}%");
        assert_eq!(share_name(0.005), "0.5\u{202f}%");
        assert_eq!(share_name(1.0), "100\u{202f}%");
    }
}
