//! Plots as SVG: scales with round ticks, curves with hover, and the label-efficiency plot.

mod curve;
mod labels;
mod scale;

pub(crate) use curve::{Curve, CurvePlot, Reference};
pub use labels::labels_svg;
pub(crate) use labels::{OfPage, labels_plot};
pub(crate) use scale::{grouped, percent, significant};

/// How a value is written on an axis and in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// As it is.
    Number,
    /// A share of 0 to 1 as percent.
    Percent,
}

impl Unit {
    /// A value as a reader wants it, in words.
    pub(crate) fn exact(self, value: f64) -> String {
        match self {
            Self::Number => significant(value, 4),
            Self::Percent => percent(value, 1),
        }
    }

    /// A tick of an axis whose ticks are `step` apart.
    pub(crate) fn tick(self, value: f64, step: f64) -> String {
        let digits = |step: f64| (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        match self {
            Self::Number => format!("{value:.*}", digits(step)),
            Self::Percent => percent(value, digits(100.0 * step)),
        }
    }
}

/// The numbers of a drawing, two digits after the point at most: a tenth of a pixel is seen by nobody.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
