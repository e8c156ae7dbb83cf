//! How the run went: loss by step, and what was measured on held-out frames.

use maud::{Markup, html};

use crate::plot::{Curve, CurvePlot, Reference, Unit, grouped, percent};
use crate::run::Run;
use crate::run::metrics::{Measured, Step};

/// More places than this are closer together than pixels.
const MOST_PLACES: usize = 260;

pub(super) fn section(run: &Run) -> Markup {
    let plots: Vec<(&str, String, CurvePlot<'_>)> =
        loss(&run.steps).into_iter().chain(shares(&run.measured)).collect();
    html! {
        @if !plots.is_empty() {
            section aria-labelledby="curves" {
                h2 #curves { "Curves" }
                div.plots {
                    @for (title, caption, plot) in &plots {
                        figure.curves tabindex="0" role="group" aria-label={ (title) ": left and right arrow keys read the values" } {
                            h3 { (title) }
                            (plot.markup())
                            p.tip aria-live="polite" {}
                            figcaption { (caption) }
                        }
                    }
                }
            }
        }
    }
}

/// The loss, as the mean of neighbouring steps and their range.
fn loss(steps: &[Step]) -> Option<(&'static str, String, CurvePlot<'static>)> {
    let known: Vec<(u64, f64)> = steps.iter().filter_map(|s| Some((s.step, s.loss?))).collect();
    if known.len() < 2 {
        return None;
    }
    let each = known.len().div_ceil(MOST_PLACES);
    let (mut x, mut values, mut band, mut tips) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for part in known.chunks(each) {
        let losses = part.iter().map(|p| p.1);
        let mean = losses.clone().sum::<f64>() / part.len() as f64;
        let low = losses.clone().fold(f64::INFINITY, f64::min);
        let high = losses.fold(f64::NEG_INFINITY, f64::max);
        let (first, last) = (part[0].0, part[part.len() - 1].0);
        x.push((first as f64 + last as f64) / 2.0);
        values.push(Some(mean));
        band.push(Some((low, high)));
        let exact = |v| Unit::Number.exact(v);
        tips.push(match part.len() {
            1 => format!("step {}: {}", grouped(first), exact(mean)),
            _ => format!(
                "steps {}–{}: {} ({} to {})",
                grouped(first),
                grouped(last),
                exact(mean),
                exact(low),
                exact(high)
            ),
        });
    }
    let caption = match each {
        1 => "Each step.".to_owned(),
        _ => format!("Mean of {each} steps; the band is from the least to the greatest of them."),
    };
    let plot = CurvePlot {
        about: format!("Loss over {} steps", grouped(known.len() as u64)),
        x,
        ends: (known[0].0 as f64, known[known.len() - 1].0 as f64),
        tips,
        curves: vec![Curve { name: "", values, band: (each > 1).then_some(band), main: true, dots: false }],
        unit: Unit::Number,
        from_zero: false,
        reference: None,
    };
    Some(("Loss of the training batches", caption, plot))
}

/// What may be measured on held-out frames, and how it is called; the first of a list that is there is the main one.
const SHARES: [(&str, &str); 5] =
    [("at_1", "@1"), ("at_5", "@5"), ("miou", "mIoU"), ("macc", "mAcc"), ("accuracy", "accuracy")];

fn shares(measured: &[Measured]) -> Option<(&'static str, String, CurvePlot<'static>)> {
    if measured.len() < 2 {
        return None;
    }
    let of = |key: &str| -> Vec<Option<f64>> {
        measured.iter().map(|m| m.value(key).filter(|v| (0.0..=1.0).contains(v))).collect()
    };
    let known: Vec<_> = SHARES
        .into_iter()
        .map(|(key, name)| (key, name, of(key)))
        .filter(|(.., values)| values.iter().any(Option::is_some))
        .collect();
    let retrieval = known.first()?.0 == "at_1" || known.first()?.0 == "at_5";
    let tips = (0..measured.len())
        .map(|i| {
            let named = known
                .iter()
                .filter_map(|(_, name, values)| Some(format!("{name} {}", percent(values[i]?, 1))));
            format!("after {} steps: {}", grouped(measured[i].step), named.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let candidates =
        measured.iter().rev().find_map(|m| m.value("candidates")).filter(|c| *c >= 2.0 && retrieval);
    let chance = candidates.map(|c| Reference { name: "chance", value: 1.0 / c });
    let (title, caption) = match (retrieval, candidates) {
        (true, Some(c)) => (
            "Retrieval on held-out frames",
            format!(
                "How often a point finds its own pixel as the nearest (@1), or among the five nearest (@5), of {}. Chance is {}.",
                grouped(c as u64),
                percent(1.0 / c, 1)
            ),
        ),
        (true, None) => {
            ("Retrieval on held-out frames", "How often a point finds its own pixel as the nearest.".into())
        }
        (false, _) => ("Held-out frames", "Measured on frames that are not trained on.".into()),
    };
    let curves = known
        .into_iter()
        .enumerate()
        .map(|(i, (_, name, values))| Curve { name, values, band: None, main: i == 0, dots: true })
        .collect();
    let plot = CurvePlot {
        about: format!("{title} after {} to {} steps", measured[0].step, measured[measured.len() - 1].step),
        x: measured.iter().map(|m| m.step as f64).collect(),
        ends: (measured[0].step as f64, measured[measured.len() - 1].step as f64),
        tips,
        curves,
        unit: Unit::Percent,
        from_zero: true,
        reference: chance,
    };
    Some((title, caption, plot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_drawn_as_means_with_their_range() {
        let steps: Vec<Step> = (0..60_000)
            .map(|step| Step { step, loss: Some((step % 10) as f64), ..Step::default() })
            .collect();
        let (_, caption, plot) = loss(&steps).unwrap();
        assert!(plot.x.len() <= MOST_PLACES);
        assert!(caption.contains("Mean of 231 steps"), "{caption}");
        let (low, high) = plot.curves[0].band.as_ref().unwrap()[3].unwrap();
        assert_eq!((low, high), (0.0, 9.0));
        assert!((plot.curves[0].values[3].unwrap() - 4.5).abs() < 0.05);
        assert_eq!(plot.tips.len(), plot.x.len());
    }

    #[test]
    fn a_share_beyond_one_is_no_share() {
        let lines =
            ["{\"step\":0,\"at_1\":0.1,\"candidates\":64}", "{\"step\":5,\"at_1\":7,\"candidates\":64}"];
        let measured: Vec<Measured> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        let (_, caption, plot) = shares(&measured).unwrap();
        assert_eq!(plot.curves[0].values, [Some(0.1), None]);
        assert!(caption.contains("of 64"));
        assert_eq!(plot.reference.unwrap().value, 1.0 / 64.0);
    }
}
