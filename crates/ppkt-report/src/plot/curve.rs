//! Curves over steps, with what a reader is told who points at them.

use maud::{Markup, html};
use serde_json::json;

use super::scale::{Scale, grouped};
use super::{Unit, px};

/// Curves over one axis of steps.
pub(crate) struct CurvePlot<'a> {
    /// What the plot shows, for those who do not see it.
    pub about: String,
    /// Steps.
    pub x: Vec<f64>,
    /// First and last step of the axis.
    pub ends: (f64, f64),
    pub curves: Vec<Curve<'a>>,
    pub unit: Unit,
    /// Whether the axis begins at zero.
    pub from_zero: bool,
    pub reference: Option<Reference<'a>>,
    /// What is said of each place on the axis.
    pub tips: Vec<String>,
}

/// One curve; `None` where nothing is known.
pub(crate) struct Curve<'a> {
    /// Written at its end; empty for none.
    pub name: &'a str,
    pub values: Vec<Option<f64>>,
    /// Least and greatest value around each place.
    pub band: Option<Vec<Option<(f64, f64)>>>,
    /// Whether it is the one that a reader should look at first.
    pub main: bool,
    /// Whether each value is marked.
    pub dots: bool,
}

/// A level to compare with.
pub(crate) struct Reference<'a> {
    pub name: &'a str,
    pub value: f64,
}

/// Room for labels around the plot.
const LEFT: f64 = 48.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Two labels at the ends of curves are at least so far apart.
const LABEL_HEIGHT: f64 = 15.0;

impl CurvePlot<'_> {
    /// Draws it for wide and for narrow screens; the style sheet shows one of them.
    pub(crate) fn markup(&self) -> Markup {
        html! {
            div.plot.wide { (self.svg(520.0, 280.0)) }
            div.plot.narrow { (self.svg(340.0, 240.0)) }
        }
    }

    fn svg(&self, width: f64, height: f64) -> Markup {
        let right = width - self.room_for_names();
        let x = Scale::tight(
            [self.ends.0, self.ends.1].into_iter(),
            if width > 400.0 { 5 } else { 3 },
            (LEFT, right),
        );
        let y = Scale::round(self.all_values(), 4, (height - BOTTOM, TOP));
        let names = self.placed_names(&y);
        html! {
            svg viewBox={ "0 0 " (px(width)) " " (px(height)) } role="img" aria-label=(self.about)
                data-plot=(self.hover(&x, &y)) {
                g.grid {
                    @for tick in y.ticks() {
                        line x1=(px(LEFT)) x2=(px(right)) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
                    }
                }
                g.ticks {
                    @for tick in y.ticks() {
                        text x=(px(LEFT - 8.0)) y=(px(y.at(tick) + 4.0)) text-anchor="end" {
                            (self.unit.tick(tick, y.step))
                        }
                    }
                    @for tick in x.ticks().into_iter().filter(|t| t.fract() == 0.0) {
                        text x=(px(x.at(tick))) y=(px(height - BOTTOM + 18.0)) text-anchor="middle" {
                            (grouped(tick.max(0.0) as u64))
                        }
                    }
                    text x=(px((LEFT + right) / 2.0)) y=(px(height - 5.0)) text-anchor="middle" { "steps" }
                }
                @if let Some(reference) = &self.reference {
                    line.reference x1=(px(LEFT)) x2=(px(right)) y1=(px(y.at(reference.value)))
                        y2=(px(y.at(reference.value))) {}
                }
                @for curve in &self.curves { (self.curve(curve, &x, &y)) }
                @for (name, class, at) in names {
                    text class=(class) x=(px(right + 8.0)) y=(px(at + 4.0)) { (name) }
                }
            }
        }
    }

    /// Pixels to the right for the longest name; names are set in about 12 pixels.
    fn room_for_names(&self) -> f64 {
        let names = self.curves.iter().map(|c| c.name).chain(self.reference.iter().map(|r| r.name));
        let longest = names.map(|name| name.chars().count()).max().unwrap_or(0);
        14.0 + 6.6 * longest as f64
    }

    fn all_values(&self) -> impl Iterator<Item = f64> {
        let of_curves = self.curves.iter().flat_map(|c| {
            let bands = c.band.iter().flatten().flatten().flat_map(|&(low, high)| [low, high]);
            c.values.iter().copied().flatten().chain(bands)
        });
        let zero = self.from_zero.then_some(0.0);
        of_curves.chain(zero).chain(self.reference.iter().map(|r| r.value))
    }

    fn curve(&self, curve: &Curve<'_>, x: &Scale, y: &Scale) -> Markup {
        let at = |i: usize, value: f64| format!("{} {}", px(x.at(self.x[i])), px(y.at(value)));
        let mut line = String::new();
        let mut pen_down = false;
        for (i, value) in curve.values.iter().enumerate() {
            if let Some(value) = value {
                line += if pen_down { "L" } else { "M" };
                line += &at(i, *value);
            }
            pen_down = value.is_some();
        }
        let band = curve.band.as_ref().map(|band| {
            let known: Vec<_> = band.iter().enumerate().filter_map(|(i, b)| Some((i, (*b)?))).collect();
            let upper = known.iter().map(|&(i, (_, high))| at(i, high));
            let lower = known.iter().rev().map(|&(i, (low, _))| at(i, low));
            format!("M{}Z", upper.chain(lower).collect::<Vec<_>>().join("L"))
        });
        let class = if curve.main { "curve main" } else { "curve" };
        html! {
            @if let Some(band) = band.filter(|b| b.len() > 2) { path.band d=(band) {} }
            path class=(class) d=(line) {}
            @if curve.dots {
                @for (i, value) in curve.values.iter().enumerate() {
                    @if let Some(value) = value {
                        circle class=(class) cx=(px(x.at(self.x[i]))) cy=(px(y.at(*value))) r="2.5" {}
                    }
                }
            }
        }
    }

    /// Names at the ends of curves, moved apart where they would cover each other.
    fn placed_names(&self, y: &Scale) -> Vec<(&str, &'static str, f64)> {
        let curves = self.curves.iter().filter_map(|c| {
            let last = c.values.iter().rev().find_map(|v| *v)?;
            Some((c.name, if c.main { "name main" } else { "name" }, y.at(last)))
        });
        let reference = self.reference.iter().map(|r| (r.name, "name", y.at(r.value)));
        let mut names: Vec<_> = curves.chain(reference).filter(|(name, ..)| !name.is_empty()).collect();
        names.sort_by(|a, b| b.2.total_cmp(&a.2));
        // From below upwards, so that none leaves the plot at the axis.
        let mut floor = f64::INFINITY;
        for (.., at) in &mut names {
            *at = at.min(floor - LABEL_HEIGHT);
            floor = *at;
        }
        names
    }

    /// What the script needs to answer a pointer: places, marks, words.
    fn hover(&self, x: &Scale, y: &Scale) -> String {
        let tenth = |v: f64| (10.0 * v).round() / 10.0;
        let marks = |i: usize| -> Vec<f64> {
            self.curves.iter().filter_map(|c| c.values[i]).map(|v| tenth(y.at(v))).collect()
        };
        json!({
            "x": self.x.iter().map(|&v| tenth(x.at(v))).collect::<Vec<_>>(),
            "y": (0..self.x.len()).map(marks).collect::<Vec<_>>(),
            "top": y.pixels.1,
            "bottom": y.pixels.0,
            "tips": self.tips,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: Vec<Option<f64>>) -> CurvePlot<'static> {
        let n = values.len();
        CurvePlot {
            about: "<loss>".into(),
            x: (0..n).map(|i| i as f64).collect(),
            ends: (0.0, n as f64 - 1.0),
            tips: vec!["\"tip\"".into(); n],
            curves: vec![Curve { name: "a", values, band: None, main: true, dots: false }],
            unit: Unit::Number,
            from_zero: false,
            reference: None,
        }
    }

    #[test]
    fn a_gap_parts_the_line_and_words_are_escaped() {
        let svg =
            plot(vec![Some(1.0), Some(2.0), None, Some(1.5), Some(1.0)]).svg(340.0, 240.0).into_string();
        let line = svg.split("class=\"curve main\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 2), "{line}");
        assert!(svg.contains("&lt;loss&gt;") && !svg.contains("<loss>"));
        assert!(svg.contains("&quot;tips&quot;"));
    }

    #[test]
    fn nothing_and_nonsense_draw_no_nan() {
        for values in [vec![], vec![None], vec![Some(3.0)], vec![Some(1e300), Some(-1e300)]] {
            let svg = plot(values).svg(340.0, 240.0).into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let mut plot = plot(vec![Some(1.0), Some(2.0)]);
        plot.curves.push(Curve {
            name: "b",
            values: vec![Some(1.0), Some(1.99)],
            band: None,
            main: false,
            dots: false,
        });
        plot.reference = Some(Reference { name: "chance", value: 1.98 });
        let y = Scale::round(plot.all_values(), 4, (200.0, 12.0));
        let mut places: Vec<f64> = plot.placed_names(&y).iter().map(|n| n.2).collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|w| w[1] - w[0] >= LABEL_HEIGHT - 1e-9), "{places:?}");
    }
}
